/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One UDP flow at the daemon. It has no queue: what the kernel doesn't take at once towards the
 * origin, or the link towards the edge, is dropped and counted, as a network does.
 */
#include "daemon/session/udp_session.h"

#include <errno.h>
#include <stdlib.h>

#include "util/cleanup.h"

static void session_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct udp_session, garbage));
}

static void drop(struct udp_session *s, enum flow_drop reason)
{
	flow_table_drop(s->table, s->port->index, reason);
}

void udp_session_touch(struct udp_session *s)
{
	s->active = loop_now(s->table->p.worker->loop);
}

/* ---- from the origin ---- */

/* What may be carried besides what fits: the peer refuses more. */
static size_t payload_max(const struct flow_port *port)
{
	size_t max = datagram_max(port->pipe);
	size_t agreed = dgram3_payload_max(port->is_ours);
	return max < DGRAM3_PAYLOAD_HEAD ? 0 : MIN(max - DGRAM3_PAYLOAD_HEAD, agreed);
}

static void on_origin_datagram(struct flow_path *path, uint8_t *data, size_t len)
{
	static_assert((int)PATH_HEADROOM >= (int)DGRAM3_PAYLOAD_HEAD);

	struct udp_session *s = CONTAINER_OF(path, struct udp_session, path);
	s->rx++;
	if (len > payload_max(s->port)) {
		drop(s, FLOW_DROP_TOO_BIG);
		return;
	}
	uint8_t *start = data - DGRAM3_PAYLOAD_HEAD;
	dgram3_payload_head(&s->id, start);
	int r = datagram_send(s->port->pipe, span_of(start, DGRAM3_PAYLOAD_HEAD + len));
	if (r == 0)
		udp_session_touch(s);
	else
		drop(s, r == -EMSGSIZE ? FLOW_DROP_TOO_BIG
			: r == -EPROTO ? FLOW_DROP_LINK_DOWN
				       : FLOW_DROP_LINK_FULL);
}

/* Nobody listens at the destination: the flow ends as if it had never been. What lies on the way
 * may recover. */
static void on_path_error(struct flow_path *path, const struct udp_error *error)
{
	struct udp_session *s = CONTAINER_OF(path, struct udp_session, path);
	if (error->error != -ECONNREFUSED && error->error != -ENOPROTOOPT)
		return;
	s->table->by_index[s->port->index].failed++;
	udp_session_end(s, "refused by the origin");
}

static const struct path_user path_user = {
	.on_datagram = on_origin_datagram,
	.on_error = on_path_error,
};

/* ---- to the origin ---- */

void udp_session_write(struct udp_session *s, struct span payload)
{
	int r = flow_path_send(&s->path, payload);
	if (r < 0) {
		drop(s, r == -EAGAIN ? FLOW_DROP_ORIGIN_FULL : FLOW_DROP_ORIGIN);
		return;
	}
	s->tx++;
	udp_session_touch(s);
}

/* ---- life ---- */

static void on_timer(struct timer *timer)
{
	struct udp_session *s = CONTAINER_OF(timer, struct udp_session, timer);
	struct loop *loop = s->table->p.worker->loop;
	nsec_t due = nsec_add(s->active, s->idle);
	if (loop_now(loop) < due)
		timer_start(loop, &s->timer, due);
	else
		udp_session_end(s, "idle");
}

void udp_session_move(struct udp_session *s, struct flow_port *port)
{
	if (s->port) {
		list_remove(&s->in_port);
		s->port->count--;
	}
	s->port = port;
	list_append(&port->flows, &s->in_port);
	port->count++;
}

int udp_session_new(struct flow_table *t, struct flow_port *port, const struct dgram3_register *reg,
		    struct udp_session **ret)
{
	struct loop *loop = t->p.worker->loop;
	_cleanup_(freep) struct udp_session *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->table = t;
	s->id = reg->id;
	s->idle = dgram3_idle(reg->idle_sec);
	s->born = (uint8_t)port->index;
	s->garbage.release = session_release;
	s->timer.on_expire = on_timer;
	int r = map_insert(&t->flows, &s->node, dgram_id_span(&s->id));
	if (r < 0)
		return r;
	r = flow_path_open(t->p.datapath, &s->path, &path_user, &reg->dest);
	if (r < 0) {
		map_remove(&t->flows, &s->node);
		return r;
	}
	udp_session_move(s, port);
	udp_session_touch(s);
	timer_start(loop, &s->timer, nsec_add(s->active, s->idle));
	t->by_index[s->born].active++;
	t->by_index[s->born].total++;
	if (log_is_enabled(t->p.worker->log, LOG_LEVEL_DEBUG, "session")) {
		char text[DGRAM_ID_TEXT_LEN + 1];
		dgram_id_format(&s->id, text);
		log_debug(t->p.worker->log, "session", "flow registered", KV_STR("flowID", text),
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
		dgram_id_format(&s->id, text);
		log_debug(t->p.worker->log, "session", "flow ended", KV_STR("flowID", text),
			  KV_U64("connIndex", s->port->index), KV_STR("reason", reason),
			  KV_U64("rx", s->rx), KV_U64("tx", s->tx));
	}
	timer_stop(&s->timer);
	flow_path_close(&s->path);
	map_remove(&t->flows, &s->node);
	list_remove(&s->in_port);
	s->port->count--;
	t->by_index[s->born].active--;
	loop_defer_free(t->p.worker->loop, &s->garbage);
}
