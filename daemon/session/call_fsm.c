/* SPDX-License-Identifier: Apache-2.0 */
/*
 * States of a flow at the edge.
 */
#include "daemon/session/call_fsm.h"

static const enum call_state table[CALL_STATE_MAX_][CALL_EVENT_MAX_] = {
	[CALL_STATE_WAITING] = {
		[CALL_EVENT_ACCEPTED] = CALL_STATE_UP,
		[CALL_EVENT_REFUSED] = CALL_STATE_REFUSED,
		[CALL_EVENT_UNANSWERED] = CALL_STATE_REFUSED,
		[CALL_EVENT_REBIND] = CALL_STATE_WAITING,
	},
	[CALL_STATE_UP] = {
		/* A flow that seemed silent was asked for again, and may not be made again. */
		[CALL_EVENT_REFUSED] = CALL_STATE_REFUSED,
		[CALL_EVENT_REBIND] = CALL_STATE_WAITING,
	},
	[CALL_STATE_REFUSED] = {
		[CALL_EVENT_ACCEPTED] = CALL_STATE_UP, /* the answer came late */
		[CALL_EVENT_REBIND] = CALL_STATE_WAITING,
	},
};

enum call_state call_fsm_next(enum call_state state, enum call_event event)
{
	return state < CALL_STATE_MAX_ && event < CALL_EVENT_MAX_ ? table[state][event]
								  : CALL_STATE_INVALID_;
}
