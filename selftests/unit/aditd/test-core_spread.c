/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that have fled from an address come back to it, and what an old network did to
 * addresses is forgotten in a new one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/lib/core_world.h"

#define SEC  NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC
#define QUIC LINK_PROTOCOL_QUIC
#define H2   LINK_PROTOCOL_HTTP2

static void set_addr(struct world *w, unsigned int addr, enum world_path path)
{
	w->path[QUIC][addr] = w->path[H2][addr] = path;
}

/* Connections at each address. */
static void count(struct world *w, unsigned int counts[WORLD_ADDRS])
{
	memset(counts, 0, WORLD_ADDRS * sizeof(*counts));
	for (unsigned int i = 0; i < w->connections; i++)
		if (world_link(w, i))
			counts[world_link(w, i)->addr]++;
}

static struct world *up(unsigned int connections, unsigned int addrs)
{
	struct world *w = world_new(CONF_PROTOCOL_AUTO, connections, addrs);
	supervisor_core_start(w->core, w->now);
	assert_true(world_run_until_up(w, connections, 90 * SEC) < 90 * SEC);
	world_run(w, 30 * SEC);
	return w;
}

/* Addresses from `first` on are away for a minute; whoever was there is elsewhere then. */
static void lose(struct world *w, unsigned int first, unsigned int addrs)
{
	for (unsigned int a = first; a < addrs; a++)
		set_addr(w, a, WORLD_DROP);
	for (unsigned int i = 0; i < w->connections; i++)
		if (world_link(w, i)->addr >= first)
			world_suspect(w, i);
	world_run(w, 60 * SEC);
	assert_int_equal(supervisor_core_up_count(w->core), w->connections);
	unsigned int counts[WORLD_ADDRS];
	count(w, counts);
	for (unsigned int a = first; a < addrs; a++)
		assert_int_equal(counts[a], 0);
	for (unsigned int a = first; a < addrs; a++)
		set_addr(w, a, WORLD_OPEN);
}

/* Half of the addresses come back: soon each has its share, and no connection was missed meanwhile.
 */
static void test_back(void **state)
{
	(void)state;
	static const struct {
		unsigned int connections, addrs, least, most;
	} rows[] = {
		{ 4, 4, 1, 1 }, { 4, 2, 2, 2 }, { 3, 2, 1, 2 }, { 8, 4, 2, 2 }, { 2, 4, 0, 1 }
	};
	for (unsigned int r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
		struct world *w = up(rows[r].connections, rows[r].addrs);
		lose(w, rows[r].addrs / 2, rows[r].addrs);
		uint64_t before = w->conn_count;
		nsec_t last = 0;
		for (int step = 0; step < 300 * 100; step++) {
			world_run(w, 10 * MSEC);
			assert_int_equal(supervisor_core_up_count(w->core), rows[r].connections);
		}
		unsigned int counts[WORLD_ADDRS];
		count(w, counts);
		for (unsigned int a = 0; a < rows[r].addrs; a++)
			assert_in_range(counts[a], rows[r].least, rows[r].most);
		for (uint64_t s = before + 1; s <= w->conn_count; s++) {
			assert_true(w->conns[s].dialled - last >= 10 * SEC); /* one at a time */
			last = w->conns[s].dialled;
		}
		/* Then it is quiet. */
		before = w->conn_count;
		world_run(w, 3600 * SEC);
		assert_int_equal(w->conn_count, before);
		world_free(w);
	}
}

/* The address takes none of us: it is asked ever less often, and everybody stays where they are. */
static void test_refused(void **state)
{
	(void)state;
	static const enum control_cause causes[] = { CONTROL_CAUSE_DUPLICATE, CONTROL_CAUSE_RETRY,
						     CONTROL_CAUSE_PERMANENT,
						     CONTROL_CAUSE_TIMEOUT };
	for (unsigned int i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
		struct world *w = up(2, 2);
		lose(w, 1, 2);
		w->answer.cause = causes[i];
		set_addr(w, 1, WORLD_SAYS);
		const struct world_conn *links[] = { world_link(w, 0), world_link(w, 1) };
		nsec_t from = w->now;
		world_run(w, 3600 * SEC);
		assert_int_equal(supervisor_core_up_count(w->core), 2);
		assert_ptr_equal(world_link(w, 0), links[0]);
		assert_ptr_equal(world_link(w, 1), links[1]);
		assert_in_range(world_dials(w, -1, from), 5, 14);
		/* Taken at last: the next time counts from the start. */
		set_addr(w, 1, WORLD_OPEN);
		world_run(w, 1200 * SEC);
		assert_int_not_equal(world_link(w, 0)->addr, world_link(w, 1)->addr);
		world_free(w);
	}
}

/* Refused for an hour, then taken: what was before is forgotten with a success or a new network. */
static void test_after_refusals(void **state)
{
	(void)state;
	for (int is_new_network = 0; is_new_network < 2; is_new_network++) {
		struct world *w = up(4, 2);
		unsigned int counts[WORLD_ADDRS] = {};
		lose(w, 1, 2);
		w->answer.cause = CONTROL_CAUSE_RETRY;
		set_addr(w, 1, WORLD_SAYS);
		world_run(w, 3600 * SEC);
		set_addr(w, 1, WORLD_OPEN);
		nsec_t from = w->now;
		if (is_new_network)
			supervisor_core_network_changed(w->core, w->now);
		for (; counts[1] == 0; count(w, counts))
			world_run(w, 100 * MSEC);
		assert_true(w->now - from < (is_new_network ? 31 : 901) * SEC);
		world_run(w, 31 * SEC);
		count(w, counts);
		assert_int_equal(counts[1], 2);
		world_free(w);
	}
}

/* What moves goes on being what it was: by the same transport, and new on QUIC if it was that. */
static void test_same_transport(void **state)
{
	(void)state;
	struct world *w = world_new(CONF_PROTOCOL_AUTO, 2, 2);
	world_set_path(w, QUIC, WORLD_DROP);
	supervisor_core_start(w->core, w->now);
	assert_true(world_run_until_up(w, 2, 30 * SEC) < 30 * SEC);
	w->path[H2][1] = WORLD_DROP;
	for (unsigned int i = 0; i < 2; i++)
		if (world_link(w, i)->addr == 1)
			world_suspect(w, i);
	world_run(w, 60 * SEC);
	w->path[H2][1] = WORLD_OPEN;
	world_run(w, 200 * SEC);
	assert_int_not_equal(world_link(w, 0)->addr, world_link(w, 1)->addr);
	assert_int_equal(world_links(w, H2), 2);
	world_free(w);
}

/* T8: 20 s without a network, but for one connection that lives on. The addresses aren't to blame:
 * when it is back the indexes don't crowd together at the only one that hasn't failed. */
static void test_new_network(void **state)
{
	(void)state;
	for (unsigned int kept = 0; kept < 4; kept++) {
		struct world *w = up(4, 4);
		world_set_both(w, WORLD_UNREACHABLE);
		for (unsigned int i = 0; i < 4; i++)
			if (i == kept)
				world_suspect(w, i);
			else
				world_close(w, i, LINK_END_IDLE);
		world_run(w, 20 * SEC);
		assert_int_equal(supervisor_core_up_count(w->core), 0);
		world_set_both(w, WORLD_OPEN);
		supervisor_core_network_changed(w->core, w->now);
		world_heard(w, kept);
		assert_true(world_run_until_up(w, 4, 3 * SEC) < 3 * SEC);
		unsigned int counts[WORLD_ADDRS];
		count(w, counts);
		for (unsigned int a = 0; a < 4; a++)
			assert_in_range(counts[a], 0, 2);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back),           cmocka_unit_test(test_refused),
		cmocka_unit_test(test_after_refusals), cmocka_unit_test(test_same_transport),
		cmocka_unit_test(test_new_network),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
