/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge's end of UDP flows. A flow has one timer, which repeats the registration while it waits
 * and else looks after the idle time.
 */
#include "daemon/session/flow_caller.h"

#include <assert.h>
#include <errno.h>

#include "daemon/base/random.h"
#include "daemon/wire/dgram_v2.h"
#include "daemon/wire/dgram_v2_call.h"

enum {
	TRIES = 6,               /* registrations without an answer */
	FIRST_REPEAT_MSEC = 250, /* then twice as long each time */
	SILENCE_SEC = 5,         /* of the daemon, after which a payload asks for the flow again */
	REFUSED_SEC = 2,         /* for which a refused flow isn't tried again */
	HINT_MORE_SEC = 5,       /* the daemon keeps it so much longer than we */
	PATH_SEC = 2,            /* after which the size of a link's path is known */
	EAGER_SEC = 5, /* one in which something moved so shortly ago isn't left without a link */
	HELD_COUNT = 64,
	HELD_HEAD = 2,
};

const char *call_drop_name(enum call_drop reason)
{
	static const char *const names[CALL_DROP_MAX_] = {
		[CALL_DROP_MALFORMED] = "malformed", [CALL_DROP_NO_FLOW] = "no-flow",
		[CALL_DROP_ICMP] = "icmp",           [CALL_DROP_REFUSED] = "refused",
		[CALL_DROP_HELD] = "held",           [CALL_DROP_TOO_BIG] = "too-big",
		[CALL_DROP_LINK_FULL] = "link-full", [CALL_DROP_NO_LINK] = "no-link",
	};
	return reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

static nsec_t now_of(const struct flow_call *c)
{
	return loop_now(c->caller->worker->loop);
}

static void drop(struct flow_call *c, enum call_drop reason)
{
	c->caller->drops[reason]++;
}

static bool step(struct flow_call *c, enum call_event event)
{
	enum call_state next = call_fsm_next(c->state, event);
	if (next == CALL_STATE_INVALID_)
		return false;
	c->state = next;
	return true;
}

/* ---- what is sent ---- */

static void send_or_count(struct flow_call *c, struct span datagram)
{
	int r = datagram_send(c->port->pipe, DATAGRAM_KIND_PAYLOAD, datagram);
	if (r < 0)
		drop(c, r == -EMSGSIZE ? CALL_DROP_TOO_BIG
			: r == -EPROTO ? CALL_DROP_NO_LINK
				       : CALL_DROP_LINK_FULL);
}

static int write_v2(const struct flow_call *c, struct span payload, struct packer *p)
{
	const struct dgram2 d = { .type = DGRAM2_TYPE_PAYLOAD, .content = payload, .id = c->id };
	return dgram2_write(p, &d);
}

static int write_v3(const struct flow_call *c, struct span payload, struct packer *p)
{
	const struct dgram3_payload d = { .id = c->id, .payload = payload };
	return dgram3_payload_write(p, &d, dgram3_payload_max(c->port->is_ours));
}

static void send_payload(struct flow_call *c, struct span payload)
{
	uint8_t buf[DGRAM3_MAX];
	struct packer p = packer_over(buf, sizeof(buf));
	int r = c->port->v2 ? write_v2(c, payload, &p) : write_v3(c, payload, &p);
	if (r < 0)
		drop(c, CALL_DROP_TOO_BIG);
	else
		send_or_count(c, packer_span(&p));
}

/* Length of the first payload that is held. */
static size_t held_len(const struct flow_call *c)
{
	uint8_t head[HELD_HEAD] = {};
	(void)bufq_copy_out(&c->held, head, sizeof(head));
	return (size_t)head[0] << 8 | head[1];
}

/* Copies it out; at most DGRAM_PAYLOAD_MAX_ADIT bytes, or it wouldn't have been held. */
static struct span held_copy(const struct flow_call *c, uint8_t buf[HELD_HEAD + DGRAM3_MAX])
{
	size_t len = held_len(c);
	(void)bufq_copy_out(&c->held, buf, HELD_HEAD + len);
	return span_of(buf + HELD_HEAD, len);
}

static void held_drop_first(struct flow_call *c)
{
	bufq_consume(&c->held, HELD_HEAD + held_len(c));
	c->held_count--;
}

/* Only daemons of ours are known to read it; a flow that may live already doesn't. */
static bool may_bundle(const struct flow_call *c)
{
	size_t head = DGRAM3_REGISTER_HEAD + ip_family_len(c->dest.ip.family);
	size_t len = c->held_count ? held_len(c) : 0;
	return c->port->is_ours && !c->port->v2 && !c->was_up && len > 0 &&
	       len <= dgram3_bundle_max(c->dest.ip.family) &&
	       head + len <= datagram_max(c->port->pipe);
}

static void send_registration(struct flow_call *c)
{
	uint8_t buf[DGRAM3_REGISTER_MAX], copy[HELD_HEAD + DGRAM3_MAX];
	struct packer p = packer_over(buf, sizeof(buf));
	struct dgram3_register reg = {
		.id = c->id,
		.dest = c->dest,
		.idle_sec = dgram3_idle_sec(c->idle + HINT_MORE_SEC * NSEC_PER_SEC),
	};
	if (c->is_bundled)
		reg.payload = held_copy(c, copy);
	c->caller->registrations++;
	if (dgram3_register_write(&p, &reg) == 0)
		send_or_count(c, packer_span(&p));
}

/* ---- waiting ---- */

static void arm(struct flow_call *c, nsec_t at)
{
	timer_start(c->caller->worker->loop, &c->timer, at);
}

static void arm_repeat(struct flow_call *c)
{
	arm(c, nsec_add(now_of(c), (FIRST_REPEAT_MSEC * NSEC_PER_MSEC) << c->tries));
}

static void arm_idle(struct flow_call *c)
{
	arm(c, nsec_add(c->active, c->idle));
}

static void take_new_id(struct flow_call *c)
{
	struct map *calls = &c->caller->calls;
	map_remove(calls, &c->node);
	random_bytes(c->id.bytes, sizeof(c->id.bytes));
	/* In the room of the old one: it neither grows nor is over the limit. */
	int r = map_insert(calls, &c->node, dgram_id_span(&c->id));
	assert(r == 0);
}

static void refuse(struct flow_call *c)
{
	c->caller->refusals++;
	c->caller->drops[CALL_DROP_REFUSED] += c->held_count;
	bufq_clear(&c->held);
	c->held_count = 0;
	c->is_bundled = false;
	c->is_eager = false;
	c->refused = now_of(c);
	arm_idle(c);
	if (c->user->on_refused)
		c->user->on_refused(c);
}

/* Where it can't be asked now, the timer tries again. */
static void ask_for_session(struct flow_call *c)
{
	take_new_id(c);
	const struct dgram2_register reg = {
		.id = c->id,
		.dest = c->dest,
		.idle = c->idle + HINT_MORE_SEC * NSEC_PER_SEC,
	};
	c->has_session = c->port->v2->make_session(c->port, &reg) == 0;
	c->caller->registrations += c->has_session;
	c->was_answered = false;
}

static void end_session(struct flow_call *c, const char *text)
{
	if (c->has_session)
		c->port->v2->end_session(c->port, &c->id, text);
	c->has_session = false;
}

static void begin(struct flow_call *c)
{
	c->tries = 0;
	c->is_bundled = may_bundle(c);
	arm_repeat(c);
	if (c->port->v2)
		ask_for_session(c);
	else
		send_registration(c);
}

static void hold(struct flow_call *c, struct span payload)
{
	const uint8_t head[HELD_HEAD] = { (uint8_t)(payload.len >> 8), (uint8_t)payload.len };
	size_t len = sizeof(head) + payload.len;
	if (payload.len > DGRAM_PAYLOAD_MAX_ADIT) {
		drop(c, CALL_DROP_TOO_BIG);
		return;
	}
	if (c->held_count == HELD_COUNT || c->held.len + len > c->caller->held_max) {
		drop(c, CALL_DROP_HELD);
		return;
	}
	size_t before = c->held.len;
	int r = bufq_append_copy(&c->held, span_of(head, sizeof(head)));
	if (r == 0 && payload.len > 0)
		r = bufq_append_copy(&c->held, payload);
	if (r == 0) {
		c->held_count++;
		return;
	}
	/* There are no buffers: a head without its bytes would be taken for the next one's. */
	drop(c, CALL_DROP_HELD);
	if (c->held.len > before) {
		c->caller->drops[CALL_DROP_HELD] += c->held_count;
		bufq_clear(&c->held);
		c->held_count = 0;
		c->is_bundled = false;
	}
}

static void accept_flow(struct flow_call *c)
{
	uint8_t copy[HELD_HEAD + DGRAM3_MAX];
	c->was_up = true;
	c->is_eager = false;
	c->heard = now_of(c);
	if (c->is_bundled)
		held_drop_first(c);
	c->is_bundled = false;
	while (c->held_count) {
		send_payload(c, held_copy(c, copy));
		held_drop_first(c);
	}
	bufq_clear(&c->held);
	arm_idle(c);
}

static void on_timer(struct timer *timer)
{
	struct flow_call *c = CONTAINER_OF(timer, struct flow_call, timer);
	if (c->state != CALL_STATE_WAITING || (c->held_count == 0 && !c->is_eager)) {
		if (now_of(c) < nsec_add(c->active, c->idle))
			arm_idle(c);
		else
			c->user->on_idle(c);
		return;
	}
	if (!c->port)
		c->user->on_lost(c); /* may begin anew on another link, which arms the timer */
	if (!c->caller || timer_is_armed(&c->timer))
		return;
	if (++c->tries == TRIES && c->held_count == 0) { /* nobody waits for it */
		c->is_eager = false;
		arm_idle(c);
		return;
	}
	if (c->tries == TRIES) {
		c->caller->unanswered++;
		(void)step(c, CALL_EVENT_UNANSWERED);
		end_session(c, "no answer in time");
		refuse(c);
		return;
	}
	if (c->port && c->port->v2 && !c->has_session) {
		ask_for_session(c);
	} else if (c->port && !c->port->v2) {
		c->caller->repeats++;
		send_registration(c);
	}
	arm_repeat(c);
}

/* ---- what comes from the daemon ---- */

static struct flow_call *find(const struct flow_caller *f, const struct dgram_id *id)
{
	struct map_node *node = map_find(&f->calls, dgram_id_span(id));
	return node ? MAP_ENTRY(node, struct flow_call, node) : NULL;
}

static void take_response(struct flow_caller *f, const struct call_port *port, struct span datagram)
{
	struct dgram3_response r;
	if (dgram3_response_read(datagram, &r) < 0) {
		f->drops[CALL_DROP_MALFORMED]++;
		return;
	}
	struct flow_call *c = find(f, &r.id);
	/* The answer to a repeat of one that has ended, or has left this link since. */
	if (!c || c->port != port)
		return;
	c->heard = now_of(c);
	bool is_ok = r.code == DGRAM3_CODE_OK;
	if (!step(c, is_ok ? CALL_EVENT_ACCEPTED : CALL_EVENT_REFUSED))
		return;
	if (is_ok)
		accept_flow(c);
	else
		refuse(c);
}

static void deliver(struct flow_call *c, struct span payload)
{
	c->heard = c->active = now_of(c);
	c->was_answered = true;
	c->user->on_payload(c, payload);
}

static void take_payload(struct flow_caller *f, struct call_port *port, struct span datagram)
{
	struct dgram3_payload d;
	size_t max = dgram3_payload_max(port->is_ours);
	if (dgram3_payload_read(datagram, max, &d) < 0) {
		f->drops[CALL_DROP_MALFORMED]++;
		return;
	}
	struct flow_call *c = find(f, &d.id);
	if (c)
		deliver(c, d.payload);
	else
		f->drops[CALL_DROP_NO_FLOW]++;
}

static void take_packet(struct flow_caller *f, struct call_port *port, struct span packet)
{
	if (f->on_packet)
		f->on_packet(f->packet_user, port, packet);
	else
		f->drops[CALL_DROP_ICMP]++;
}

static void take_v3_packet(struct flow_caller *f, struct call_port *port, struct span datagram)
{
	struct span packet = {};
	if (dgram3_icmp_read(datagram, &packet) < 0)
		f->drops[CALL_DROP_MALFORMED]++;
	else
		take_packet(f, port, packet);
}

static void take_v2(struct flow_caller *f, struct call_port *port, struct span datagram)
{
	struct dgram2 d = { .type = DGRAM2_TYPE_SPANS };
	struct flow_call *c = NULL;
	if (dgram2_read(datagram, &d) < 0)
		d.type = DGRAM2_TYPE_SPANS; /* as little wanted */
	switch (d.type) {
	case DGRAM2_TYPE_PAYLOAD:
		c = find(f, &d.id);
		if (c && c->port == port)
			deliver(c, d.content);
		else
			f->drops[CALL_DROP_NO_FLOW]++;
		return;
	case DGRAM2_TYPE_PACKET:
		take_packet(f, port, d.content);
		return;
	case DGRAM2_TYPE_TRACED:
	case DGRAM2_TYPE_SPANS: /* we trace nothing */
		f->drops[CALL_DROP_MALFORMED]++;
		return;
	}
}

void flow_caller_answered(struct flow_caller *f, const struct call_port *port,
			  const struct dgram_id *id, enum call_event answer)
{
	struct flow_call *c = find(f, id);
	if (!c || c->port != port || !c->has_session) /* or it has ended already */
		return;
	bool is_ok = answer == CALL_EVENT_ACCEPTED;
	c->heard = now_of(c);
	c->has_session = is_ok;
	f->unanswered += answer == CALL_EVENT_UNANSWERED;
	if (!step(c, answer))
		return;
	if (is_ok)
		accept_flow(c);
	else
		refuse(c);
}

/* The next payload asks for another session; not at once where this one was of no use. */
void flow_caller_ended(struct flow_caller *f, const struct call_port *port,
		       const struct dgram_id *id)
{
	struct flow_call *c = find(f, id);
	if (!c || c->port != port || !c->has_session)
		return;
	f->ended++;
	c->has_session = false;
	if (c->was_answered) {
		(void)step(c, CALL_EVENT_REBIND);
		return;
	}
	(void)step(c, CALL_EVENT_REFUSED);
	refuse(c);
}

void flow_caller_datagram(struct flow_caller *f, struct call_port *port, struct span datagram)
{
	if (port->v2) {
		take_v2(f, port, datagram);
		return;
	}
	enum dgram3_type type = DGRAM3_TYPE_REGISTER;
	if (dgram3_type(datagram, &type) < 0)
		type = DGRAM3_TYPE_REGISTER; /* no more a daemon's to send than that */
	switch (type) {
	case DGRAM3_TYPE_RESPONSE:
		take_response(f, port, datagram);
		return;
	case DGRAM3_TYPE_PAYLOAD:
		take_payload(f, port, datagram);
		return;
	case DGRAM3_TYPE_ICMP:
		take_v3_packet(f, port, datagram);
		return;
	case DGRAM3_TYPE_REGISTER:
		f->drops[CALL_DROP_MALFORMED]++;
		return;
	}
}

/* ---- life ---- */

void flow_caller_init(struct flow_caller *f, struct worker *worker, size_t held_max)
{
	*f = (struct flow_caller){ .worker = worker, .held_max = held_max };
	map_init(&f->calls, SIZE_MAX); /* whoever has the flows has a limit of them */
}

void flow_caller_done(struct flow_caller *f)
{
	map_done(&f->calls);
}

/* What its origin sends isn't lost for longer than it takes to find another link. */
static void make_eager(struct flow_call *c)
{
	nsec_t now = now_of(c);
	if (c->state != CALL_STATE_UP || now >= nsec_add(c->active, EAGER_SEC * NSEC_PER_SEC))
		return;
	(void)step(c, CALL_EVENT_REBIND);
	c->is_eager = true;
	c->tries = 0;
	arm(c, now);
}

void call_port_close(struct call_port *port)
{
	if (!port->pipe)
		return;
	LIST_FOREACH(node, &port->calls)
	{
		struct flow_call *c = LIST_ENTRY(node, struct flow_call, in_port);
		list_remove(&c->in_port);
		c->port = NULL;
		c->has_session = false;
		if (!port->v2)
			make_eager(c);
	}
	port->pipe = NULL;
}

int flow_call_open(struct flow_caller *f, struct flow_call *c,
		   const struct flow_call_params *params)
{
	*c = (struct flow_call){
		.user = params->user,
		.dest = *params->dest,
		.id = *params->id,
		.was_up = params->was_up,
		.idle = params->idle,
		.active = loop_now(f->worker->loop),
		.state = CALL_STATE_WAITING,
		.timer.on_expire = on_timer,
	};
	bufq_init(&c->held, f->worker->slab);
	int r = map_insert(&f->calls, &c->node, dgram_id_span(&c->id));
	if (r < 0)
		return r;
	c->caller = f;
	arm_idle(c);
	return 0;
}

void flow_call_close(struct flow_call *c)
{
	if (!c->caller)
		return;
	end_session(c, "the client has gone");
	timer_stop(&c->timer);
	bufq_clear(&c->held);
	list_remove(&c->in_port);
	map_remove(&c->caller->calls, &c->node);
	c->caller = NULL;
	c->port = NULL;
}

void flow_call_bind(struct flow_call *c, struct call_port *port)
{
	if (c->port == port)
		return;
	end_session(c, "moved to another connection");
	list_remove(&c->in_port);
	c->port = port;
	c->bound = now_of(c);
	list_append(&port->calls, &c->in_port);
	(void)step(c, CALL_EVENT_REBIND);
	c->is_eager = c->is_eager && !port->v2;
	if (c->held_count || c->is_eager)
		begin(c);
	else
		c->tries = 0; /* with the next payload */
}

void flow_call_claim(struct flow_call *c)
{
	if (c->state != CALL_STATE_WAITING || !c->port || c->port->v2 || c->is_eager)
		return;
	c->is_eager = true;
	if (c->held_count == 0)
		begin(c);
}

void flow_call_send(struct flow_call *c, struct span payload)
{
	nsec_t now = now_of(c);
	c->active = now;
	if (c->state == CALL_STATE_REFUSED) {
		if (now < nsec_add(c->refused, REFUSED_SEC * NSEC_PER_SEC) || !c->port) {
			drop(c, CALL_DROP_REFUSED);
			return;
		}
		(void)step(c, CALL_EVENT_REBIND);
	}
	if (c->state == CALL_STATE_WAITING) {
		bool is_first = c->held_count == 0;
		hold(c, payload);
		if (is_first && c->held_count && c->port && !c->is_eager)
			begin(c);
		return;
	}
	if (!c->port) {
		drop(c, CALL_DROP_NO_LINK);
		return;
	}
	if (!c->port->v2 && now >= nsec_add(c->heard, SILENCE_SEC * NSEC_PER_SEC)) {
		c->heard = now;
		send_registration(c);
	}
	send_payload(c, payload);
}

size_t flow_call_payload_max(const struct flow_call *c)
{
	const struct call_port *port = c->port;
	size_t max = port && !port->v2 ? dgram3_payload_max(port->is_ours) : DGRAM_PAYLOAD_MAX;
	if (!port || now_of(c) < nsec_add(c->bound, PATH_SEC * NSEC_PER_SEC))
		return max;
	size_t room = datagram_max(port->pipe);
	return room > DGRAM3_PAYLOAD_HEAD ? MIN(max, room - DGRAM3_PAYLOAD_HEAD) : 0;
}
