/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a call to an HTTP origin, as a table (style S1).
 */
#include "daemon/origin/origin_fsm.h"

/* clang-format off */
static const enum origin_state table[ORIGIN_STATE_MAX_][ORIGIN_EVENT_MAX_] = {
	[ORIGIN_STATE_START] = {
		[ORIGIN_EVENT_LOOKUP]    = ORIGIN_STATE_RESOLVE,
		[ORIGIN_EVENT_DIAL]      = ORIGIN_STATE_CONNECT,
		[ORIGIN_EVENT_CONNECTED] = ORIGIN_STATE_EXCHANGE,
		[ORIGIN_EVENT_FAIL]      = ORIGIN_STATE_FAILED,
	},
	[ORIGIN_STATE_RESOLVE] = {
		[ORIGIN_EVENT_DIAL]      = ORIGIN_STATE_CONNECT,
		[ORIGIN_EVENT_FAIL]      = ORIGIN_STATE_FAILED,
	},
	[ORIGIN_STATE_CONNECT] = {
		[ORIGIN_EVENT_SHAKE]     = ORIGIN_STATE_SECURE,
		[ORIGIN_EVENT_CONNECTED] = ORIGIN_STATE_EXCHANGE,
		[ORIGIN_EVENT_FAIL]      = ORIGIN_STATE_FAILED,
	},
	[ORIGIN_STATE_SECURE] = {
		[ORIGIN_EVENT_CONNECTED] = ORIGIN_STATE_EXCHANGE,
		[ORIGIN_EVENT_FAIL]      = ORIGIN_STATE_FAILED,
	},
	[ORIGIN_STATE_EXCHANGE] = {
		[ORIGIN_EVENT_RETRY]     = ORIGIN_STATE_START,
		[ORIGIN_EVENT_ANSWER]    = ORIGIN_STATE_ANSWERED,
		[ORIGIN_EVENT_FAIL]      = ORIGIN_STATE_FAILED,
	},
};
/* clang-format on */

enum origin_state origin_fsm_next(enum origin_state state, enum origin_event event)
{
	if (state >= ORIGIN_STATE_MAX_ || event >= ORIGIN_EVENT_MAX_)
		return ORIGIN_STATE_INVALID;
	return table[state][event];
}
