/* SPDX-License-Identifier: Apache-2.0 */
/* A VLAN above an interface, as a kernel that has them told it: the other end of the lookup's
 * socket plays what was recorded. */
#include "daemon/datapath/obstacle.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

#include <cmocka.h>

#include "daemon/wire/hex.h"
#include "selftests/unit/datapath/vlan_dump.h"
#include "util/macro.h"

enum { ANSWER_MAX = 8192 };

static struct lookup *lookup;
static int kernel;
static uint32_t questions;

static int begin(void **state)
{
	(void)state;
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	kernel = fds[1];
	questions = 0;
	return lookup_new(fds[0], &lookup);
}

static int end(void **state)
{
	(void)state;
	lookup_close(lookup);
	(void)close(kernel);
	return 0;
}

/* The next question's answer: up to three messages in one datagram. Each has whole words. */
static void will_answer(const char *a, const char *b, const char *c)
{
	static alignas(struct nlmsghdr) uint8_t bytes[ANSWER_MAX];
	const char *const all[] = { a, b, c };
	struct packer out = packer_over(bytes, sizeof(bytes));
	questions++;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct nlmsghdr *nlh = (struct nlmsghdr *)(void *)(bytes + packer_span(&out).len);
		if (!all[i])
			continue;
		assert_int_equal(hex_decode(span_str(all[i]), &out), 0);
		nlh->nlmsg_seq = questions;
	}
	size_t len = packer_span(&out).len;
	assert_int_equal(send(kernel, bytes, len, 0), len);
}

static void take(void *user, const struct lookup_link *link)
{
	struct lookup_link *ret = user;
	*ret = *link;
}

static struct lookup_link link_in(const char *message)
{
	struct lookup_link link = {};
	will_answer(message, dump_done, NULL);
	assert_int_equal(lookup_links(lookup, take, &link), 0);
	return link;
}

static void test_vlan_above(void **state)
{
	(void)state;
	struct lookup_link lan0 = link_in(dump_lan0);
	assert_string_equal(lan0.name, "lan0");
	assert_true(lan0.is_up && lan0.is_ethernet);
	assert_string_equal(lan0.kind, "veth");

	will_answer(dump_lan0, dump_done, NULL);
	assert_null(obstacle_find(lookup, &lan0));
	will_answer(dump_lan0, dump_vlan, dump_done);
	assert_string_equal(obstacle_find(lookup, &lan0),
			    "another interface, such as a VLAN, lies on it");
	/* Another interface isn't concerned. */
	lan0.ifindex = 77;
	will_answer(dump_lan0, dump_vlan, dump_done);
	assert_null(obstacle_find(lookup, &lan0));
}

static void test_vlan_itself(void **state)
{
	(void)state;
	struct lookup_link vlan = link_in(dump_vlan);
	assert_string_equal(vlan.name, "lan0.5");
	assert_string_equal(vlan.kind, "vlan");
	assert_int_equal(vlan.lower, link_in(dump_lan0).ifindex);
	assert_string_equal(
		obstacle_find(lookup, &vlan),
		"it is no device of its own but a bridge, a VLAN, a tunnel or the like");
}

/* What can't be read is no permission. */
static void test_cut_dump(void **state)
{
	(void)state;
	struct lookup_link lan0 = link_in(dump_lan0);
	assert_non_null(obstacle_find(lookup, &lan0)); /* no answer at all */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vlan_above, begin, end),
		cmocka_unit_test_setup_teardown(test_vlan_itself, begin, end),
		cmocka_unit_test_setup_teardown(test_cut_dump, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
