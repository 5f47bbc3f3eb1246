/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every (state, event) pair of a connection index against the golden list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/aditd/supervisor_fsm.h"
#include "util/macro.h"

/* clang-format off */
#define GO(from, event, next, action) \
	{ INDEX_STATE_##from, INDEX_EVENT_##event, { INDEX_STATE_##next, INDEX_ACTION_##action } }
static const struct {
	enum index_state from;
	enum index_event event;
	struct index_step step;
} golden[] = {
	GO(IDLE,        START,      DIALING,     DIAL),
	GO(IDLE,        STOP,       STOPPED,     NONE),
	GO(WAITING,     START,      DIALING,     DIAL),
	GO(WAITING,     TIMER,      DIALING,     DIAL),
	GO(WAITING,     STOP,       STOPPED,     NONE),
	GO(DIALING,     BLOCKED,    WAITING,     NONE),
	GO(DIALING,     CONNECTED,  REGISTERING, NONE),
	GO(DIALING,     FAILED,     WAITING,     BACK_OFF),
	GO(DIALING,     STOP,       STOPPED,     NONE),
	GO(REGISTERING, RELAPSED,   DIALING,     NONE),
	GO(REGISTERING, FAILED,     WAITING,     BACK_OFF),
	GO(REGISTERING, REGISTERED, UP,          SETTLE),
	GO(REGISTERING, STOP,       STOPPED,     NONE),
	GO(UP,          TIMER,      UP,          REPLACE),
	GO(UP,          FAILED,     UP,          BACK_OFF),
	GO(UP,          REGISTERED, UP,          SETTLE),
	GO(UP,          SUSPECT,    SUSPECT,     REPLACE),
	GO(UP,          AWAY,       DIALING,     ADOPT),
	GO(UP,          LOST,       DIALING,     ADOPT),
	GO(UP,          STOP,       STOPPED,     NONE),
	GO(SUSPECT,     TIMER,      SUSPECT,     REPLACE),
	GO(SUSPECT,     FAILED,     SUSPECT,     BACK_OFF),
	GO(SUSPECT,     REGISTERED, UP,          SETTLE),
	GO(SUSPECT,     HEARD,      UP,          KEEP),
	GO(SUSPECT,     AWAY,       DIALING,     ADOPT),
	GO(SUSPECT,     LOST,       DIALING,     ADOPT),
	GO(SUSPECT,     STOP,       STOPPED,     NONE),
};
#undef GO
/* clang-format on */

static struct index_step wanted(unsigned int state, unsigned int event)
{
	for (size_t i = 0; i < ARRAY_SIZE(golden); i++)
		if (golden[i].from == state && golden[i].event == event)
			return golden[i].step;
	return (struct index_step){};
}

static void test_all_pairs(void **state)
{
	(void)state;
	for (unsigned int s = 0; s <= INDEX_STATE_MAX_; s++) {
		for (unsigned int e = 0; e <= INDEX_EVENT_MAX_; e++) {
			struct index_step want = wanted(s, e);
			struct index_step got =
				index_fsm_step((enum index_state)s, (enum index_event)e);
			assert_int_equal(got.next, want.next);
			assert_int_equal(got.action, want.action);
		}
	}
}

/* There is a way to UP, from everywhere one to STOPPED, and none out of it. */
static void test_ways(void **state)
{
	(void)state;
	static const enum index_event way[] = { INDEX_EVENT_START, INDEX_EVENT_CONNECTED,
						INDEX_EVENT_REGISTERED };
	enum index_state s = INDEX_STATE_IDLE;
	for (size_t i = 0; i < ARRAY_SIZE(way); i++)
		s = index_fsm_step(s, way[i]).next;
	assert_int_equal(s, INDEX_STATE_UP);
	for (unsigned int e = 0; e < INDEX_EVENT_MAX_; e++)
		assert_int_equal(index_fsm_step(INDEX_STATE_STOPPED, (enum index_event)e).next,
				 INDEX_STATE_INVALID_);
	for (unsigned int from = INDEX_STATE_IDLE; from < INDEX_STATE_MAX_; from++) {
		if (from == INDEX_STATE_STOPPED)
			continue;
		assert_int_equal(index_fsm_step((enum index_state)from, INDEX_EVENT_STOP).next,
				 INDEX_STATE_STOPPED);
	}
}

/* An attempt goes one way only, and registers when it was told to. */
static void test_tries(void **state)
{
	(void)state;
	static const enum try_state golden_tries[TRY_STATE_MAX_][TRY_EVENT_MAX_] = {
		[TRY_STATE_NONE_][TRY_EVENT_DIAL] = TRY_STATE_DIALING,
		[TRY_STATE_DIALING][TRY_EVENT_CONNECTED] = TRY_STATE_HELD,
		[TRY_STATE_HELD][TRY_EVENT_REGISTER] = TRY_STATE_REGISTERING,
	};
	for (unsigned int s = 0; s <= TRY_STATE_MAX_; s++) {
		for (unsigned int e = 0; e <= TRY_EVENT_MAX_; e++) {
			bool is_known = s < TRY_STATE_MAX_ && e < TRY_EVENT_MAX_ &&
					golden_tries[s][e] != TRY_STATE_NONE_;
			enum try_state t = (enum try_state)s;
			assert_int_equal(try_fsm_step(&t, (enum try_event)e), is_known);
			assert_int_equal(t, is_known ? golden_tries[s][e] : s);
		}
	}
}

static void test_names(void **state)
{
	(void)state;
	for (unsigned int s = 0; s < INDEX_STATE_MAX_; s++) {
		const char *name = index_state_name((enum index_state)s);
		assert_non_null(name);
		for (unsigned int other = 0; other < s; other++)
			assert_string_not_equal(name, index_state_name((enum index_state)other));
	}
	for (unsigned int e = 0; e < INDEX_EVENT_MAX_; e++)
		assert_non_null(index_event_name((enum index_event)e));
	assert_string_equal(index_state_name(INDEX_STATE_MAX_), "invalid");
	assert_string_equal(index_event_name(INDEX_EVENT_MAX_), "invalid");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_pairs),
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_tries),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
