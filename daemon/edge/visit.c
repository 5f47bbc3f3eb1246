/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One visitor's request: find the tunnel, open a stream, send the ConnectRequest, move the bodies.
 * Until a byte of the visitor's body has been taken the request can be begun again on another link,
 * and is, once, when a link turns out to be dead and the method allows it.
 *
 * A WebSocket is a request until its 101 comes. Then the visitor's connection leaves HTTP and a
 * relay moves the bytes.
 */
#include "daemon/edge/visit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/edge/error_page.h"
#include "daemon/edge/request.h"
#include "daemon/edge/tunnel_call.h"
#include "daemon/edge/visit_tcp.h"
#include "daemon/flow/frame.h"
#include "daemon/flow/framed.h"
#include "daemon/flow/pump.h"
#include "daemon/flow/relay.h"
#include "daemon/link/close.h"
#include "daemon/proxy/access_log.h"
#include "daemon/proxy/header_policy.h"
#include "daemon/proxy/tunnel_head.h"
#include "daemon/wire/endpoint.h"
#include "util/cleanup.h"

/* How long a request may wait for a suspect link (spec §6). */
#define DOUBT_WAIT    (2 * NSEC_PER_SEC)
#define DOUBT_REFUSED (100 * NSEC_PER_MSEC) /* where the kernel says that nobody listens */
#define DOUBT_AGAIN   (500 * NSEC_PER_MSEC) /* there was no other */

struct visit {
	struct visit_env *env;
	struct http_exchange *x; /* NULL once it is a WebSocket */
	struct tunnel_call call;
	struct framed framed;     /* over call.tunnel, if request.is_framed */
	struct stream *wire;      /* bodies: framed.base or call.tunnel */
	uint32_t host;            /* number of the public name; front_metrics.host_count: none */
	struct roster *roster;    /* with which it began; referenced */
	struct http_head request; /* as it goes into the tunnel */
	char ray_text[VISIT_RAY_MAX];
	struct span ray;
	char address[64];
	struct pump up;
	struct pump down;
	struct relay *relay;        /* has the streams after 101 */
	struct front_conn *visitor; /* referenced as long */
	size_t head_len;            /* of the 101, which the relay sends, too */
	nsec_t answered;            /* when that was */
	void *kept;                 /* texts of the request when the exchange has gone */
	bool wants_frames;          /* if the daemon knows them */
	bool has_up;
	bool has_down;
	bool has_head;
	bool is_ended;
	unsigned int status;
	enum proxy_reason reason;
	nsec_t since;
	nsec_t dispatched; /* to this link */
	struct timer doubt;
	uint64_t bytes_in;
	uint64_t bytes_out;
	struct loop_task again;
	struct loop_garbage garbage;
	struct list node;
};

static void visit_release(struct loop_garbage *garbage)
{
	struct visit *v = CONTAINER_OF(garbage, struct visit, garbage);
	free(v->kept);
	roster_unref(v->roster);
	free(v);
}

struct span visit_make_ray(struct visit_env *env, char *buf, size_t size)
{
	const char *location = env->p.roster->conf->edge.location;
	/* A bijection of the counter: ids don't tell how many requests there were. */
	uint64_t id = (env->next_ray++) * UINT64_C(0x9e3779b97f4a7c15);
	id ^= id >> 32;
	int n = snprintf(buf, size, "%016llx-%.64s", (unsigned long long)id,
			 location ? location : "edge");
	return span_of(buf, MIN((size_t)n, size - 1));
}

static const struct front_host *metrics_of(const struct visit *v)
{
	return &v->roster->front.hosts[v->host];
}

/* Once it is known whose the name is. */
static const struct edge_tunnel *tunnel_of(const struct visit *v)
{
	return v->roster->tunnels[metrics_of(v)->tunnel].shared;
}

void visit_account(struct visit_env *env, const struct roster *roster, const struct front_host *m,
		   struct access_record *record, nsec_t latency)
{
	struct worker *w = env->p.worker;
	const struct edge_conf *conf = roster->conf;
	metric_add(w->metrics, m->requests[MIN(record->status / 100, 5U)], 1);
	metric_observe(w->metrics, m->seconds, latency);
	metric_add(w->metrics, m->active, -1);
	metric_add(w->metrics, m->bytes_in, (int64_t)record->bytes_in);
	metric_add(w->metrics, m->bytes_out, (int64_t)record->bytes_out);
	if (record->reason)
		metric_add(w->metrics, m->errors[record->reason], 1);
	record->rule = m->tunnel < conf->tunnel_count ? conf->tunnels[m->tunnel].name : "none";
	access_log_write(w->log, conf->common.log.access, record);
}

static void visit_count(struct visit *v)
{
	nsec_t took = loop_now(v->env->p.worker->loop) - v->since;
	visit_account(v->env, v->roster, metrics_of(v),
		      &(struct access_record){
			      .method = v->request.method,
			      .host = v->request.authority,
			      .target = v->request.target,
			      .ray = v->ray,
			      .status = v->status,
			      .reason = v->reason,
			      .took = took,
			      .bytes_in = v->bytes_in,
			      .bytes_out = v->bytes_out,
		      },
		      v->answered ? v->answered - v->since : took);
}

/* Lets go of the stream to the daemon and of what was read from it. */
static void visit_drop_tunnel(struct visit *v)
{
	if (v->has_up)
		pump_done(&v->up);
	if (v->has_down)
		pump_done(&v->down);
	v->has_up = v->has_down = false;
	framed_done(&v->framed);
	v->framed = (struct framed){};
	tunnel_call_drop(&v->call);
}

static void visit_end(struct visit *v)
{
	if (v->is_ended)
		return;
	v->is_ended = true;
	v->bytes_in += v->has_up ? v->up.moved : 0;
	v->bytes_out += v->has_down ? v->down.moved : 0;
	visit_drop_tunnel(v);
	loop_task_cancel(&v->again);
	timer_stop(&v->doubt);
	visit_count(v);
	if (v->x)
		http_exchange_free(TAKE_PTR(v->x));
	list_remove(&v->node);
	v->env->active--;
	loop_defer_free(v->env->p.worker->loop, &v->garbage);
}

/* Ends by a failure: a page while no head is out, else a break that the visitor can see. */
static void visit_fail(struct visit *v, enum proxy_reason reason)
{
	v->reason = reason;
	tunnel_call_abort(&v->call);
	if (v->has_head) {
		stream_reset(v->x->body, reason);
	} else {
		v->status = proxy_reason_info(reason)->status;
		error_page_respond(v->x, reason, 0, v->ray);
	}
	visit_end(v);
}

static void visit_gone(struct visit *v)
{
	v->reason = PROXY_REASON_VISITOR_GONE;
	v->status = 499;
	tunnel_call_abort(&v->call);
	visit_end(v);
}

static void visit_dispatch(struct visit *v, const struct edge_link *avoid);

/* Whether the request can be begun again: nothing of it is lost, and a second time does no harm. */
static bool visit_may_move(const struct visit *v)
{
	bool untouched = !v->has_up || (v->up.moved == 0 && bufq_is_empty(&v->up.pending) &&
					v->up.state == PUMP_STATE_RUNNING);
	return v->call.tunnel && !v->has_head && bufq_is_empty(&v->call.in) &&
	       v->call.tries < TUNNEL_CALL_TRIES && untouched &&
	       (http_method_is_idempotent(v->request.method) ||
		v->call.tunnel->error_code == LINK_CODE_REFUSED);
}

static void visit_move(struct visit *v)
{
	struct edge_link *avoid = edge_link_ref(v->call.el);
	visit_drop_tunnel(v);
	visit_dispatch(v, avoid);
	edge_link_unref(avoid);
}

/* The link broke before any byte of an answer. */
static void visit_lost(struct visit *v)
{
	if (visit_may_move(v)) {
		visit_move(v);
		return;
	}
	visit_fail(v, proxy_reason_of_reset(v->call.tunnel->error_code, PROXY_REASON_TUNNEL_LOST));
}

/* ---- bodies --------------------------------------------------------------------------------- */

/* Fields behind a body that may pass; counts what may not. False: none. */
static bool visit_filter_trailers(struct visit *v, const struct http_trailers *in,
				  enum header_crossing crossing, struct http_trailers *ret)
{
	if (!in->count)
		return false;
	if (!v->request.is_framed) {
		v->env->drops.trailers_raw++;
		return false;
	}
	int left_out = header_policy_trailers(in, crossing, v->x->arena, ret);
	if (left_out < 0)
		return false;
	v->env->drops.trailers_refused += (unsigned int)left_out;
	return ret->count > 0;
}

/* The request has ended well. */
static void visit_end_up(struct visit *v)
{
	struct http_trailers t;
	if (visit_filter_trailers(v, http_exchange_trailers(v->x), HEADER_CROSSING_VISITOR, &t))
		framed_set_trailers(&v->framed, t.fields, t.count);
	stream_finish(v->wire);
}

/* The answer has ended well. */
static void visit_end_down(struct visit *v)
{
	const struct http_trailers in = { v->framed.fields, v->framed.field_count };
	struct http_trailers t;
	if (visit_filter_trailers(v, &in, HEADER_CROSSING_RESPONSE, &t) &&
	    http_exchange_set_trailers(v->x, &t) < 0)
		v->env->drops.trailers_raw++;
	stream_finish(v->x->body);
	visit_end(v);
}

/* Why the answer broke off. */
static enum proxy_reason visit_reason_down(struct visit *v)
{
	uint64_t code = v->wire->error_code;
	if (v->framed.is_aborted && code > PROXY_REASON_NONE && code < PROXY_REASON_MAX_)
		return (enum proxy_reason)code;
	if (v->request.is_framed && v->down.error == -EBADMSG) {
		v->env->drops.frames_malformed++;
		return PROXY_REASON_TUNNEL_LOST;
	}
	return proxy_reason_of_reset(code, PROXY_REASON_ORIGIN_RESET);
}

/* The request's body. False when the visit has ended. */
static bool visit_run_up(struct visit *v)
{
	if (!v->has_up || v->up.state != PUMP_STATE_RUNNING || !bufq_is_empty(&v->call.out))
		return true;
	if (pump_run(&v->up))
		loop_task_post(v->env->p.worker->loop, &v->again, LOOP_PHASE_WORK);
	if (v->up.state == PUMP_STATE_SOURCE_FAILED) {
		if (v->up.error == -E2BIG)
			visit_fail(v, PROXY_REASON_BODY_TOO_LARGE);
		else if (v->up.error == -ETIMEDOUT)
			visit_fail(v, PROXY_REASON_HEADER_TIMEOUT);
		else if (v->up.error == -EBADMSG)
			visit_fail(v, PROXY_REASON_BAD_REQUEST);
		else
			visit_gone(v);
		return false;
	}
	if (v->up.state == PUMP_STATE_DONE)
		visit_end_up(v);
	/* SINK_FAILED: the daemon wants no more of it; its answer tells the rest. */
	return true;
}

/* The ConnectRequest. True when it has all gone. */
static bool visit_flush_request(struct visit *v)
{
	if (!tunnel_call_flush(&v->call))
		return false;
	if (!v->has_up && v->request.body != HTTP_BODY_UPGRADE)
		stream_finish(v->wire);
	if (v->request.is_framed)
		(void)framed_flush(&v->framed);
	return true;
}

static void visit_run_down(struct visit *v)
{
	if (!v->has_down) {
		stream_finish(v->x->body);
		stream_stop(v->call.tunnel, STREAM_CODE_NONE);
		visit_end(v);
		return;
	}
	if (pump_run(&v->down))
		loop_task_post(v->env->p.worker->loop, &v->again, LOOP_PHASE_WORK);
	switch (v->down.state) {
	case PUMP_STATE_RUNNING:
		return;
	case PUMP_STATE_DONE:
		visit_end_down(v);
		return;
	case PUMP_STATE_SOURCE_FAILED:
		visit_fail(v, visit_reason_down(v));
		return;
	case PUMP_STATE_SINK_FAILED:
		if (v->down.error == -ENOBUFS)
			visit_fail(v, PROXY_REASON_OVERLOADED);
		else
			visit_gone(v);
		return;
	}
}

/* "reason: detail" of our own daemon, or anybody's words. */
enum proxy_reason visit_reason_of_error(struct span error)
{
	struct span name = span_first(error, span_find(error, ':'));
	enum proxy_reason reason =
		proxy_reason_find((const char *)name.ptr, (unsigned int)MIN(name.len, (size_t)64));
	return reason ? reason : PROXY_REASON_ORIGIN_UNREACHABLE;
}

/* ---- after 101 ------------------------------------------------------------------------------ */

static void visit_end_relay(struct visit *v)
{
	const struct relay *relay = v->relay;
	uint64_t moved = relay->b_to_a.moved;
	v->bytes_in = relay->a_to_b.moved;
	v->bytes_out = moved - MIN(moved, (uint64_t)v->head_len);
	v->relay = NULL;
	front_conn_unref(TAKE_PTR(v->visitor));
	visit_end(v);
}

/* Both directions have ended, well or not. */
static void on_relay_end(struct relay *relay, void *user)
{
	struct visit *v = user;
	v->reason = proxy_reason_of_relay(relay);
	visit_end_relay(v);
}

/* The daemon's head, which said 101, is taken out of v->call.in. As http_upgrade(). */
static int visit_upgrade(struct visit *v, const struct http_head *head)
{
	struct http_upgraded up;
	struct front_conn *visitor = v->x->user;
	const struct edge_conf *conf = v->roster->conf;
	int r = http_upgrade(v->x, head, &up);
	if (r < 0)
		return r;
	v->status = head->status;
	v->answered = loop_now(v->env->p.worker->loop);
	v->head_len = up.unsent.len;
	v->kept = access_log_keep(conf->common.log.access, &v->request, NULL);
	v->x = NULL;
	(void)bufq_move(&up.unsent, &v->call.in, v->call.in.len);
	r = relay_new(&(struct relay_params){ .a = up.stream,
					      .b = TAKE_PTR(v->call.tunnel),
					      .from_a = &up.received,
					      .from_b = &up.unsent,
					      .hold_end = v->call.el->is_adit ? 0 : VISIT_HOLD_END,
					      .on_end = on_relay_end,
					      .user = v },
		      &v->relay);
	bufq_clear(&up.received);
	bufq_clear(&up.unsent);
	if (r == 0) {
		v->visitor = front_conn_ref(visitor);
		return 0;
	}
	v->reason = PROXY_REASON_OVERLOADED;
	visit_end(v);
	return 0;
}

/* ---- the answer ----------------------------------------------------------------------------- */

/* The head of an ordinary answer is out; v->call.in holds what came behind it. */
static void visit_begin_down(struct visit *v, const struct http_head *head)
{
	v->status = head->status;
	v->has_head = true;
	if (v->request.body == HTTP_BODY_UPGRADE)
		stream_finish(v->call.tunnel); /* it was declined */
	if (head->body != HTTP_BODY_NONE) {
		pump_init(&v->down, v->wire, v->x->body);
		if (v->request.is_framed)
			framed_take(&v->framed, &v->call.in);
		else
			(void)bufq_move(&v->down.pending, &v->call.in, v->call.in.len);
		v->has_down = true;
	}
	visit_run_down(v);
}

/* The daemon's answer of len bytes is whole. */
static void visit_take_response(struct visit *v, size_t len)
{
	struct span frame = {};
	_cleanup_(freep) uint8_t *copy = NULL;
	struct connect_response resp;
	struct http_head head = {}, out;
	bool is_head = span_eq_str(v->request.method, "HEAD");
	if (frame_view(&v->call.in, len, &frame, &copy) < 0 ||
	    connect_response_decode(frame, &resp) < 0) {
		visit_fail(v, PROXY_REASON_TUNNEL_LOST);
		return;
	}
	if (resp.error.len > 0) {
		visit_fail(v, visit_reason_of_error(resp.error));
		return;
	}
	int r = tunnel_head_from_response(&resp, is_head, &v->roster->limits, v->x->arena, &head);
	head.is_framed = v->request.is_framed;
	out = head;
	bool is_upgrade = head.status == 101 && v->request.body == HTTP_BODY_UPGRADE;
	if (r == 0 && head.status < 200 && !is_upgrade)
		r = -EBADMSG;
	if (r == 0)
		r = header_policy_tunnel_to_visitor(&head, v->x->arena, &out);
	if (r == 0) {
		bufq_consume(&v->call.in, len);
		r = is_upgrade ? visit_upgrade(v, &out) : http_respond(v->x, &out);
	}
	if (r == -ECONNRESET)
		visit_gone(v);
	else if (r < 0)
		visit_fail(v, PROXY_REASON_ORIGIN_PROTOCOL);
	else if (!is_upgrade)
		visit_begin_down(v, &head);
}

/* Collects the answer's head. */
static void visit_read_response(struct visit *v)
{
	size_t len = 0;
	int r = tunnel_call_read(&v->call, &len);
	if (r == 0)
		visit_take_response(v, len);
	else if (r == -ECONNRESET)
		visit_lost(v);
	else if (r != -EAGAIN)
		visit_fail(v, PROXY_REASON_TUNNEL_LOST);
}

static void visit_run(struct visit *v)
{
	if (visit_flush_request(v) && !visit_run_up(v))
		return;
	if (v->has_head)
		visit_run_down(v);
}

static void on_again(struct loop_task *task)
{
	visit_run(CONTAINER_OF(task, struct visit, again));
}

static void on_tunnel_readable(struct stream *s, void *user)
{
	(void)s;
	struct visit *v = user;
	if (v->has_head)
		visit_run_down(v);
	else
		visit_read_response(v);
}

static void on_tunnel_writable(struct stream *s, void *user)
{
	(void)s;
	struct visit *v = user;
	if (visit_flush_request(v))
		(void)visit_run_up(v);
}

static const struct stream_user tunnel_user = {
	.on_readable = on_tunnel_readable,
	.on_writable = on_tunnel_writable,
};

static void on_body_readable(struct stream *s, void *user)
{
	(void)s;
	struct visit *v = user;
	if (v->x->is_gone)
		visit_gone(v);
	else
		(void)visit_run_up(v);
}

static void on_body_writable(struct stream *s, void *user)
{
	(void)s;
	struct visit *v = user;
	if (v->x->is_gone)
		visit_gone(v);
	else if (v->has_head)
		visit_run_down(v);
}

static const struct stream_user body_user = {
	.on_readable = on_body_readable,
	.on_writable = on_body_writable,
};

static int visit_write_request(struct visit *v)
{
	size_t cap = v->roster->limits.head_max * 3 + 4096;
	_cleanup_(freep) void *buf = malloc(cap);
	struct span bytes = {};
	if (!buf)
		return -ENOMEM;
	int r = tunnel_head_write_request(&v->request, buf, cap, &bytes);
	return r < 0 ? r : bufq_append_copy(&v->call.out, bytes);
}

/* Frames for a daemon that knows them; another one isn't told of trailers either. */
static void visit_choose_wire(struct visit *v)
{
	const struct http_limits *limits = &v->roster->limits;
	struct http_head *request = &v->request;
	request->is_framed = v->wants_frames && v->call.el->is_adit;
	v->wire = v->call.tunnel;
	if (request->is_framed) {
		framed_init(&v->framed, v->call.tunnel, v->x->arena,
			    &(struct framed_limits){ .trailer_max = limits->trailer_max,
						     .trailer_fields = limits->trailer_field_max });
		v->wire = &v->framed.base;
		return;
	}
	unsigned int kept = 0;
	for (unsigned int i = 0; i < request->field_count; i++)
		if (!span_eq_nocase(request->fields[i].name, SPAN_LIT("Trailer")))
			request->fields[kept++] = request->fields[i];
	request->field_count = kept;
}

/* Chooses a link and sends the request into it. */
static void visit_dispatch(struct visit *v, const struct edge_link *avoid)
{
	int r = tunnel_call_open(&v->call, &v->env->p, tunnel_of(v), avoid);
	if (r < 0) {
		visit_fail(v, r == -ENOENT ? PROXY_REASON_TUNNEL_OFFLINE : PROXY_REASON_OVERLOADED);
		return;
	}
	v->dispatched = loop_now(v->env->p.worker->loop);
	visit_choose_wire(v);
	if (visit_write_request(v) < 0) {
		visit_fail(v, PROXY_REASON_OVERLOADED);
		return;
	}
	if (v->request.body == HTTP_BODY_LENGTH || v->request.body == HTTP_BODY_UNKNOWN) {
		pump_init(&v->up, v->x->body, v->wire);
		v->has_up = true;
	}
	stream_set_user(v->call.tunnel, &tunnel_user, v);
	visit_run(v);
}

/* The link has been suspect for long enough. */
static void on_doubt(struct timer *timer)
{
	struct visit *v = CONTAINER_OF(timer, struct visit, doubt);
	struct loop *loop = v->env->p.worker->loop;
	if (!visit_may_move(v) || !edge_link_suspicion(v->call.el))
		return;
	const struct edge_link *other =
		directory_pick(v->env->p.directory, tunnel_of(v), v->call.el);
	if (!other || other == v->call.el || edge_link_suspicion(other)) {
		timer_start(loop, timer, nsec_add(loop_now(loop), DOUBT_AGAIN));
		return;
	}
	visit_move(v);
}

void visit_on_doubt(struct edge_link *el, void *user)
{
	struct visit_env *env = user;
	bool is_refused = edge_link_suspicion(el) == LINK_SUSPICION_REFUSED;
	LIST_FOREACH(node, &env->visits)
	{
		struct visit *v = LIST_ENTRY(node, struct visit, node);
		if (v->call.el != el || !visit_may_move(v))
			continue;
		nsec_t wait = is_refused ? DOUBT_REFUSED : DOUBT_WAIT;
		timer_start(env->p.worker->loop, &v->doubt, nsec_add(v->dispatched, wait));
	}
}

static bool is_trusted(const struct edge_conf *conf, const struct ip_addr *peer)
{
	for (size_t i = 0; i < conf->front.trusted_proxy_count; i++)
		if (conf_prefix_contains(&conf->front.trusted_proxies[i], peer))
			return true;
	return false;
}

static int visit_prepare(struct visit *v)
{
	struct http_exchange *x = v->x;
	struct packer p = packer_over(v->address, sizeof(v->address));
	ip_addr_print(&p, &x->peer.ip);
	struct header_visitor visitor = {
		.address = packer_span(&p),
		.is_trusted_proxy = is_trusted(v->roster->conf, &x->peer.ip),
		.is_tls = x->is_tls,
		.ray = v->ray,
	};
	v->request.scheme = x->is_tls ? SPAN_LIT("https") : SPAN_LIT("http");
	if (request_is_websocket(&x->request))
		v->request.body = HTTP_BODY_UPGRADE;
	else
		v->wants_frames = request_wants_frames(&x->request);
	x->request.is_framed = v->wants_frames;
	return header_policy_visitor_to_tunnel(&x->request, &visitor, x->arena, &v->request);
}

/* What must be refused before a tunnel is even looked for. */
static enum proxy_reason visit_check(struct visit *v)
{
	const struct edge_conf *conf = v->roster->conf;
	const struct http_head *req = &v->x->request;
	if (slab_pressure(v->env->p.worker->slab) >= SLAB_PRESSURE_SHORT)
		return PROXY_REASON_OVERLOADED;
	if (conf->front.max_body && req->body == HTTP_BODY_LENGTH &&
	    req->content_length > conf->front.max_body)
		return PROXY_REASON_BODY_TOO_LARGE;
	uint32_t host = 0;
	if (hosts_find(v->roster->hosts, req->authority, &host) < 0) {
		metric_add(v->env->p.worker->metrics, v->env->p.no_route, 1);
		return PROXY_REASON_NO_SUCH_HOST;
	}
	metric_add(v->env->p.worker->metrics, metrics_of(v)->active, -1);
	v->host = host;
	metric_add(v->env->p.worker->metrics, metrics_of(v)->active, 1);
	return visit_prepare(v) < 0 ? PROXY_REASON_HEADER_TOO_LARGE : PROXY_REASON_NONE;
}

void visit_start(struct visit_env *env, struct http_exchange *x)
{
	struct visit *v = calloc(1, sizeof(*v));
	if (!v) {
		error_page_respond(x, PROXY_REASON_OVERLOADED, 0, span_of(NULL, 0));
		http_exchange_free(x);
		return;
	}
	v->env = env;
	v->x = x;
	v->request = x->request;
	v->since = loop_now(env->p.worker->loop);
	v->roster = roster_ref(env->p.roster);
	v->host = (uint32_t)v->roster->front.host_count;
	v->again.run = on_again;
	v->doubt.on_expire = on_doubt;
	v->garbage.release = visit_release;
	v->ray = visit_make_ray(env, v->ray_text, sizeof(v->ray_text));
	tunnel_call_init(&v->call, env->p.worker->slab);
	list_append(&env->visits, &v->node);
	env->active++;
	metric_add(env->p.worker->metrics, metrics_of(v)->active, 1);
	stream_set_user(x->body, &body_user, v);
	enum proxy_reason reason = visit_check(v);
	if (reason)
		visit_fail(v, reason);
	else
		visit_dispatch(v, NULL);
}

void visit_abort_all(struct visit_env *env)
{
	LIST_FOREACH(node, &env->visits)
	{
		struct visit *v = LIST_ENTRY(node, struct visit, node);
		if (!v->relay) {
			visit_fail(v, PROXY_REASON_TUNNEL_LOST);
			continue;
		}
		v->reason = PROXY_REASON_TUNNEL_LOST;
		relay_cut(v->relay);
		visit_end_relay(v);
	}
	visit_tcp_abort_all(env);
}
