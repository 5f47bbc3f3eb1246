/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows at the edge towards daemons of version 2: what is asked for and ended by calls.
 */
#include "daemon/session/flow_caller.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/wire/dgram_v2.h"
#include "selftests/lib/call_world.h"

static void test_v2_held_then_up(void **state)
{
	struct call_world *fx = *state;
	static const uint8_t bytes[1400];
	calls_speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	assert_int_equal(fx->link.asked, 0);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_send(&fx->call, span_of(NULL, 0));
	flow_call_send(&fx->call, span_of(bytes, 1281));
	calls_hurry(fx);
	assert_int_equal(fx->link.asked, 1); /* calls don't get lost */
	assert_int_equal(fx->link.count, 0);
	assert_true(ip_port_eq(&fx->link.reg.dest, &calls_dest));
	assert_int_equal(fx->link.reg.idle, (IDLE_SEC + 5) * NSEC_PER_SEC);
	assert_false(fx->link.reg.is_traced);
	calls_answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	calls_assert_payload_v2(&fx->link, 0, SPAN_LIT("one"));
	calls_assert_payload_v2(&fx->link, 1, span_of(NULL, 0));
	assert_int_equal(fx->link.count, 2);
	assert_int_equal(fx->caller.drops[CALL_DROP_TOO_BIG], 1);
	flow_call_send(&fx->call, span_of(bytes, 1280));
	calls_assert_payload_v2(&fx->link, 2, span_of(bytes, 1280));
	calls_answer_v2(fx, &fx->link, SPAN_LIT("yes"));
	assert_int_equal(fx->payloads, 1);
	assert_memory_equal(fx->last, "yes", 3);
	fx->call.heard = 0; /* silence means nothing here: the daemon would say */
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_int_equal(fx->link.count, 4);
	assert_int_equal(fx->link.asked, 1);
	flow_call_close(&fx->call);
	assert_int_equal(fx->link.ended, 1);
	assert_true(dgram_id_eq(&fx->link.end, &fx->link.reg.id));
	assert_int_equal(fx->caller.registrations, 1);
	assert_int_equal(fx->caller.repeats, 0);
}

static void test_v2_refused(void **state)
{
	struct call_world *fx = *state;
	if (nsec_clock(CLOCK_MONOTONIC) < 3 * NSEC_PER_SEC)
		skip();
	calls_speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	static const enum call_event events[] = { CALL_EVENT_REFUSED, CALL_EVENT_UNANSWERED };
	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++) {
		flow_call_send(&fx->call, SPAN_LIT("x"));
		assert_int_equal(fx->link.asked, i + 1);
		calls_answered(fx, &fx->link, events[i]);
		assert_int_equal(fx->caller.refusals, i + 1);
		flow_call_send(&fx->call, SPAN_LIT("dropped"));
		assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 2 * (i + 1));
		fx->call.refused = 0; /* long ago */
	}
	assert_int_equal(fx->caller.unanswered, 1);
	fx->link.call_error = -ENOBUFS; /* too many wait */
	flow_call_send(&fx->call, SPAN_LIT("x"));
	calls_hurry(fx);
	assert_int_equal(fx->link.asked, 2);
	fx->link.call_error = 0;
	calls_hurry(fx);
	assert_int_equal(fx->link.asked, 3);
	calls_answered(fx, &fx->link, CALL_EVENT_REFUSED);
	assert_int_equal(fx->caller.refusals, 3);
	assert_int_equal(fx->caller.registrations, 3);
	flow_call_close(&fx->call);
	assert_int_equal(fx->link.ended, 0); /* there is none to end */
}

/* Nobody says anything, not even that the call failed. */
static void test_v2_given_up(void **state)
{
	struct call_world *fx = *state;
	calls_speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	for (unsigned int i = 0; i < 6; i++)
		calls_hurry(fx);
	assert_int_equal(fx->link.asked, 1);
	assert_int_equal(fx->caller.unanswered, 1);
	assert_int_equal(fx->link.ended, 1); /* it may be made yet */
	calls_answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	assert_int_equal(fx->call.state, CALL_STATE_REFUSED);
	assert_int_equal(fx->link.count, 0);
}

/* Each session has an id of its own; what is said of an earlier one concerns nobody. */
static void test_v2_ended(void **state)
{
	struct call_world *fx = *state;
	calls_speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	calls_answer_v2(fx, &fx->link, SPAN_LIT("a"));
	struct dgram_id first = fx->link.reg.id;
	flow_caller_ended(&fx->caller, &fx->other.port, &first); /* another link's */
	flow_caller_ended(&fx->caller, &fx->link.port, &first);
	flow_caller_ended(&fx->caller, &fx->link.port, &first);
	assert_int_equal(fx->caller.ended, 1);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_int_equal(fx->link.asked, 2);
	assert_false(dgram_id_eq(&fx->link.reg.id, &first));
	flow_caller_answered(&fx->caller, &fx->link.port, &first, CALL_EVENT_REFUSED);
	flow_caller_ended(&fx->caller, &fx->link.port, &first);
	calls_answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	calls_assert_payload_v2(&fx->link, 1, SPAN_LIT("two"));
	/* This one brought nothing: its payloads are dropped for a while. */
	first = fx->link.reg.id;
	flow_caller_ended(&fx->caller, &fx->link.port, &first);
	flow_call_send(&fx->call, SPAN_LIT("three"));
	assert_int_equal(fx->link.asked, 2);
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 1);
	assert_int_equal(fx->caller.ended, 2);
	assert_int_equal(fx->link.ended, 0);
}

/* The end overtakes the answer: there is no session, whatever the answer says. */
static void test_v2_ended_before_the_answer(void **state)
{
	struct call_world *fx = *state;
	calls_speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	struct dgram_id id = fx->link.reg.id;
	flow_caller_ended(&fx->caller, &fx->link.port, &id);
	calls_answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_int_equal(fx->link.count, 0);
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 2);
}

static void test_v2_another_link(void **state)
{
	struct call_world *fx = *state;
	calls_speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	flow_call_bind(&fx->call, &fx->other.port); /* of version 3 */
	assert_int_equal(fx->link.ended, 1);
	calls_answer_v2(fx, &fx->link, SPAN_LIT("late"));
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_FLOW], 1);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	calls_assert_registration(fx, &fx->other, 0, span_of(NULL, 0));
	calls_respond(fx, &fx->other, DGRAM3_CODE_OK);
	calls_assert_payload(fx, &fx->other, 1, SPAN_LIT("two"));
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("three"));
	assert_int_equal(fx->link.asked, 2);
	call_port_close(&fx->link.port); /* nobody answers any more */
	fx->refuge = &fx->other;
	calls_speak_v2(&fx->other);
	calls_hurry(fx);
	assert_int_equal(fx->other.asked, 1);
	calls_answered(fx, &fx->other, CALL_EVENT_ACCEPTED);
	calls_assert_payload_v2(&fx->other, 2, SPAN_LIT("three"));
	assert_int_equal(fx->link.ended, 1);
}

static void test_v2_malformed(void **state)
{
	struct call_world *fx = *state;
	uint8_t bytes[60] = {};
	uint64_t bad = 0;
	calls_speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	calls_answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	for (size_t len = 0; len < 17; len++, bad++)
		calls_give(fx, &fx->link, bytes, len);
	for (unsigned int type = 2; type < 256; type++, bad++) {
		bytes[59] = (uint8_t)type;
		calls_give(fx, &fx->link, bytes, sizeof(bytes));
	}
	assert_int_equal(fx->caller.drops[CALL_DROP_MALFORMED], bad);
	bytes[59] = DGRAM2_TYPE_PACKET;
	calls_give(fx, &fx->link, bytes, sizeof(bytes));
	assert_int_equal(fx->caller.drops[CALL_DROP_ICMP], 1);
	bytes[59] = DGRAM2_TYPE_PAYLOAD;
	calls_give(fx, &fx->link, bytes, sizeof(bytes));
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_FLOW], 1);
	assert_int_equal(fx->payloads, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, calls_start, calls_end)
	const struct CMUnitTest tests[] = {
		T(test_v2_held_then_up),
		T(test_v2_refused),
		T(test_v2_given_up),
		T(test_v2_ended),
		T(test_v2_ended_before_the_answer),
		T(test_v2_another_link),
		T(test_v2_malformed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
