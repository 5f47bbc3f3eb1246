/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a server's HTTP/1.1 connection. Bodies have none of their own: they move while the
 * connection is in EXCHANGE.
 */
#ifndef DAEMON_HTTP_CONN_FSM_H
#define DAEMON_HTTP_CONN_FSM_H

#include <stdint.h>

enum conn_state : uint8_t {
	CONN_STATE_INVALID,
	CONN_STATE_IDLE,     /* no byte of a request */
	CONN_STATE_HEAD,     /* a part of a head */
	CONN_STATE_EXCHANGE, /* the handler has it */
	CONN_STATE_SENDING,  /* the handler is done, the answer not yet all written */
	CONN_STATE_LINGER,   /* our FIN is out; what still comes is dropped so that it doesn't make
				the kernel reset the connection and lose the answer */
	CONN_STATE_CLOSED,
	CONN_STATE_MAX_,
};

enum conn_event : uint8_t {
	CONN_EVENT_BYTES,     /* the first byte of a request */
	CONN_EVENT_REQUEST,   /* a head, or what is refused as one */
	CONN_EVENT_FREED,     /* the exchange was given back, its answer is whole */
	CONN_EVENT_UPGRADED,  /* the stream went to the handler, with the answer's head */
	CONN_EVENT_SENT_KEEP, /* all written, another request may come */
	CONN_EVENT_SENT_LAST, /* all written, the last one */
	CONN_EVENT_LOST,      /* broken, timed out, ended or aborted */
	CONN_EVENT_MAX_,
};

/* The next state, or INVALID when the event can't happen in this one. */
enum conn_state conn_fsm_next(enum conn_state state, enum conn_event event);

#endif
