/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking after neighbours, over a kernel in a network of the test's own, whose entries ip(8) sets:
 * the time is the test's. Needs root rights; skipped without them.
 */
#include "daemon/datapath/neighbour.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "netlink/lookup.h"
#include "selftests/lib/own_net.h"

/* The kernel's age of an entry is compared with times from here on. */
#define BEGIN (1000 * NSEC_PER_SEC)
#define AT(s) (BEGIN + (s) * NSEC_PER_SEC)

static struct {
	unsigned int asked, asked_all, lost;
	bool is_full;
} seen;
static bool is_usable;
static struct lookup *lookup;
static struct neighbours set;
static struct neighbour *peer;

static bool on_ask(void *user, const struct neighbour *n)
{
	(void)user;
	if (seen.is_full)
		return false;
	seen.asked += !n->question.to_all;
	seen.asked_all += n->question.to_all;
	return true;
}

static void on_lost(void *user, struct neighbour *n)
{
	(void)user;
	seen.lost++;
	neighbour_free(&set, n);
	peer = NULL;
}

static const struct neighbour_ops ops = { .ask = on_ask, .on_lost = on_lost };

static int begin(void **state)
{
	(void)state;
	seen = (typeof(seen)){};
	is_usable = own_net_enter() && own_net_make_pair();
	if (!is_usable)
		return 0;
	assert_int_equal(own_net_run("ip addr add 10.0.0.1/24 dev eth1"), 0);
	assert_int_equal(lookup_open(&lookup), 0);
	neighbours_init(&set, &ops, NULL, lookup, 4);
	return 0;
}

static int end(void **state)
{
	(void)state;
	if (!is_usable)
		return 0;
	if (peer)
		neighbour_free(&set, peer);
	peer = NULL;
	neighbours_done(&set);
	lookup_close(lookup);
	own_net_remove_pair();
	return 0;
}

static void kernel_says(const char *state)
{
	char command[128];
	if (!is_usable)
		skip();
	(void)snprintf(command, sizeof(command),
		       "ip neigh replace 10.0.0.9 dev eth1 lladdr 02:00:00:00:00:09 nud %s", state);
	assert_int_equal(own_net_run(command), 0);
}

static void add_peer(void)
{
	const struct solicit question = {
		.local = { .family = IP_FAMILY_V4, .bytes = { 10, 0, 0, 1 } },
		.target = { .family = IP_FAMILY_V4, .bytes = { 10, 0, 0, 9 } },
		.mac = { 2, 0, 0, 0, 0, 9 },
	};
	unsigned int eth1 = if_nametoindex("eth1");
	peer = neighbour_get(&set, 0, eth1, &question);
	assert_non_null(peer);
	assert_ptr_equal(neighbour_get(&set, 0, eth1, &question), peer);
	assert_ptr_equal(neighbour_find(&set, eth1, &question.target), peer);
	assert_null(neighbour_find(&set, eth1 + 1, &question.target));
}

static void expect(unsigned int asked, unsigned int asked_all, unsigned int lost)
{
	assert_int_equal(seen.asked, asked);
	assert_int_equal(seen.asked_all, asked_all);
	assert_int_equal(seen.lost, lost);
}

/* It is heard of each time: asked every five seconds, alone. */
static void test_answers(void **state)
{
	(void)state;
	kernel_says("reachable");
	add_peer();
	for (unsigned int s = 0; s < 12; s++)
		neighbours_tick(&set, AT(s));
	expect(3, 0, 0);
	/* No room to ask: at the next tick. */
	seen.is_full = true;
	neighbours_tick(&set, AT(15));
	seen.is_full = false;
	neighbours_tick(&set, AT(16));
	expect(4, 0, 0);
}

/* The kernel's entry says that it was last heard of before it was asked. */
static void test_no_answer(void **state)
{
	(void)state;
	kernel_says("reachable");
	add_peer();
	neighbours_tick(&set, AT(0));
	expect(1, 0, 0);
	kernel_says("stale"); /* an entry that is made so was confirmed long ago */
	assert_int_equal(own_net_run("ip neigh flush dev eth1"), 0);
	kernel_says("stale");
	for (unsigned int s = 1; s < 4; s++) {
		neighbours_tick(&set, AT(s));
		expect(1, s, 0);
	}
	neighbours_tick(&set, AT(4));
	expect(1, 3, 1);
	neighbours_tick(&set, AT(5));
	expect(1, 3, 1);
}

static void test_other_address(void **state)
{
	(void)state;
	kernel_says("reachable");
	add_peer();
	neighbours_tick(&set, AT(0));
	assert_int_equal(own_net_run("ip neigh replace 10.0.0.9 dev eth1 lladdr 02:00:00:00:00:08"),
			 0);
	neighbours_tick(&set, AT(1));
	expect(1, 0, 1);
}

/* What the operator has said is true without an answer. */
static void test_fixed(void **state)
{
	(void)state;
	kernel_says("permanent");
	add_peer();
	for (unsigned int s = 0; s < 12; s++)
		neighbours_tick(&set, AT(s));
	expect(3, 0, 0);
}

/* A router of the other family: there is no address of ours to ask with. */
static void test_mute(void **state)
{
	(void)state;
	kernel_says("reachable");
	add_peer();
	peer->question.local = (struct ip_addr){ .family = IP_FAMILY_V6 };
	neighbours_tick(&set, AT(0));
	expect(0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers, begin, end),
		cmocka_unit_test_setup_teardown(test_no_answer, begin, end),
		cmocka_unit_test_setup_teardown(test_other_address, begin, end),
		cmocka_unit_test_setup_teardown(test_fixed, begin, end),
		cmocka_unit_test_setup_teardown(test_mute, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
