/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UDP flows at the daemon, and what version 3 says of them. A connection is told apart by its
 * object, not by its index: a repeat on the link that replaced a dead one of the same index moves
 * the flow.
 */
#include "daemon/session/flow_table.h"

#include <errno.h>

#include "daemon/session/udp_session.h"

const char *flow_drop_name(enum flow_drop reason)
{
	static const char *const names[FLOW_DROP_MAX_] = {
		[FLOW_DROP_MALFORMED] = "malformed",     [FLOW_DROP_NO_FLOW] = "no-flow",
		[FLOW_DROP_TOO_MANY] = "too-many-flows", [FLOW_DROP_RATE] = "registration-rate",
		[FLOW_DROP_DENIED] = "denied",           [FLOW_DROP_NO_SOCKET] = "no-socket",
		[FLOW_DROP_ORIGIN_FULL] = "origin-full", [FLOW_DROP_ORIGIN] = "origin",
		[FLOW_DROP_TOO_BIG] = "too-big",         [FLOW_DROP_LINK_FULL] = "link-full",
		[FLOW_DROP_LINK_DOWN] = "link-down",     [FLOW_DROP_UNTOLD] = "untold",
		[FLOW_DROP_VERSION] = "version",         [FLOW_DROP_CROSSING] = "crossing",
		[FLOW_DROP_MOVING] = "moving",
	};
	return reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

void flow_table_drop_many(struct flow_table *t, unsigned int index, enum flow_drop reason,
			  unsigned int count)
{
	t->by_index[MIN(index, FLOW_INDEX_MAX - 1U)].drops[reason] += count;
}

void flow_table_drop(struct flow_table *t, unsigned int index, enum flow_drop reason)
{
	flow_table_drop_many(t, index, reason, 1);
}

/* A flow of version 3. */
static struct udp_session *find(const struct flow_table *t, const struct dgram_id *id)
{
	return udp_session_find(t, id, 0);
}

/* ---- between workers ---- */

enum {
	BATCHES_MAX = 64, /* under way, of a worker */
	BATCH_BYTES = 48 * 1024,
	HOPS_MAX = 3, /* a flow that moves that often while it is looked for isn't found */
};

enum crossing_kind : uint8_t {
	CROSSING_PAYLOAD,
	CROSSING_SEEK, /* a registration: the flow is wanted where it came from */
	CROSSING_ANEW, /* … back again: there is no such flow any more */
};

/* A datagram of an edge on its way to the worker that has its flow. */
struct crossing {
	enum crossing_kind kind;
	uint8_t hops;        /* workers that it has left */
	unsigned int worker; /* on which it came from an edge */
	unsigned int index;  /* … of that connection */
	uint64_t port;       /* … by serial */
	struct span datagram;
};

/* The worker that has a flow which isn't in this table: -ENOENT nobody, -EINPROGRESS this one, or
 * will have when it gets here. */
static int owner_of(const struct flow_table *t, const struct dgram_id *id)
{
	int owner = owners_find(t->p.owners, dgram_id_span(id));
	return owner == (int)t->p.worker->index ? -EINPROGRESS : owner;
}

static void send_on(struct flow_table *t, unsigned int to, const struct crossing *c)
{
	struct crossing next = *c;
	next.hops++;
	if (ferry_add(&t->ferry, to, &next, next.datagram))
		t->crossed++;
	else
		flow_table_drop(t, c->index, FLOW_DROP_CROSSING);
}

/* The first time that a datagram of an edge goes to another worker. */
static void send_over(struct flow_table *t, unsigned int to, const struct flow_port *port,
		      enum crossing_kind kind, struct span datagram)
{
	send_on(t, to,
		&(struct crossing){ .kind = kind,
				    .worker = t->p.worker->index,
				    .index = port->index,
				    .port = port->serial,
				    .datagram = datagram });
}

/* ---- registration ---- */

/* One that can't be sent is missed by the edge, which asks again. */
static void respond(struct flow_table *t, struct flow_port *port, const struct dgram_id *id,
		    enum dgram3_code code)
{
	uint8_t buf[DGRAM3_RESPONSE_HEAD];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_response response = { .id = *id, .code = code };
	int r = dgram3_response_write(&p, &response);
	if (r == 0)
		r = datagram_send(port->pipe, DATAGRAM_KIND_ANSWER, packer_span(&p));
	if (r < 0)
		flow_table_drop(t, port->index,
				r == -EPROTO ? FLOW_DROP_LINK_DOWN : FLOW_DROP_UNTOLD);
}

/* The reference sends no other word for what can't be reached, and no foreign edge was seen to
 * know one. */
static enum dgram3_code no_way_code(const struct flow_port *port)
{
	return port->is_ours ? DGRAM3_CODE_UNREACHABLE : DGRAM3_CODE_NO_SOCKET;
}

static enum dgram3_code code_of(const struct flow_port *port, int error)
{
	switch (-error) {
	case E2BIG:
		return DGRAM3_CODE_TOO_MANY;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case EINVAL:
	case EACCES:
	case EPERM:
		return no_way_code(port);
	default:
		return DGRAM3_CODE_NO_SOCKET;
	}
}

static void refuse(struct flow_table *t, struct flow_port *port, const struct dgram_id *id,
		   enum flow_drop reason, enum dgram3_code code)
{
	flow_table_drop(t, port->index, reason);
	respond(t, port, id, code);
}

void flow_table_accept(struct flow_table *t, struct flow_port *port, struct udp_session *s)
{
	if (s->port == port) {
		t->by_index[port->index].repeated++;
	} else {
		udp_session_move(s, port);
		t->by_index[port->index].moved++;
	}
	udp_session_touch(s);
	respond(t, port, &s->key.id, DGRAM3_CODE_OK);
}

static void begin(struct flow_table *t, struct flow_port *port, struct dgram3_register *reg)
{
	reg->dest.ip = ip_addr_unmap(reg->dest.ip);
	if (t->flows.count >= t->limit) {
		refuse(t, port, &reg->id, FLOW_DROP_TOO_MANY, DGRAM3_CODE_TOO_MANY);
		return;
	}
	if (!ratelimit_take(&t->registrations, loop_now(t->p.worker->loop), 1)) {
		flow_table_drop(t, port->index, FLOW_DROP_RATE);
		return;
	}
	if (!t->p.may_reach(t->p.arg, &reg->dest.ip)) {
		refuse(t, port, &reg->id, FLOW_DROP_DENIED, no_way_code(port));
		return;
	}
	struct udp_session *s = NULL;
	const struct udp_session_params params = { .id = reg->id,
						   .dest = reg->dest,
						   .idle = dgram3_idle(reg->idle_sec) };
	int r = udp_session_new(t, port, &params, &s);
	if (r < 0) {
		refuse(t, port, &reg->id, FLOW_DROP_NO_SOCKET, code_of(port, r));
		return;
	}
	respond(t, port, &reg->id, DGRAM3_CODE_OK);
	if (reg->payload.len > 0)
		udp_session_write(s, reg->payload);
}

static void take_registration(struct flow_table *t, struct flow_port *port, struct span datagram)
{
	struct dgram3_register reg;
	inbox_drain(&t->inbox);
	if (dgram3_register_read(datagram, &reg) < 0) {
		flow_table_drop(t, port->index, FLOW_DROP_MALFORMED);
		return;
	}
	struct udp_session *s = find(t, &reg.id);
	if (s) {
		flow_table_accept(t, port, s);
		return;
	}
	int owner = owner_of(t, &reg.id);
	if (owner >= 0)
		send_over(t, (unsigned int)owner, port, CROSSING_SEEK, datagram);
	else if (owner == -EINPROGRESS)
		flow_table_drop(t, port->index, FLOW_DROP_MOVING);
	else
		begin(t, port, &reg);
}

/* The edge that asked is this worker's: there is no such flow anywhere. */
static void begin_for(struct flow_table *t, const struct crossing *c, struct dgram3_register *reg)
{
	struct flow_port *port = flow_port_find(t, c->port);
	if (port)
		begin(t, port, reg);
}

static void seek(struct flow_table *t, const struct crossing *c, struct dgram3_register *reg)
{
	struct crossing anew = *c;
	anew.kind = CROSSING_ANEW;
	struct udp_session *s = find(t, &reg->id);
	bool is_here = c->worker == t->p.worker->index;
	if (s && is_here) {
		struct flow_port *port = flow_port_find(t, c->port);
		if (port)
			flow_table_accept(t, port, s);
		return;
	}
	if (s && udp_session_hand_over(s, t->p.tables[c->worker], c->port) == 0) {
		t->handed_over++;
		return;
	}
	if (s) /* its port can't go along: rather another one than none */
		udp_session_end(s, "there is no socket to move it with");
	int owner = owner_of(t, &reg->id);
	if (owner >= 0 && c->hops < HOPS_MAX)
		send_on(t, (unsigned int)owner, c);
	else if (owner == -EINPROGRESS)
		flow_table_drop(t, c->index, FLOW_DROP_MOVING);
	else if (is_here)
		begin_for(t, c, reg);
	else
		send_on(t, c->worker, &anew);
}

/* ---- payload ---- */

static void take_payload(struct flow_table *t, struct flow_port *port, struct span datagram)
{
	struct dgram3_payload d;
	size_t max = dgram3_payload_max(port->is_ours);
	if (dgram3_payload_read(datagram, max, &d) < 0) {
		flow_table_drop(t, port->index, FLOW_DROP_MALFORMED);
		return;
	}
	if (!t->is_done)
		inbox_add(&t->inbox, port, &d.id, datagram);
}

void flow_table_payload(struct flow_table *t, struct flow_port *port, struct udp_session *s,
			struct span datagram)
{
	struct dgram3_payload d;
	if (dgram3_payload_read(datagram, SIZE_MAX, &d) < 0)
		return; /* it was looked at when it came */
	if (s) {
		udp_session_write(s, d.payload);
		return;
	}
	int owner = owner_of(t, &d.id);
	if (owner >= 0)
		send_over(t, (unsigned int)owner, port, CROSSING_PAYLOAD, datagram);
	else
		flow_table_drop(t, port->index,
				owner == -EINPROGRESS ? FLOW_DROP_MOVING : FLOW_DROP_NO_FLOW);
}

static void crossed_payload(struct flow_table *t, const struct crossing *c)
{
	struct dgram3_payload d;
	if (dgram3_payload_read(c->datagram, dgram3_payload_max(true), &d) < 0)
		return; /* it was looked at where it came from */
	struct udp_session *s = find(t, &d.id);
	if (s) {
		udp_session_write(s, d.payload);
		return;
	}
	int owner = owner_of(t, &d.id);
	if (owner >= 0 && c->hops < HOPS_MAX)
		send_on(t, (unsigned int)owner, c);
	else
		flow_table_drop(t, c->index,
				owner == -EINPROGRESS ? FLOW_DROP_MOVING : FLOW_DROP_NO_FLOW);
}

static void take_crossed(struct flow_table *t, const struct crossing *c)
{
	struct dgram3_register reg;
	if (t->is_done)
		return;
	inbox_drain(&t->inbox);
	if (c->kind == CROSSING_PAYLOAD) {
		crossed_payload(t, c);
		return;
	}
	if (dgram3_register_read(c->datagram, &reg) < 0)
		return; /* likewise */
	if (c->kind == CROSSING_SEEK || find(t, &reg.id))
		seek(t, c, &reg);
	else
		begin_for(t, c, &reg);
}

static void on_crossed(const void *from, const struct worker *here, const void *head,
		       uint8_t *bytes, size_t len)
{
	const struct flow_table *sender = from;
	struct crossing c = *(const struct crossing *)head;
	c.datagram = span_of(bytes, len);
	take_crossed(sender->p.tables[here->index], &c);
}

static const struct ferry_kind crossings = {
	.batches = BATCHES_MAX,
	.bytes = BATCH_BYTES,
	.head_len = sizeof(struct crossing),
	.take = on_crossed,
};

void flow_table_datagram(struct flow_table *t, struct flow_port *port, struct span datagram)
{
	enum dgram3_type type;
	if (dgram3_type(datagram, &type) < 0) {
		flow_table_drop(t, port->index, FLOW_DROP_MALFORMED);
		return;
	}
	switch (type) {
	case DGRAM3_TYPE_REGISTER:
		take_registration(t, port, datagram);
		return;
	case DGRAM3_TYPE_PAYLOAD:
		take_payload(t, port, datagram);
		return;
	case DGRAM3_TYPE_ICMP:     /* it is no flow's (icmp_session.h) */
	case DGRAM3_TYPE_RESPONSE: /* it is for us to send */
		flow_table_drop(t, port->index, FLOW_DROP_MALFORMED);
		return;
	}
}

/* ---- the table and its ports ---- */

void flow_table_init(struct flow_table *t, const struct flow_table_params *params)
{
	*t = (struct flow_table){ .p = *params };
	map_init(&t->flows, SIZE_MAX);
	list_init(&t->ports);
	inbox_init(&t->inbox, t);
	ferry_init(&t->ferry, &crossings, params->worker, t);
}

void flow_table_set_limits(struct flow_table *t, unsigned int flows, unsigned int registrations)
{
	t->limit = flows;
	ratelimit_set_rate(&t->registrations, registrations);
}

void flow_table_end_all(struct flow_table *t)
{
	inbox_drain(&t->inbox);
	MAP_FOREACH(node, &t->flows)
	udp_session_end(MAP_ENTRY(node, struct udp_session, node), "shutting down");
}

void flow_table_done(struct flow_table *t)
{
	t->is_done = true;
	flow_table_end_all(t);
	inbox_done(&t->inbox);
	map_done(&t->flows);
	ferry_done(&t->ferry);
}

void flow_port_open(struct flow_table *t, struct flow_port *port, struct datagram_pipe *pipe,
		    unsigned int index, bool is_ours)
{
	*port = (struct flow_port){ .table = t,
				    .pipe = pipe,
				    .serial = ++t->last_serial,
				    .index = MIN(index, FLOW_INDEX_MAX - 1U),
				    .is_ours = is_ours };
	list_init(&port->flows);
	list_append(&t->ports, &port->in_table);
}

void flow_port_close(struct flow_port *port)
{
	if (!port->pipe)
		return;
	inbox_drain(&port->table->inbox);
	LIST_FOREACH(node, &port->flows)
	udp_session_lose_port(LIST_ENTRY(node, struct udp_session, in_port));
	list_remove(&port->in_table);
	port->pipe = NULL;
}

struct flow_port *flow_port_find(const struct flow_table *t, uint64_t serial)
{
	LIST_FOREACH(node, &t->ports)
	{
		struct flow_port *port = LIST_ENTRY(node, struct flow_port, in_table);
		if (port->serial == serial)
			return port;
	}
	return NULL;
}
