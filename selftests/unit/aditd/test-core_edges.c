/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's core: what edges say (refused, later, duplicate, going away), and which of their
 * addresses an index dials.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/lib/core_world.h"
#include "util/macro.h"

#define SEC  NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC
#define QUIC LINK_PROTOCOL_QUIC
#define H2   LINK_PROTOCOL_HTTP2

/* A started world. */
static struct world *go(enum conf_protocol protocol, unsigned int connections, unsigned int addrs)
{
	struct world *w = world_new(protocol, connections, addrs);
	supervisor_core_start(w->core, w->now);
	return w;
}

/* ---- refusals -------------------------------------------------------------------------------- */

/* Refused for good: max(retryAfter, 60 s ... 10 min), on either transport alone, and it goes on. */
static void test_permanent(void **state)
{
	(void)state;
	static const nsec_t limits[] = { 60 * SEC,  120 * SEC, 240 * SEC, 480 * SEC,
					 600 * SEC, 600 * SEC, 600 * SEC };
	struct world *w = world_new(CONF_PROTOCOL_AUTO, 2, 2);
	w->answer.cause = CONTROL_CAUSE_PERMANENT;
	world_set_both(w, WORLD_SAYS);
	supervisor_core_start(w->core, w->now);
	for (unsigned int n = 0; n < ARRAY_SIZE(limits); n++) {
		world_run(w, SEC);
		assert_int_equal(w->conn_count, n + 1);
		assert_int_equal(w->waits[0], limits[n]);
		/* The network has no part in it. */
		supervisor_core_network_changed(w->core, w->now);
		world_run(w, limits[n] - 2 * SEC);
		assert_int_equal(w->conn_count, n + 1);
		world_run(w, SEC);
	}
	w->answer.retry_after = 1200 * SEC;
	world_run(w, 700 * SEC);
	assert_int_equal(w->waits[0], 1200 * SEC);
	/* Nobody makes us wait for ever. */
	w->answer.retry_after = NSEC_NEVER;
	world_run(w, 1200 * SEC);
	assert_int_equal(w->waits[0], 3600 * SEC);
	world_set_both(w, WORLD_OPEN);
	world_run(w, 3700 * SEC);
	assert_int_equal(supervisor_core_up_count(w->core), 2);
	world_free(w);
}

/* "Later": retryAfter is honoured; without one the wait is drawn as always. */
static void test_retry_after(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_QUIC, 1, 1);
	w->answer =
		(struct control_result){ .cause = CONTROL_CAUSE_RETRY, .retry_after = 17 * SEC };
	world_set_both(w, WORLD_SAYS);
	supervisor_core_start(w->core, w->now);
	world_run(w, 100 * MSEC);
	assert_int_equal(w->waits[0], 17 * SEC);
	world_run(w, 16800 * MSEC);
	assert_int_equal(w->conn_count, 1);
	world_run(w, 300 * MSEC);
	assert_int_equal(w->conn_count, 2);
	w->answer.retry_after = 0;
	world_run(w, 18 * SEC);
	assert_in_range(w->waits[0], 500 * MSEC, 2 * SEC);
	world_free(w);
}

/* While another index is up, one that is refused waits alone. */
static void test_one_refused(void **state)
{
	(void)state;
	struct world *w = go(CONF_PROTOCOL_QUIC, 2, 2);
	world_run(w, 100 * MSEC);
	w->answer.cause = CONTROL_CAUSE_PERMANENT;
	world_set_both(w, WORLD_SAYS);
	world_run(w, 300 * SEC);
	assert_int_equal(supervisor_core_up_count(w->core), 1);
	assert_int_equal(world_dials(w, 1, 0), 3); /* 1 s, 61 s, 181 s */
	world_free(w);
}

/* EDUPCONN: another address, the other region first; with one address it waits like any other. */
static void test_duplicate(void **state)
{
	(void)state;
	for (int round = 0; round < 30; round++) {
		struct world *w = world_new(CONF_PROTOCOL_QUIC, 1, 6);
		w->answer.cause = CONTROL_CAUSE_DUPLICATE;
		world_set_both(w, WORLD_SAYS);
		supervisor_core_start(w->core, w->now);
		world_run(w, 100 * MSEC);
		unsigned int first = w->conns[1].addr;
		world_set_both(w, WORLD_OPEN);
		world_run(w, 2 * SEC);
		assert_int_equal(supervisor_core_up_count(w->core), 1);
		assert_int_not_equal(w->conns[2].addr % 2, first % 2);
		world_free(w);
	}
	struct world *w = world_new(CONF_PROTOCOL_QUIC, 1, 1);
	w->answer.cause = CONTROL_CAUSE_DUPLICATE;
	world_set_both(w, WORLD_SAYS);
	supervisor_core_start(w->core, w->now);
	world_run(w, 30 * SEC);
	assert_in_range(w->conn_count, 10, 20);
	world_free(w);
}

/* What the edge is told of earlier attempts doesn't wrap, and starts over when one succeeds. */
static void test_attempts(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_QUIC, 1, 1);
	w->answer.cause = CONTROL_CAUSE_RETRY;
	world_set_both(w, WORLD_SAYS);
	supervisor_core_start(w->core, w->now);
	world_run(w, 3600 * SEC);
	assert_true(w->conn_count > 300);
	assert_int_equal(w->conns[w->conn_count].attempts, 255);
	assert_int_equal(w->conns[3].attempts, 2);
	world_set_both(w, WORLD_OPEN);
	world_run(w, 60 * SEC);
	world_close(w, 0, LINK_END_PEER);
	world_run(w, SEC);
	assert_int_equal(w->conns[w->conn_count].attempts, 0);
	assert_int_equal(w->conns[w->conn_count].state, WORLD_STATE_UP);
	world_free(w);
}

/* ---- addresses ------------------------------------------------------------------------------- */

/* T5: one address of four is dead: its index is up elsewhere, no other moves. */
static void test_black_hole(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < 4; n++) {
		struct world *w = go(CONF_PROTOCOL_AUTO, 4, 4);
		world_run(w, 30 * SEC);
		unsigned int dead = world_link(w, n)->addr;
		w->path[QUIC][dead] = w->path[H2][dead] = WORLD_DROP;
		nsec_t since = w->now;
		world_suspect(w, n);
		assert_true(world_run_until_up(w, 4, 3 * SEC) < 3 * SEC);
		struct world_conn *links[4];
		for (unsigned int i = 0; i < 4; i++)
			links[i] = world_link(w, i);
		assert_int_not_equal(links[n]->addr, dead);
		for (uint64_t s = 1; s <= w->conn_count; s++)
			assert_true(w->conns[s].index == n || w->conns[s].dialled < since);
		/* Now and then somebody looks whether it is back; nobody pays for that. */
		uint64_t before = w->conn_count;
		world_run(w, 3600 * SEC);
		assert_in_range(w->conn_count - before, 5, 20);
		for (unsigned int i = 0; i < 4; i++)
			assert_ptr_equal(world_link(w, i), links[i]);
		world_free(w);
	}
}

/* Bad addresses among good ones: the next one is tried, and the good one kept. */
static void test_bad_addresses(void **state)
{
	(void)state;
	static const enum world_path paths[] = { WORLD_BAD_CERTIFICATE, WORLD_REFUSE,
						 WORLD_UNREACHABLE, WORLD_MUTE };
	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++) {
		struct world *w = world_new(CONF_PROTOCOL_AUTO, 1, 4);
		world_set_both(w, paths[i]);
		w->path[QUIC][2] = w->path[H2][2] = WORLD_OPEN;
		supervisor_core_start(w->core, w->now);
		assert_true(world_run_until_up(w, 1, 20 * SEC) < 20 * SEC);
		assert_int_equal(world_link(w, 0)->addr, 2);
		/* A lost connection comes back to its address. */
		world_run(w, 30 * SEC);
		world_close(w, 0, LINK_END_PEER);
		world_run(w, SEC);
		assert_int_equal(world_link(w, 0)->addr, 2);
		world_free(w);
	}
}

/* A refresh without the address of an index moves it, and no request is lost. */
static void test_moved(void **state)
{
	(void)state;
	struct world *w = go(CONF_PROTOCOL_AUTO, 4, 4);
	world_run(w, 30 * SEC);
	uint64_t before = w->conn_count;
	world_set_addresses(w, 0xf0 | 3);
	world_run(w, 10 * SEC);
	for (unsigned int i = 0; i < 4; i++) {
		struct world_conn *conn = world_link(w, i);
		assert_non_null(conn);
		assert_true(conn->addr < 2 || conn->addr > 3);
	}
	for (uint64_t s = 1; s <= before; s++)
		assert_true(w->conns[s].state == WORLD_STATE_UP ||
			    w->conns[s].state == WORLD_STATE_DRAINING);
	assert_int_equal(w->conn_count, before + 2);
	assert_int_equal(supervisor_core_up_count(w->core), 4);
	/* They can't be reached: everybody stays, and tries again. */
	for (unsigned int n = 0; n < 4; n++)
		w->path[QUIC][n] = w->path[H2][n] = WORLD_DROP;
	world_set_addresses(w, 3);
	world_run(w, 60 * SEC);
	assert_int_equal(supervisor_core_up_count(w->core), 4);
	assert_in_range(w->conn_count - before - 2, 4, 64);
	/* They are back: nobody wants to go any more. */
	world_set_addresses(w, 0xff);
	world_run(w, 10 * SEC);
	uint64_t serial = w->conn_count;
	world_run(w, 300 * SEC);
	assert_int_equal(w->conn_count, serial);
	world_free(w);
}

/* No address yet: nothing is dialled, they are asked for; then at once. */
static void test_no_address(void **state)
{
	(void)state;
	struct world *w = go(CONF_PROTOCOL_AUTO, 2, 0);
	world_run(w, 100 * SEC);
	assert_int_equal(w->conn_count, 0);
	assert_true(w->refreshes > 10);
	world_set_addresses(w, 3);
	assert_true(world_run_until_up(w, 1, 100 * MSEC) < 100 * MSEC);
	world_free(w);
}

/* The edge goes away: elsewhere at once, that address last in order for 60 s; what runs, runs. */
static void test_away(void **state)
{
	(void)state;
	struct world *w = go(CONF_PROTOCOL_AUTO, 1, 2);
	world_run(w, 30 * SEC);
	unsigned int from = world_link(w, 0)->addr;
	world_away(w, 0);
	assert_int_equal(w->conn_count, 2);
	assert_true(world_run_until_up(w, 1, 100 * MSEC) < 100 * MSEC);
	assert_int_not_equal(world_link(w, 0)->addr, from);
	assert_int_equal(w->conns[1].state, WORLD_STATE_DRAINING);
	/* There is no other: the same one. */
	world_set_addresses(w, 1U << world_link(w, 0)->addr);
	world_run(w, 30 * SEC);
	world_away(w, 0);
	assert_true(world_run_until_up(w, 1, 100 * MSEC) < 100 * MSEC);
	/* An edge that always says so is no reason to spin. */
	nsec_t since = w->now;
	while (w->now < since + 30 * SEC) {
		world_run(w, 50 * MSEC);
		if (supervisor_core_state(w->core, 0) == INDEX_STATE_UP)
			world_away(w, 0);
	}
	assert_in_range(world_dials(w, 0, since), 10, 20);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_permanent),     cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_one_refused),   cmocka_unit_test(test_duplicate),
		cmocka_unit_test(test_attempts),      cmocka_unit_test(test_black_hole),
		cmocka_unit_test(test_bad_addresses), cmocka_unit_test(test_moved),
		cmocka_unit_test(test_no_address),    cmocka_unit_test(test_away),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
