/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is this? Decides for every stream that an edge opens what it carries and hands it to the
 * part that serves it (docs/protocol.md §3, §8, §10, §13.1).
 */
#ifndef DAEMON_DEMUX_DEMUX_H
#define DAEMON_DEMUX_DEMUX_H

#include "daemon/link/link.h"
#include "daemon/link/rpc_metrics.h"
#include "daemon/proxy/proxy_http.h"
#include "daemon/session/flow_table.h"

enum { DEMUX_RPC_TIMEOUT_SEC = 5 }; /* life of an RPC stream (docs/protocol.md §8.1) */

/* Counters of one worker. */
struct demux_stats {
	uint64_t malformed; /* streams reset because their beginning made no sense */
	uint64_t cut_short; /* … because they ended before a message was whole */
	uint64_t configs_refused;
};

/* One per worker; owned by the program's wiring. */
struct demux {
	struct proxy_env *proxy;
	struct flow_table *flows; /* whose sessions the edge may make and end; NULL: none */
	struct list undecided;    /* streams whose first message isn't whole */
	struct list rpc;          /* RPC streams */
	struct list configs;      /* pushed ones that are collected */
	unsigned int config_count;
	struct demux_stats stats;
	const struct rpc_metrics *rpc_metrics; /* borrowed; NULL: not counted */
};

void demux_init(struct demux *d, struct proxy_env *proxy);
/* Gives all streams back that it still holds. */
void demux_done(struct demux *d);

/*
 * Takes a stream that the edge opened. may_frame: a body may come in frames (docs/protocol.md
 * §10.7): towards an edge of ours, and on HTTP/2. port: serial of the link's flow port, 0 when it
 * has none.
 */
void demux_stream(struct demux *d, struct stream *stream, bool may_frame, uint64_t port);

#endif
