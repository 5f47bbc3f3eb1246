/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the kernel in a network of the test's own, set up by ip(8). Needs root rights;
 * skipped without them.
 */
#include "netlink/lookup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "selftests/lib/own_net.h"
#include "util/macro.h"

static bool is_usable;
static struct lookup *lookup;

static const char *const commands[] = {
	"ip addr add 10.0.0.1/24 dev eth1",
	"ip addr add fd00::1/64 dev eth1 nodad",
	"ip route add 10.9.0.0/16 via 10.0.0.9 mtu 1300",
	"ip route add 10.8.0.0/16 via inet6 fe80::9 dev eth1",
	"ip route add default via 10.0.0.254",
	"ip route add 10.7.0.0/16 via 10.0.0.7 table 77",
	"ip rule add to 10.7.0.0/16 lookup 77",
	"ip route add prohibit 10.6.0.0/16",
	"ip neigh add 10.0.0.9 dev eth1 lladdr 02:00:00:00:00:09",
	"ip neigh add fe80::9 dev eth1 lladdr 02:00:00:00:06:09",
};

static int setup(void **state)
{
	(void)state;
	is_usable = own_net_enter();
	if (!is_usable)
		return 0;
	assert_true(own_net_make_pair());
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (own_net_run(commands[i]) != 0)
			fail_msg("%s", commands[i]);
	return lookup_open(&lookup);
}

static int teardown(void **state)
{
	(void)state;
	lookup_close(lookup);
	if (is_usable)
		own_net_remove_pair();
	return 0;
}

static void need_net(void)
{
	if (!is_usable)
		skip();
}

static struct ip_port v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct ip_port){ .ip = { .family = IP_FAMILY_V4, .bytes = { a, b, c, d } },
				 .port = 53 };
}

static struct ip_port v6(uint8_t first, uint8_t second, uint8_t last)
{
	struct ip_port p = { .ip = { .family = IP_FAMILY_V6, .bytes = { first, second } },
			     .port = 53 };
	p.ip.bytes[15] = last;
	return p;
}

static struct lookup_route route_to(struct ip_port remote)
{
	struct ip_port local = remote.ip.family == IP_FAMILY_V4 ? v4(10, 0, 0, 1) : v6(0xfd, 0, 1);
	struct lookup_route r = {};
	assert_int_equal(lookup_route(lookup, &local, &remote, &r), 0);
	return r;
}

static void expect_next(const struct lookup_route *r, struct ip_port next, unsigned int mtu)
{
	assert_int_equal(r->ifindex, if_nametoindex("eth1"));
	assert_true(r->is_plain);
	assert_int_equal(r->mtu, mtu);
	assert_true(ip_addr_eq(&r->next, &next.ip));
}

static void test_routes(void **state)
{
	(void)state;
	need_net();
	struct lookup_route r = route_to(v4(10, 0, 0, 2));
	expect_next(&r, v4(10, 0, 0, 2), 0);
	r = route_to(v6(0xfd, 0, 2));
	expect_next(&r, v6(0xfd, 0, 2), 0);
	r = route_to(v4(10, 9, 1, 2));
	expect_next(&r, v4(10, 0, 0, 9), 1300);
	r = route_to(v4(10, 8, 1, 2)); /* IPv4 by a router of IPv6 */
	expect_next(&r, v6(0xfe, 0x80, 9), 0);
	r = route_to(v4(192, 0, 2, 1));
	expect_next(&r, v4(10, 0, 0, 254), 0);
}

/* By a table that a rule names, to this host, or refused. */
static void test_other_routes(void **state)
{
	(void)state;
	need_net();
	assert_false(route_to(v4(10, 7, 0, 1)).is_plain);
	struct lookup_route r = route_to(v4(10, 0, 0, 1));
	assert_false(r.is_plain);
	struct ip_port local = v4(10, 0, 0, 1);
	struct ip_port remote = v4(10, 6, 0, 1);
	assert_int_equal(lookup_route(lookup, &local, &remote, &r), -EACCES);
	local = v6(0xfd, 0, 1);
	remote = v6(0x20, 1, 1);
	assert_int_equal(lookup_route(lookup, &local, &remote, &r), -ENETUNREACH);
}

static void test_neighbours(void **state)
{
	(void)state;
	need_net();
	unsigned int eth1 = if_nametoindex("eth1");
	struct lookup_neighbour found = {};
	struct ip_port next = v4(10, 0, 0, 9);
	assert_int_equal(lookup_neighbour(lookup, eth1, &next.ip, &found), 0);
	assert_true(found.is_fixed);
	assert_memory_equal(found.mac, "\2\0\0\0\0\11", LOOKUP_MAC_LEN);
	next = v6(0xfe, 0x80, 9);
	assert_int_equal(lookup_neighbour(lookup, eth1, &next.ip, &found), 0);
	assert_memory_equal(found.mac, "\2\0\0\0\6\11", LOOKUP_MAC_LEN);
	next = v4(10, 0, 0, 8);
	assert_int_equal(lookup_neighbour(lookup, eth1, &next.ip, &found), -ENOENT);
	assert_int_equal(own_net_run("ip neigh add 10.0.0.8 dev eth1 nud failed"), 0);
	assert_int_equal(lookup_neighbour(lookup, eth1, &next.ip, &found), -EHOSTUNREACH);
	assert_int_equal(own_net_run("ip neigh replace 10.0.0.8 dev eth1 lladdr 02:00:00:00:00:08 "
				     "nud reachable"),
			 0);
	assert_int_equal(lookup_neighbour(lookup, eth1, &next.ip, &found), 0);
	assert_false(found.is_fixed);
	assert_true(found.confirmed < 10 * NSEC_PER_SEC);
}

static void count_link(void *user, const struct lookup_link *link)
{
	unsigned int *count = user;
	*count += link->is_ethernet && link->kind[0] == 'v';
}

static void note_default(void *user, unsigned int ifindex)
{
	unsigned int *found = user;
	*found = ifindex;
}

static void test_links(void **state)
{
	(void)state;
	need_net();
	struct lookup_link eth1 = {}, other = {};
	assert_int_equal(lookup_link(lookup, "eth1", &eth1), 0);
	assert_string_equal(eth1.name, "eth1");
	assert_int_equal(eth1.ifindex, if_nametoindex("eth1"));
	assert_int_equal(eth1.mtu, 1500);
	assert_true(eth1.is_up && eth1.is_ethernet && !eth1.master);
	assert_string_equal(eth1.kind, "veth");
	assert_int_equal(eth1.lower, if_nametoindex("peer1"));
	assert_int_equal(lookup_link(lookup, "lo", &other), 0);
	assert_false(other.is_ethernet);
	assert_int_equal(lookup_link(lookup, "gone", &other), -ENODEV);
	assert_int_equal(lookup_link(lookup, "a-name-that-is-too-long", &other), -ENODEV);

	assert_int_equal(own_net_run("ip link add br0 type bridge"), 0);
	assert_int_equal(own_net_run("ip link add link eth1 name mv0 type macvlan"), 0);
	assert_int_equal(own_net_run("ip link set peer1 master br0"), 0);
	assert_int_equal(lookup_link(lookup, "mv0", &other), 0);
	assert_string_equal(other.kind, "macvlan");
	assert_int_equal(other.lower, eth1.ifindex);
	assert_int_equal(lookup_link(lookup, "peer1", &other), 0);
	assert_int_equal(other.master, if_nametoindex("br0"));
	unsigned int found = 0;
	assert_int_equal(lookup_links(lookup, count_link, &found), 0);
	assert_int_equal(found, 2);
	found = 0;
	assert_int_equal(lookup_defaults(lookup, note_default, &found), 0);
	assert_int_equal(found, eth1.ifindex);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_other_routes),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_links),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
