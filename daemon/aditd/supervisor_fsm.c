/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of one connection index and of its attempts. An empty cell is an event that must be
 * ignored there: reports of a connection that has been replaced are told apart by their serial
 * before they get here.
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
	ON(DIALING,     BLOCKED)    = GO(WAITING,     NONE),
	ON(DIALING,     CONNECTED)  = GO(REGISTERING, NONE),
	ON(DIALING,     FAILED)     = GO(WAITING,     BACK_OFF),
	ON(DIALING,     STOP)       = GO(STOPPED,     NONE),
	ON(REGISTERING, RELAPSED)   = GO(DIALING,     NONE),
	ON(REGISTERING, FAILED)     = GO(WAITING,     BACK_OFF),
	ON(REGISTERING, REGISTERED) = GO(UP,          SETTLE),
	ON(REGISTERING, STOP)       = GO(STOPPED,     NONE),
	ON(UP,          TIMER)      = GO(UP,          REPLACE),
	ON(UP,          FAILED)     = GO(UP,          BACK_OFF),
	ON(UP,          REGISTERED) = GO(UP,          SETTLE),
	ON(UP,          SUSPECT)    = GO(SUSPECT,     REPLACE),
	ON(UP,          AWAY)       = GO(DIALING,     ADOPT),
	ON(UP,          LOST)       = GO(DIALING,     ADOPT),
	ON(UP,          STOP)       = GO(STOPPED,     NONE),
	ON(SUSPECT,     TIMER)      = GO(SUSPECT,     REPLACE),
	ON(SUSPECT,     FAILED)     = GO(SUSPECT,     BACK_OFF),
	ON(SUSPECT,     REGISTERED) = GO(UP,          SETTLE),
	ON(SUSPECT,     HEARD)      = GO(UP,          KEEP),
	ON(SUSPECT,     AWAY)       = GO(DIALING,     ADOPT),
	ON(SUSPECT,     LOST)       = GO(DIALING,     ADOPT),
	ON(SUSPECT,     STOP)       = GO(STOPPED,     NONE),
};
#undef ON
#undef GO

static const enum try_state tries[TRY_STATE_MAX_][TRY_EVENT_MAX_] = {
	[TRY_STATE_NONE_]      [TRY_EVENT_DIAL]      = TRY_STATE_DIALING,
	[TRY_STATE_DIALING]    [TRY_EVENT_CONNECTED] = TRY_STATE_HELD,
	[TRY_STATE_HELD]       [TRY_EVENT_REGISTER]  = TRY_STATE_REGISTERING,
};
/* clang-format on */

struct index_step index_fsm_step(enum index_state state, enum index_event event)
{
	if (state >= INDEX_STATE_MAX_ || event >= INDEX_EVENT_MAX_)
		return (struct index_step){};
	return table[state][event];
}

bool try_fsm_step(enum try_state *state, enum try_event event)
{
	if (*state >= TRY_STATE_MAX_ || event >= TRY_EVENT_MAX_)
		return false;
	if (!tries[*state][event])
		return false;
	*state = tries[*state][event];
	return true;
}

const char *index_state_name(enum index_state state)
{
	static const char *const names[INDEX_STATE_MAX_] = {
		[INDEX_STATE_INVALID_] = "invalid",        [INDEX_STATE_IDLE] = "idle",
		[INDEX_STATE_WAITING] = "waiting",         [INDEX_STATE_DIALING] = "dialing",
		[INDEX_STATE_REGISTERING] = "registering", [INDEX_STATE_UP] = "up",
		[INDEX_STATE_SUSPECT] = "suspect",         [INDEX_STATE_STOPPED] = "stopped",
	};
	return names[state < INDEX_STATE_MAX_ ? state : INDEX_STATE_INVALID_];
}

const char *index_event_name(enum index_event event)
{
	static const char *const names[INDEX_EVENT_MAX_] = {
		[INDEX_EVENT_INVALID_] = "invalid",    [INDEX_EVENT_START] = "start",
		[INDEX_EVENT_TIMER] = "timer",         [INDEX_EVENT_BLOCKED] = "blocked",
		[INDEX_EVENT_CONNECTED] = "connected", [INDEX_EVENT_RELAPSED] = "relapsed",
		[INDEX_EVENT_FAILED] = "failed",       [INDEX_EVENT_REGISTERED] = "registered",
		[INDEX_EVENT_SUSPECT] = "suspect",     [INDEX_EVENT_HEARD] = "heard",
		[INDEX_EVENT_AWAY] = "away",           [INDEX_EVENT_LOST] = "lost",
		[INDEX_EVENT_STOP] = "stop",
	};
	return names[event < INDEX_EVENT_MAX_ ? event : INDEX_EVENT_INVALID_];
}
