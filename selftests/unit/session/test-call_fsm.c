/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every state and event of a flow at the edge.
 */
#include "daemon/session/call_fsm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define NONE    CALL_STATE_INVALID_
#define WAITING CALL_STATE_WAITING
#define UP      CALL_STATE_UP
#define REFUSED CALL_STATE_REFUSED

/* accepted, refused, unanswered, rebind */
static const enum call_state golden[CALL_STATE_MAX_][CALL_EVENT_MAX_] = {
	[CALL_STATE_INVALID_] = { NONE, NONE, NONE, NONE, NONE },
	[CALL_STATE_WAITING] = { NONE, UP, REFUSED, REFUSED, WAITING },
	[CALL_STATE_UP] = { NONE, NONE, REFUSED, NONE, WAITING },
	[CALL_STATE_REFUSED] = { NONE, UP, NONE, NONE, WAITING },
};

static void test_table(void **state)
{
	(void)state;
	for (unsigned int s = 0; s < CALL_STATE_MAX_; s++)
		for (unsigned int e = 0; e < CALL_EVENT_MAX_; e++)
			assert_int_equal(call_fsm_next((enum call_state)s, (enum call_event)e),
					 golden[s][e]);
	assert_int_equal(call_fsm_next(CALL_STATE_MAX_, CALL_EVENT_REBIND), NONE);
	assert_int_equal(call_fsm_next(CALL_STATE_UP, CALL_EVENT_MAX_), NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_table) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
