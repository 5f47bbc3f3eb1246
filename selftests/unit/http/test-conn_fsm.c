/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every (state, event) pair of a server's connection against the golden list.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "daemon/http/conn_fsm.h"
#include "util/macro.h"

static const struct {
	enum conn_state from;
	enum conn_event event;
	enum conn_state to;
} golden[] = {
	{ CONN_STATE_IDLE, CONN_EVENT_BYTES, CONN_STATE_HEAD },
	{ CONN_STATE_IDLE, CONN_EVENT_LOST, CONN_STATE_CLOSED },
	{ CONN_STATE_HEAD, CONN_EVENT_REQUEST, CONN_STATE_EXCHANGE },
	{ CONN_STATE_HEAD, CONN_EVENT_LOST, CONN_STATE_CLOSED },
	{ CONN_STATE_EXCHANGE, CONN_EVENT_FREED, CONN_STATE_SENDING },
	{ CONN_STATE_EXCHANGE, CONN_EVENT_UPGRADED, CONN_STATE_CLOSED },
	{ CONN_STATE_EXCHANGE, CONN_EVENT_LOST, CONN_STATE_CLOSED },
	{ CONN_STATE_SENDING, CONN_EVENT_SENT_KEEP, CONN_STATE_IDLE },
	{ CONN_STATE_SENDING, CONN_EVENT_SENT_LAST, CONN_STATE_LINGER },
	{ CONN_STATE_SENDING, CONN_EVENT_LOST, CONN_STATE_CLOSED },
	{ CONN_STATE_LINGER, CONN_EVENT_LOST, CONN_STATE_CLOSED },
};

static enum conn_state wanted(unsigned int state, unsigned int event)
{
	for (size_t i = 0; i < ARRAY_SIZE(golden); i++)
		if (golden[i].from == state && golden[i].event == event)
			return golden[i].to;
	return CONN_STATE_INVALID;
}

static void test_all_pairs(void **state)
{
	(void)state;
	for (unsigned int s = 0; s <= CONN_STATE_MAX_; s++)
		for (unsigned int e = 0; e <= CONN_EVENT_MAX_; e++)
			assert_int_equal(conn_fsm_next((enum conn_state)s, (enum conn_event)e),
					 wanted(s, e));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_pairs) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
