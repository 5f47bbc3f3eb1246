/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows at the edge: what is bundled, held, repeated, bounded; how a flow goes from link to link;
 * IP packets.
 */
#include "daemon/session/flow_caller.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/wire/dgram_v2.h"
#include "selftests/lib/call_world.h"

static void test_bundled_then_up(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	assert_int_equal(fx->link.count, 0); /* nothing to say yet */
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_send(&fx->call, SPAN_LIT("two"));
	flow_call_send(&fx->call, span_of(NULL, 0));
	assert_int_equal(fx->link.count, 1);
	calls_assert_registration(fx, &fx->link, 0, SPAN_LIT("one"));
	calls_turn_until(fx, &fx->link.count, 2);
	calls_assert_registration(fx, &fx->link, 1, SPAN_LIT("one"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	calls_assert_payload(fx, &fx->link, 2, SPAN_LIT("two"));
	calls_assert_payload(fx, &fx->link, 3, span_of(NULL, 0));
	flow_call_send(&fx->call, SPAN_LIT("three"));
	calls_assert_payload(fx, &fx->link, 4, SPAN_LIT("three"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK); /* of the repeat */
	assert_int_equal(fx->link.count, 5);
	calls_answer(fx, &fx->link, SPAN_LIT("yes"));
	assert_int_equal(fx->payloads, 1);
	assert_memory_equal(fx->last, "yes", 3);
	assert_int_equal(fx->caller.repeats, 1);
}

static void test_foreign_gets_nothing_bundled(void **state)
{
	struct call_world *fx = *state;
	fx->link.port.is_ours = false;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_assert_registration(fx, &fx->link, 0, span_of(NULL, 0));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	calls_assert_payload(fx, &fx->link, 1, SPAN_LIT("one"));
}

/* What a registration doesn't take goes behind it; what nothing takes is counted. */
static void test_sizes(void **state)
{
	struct call_world *fx = *state;
	static const uint8_t bytes[1400];
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, span_of(bytes, 1255));
	calls_assert_registration(fx, &fx->link, 0, span_of(NULL, 0));
	flow_call_send(&fx->call, span_of(bytes, 1380));
	flow_call_send(&fx->call, span_of(bytes, 1381));
	assert_int_equal(fx->caller.drops[CALL_DROP_TOO_BIG], 1);
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	calls_assert_payload(fx, &fx->link, 1, span_of(bytes, 1255));
	calls_assert_payload(fx, &fx->link, 2, span_of(bytes, 1380));
	fx->link.max = 17 + 500;
	flow_call_send(&fx->call, span_of(bytes, 500));
	flow_call_send(&fx->call, span_of(bytes, 501));
	assert_int_equal(fx->caller.drops[CALL_DROP_TOO_BIG], 2);
	fx->link.max = 1435;
	fx->link.port.is_ours = false;
	flow_call_send(&fx->call, span_of(bytes, 1280));
	flow_call_send(&fx->call, span_of(bytes, 1281));
	assert_int_equal(fx->caller.drops[CALL_DROP_TOO_BIG], 3);
	assert_int_equal(fx->link.count, 5);
	fx->link.error = -ENOBUFS;
	flow_call_send(&fx->call, span_of(bytes, 1));
	fx->link.error = -EPROTO;
	flow_call_send(&fx->call, span_of(bytes, 1));
	assert_int_equal(fx->caller.drops[CALL_DROP_LINK_FULL], 1);
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_LINK], 1);
}

static void test_held_bounds(void **state)
{
	struct call_world *fx = *state;
	static const uint8_t bytes[1000];
	fx->caller.held_max = 3 * 1002;
	flow_call_bind(&fx->call, &fx->link.port);
	for (unsigned int i = 0; i < 5; i++)
		flow_call_send(&fx->call, span_of(bytes, 1000));
	assert_int_equal(fx->caller.drops[CALL_DROP_HELD], 2);
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	assert_int_equal(fx->link.count, 3); /* one with the registration */
	flow_call_bind(&fx->call, &fx->other.port);
	for (unsigned int i = 0; i < 70; i++)
		flow_call_send(&fx->call, SPAN_LIT("x"));
	assert_int_equal(fx->caller.drops[CALL_DROP_HELD], 2 + 70 - 64);
}

static void test_refused_and_again(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_send(&fx->call, SPAN_LIT("two"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_TOO_MANY);
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 2);
	assert_int_equal(fx->refusals, 1);
	flow_call_send(&fx->call, SPAN_LIT("three"));
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 3);
	assert_int_equal(fx->link.count, 1);
	fx->call.refused = 0; /* long ago */
	if (loop_now(fx->worker->loop) < 2 * NSEC_PER_SEC)
		skip();
	flow_call_send(&fx->call, SPAN_LIT("four"));
	calls_assert_registration(fx, &fx->link, 1, SPAN_LIT("four"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	flow_call_send(&fx->call, SPAN_LIT("five"));
	calls_assert_payload(fx, &fx->link, 2, SPAN_LIT("five"));
}

static void test_unanswered(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	for (unsigned int i = 0; i < 6; i++)
		calls_hurry(fx);
	assert_int_equal(fx->link.count, 6);
	assert_int_equal(fx->caller.unanswered, 1);
	assert_int_equal(fx->caller.refusals, 1);
	assert_int_equal(fx->refusals, 1);
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 1);
	calls_hurry(fx);
	assert_int_equal(fx->link.count, 6);
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK); /* it comes after all */
	flow_call_send(&fx->call, SPAN_LIT("two"));
	calls_assert_payload(fx, &fx->link, 6, SPAN_LIT("two"));
}

/* A flow that has lived is asked for without a payload: it may live still, and would ignore it. */
static void test_another_link(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	call_port_close(&fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("kept"));
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_LINK], 0);
	flow_call_bind(&fx->call, &fx->other.port);
	flow_call_bind(&fx->call, &fx->other.port);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	calls_assert_registration(fx, &fx->other, 0, span_of(NULL, 0));
	calls_respond(fx, &fx->other, DGRAM3_CODE_OK);
	calls_assert_payload(fx, &fx->other, 1, SPAN_LIT("kept"));
	calls_assert_payload(fx, &fx->other, 2, SPAN_LIT("two"));
	assert_int_equal(fx->other.count, 3);
}

/* One in which nothing has moved for a while isn't looked after until it is used again. */
static void test_another_link_after_a_while(void **state)
{
	struct call_world *fx = *state;
	if (nsec_clock(CLOCK_MONOTONIC) < 10 * NSEC_PER_SEC)
		skip();
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	fx->call.active = 0;
	call_port_close(&fx->link.port);
	assert_int_equal(fx->call.state, CALL_STATE_UP);
	flow_call_send(&fx->call, SPAN_LIT("lost"));
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_LINK], 1);
	flow_call_bind(&fx->call, &fx->other.port);
	assert_int_equal(fx->other.count, 0);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	calls_assert_registration(fx, &fx->other, 0, span_of(NULL, 0));
}

/* What a link says of a flow that has left it says nothing about the one that it is on now. */
static void test_answer_of_the_link_before(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_bind(&fx->call, &fx->other.port);
	calls_assert_registration(fx, &fx->other, 0, SPAN_LIT("one"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_TOO_MANY);
	assert_int_equal(fx->caller.refusals, 0);
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_int_equal(fx->other.count, 1); /* it waits still */
	calls_respond(fx, &fx->other, DGRAM3_CODE_OK);
	calls_assert_payload(fx, &fx->other, 1, SPAN_LIT("two"));
}

/* What waits when its link ends goes by another. */
static void test_lost_while_waiting(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	call_port_close(&fx->link.port);
	calls_hurry(fx);
	assert_int_equal(fx->losses, 1);
	fx->refuge = &fx->other;
	calls_hurry(fx);
	calls_assert_registration(fx, &fx->other, 0, SPAN_LIT("one"));
	calls_respond(fx, &fx->other, DGRAM3_CODE_OK);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	calls_assert_payload(fx, &fx->other, 1, SPAN_LIT("two"));
}

/* A flow that is closed while payloads wait, and made again, has nothing of the one before. */
static void test_made_again(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_send(&fx->call, SPAN_LIT("two"));
	struct dgram_id before = fx->call.id;
	flow_call_close(&fx->call);
	assert_int_equal(calls_open_call(fx), 0);
	assert_false(dgram_id_eq(&fx->call.id, &before));
	flow_call_bind(&fx->call, &fx->other.port);
	assert_int_equal(fx->other.count, 0);
	flow_call_send(&fx->call, SPAN_LIT("three"));
	calls_assert_registration(fx, &fx->other, 0, SPAN_LIT("three"));
	calls_respond(fx, &fx->other, DGRAM3_CODE_OK);
	assert_int_equal(fx->other.count, 1);
}

/* An origin may be sending: one that was used a moment ago is registered elsewhere without a
 * payload, and tried again; nobody is told where that is of no use. */
static void test_lost_while_in_use(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	fx->refuge = &fx->other;
	call_port_close(&fx->link.port);
	assert_int_equal(loop_turn(fx->worker->loop, 100 * NSEC_PER_MSEC), 0);
	assert_int_equal(fx->losses, 1);
	calls_assert_registration(fx, &fx->other, 0, span_of(NULL, 0));
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_int_equal(fx->other.count, 1); /* it waits for the answer of what was asked */
	calls_respond(fx, &fx->other, DGRAM3_CODE_OK);
	calls_assert_payload(fx, &fx->other, 1, SPAN_LIT("two"));
	assert_int_equal(fx->other.count, 2);
}

/* Without another link it is left in peace after a while, and a later payload is held as ever. */
static void test_lost_for_good(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	call_port_close(&fx->link.port);
	for (unsigned int i = 0; i < 6; i++) {
		timer_start(fx->worker->loop, &fx->call.timer, 0);
		assert_int_equal(loop_turn(fx->worker->loop, 0), 0);
		assert_int_equal(loop_turn(fx->worker->loop, 0), 0);
	}
	assert_false(fx->call.is_eager);
	assert_int_equal(fx->caller.refusals, 0);
	assert_int_equal(fx->idles, 0);
	flow_call_bind(&fx->call, &fx->other.port);
	assert_int_equal(fx->other.count, 0);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	calls_assert_registration(fx, &fx->other, 0, span_of(NULL, 0));
}

/* Another worker's flow, which is to be registered here without a payload. */
static void test_claimed(void **state)
{
	struct call_world *fx = *state;
	flow_call_claim(&fx->call); /* no link yet */
	assert_int_equal(fx->link.count, 0);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_claim(&fx->call);
	flow_call_claim(&fx->call);
	assert_int_equal(fx->link.count, 1);
	calls_assert_registration(fx, &fx->link, 0, span_of(NULL, 0));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	assert_int_equal(fx->call.state, CALL_STATE_UP);
	flow_call_claim(&fx->call);
	assert_int_equal(fx->link.count, 1);
}

/* One that a daemon may have from another worker: a repeat's payload isn't sent on there. */
static void test_known_gets_nothing_bundled(void **state)
{
	struct call_world *fx = *state;
	flow_call_close(&fx->call);
	fx->was_up = true;
	assert_int_equal(calls_open_call(fx), 0);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_assert_registration(fx, &fx->link, 0, span_of(NULL, 0));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	calls_assert_payload(fx, &fx->link, 1, SPAN_LIT("one"));
}

/* After silence the flow is asked for before the payload, once in a while. */
static void test_silence(void **state)
{
	struct call_world *fx = *state;
	if (nsec_clock(CLOCK_MONOTONIC) < 10 * NSEC_PER_SEC)
		skip();
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	fx->call.heard = 0;
	flow_call_send(&fx->call, SPAN_LIT("two"));
	flow_call_send(&fx->call, SPAN_LIT("three"));
	calls_assert_registration(fx, &fx->link, 1, span_of(NULL, 0));
	calls_assert_payload(fx, &fx->link, 2, SPAN_LIT("two"));
	calls_assert_payload(fx, &fx->link, 3, SPAN_LIT("three"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_UNREACHABLE); /* it can't be made again */
	flow_call_send(&fx->call, SPAN_LIT("four"));
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 1);
}

static void test_idle(void **state)
{
	struct call_world *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_respond(fx, &fx->link, DGRAM3_CODE_OK);
	fx->call.idle = 30 * NSEC_PER_MSEC;
	calls_hurry(fx);
	calls_answer(fx, &fx->link, SPAN_LIT("a"));
	calls_turn_until(fx, &fx->idles, 1);
	assert_null(fx->call.caller);
	assert_int_equal(fx->caller.calls.count, 0);
}

static void test_malformed(void **state)
{
	struct call_world *fx = *state;
	static const uint8_t icmp[] = { 0x02, 0x45 };
	uint8_t big[17 + 1381] = { 0x01 };
	uint64_t bad = 0;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	for (size_t len = 1; len < 17; len++, bad++)
		calls_give(fx, &fx->link, big, len);
	calls_give(fx, &fx->link, big, sizeof(big));
	calls_give(fx, &fx->link, big, 0);
	calls_give(fx, &fx->link, fx->link.sent[0].bytes,
		   fx->link.sent[0].len); /* a registration */
	big[0] = 0x03;
	for (size_t len = 1; len < 20; len++, bad++)
		calls_give(fx, &fx->link, big, len);
	big[0] = 0x07;
	calls_give(fx, &fx->link, big, 20);
	assert_int_equal(fx->caller.drops[CALL_DROP_MALFORMED], bad + 4);
	calls_give(fx, &fx->link, icmp, sizeof(icmp));
	assert_int_equal(fx->caller.drops[CALL_DROP_ICMP], 1);
	big[0] = 0x01;
	calls_give(fx, &fx->link, big, 20);
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_FLOW], 1);
	assert_int_equal(fx->payloads, 0);
	assert_int_equal(fx->call.state, CALL_STATE_WAITING);
}

static void on_packet(void *packet_user, struct call_port *port, struct span packet)
{
	struct call_world *fx = packet_user;
	assert_ptr_equal(port, &fx->link.port);
	assert_true(span_eq(packet, SPAN_LIT("packet")));
	fx->packets++;
}

/* Whole packets, both ways and in both versions, by the front of each. */
static void test_packets(void **state)
{
	static const uint8_t big[DGRAM2_PACKET_MAX];
	struct call_world *fx = *state;
	fx->caller.on_packet = on_packet;
	fx->caller.packet_user = fx;
	for (unsigned int v = 3; v >= 2; v--) {
		if (v == 2)
			calls_speak_v2(&fx->link);
		fx->link.count = 0;
		assert_int_equal(call_port_send_packet(&fx->link.port, SPAN_LIT("packet")), 0);
		calls_give(fx, &fx->link, fx->link.sent[0].bytes, fx->link.sent[0].len);
		assert_int_equal(fx->packets, 4 - v);
		struct span more = span_of(big, v == 2 ? 1350 : 1281),
			    most = span_first(more, more.len - 1);
		assert_int_equal(call_port_packet_max(&fx->link.port), most.len);
		assert_int_equal(call_port_send_packet(&fx->link.port, most), 0);
		assert_int_equal(call_port_send_packet(&fx->link.port, more), -EMSGSIZE);
	}
	fx->link.max = 101;
	assert_int_equal(call_port_packet_max(&fx->link.port), 100);
}

/* What the version allows, until the size of the path is known. */
static void test_payload_max(void **state)
{
	struct call_world *fx = *state;
	fx->link.max = 1217;
	assert_int_equal(flow_call_payload_max(&fx->call), DGRAM_PAYLOAD_MAX);
	flow_call_bind(&fx->call, &fx->link.port);
	assert_int_equal(flow_call_payload_max(&fx->call), DGRAM_PAYLOAD_MAX_ADIT);
	fx->call.bound = 0; /* long ago */
	assert_int_equal(flow_call_payload_max(&fx->call), 1200);
	fx->link.max = 1435;
	fx->link.port.is_ours = false;
	assert_int_equal(flow_call_payload_max(&fx->call), DGRAM_PAYLOAD_MAX);
	fx->link.max = 3;
	assert_int_equal(flow_call_payload_max(&fx->call), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, calls_start, calls_end)
	const struct CMUnitTest tests[] = {
		T(test_bundled_then_up),
		T(test_foreign_gets_nothing_bundled),
		T(test_known_gets_nothing_bundled),
		T(test_lost_while_in_use),
		T(test_lost_for_good),
		T(test_claimed),
		T(test_sizes),
		T(test_held_bounds),
		T(test_refused_and_again),
		T(test_unanswered),
		T(test_another_link),
		T(test_another_link_after_a_while),
		T(test_answer_of_the_link_before),
		T(test_lost_while_waiting),
		T(test_made_again),
		T(test_silence),
		T(test_idle),
		T(test_malformed),
		T(test_packets),
		T(test_payload_max),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
