/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection whose edge falls silent, and the way back from HTTP/2 to QUIC: the rows of spec §6
 * that test-supervisor_core.c leaves out.
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

/* A world in which all indexes are up for half a minute. */
static struct world *up(enum conf_protocol protocol, unsigned int connections, unsigned int addrs)
{
	struct world *w = world_new(protocol, connections, addrs);
	supervisor_core_start(w->core, w->now);
	assert_true(world_run_until_up(w, connections, 30 * SEC) < 30 * SEC);
	world_run(w, 30 * SEC);
	return w;
}

/* The same on HTTP/2: UDP was dropped when it started, and still is. */
static struct world *up_on_http2(unsigned int connections, unsigned int addrs)
{
	struct world *w = world_new(CONF_PROTOCOL_AUTO, connections, addrs);
	world_set_path(w, QUIC, WORLD_DROP);
	supervisor_core_start(w->core, w->now);
	assert_true(world_run_until_up(w, connections, 30 * SEC) < 30 * SEC);
	assert_int_equal(world_links(w, H2), connections);
	return w;
}

/* QUIC, on which the only index is, drops: HTTP/2 takes over. Then QUIC works again. */
static void flap(struct world *w)
{
	world_cut(w, QUIC, true);
	world_run(w, 3 * SEC);
	assert_int_equal(world_links(w, H2), 1);
	world_cut(w, QUIC, false);
}

/* An index whose return to QUIC hasn't lasted. */
static struct world *up_flapping(unsigned int addrs)
{
	struct world *w = up_on_http2(1, addrs);
	world_set_path(w, QUIC, WORLD_OPEN);
	world_run(w, 15 * SEC);
	assert_int_equal(world_links(w, QUIC), 1);
	flap(w);
	return w;
}

/* It is back with the third handshake after that dial. */
static void return_slowly(struct world *w, uint64_t before)
{
	while (world_links(w, H2) == 1)
		world_run(w, 10 * MSEC);
	assert_int_equal(w->conn_count, before + 3);
	for (unsigned int n = 2; n <= 3; n++)
		assert_in_range(w->conns[before + n].dialled - w->conns[before + n - 1].dialled,
				11 * SEC, 12100 * MSEC);
}

static const struct world_conn *dial_after(const struct world *w, uint64_t serial, unsigned int n)
{
	assert_true(w->conn_count >= serial + n);
	return &w->conns[serial + n];
}

/* ---- silence --------------------------------------------------------------------------------- */

/* SUSPECT: at once this index dials the next address on both transports, and the others are asked.
 */
static void test_suspect_dials(void **state)
{
	(void)state;
	struct world *w = up(CONF_PROTOCOL_AUTO, 2, 3);
	world_set_both(w, WORLD_SLOW);
	uint64_t before = w->conn_count;
	world_suspect(w, 1);
	assert_int_equal(w->conn_count, before + 2);
	const struct world_conn *a = dial_after(w, before, 1), *b = dial_after(w, before, 2);
	assert_int_not_equal(a->protocol, b->protocol);
	assert_int_equal(a->addr, b->addr);
	assert_int_not_equal(a->addr, world_link(w, 0)->addr);
	assert_int_not_equal(a->addr, world_link(w, 1)->addr);
	assert_int_equal(w->probes_all, 1);
	assert_int_equal(w->probed_but, 1);
	assert_int_equal(supervisor_core_state(w->core, 1), INDEX_STATE_SUSPECT);
	/* The old one answers first: it stays, the dials end. */
	uint64_t old = supervisor_core_link(w->core, 1)->serial;
	world_run(w, 100 * MSEC);
	world_heard(w, 1);
	world_run(w, 100 * SEC);
	assert_int_equal(w->conns[old].state, WORLD_STATE_UP);
	assert_int_equal(supervisor_core_link(w->core, 1)->serial, old);
	assert_int_equal(w->conn_count, before + 2);
	/* The new one registers first: the old one is closed at once. */
	world_suspect(w, 1);
	world_run(w, 400 * MSEC);
	assert_int_equal(w->conns[old].state, WORLD_STATE_CLOSED);
	assert_int_not_equal(supervisor_core_link(w->core, 1)->serial, old);
	assert_int_equal(supervisor_core_up_count(w->core), 2);
	world_free(w);
}

/* One address only: HTTP/2. With one transport: a new connection of that. */
static void test_suspect_alone(void **state)
{
	(void)state;
	static const struct {
		enum conf_protocol protocol;
		enum link_protocol want;
	} rows[] = { { CONF_PROTOCOL_AUTO, H2 },
		     { CONF_PROTOCOL_QUIC, QUIC },
		     { CONF_PROTOCOL_HTTP2, H2 } };
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = up(rows[i].protocol, 1, 1);
		world_suspect(w, 0);
		assert_int_equal(w->conn_count, 2);
		assert_int_equal(w->conns[2].protocol, rows[i].want);
		world_run(w, SEC);
		assert_int_equal(supervisor_core_up_count(w->core), 1);
		world_free(w);
	}
}

/* Nobody answers: it goes on trying, and comes back with whoever answers first. */
static void test_suspect_and_nobody(void **state)
{
	(void)state;
	struct world *w = up(CONF_PROTOCOL_AUTO, 2, 2);
	world_set_both(w, WORLD_DROP);
	uint64_t before = w->conn_count;
	world_suspect(w, 0);
	world_suspect(w, 1);
	world_run(w, 40 * SEC);
	for (int i = 0; i < 2; i++)
		assert_in_range(world_dials(w, i, w->now - 40 * SEC), 10, 24);
	assert_true(w->conn_count > before);
	world_set_both(w, WORLD_OPEN);
	assert_true(world_run_until_up(w, 2, 3 * SEC) < 3 * SEC);
	world_free(w);
}

/* Beside a healthy index the waits grow to 60 s; then the link dies and it goes on. */
static void test_suspect_beside_another(void **state)
{
	(void)state;
	struct world *w = up(CONF_PROTOCOL_AUTO, 2, 2);
	unsigned int dead = world_link(w, 1)->addr;
	world_set_both(w, WORLD_DROP);
	world_suspect(w, 1);
	nsec_t from = w->now;
	world_run(w, 60 * SEC);
	unsigned int dials = world_dials(w, 1, from);
	assert_in_range(dials, 6, 16);
	world_close(w, 1, LINK_END_IDLE);
	assert_int_equal(w->probes_all, 2);
	world_run(w, 300 * SEC);
	assert_in_range(world_dials(w, 1, from) - dials, 6, 30);
	world_set_both(w, WORLD_OPEN);
	assert_true(world_run_until_up(w, 2, 61 * SEC) < 61 * SEC);
	(void)dead;
	world_free(w);
}

/* The idle timeout: the others are asked, the index dials another address at once. */
static void test_idle(void **state)
{
	(void)state;
	struct world *w = up(CONF_PROTOCOL_QUIC, 1, 2);
	unsigned int from = world_link(w, 0)->addr;
	world_close(w, 0, LINK_END_IDLE);
	assert_int_equal(w->conn_count, 2);
	assert_int_not_equal(w->conns[2].addr, from);
	assert_int_equal(w->probes_all, 1);
	/* A stateless reset says nothing against the address. */
	world_run(w, 200 * SEC);
	from = world_link(w, 0)->addr;
	world_close(w, 0, LINK_END_RESET);
	assert_int_equal(w->conns[3].addr, from);
	assert_int_equal(w->probes_all, 1);
	world_free(w);
}

/* T3: UDP dropped under way: every index is on HTTP/2 in 5 s, on QUIC again in 60 s. */
static void test_udp_dropped_and_restored(void **state)
{
	(void)state;
	for (unsigned int addrs = 1; addrs <= 4; addrs++) {
		struct world *w = up(CONF_PROTOCOL_AUTO, 4, addrs);
		assert_int_equal(world_links(w, QUIC), 4);
		world_cut(w, QUIC, true);
		world_run(w, 5 * SEC);
		assert_int_equal(supervisor_core_up_count(w->core), 4);
		assert_int_equal(world_links(w, H2), 4);
		world_run(w, 25 * SEC);
		uint64_t before = w->conn_count;
		world_cut(w, QUIC, false);
		world_run(w, 60 * SEC);
		assert_int_equal(world_links(w, QUIC), 4);
		assert_int_equal(supervisor_core_up_count(w->core), 4);
		/* Without a gap: the old ones drain. */
		for (uint64_t s = 1; s <= before; s++)
			if (w->conns[s].protocol == H2 && w->conns[s].up)
				assert_int_equal(w->conns[s].state, WORLD_STATE_DRAINING);
		world_free(w);
	}
}

/* ---- the way back ---------------------------------------------------------------------------- */

/* Probes 10 s, 20 s, 40 s ... 10 minutes apart (within 20 %), of one index at a time. */
static void test_series(void **state)
{
	(void)state;
	struct world *w = up_on_http2(3, 2);
	nsec_t last = 0;
	unsigned int n = 0;
	uint64_t before = w->conn_count;
	for (uint64_t s = 1; s <= w->conn_count; s++)
		if (w->conns[s].up && (!last || w->conns[s].up < last))
			last = w->conns[s].up;
	world_run(w, 3600 * SEC);
	unsigned int probed = 0;
	for (uint64_t s = before + 1; s <= w->conn_count; s++, n++) {
		assert_true(w->conns[s].is_probe);
		assert_int_equal(w->conns[s].protocol, QUIC);
		probed |= 1U << w->conns[s].index;
		nsec_t wait = MIN(10 * SEC << n, 600 * SEC);
		/* It gives up after 5 s, and the wait begins then. */
		nsec_t gap = w->conns[s].dialled - last - (n > 0 ? 5 * SEC : 0);
		assert_in_range(gap, wait - wait / 5, wait + wait / 5 + MSEC);
		last = w->conns[s].dialled;
	}
	assert_in_range(n, 8, 14);
	assert_int_equal(probed, 7);
	assert_int_equal(world_links(w, H2), 3);
	/* It succeeds: that index registers over QUIC and drains, the others follow. */
	world_set_path(w, QUIC, WORLD_OPEN);
	supervisor_core_network_changed(w->core, w->now);
	world_run(w, 600 * MSEC);
	assert_int_equal(world_links(w, QUIC), 1);
	world_run(w, 3 * SEC);
	assert_int_equal(world_links(w, QUIC), 3);
	unsigned int draining = 0;
	for (uint64_t s = 1; s <= w->conn_count; s++)
		draining += w->conns[s].state == WORLD_STATE_DRAINING;
	assert_int_equal(draining, 3);
	uint64_t serial = w->conn_count;
	world_run(w, 3600 * SEC);
	assert_int_equal(w->conn_count, serial);
	world_free(w);
}

/* A registration that fails leaves the index where it is. (Each but the first takes three
 * handshakes.) */
static void test_return_refused(void **state)
{
	(void)state;
	static const enum control_cause causes[] = { CONTROL_CAUSE_RETRY, CONTROL_CAUSE_PERMANENT,
						     CONTROL_CAUSE_EXCEPTION,
						     CONTROL_CAUSE_TIMEOUT };
	for (unsigned int i = 0; i < ARRAY_SIZE(causes); i++) {
		struct world *w = up_on_http2(1, 2);
		w->answer.cause = causes[i];
		world_set_path(w, QUIC, WORLD_SAYS);
		nsec_t from = w->now;
		world_run(w, 600 * SEC);
		assert_int_equal(world_links(w, H2), 1);
		assert_int_equal(supervisor_core_up_count(w->core), 1);
		assert_in_range(world_dials(w, 0, from), 10, 19);
		world_free(w);
	}
}

/* EDUPCONN: another address; else the old connection goes first, while another index is up. */
static void test_return_duplicate(void **state)
{
	(void)state;
	struct world *w = up_on_http2(1, 2);
	w->answer.cause = CONTROL_CAUSE_DUPLICATE;
	world_set_path(w, QUIC, WORLD_SAYS);
	unsigned int other = 1 - world_link(w, 0)->addr;
	w->path[QUIC][other] = WORLD_OPEN;
	world_run(w, 15 * SEC);
	assert_int_equal(world_links(w, QUIC), 1);
	assert_int_equal(world_link(w, 0)->addr, other);
	world_free(w);

	/* No other, nobody else: it stays on HTTP/2. */
	w = up_on_http2(1, 1);
	w->answer.cause = CONTROL_CAUSE_DUPLICATE;
	world_set_path(w, QUIC, WORLD_SAYS);
	nsec_t from = w->now;
	world_run(w, 600 * SEC);
	assert_int_equal(world_links(w, H2), 1);
	assert_in_range(world_dials(w, 0, from), 10, 19);
	world_free(w);

	/* No other address, but another index: unregister, then dial. */
	w = up_on_http2(2, 1);
	w->answer.cause = CONTROL_CAUSE_DUPLICATE;
	world_set_path(w, QUIC, WORLD_SAYS);
	while (world_links(w, H2) == 2)
		world_run(w, MSEC);
	assert_int_equal(supervisor_core_up_count(w->core), 1);
	uint64_t serial = w->conn_count;
	assert_int_equal(w->conns[serial].protocol, QUIC);
	assert_false(w->conns[serial].is_probe);
	world_set_path(w, QUIC, WORLD_OPEN);
	assert_true(world_run_until_up(w, 2, 5 * SEC) < 5 * SEC);
	assert_int_equal(world_links(w, QUIC), 1);
	world_free(w);
}

/* A return that doesn't last: three handshakes in a row, 11 s apart, before the next one. */
static void test_flapping(void **state)
{
	(void)state;
	struct world *w = up_flapping(1);
	return_slowly(w, w->conn_count);
	/* It stays up for five minutes: the series starts again at 10 s, and one is enough. */
	world_run(w, 301 * SEC);
	flap(w);
	uint64_t before = w->conn_count;
	world_run(w, 13 * SEC);
	assert_int_equal(world_links(w, QUIC), 1);
	assert_int_equal(w->conn_count, before + 1);
	world_free(w);
}

/* Back on QUIC because HTTP/2 was silent: that doesn't last either, and counts the same. */
static void test_flapping_without_a_probe(void **state)
{
	(void)state;
	struct world *w = up_on_http2(1, 2);
	world_set_path(w, QUIC, WORLD_OPEN);
	world_set_path(w, H2, WORLD_DROP);
	world_suspect(w, 0);
	world_run(w, 3 * SEC);
	assert_int_equal(world_links(w, QUIC), 1);
	world_set_path(w, H2, WORLD_OPEN);
	flap(w);
	return_slowly(w, w->conn_count);
	world_free(w);
}

/* Another network: what QUIC has proved on the one before doesn't count. */
static void test_flapping_and_event(void **state)
{
	(void)state;
	struct world *w = up_flapping(1);
	uint64_t before = w->conn_count;
	while (w->conn_count < before + 2)
		world_run(w, 10 * MSEC);
	world_run(w, SEC);
	assert_int_equal(world_links(w, H2), 1);
	supervisor_core_network_changed(w->core, w->now);
	return_slowly(w, before + 2);
	world_free(w);
}

/* While QUIC comes and goes a silent HTTP/2 connection is replaced by its like, if that answers. */
static void test_flapping_and_silence(void **state)
{
	(void)state;
	struct world *w = up_flapping(2);
	uint64_t before = w->conn_count;
	world_suspect(w, 0);
	world_run(w, SEC);
	assert_int_equal(world_links(w, H2), 1);
	assert_int_equal(w->conn_count, before + 1);
	/* It doesn't: QUIC joins. */
	world_set_path(w, H2, WORLD_DROP);
	world_suspect(w, 0);
	world_run(w, 3 * SEC);
	assert_int_equal(world_links(w, QUIC), 1);
	world_free(w);
}

/* T9: UDP comes and goes every 20 s for 3 minutes: at most one change of an index in the last 2. */
static void test_toggling(void **state)
{
	(void)state;
	for (int round = 0; round < 300; round++) {
		struct world *w = up(CONF_PROTOCOL_AUTO, 4, 4);
		world_run(w, (unsigned int)round * 67 * MSEC);
		enum link_protocol last[4] = {};
		unsigned int changes[4] = {};
		nsec_t start = w->now;
		bool is_cut = false;
		for (unsigned int sec = 0; sec < 180; sec++) {
			if (sec % 20 == 0)
				world_cut(w, QUIC, is_cut = !is_cut);
			world_run(w, SEC);
			for (unsigned int i = 0; i < 4; i++) {
				const struct core_link *link = supervisor_core_link(w->core, i);
				if (!link->serial || link->protocol == last[i])
					continue;
				last[i] = link->protocol;
				changes[i] += sec >= 60;
			}
		}
		for (unsigned int i = 0; i < 4; i++)
			assert_in_range(changes[i], 0, 1);
		assert_true(world_dials(w, -1, start) < 100);
		world_free(w);
	}
}

/* A netlink event: a probe at once. */
static void test_return_after_event(void **state)
{
	(void)state;
	struct world *w = up_on_http2(1, 1);
	world_run(w, 900 * SEC);
	world_set_path(w, QUIC, WORLD_OPEN);
	assert_int_equal(world_links(w, H2), 1);
	/* A probe may be under way: it ends first. */
	world_run(w, 6 * SEC);
	if (world_links(w, H2) == 1) {
		supervisor_core_network_changed(w->core, w->now);
		world_run(w, 600 * MSEC);
	}
	assert_int_equal(world_links(w, QUIC), 1);
	world_free(w);
}

/* What happens to the index while it probes ends the probe or adopts it. */
static void test_probe_and_others(void **state)
{
	(void)state;
	for (int what = 0; what < 4; what++) {
		struct world *w = up_on_http2(1, 2);
		world_set_path(w, QUIC, WORLD_SLOW);
		uint64_t before = w->conn_count;
		while (w->conn_count == before)
			world_run(w, 10 * MSEC);
		if (what == 0)
			world_close(w, 0, LINK_END_PEER);
		else if (what == 1)
			world_away(w, 0);
		else if (what == 2)
			world_suspect(w, 0);
		else
			world_set_addresses(w, 0xf0);
		assert_true(world_run_until_up(w, 1, SEC) < SEC);
		world_run(w, 60 * SEC);
		assert_int_equal(world_links(w, QUIC), 1);
		assert_int_equal(supervisor_core_up_count(w->core), 1);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suspect_dials),
		cmocka_unit_test(test_suspect_alone),
		cmocka_unit_test(test_suspect_and_nobody),
		cmocka_unit_test(test_suspect_beside_another),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_udp_dropped_and_restored),
		cmocka_unit_test(test_series),
		cmocka_unit_test(test_return_refused),
		cmocka_unit_test(test_return_duplicate),
		cmocka_unit_test(test_flapping),
		cmocka_unit_test(test_flapping_without_a_probe),
		cmocka_unit_test(test_flapping_and_event),
		cmocka_unit_test(test_flapping_and_silence),
		cmocka_unit_test(test_toggling),
		cmocka_unit_test(test_return_after_event),
		cmocka_unit_test(test_probe_and_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
