/* SPDX-License-Identifier: Apache-2.0 */
/*
 * States of a flow at the edge, which registers it (docs/protocol.md §11.2).
 */
#ifndef DAEMON_SESSION_CALL_FSM_H
#define DAEMON_SESSION_CALL_FSM_H

#include <stdint.h>

enum call_state : uint8_t {
	CALL_STATE_INVALID_,
	CALL_STATE_WAITING, /* registered, not answered: payloads are held */
	CALL_STATE_UP,
	CALL_STATE_REFUSED, /* for a while payloads are dropped */
	CALL_STATE_MAX_,
};

enum call_event : uint8_t {
	CALL_EVENT_INVALID_,
	CALL_EVENT_ACCEPTED,
	CALL_EVENT_REFUSED,
	CALL_EVENT_UNANSWERED, /* after all repeats */
	CALL_EVENT_REBIND,     /* it goes by another link, or is tried again */
	CALL_EVENT_MAX_,
};

/* The next state, or CALL_STATE_INVALID_ where the event says nothing new. */
enum call_state call_fsm_next(enum call_state state, enum call_event event);

#endif
