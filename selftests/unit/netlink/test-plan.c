/* SPDX-License-Identifier: Apache-2.0 */
/* What is wanted in the kernel's network: messages byte for byte, order, undoing, lines; a fake
 * kernel that refuses. */
#include "netlink/plan.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cmocka.h>

#include "netlink/event.h"
#include "util/macro.h"

/* ---- a kernel ---------------------------------------------------------------------------------
 */

static struct {
	char log[1024]; /* "24+ 32+ 32-": type, + or - */
	unsigned int requests;
	unsigned int refuse_at; /* this one, from 1; 0: none */
	int error;
	bool is_gone;   /* what is to be removed isn't there */
	bool is_silent; /* no answer comes */
	bool is_noisy;  /* answers of other requests come first */
	uint32_t seq;
	uint16_t type;
} kernel;

static ssize_t on_send(void *user, struct span messages)
{
	assert_ptr_equal(user, &kernel);
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)messages.ptr;
	assert_int_equal(nlh->nlmsg_len, messages.len);
	kernel.requests++;
	kernel.seq = nlh->nlmsg_seq;
	kernel.type = nlh->nlmsg_type;
	size_t len = strlen(kernel.log);
	(void)snprintf(kernel.log + len, sizeof(kernel.log) - len, "%s%u%s", len ? " " : "",
		       nlh->nlmsg_type, nlh->nlmsg_flags & NLM_F_EXCL ? "!" : "");
	return (ssize_t)messages.len;
}

struct answer {
	struct nlmsghdr head;
	struct nlmsgerr error;
	struct nlattr attr;
	char text[12];
};

static struct answer answer_of(uint32_t seq, int error)
{
	return (struct answer){
		.head = { .nlmsg_len = sizeof(struct answer),
			  .nlmsg_type = NLMSG_ERROR,
			  .nlmsg_flags = NLM_F_CAPPED | NLM_F_ACK_TLVS,
			  .nlmsg_seq = seq },
		.error = { .error = error },
		.attr = { .nla_len = sizeof(struct nlattr) + 8, .nla_type = NLMSGERR_ATTR_MSG },
		.text = "because",
	};
}

static ssize_t on_receive(void *user, void *buf, size_t len)
{
	assert_ptr_equal(user, &kernel);
	if (kernel.is_silent)
		return -ETIMEDOUT;
	bool is_refused = kernel.requests == kernel.refuse_at;
	bool is_delete = kernel.type == RTM_DELRULE || kernel.type == RTM_DELROUTE;
	int error = is_refused ? kernel.error : is_delete && kernel.is_gone ? -ESRCH : 0;
	struct answer all[] = { answer_of(kernel.seq - 1, -EPERM),
				answer_of(kernel.seq + 1, -EPERM), answer_of(kernel.seq, error) };
	size_t first = kernel.is_noisy ? 0 : 2;
	assert_true(len >= sizeof(all));
	memcpy(buf, &all[first], (ARRAY_SIZE(all) - first) * sizeof(all[0]));
	return (ssize_t)((ARRAY_SIZE(all) - first) * sizeof(all[0]));
}

static const struct nl_ops ops = { on_send, on_receive };

static struct nl *fake(void)
{
	struct nl *n = NULL;
	memset(&kernel, 0, sizeof(kernel));
	assert_int_equal(nl_new(&ops, &kernel, &n), 0);
	return n;
}

static const struct netlink_object local4 = {
	.kind = NETLINK_OBJECT_ROUTE,
	.family = IP_FAMILY_V4,
	.ifindex = 1,
	.is_local = true,
	.table = 7844,
};
static const struct netlink_object rule6 = {
	.kind = NETLINK_OBJECT_RULE,
	.family = IP_FAMILY_V6,
	.priority = 7,
	.mark = 0xad17,
	.table = 7844,
};
static const struct netlink_object up = {
	.kind = NETLINK_OBJECT_LINK_UP,
	.ifindex = 5,
	.mtu = 1400,
};
static const struct netlink_object address = {
	.kind = NETLINK_OBJECT_ADDRESS,
	.ifindex = 5,
	.addr = { IP_FAMILY_V4, { 10, 1, 2, 3 } },
	.prefix_len = 24,
};
static const struct netlink_object route = {
	.kind = NETLINK_OBJECT_ROUTE,
	.family = IP_FAMILY_V6,
	.ifindex = 5,
	.addr = { IP_FAMILY_V6, { 0xfd, 0x90 } },
	.prefix_len = 32,
};

static struct plan plan_of(const struct netlink_object *const *objects, size_t count)
{
	struct plan p = {};
	for (size_t i = 0; i < count; i++)
		assert_int_equal(plan_add(&p, objects[i]), 0);
	return p;
}

/* ---- messages ---------------------------------------------------------------------------------
 */

/* As `ip` sends them (its own are in another order of attributes). */
static void check_message(const struct netlink_object *o, bool is_new, const char *hex)
{
	alignas(struct nlmsghdr) uint8_t buf[256];
	char text[600] = "";
	struct nl_builder b;
	struct span s = {};
	nl_builder_init(&b, buf, sizeof(buf));
	if (is_new)
		netlink_object_make(&b, o);
	else
		netlink_object_remove(&b, o);
	assert_int_equal(nl_builder_finish(&b, &s), 0);
	for (size_t i = 0; i < s.len; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", s.ptr[i]);
	assert_string_equal(text, hex);
	/* With less room it says so, and writes nothing beyond it. */
	for (size_t size = 0; size < s.len; size += 4) {
		nl_builder_init(&b, buf, size);
		if (is_new)
			netlink_object_make(&b, o);
		else
			netlink_object_remove(&b, o);
		assert_int_equal(nl_builder_finish(&b, &s), -ENOBUFS);
	}
}

static void test_messages(void **state UNUSED)
{
	check_message(
		&up, true,
		"28000000100005000000000000000000000000000500000001000000010000000800040078050000");
	check_message(
		&address, true,
		"280000001400050600000000000000000218000005000000080002000a010203080001000a010203");
	check_message(
		&route, true,
		"400000001800050600000000000000000a2000000004fd010000000008000f00fe00000014000100fd9000000000000000000000000000000800040005000000");
	check_message(
		&local4, true,
		"2c000000180005060000000000000000020000000004fe020000000008000f00a41e00000800040001000000");
	check_message(
		&rule6, true,
		"3c0000002000050600000000000000000a0000000000000100000000080006000700000008000a0017ad000008001000ffffffff08000f00a41e0000");
	check_message(
		&rule6, false,
		"3c0000002100050000000000000000000a0000000000000100000000080006000700000008000a0017ad000008001000ffffffff08000f00a41e0000");
	check_message(
		&local4, false,
		"2c000000190005000000000000000000020000000004fe020000000008000f00a41e00000800040001000000");
}

/* What the monitor reads is what was meant. */
static void test_read_back(void **state UNUSED)
{
	alignas(struct nlmsghdr) uint8_t buf[256];
	struct nl_builder b;
	struct span s = {};
	struct netlink_event e;
	nl_builder_init(&b, buf, sizeof(buf));
	netlink_object_make(&b, &route);
	assert_int_equal(nl_builder_finish(&b, &s), 0);
	assert_int_equal(netlink_event_parse(s, &e), 0);
	assert_int_equal(e.ifindex, 5);
	assert_true(ip_addr_eq(&e.addr, &route.addr));
	assert_int_equal(e.prefix_len, 32);
	nl_builder_init(&b, buf, sizeof(buf));
	netlink_object_make(&b, &address);
	assert_int_equal(nl_builder_finish(&b, &s), 0);
	assert_int_equal(netlink_event_parse(s, &e), 0);
	assert_true(ip_addr_eq(&e.addr, &address.addr));
}

/* ---- plans ------------------------------------------------------------------------------------
 */

static void test_make_and_undo(void **state UNUSED)
{
	const struct netlink_object *failed = NULL;
	const struct netlink_object *all[] = { &up, &address, &local4, &rule6 };
	struct nl *n = fake();
	struct plan p = plan_of(all, ARRAY_SIZE(all));
	kernel.is_noisy = true;
	assert_int_equal(plan_make(&p, n, &failed), 0);
	assert_string_equal(kernel.log, "16 20! 24! 32!");
	assert_int_equal(plan_make(&p, n, &failed), 0); /* all there */
	assert_int_equal(kernel.requests, 4);
	kernel.is_gone = true;
	assert_int_equal(plan_undo(&p, n), 0);
	assert_string_equal(kernel.log, "16 20! 24! 32! 33 25 21 16");
	plan_done(&p);
	nl_close(n);
}

/* Each of them refused: those before it are undone, and nothing else is touched. */
static void test_refused(void **state UNUSED)
{
	static const char *const logs[] = { "24!", "24! 32! 25", "24! 32! 20! 33 25" };
	const struct netlink_object *all[] = { &local4, &rule6, &address };
	for (unsigned int at = 1; at <= ARRAY_SIZE(all); at++) {
		const struct netlink_object *failed = NULL;
		struct nl *n = fake();
		struct plan p = plan_of(all, ARRAY_SIZE(all));
		kernel.refuse_at = at;
		kernel.error = -EEXIST;
		assert_int_equal(plan_make(&p, n, &failed), -EEXIST);
		assert_ptr_equal(failed, &p.objects[at - 1]);
		assert_string_equal(p.text, "because");
		assert_string_equal(kernel.log, logs[at - 1]);
		assert_int_equal(p.made, 0);
		plan_done(&p);
		nl_close(n);
	}
}

/* The first refusal is told, and the others are undone all the same. */
static void test_undo_refused(void **state UNUSED)
{
	const struct netlink_object *failed = NULL;
	const struct netlink_object *all[] = { &local4, &rule6 };
	struct nl *n = fake();
	struct plan p = plan_of(all, ARRAY_SIZE(all));
	assert_int_equal(plan_make(&p, n, &failed), 0);
	kernel.refuse_at = 3;
	kernel.error = -EPERM;
	assert_int_equal(plan_undo(&p, n), -EPERM);
	assert_string_equal(kernel.log, "24! 32! 33 25");
	plan_done(&p);
	kernel.is_silent = true;
	p = plan_of(all, 1);
	assert_int_equal(plan_make(&p, n, &failed), -ETIMEDOUT);
	plan_done(&p);
	nl_close(n);
}

static void test_limit(void **state UNUSED)
{
	struct plan p = {};
	for (size_t i = 0; i < PLAN_MAX; i++)
		assert_int_equal(plan_add(&p, &up), 0);
	assert_int_equal(plan_add(&p, &up), -E2BIG);
	plan_done(&p);
}

/* ---- lines ------------------------------------------------------------------------------------
 */

static void test_lines(void **state UNUSED)
{
	static const char text[] = "local 4 table 7844\nrule 6 priority 7 mark 44311 table 7844\n";
	const struct netlink_object *all[] = { &up, &local4, &address, &rule6, &route };
	uint8_t buf[256];
	struct packer out = packer_over(buf, sizeof(buf));
	struct plan p = plan_of(all, ARRAY_SIZE(all));
	plan_print(&out, &p);
	assert_true(span_eq_str(packer_span(&out), text));
	plan_done(&p);

	assert_int_equal(plan_read(&p, packer_span(&out)), 0);
	assert_int_equal(p.count, 2);
	assert_int_equal(p.made, 2);
	assert_true(p.objects[0].is_local && p.objects[0].table == 7844);
	assert_int_equal(p.objects[1].mark, 0xad17);
	assert_int_equal(p.objects[1].priority, 7);
	assert_int_equal(p.objects[1].family, IP_FAMILY_V6);
	plan_done(&p);
	assert_int_equal(plan_read(&p, span_str("")), 0);
}

static void test_bad_lines(void **state UNUSED)
{
	static const char *const bad[] = {
		"local 4 table 7844", /* no end */
		"local 5 table 7844\n",
		"local 4 table\n",
		"local 4 table 4294967296\n",
		"local 4 table -1\n",
		"local 4 table 1 \n",
		"rule 4 table 7844\n",
		"rule 4 priority 7 mark 1 table 2 more\n",
		"rule 4 priority 7 mark 99999999999999999999 table 2\n",
		"address 4\n",
		"\n",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct plan p = {};
		assert_int_equal(plan_read(&p, span_str(bad[i])), -EBADMSG);
		assert_int_equal(p.made, 0);
		plan_done(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),      cmocka_unit_test(test_read_back),
		cmocka_unit_test(test_make_and_undo), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_undo_refused),  cmocka_unit_test(test_limit),
		cmocka_unit_test(test_lines),         cmocka_unit_test(test_bad_lines),
	};
	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
