/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One UDP flow at the daemon. It has no queue: what the kernel doesn't take at once towards the
 * origin, or the link towards the edge, is dropped and counted, as a network does.
 */
#include "daemon/session/udp_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/wire/dgram_v2.h"
#include "util/cleanup.h"

/* A flow whose link has ended waits so long for its edge to register it on another. */
enum { LOST_SEC = 10 };

static void session_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct udp_session, garbage));
}

static void drop(struct udp_session *s, enum flow_drop reason)
{
	flow_table_drop(s->table, s->index, reason);
}

void udp_session_touch(struct udp_session *s)
{
	s->active = loop_now(s->table->p.worker->loop);
}

static bool is_v2(const struct udp_session *s)
{
	return s->key.scope != 0;
}

/* In version 2 whatever moves is a sign of life, in version 3 only what is delivered. */
static void touch_v2(struct udp_session *s)
{
	if (is_v2(s))
		udp_session_touch(s);
}

/* Its end comes from this side: an edge of version 2 is told. */
static void end_and_tell(struct udp_session *s, const char *reason)
{
	struct flow_port *port = s->port;
	struct dgram_id id = s->key.id;
	bool is_told = is_v2(s);
	udp_session_end(s, reason);
	if (is_told)
		port->v2->on_session_end(port, &id, reason);
}

/* ---- from the origin ---- */

/* What may be carried besides what fits: the peer refuses more. */
static size_t payload_max(const struct flow_port *port)
{
	size_t max = datagram_max(port->pipe);
	size_t agreed = port->v2 ? DGRAM_PAYLOAD_MAX : dgram3_payload_max(port->is_ours);
	return max < DGRAM3_PAYLOAD_HEAD ? 0 : MIN(max - DGRAM3_PAYLOAD_HEAD, agreed);
}

/* The head is written before the datagram, where there is room. */
static int send_v3(struct udp_session *s, uint8_t *data, size_t len)
{
	uint8_t *start = data - DGRAM3_PAYLOAD_HEAD;
	dgram3_payload_head(&s->key.id, start);
	return datagram_send(s->port->pipe, DATAGRAM_KIND_PAYLOAD,
			     span_of(start, DGRAM3_PAYLOAD_HEAD + len));
}

/* Behind it another datagram may stand. */
static int send_v2(struct udp_session *s, const uint8_t *data, size_t len)
{
	uint8_t copy[DGRAM_PAYLOAD_MAX + DGRAM2_PAYLOAD_TAIL];
	memcpy(copy, data, len);
	dgram2_payload_tail(&s->key.id, copy + len);
	return datagram_send(s->port->pipe, DATAGRAM_KIND_PAYLOAD,
			     span_of(copy, len + DGRAM2_PAYLOAD_TAIL));
}

static void on_origin_datagram(struct flow_path *path, uint8_t *data, size_t len)
{
	static_assert((int)PATH_HEADROOM >= (int)DGRAM3_PAYLOAD_HEAD);
	static_assert((int)DGRAM2_PAYLOAD_TAIL == (int)DGRAM3_PAYLOAD_HEAD);

	struct udp_session *s = CONTAINER_OF(path, struct udp_session, path);
	s->rx++;
	touch_v2(s);
	if (!s->port) {
		drop(s, FLOW_DROP_LINK_DOWN);
		return;
	}
	if (len > payload_max(s->port)) {
		s->table->sessions.too_big += is_v2(s);
		drop(s, FLOW_DROP_TOO_BIG);
		return;
	}
	int r = is_v2(s) ? send_v2(s, data, len) : send_v3(s, data, len);
	if (r == 0)
		udp_session_touch(s);
	else
		drop(s, r == -EMSGSIZE ? FLOW_DROP_TOO_BIG
			: r == -EPROTO ? FLOW_DROP_LINK_DOWN
				       : FLOW_DROP_LINK_FULL);
}

/* Nobody listens at the destination: the flow ends. What lies on the way may recover. */
static void on_path_error(struct flow_path *path, const struct udp_error *error)
{
	struct udp_session *s = CONTAINER_OF(path, struct udp_session, path);
	if (error->error != -ECONNREFUSED && error->error != -ENOPROTOOPT)
		return;
	s->table->by_index[s->index].failed += !is_v2(s);
	end_and_tell(s, "connection refused by the origin");
}

/* ---- to the origin ---- */

static void on_sent(struct flow_path *path, unsigned int count, int error)
{
	struct udp_session *s = CONTAINER_OF(path, struct udp_session, path);
	if (error < 0) {
		enum flow_drop reason = error == -EAGAIN ? FLOW_DROP_ORIGIN_FULL : FLOW_DROP_ORIGIN;
		flow_table_drop_many(s->table, s->index, reason, count);
		return;
	}
	s->tx += count;
	udp_session_touch(s);
}

static size_t max_of(struct flow_path *path)
{
	const struct udp_session *s = CONTAINER_OF(path, struct udp_session, path);
	return s->port ? payload_max(s->port) : SIZE_MAX;
}

static const struct path_user path_user = {
	.max = max_of,
	.on_datagram = on_origin_datagram,
	.on_error = on_path_error,
	.on_sent = on_sent,
};

void udp_session_write(struct udp_session *s, struct span payload)
{
	touch_v2(s);
	flow_path_send(&s->path, payload);
}

/* ---- life ---- */

/* When it ends unless something moves. */
static nsec_t due_of(const struct udp_session *s)
{
	nsec_t idle = nsec_add(s->active, s->idle);
	return s->port ? idle : MIN(idle, nsec_add(s->lost, LOST_SEC * NSEC_PER_SEC));
}

static void on_timer(struct timer *timer)
{
	struct udp_session *s = CONTAINER_OF(timer, struct udp_session, timer);
	struct loop *loop = s->table->p.worker->loop;
	inbox_drain(&s->table->inbox);
	nsec_t due = due_of(s);
	if (loop_now(loop) < due) {
		timer_start(loop, &s->timer, due);
		return;
	}
	char text[48] = "its connection ended";
	if (s->port)
		(void)snprintf(text, sizeof(text), "session idle for %.10gs",
			       (double)s->idle / (double)NSEC_PER_SEC);
	end_and_tell(s, text);
}

static void leave_port(struct udp_session *s)
{
	if (!s->port)
		return;
	list_remove(&s->in_port);
	s->port->count--;
	s->port = NULL;
}

void udp_session_move(struct udp_session *s, struct flow_port *port)
{
	leave_port(s);
	s->port = port;
	s->index = port->index;
	list_append(&port->flows, &s->in_port);
	port->count++;
}

void udp_session_lose_port(struct udp_session *s)
{
	if (is_v2(s)) {
		udp_session_end(s, "its connection ended");
		return;
	}
	struct loop *loop = s->table->p.worker->loop;
	leave_port(s);
	s->lost = loop_now(loop);
	timer_start(loop, &s->timer, due_of(s));
}

struct udp_session *udp_session_find(const struct flow_table *t, const struct dgram_id *id,
				     uint64_t scope)
{
	const struct session_key key = { .id = *id, .scope = scope };
	struct map_node *node = map_find(&t->flows, session_key_span(&key));
	return node ? MAP_ENTRY(node, struct udp_session, node) : NULL;
}

/* The reference counts the versions apart. */
static uint64_t *active_of(const struct udp_session *s)
{
	return is_v2(s) ? &s->table->sessions.active : &s->table->by_index[s->born].active;
}

static uint64_t *total_of(const struct udp_session *s)
{
	return is_v2(s) ? &s->table->sessions.total : &s->table->by_index[s->born].total;
}

/* What a worker's table knows of it. */
static int enter_table(struct udp_session *s, struct flow_table *t)
{
	int r = map_insert(&t->flows, &s->node, session_key_span(&s->key));
	if (r < 0)
		return r;
	s->table = t;
	(*active_of(s))++;
	return 0;
}

static void leave_table(struct udp_session *s)
{
	timer_stop(&s->timer);
	leave_port(s);
	map_remove(&s->table->flows, &s->node);
	(*active_of(s))--;
}

/* Version 2's are found by nobody else. */
static void set_owner(struct udp_session *s, const struct flow_table *t)
{
	/* Without room there it can't be moved to another worker. */
	if (!is_v2(s))
		(void)owners_set(t->p.owners, dgram_id_span(&s->key.id), t->p.worker->index);
}

static void release_owner(struct udp_session *s)
{
	const struct flow_table_params *p = &s->table->p;
	if (!is_v2(s))
		owners_clear(p->owners, dgram_id_span(&s->key.id), p->worker->index);
}

int udp_session_new(struct flow_table *t, struct flow_port *port,
		    const struct udp_session_params *params, struct udp_session **ret)
{
	struct loop *loop = t->p.worker->loop;
	_cleanup_(freep) struct udp_session *s = aligned_alloc(CACHE_PAIR, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct udp_session){};
	s->key = (struct session_key){ .id = params->id, .scope = port->v2 ? port->serial : 0 };
	s->idle = params->idle;
	s->born = (uint8_t)port->index;
	s->garbage.release = session_release;
	s->timer.on_expire = on_timer;
	int r = enter_table(s, t);
	if (r < 0)
		return r;
	r = flow_path_open(t->p.datapath, &s->path, &path_user, &params->dest);
	if (r < 0) {
		leave_table(s);
		return r;
	}
	udp_session_move(s, port);
	udp_session_touch(s);
	timer_start(loop, &s->timer, due_of(s));
	(*total_of(s))++;
	set_owner(s, t);
	if (log_is_enabled(t->p.worker->log, LOG_LEVEL_DEBUG, "session")) {
		char text[DGRAM_ID_TEXT_LEN + 1];
		dgram_id_format(&s->key.id, text);
		log_debug(t->p.worker->log, "session", "flow registered",
			  KV_STR(is_v2(s) ? "sessionID" : "flowID", text),
			  KV_U64("connIndex", port->index), KV_ADDR("dst", &s->path.remote),
			  KV_ADDR("src", flow_path_local(&s->path)));
	}
	*ret = TAKE_PTR(s);
	return 0;
}

void udp_session_end(struct udp_session *s, const char *reason)
{
	struct flow_table *t = s->table;
	if (log_is_enabled(t->p.worker->log, LOG_LEVEL_DEBUG, "session")) {
		char text[DGRAM_ID_TEXT_LEN + 1];
		dgram_id_format(&s->key.id, text);
		log_debug(t->p.worker->log, "session", "flow ended",
			  KV_STR(is_v2(s) ? "sessionID" : "flowID", text),
			  KV_U64("connIndex", s->index), KV_STR("reason", reason),
			  KV_U64("rx", s->rx), KV_U64("tx", s->tx));
	}
	leave_table(s);
	release_owner(s);
	flow_path_close(&s->path);
	loop_defer_free(t->p.worker->loop, &s->garbage);
}

/* ---- from worker to worker ---- */

/* It is in no table and on no worker; tables and workers may have ended. */
static void discard(struct message *message)
{
	struct udp_session *s = CONTAINER_OF(message, struct udp_session, message);
	flow_path_close(&s->path);
	free(s);
}

/* The table can't have it. */
static void forget(struct udp_session *s)
{
	release_owner(s);
	discard(&s->message);
}

static void on_arrival(struct message *message, void *owner)
{
	(void)owner;
	struct udp_session *s = CONTAINER_OF(message, struct udp_session, message);
	struct flow_table *t = s->table;
	struct flow_port *port = flow_port_find(t, s->wanted_by);
	if (t->is_done || enter_table(s, t) < 0) {
		forget(s);
		return;
	}
	if (flow_path_attach(t->p.datapath, &s->path) < 0) {
		leave_table(s);
		forget(s);
		return;
	}
	if (port)
		flow_table_accept(t, port, s);
	else
		s->lost = loop_now(t->p.worker->loop);
	timer_start(t->p.worker->loop, &s->timer, due_of(s));
}

int udp_session_hand_over(struct udp_session *s, struct flow_table *to, uint64_t port)
{
	int r = flow_path_detach(&s->path);
	if (r < 0)
		return r;
	leave_table(s);
	set_owner(s, to);
	s->table = to;
	s->wanted_by = port;
	s->message = (struct message){ .on_deliver = on_arrival, .on_discard = discard };
	mailbox_post(to->p.worker->mailbox, &s->message);
	return 0;
}
