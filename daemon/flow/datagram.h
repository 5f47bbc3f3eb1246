/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The noun between stages for what is no stream: whole datagrams, unreliable, on one connection.
 * Who sends into a pipe doesn't know which transport it belongs to, or whether there is one.
 */
#ifndef DAEMON_FLOW_DATAGRAM_H
#define DAEMON_FLOW_DATAGRAM_H

#include "util/span.h"

struct datagram_pipe;

/* What it is, for the queue that it may have to wait in: none fills that at the others' cost. */
enum datagram_kind : uint8_t {
	DATAGRAM_KIND_PAYLOAD, /* of a flow, and what makes one */
	DATAGRAM_KIND_ANSWER,  /* to what makes one */
	DATAGRAM_KIND_PACKET,  /* ICMP */
	DATAGRAM_KIND_MAX_,
};

struct datagram_ops {
	int (*send)(struct datagram_pipe *pipe, enum datagram_kind kind, struct span datagram);
	size_t (*max)(struct datagram_pipe *pipe);
};

/* First in whoever has one. Belongs to one worker. */
struct datagram_pipe {
	const struct datagram_ops *ops;
};

/*
 * Queues one datagram (borrowed for the call): 0, -EMSGSIZE over datagram_max(), -ENOBUFS as many
 * of its kind wait as may, -EPROTO the connection isn't up. Never waits.
 */
[[nodiscard]] static inline int datagram_send(struct datagram_pipe *pipe, enum datagram_kind kind,
					      struct span datagram)
{
	return pipe->ops->send(pipe, kind, datagram);
}

/* The longest datagram that can leave now, exactly; 0: none can. */
static inline size_t datagram_max(struct datagram_pipe *pipe)
{
	return pipe->ops->max(pipe);
}

#endif
