/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a server's HTTP/1.1 connection, as a table (style S1).
 */
#include "daemon/http/conn_fsm.h"

/* clang-format off */
static const enum conn_state table[CONN_STATE_MAX_][CONN_EVENT_MAX_] = {
	[CONN_STATE_IDLE] = {
		[CONN_EVENT_BYTES]     = CONN_STATE_HEAD,
		[CONN_EVENT_LOST]      = CONN_STATE_CLOSED,
	},
	[CONN_STATE_HEAD] = {
		[CONN_EVENT_REQUEST]   = CONN_STATE_EXCHANGE,
		[CONN_EVENT_LOST]      = CONN_STATE_CLOSED,
	},
	[CONN_STATE_EXCHANGE] = {
		[CONN_EVENT_FREED]     = CONN_STATE_SENDING,
		[CONN_EVENT_UPGRADED]  = CONN_STATE_CLOSED,
		[CONN_EVENT_LOST]      = CONN_STATE_CLOSED,
	},
	[CONN_STATE_SENDING] = {
		[CONN_EVENT_SENT_KEEP] = CONN_STATE_IDLE,
		[CONN_EVENT_SENT_LAST] = CONN_STATE_LINGER,
		[CONN_EVENT_LOST]      = CONN_STATE_CLOSED,
	},
	[CONN_STATE_LINGER] = {
		[CONN_EVENT_LOST]      = CONN_STATE_CLOSED,
	},
};
/* clang-format on */

enum conn_state conn_fsm_next(enum conn_state state, enum conn_event event)
{
	if (state >= CONN_STATE_MAX_ || event >= CONN_EVENT_MAX_)
		return CONN_STATE_INVALID;
	return table[state][event];
}
