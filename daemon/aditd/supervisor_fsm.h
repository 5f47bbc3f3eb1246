/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of one connection index, as a table (style S1). Pure: the supervisor acts on what a
 * step says.
 */
#ifndef DAEMON_ADITD_SUPERVISOR_FSM_H
#define DAEMON_ADITD_SUPERVISOR_FSM_H

#include <stdint.h>

enum index_state : uint8_t {
	INDEX_STATE_INVALID_,
	INDEX_STATE_IDLE,        /* not started: the first index must register before the others */
	INDEX_STATE_WAITING,     /* back-off runs */
	INDEX_STATE_DIALING,     /* handshake */
	INDEX_STATE_REGISTERING, /* RPC */
	INDEX_STATE_UP,
	INDEX_STATE_STOPPED, /* draining or done; nothing is dialled any more */
	INDEX_STATE_MAX_,
};

enum index_event : uint8_t {
	INDEX_EVENT_INVALID_,
	INDEX_EVENT_START, /* its turn has come, or the operator asked */
	INDEX_EVENT_TIMER, /* back-off is over */
	INDEX_EVENT_CONNECTED,
	INDEX_EVENT_REGISTERED,
	INDEX_EVENT_AWAY,   /* the edge will send nothing new: replace the connection */
	INDEX_EVENT_CLOSED, /* the current connection is gone */
	INDEX_EVENT_STOP,
	INDEX_EVENT_MAX_,
};

enum index_action : uint8_t {
	INDEX_ACTION_NONE,
	INDEX_ACTION_DIAL,
	INDEX_ACTION_BACK_OFF, /* wait, then dial */
	INDEX_ACTION_SETTLE,   /* it is up: reset the back-off, let the next index start */
	INDEX_ACTION_REPLACE,  /* dial at once; the old connection drains by itself */
	INDEX_ACTION_DRAIN,
};

struct index_step {
	enum index_state next; /* INVALID_: an event that this state doesn't know */
	enum index_action action;
};

struct index_step index_fsm_step(enum index_state state, enum index_event event);
const char *index_state_name(enum index_state state);
const char *index_event_name(enum index_event event);

#endif
