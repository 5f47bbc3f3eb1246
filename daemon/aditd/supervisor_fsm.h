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
	INDEX_STATE_WAITING,     /* nothing runs until its time comes */
	INDEX_STATE_DIALING,     /* handshakes, two at most */
	INDEX_STATE_REGISTERING, /* one of them is over: RPC */
	INDEX_STATE_UP,
	INDEX_STATE_SUSPECT, /* registered, but its edge doesn't answer: being replaced */
	INDEX_STATE_STOPPED, /* draining or done; nothing is dialled any more */
	INDEX_STATE_MAX_,
};

enum index_event : uint8_t {
	INDEX_EVENT_INVALID_,
	INDEX_EVENT_START,     /* its turn has come, or the operator asked */
	INDEX_EVENT_TIMER,     /* its wait is over */
	INDEX_EVENT_BLOCKED,   /* it can't be dialled now: no token, no address */
	INDEX_EVENT_CONNECTED, /* a handshake is over and registration begins */
	INDEX_EVENT_RELAPSED,  /* that registration failed, another handshake runs */
	INDEX_EVENT_FAILED,    /* no attempt is left */
	INDEX_EVENT_REGISTERED,
	INDEX_EVENT_SUSPECT, /* the edge doesn't answer */
	INDEX_EVENT_HEARD,   /* it does */
	INDEX_EVENT_AWAY,    /* the edge will send nothing new: replace the connection */
	INDEX_EVENT_LOST,    /* the connection is gone */
	INDEX_EVENT_STOP,
	INDEX_EVENT_MAX_,
};

enum index_action : uint8_t {
	INDEX_ACTION_NONE,
	INDEX_ACTION_DIAL,
	INDEX_ACTION_BACK_OFF, /* draw a wait */
	INDEX_ACTION_SETTLE,   /* it is up: nothing else needs to run */
	INDEX_ACTION_KEEP,     /* it is up after all: end what was to replace it */
	INDEX_ACTION_REPLACE,  /* dial elsewhere, the connection stays for now */
	INDEX_ACTION_ADOPT,    /* what runs already takes over; else dial */
	INDEX_ACTION_MAX_,
};

struct index_step {
	enum index_state next; /* INVALID_: an event that this state doesn't know */
	enum index_action action;
};

struct index_step index_fsm_step(enum index_state state, enum index_event event);
const char *index_state_name(enum index_state state);
const char *index_event_name(enum index_event event);

/* One attempt to connect an index; its end is its removal. */
enum try_state : uint8_t {
	TRY_STATE_NONE_,
	TRY_STATE_DIALING,     /* handshake */
	TRY_STATE_HELD,        /* may not register yet */
	TRY_STATE_REGISTERING, /* was told to */
	TRY_STATE_MAX_,
};

enum try_event : uint8_t {
	TRY_EVENT_INVALID_,
	TRY_EVENT_DIAL,
	TRY_EVENT_CONNECTED,
	TRY_EVENT_REGISTER,
	TRY_EVENT_MAX_,
};

/* False: this state doesn't know the event, *state stays. */
bool try_fsm_step(enum try_state *state, enum try_event event);

#endif
