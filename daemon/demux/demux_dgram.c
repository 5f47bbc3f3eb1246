/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of one link.
 */
#include "daemon/demux/demux_dgram.h"

void demux_dgram_open(struct demux_dgram *dg, struct link *link, unsigned int index, bool is_ours,
		      bool is_v3)
{
	link_pipe_init(&dg->pipe, link);
	dg->is_v3 = is_v3;
	flow_port_open(&dg->port, &dg->pipe.pipe, index, is_ours);
}

void demux_dgram_close(struct demux_dgram *dg)
{
	flow_port_close(&dg->port);
}

void demux_dgram_take(struct demux_dgram *dg, struct flow_table *flows, struct span datagram)
{
	if (dg->is_v3 && dg->port.pipe)
		flow_table_datagram(flows, &dg->port, datagram);
	else
		flow_table_drop(flows, dg->port.index, FLOW_DROP_VERSION);
}
