/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UDP flows of one link at the edge, in the version that its daemon announced (docs/protocol.md
 * §11): joins the link to the worker's flow_caller.
 */
#ifndef DAEMON_EDGE_FLOW_LINK_H
#define DAEMON_EDGE_FLOW_LINK_H

#include "daemon/link/link_pipe.h"
#include "daemon/link/session_calls.h"
#include "daemon/session/flow_caller.h"

struct rpc_message;
struct rpc_session;

/* Embedded in whoever owns the link. */
struct flow_link {
	struct link_pipe pipe;
	struct call_port port;
	struct session_calls calls; /* version 2 */
	struct flow_caller *flows;
};

/* Once the daemon has registered. is_ours, is_v3: what it announced. */
void flow_link_open(struct flow_link *fl, struct link *link, struct flow_caller *flows,
		    bool is_ours, bool is_v3);
/* Before the link is freed. Harmless on one that isn't open. */
void flow_link_close(struct flow_link *fl);
bool flow_link_is_open(const struct flow_link *fl);
/* A datagram came on an open one, borrowed for the call. */
void flow_link_take(struct flow_link *fl, struct span datagram);
/* The daemon calls on an RPC stream: what struct rpc_session_ops says of on_call. */
[[nodiscard]] int flow_link_serve(struct flow_link *fl, struct rpc_session *session,
				  uint32_t answer_id, const struct rpc_message *call);

#endif
