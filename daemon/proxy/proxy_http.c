/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP exchange at the daemon. Two pumps move the bodies by reference; everything else is
 * deciding which ending the edge is told (docs/protocol.md §10.6): an error answer while no head is
 * out, a reset after it, a FIN only for a whole body.
 *
 * A WebSocket is an exchange until its 101 is out. Then it gives back all that heads need, and a
 * relay moves the bytes: an idle one costs as little as can be.
 */
#include "daemon/proxy/proxy_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/flow/framed.h"
#include "daemon/flow/pump.h"
#include "daemon/flow/relay.h"
#include "daemon/origin/origin.h"
#include "daemon/origin/origin_tls.h"
#include "daemon/proxy/account.h"
#include "daemon/proxy/header_policy.h"
#include "daemon/proxy/tunnel_head.h"
#include "util/cleanup.h"

enum { ARENA_MAX = 512 * 1024 }; /* a head may be 64 KiB and is kept in two forms */
enum {
	CUT_DELAY_MSEC = 10,
	ABORT_WAIT_SEC = 5, /* for credit */
};

struct proxy_http {
	struct proxy_env *env;
	struct proxy_rules *rules;
	const struct conf_rule *rule; /* NULL until one was found */
	const struct rule_metrics *metrics;
	struct stream *tunnel; /* owned; NULL once ended */
	struct framed framed;  /* over tunnel, if request.is_framed */
	struct stream *wire;   /* bodies: framed.base or tunnel */
	struct origin_call *call;
	struct arena arena;
	struct http_head request; /* as the visitor sent it */
	struct span ray;          /* its id */
	void *kept;               /* their texts when the arena has gone */
	struct bufq head;         /* ConnectResponse on its way */
	struct pump up;           /* tunnel -> origin */
	struct pump down;         /* origin -> tunnel */
	struct bufq early;        /* WebSocket: what came behind the request */
	struct relay *relay;      /* has the streams after 101 */
	nsec_t answered;          /* when that was */
	bool has_up;
	bool has_down;
	bool is_upgraded; /* the answer is a 101 that was asked for */
	bool has_head;    /* an answer has begun: from here on only a reset tells of a failure */
	bool is_failed;   /* the reset comes in the next turn */
	bool is_whole;    /* the answer is in framed, not all of it in tunnel */
	bool is_ended;
	bool is_cutting;
	bool is_aborting; /* ABORT is on its way */
	struct timer cut;
	unsigned int status;
	enum proxy_reason reason;
	nsec_t since;
	uint64_t bytes_in;
	uint64_t bytes_out;
	struct loop_task again; /* a pump used up its budget */
	struct loop_garbage garbage;
	struct list node;
};

static void px_release(struct loop_garbage *garbage)
{
	struct proxy_http *px = CONTAINER_OF(garbage, struct proxy_http, garbage);
	arena_done(&px->arena);
	free(px->kept);
	proxy_rules_unref(px->rules);
	free(px);
}

static void px_count(struct proxy_http *px)
{
	nsec_t took = loop_now(px->env->worker->loop) - px->since;
	account_end(px->env, px->rules, px->metrics,
		    &(struct access_record){
			    .rule = px->rule ? px->rule->name : "none",
			    .method = px->request.method,
			    .host = px->request.authority,
			    .target = px->request.target,
			    .ray = px->ray,
			    .status = px->status,
			    .reason = px->reason,
			    .took = took,
			    .bytes_in = px->bytes_in,
			    .bytes_out = px->bytes_out,
		    },
		    px->answered ? px->answered - px->since : took);
}

/* Lets everything go. The tunnel stream has been told its ending. */
static void px_end(struct proxy_http *px)
{
	if (px->is_ended)
		return;
	px->is_ended = true;
	if (px->has_up) {
		px->bytes_in = px->up.moved;
		pump_done(&px->up);
	}
	if (px->has_down) {
		px->bytes_out = px->down.moved;
		pump_done(&px->down);
	}
	bufq_clear(&px->head);
	bufq_clear(&px->early);
	framed_done(&px->framed);
	origin_call_end(TAKE_PTR(px->call));
	stream_close(TAKE_PTR(px->tunnel));
	loop_task_cancel(&px->again);
	timer_stop(&px->cut);
	list_remove(&px->node);
	px->env->active--;
	px_count(px);
	loop_defer_free(px->env->worker->loop, &px->garbage);
}

/* What the origin said behind its answer. */
static void px_pass_trailers(struct proxy_http *px)
{
	struct http_trailers out;
	const struct http_trailers *in = px->call ? origin_call_trailers(px->call) : NULL;
	if (!in || !in->count)
		return;
	if (!px->request.is_framed) {
		px->env->trailers_raw++;
		return;
	}
	int left_out = header_policy_trailers(in, HEADER_CROSSING_RESPONSE, &px->arena, &out);
	if (left_out < 0)
		return;
	px->env->trailers_refused += (unsigned int)left_out;
	framed_set_trailers(&px->framed, out.fields, out.count);
}

/* The whole answer has been handed over, or waits in framed. */
static void px_complete(struct proxy_http *px)
{
	if (!px->is_whole) {
		px->is_whole = true;
		px_pass_trailers(px);
		stream_finish(px->wire);
	}
	if (px->request.is_framed && framed_flush(&px->framed) == -EAGAIN)
		return;
	stream_stop(px->tunnel, STREAM_CODE_NONE); /* no-op when the edge's FIN was read */
	px_end(px);
}

static void px_cut(struct proxy_http *px)
{
	stream_reset(px->tunnel, STREAM_CODE_NONE);
	stream_stop(px->tunnel, STREAM_CODE_NONE);
	px_end(px);
}

/*
 * Some time after the failure, so that the reset doesn't overtake what had been forwarded: the
 * link's pacer may hold it back for a moment. One turn more, for a late turn runs this before the
 * link's own timer's work.
 */
static void on_cut(struct timer *timer)
{
	struct proxy_http *px = CONTAINER_OF(timer, struct proxy_http, cut);
	struct loop *loop = px->env->worker->loop;
	if (px->is_cutting) {
		px_cut(px);
		return;
	}
	px->is_cutting = true;
	timer_start(loop, timer, loop_now(loop));
}

/* ABORT has been handed over, or can't be. */
static void px_end_abort(struct proxy_http *px)
{
	stream_stop(px->tunnel, STREAM_CODE_NONE);
	px_end(px);
}

/* A failure behind the head: ABORT, which waits for its turn and for credit, or a reset. */
static void px_fail_late(struct proxy_http *px)
{
	struct loop *loop = px->env->worker->loop;
	px->is_failed = true;
	if (!px->request.is_framed || !bufq_is_empty(&px->head)) {
		timer_start(loop, &px->cut, loop_now(loop) + CUT_DELAY_MSEC * NSEC_PER_MSEC);
		return;
	}
	px->is_aborting = px->is_cutting = true;
	origin_call_end(TAKE_PTR(px->call));
	if (framed_abort(&px->framed, px->reason) == -EAGAIN)
		timer_start(loop, &px->cut, loop_now(loop) + ABORT_WAIT_SEC * NSEC_PER_SEC);
	else
		px_end_abort(px);
}

/* Ends the exchange by a failure of ours or of the origin: error answer or reset (never a short
 * body). */
static void px_fail(struct proxy_http *px, enum proxy_reason reason, const char *detail)
{
	px->reason = reason;
	if (px->has_head) {
		px_fail_late(px);
		return;
	}
	px->status = proxy_reason_info(reason)->status;
	struct proxy_env *env = px->env;
	struct stream *tunnel = TAKE_PTR(px->tunnel);
	px_end(px);
	proxy_refuse(env, tunnel, reason, detail);
}

/* The edge doesn't want the answer (code is what it said) or is gone. */
static void px_visitor_gone(struct proxy_http *px, uint64_t code)
{
	px->reason = PROXY_REASON_VISITOR_GONE;
	px->status = 499;
	stream_reset(px->tunnel, code);
	stream_stop(px->tunnel, STREAM_CODE_NONE);
	px_end(px);
}

/* ---- after 101 ------------------------------------------------------------------------------ */

static void px_end_relay(struct proxy_http *px)
{
	px->bytes_in = px->relay->a_to_b.moved;
	px->bytes_out = px->relay->b_to_a.moved;
	px->relay = NULL;
	metric_add(px->env->worker->metrics, px->metrics->origin.active, -1);
	px_end(px);
}

/* Both directions have ended, well or not. */
static void on_relay_end(struct relay *relay, void *user)
{
	struct proxy_http *px = user;
	px->reason = proxy_reason_of_relay(relay);
	px_end_relay(px);
}

/* The head is out: from here on nobody looks at the bytes. */
static void px_upgrade(struct proxy_http *px)
{
	struct bufq late;
	bufq_init(&late, px->env->worker->slab);
	struct stream *origin = origin_call_upgrade(px->call, &late);
	if (!origin) {
		px_fail(px, PROXY_REASON_ORIGIN_PROTOCOL, "101 without a connection");
		return;
	}
	px->call = NULL;
	const struct conf *conf = px->rules->conf;
	int r = relay_new(
		&(struct relay_params){
			.a = TAKE_PTR(px->tunnel),
			.b = origin,
			.from_a = &px->early,
			.from_b = &late,
			.half_silence =
				conf->edge.kind == CONF_EDGE_KIND_ADIT ? 0 : PROXY_HALF_SILENCE,
			.on_end = on_relay_end,
			.user = px,
		},
		&px->relay);
	bufq_clear(&late);
	if (r < 0) {
		px->reason = PROXY_REASON_OVERLOADED;
		px_end(px);
		return;
	}
	/* The call counted its connection while it had it. */
	metric_add(px->env->worker->metrics, px->metrics->origin.active, 1);
	px->answered = loop_now(px->env->worker->loop);
	px->kept = access_log_keep(conf->common.log.access, &px->request, &px->ray);
	arena_done(&px->arena);
}

/* ---- bodies --------------------------------------------------------------------------------- */

static void px_run_again(struct loop_task *task);

/* After the announced length: more bytes are a lie about the length (docs/protocol.md §10.3). */
static bool px_has_surplus(struct proxy_http *px)
{
	if (px->request.body != HTTP_BODY_LENGTH || px->has_head)
		return false;
	struct bufq surplus;
	bufq_init(&surplus, px->env->worker->slab);
	bool found = px->up.pending.len > 0 || stream_read(px->wire, &surplus, 1) > 0;
	bufq_clear(&surplus);
	return found;
}

/* What the edge said behind the request. */
static void px_pass_request_trailers(struct proxy_http *px)
{
	struct http_trailers out;
	const struct http_trailers in = { px->framed.fields, px->framed.field_count };
	if (!px->request.is_framed || !in.count)
		return;
	int left_out = header_policy_trailers(&in, HEADER_CROSSING_REQUEST, &px->arena, &out);
	if (left_out < 0)
		return;
	px->env->trailers_refused += (unsigned int)left_out;
	origin_call_set_trailers(px->call, &out);
}

static const char wrong_length[] = "body length differs from Content-Length";

/* The request's end has come: is it the announced one? False when not. */
static bool px_end_up(struct proxy_http *px)
{
	if (px->request.body == HTTP_BODY_LENGTH &&
	    (px->up.moved < px->request.content_length || px_has_surplus(px))) {
		px_fail(px, PROXY_REASON_BAD_REQUEST, wrong_length);
		return false;
	}
	px_pass_request_trailers(px);
	stream_finish(px->up.to);
	return true;
}

/* What came is no framed body (docs/protocol.md §10.7). */
static void px_break(struct proxy_http *px)
{
	px->env->frames_malformed++;
	px->reason = PROXY_REASON_BAD_REQUEST;
	px->status = proxy_reason_info(px->reason)->status;
	px_cut(px);
}

/* Moves the request's body. False when the exchange has ended. */
static bool px_run_up(struct proxy_http *px)
{
	if (!px->has_up || px->is_failed || px->up.state != PUMP_STATE_RUNNING)
		return true;
	if (pump_run(&px->up))
		loop_task_post(px->env->worker->loop, &px->again, LOOP_PHASE_WORK);
	switch (px->up.state) {
	case PUMP_STATE_RUNNING:
		return true;
	case PUMP_STATE_DONE:
		return px_end_up(px);
	case PUMP_STATE_SOURCE_FAILED:
		if (px->request.is_framed && px->up.error == -EBADMSG)
			px_break(px);
		else
			px_fail(px,
				proxy_reason_of_reset(px->wire->error_code,
						      PROXY_REASON_VISITOR_GONE),
				"request canceled");
		return false;
	case PUMP_STATE_SINK_FAILED:
		if (px->up.error == -ENOBUFS) {
			/* Our memory, not the origin, which waits for more. */
			px_fail(px, PROXY_REASON_OVERLOADED, "no room for the request's body");
			return false;
		}
		if (px->up.error == -EPROTO && px->request.is_framed) {
			px_fail(px, PROXY_REASON_BAD_REQUEST, wrong_length);
			return false;
		}
		/* The origin answers early or breaks off; which of the two its answer will tell. */
		stream_stop(px->tunnel, STREAM_CODE_NONE);
		return true;
	}
	return true;
}

/* Writes the head. 1 when it has all gone, 0 when credit ran out, -1 when the exchange has ended.
 */
static int px_flush_head(struct proxy_http *px)
{
	while (!bufq_is_empty(&px->head)) {
		ssize_t n = stream_write(px->tunnel, &px->head, px->head.len);
		if (n == -EAGAIN)
			return 0;
		if (n < 0) {
			px_visitor_gone(px, px->tunnel->error_code);
			return -1;
		}
	}
	return 1;
}

/* Moves the answer. */
static void px_run_down(struct proxy_http *px)
{
	if (!px->has_head || px->is_failed || px_flush_head(px) <= 0)
		return;
	if (px->is_upgraded) {
		px_upgrade(px);
		return;
	}
	if (!px->has_down) {
		px_complete(px);
		return;
	}
	if (pump_run(&px->down))
		loop_task_post(px->env->worker->loop, &px->again, LOOP_PHASE_WORK);
	switch (px->down.state) {
	case PUMP_STATE_RUNNING:
		return;
	case PUMP_STATE_DONE:
		px_complete(px);
		return;
	case PUMP_STATE_SOURCE_FAILED:
		px_fail(px, PROXY_REASON_ORIGIN_RESET, "answer broke off");
		return;
	case PUMP_STATE_SINK_FAILED:
		px_visitor_gone(px, px->tunnel->error_code);
		return;
	}
}

static void px_run_again(struct loop_task *task)
{
	struct proxy_http *px = CONTAINER_OF(task, struct proxy_http, again);
	if (px_run_up(px))
		px_run_down(px);
}

static void on_tunnel_readable(struct stream *s, void *user)
{
	struct proxy_http *px = user;
	/* With no more of a body to come, a reset can only mean that the visitor has left. */
	bool is_whole = !px->has_up || px->up.state == PUMP_STATE_DONE;
	if (is_whole && stream_read_error(s) == -ECONNRESET)
		px_visitor_gone(px, s->error_code);
	else
		(void)px_run_up(px);
}

static void on_tunnel_writable(struct stream *s, void *user)
{
	struct proxy_http *px = user;
	if (px->is_aborting && framed_flush(&px->framed) != -EAGAIN) {
		px_end_abort(px);
		return;
	}
	if (px->has_head) {
		px_run_down(px);
		return;
	}
	/* Nothing is being written yet: the news can only be that the edge has given up. */
	if (stream_write_error(s) < 0)
		px_visitor_gone(px, s->error_code);
}

static const struct stream_user tunnel_user = {
	.on_readable = on_tunnel_readable,
	.on_writable = on_tunnel_writable,
};

static void on_body_readable(struct stream *s, void *user)
{
	(void)s;
	px_run_down(user);
}

static void on_body_writable(struct stream *s, void *user)
{
	(void)s;
	(void)px_run_up(user);
}

static const struct stream_user body_user = {
	.on_readable = on_body_readable,
	.on_writable = on_body_writable,
};

/* Builds the ConnectResponse in room taken for the moment. */
static int write_head(struct proxy_http *px, const struct http_head *head)
{
	size_t cap = px->env->limits->head_max * 3 + 4096;
	_cleanup_(freep) void *buf = malloc(cap);
	struct span bytes = {};
	if (!buf)
		return -ENOMEM;
	int r = tunnel_head_write_response(head, &px->arena, buf, cap, &bytes);
	return r < 0 ? r : bufq_append_copy(&px->head, bytes);
}

static void on_response(struct origin_call *call, const struct http_head *head, void *user)
{
	struct proxy_http *px = user;
	struct http_head in = *head, out = in;
	in.is_framed = px->request.is_framed;
	int r = header_policy_origin_to_tunnel(&in, &px->arena, &out);
	if (r == 0)
		r = write_head(px, &out);
	if (r < 0) {
		px_fail(px, PROXY_REASON_OVERLOADED, "no room for the answer's head");
		return;
	}
	px->has_head = true;
	px->status = head->status;
	px->is_upgraded = head->body == HTTP_BODY_UPGRADE;
	if (!px->is_upgraded && head->body != HTTP_BODY_NONE) {
		pump_init(&px->down, origin_call_body(call), px->wire);
		px->has_down = true;
	}
	px_run_down(px);
}

static void on_failure(struct origin_call *call, enum origin_failure failure, int error,
		       const char *detail, void *user)
{
	(void)call;
	struct proxy_http *px = user;
	enum proxy_reason reason = proxy_reason_of_failure(failure);
	if (log_limit_pass(&px->env->log_limit, loop_now(px->env->worker->loop), 10))
		log_warning(px->env->worker->log, "origin", "request failed",
			    KV_STR("reason", proxy_reason_info(reason)->name),
			    KV_STR("rule", px->rule->name),
			    KV_STR("service", px->rule->service.text), KV_STR("detail", detail),
			    KV_ERR(error));
	px_fail(px, reason, detail);
}

static const struct origin_call_events origin_events = {
	.on_response = on_response,
	.on_failure = on_failure,
};

/* Finds the rule; as proxy_rules_find(). */
static enum proxy_reason px_route(struct proxy_http *px, unsigned int *ret_status)
{
	struct proxy_found found;
	enum proxy_reason reason =
		proxy_rules_find(px->rules, px->env->scratch, &px->request, &px->arena, &found);
	px->rule = found.rule;
	px->metrics = found.metrics;
	*ret_status = found.status;
	if (reason == PROXY_REASON_RULE_COST &&
	    log_limit_pass(&px->env->log_limit, loop_now(px->env->worker->loop), 10))
		log_warning(px->env->worker->log, "proxy", "path expression too costly",
			    KV_STR("reason", "rule-cost"),
			    KV_STR("rule", found.rule ? found.rule->name : "none"));
	return reason;
}

/* An answer of our own: a status without a body. */
static void px_answer_status(struct proxy_http *px, enum proxy_reason reason, unsigned int status)
{
	struct http_head head = { .status = status, .has_length = true, .body = HTTP_BODY_NONE };
	struct http_field retry = { .name = SPAN_LIT("Retry-After"), .value = SPAN_LIT("1") };
	if (reason == PROXY_REASON_OVERLOADED) {
		head.fields = &retry;
		head.field_count = 1;
	}
	px->reason = reason;
	px->status = status;
	if (write_head(px, &head) < 0) {
		px_fail(px, PROXY_REASON_OVERLOADED, "no room for an answer");
		return;
	}
	px->has_head = true;
	px_run_down(px);
}

static void px_begin_upload(struct proxy_http *px, struct bufq *rest)
{
	struct stream *body = origin_call_body(px->call);
	stream_set_user(body, &body_user, px);
	if (px->request.body == HTTP_BODY_UPGRADE) {
		(void)bufq_move(&px->early, rest, rest->len);
		return;
	}
	if (px->request.body == HTTP_BODY_NONE) {
		stream_finish(body);
		return;
	}
	bool is_framed = px->request.is_framed;
	bool has_length = px->request.body == HTTP_BODY_LENGTH;
	if (has_length && !is_framed && rest->len > px->request.content_length) {
		px_fail(px, PROXY_REASON_BAD_REQUEST, wrong_length);
		return;
	}
	pump_init(&px->up, px->wire, body);
	if (has_length && !is_framed)
		px->up.limit = px->request.content_length;
	if (is_framed)
		framed_take(&px->framed, rest);
	else
		(void)bufq_move(&px->up.pending, rest, rest->len);
	px->has_up = true;
	(void)px_run_up(px);
}

static void px_forward(struct proxy_http *px, struct bufq *rest)
{
	struct http_head out = px->request;
	const struct origin_call_params params = {
		.rule = px->rule,
		.request = &out,
		.tls = origin_tls_context(px->rules->tls, px->rule),
		.events = &origin_events,
		.user = px,
		.series = px->metrics->origin,
	};
	int r = header_policy_tunnel_to_origin(&px->request, px->rule, px->env->connector_id,
					       &px->arena, &out);
	if (r == 0)
		r = origin_call_start(px->env->origins, &params, &px->call);
	if (r < 0) {
		if (r == -EBADMSG)
			px_fail(px, PROXY_REASON_BAD_REQUEST, "the service can't be asked this");
		else
			px_fail(px, PROXY_REASON_OVERLOADED, "no room for the request");
		return;
	}
	px_begin_upload(px, rest);
}

static struct proxy_http *px_new(struct proxy_env *env, struct stream *stream)
{
	struct proxy_http *px = calloc(1, sizeof(*px));
	if (!px)
		return NULL;
	arena_init(&px->arena, ARENA_MAX, env->worker->slab);
	px->env = env;
	px->rules = proxy_rules_ref(env->rules);
	px->metrics = &px->rules->none;
	px->tunnel = stream;
	px->since = loop_now(env->worker->loop);
	px->again.run = px_run_again;
	px->cut.on_expire = on_cut;
	px->garbage.release = px_release;
	bufq_init(&px->head, env->worker->slab);
	bufq_init(&px->early, env->worker->slab);
	list_append(&env->exchanges, &px->node);
	env->active++;
	return px;
}

/* A request that isn't begun at all. However many there are, one line a second says so. */
static void px_refuse_new(struct proxy_env *env, struct stream *stream, const char *detail)
{
	struct log_limit *limit = &env->refused_limit;
	account_refused(env, &env->rules->none, PROXY_REASON_OVERLOADED);
	if (log_limit_pass(limit, loop_now(env->worker->loop), 1)) {
		log_warning(env->worker->log, "proxy", "request refused",
			    KV_STR("reason", proxy_reason_info(PROXY_REASON_OVERLOADED)->name),
			    KV_STR("detail", detail), KV_U64("in_progress", env->active),
			    KV_U64("limit", env->active_max),
			    KV_U64("not_logged", limit->suppressed));
		limit->suppressed = 0;
	}
	proxy_refuse(env, stream, PROXY_REASON_OVERLOADED, detail);
}

static void px_choose_wire(struct proxy_http *px)
{
	const struct http_limits *limits = px->env->limits;
	px->wire = px->tunnel;
	if (!px->request.is_framed)
		return;
	framed_init(&px->framed, px->tunnel, &px->arena,
		    &(struct framed_limits){ .trailer_max = limits->trailer_max,
					     .trailer_fields = limits->trailer_field_max });
	px->wire = &px->framed.base;
}

const char *proxy_lacks(const struct proxy_env *env)
{
	if (env->active >= env->active_max)
		return "too many requests in progress";
	return slab_pressure(env->worker->slab) >= SLAB_PRESSURE_SHORT
		       ? "too little memory for buffers"
		       : NULL;
}

void proxy_http_start(struct proxy_env *env, struct stream *stream, struct bufq *rest,
		      struct connect_request *req)
{
	const char *lacks = proxy_lacks(env);
	struct proxy_http *px = lacks ? NULL : px_new(env, stream);
	if (!px) {
		px_refuse_new(env, stream, lacks ? lacks : "no room for the request");
		return;
	}
	const char *detail = "malformed request";
	unsigned int status = 0;
	enum proxy_reason reason = PROXY_REASON_BAD_REQUEST;
	int r = tunnel_head_from_request(req, env->limits, &px->arena, &px->request, &detail);
	if (r == 0)
		reason = px_route(px, &status);
	else if (r != -EBADMSG)
		reason = r == -E2BIG ? PROXY_REASON_HEADER_TOO_LARGE : PROXY_REASON_OVERLOADED;
	const struct http_field *ray = http_head_find(&px->request, "Cf-Ray");
	px->ray = ray ? ray->value : px->ray;
	account_begin(env, px->metrics);
	px_choose_wire(px);
	stream_set_user(stream, &tunnel_user, px);
	if (status)
		px_answer_status(px, reason, status);
	else if (reason)
		px_fail(px, reason, detail);
	else
		px_forward(px, rest);
}

static void refuse(struct proxy_env *env, struct stream *stream, enum proxy_reason reason,
		   bool is_limited, const char *detail)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "%s: %s", proxy_reason_info(reason)->name, detail);
	uint8_t buf[512];
	struct span bytes = {};
	struct bufq out;
	bufq_init(&out, env->worker->slab);
	int r = tunnel_head_write_error(span_of(text, MIN((size_t)n, sizeof(text) - 1)), is_limited,
					buf, sizeof(buf), &bytes);
	if (r == 0)
		r = bufq_append_copy(&out, bytes);
	/* An answer of this size fits any sane window; a peer that grants less gets a reset. */
	if (r == 0 && stream_write(stream, &out, out.len) == (ssize_t)bytes.len)
		stream_finish(stream);
	else
		stream_reset(stream, STREAM_CODE_NONE);
	bufq_clear(&out);
	stream_stop(stream, STREAM_CODE_NONE);
	stream_close(stream);
}

void proxy_refuse(struct proxy_env *env, struct stream *stream, enum proxy_reason reason,
		  const char *detail)
{
	refuse(env, stream, reason, false, detail);
}

void proxy_refuse_limited(struct proxy_env *env, struct stream *stream, const char *detail)
{
	refuse(env, stream, PROXY_REASON_OVERLOADED, true, detail);
}

void proxy_http_abort_all(struct proxy_env *env)
{
	LIST_FOREACH(node, &env->exchanges)
	{
		struct proxy_http *px = LIST_ENTRY(node, struct proxy_http, node);
		bool is_begun = px->has_head;
		if (px->relay) {
			px->reason = PROXY_REASON_TUNNEL_LOST;
			relay_cut(px->relay);
			px_end_relay(px);
			continue;
		}
		px_fail(px, PROXY_REASON_TUNNEL_LOST, "shutting down");
		if (is_begun && !px->is_ended)
			px_cut(px); /* there is no next turn */
	}
}
