/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control stream, server side: what an edge answers to a daemon's registration
 * (docs/protocol.md §7). Who may register is decided by the user; here are the session and its
 * bounds.
 */
#ifndef DAEMON_LINK_CONTROL_SERVE_H
#define DAEMON_LINK_CONTROL_SERVE_H

#include "daemon/link/link.h"
#include "daemon/link/rpc_channel.h"
#include "daemon/wire/rpc_tunnel.h"

struct control_serve;

struct control_serve_events {
	/*
	 * registerConnection: fill in *ret (zeroed; spans are read before the next turn). Returns
	 * 0, -EBADMSG to answer with an exception (ids of a wrong length), or -ECANCELED for no
	 * answer at all. Spans of reg are valid in the call.
	 */
	int (*on_register)(struct control_serve *cs, const struct tunnel_register *reg,
			   struct tunnel_registered *ret, void *user);
	/* updateLocalConfiguration of a registered connection; borrowed for the call. */
	void (*on_local_config)(struct control_serve *cs, struct span json, void *user);
	/* unregisterConnection: answer follows by itself; send no new requests. */
	void (*on_unregister)(struct control_serve *cs, void *user);
	/* The stream is over: control_serve_free() it. */
	void (*on_end)(struct control_serve *cs, enum rpc_channel_end end, void *user);
};

/* Takes the stream (the first that the daemon opened). 0 or -ENOMEM (the stream is closed then). */
[[nodiscard]] int control_serve_new(struct loop *loop, struct stream *stream,
				    const struct control_serve_events *events, void *user,
				    struct control_serve **ret);
/* A message that the daemon has begun must be whole in time. */
void control_serve_set_timeout(struct control_serve *cs, nsec_t timeout);
/* FIN on the control stream: going away (spec §4). The session ends. */
void control_serve_go_away(struct control_serve *cs);
/* Accepts NULL. */
void control_serve_free(struct control_serve *cs);

#endif
