/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a link and the only function that changes them (style S1, S2).
 */
#include <errno.h>

#include "daemon/link/link.h"

static const enum link_state table[LINK_STATE_MAX_][LINK_EVENT_MAX_] = {
	[LINK_STATE_CONNECTING] = {
		[LINK_EVENT_HANDSHAKE_DONE] = LINK_STATE_UP,
		[LINK_EVENT_END] = LINK_STATE_CLOSED,
	},
	[LINK_STATE_UP] = {
		[LINK_EVENT_SUSPECT] = LINK_STATE_SUSPECT,
		[LINK_EVENT_DRAIN] = LINK_STATE_DRAINING,
		[LINK_EVENT_END] = LINK_STATE_CLOSED,
	},
	[LINK_STATE_SUSPECT] = {
		[LINK_EVENT_HEARD] = LINK_STATE_UP,
		[LINK_EVENT_DRAIN] = LINK_STATE_DRAINING,
		[LINK_EVENT_END] = LINK_STATE_CLOSED,
	},
	/* Running streams may still move to another link (link->suspicion). */
	[LINK_STATE_DRAINING] = {
		[LINK_EVENT_SUSPECT] = LINK_STATE_DRAINING,
		[LINK_EVENT_HEARD] = LINK_STATE_DRAINING,
		[LINK_EVENT_END] = LINK_STATE_CLOSED,
	},
};

static const char *const state_names[LINK_STATE_MAX_] = {
	[LINK_STATE_INVALID_] = "invalid",
	[LINK_STATE_CONNECTING] = "connecting",
	[LINK_STATE_UP] = "up",
	[LINK_STATE_SUSPECT] = "suspect",
	[LINK_STATE_DRAINING] = "draining",
	[LINK_STATE_CLOSED] = "closed",
};

static const char *const event_names[LINK_EVENT_MAX_] = {
	[LINK_EVENT_INVALID_] = "invalid", [LINK_EVENT_HANDSHAKE_DONE] = "handshake-done",
	[LINK_EVENT_SUSPECT] = "suspect",  [LINK_EVENT_HEARD] = "heard",
	[LINK_EVENT_DRAIN] = "drain",      [LINK_EVENT_END] = "end",
};

int link_step(struct link *link, enum link_event event)
{
	enum link_state next = table[link->state][event];
	if (next == LINK_STATE_INVALID_)
		return -EPROTO;

	log_debug(link->worker->log, "link", "state", KV_STR("from", state_names[link->state]),
		  KV_STR("event", event_names[event]), KV_STR("to", state_names[next]));
	link->state = next;
	if (link->sink)
		link->sink->on_state(link, next, link->user);
	return 0;
}
