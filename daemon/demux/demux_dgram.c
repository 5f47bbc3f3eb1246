/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of one link, and the pipe by which answers go back into it.
 */
#include "daemon/demux/demux_dgram.h"

static int pipe_send(struct datagram_pipe *pipe, struct span datagram)
{
	return link_send_datagram(CONTAINER_OF(pipe, struct demux_dgram, pipe)->link, datagram);
}

static size_t pipe_max(struct datagram_pipe *pipe)
{
	return link_max_datagram(CONTAINER_OF(pipe, struct demux_dgram, pipe)->link);
}

static const struct datagram_ops pipe_ops = {
	.send = pipe_send,
	.max = pipe_max,
};

void demux_dgram_open(struct demux_dgram *dg, struct link *link, unsigned int index, bool is_ours,
		      bool is_v3)
{
	dg->pipe.ops = &pipe_ops;
	dg->link = link;
	dg->is_v3 = is_v3;
	flow_port_open(&dg->port, &dg->pipe, index, is_ours);
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
