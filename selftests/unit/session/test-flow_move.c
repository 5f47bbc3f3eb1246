/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP flows that go from link to link and from worker to worker; their local port stays.
 */
#include "daemon/session/flow_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "selftests/lib/flow_world.h"

/* ---- between workers ---- */

/* The same local port on another worker, and back; nothing that was sent in between is lost. */
static void test_moves_to_another_worker(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from, again;
	world_begin_flow(fx, 1, &from);
	world_begin_flow(fx, 2, &again); /* stays; on another anchor, as it has the same remote */
	world_answer(fx->origin, &from, SPAN_LIT("before"));
	world_register_to(fx, &fx->far, 1, &fx->origin_at);
	world_payload(fx, &fx->far, 1,
		      SPAN_LIT("right behind")); /* it goes where the flow was, and back */
	world_answer(fx->origin, &from, SPAN_LIT("in between"));
	world_settle(fx);
	world_assert_received(fx->origin, SPAN_LIT("right behind"), &again);
	assert_true(world_same_port(&from, &again));
	world_turn_until(fx, &fx->edge, 4);
	world_assert_payload(&fx->edge, 2, 1, SPAN_LIT("before"));
	world_assert_payload(&fx->edge, 3, 1, SPAN_LIT("in between"));
	world_assert_response(&fx->far, 0, 1, DGRAM3_CODE_OK);
	world_answer(fx->origin, &from, SPAN_LIT("there"));
	world_turn_until(fx, &fx->far, 2);
	world_assert_payload(&fx->far, 1, 1, SPAN_LIT("there"));
	assert_int_equal(fx->table.flows.count, 1);
	assert_int_equal(fx->second_table.flows.count, 1);
	assert_int_equal(fx->table.handed_over, 1);
	assert_int_equal(fx->second_table.by_index[2].moved, 1);
	assert_int_equal(fx->second_table.by_index[0].active, 1); /* by the index of its birth */
	assert_int_equal(fx->table.by_index[0].active, 1);
	world_payload(fx, &fx->edge, 1,
		      SPAN_LIT("from where it was")); /* as before: from everywhere */
	world_settle(fx);
	world_assert_received(fx->origin, SPAN_LIT("from where it was"), &again);
	assert_true(world_same_port(&from, &again));
	world_register_to(fx, &fx->other, 1, &fx->origin_at);
	world_settle(fx);
	world_assert_response(&fx->other, 0, 1, DGRAM3_CODE_OK);
	world_payload(fx, &fx->other, 1, SPAN_LIT("home"));
	world_assert_received(fx->origin, SPAN_LIT("home"), &again);
	assert_true(world_same_port(&from, &again));
	world_answer(fx->origin, &from, SPAN_LIT("again"));
	world_turn_until(fx, &fx->other, 2);
	assert_int_equal(fx->second_table.flows.count, 0);
	assert_int_equal(fx->table.flows.count, 2);
	assert_int_equal(world_strangers(fx), 0);
}

/* As long as it lives elsewhere nobody else gets its port; then its place is free. */
static void test_place_is_kept(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from, other;
	world_begin_flow(fx, 1, &from);
	world_register_to(fx, &fx->far, 1, &fx->origin_at);
	world_settle(fx);
	assert_int_equal(fx->second_table.flows.count, 1);
	world_begin_flow(fx, 2, &other);
	assert_false(world_same_port(&from, &other));
	assert_int_equal(datapath_get_stats(fx->datapath)->anchors, 2);
	flow_table_end_all(&fx->second_table);
	world_settle(fx);
	world_begin_flow(fx, 3, &other);
	assert_true(world_same_port(&from, &other));
	assert_int_equal(datapath_get_stats(fx->datapath)->anchors, 2);
	assert_int_equal(datapath_get_stats(fx->second_datapath)->connected, 0);
}

/* Asked for twice before the first answer: one flow, and no other. */
static void test_wanted_twice(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	world_begin_flow(fx, 1, &from);
	world_register_to(fx, &fx->far, 1, &fx->origin_at);
	assert_int_equal(loop_turn(fx->second->loop, 0), 0); /* asks */
	assert_int_equal(loop_turn(fx->worker->loop, 0), 0); /* gives */
	world_register_to(fx, &fx->far, 1, &fx->origin_at);
	world_payload(fx, &fx->far, 1, SPAN_LIT("x"));
	inbox_drain(&fx->second_table.inbox);
	assert_int_equal(fx->second_table.by_index[2].drops[FLOW_DROP_MOVING], 2);
	world_settle(fx);
	world_register_to(fx, &fx->far, 1, &fx->origin_at);
	assert_int_equal(fx->far.count, 2);
	assert_int_equal(fx->second_table.flows.count + fx->table.flows.count, 1);
	assert_int_equal(fx->second_table.by_index[2].repeated, 1);
	world_register_to(fx, &fx->edge, 1, &fx->origin_at); /* and two that wait in one batch */
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	world_settle(fx);
	assert_int_equal(fx->table.flows.count, 1);
	assert_int_equal(fx->table.by_index[0].repeated, 1);
}

/* It has ended when the question comes: it is made anew, with what its registration brings. */
static void test_gone_when_wanted(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	world_begin_flow(fx, 1, &from);
	world_register_as(fx, &fx->far,
			  &(struct dgram3_register){ .id = world_id_of(1),
						     .dest = fx->origin_at,
						     .payload = SPAN_LIT("bundled") });
	flow_table_end_all(&fx->table);
	world_settle(fx);
	world_assert_received(fx->origin, SPAN_LIT("bundled"), &from);
	world_assert_response(&fx->far, 0, 1, DGRAM3_CODE_OK);
	assert_int_equal(fx->second_table.by_index[2].total, 1);
	assert_int_equal(fx->second_table.flows.count, 1);
	assert_int_equal(fx->table.handed_over, 0);
}

/* The link that wanted it has ended meanwhile: it waits for another, and then ends. */
static void test_wanted_by_a_link_that_ended(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	world_begin_flow(fx, 1, &from);
	world_register_to(fx, &fx->far, 1, &fx->origin_at);
	flow_port_close(&fx->far.port);
	world_settle(fx);
	assert_int_equal(fx->second_table.flows.count, 1);
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	world_settle(fx);
	assert_int_equal(fx->table.flows.count, 1);
	world_assert_response(&fx->edge, 1, 1, DGRAM3_CODE_OK);
}

/* What is on its way to another worker has a bound. */
static void test_crossing_has_a_bound(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	static const uint8_t bytes[1200];
	enum { MANY = 5000 };
	world_begin_flow(fx, 1, &from);
	for (unsigned int i = 0; i < MANY; i++)
		world_payload(fx, &fx->far, 1, span_of(bytes, sizeof(bytes)));
	inbox_drain(&fx->second_table.inbox);
	uint64_t dropped = fx->second_table.by_index[2].drops[FLOW_DROP_CROSSING];
	assert_true(dropped > 0);
	assert_int_equal(fx->second_table.crossed + dropped, MANY);
	world_settle(fx);
	world_payload(fx, &fx->far, 1, SPAN_LIT("x"));
	inbox_drain(&fx->second_table.inbox);
	assert_int_equal(fx->second_table.by_index[2].drops[FLOW_DROP_CROSSING], dropped);
}

/* ---- a link that ends ---- */

/* Its flows wait a while for another link, with their port, and then end. */
static void test_link_ends(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from, again;
	world_begin_flow(fx, 1, &from);
	world_register_to(fx, &fx->edge, 2, &fx->origin_at);
	world_register_to(fx, &fx->edge, 3, &fx->origin_at);
	flow_port_close(&fx->edge.port);
	world_answer(fx->origin, &from, SPAN_LIT("to nobody"));
	world_turn_until_counted(fx, &fx->table.by_index[0].drops[FLOW_DROP_LINK_DOWN], 1);
	world_register_to(fx, &fx->other, 1, &fx->origin_at);
	world_register_to(fx, &fx->far, 2, &fx->origin_at);
	world_settle(fx);
	world_payload(fx, &fx->other, 1, SPAN_LIT("still"));
	world_assert_received(fx->origin, SPAN_LIT("still"), &again);
	assert_true(world_same_port(&from, &again));
	world_assert_response(&fx->far, 0, 2, DGRAM3_CODE_OK);
	assert_int_equal(fx->table.flows.count, 2);
	MAP_FOREACH(node, &fx->table.flows)
	{
		struct udp_session *s = MAP_ENTRY(node, struct udp_session, node);
		nsec_t now = loop_now(fx->worker->loop);
		assert_int_equal(s->port != NULL, s->index == 1);
		if (s->port)
			continue;
		assert_true(s->timer.at > now && s->timer.at <= now + 10 * NSEC_PER_SEC);
		s->lost = 0; /* long ago */
		timer_start(fx->worker->loop, &s->timer, now);
	}
	world_turn(fx, 0);
	world_turn(fx, 0);
	assert_int_equal(fx->table.flows.count, 1);
	assert_int_equal(fx->table.by_index[0].failed, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_start, world_end)
	const struct CMUnitTest tests[] = {
		T(test_moves_to_another_worker),
		T(test_place_is_kept),
		T(test_wanted_twice),
		T(test_gone_when_wanted),
		T(test_wanted_by_a_link_that_ended),
		T(test_crossing_has_a_bound),
		T(test_link_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
