/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of one link. ICMP is the same in both versions but for the byte that says so.
 */
#include "daemon/demux/demux_dgram.h"

#include "daemon/session/v2.h"
#include "daemon/wire/dgram_v2.h"
#include "util/macro.h"

static void on_session_end(struct flow_port *port, const struct dgram_id *id, const char *reason)
{
	struct demux_dgram *dg = CONTAINER_OF(port, struct demux_dgram, port);
	session_calls_unregister(&dg->calls, id, reason);
}

static const struct flow_port_user v2_user = { .on_session_end = on_session_end };

static int send_packet(struct icmp_port *port, struct span packet)
{
	struct demux_dgram *dg = CONTAINER_OF(port, struct demux_dgram, icmp_port);
	uint8_t room[DGRAM2_PACKET_MAX];
	struct packer out = packer_over(room, sizeof(room));
	const struct dgram2 d = { .type = DGRAM2_TYPE_PACKET, .content = packet };
	int r = dg->port.v2 ? dgram2_write(&out, &d) : dgram3_icmp_write(&out, packet);
	return r < 0 ? r : datagram_send(&dg->pipe.pipe, DATAGRAM_KIND_PACKET, packer_span(&out));
}

static size_t packet_max(struct icmp_port *port)
{
	struct demux_dgram *dg = CONTAINER_OF(port, struct demux_dgram, icmp_port);
	size_t room = datagram_max(&dg->pipe.pipe);
	size_t max = dg->port.v2 ? dgram2_content_max(DGRAM2_TYPE_PACKET) : DGRAM3_PACKET_MAX;
	static_assert(DGRAM2_PACKET_TAIL == DGRAM3_ICMP_HEAD);
	return room < DGRAM3_ICMP_HEAD ? 0 : MIN(max, room - DGRAM3_ICMP_HEAD);
}

void demux_dgram_open(struct demux_dgram *dg, const struct demux_dgram_params *p)
{
	link_pipe_init(&dg->pipe, p->link);
	session_calls_init(&dg->calls, p->link, NULL, p->rpc_metrics);
	flow_port_open(p->flows, &dg->port, &dg->pipe.pipe, p->index, p->is_ours);
	if (!p->is_v3)
		dg->port.v2 = &v2_user;
	dg->icmp = p->icmp;
	dg->icmp_port =
		(struct icmp_port){ .send = send_packet, .max = packet_max, .index = p->index };
}

void demux_dgram_close(struct demux_dgram *dg)
{
	flow_port_close(&dg->port);
	session_calls_done(&dg->calls);
	if (dg->icmp)
		icmp_session_remove_port(dg->icmp, &dg->icmp_port);
	dg->icmp = NULL;
}

static void take_packet(struct demux_dgram *dg, int error, struct span packet)
{
	if (error < 0)
		icmp_session_drop(dg->icmp, dg->icmp_port.index, ICMP_DROP_MALFORMED);
	else
		icmp_session_packet(dg->icmp, &dg->icmp_port, packet);
}

static void take_v2(struct demux_dgram *dg, struct span datagram)
{
	struct dgram2 d;
	if (dgram2_read(datagram, &d) == 0 &&
	    (d.type == DGRAM2_TYPE_PACKET || d.type == DGRAM2_TYPE_TRACED))
		take_packet(dg, 0, d.content);
	else
		v2_datagram(&dg->port, datagram);
}

static void take_v3(struct demux_dgram *dg, struct flow_table *flows, struct span datagram)
{
	enum dgram3_type type;
	struct span packet = {};
	if (dgram3_type(datagram, &type) == 0 && type == DGRAM3_TYPE_ICMP)
		take_packet(dg, dgram3_icmp_read(datagram, &packet), packet);
	else
		flow_table_datagram(flows, &dg->port, datagram);
}

void demux_dgram_take(struct demux_dgram *dg, struct flow_table *flows, struct span datagram)
{
	if (!dg->port.pipe)
		flow_table_drop(flows, dg->port.index, FLOW_DROP_VERSION);
	else if (dg->port.v2)
		take_v2(dg, datagram);
	else
		take_v3(dg, flows, datagram);
}
