/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of one connection index. An empty cell is an event that must be ignored there: reports
 * of a connection that has been replaced are told apart by their serial before they get here.
 */
#include "daemon/aditd/supervisor_fsm.h"

/* clang-format off */
#define ON(state, event) [INDEX_STATE_##state][INDEX_EVENT_##event]
#define GO(next, action) { INDEX_STATE_##next, INDEX_ACTION_##action }
static const struct index_step table[INDEX_STATE_MAX_][INDEX_EVENT_MAX_] = {
	ON(IDLE,        START)      = GO(DIALING,     DIAL),
	ON(IDLE,        STOP)       = GO(STOPPED,     NONE),
	ON(WAITING,     START)      = GO(DIALING,     DIAL),
	ON(WAITING,     TIMER)      = GO(DIALING,     DIAL),
	ON(WAITING,     STOP)       = GO(STOPPED,     NONE),
	ON(DIALING,     CONNECTED)  = GO(REGISTERING, NONE),
	ON(DIALING,     CLOSED)     = GO(WAITING,     BACK_OFF),
	ON(DIALING,     STOP)       = GO(STOPPED,     DRAIN),
	ON(REGISTERING, REGISTERED) = GO(UP,          SETTLE),
	ON(REGISTERING, CLOSED)     = GO(WAITING,     BACK_OFF),
	ON(REGISTERING, STOP)       = GO(STOPPED,     DRAIN),
	ON(UP,          AWAY)       = GO(DIALING,     REPLACE),
	ON(UP,          CLOSED)     = GO(WAITING,     BACK_OFF),
	ON(UP,          STOP)       = GO(STOPPED,     DRAIN),
	ON(STOPPED,     CLOSED)     = GO(STOPPED,     NONE),
};
#undef ON
#undef GO
/* clang-format on */

struct index_step index_fsm_step(enum index_state state, enum index_event event)
{
	if (state >= INDEX_STATE_MAX_ || event >= INDEX_EVENT_MAX_)
		return (struct index_step){};
	return table[state][event];
}

const char *index_state_name(enum index_state state)
{
	static const char *const names[INDEX_STATE_MAX_] = {
		[INDEX_STATE_INVALID_] = "invalid",        [INDEX_STATE_IDLE] = "idle",
		[INDEX_STATE_WAITING] = "waiting",         [INDEX_STATE_DIALING] = "dialing",
		[INDEX_STATE_REGISTERING] = "registering", [INDEX_STATE_UP] = "up",
		[INDEX_STATE_STOPPED] = "stopped",
	};
	return names[state < INDEX_STATE_MAX_ ? state : INDEX_STATE_INVALID_];
}

const char *index_event_name(enum index_event event)
{
	static const char *const names[INDEX_EVENT_MAX_] = {
		[INDEX_EVENT_INVALID_] = "invalid",      [INDEX_EVENT_START] = "start",
		[INDEX_EVENT_TIMER] = "timer",           [INDEX_EVENT_CONNECTED] = "connected",
		[INDEX_EVENT_REGISTERED] = "registered", [INDEX_EVENT_AWAY] = "away",
		[INDEX_EVENT_CLOSED] = "closed",         [INDEX_EVENT_STOP] = "stop",
	};
	return names[event < INDEX_EVENT_MAX_ ? event : INDEX_EVENT_INVALID_];
}
