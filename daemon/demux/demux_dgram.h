/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of one link: which version they are was announced when it registered, and whose they
 * are is the table of flows' business, or ICMP's (docs/protocol.md §11, §12).
 */
#ifndef DAEMON_DEMUX_DEMUX_DGRAM_H
#define DAEMON_DEMUX_DEMUX_DGRAM_H

#include "daemon/link/link_pipe.h"
#include "daemon/link/session_calls.h"
#include "daemon/session/flow_table.h"
#include "daemon/session/icmp_session.h"

struct demux_dgram_params {
	struct link *link;
	struct flow_table *flows;
	struct icmp_session *icmp;
	const struct rpc_metrics *rpc_metrics; /* NULL: calls aren't counted */
	unsigned int index;                    /* of the connection */
	bool is_ours;                          /* the edge is */
	bool is_v3;                            /* what is announced; else version 2 */
};

/* Embedded in whoever owns the link. */
struct demux_dgram {
	struct link_pipe pipe; /* the way back */
	struct flow_port port;
	struct icmp_session *icmp; /* NULL: not open */
	struct icmp_port icmp_port;
	struct session_calls calls; /* version 2: ends that the edge is told */
};

/*
 * Before the registration is sent that announces the version. What arrives earlier belongs to no
 * version.
 */
void demux_dgram_open(struct demux_dgram *dg, const struct demux_dgram_params *params);
/* Before the link is freed. Harmless on one that isn't open. */
void demux_dgram_close(struct demux_dgram *dg);
/* A datagram came, borrowed for the call. */
void demux_dgram_take(struct demux_dgram *dg, struct flow_table *flows, struct span datagram);

#endif
