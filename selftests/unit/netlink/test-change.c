/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel tells when ip(8) and nft(8) change a network of the test's own: each change is
 * told, with what it is about. Needs root rights; skipped without them. Damaged messages need none.
 */
#include "netlink/change.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <cmocka.h>

#include "selftests/lib/own_net.h"
#include "util/macro.h"

enum { WAIT_MS = 5000, QUIET_MS = 50 };

static bool is_usable;
static struct change *change;

struct told {
	unsigned int links, ways, neighbours, policies;
	bool has_policies;
	struct change_event last; /* of a neighbour of IPv4 */
};

static void take(void *user, const struct change_event *e)
{
	struct told *t = user;
	t->links += e->kind == CHANGE_KIND_LINK;
	t->ways += e->kind == CHANGE_KIND_WAY;
	if (e->kind == CHANGE_KIND_POLICY) {
		t->policies++;
		t->has_policies = e->is_known;
	}
	if (e->kind != CHANGE_KIND_NEIGHBOUR || e->addr.family != IP_FAMILY_V4)
		return;
	t->neighbours++;
	t->last = *e;
}

/* Reads until nothing more comes. */
static void listen_to(struct told *t, int first_ms)
{
	struct pollfd p[CHANGE_FDS];
	for (unsigned int i = 0; i < CHANGE_FDS; i++)
		p[i] = (struct pollfd){ .fd = change_fd(change, i), .events = POLLIN };
	for (int wait = first_ms; poll(p, CHANGE_FDS, wait) > 0; wait = QUIET_MS)
		change_read(change, take, t);
}

static int setup(void **state)
{
	(void)state;
	is_usable = own_net_enter();
	if (!is_usable)
		return 0;
	assert_int_equal(change_open(&change), 0);
	assert_true(own_net_make_pair());
	assert_int_equal(own_net_run("ip addr add 10.0.0.1/24 dev eth1"), 0);
	struct told t = {};
	listen_to(&t, WAIT_MS);
	assert_true(t.links > 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	change_close(change);
	if (is_usable)
		own_net_remove_pair();
	return 0;
}

static struct told told_of(const char *command)
{
	struct told t = {};
	if (own_net_run(command) != 0)
		fail_msg("%s", command);
	listen_to(&t, WAIT_MS);
	return t;
}

static void test_ways(void **state)
{
	(void)state;
	static const char *const commands[] = {
		"ip route add 10.9.0.0/16 via 10.0.0.9",
		"ip route del 10.9.0.0/16",
		"ip addr add 10.1.0.1/24 dev eth1",
		"ip addr del 10.1.0.1/24 dev eth1",
		"ip -6 addr add fd00::1/64 dev eth1 nodad",
		"ip rule add to 10.7.0.0/16 lookup 77",
		"ip -6 rule add to fd07::/16 lookup 77",
		"nft add table inet something",
		"nft add chain inet something c { type nat hook postrouting priority 0 ; }",
		"nft add rule inet something c masquerade",
		"nft delete table inet something",
	};
	if (!is_usable)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		struct told t = told_of(commands[i]);
		if (t.ways + t.links == 0)
			fail_msg("nothing was told of: %s", commands[i]);
	}
}

static void test_policies(void **state)
{
	(void)state;
	if (!is_usable)
		skip();
	if (own_net_run("ip xfrm policy") != 0)
		skip();
	struct told t = told_of("ip xfrm policy add src 10.0.0.0/8 dst 10.1.0.0/16 dir out");
	assert_true(t.has_policies && change_has_policies(change));
	struct change *later = NULL;
	assert_int_equal(change_open(&later), 0);
	assert_true(change_has_policies(later));
	change_close(later);
	assert_true(
		told_of("ip xfrm policy add src 10.0.0.0/8 dst 10.2.0.0/16 dir in").has_policies);
	t = told_of("ip xfrm policy delete src 10.0.0.0/8 dst 10.2.0.0/16 dir in");
	assert_true(t.has_policies);
	t = told_of("ip xfrm policy delete src 10.0.0.0/8 dst 10.1.0.0/16 dir out");
	assert_true(t.policies == 1 && !t.has_policies);
	assert_true(
		told_of("ip xfrm policy add src 10.0.0.0/8 dst 10.2.0.0/16 dir in").has_policies);
	assert_false(told_of("ip xfrm policy flush").has_policies);
}

static void test_links(void **state)
{
	(void)state;
	if (!is_usable)
		skip();
	assert_true(told_of("ip link set eth1 mtu 1400").links > 0);
	assert_true(told_of("ip link add br0 type bridge").links > 0);
	assert_true(told_of("ip link set eth1 down").links > 0);
	assert_true(told_of("ip link set eth1 up").links > 0);
	assert_true(told_of("ip link del br0").links > 0);
}

static void test_neighbours(void **state)
{
	(void)state;
	if (!is_usable)
		skip();
	struct told t = told_of("ip neigh add 10.0.0.9 dev eth1 lladdr 02:00:00:00:00:09");
	assert_int_equal(t.neighbours, 1);
	assert_int_equal(t.last.ifindex, if_nametoindex("eth1"));
	assert_memory_equal(t.last.addr.bytes, "\12\0\0\11", 4);
	assert_true(t.last.is_known);
	assert_memory_equal(t.last.mac, "\2\0\0\0\0\11", LOOKUP_MAC_LEN);
	t = told_of("ip neigh replace 10.0.0.9 dev eth1 lladdr 02:00:00:00:00:0a nud stale");
	assert_true(t.last.is_known && t.last.mac[5] == 10);
	assert_false(told_of("ip neigh change 10.0.0.9 dev eth1 nud failed").last.is_known);
	assert_false(told_of("ip neigh del 10.0.0.9 dev eth1").last.is_known);
}

struct message {
	struct nlmsghdr head;
	struct ndmsg nd;
	struct nlattr dst_head;
	uint8_t dst[4];
	struct nlattr mac_head;
	uint8_t mac[8];
};

/* Cut anywhere, in a copy of exactly that length, which its header admits to. */
static void test_truncated(void **state)
{
	(void)state;
	const struct message whole = {
		.head = { .nlmsg_len = sizeof(whole) - 2, .nlmsg_type = RTM_NEWNEIGH },
		.nd = { .ndm_family = AF_INET, .ndm_ifindex = 3, .ndm_state = NUD_REACHABLE },
		.dst_head = { .nla_len = sizeof(struct nlattr) + 4, .nla_type = NDA_DST },
		.dst = { 10, 0, 0, 1 },
		.mac_head = { .nla_len = sizeof(struct nlattr) + LOOKUP_MAC_LEN,
			      .nla_type = NDA_LLADDR },
		.mac = { 2, 0, 0, 0, 0, 1 },
	};
	for (size_t len = sizeof(struct nlmsghdr); len <= whole.head.nlmsg_len; len++) {
		struct nlmsghdr *copy = malloc(len);
		struct change_event e = {};
		assert_non_null(copy);
		memcpy(copy, &whole, len);
		copy->nlmsg_len = (uint32_t)len;
		bool has_addr = len >= offsetof(struct message, mac_head);
		assert_int_equal(change_parse(span_of(copy, len), &e), has_addr ? 0 : -EBADMSG);
		assert_int_equal(e.is_known, len == whole.head.nlmsg_len);
		free(copy);
	}
	struct nlmsghdr other = { .nlmsg_len = sizeof(other), .nlmsg_type = RTM_NEWQDISC };
	struct change_event e;
	assert_int_equal(change_parse(span_of(&other, sizeof(other)), &e), -ENOMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ways),      cmocka_unit_test(test_policies),
		cmocka_unit_test(test_links),     cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_truncated),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
