/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a public TCP port or into a private network. Until the daemon has said that the
 * destination is connected nothing of the visitor's is sent: so a request that got lost can be
 * begun again on another link. Then a relay moves the bytes. A failure is a reset: TCP has no other
 * word for it.
 */
#include "daemon/edge/visit_tcp.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/edge/tunnel_call.h"
#include "daemon/flow/frame.h"
#include "daemon/flow/relay.h"
#include "daemon/wire/connect.h"
#include "daemon/wire/endpoint.h"
#include "util/cleanup.h"

enum {
	REQUEST_MAX = 512,
	EARLY_MAX = 16 * 1024, /* bytes of the visitor that wait here, the rest in the kernel */
};

struct visit_tcp {
	struct visit_env *env;
	struct visit_tcp_to to;
	struct roster *roster;      /* with which it began; referenced */
	struct front_conn *visitor; /* referenced */
	struct stream *stream;      /* the visitor's; NULL once the relay has it */
	struct bufq early;          /* read from it before the answer */
	struct tunnel_call call;
	struct relay *relay;
	char ray_text[VISIT_RAY_MAX];
	struct span ray;
	unsigned int status;
	enum proxy_reason reason;
	nsec_t since;
	nsec_t answered;
	uint64_t bytes_in;
	uint64_t bytes_out;
	struct loop_garbage garbage;
	struct list node;
};

static void tcp_release(struct loop_garbage *garbage)
{
	struct visit_tcp *t = CONTAINER_OF(garbage, struct visit_tcp, garbage);
	roster_unref(t->roster);
	free(t);
}

static struct span dest_text(const struct visit_tcp *t, uint8_t buf[ENDPOINT_TEXT_MAX])
{
	struct packer p = packer_over(buf, ENDPOINT_TEXT_MAX);
	ip_port_print(&p, &t->to.dest);
	return packer_span(&p);
}

/* Who still has the visitor's stream has ended it. */
static void tcp_end(struct visit_tcp *t)
{
	struct worker *w = t->env->p.worker;
	uint8_t text[ENDPOINT_TEXT_MAX];
	nsec_t took = loop_now(w->loop) - t->since;
	tunnel_call_drop(&t->call);
	bufq_clear(&t->early);
	stream_close(TAKE_PTR(t->stream));
	visit_account(t->env, t->roster, t->to.metrics,
		      &(struct access_record){ .method = SPAN_LIT("TCP"),
					       .host = dest_text(t, text),
					       .ray = t->ray,
					       .status = t->status,
					       .reason = t->reason,
					       .took = took,
					       .bytes_in = t->bytes_in,
					       .bytes_out = t->bytes_out },
		      t->answered ? t->answered - t->since : took);
	front_conn_unref(t->visitor);
	list_remove(&t->node);
	t->env->active--;
	loop_defer_free(w->loop, &t->garbage);
}

static void tcp_fail(struct visit_tcp *t, enum proxy_reason reason)
{
	t->reason = reason;
	t->status = proxy_reason_info(reason)->status;
	tunnel_call_abort(&t->call);
	tcp_end(t); /* the visitor's stream isn't finished: a reset */
}

/* ---- connected ---- */

static void tcp_end_relay(struct visit_tcp *t)
{
	t->bytes_in = t->relay->a_to_b.moved;
	t->bytes_out = t->relay->b_to_a.moved;
	t->relay = NULL;
	tcp_end(t);
}

static void on_relay_end(struct relay *relay, void *user)
{
	struct visit_tcp *t = user;
	t->reason = proxy_reason_of_relay(relay);
	tcp_end_relay(t);
}

static void tcp_join(struct visit_tcp *t)
{
	int r = relay_new(
		&(struct relay_params){ .a = TAKE_PTR(t->stream),
					.b = TAKE_PTR(t->call.tunnel),
					.from_a = &t->early,
					.from_b = &t->call.in,
					.hold_end = t->call.el->is_adit ? 0 : VISIT_HOLD_END,
					.on_end = on_relay_end,
					.user = t },
		&t->relay);
	if (r < 0) {
		tcp_fail(t, PROXY_REASON_OVERLOADED);
		return;
	}
	t->status = 200;
	t->answered = loop_now(t->env->p.worker->loop);
}

/* ---- before ---- */

static void tcp_dispatch(struct visit_tcp *t, const struct edge_link *avoid);

static void tcp_take_answer(struct visit_tcp *t, size_t len)
{
	struct span frame = {};
	_cleanup_(freep) uint8_t *copy = NULL;
	struct connect_response resp;
	if (frame_view(&t->call.in, len, &frame, &copy) < 0 ||
	    connect_response_decode(frame, &resp) < 0) {
		tcp_fail(t, PROXY_REASON_TUNNEL_LOST);
		return;
	}
	if (resp.error.len > 0) {
		tcp_fail(t, visit_reason_of_error(resp.error));
		return;
	}
	bufq_consume(&t->call.in, len);
	tcp_join(t);
}

static void on_tunnel_readable(struct stream *s, void *user)
{
	(void)s;
	struct visit_tcp *t = user;
	size_t len = 0;
	int r = tunnel_call_read(&t->call, &len);
	if (r == 0) {
		tcp_take_answer(t, len);
	} else if (r == -ECONNRESET && t->call.tries < TUNNEL_CALL_TRIES) {
		struct edge_link *avoid = edge_link_ref(t->call.el);
		tunnel_call_drop(&t->call);
		tcp_dispatch(t, avoid);
		edge_link_unref(avoid);
	} else if (r != -EAGAIN) {
		tcp_fail(t, proxy_reason_of_reset(t->call.tunnel->error_code,
						  PROXY_REASON_TUNNEL_LOST));
	}
}

static void on_tunnel_writable(struct stream *s, void *user)
{
	(void)s;
	struct visit_tcp *t = user;
	(void)tunnel_call_flush(&t->call);
}

static const struct stream_user tunnel_user = {
	.on_readable = on_tunnel_readable,
	.on_writable = on_tunnel_writable,
};

/* Only who reads learns that the visitor has gone. Its end is none: an answer may be wanted. */
static void on_visitor_readable(struct stream *s, void *user)
{
	struct visit_tcp *t = user;
	ssize_t n = 1;
	while (n > 0 && t->early.len < EARLY_MAX)
		n = stream_read(s, &t->early, EARLY_MAX - t->early.len);
	if (n < 0 && n != -EAGAIN && n != -ENOBUFS)
		tcp_fail(t, PROXY_REASON_VISITOR_GONE);
}

static void on_visitor_writable(struct stream *s, void *user)
{
	(void)s;
	(void)user;
}

static const struct stream_user visitor_user = {
	.on_readable = on_visitor_readable,
	.on_writable = on_visitor_writable,
};

static int tcp_write_request(struct visit_tcp *t)
{
	uint8_t buf[REQUEST_MAX], text[ENDPOINT_TEXT_MAX];
	struct connect_writer w;
	struct span bytes = {};
	connect_writer_init(&w, buf, sizeof(buf));
	connect_request_begin(&w, CONNECT_TYPE_TCP, dest_text(t, text), 1);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_FLOW_ID), t->ray);
	int r = connect_finish(&w, &bytes);
	return r < 0 ? r : bufq_append_copy(&t->call.out, bytes);
}

/* NULL when the configuration has none of this name any more. */
static const struct edge_tunnel *tunnel_of(const struct visit_tcp *t)
{
	uint32_t index = t->to.metrics->tunnel;
	return index < t->roster->conf->tunnel_count ? t->roster->tunnels[index].shared : NULL;
}

/* Chooses a link and sends the request into it. */
static void tcp_dispatch(struct visit_tcp *t, const struct edge_link *avoid)
{
	int r = tunnel_call_open(&t->call, &t->env->p, tunnel_of(t), avoid);
	if (r < 0) {
		tcp_fail(t, r == -ENOENT ? PROXY_REASON_TUNNEL_OFFLINE : PROXY_REASON_OVERLOADED);
		return;
	}
	if (tcp_write_request(t) < 0) {
		tcp_fail(t, PROXY_REASON_OVERLOADED);
		return;
	}
	stream_set_user(t->call.tunnel, &tunnel_user, t);
	(void)tunnel_call_flush(&t->call);
}

void visit_tcp_start(struct visit_env *env, struct stream *stream, struct front_conn *visitor,
		     const struct visit_tcp_to *to)
{
	struct visit_tcp *t = calloc(1, sizeof(*t));
	if (!t) {
		stream_close(stream);
		front_conn_unref(visitor);
		return;
	}
	t->env = env;
	t->roster = roster_ref(env->p.roster);
	t->to = *to;
	t->visitor = visitor;
	t->stream = stream;
	t->since = loop_now(env->p.worker->loop);
	t->garbage.release = tcp_release;
	t->ray = visit_make_ray(env, t->ray_text, sizeof(t->ray_text));
	tunnel_call_init(&t->call, env->p.worker->slab);
	bufq_init(&t->early, env->p.worker->slab);
	list_append(&env->flows, &t->node);
	env->active++;
	metric_add(env->p.worker->metrics, t->to.metrics->active, 1);
	stream_set_user(stream, &visitor_user, t);
	if (slab_pressure(env->p.worker->slab) >= SLAB_PRESSURE_SHORT)
		tcp_fail(t, PROXY_REASON_OVERLOADED);
	else
		tcp_dispatch(t, NULL);
}

void visit_tcp_abort_all(struct visit_env *env)
{
	LIST_FOREACH(node, &env->flows)
	{
		struct visit_tcp *t = LIST_ENTRY(node, struct visit_tcp, node);
		if (!t->relay) {
			tcp_fail(t, PROXY_REASON_TUNNEL_LOST);
			continue;
		}
		t->reason = PROXY_REASON_TUNNEL_LOST;
		relay_cut(t->relay);
		tcp_end_relay(t);
	}
}
