/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of one link: which version they are was announced when it registered, and whose they
 * are is the table of flows' business (docs/protocol.md §11).
 */
#ifndef DAEMON_DEMUX_DEMUX_DGRAM_H
#define DAEMON_DEMUX_DEMUX_DGRAM_H

#include "daemon/link/link_pipe.h"
#include "daemon/session/flow_table.h"

/* Embedded in whoever owns the link. */
struct demux_dgram {
	struct link_pipe pipe; /* the way back */
	struct flow_port port;
	bool is_v3;
};

/*
 * Before the registration is sent that announces the version; index: of the connection, is_ours:
 * the edge is. What arrives earlier belongs to no version.
 */
void demux_dgram_open(struct demux_dgram *dg, struct link *link, unsigned int index, bool is_ours,
		      bool is_v3);
/* Before the link is freed. Harmless on one that isn't open. */
void demux_dgram_close(struct demux_dgram *dg);
/* A datagram came, borrowed for the call. */
void demux_dgram_take(struct demux_dgram *dg, struct flow_table *flows, struct span datagram);

#endif
