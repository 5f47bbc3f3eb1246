/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of one link.
 */
#include "daemon/demux/demux_dgram.h"

#include "daemon/session/v2.h"
#include "util/macro.h"

static void on_session_end(struct flow_port *port, const struct dgram_id *id, const char *reason)
{
	struct demux_dgram *dg = CONTAINER_OF(port, struct demux_dgram, port);
	session_calls_unregister(&dg->calls, id, reason);
}

static const struct flow_port_user v2_user = { .on_session_end = on_session_end };

void demux_dgram_open(struct demux_dgram *dg, const struct demux_dgram_params *p)
{
	link_pipe_init(&dg->pipe, p->link);
	session_calls_init(&dg->calls, p->link, NULL, p->rpc_metrics);
	flow_port_open(p->flows, &dg->port, &dg->pipe.pipe, p->index, p->is_ours);
	if (!p->is_v3)
		dg->port.v2 = &v2_user;
}

void demux_dgram_close(struct demux_dgram *dg)
{
	flow_port_close(&dg->port);
	session_calls_done(&dg->calls);
}

void demux_dgram_take(struct demux_dgram *dg, struct flow_table *flows, struct span datagram)
{
	if (!dg->port.pipe)
		flow_table_drop(flows, dg->port.index, FLOW_DROP_VERSION);
	else if (dg->port.v2)
		v2_datagram(&dg->port, datagram);
	else
		flow_table_datagram(flows, &dg->port, datagram);
}
