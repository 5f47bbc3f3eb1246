/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of datagram version 2 at the daemon. A session is found by id and link, and its end is
 * the end of that object only: one that took its id's place lives on.
 */
#include "daemon/session/v2.h"

#include <errno.h>

#include "daemon/session/udp_session.h"
#include "daemon/wire/dgram_v2.h"

static struct udp_session *find(const struct flow_port *port, const struct dgram_id *id)
{
	return udp_session_find(port->table, id, port->serial);
}

static const char *refuse(struct flow_port *port, enum flow_drop reason, const char *text)
{
	flow_table_drop(port->table, port->index, reason);
	return text;
}

/* What may be said of a way that couldn't be opened. */
static const char *text_of(int error)
{
	switch (-error) {
	case ENETUNREACH:
	case EHOSTUNREACH:
		return "unable to dial udp to origin: network is unreachable";
	case EINVAL:
	case EACCES:
	case EPERM:
		return "unable to dial udp to origin: no such address can be reached";
	default:
		return "unable to dial udp to origin: no socket";
	}
}

const char *v2_register(struct flow_port *port, const struct dgram2_register *reg)
{
	struct flow_table *t = port->table;
	struct udp_session *s = find(port, &reg->id);
	if (s)
		udp_session_end(s, "registered again");
	if (datagram_max(port->pipe) == 0)
		return refuse(port, FLOW_DROP_LINK_DOWN, "this connection carries no datagrams");
	if (t->flows.count >= t->limit)
		return refuse(port, FLOW_DROP_TOO_MANY, DGRAM2_ERROR_TOO_MANY);
	if (!ratelimit_take(&t->registrations, loop_now(t->p.worker->loop), 1))
		return refuse(port, FLOW_DROP_RATE, "too many registrations at once");
	if (!t->p.may_reach(t->p.arg, &reg->dest.ip))
		return refuse(port, FLOW_DROP_DENIED, "this destination isn't allowed");
	const struct udp_session_params params = { .id = reg->id,
						   .dest = reg->dest,
						   .idle = reg->idle };
	int r = udp_session_new(t, port, &params, &s);
	return r < 0 ? refuse(port, FLOW_DROP_NO_SOCKET, text_of(r)) : NULL;
}

void v2_unregister(struct flow_port *port, const struct dgram_id *id)
{
	struct udp_session *s = find(port, id);
	if (s)
		udp_session_end(s, "ended by the edge");
}

static void take_payload(struct flow_port *port, const struct dgram2 *d)
{
	struct udp_session *s = find(port, &d->id);
	if (s) {
		udp_session_write(s, d->content);
		return;
	}
	flow_table_drop(port->table, port->index, FLOW_DROP_NO_FLOW);
	/* Has its edge not heard of the end? */
	if (strays_note(&port->strays, &d->id, loop_now(port->table->p.worker->loop)))
		port->v2->on_session_end(port, &d->id, "there is no such session");
}

void v2_datagram(struct flow_port *port, struct span datagram)
{
	struct flow_table *t = port->table;
	struct dgram2 d;
	if (dgram2_read(datagram, &d) < 0) {
		flow_table_drop(t, port->index, FLOW_DROP_MALFORMED);
		return;
	}
	switch (d.type) {
	case DGRAM2_TYPE_PAYLOAD:
		take_payload(port, &d);
		return;
	case DGRAM2_TYPE_PACKET: /* these are no session's (icmp_session.h) */
	case DGRAM2_TYPE_TRACED:
	case DGRAM2_TYPE_SPANS: /* they are for us to send */
		flow_table_drop(t, port->index, FLOW_DROP_MALFORMED);
		return;
	}
}
