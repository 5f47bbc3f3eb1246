/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and dumps over a fake kernel that plays answers datagram by datagram. */
#include "netlink/nl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cmocka.h>

#include "util/macro.h"

enum {
	DATAGRAMS = 4,
	DATAGRAM_MAX = 512,
	EACH = sizeof(struct nlmsghdr) + sizeof(struct nlmsgerr)
};

static struct {
	alignas(struct nlmsghdr) uint8_t bytes[DATAGRAMS][DATAGRAM_MAX];
	size_t len[DATAGRAMS];
	unsigned int count, at;
	bool is_cut;     /* datagrams were longer than what there is room for */
	bool is_endless; /* the first one again and again */
	int send_error;
	uint32_t first; /* number of the request's first message */
} kernel;

static ssize_t on_send(void *user UNUSED, struct span messages)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)messages.ptr;
	if (kernel.send_error < 0)
		return kernel.send_error;
	/* Answers were written for a request that begins with 1. */
	for (unsigned int i = 0; i < kernel.count; i++)
		for (size_t at = 0; at < kernel.len[i]; at += EACH)
			((struct nlmsghdr *)(void *)(kernel.bytes[i] + at))->nlmsg_seq +=
				nlh->nlmsg_seq - 1 - kernel.first;
	kernel.first = nlh->nlmsg_seq - 1;
	return (ssize_t)messages.len;
}

static ssize_t on_receive(void *user UNUSED, void *buf, size_t len)
{
	if (kernel.is_endless)
		kernel.at = 0;
	if (kernel.at == kernel.count)
		return -ETIMEDOUT;
	size_t have = kernel.len[kernel.at];
	memcpy(buf, kernel.bytes[kernel.at++], have);
	return (ssize_t)(kernel.is_cut ? len + 1 : have);
}

/* One more message of a datagram. */
static void answer(unsigned int datagram, uint16_t type, uint32_t seq, int error)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr body;
	} m = { .head = { sizeof(m), type, 0, seq, 0 }, .body.error = error };
	memcpy(kernel.bytes[datagram] + kernel.len[datagram], &m, sizeof(m));
	kernel.len[datagram] += sizeof(m);
	kernel.count = MAX(kernel.count, datagram + 1);
}

static struct nlmsghdr *message(unsigned int datagram, size_t number)
{
	return (struct nlmsghdr *)(void *)(kernel.bytes[datagram] + number * EACH);
}

static struct nl *nl;

static int start(void **state UNUSED)
{
	static const struct nl_ops ops = { on_send, on_receive };
	memset(&kernel, 0, sizeof(kernel));
	return nl_new(&ops, NULL, &nl);
}

static int end(void **state UNUSED)
{
	nl_close(nl);
	return 0;
}

/* So many messages, all but the first and the last to be answered, as in a batch of nfnetlink. */
static int request(unsigned int count)
{
	alignas(struct nlmsghdr) uint8_t buf[1024];
	struct nl_builder b;
	nl_builder_init(&b, buf, sizeof(buf));
	for (unsigned int i = 0; i < count; i++)
		nl_begin(&b, RTM_NEWLINK, NLM_F_REQUEST | (i > 0 && i + 1 < count ? NLM_F_ACK : 0),
			 (struct span){});
	return nl_request(nl, &b);
}

static void test_batch(void **state UNUSED)
{
	answer(0, NLMSG_ERROR, 3, 0);
	answer(0, NLMSG_ERROR, 2, 0); /* in any order, in any datagram */
	answer(1, NLMSG_ERROR, 4, 0);
	assert_int_equal(request(5), 0);
	assert_int_equal(kernel.at, 2);
	assert_int_equal(request(2), 0); /* nobody is to answer */
	assert_int_equal(request(3), -ETIMEDOUT);
}

/* The first refusal, also of what was not to be answered: a batch that may not begin. */
static void test_batch_refused(void **state UNUSED)
{
	answer(0, NLMSG_ERROR, 2, 0);
	answer(0, NLMSG_ERROR, 3, -EEXIST);
	answer(0, NLMSG_ERROR, 4, -EINVAL);
	assert_int_equal(request(5), -EEXIST);
	memset(&kernel, 0, sizeof(kernel));
	nl_close(nl);
	assert_int_equal(start(NULL), 0);
	answer(0, NLMSG_ERROR, 1, -EPERM);
	assert_int_equal(request(5), -EPERM);
}

/* What belongs to another request, or is none of an answer's types, is passed over. */
static void test_noise(void **state UNUSED)
{
	answer(0, NLMSG_ERROR, 0, -EPERM);
	answer(0, NLMSG_ERROR, 4, -EPERM);
	answer(0, RTM_NEWLINK, 2, -EPERM);
	answer(1, NLMSG_ERROR, 2, 0);
	assert_int_equal(request(3), 0);
}

static void test_bad_answers(void **state UNUSED)
{
	answer(0, NLMSG_ERROR, 2, 0);
	message(0, 0)->nlmsg_len = sizeof(struct nlmsghdr) + 3; /* no room for a number */
	assert_int_equal(request(3), -EBADMSG);
	memset(&kernel, 0, sizeof(kernel));
	answer(0, NLMSG_ERROR, 2, 77); /* no errno */
	assert_int_equal(request(3), -EBADMSG);
	kernel.at = 0;
	kernel.is_cut = true;
	assert_int_equal(request(3), -EMSGSIZE);
	kernel.send_error = -ENOBUFS;
	assert_int_equal(request(3), -ENOBUFS);
}

/* More than a builder had room for never leaves. */
static void test_no_room(void **state UNUSED)
{
	alignas(struct nlmsghdr) uint8_t buf[20];
	struct nl_builder b;
	nl_builder_init(&b, buf, sizeof(buf));
	nl_begin(&b, RTM_NEWLINK, NLM_F_REQUEST, (struct span){});
	nl_put_u32(&b, 1, 2);
	kernel.send_error = -EIO; /* it isn't asked */
	assert_int_equal(nl_request(nl, &b), -ENOBUFS);
}

/* ---- dumps ------------------------------------------------------------------------------------
 */

static unsigned int taken;
static int take_error;

static int take(void *user, struct span m)
{
	assert_ptr_equal(user, &taken);
	assert_int_equal(m.len, EACH);
	taken++;
	return take_error;
}

static int dump(void)
{
	alignas(struct nlmsghdr) uint8_t buf[64];
	struct nl_builder b;
	nl_builder_init(&b, buf, sizeof(buf));
	nl_begin(&b, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, (struct span){});
	taken = 0;
	return nl_dump(nl, &b, take, &taken);
}

static void test_dump(void **state UNUSED)
{
	answer(0, RTM_NEWLINK, 1, 0);
	answer(0, RTM_NEWLINK, 9, 0); /* another's */
	answer(1, RTM_NEWLINK, 1, 0);
	answer(1, NLMSG_DONE, 1, 0);
	answer(1, RTM_NEWLINK, 1, 0);
	assert_int_equal(dump(), 0);
	assert_int_equal(taken, 2);
}

static void test_dump_fails(void **state UNUSED)
{
	answer(0, RTM_NEWLINK, 1, 0);
	answer(0, NLMSG_ERROR, 1, -EPERM);
	assert_int_equal(dump(), -EPERM);
	assert_int_equal(taken, 1);
	kernel.at = 0;
	take_error = -ENOMEM;
	assert_int_equal(dump(), -ENOMEM);
	take_error = 0;
	kernel.at = 0;
	message(0, 1)->nlmsg_type = NLMSG_DONE; /* which may carry an error, too */
	assert_int_equal(dump(), -EPERM);
	kernel.at = 0;
	message(0, 0)->nlmsg_flags = NLM_F_DUMP_INTR;
	assert_int_equal(dump(), -EINTR);
	assert_int_equal(taken, 0);
	kernel.at = 0;
	kernel.count = 0;
	assert_int_equal(dump(), -ETIMEDOUT);
}

static void test_dump_endless(void **state UNUSED)
{
	answer(0, RTM_NEWLINK, 1, 0);
	kernel.is_endless = true;
	assert_int_equal(dump(), -E2BIG);
	assert_int_equal(taken, NL_DUMP_MAX);
}

/* An answer whose end doesn't fit its datagram is none. */
static void test_cut(void **state UNUSED)
{
	answer(0, NLMSG_DONE, 1, 0);
	message(0, 0)->nlmsg_len += 4;
	assert_int_equal(dump(), -ETIMEDOUT);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		T(test_batch),       T(test_batch_refused), T(test_noise),
		T(test_bad_answers), T(test_no_room),       T(test_dump),
		T(test_dump_fails),  T(test_dump_endless),  T(test_cut),
	};
	return cmocka_run_group_tests_name("nl", tests, NULL, NULL);
}
