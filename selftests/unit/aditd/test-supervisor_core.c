/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision table of spec §6, row by row, under a clock that jumps: transports and waits. What
 * edges say and where they are is in test-core_edges.c, a connection that went silent and the way
 * back to QUIC in test-core_return.c.
 */
#include <errno.h>
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

static nsec_t age(const struct world *w, uint64_t serial)
{
	return w->conns[serial].dialled - WORLD_START;
}

static void assert_dial(const struct world *w, uint64_t serial, enum link_protocol protocol,
			nsec_t at)
{
	assert_true(serial <= w->conn_count);
	assert_int_equal(w->conns[serial].protocol, protocol);
	assert_int_equal(age(w, serial) / MSEC, at / MSEC);
}

/* ---- which transport ------------------------------------------------------------------------- */

/* protocol = quic or http2: that one, never the other, whatever happens to it. */
static void test_fixed_protocol(void **state)
{
	(void)state;
	static const enum world_path paths[] = { WORLD_OPEN,  WORLD_DROP,        WORLD_REFUSE,
						 WORLD_EPERM, WORLD_UNREACHABLE, WORLD_MUTE };
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(paths); i++) {
		struct world *w = world_new(i % 2 ? CONF_PROTOCOL_QUIC : CONF_PROTOCOL_HTTP2, 2, 2);
		world_set_both(w, paths[i / 2]);
		supervisor_core_start(w->core, w->now);
		world_run(w, 120 * SEC);
		assert_true(w->conn_count > 0);
		for (uint64_t s = 1; s <= w->conn_count; s++)
			assert_int_equal(w->conns[s].protocol, i % 2 ? QUIC : H2);
		world_free(w);
	}
}

/* auto: QUIC, and HTTP/2 as well 2.5 s later; what is up first registers. */
static void test_udp_dropped(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_AUTO, 4, 4);
	world_set_path(w, QUIC, WORLD_DROP);
	supervisor_core_start(w->core, w->now);
	assert_true(world_run_until_up(w, 1, 4 * SEC) < 4 * SEC);
	assert_dial(w, 1, QUIC, 0);
	assert_dial(w, 2, H2, 2500 * MSEC);
	assert_int_equal(w->conns[2].addr, w->conns[1].addr);
	assert_int_equal(w->conns[1].state, WORLD_STATE_CLOSED);
	/* The others dial the winner, 1 s apart, each to an address of its own. */
	assert_true(world_run_until_up(w, 4, 4 * SEC) < 4 * SEC);
	assert_int_equal(w->conn_count, 5);
	for (uint64_t s = 3; s <= 5; s++) {
		assert_int_equal(w->conns[s].index, s - 2);
		assert_dial(w, s, H2, 2530 * MSEC + (s - 2) * SEC);
	}
	unsigned int used = 0;
	for (uint64_t s = 2; s <= 5; s++)
		used |= 1U << w->conns[s].addr;
	assert_int_equal(used, 15);
	world_free(w);
}

/* EPERM, ENETUNREACH, ECONNREFUSED on QUIC: the other transport starts at once. */
static void test_udp_rejected(void **state)
{
	(void)state;
	static const enum world_path paths[] = { WORLD_EPERM, WORLD_UNREACHABLE, WORLD_REFUSE };
	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++) {
		struct world *w = world_new(CONF_PROTOCOL_AUTO, 1, 2);
		world_set_path(w, QUIC, paths[i]);
		supervisor_core_start(w->core, w->now);
		assert_true(world_run_until_up(w, 1, SEC) < SEC);
		assert_dial(w, 2, H2, MSEC);
		world_free(w);
	}
}

/* The vendor's percentages put this account on HTTP/2: it goes first, QUIC isn't excluded. */
static void test_order_by_percentages(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_AUTO, 1, 2);
	const struct transport_percent percent = { .quic = 0, .http2 = 100 };
	supervisor_core_set_transport(w->core, transport_choose(CONF_PROTOCOL_AUTO, &percent, 25));
	world_set_path(w, H2, WORLD_DROP);
	supervisor_core_start(w->core, w->now);
	assert_true(world_run_until_up(w, 1, 4 * SEC) < 4 * SEC);
	assert_dial(w, 1, H2, 0);
	assert_dial(w, 2, QUIC, 2500 * MSEC);
	world_free(w);
	/* And there is no way back to what the vendor doesn't want. */
	w = world_new(CONF_PROTOCOL_AUTO, 1, 2);
	supervisor_core_set_transport(w->core, transport_choose(CONF_PROTOCOL_AUTO, &percent, 25));
	supervisor_core_start(w->core, w->now);
	world_run(w, 3600 * SEC);
	assert_int_equal(w->conn_count, 1);
	world_free(w);
}

/* The handshake that ends second waits for the registration of the first: 2 s. */
static void test_held(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_AUTO, 1, 2);
	world_set_path(w, QUIC, WORLD_MUTE);
	supervisor_core_start(w->core, w->now);
	world_run(w, 4500 * MSEC);
	assert_int_equal(w->conns[1].state, WORLD_STATE_REGISTERING);
	assert_int_equal(w->conns[2].state, WORLD_STATE_CONNECTED);
	world_run(w, 100 * MSEC);
	assert_int_equal(w->conns[1].state, WORLD_STATE_CLOSED);
	assert_int_equal(w->conns[2].state, WORLD_STATE_UP);
	assert_int_equal(w->conns[2].attempts, 1);
	world_free(w);

	/* It fails before: at once. */
	w = world_new(CONF_PROTOCOL_AUTO, 1, 2);
	world_set_path(w, QUIC, WORLD_MUTE);
	supervisor_core_start(w->core, w->now);
	world_run(w, 3000 * MSEC);
	const struct control_result lost = { .cause = CONTROL_CAUSE_LOST };
	w->conns[1].state = WORLD_STATE_CLOSED;
	supervisor_core_refused(w->core, 0, 1, &lost, w->now);
	assert_int_equal(w->conns[2].state, WORLD_STATE_REGISTERING);
	world_free(w);
}

/* Later indexes dial the winner, and the other only when that fails. */
static void test_winner_fails(void **state)
{
	(void)state;
	struct world *w = go(CONF_PROTOCOL_AUTO, 2, 2);
	world_run(w, 500 * MSEC);
	world_set_path(w, QUIC, WORLD_DROP);
	world_run(w, 5400 * MSEC);
	assert_int_equal(w->conn_count, 2);
	assert_int_equal(w->conns[2].protocol, QUIC);
	world_run(w, 1000 * MSEC);
	assert_int_equal(w->conn_count, 3);
	assert_int_equal(w->conns[3].protocol, H2);
	assert_int_equal(w->conns[3].state, WORLD_STATE_UP);
	world_free(w);
}

/* ---- who may dial, and when ------------------------------------------------------------------ */

/* The first index must register before the others begin, and they do so 1 s apart. */
static void test_first_connection(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_QUIC, 4, 4);
	world_set_both(w, WORLD_REFUSE);
	supervisor_core_start(w->core, w->now);
	world_run(w, 20 * SEC);
	for (unsigned int i = 1; i < 4; i++)
		assert_int_equal(supervisor_core_state(w->core, i), INDEX_STATE_IDLE);
	world_set_both(w, WORLD_OPEN);
	assert_true(world_run_until_up(w, 1, 3 * SEC) < 3 * SEC);
	nsec_t first = w->now;
	for (unsigned int i = 1; i < 4; i++) {
		world_run(w, i * SEC + 100 * MSEC - (w->now - first));
		assert_int_equal(supervisor_core_up_count(w->core), i + 1);
	}
	world_free(w);
}

/* Nothing up: waits are random in [1/2, 1] x min(1 s x 2^n, 2 s), what is printed is what is
 * waited. */
static void test_short_waits(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_QUIC, 1, 1);
	world_set_both(w, WORLD_REFUSE);
	supervisor_core_start(w->core, w->now);
	nsec_t least = NSEC_NEVER, most = 0;
	for (int n = 0; n < 300; n++) {
		uint64_t serial = w->conn_count;
		world_run(w, 2 * MSEC);
		nsec_t wait = w->waits[0];
		nsec_t limit = n == 0 ? SEC : 2 * SEC;
		assert_in_range(wait, limit / 2, limit);
		nsec_t begin = w->now;
		while (w->conn_count == serial)
			world_run(w, MSEC);
		/* The bucket of the index may lengthen a wait, nothing shortens it. */
		assert_in_range(w->now - begin, wait - 3 * MSEC, 2 * SEC + MSEC);
		if (n > 0) {
			least = MIN(least, wait);
			most = MAX(most, wait);
		}
	}
	assert_true(least < 1100 * MSEC && most > 1900 * MSEC);
	assert_true(w->refreshes > 200);
	world_free(w);
}

/* Silence instead of refusals: the next dial starts 2.5 s after the last, two at most run. */
static void test_overlap(void **state)
{
	(void)state;
	static const enum conf_protocol protocols[] = { CONF_PROTOCOL_AUTO, CONF_PROTOCOL_QUIC };
	for (unsigned int i = 0; i < 2; i++) {
		struct world *w = world_new(protocols[i], 1, 3);
		world_set_both(w, WORLD_DROP);
		supervisor_core_start(w->core, w->now);
		world_run(w, 120 * SEC);
		for (uint64_t s = 2; s <= w->conn_count; s++) {
			nsec_t gap = w->conns[s].dialled - w->conns[s - 1].dialled;
			assert_in_range(gap, 2000 * MSEC, 2600 * MSEC);
			if (protocols[i] == CONF_PROTOCOL_AUTO)
				assert_int_not_equal(w->conns[s].protocol,
						     w->conns[s - 1].protocol);
		}
		/* No address is forgotten. */
		unsigned int seen = 0;
		for (uint64_t s = 1; s <= w->conn_count; s++)
			seen |= 1U << w->conns[s].addr;
		assert_int_equal(seen, 7);
		world_free(w);
	}
}

/* T4: 20 s, 60 s, 6 minutes, an hour of nothing: up within one cap of the table and a handshake. */
static void test_long_outage(void **state)
{
	(void)state;
	static const struct {
		unsigned int sec;
		nsec_t cap;
	} rows[] = { { 20, 2 * SEC }, { 60, 2 * SEC }, { 360, 2 * SEC }, { 3600, 30 * SEC } };
	static const enum world_path paths[] = { WORLD_DROP, WORLD_REFUSE, WORLD_UNREACHABLE };
	for (unsigned int i = 0; i < ARRAY_SIZE(rows) * ARRAY_SIZE(paths); i++) {
		struct world *w = go(CONF_PROTOCOL_AUTO, 4, 4);
		nsec_t cap = rows[i % 4].cap;
		world_run(w, 30 * SEC);
		assert_int_equal(supervisor_core_up_count(w->core), 4);
		world_set_both(w, paths[i / 4]);
		for (unsigned int n = 0; n < 4; n++)
			world_close(w, n, LINK_END_IDLE);
		world_run(w, rows[i % 4].sec * SEC);
		assert_int_equal(supervisor_core_up_count(w->core), 0);
		nsec_t restored = w->now;
		world_set_both(w, WORLD_OPEN);
		while (world_dials(w, -1, restored) == 0)
			world_run(w, 10 * MSEC);
		assert_true(w->now - restored <= cap + 600 * MSEC);
		assert_true(world_run_until_up(w, 1, cap + SEC) <= cap + SEC);
		assert_true(world_run_until_up(w, 4, 5 * SEC) <= 5 * SEC);
		world_free(w);
	}
}

/* After ten minutes without any index up the waits grow to 30 s. */
static void test_long_waits(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_QUIC, 1, 1);
	world_set_both(w, WORLD_REFUSE);
	supervisor_core_start(w->core, w->now);
	world_run(w, 599 * SEC);
	assert_true(w->waits[0] <= 2 * SEC);
	world_run(w, 300 * SEC);
	nsec_t from = w->now;
	world_run(w, 3600 * SEC);
	assert_in_range(w->waits[0], 15 * SEC, 30 * SEC);
	assert_in_range(world_dials(w, 0, from), 120, 240);
	world_free(w);
}

/* Another index is up: the waits grow to 60 s, and shrink when it goes. */
static void test_waits_beside_another(void **state)
{
	(void)state;
	static const nsec_t limits[] = { 1 * SEC,  2 * SEC,  4 * SEC,  8 * SEC,
					 16 * SEC, 32 * SEC, 60 * SEC, 60 * SEC };
	struct world *w = go(CONF_PROTOCOL_QUIC, 2, 2);
	world_run(w, 30 * SEC);
	world_set_both(w, WORLD_REFUSE);
	world_close(w, 1, LINK_END_IDLE);
	for (unsigned int n = 0; n < ARRAY_SIZE(limits); n++) {
		world_run(w, 2 * MSEC);
		assert_in_range(w->waits[1], limits[n] / 2, limits[n]);
		uint64_t serial = w->conn_count;
		while (w->conn_count == serial)
			world_run(w, MSEC);
	}
	world_run(w, 2 * MSEC);
	nsec_t from = w->now;
	world_close(w, 0, LINK_END_IDLE);
	world_run(w, 2100 * MSEC);
	assert_true(world_dials(w, 1, from) >= 1);
	world_free(w);
}

/* A loss is answered at once the first time; who loses it again and again waits. */
static void test_first_redial(void **state)
{
	(void)state;
	struct world *w = go(CONF_PROTOCOL_QUIC, 1, 1);
	world_run(w, 30 * SEC);
	world_close(w, 0, LINK_END_PEER);
	assert_int_equal(w->conn_count, 2);
	nsec_t from = w->now;
	while (w->now < from + 60 * SEC) {
		world_run(w, 100 * MSEC);
		if (supervisor_core_state(w->core, 0) == INDEX_STATE_UP)
			world_close(w, 0, LINK_END_PEER);
	}
	assert_in_range(world_dials(w, 0, from), 20, 60);
	/* It stays up: forgotten. */
	world_run(w, 30 * SEC);
	uint64_t serial = w->conn_count;
	world_close(w, 0, LINK_END_PEER);
	assert_int_equal(w->conn_count, serial + 1);
	world_free(w);
}

/* T7: an edge that refuses for 30 s sees at most 20 dials of an index, in every way of refusing. */
static void test_refusing_edge(void **state)
{
	(void)state;
	static const enum world_path paths[] = { WORLD_REFUSE, WORLD_UNREACHABLE,
						 WORLD_BAD_CERTIFICATE, WORLD_SAYS };
	static const enum control_cause causes[] = { CONTROL_CAUSE_RETRY, CONTROL_CAUSE_DUPLICATE,
						     CONTROL_CAUSE_EXCEPTION };
	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(paths) * ARRAY_SIZE(causes); i++) {
		struct world *w =
			world_new(i % 2 ? CONF_PROTOCOL_AUTO : CONF_PROTOCOL_QUIC, 1, i % 3 + 1);
		w->answer.cause = causes[i / 2 % 3];
		world_set_both(w, paths[i / 6]);
		supervisor_core_start(w->core, w->now);
		world_run(w, 30 * SEC);
		assert_in_range(world_dials(w, 0, 0), 8, 20);
		world_free(w);
	}
}

/* All dials: at most 2 x connections at once, then 2 a second. */
static void test_token_bucket(void **state)
{
	(void)state;
	struct world *w = go(CONF_PROTOCOL_AUTO, 24, 4);
	assert_true(world_run_until_up(w, 24, 60 * SEC) < 60 * SEC);
	world_run(w, 60 * SEC);
	world_set_both(w, WORLD_REFUSE);
	nsec_t from = w->now;
	for (unsigned int i = 0; i < 24; i++)
		world_close(w, i, LINK_END_IDLE);
	for (unsigned int sec = 1; sec < 120; sec++) {
		world_run(w, SEC);
		assert_in_range(world_dials(w, -1, from), 24, 48 + 2 * sec);
	}
	/* Fairly: everybody has had a turn. */
	for (int i = 0; i < 24; i++)
		assert_true(world_dials(w, i, from) > 1);
	world_free(w);
}

/* A netlink event or a resume: all waits shrink to [0, 0.5 s]. */
static void test_network_changed(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_QUIC, 1, 1);
	world_set_both(w, WORLD_REFUSE);
	supervisor_core_start(w->core, w->now);
	world_run(w, 3600 * SEC);
	for (int i = 0; i < 50; i++) {
		world_run(w, 20 * SEC);
		nsec_t from = w->now;
		supervisor_core_network_changed(w->core, w->now);
		world_run(w, 500 * MSEC);
		assert_true(world_dials(w, 0, from) >= 1);
	}
	/* n = 0: it starts over with short waits. */
	world_run(w, MSEC);
	assert_true(w->waits[0] <= 2 * SEC);
	/* Also beside a dial that went the old way. */
	world_set_both(w, WORLD_DROP);
	world_run(w, 60 * SEC);
	uint64_t serial = w->conn_count;
	while (w->conn_count == serial)
		world_run(w, 10 * MSEC);
	world_run(w, 10 * MSEC);
	world_set_both(w, WORLD_OPEN);
	supervisor_core_network_changed(w->core, w->now);
	assert_true(world_run_until_up(w, 1, 600 * MSEC) <= 600 * MSEC);
	assert_int_equal(w->probed_but, EDGE_INDEXES_MAX);
	world_free(w);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void test_reconnect(void **state)
{
	(void)state;
	struct world *w = go(CONF_PROTOCOL_QUIC, 2, 2);
	world_run(w, 30 * SEC);
	unsigned int addr = world_link(w, 1)->addr;
	supervisor_core_reconnect(w->core, 1, w->now);
	assert_true(world_run_until_up(w, 2, 100 * MSEC) < 100 * MSEC);
	world_run(w, 100 * MSEC);
	assert_int_equal(w->conn_count, 3);
	assert_int_equal(world_link(w, 1)->addr, addr);
	supervisor_core_reconnect(w->core, -1, w->now);
	world_run(w, 200 * MSEC);
	assert_int_equal(w->conn_count, 5);
	assert_int_equal(supervisor_core_up_count(w->core), 2);
	/* Out of a wait, too. */
	w->answer.cause = CONTROL_CAUSE_PERMANENT;
	world_set_both(w, WORLD_SAYS);
	world_run(w, 20 * SEC);
	world_close(w, 0, LINK_END_PEER);
	world_run(w, 100 * MSEC);
	world_set_both(w, WORLD_OPEN);
	supervisor_core_reconnect(w->core, 0, w->now);
	assert_true(world_run_until_up(w, 2, 100 * MSEC) < 100 * MSEC);
	world_free(w);
}

/* After the stop nothing starts, whatever is still reported; in every state. */
static void test_stop(void **state)
{
	(void)state;
	static const nsec_t times[] = { 0, 5 * MSEC, 25 * MSEC, 35 * MSEC, 2600 * MSEC, 20 * SEC };
	static const enum world_path paths[] = { WORLD_OPEN, WORLD_DROP, WORLD_REFUSE, WORLD_MUTE };
	for (unsigned int i = 0; i < ARRAY_SIZE(times) * ARRAY_SIZE(paths); i++) {
		struct world *w = world_new(CONF_PROTOCOL_AUTO, 3, 2);
		world_set_both(w, paths[i / ARRAY_SIZE(times)]);
		supervisor_core_start(w->core, w->now);
		world_run(w, times[i % ARRAY_SIZE(times)]);
		uint64_t serial = w->conn_count;
		world_stop(w);
		const struct link_close_info info = { .end = LINK_END_LOCAL };
		const struct control_result refused = { .cause = CONTROL_CAUSE_RETRY };
		for (uint64_t s = 1; s <= serial; s++) {
			unsigned int n = w->conns[s].index;
			supervisor_core_connected(w->core, n, s, w->now);
			supervisor_core_registered(w->core, n, s, w->now);
			supervisor_core_away(w->core, n, s, w->now);
			supervisor_core_suspect(w->core, n, s, w->now);
			supervisor_core_heard(w->core, n, s, w->now);
			supervisor_core_refused(w->core, n, s, &refused, w->now);
			supervisor_core_closed(w->core, n, s, &info, w->now);
		}
		supervisor_core_network_changed(w->core, w->now);
		supervisor_core_reconnect(w->core, -1, w->now);
		world_set_addresses(w, 0xff);
		supervisor_core_timer(w->core, w->now + SEC);
		world_run(w, 100 * SEC);
		assert_int_equal(w->conn_count, serial);
		for (unsigned int n = 0; n < 3; n++)
			assert_int_equal(supervisor_core_state(w->core, n), INDEX_STATE_STOPPED);
		world_free(w);
	}
}

/* What nobody knows is ignored. */
static void test_strangers(void **state)
{
	(void)state;
	struct world *w = go(CONF_PROTOCOL_AUTO, 1, 2);
	const struct link_close_info info = { .end = LINK_END_IDLE };
	const struct control_result refused = { .cause = CONTROL_CAUSE_PERMANENT };
	world_run(w, SEC);
	for (uint64_t s = 0; s < 5; s += 2) {
		for (unsigned int n = 0; n < 65; n += 64) {
			supervisor_core_connected(w->core, n, s, w->now);
			supervisor_core_registered(w->core, n, s, w->now);
			supervisor_core_refused(w->core, n, s, &refused, w->now);
			supervisor_core_away(w->core, n, s, w->now);
			supervisor_core_suspect(w->core, n, s, w->now);
			supervisor_core_closed(w->core, n, s, &info, w->now);
		}
	}
	world_run(w, 100 * SEC);
	assert_int_equal(w->conn_count, 1);
	assert_int_equal(supervisor_core_up_count(w->core), 1);
	world_free(w);
}

/* No memory for a dial: as if it had failed. */
static void test_no_memory(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_AUTO, 2, 2);
	w->has_no_memory = true;
	supervisor_core_start(w->core, w->now);
	world_run(w, 60 * SEC);
	assert_int_equal(w->conn_count, 0);
	w->has_no_memory = false;
	assert_true(world_run_until_up(w, 2, 5 * SEC) < 5 * SEC);
	/* For a replacement. */
	w->has_no_memory = true;
	world_run(w, 20 * SEC);
	world_suspect(w, 0);
	world_run(w, 20 * SEC);
	w->has_no_memory = false;
	assert_true(world_run_until_up(w, 2, 60 * SEC) < 60 * SEC);
	world_free(w);
}

/*
 * Hours of chance: whatever happens, the rules of the world hold, and when all is well again every
 * index is up within one cap.
 */
static void test_chaos(void **state)
{
	(void)state;
	uint64_t chance = 1;
	for (int round = 0; round < 20; round++) {
		struct world *w = go(round % 4 ? CONF_PROTOCOL_AUTO : CONF_PROTOCOL_QUIC, 6, 4);
		for (int n = 0; n < 400; n++) {
			chance = chance * 6364136223846793005 + 1442695040888963407;
			unsigned int r = (unsigned int)(chance >> 33);
			unsigned int i = r % 6;
			w->answer.cause = r % 2 ? CONTROL_CAUSE_RETRY : CONTROL_CAUSE_DUPLICATE;
			w->path[r / 8 % 2][r / 16 % 4] =
				(enum world_path)(r / 64 % (WORLD_SAYS + 1));
			if (r % 11 == 0)
				world_set_addresses(w, r / 128 % 15 + 1);
			if (r % 13 == 0)
				supervisor_core_network_changed(w->core, w->now);
			if (r % 17 == 0)
				supervisor_core_reconnect(w->core, (int)i, w->now);
			struct world_conn *conn = world_link(w, i);
			if (conn && conn->state == WORLD_STATE_UP) {
				if (r % 5 == 0)
					world_suspect(w, i);
				else if (r % 5 == 1 && conn->is_suspect)
					world_heard(w, i);
				else if (r % 7 == 2)
					world_away(w, i);
				else if (r % 7 == 3)
					world_close(w, i, LINK_END_IDLE);
			}
			world_run(w, r / 1024 % 4000 * MSEC);
		}
		world_set_both(w, WORLD_OPEN);
		for (unsigned int i = 0; i < 6; i++)
			if (world_link(w, i) && world_link(w, i)->is_suspect)
				world_heard(w, i);
		assert_true(world_run_until_up(w, 6, 61 * SEC) < 61 * SEC);
		world_stop(w);
		world_run(w, 100 * SEC);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed_protocol),
		cmocka_unit_test(test_udp_dropped),
		cmocka_unit_test(test_udp_rejected),
		cmocka_unit_test(test_order_by_percentages),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_winner_fails),
		cmocka_unit_test(test_first_connection),
		cmocka_unit_test(test_short_waits),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_long_outage),
		cmocka_unit_test(test_long_waits),
		cmocka_unit_test(test_waits_beside_another),
		cmocka_unit_test(test_first_redial),
		cmocka_unit_test(test_refusing_edge),
		cmocka_unit_test(test_token_bucket),
		cmocka_unit_test(test_network_changed),
		cmocka_unit_test(test_reconnect),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_chaos),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
