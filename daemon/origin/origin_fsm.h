/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a call to an HTTP origin.
 */
#ifndef DAEMON_ORIGIN_ORIGIN_FSM_H
#define DAEMON_ORIGIN_ORIGIN_FSM_H

#include <stdint.h>

enum origin_state : uint8_t {
	ORIGIN_STATE_INVALID,
	ORIGIN_STATE_START,    /* has no connection and asks for none yet */
	ORIGIN_STATE_RESOLVE,  /* the name is looked up */
	ORIGIN_STATE_CONNECT,  /* a connection is being made */
	ORIGIN_STATE_SECURE,   /* TLS is being agreed on */
	ORIGIN_STATE_EXCHANGE, /* the request is on its way */
	ORIGIN_STATE_ANSWERED, /* the answer's head was told */
	ORIGIN_STATE_FAILED,   /* the failure is or will be told */
	ORIGIN_STATE_MAX_,
};

enum origin_event : uint8_t {
	ORIGIN_EVENT_LOOKUP,
	ORIGIN_EVENT_DIAL,
	ORIGIN_EVENT_SHAKE,     /* connected; now TLS */
	ORIGIN_EVENT_CONNECTED, /* fresh or idle */
	ORIGIN_EVENT_RETRY,     /* the idle one was dead: once more from the start */
	ORIGIN_EVENT_ANSWER,
	ORIGIN_EVENT_FAIL,
	ORIGIN_EVENT_MAX_,
};

/* The next state, or INVALID when the event can't happen in this one. */
enum origin_state origin_fsm_next(enum origin_state state, enum origin_event event);

#endif
