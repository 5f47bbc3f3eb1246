/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP flow at the daemon. Until the destination is connected it is a request that can be
 * answered with an error; then a relay has both streams, the answer its first bytes.
 */
#include "daemon/proxy/proxy_tcp.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/flow/relay.h"
#include "daemon/flow/stream_io.h"
#include "daemon/net/happy.h"
#include "daemon/net/tcp.h"
#include "daemon/origin/origin.h"
#include "daemon/proxy/account.h"
#include "daemon/proxy/destination.h"
#include "daemon/wire/endpoint.h"
#include "util/cleanup.h"

/* The reference's defaults for private networks. */
static constexpr nsec_t connect_timeout = 5 * NSEC_PER_SEC;
enum { KEEP_ALIVE_SEC = 30 };
/* An answer without error: preamble and an empty list (docs/protocol.md §10.5). */
enum { ACK_LEN = 48, FLOW_ID_MAX = 64 };

struct proxy_tcp {
	struct proxy_env *env;
	struct proxy_rules *rules;
	struct stream *tunnel; /* owned; NULL once the relay has it, or ended */
	struct ip_port dest;
	struct happy *happy; /* while it connects */
	struct bufq early;   /* what came behind the request */
	struct relay *relay;
	unsigned int status;
	enum proxy_reason reason;
	nsec_t since;
	nsec_t answered;
	uint64_t bytes_in;
	uint64_t bytes_out;
	char flow_id[FLOW_ID_MAX]; /* only logged */
	size_t flow_id_len;
	struct loop_garbage garbage;
	struct list node;
};

static void tcp_release(struct loop_garbage *garbage)
{
	struct proxy_tcp *t = CONTAINER_OF(garbage, struct proxy_tcp, garbage);
	proxy_rules_unref(t->rules);
	free(t);
}

static void tcp_count(struct proxy_tcp *t)
{
	uint8_t text[ENDPOINT_TEXT_MAX];
	struct packer p = packer_over(text, sizeof(text));
	ip_port_print(&p, &t->dest);
	nsec_t took = loop_now(t->env->worker->loop) - t->since;
	metric_add(t->env->worker->metrics, t->env->metrics->tcp_active, -1);
	account_end(t->env, t->rules, &t->rules->network,
		    &(struct access_record){
			    .rule = "network",
			    .method = SPAN_LIT("TCP"),
			    .host = packer_span(&p),
			    .ray = span_of(t->flow_id, t->flow_id_len),
			    .status = t->status,
			    .reason = t->reason,
			    .took = took,
			    .bytes_in = t->bytes_in,
			    .bytes_out = t->bytes_out,
		    },
		    t->answered ? t->answered - t->since : took);
}

/* The tunnel stream has been told its ending, or is the relay's. */
static void tcp_end(struct proxy_tcp *t)
{
	happy_cancel(TAKE_PTR(t->happy));
	bufq_clear(&t->early);
	stream_close(TAKE_PTR(t->tunnel));
	list_remove(&t->node);
	t->env->active--;
	t->env->flow_count--;
	tcp_count(t);
	loop_defer_free(t->env->worker->loop, &t->garbage);
}

static void tcp_fail(struct proxy_tcp *t, enum proxy_reason reason, const char *detail)
{
	struct proxy_env *env = t->env;
	struct stream *tunnel = TAKE_PTR(t->tunnel);
	t->reason = reason;
	t->status = proxy_reason_info(reason)->status;
	tcp_end(t);
	proxy_refuse(env, tunnel, reason, detail);
}

/* ---- connected ---- */

static void tcp_end_relay(struct proxy_tcp *t)
{
	uint64_t moved = t->relay->b_to_a.moved;
	t->bytes_in = t->relay->a_to_b.moved;
	t->bytes_out = moved - MIN(moved, (uint64_t)ACK_LEN);
	t->relay = NULL;
	tcp_end(t);
}

static void on_relay_end(struct relay *relay, void *user)
{
	struct proxy_tcp *t = user;
	t->reason = proxy_reason_of_relay(relay);
	tcp_end_relay(t);
}

static int write_ack(struct bufq *to)
{
	uint8_t buf[ACK_LEN];
	struct connect_writer w;
	struct span bytes = {};
	connect_writer_init(&w, buf, sizeof(buf));
	connect_response_begin(&w, span_of(NULL, 0), 0);
	int r = connect_finish(&w, &bytes);
	return r < 0 ? r : bufq_append_copy(to, bytes);
}

static int tcp_join(struct proxy_tcp *t, int fd_take)
{
	struct worker *w = t->env->worker;
	struct stream *origin;
	int r = stream_io_new(w->loop, w->slab, fd_take, NULL, &origin);
	if (r < 0)
		return r;
	struct bufq ack;
	bufq_init(&ack, w->slab);
	r = write_ack(&ack);
	if (r < 0) {
		stream_close(origin);
		return r;
	}
	bool is_ours = t->rules->conf->edge.kind == CONF_EDGE_KIND_ADIT;
	r = relay_new(&(struct relay_params){ .a = TAKE_PTR(t->tunnel),
					      .b = origin,
					      .from_a = &t->early,
					      .from_b = &ack,
					      .half_silence = is_ours ? 0 : PROXY_HALF_SILENCE,
					      .on_end = on_relay_end,
					      .user = t },
		      &t->relay);
	bufq_clear(&ack);
	return r;
}

static void on_connected(int fd_or_error, const struct ip_port *peer, void *user)
{
	(void)peer;
	struct proxy_tcp *t = user;
	t->happy = NULL;
	if (fd_or_error < 0) {
		enum proxy_reason reason =
			proxy_reason_of_failure(origin_failure_of_connect(fd_or_error));
		tcp_fail(t, reason, "unable to dial tcp to the destination");
		return;
	}
	int r = tcp_join(t, fd_or_error);
	if (r == 0) {
		t->status = 200;
		t->answered = loop_now(t->env->worker->loop);
	} else if (t->tunnel) {
		tcp_fail(t, PROXY_REASON_OVERLOADED, "no room for a flow");
	} else {
		t->reason = PROXY_REASON_OVERLOADED;
		t->status = proxy_reason_info(t->reason)->status;
		tcp_end(t);
	}
}

/* ---- before ---- */

static void on_readable(struct stream *s, void *user)
{
	(void)s;
	(void)user;
}

/* Nothing is being written yet: the news can only be that the edge has given up. */
static void on_writable(struct stream *s, void *user)
{
	struct proxy_tcp *t = user;
	if (stream_write_error(s) == 0)
		return;
	t->reason = PROXY_REASON_VISITOR_GONE;
	t->status = proxy_reason_info(t->reason)->status;
	stream_reset(t->tunnel, s->error_code);
	tcp_end(t);
}

static const struct stream_user tunnel_user = {
	.on_readable = on_readable,
	.on_writable = on_writable,
};

static void copy_flow_id(struct proxy_tcp *t, struct connect_metadata *meta)
{
	struct connect_iter it = {};
	struct connect_meta m;
	while (connect_next(meta, &it, &m)) {
		if (m.is_header || !span_eq_str(m.name, CONNECT_KEY_FLOW_ID))
			continue;
		t->flow_id_len = MIN(m.value.len, sizeof(t->flow_id));
		if (t->flow_id_len)
			memcpy(t->flow_id, m.value.ptr, t->flow_id_len);
	}
}

static struct proxy_tcp *tcp_new(struct proxy_env *env, struct stream *stream,
				 const struct ip_port *dest)
{
	struct proxy_tcp *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->env = env;
	t->rules = proxy_rules_ref(env->rules);
	t->tunnel = stream;
	t->dest = *dest;
	t->since = loop_now(env->worker->loop);
	t->garbage.release = tcp_release;
	bufq_init(&t->early, env->worker->slab);
	list_append(&env->flows, &t->node);
	env->active++;
	env->flow_count++;
	metric_add(env->worker->metrics, env->metrics->tcp_total, 1);
	metric_add(env->worker->metrics, env->metrics->tcp_active, 1);
	account_begin(env, &t->rules->network);
	return t;
}

static void tcp_note_refusal(struct proxy_env *env, struct span dest, enum proxy_reason reason,
			     const char *detail)
{
	account_refused(env, &env->rules->network, reason);
	if (log_limit_pass(&env->log_limit, loop_now(env->worker->loop), 10))
		log_warning(env->worker->log, "proxy", "flow refused",
			    KV_STR("reason", proxy_reason_info(reason)->name),
			    KV_SPAN("destination", dest), KV_STR("detail", detail));
}

static void tcp_refuse(struct proxy_env *env, struct stream *stream, struct span dest,
		       enum proxy_reason reason, const char *detail)
{
	tcp_note_refusal(env, dest, reason, detail);
	proxy_refuse(env, stream, reason, detail);
}

void proxy_tcp_start(struct proxy_env *env, struct stream *stream, struct bufq *rest,
		     struct connect_request *req)
{
	struct ip_port dest;
	if (ip_port_parse(req->dest, &dest) < 0 || dest.port == 0) {
		tcp_refuse(env, stream, req->dest, PROXY_REASON_BAD_REQUEST, "not an ip:port");
		return;
	}
	dest.ip = ip_addr_unmap(dest.ip);
	if (!destination_is_allowed(env->rules->conf, &dest.ip, tcp_is_own_address(&dest.ip))) {
		tcp_refuse(env, stream, req->dest, PROXY_REASON_ACCESS_DENIED,
			   "the destination is not allowed by [network]");
		return;
	}
	if (env->flow_count >= env->flow_max) {
		static const char detail[] = "too many active flows";
		tcp_note_refusal(env, req->dest, PROXY_REASON_OVERLOADED, detail);
		proxy_refuse_limited(env, stream, detail);
		return;
	}
	const char *lacks = proxy_lacks(env);
	struct proxy_tcp *t = lacks ? NULL : tcp_new(env, stream, &dest);
	if (!t) {
		tcp_refuse(env, stream, req->dest, PROXY_REASON_OVERLOADED,
			   lacks ? lacks : "no room for a flow");
		return;
	}
	copy_flow_id(t, &req->meta);
	(void)bufq_move(&t->early, rest, rest->len);
	stream_set_user(stream, &tunnel_user, t);
	const struct happy_params params = {
		.addrs = &t->dest,
		.count = 1,
		.timeout = connect_timeout,
		.tcp.keep_alive_sec = KEEP_ALIVE_SEC,
	};
	if (happy_connect(env->worker->loop, &params, on_connected, t, &t->happy) < 0)
		tcp_fail(t, PROXY_REASON_OVERLOADED, "no room for a connection");
}

void proxy_tcp_abort_all(struct proxy_env *env)
{
	LIST_FOREACH(node, &env->flows)
	{
		struct proxy_tcp *t = LIST_ENTRY(node, struct proxy_tcp, node);
		if (!t->relay) {
			tcp_fail(t, PROXY_REASON_TUNNEL_LOST, "shutting down");
			continue;
		}
		t->reason = PROXY_REASON_TUNNEL_LOST;
		relay_cut(t->relay);
		tcp_end_relay(t);
	}
}
