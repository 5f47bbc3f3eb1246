/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every (state, event) pair of a call to an HTTP origin against the golden list.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "daemon/origin/origin_fsm.h"
#include "util/macro.h"

static const struct {
	enum origin_state from;
	enum origin_event event;
	enum origin_state to;
} golden[] = {
	{ ORIGIN_STATE_START, ORIGIN_EVENT_LOOKUP, ORIGIN_STATE_RESOLVE },
	{ ORIGIN_STATE_START, ORIGIN_EVENT_DIAL, ORIGIN_STATE_CONNECT },
	{ ORIGIN_STATE_START, ORIGIN_EVENT_CONNECTED, ORIGIN_STATE_EXCHANGE },
	{ ORIGIN_STATE_START, ORIGIN_EVENT_FAIL, ORIGIN_STATE_FAILED },
	{ ORIGIN_STATE_RESOLVE, ORIGIN_EVENT_DIAL, ORIGIN_STATE_CONNECT },
	{ ORIGIN_STATE_RESOLVE, ORIGIN_EVENT_FAIL, ORIGIN_STATE_FAILED },
	{ ORIGIN_STATE_CONNECT, ORIGIN_EVENT_SHAKE, ORIGIN_STATE_SECURE },
	{ ORIGIN_STATE_SECURE, ORIGIN_EVENT_CONNECTED, ORIGIN_STATE_EXCHANGE },
	{ ORIGIN_STATE_SECURE, ORIGIN_EVENT_FAIL, ORIGIN_STATE_FAILED },
	{ ORIGIN_STATE_CONNECT, ORIGIN_EVENT_CONNECTED, ORIGIN_STATE_EXCHANGE },
	{ ORIGIN_STATE_CONNECT, ORIGIN_EVENT_FAIL, ORIGIN_STATE_FAILED },
	{ ORIGIN_STATE_EXCHANGE, ORIGIN_EVENT_RETRY, ORIGIN_STATE_START },
	{ ORIGIN_STATE_EXCHANGE, ORIGIN_EVENT_ANSWER, ORIGIN_STATE_ANSWERED },
	{ ORIGIN_STATE_EXCHANGE, ORIGIN_EVENT_FAIL, ORIGIN_STATE_FAILED },
};

static enum origin_state wanted(unsigned int state, unsigned int event)
{
	for (size_t i = 0; i < ARRAY_SIZE(golden); i++)
		if (golden[i].from == state && golden[i].event == event)
			return golden[i].to;
	return ORIGIN_STATE_INVALID;
}

static void test_all_pairs(void **state)
{
	(void)state;
	for (unsigned int s = 0; s <= ORIGIN_STATE_MAX_; s++)
		for (unsigned int e = 0; e <= ORIGIN_EVENT_MAX_; e++)
			assert_int_equal(
				origin_fsm_next((enum origin_state)s, (enum origin_event)e),
				wanted(s, e));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_pairs) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
