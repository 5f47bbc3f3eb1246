/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call to a service that speaks HTTP/1.1 over TCP or a unix socket, with TLS or without: an idle
 * connection if there is one, else name, connect, handshake, exchange. The caller's body stream
 * stands in front of whatever connection serves the call, so that a request can begin again on
 * another one unseen.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/flow/stream_io.h"
#include "daemon/http/http.h"
#include "daemon/net/happy.h"
#include "daemon/net/resolve.h"
#include "daemon/net/tcp.h"
#include "daemon/net/tlsctx.h"
#include "daemon/origin/origin_fsm.h"
#include "daemon/origin/origin_priv.h"
#include "daemon/origin/origin_tls.h"
#include "util/cleanup.h"

/* A request whose bytes the origin doesn't take. Paused readers are fast compared with this. */
static constexpr nsec_t write_timeout = 60 * NSEC_PER_SEC;

struct origin_http {
	struct origin_call call; /* first */
	enum origin_state state;
	struct stream body;     /* call.body: in front of http_call_body() */
	struct stream *conn;    /* owned */
	struct http_call *http; /* on conn */
	struct resolve_query *query;
	struct happy *happy;
	struct timer timer;     /* connect-timeout, then tls-timeout */
	struct ssl_ctx_st *tls; /* borrowed; NULL: in clear */
	const char *tls_name;   /* in service[]: asked for and verified */
	struct http_limits limits;
	uint64_t generation; /* of the worker when the call began */
	bool is_reused;      /* conn was idle before */
	bool has_retried;
	bool is_finished; /* what the caller said of the body while there was no connection */
	bool is_reset;
	bool is_stopped;
	struct http_trailers trailers; /* of the request */
	char service[];                /* key of the pool */
};

static struct origin_http *http_of(struct origin_call *call)
{
	return CONTAINER_OF(call, struct origin_http, call);
}

static struct origin_http *http_of_body(struct stream *s)
{
	return CONTAINER_OF(s, struct origin_http, body);
}

static void step_to(struct origin_http *oh, enum origin_event event)
{
	enum origin_state next = origin_fsm_next(oh->state, event);
	assert(next != ORIGIN_STATE_INVALID);
	oh->state = next;
}

static struct span pool_key(const struct origin_http *oh)
{
	return span_str(oh->service);
}

/* ---- the body: in front of the connection's ---- */

/* Until there is an answer an error may be the idle connection's death, which the caller never
 * learns of; the call's own failure comes by its event. */
static ssize_t guard(const struct origin_http *oh, ssize_t n)
{
	if (n >= 0 || oh->state == ORIGIN_STATE_ANSWERED || n == -EPROTO)
		return n;
	return oh->state == ORIGIN_STATE_FAILED ? -ECONNRESET : -EAGAIN;
}

static ssize_t body_read(struct stream *s, struct bufq *to, size_t max)
{
	struct origin_http *oh = http_of_body(s);
	if (oh->state != ORIGIN_STATE_ANSWERED)
		return guard(oh, -EAGAIN);
	ssize_t n = stream_read(http_call_body(oh->http), to, max);
	s->error_code = http_call_body(oh->http)->error_code;
	return n;
}

static ssize_t body_write(struct stream *s, struct bufq *from, size_t max)
{
	struct origin_http *oh = http_of_body(s);
	if (oh->is_reset || oh->is_finished)
		return -EPROTO;
	if (!oh->http)
		return guard(oh, -EAGAIN);
	return guard(oh, stream_write(http_call_body(oh->http), from, max));
}

static size_t body_credit(const struct stream *s)
{
	const void *start = (const char *)s - offsetof(struct origin_http, body);
	const struct origin_http *oh = start;
	return oh->http ? stream_credit(http_call_body(oh->http)) : 0;
}

static int body_write_error(const struct stream *s)
{
	const void *start = (const char *)s - offsetof(struct origin_http, body);
	const struct origin_http *oh = start;
	return oh->http ? stream_write_error(http_call_body(oh->http)) : 0;
}

static void body_finish(struct stream *s)
{
	struct origin_http *oh = http_of_body(s);
	oh->is_finished = true;
	if (oh->http)
		stream_finish(http_call_body(oh->http));
}

static void body_reset(struct stream *s, uint64_t code)
{
	struct origin_http *oh = http_of_body(s);
	oh->is_reset = true;
	if (oh->http)
		stream_reset(http_call_body(oh->http), code);
}

static void body_stop(struct stream *s, uint64_t code)
{
	struct origin_http *oh = http_of_body(s);
	oh->is_stopped = true;
	if (oh->http)
		stream_stop(http_call_body(oh->http), code);
}

/* The call owns it. */
static void body_close(struct stream *s)
{
	if (!http_of_body(s)->is_finished)
		body_reset(s, STREAM_CODE_NONE);
	body_stop(s, STREAM_CODE_NONE);
}

static const struct stream_ops body_ops = {
	.read = body_read,
	.write = body_write,
	.credit = body_credit,
	.write_error = body_write_error,
	.finish = body_finish,
	.reset = body_reset,
	.stop = body_stop,
	.close = body_close,
};

static void on_inner_readable(struct stream *s, void *user)
{
	(void)s;
	struct origin_http *oh = user;
	stream_tell(&oh->body, true, false);
}

static void on_inner_writable(struct stream *s, void *user)
{
	(void)s;
	struct origin_http *oh = user;
	stream_tell(&oh->body, false, true);
}

static const struct stream_user inner_user = {
	.on_readable = on_inner_readable,
	.on_writable = on_inner_writable,
};

/* ---- ends ---- */

/* Takes the exchange off the connection, which stays open. */
static struct http_call *take_exchange(struct origin_http *oh)
{
	if (oh->http) {
		oh->call.ow->stats.hints += http_call_hints(oh->http);
		metric_add(oh->call.ow->params.metrics, oh->call.series.active, -1);
	}
	return TAKE_PTR(oh->http);
}

/* Idle connections that may be kept beside this one. Where visitors choose the name of TLS, what
 * one of them may cause is bounded by all that is idle, whatever its name. */
static unsigned int idle_limit(const struct origin_http *oh)
{
	const struct origin_worker *ow = oh->call.ow;
	unsigned int limit = oh->call.rule->origin.keep_alive_connections;
	if (limit == 0)
		return 0;
	limit /= MAX(ow->params.workers, 1U);
	limit = MAX(limit, 1U);
	return origin_tls_name_varies(oh->call.rule) && ow->stats.idle >= limit ? 0 : limit;
}

/* Lets go of names, sockets and the exchange; the connection is kept if it is fit for another. */
static void let_go(struct origin_http *oh)
{
	struct origin_worker *ow = oh->call.ow;
	timer_stop(&oh->timer);
	if (oh->query)
		resolve_cancel(TAKE_PTR(oh->query));
	happy_cancel(TAKE_PTR(oh->happy));
	bool is_fit =
		oh->http && http_call_is_reusable(oh->http) && oh->generation == ow->generation;
	http_call_free(take_exchange(oh));
	if (!oh->conn)
		return;
	if (!is_fit) {
		stream_close(TAKE_PTR(oh->conn));
		return;
	}
	const struct origin_pool_terms terms = {
		.limit = idle_limit(oh),
		.timeout = oh->call.rule->origin.keep_alive_timeout,
		.gauge = oh->call.series.idle,
	};
	origin_pool_put(&ow->pool, pool_key(oh), TAKE_PTR(oh->conn), &terms);
}

static void fail(struct origin_http *oh, enum origin_failure failure, int error, const char *detail)
{
	step_to(oh, ORIGIN_EVENT_FAIL);
	let_go(oh);
	origin_call_fail_later(&oh->call, failure, error, detail);
}

static void fail_connect(struct origin_http *oh, int error)
{
	enum origin_failure failure = origin_failure_of_connect(error);
	fail(oh, failure, error,
	     failure == ORIGIN_FAILURE_REFUSED      ? "connection refused"
	     : failure == ORIGIN_FAILURE_TIMEOUT    ? "no connection within connect-timeout"
	     : failure == ORIGIN_FAILURE_OVERLOADED ? "no socket, memory or port for a connection"
						    : "no way to the service");
}

/* ---- the exchange ---- */

static void dial(struct origin_http *oh);

/* RFC 9110 §9.2.2, and what the client vouches for by a key of its own (spec §7). */
static bool may_retry(const struct origin_http *oh)
{
	const struct http_head *request = &oh->call.request;
	return http_method_is_idempotent(request->method) ||
	       ((span_eq_str(request->method, "POST") || span_eq_str(request->method, "PATCH")) &&
		http_head_find(request, "idempotency-key"));
}

static void retry(struct origin_http *oh)
{
	oh->has_retried = true;
	oh->call.ow->stats.retried++;
	http_call_free(take_exchange(oh));
	stream_close(TAKE_PTR(oh->conn));
	step_to(oh, ORIGIN_EVENT_RETRY);
	dial(oh);
}

static void fail_exchange(struct origin_http *oh, int error)
{
	switch (error) {
	case -ETIMEDOUT:
		fail(oh, ORIGIN_FAILURE_TIMEOUT, error, "no answer within response-header-timeout");
		break;
	case -EBADMSG:
		fail(oh, ORIGIN_FAILURE_PROTOCOL, error, "the answer is not HTTP");
		break;
	case -EMSGSIZE:
		fail(oh, ORIGIN_FAILURE_PROTOCOL, error, "the answer's head is over a limit");
		break;
	case -ENOMEM:
	case -ENOBUFS:
		fail(oh, ORIGIN_FAILURE_OVERLOADED, error, "no room for the exchange");
		break;
	default:
		fail(oh, ORIGIN_FAILURE_RESET, error, "the connection ended before an answer");
		break;
	}
}

static void on_response(struct http_call *http, int error, void *user)
{
	struct origin_http *oh = user;
	if (error == 0) {
		step_to(oh, ORIGIN_EVENT_ANSWER);
		stream_tell(&oh->body, true, true);
		origin_call_tell_response(&oh->call, http_call_response(http));
		return;
	}
	if (error == -ECONNRESET && oh->is_reused && !oh->has_retried &&
	    http_call_is_untouched(http) && may_retry(oh)) {
		retry(oh);
		return;
	}
	fail_exchange(oh, error);
}

static const struct http_call_events http_events = { .on_response = on_response };

/* The call has a connection: sends the request, and what was said of its body meanwhile. */
static int begin(struct origin_http *oh, struct stream *conn_take, bool is_reused)
{
	const struct http_call_params params = {
		.loop = oh->call.ow->params.loop,
		.slab = oh->call.ow->params.slab,
		.limits = &oh->limits,
		.request = &oh->call.request,
		.events = &http_events,
		.user = oh,
	};
	timer_stop(&oh->timer);
	oh->conn = conn_take;
	oh->is_reused = is_reused;
	int r = http_call_new(oh->conn, &params, &oh->http);
	if (r < 0) {
		oh->http = NULL;
		return r;
	}
	metric_add(oh->call.ow->params.metrics, oh->call.series.active, 1);
	step_to(oh, ORIGIN_EVENT_CONNECTED);
	struct stream *inner = http_call_body(oh->http);
	stream_set_user(inner, &inner_user, oh);
	if (oh->is_reset)
		stream_reset(inner, STREAM_CODE_NONE);
	if (oh->is_stopped)
		stream_stop(inner, STREAM_CODE_NONE);
	if (oh->is_finished) {
		(void)http_call_set_trailers(oh->http, &oh->trailers);
		stream_finish(inner);
	}
	return 0;
}

/* ---- connecting ---- */

static void use_connection(struct origin_http *oh, struct stream *conn_take)
{
	oh->call.ow->stats.opened++;
	int r = begin(oh, conn_take, false);
	if (r < 0)
		fail_exchange(oh, r);
}

static void on_secure(struct stream *s, int error, void *user)
{
	struct origin_http *oh = user;
	const char *words = stream_io_tls_error(s);
	if (error == 0) {
		oh->conn = NULL;
		use_connection(oh, s);
	} else if (error == -EPERM) {
		fail(oh, ORIGIN_FAILURE_TLS, error,
		     words[0] ? words : "the certificate is refused");
	} else {
		fail(oh, ORIGIN_FAILURE_TLS, error, words[0] ? words : "the handshake broke off");
	}
}

/* fd (taken) is connected: TLS next. */
static void secure(struct origin_http *oh, int fd)
{
	const struct origin_worker_params *p = &oh->call.ow->params;
	struct ssl_st *ssl = NULL;
	timer_stop(&oh->timer);
	step_to(oh, ORIGIN_EVENT_SHAKE);
	int r = tlsctx_open_origin(oh->tls, oh->tls_name, &ssl);
	if (r < 0)
		(void)fd_close(fd);
	else
		r = stream_io_new(p->loop, p->slab, fd, ssl, &oh->conn);
	if (r < 0) {
		oh->conn = NULL;
		fail_connect(oh, r);
		return;
	}
	nsec_t timeout = oh->call.rule->origin.tls_timeout;
	if (timeout)
		timer_start(p->loop, &oh->timer, nsec_add(loop_now(p->loop), timeout));
	stream_io_on_open(oh->conn, on_secure, oh);
}

static void on_happy(int fd_or_error, const struct ip_port *peer, void *user)
{
	(void)peer;
	struct origin_http *oh = user;
	oh->happy = NULL;
	if (fd_or_error < 0) {
		fail_connect(oh, fd_or_error);
		return;
	}
	if (oh->tls) {
		secure(oh, fd_or_error);
		return;
	}
	const struct origin_worker_params *p = &oh->call.ow->params;
	struct stream *conn;
	int r = stream_io_new(p->loop, p->slab, fd_or_error, NULL, &conn);
	if (r < 0)
		fail_connect(oh, r);
	else
		use_connection(oh, conn);
}

static void connect_to(struct origin_http *oh, const struct ip_port *addrs, unsigned int count)
{
	const struct conf_origin *set = &oh->call.rule->origin;
	const struct happy_params params = {
		.addrs = addrs,
		.count = count,
		.tcp.keep_alive_sec = (unsigned int)(set->tcp_keep_alive / NSEC_PER_SEC),
		.sequential = set->no_happy_eyeballs,
	};
	step_to(oh, ORIGIN_EVENT_DIAL);
	int r = happy_connect(oh->call.ow->params.loop, &params, on_happy, oh, &oh->happy);
	if (r < 0)
		fail_connect(oh, r);
}

static void on_resolved(int error, const struct ip_port *addrs, unsigned int count, void *user)
{
	struct origin_http *oh = user;
	oh->query = NULL;
	if (error == 0)
		connect_to(oh, addrs, count);
	else if (error == -ETIMEDOUT)
		fail(oh, ORIGIN_FAILURE_TIMEOUT, error, "no answer about the service's name");
	else
		fail(oh, ORIGIN_FAILURE_UNREACHABLE, error, "the service's name has no address");
}

static void look_up(struct origin_http *oh)
{
	const struct conf_service *service = &oh->call.rule->service;
	step_to(oh, ORIGIN_EVENT_LOOKUP);
	int r = resolve_addr(oh->call.ow->params.resolver, service->host, service->port,
			     IP_FAMILY_NONE, on_resolved, oh, &oh->query);
	if (r < 0)
		fail_connect(oh, r);
}

static void on_open(struct stream *s, int error, void *user)
{
	struct origin_http *oh = user;
	if (error < 0) {
		fail_connect(oh, error);
		return;
	}
	oh->conn = NULL;
	use_connection(oh, s);
}

static void connect_unix(struct origin_http *oh)
{
	const struct origin_worker_params *p = &oh->call.ow->params;
	step_to(oh, ORIGIN_EVENT_DIAL);
	int fd = unixsock_connect(oh->call.rule->service.path);
	if (fd < 0) {
		fail_connect(oh, fd);
		return;
	}
	if (oh->tls) {
		secure(oh, fd);
		return;
	}
	int r = stream_io_new(p->loop, p->slab, fd, NULL, &oh->conn);
	if (r < 0) {
		oh->conn = NULL;
		fail_connect(oh, r);
		return;
	}
	stream_io_on_open(oh->conn, on_open, oh);
}

static void on_connect_timeout(struct timer *timer)
{
	struct origin_http *oh = CONTAINER_OF(timer, struct origin_http, timer);
	if (oh->state == ORIGIN_STATE_SECURE)
		fail(oh, ORIGIN_FAILURE_TIMEOUT, -ETIMEDOUT, "no TLS within tls-timeout");
	else
		fail_connect(oh, -ETIMEDOUT);
}

/* connect-timeout covers the name, too. */
static void dial(struct origin_http *oh)
{
	const struct conf_rule *rule = oh->call.rule;
	struct loop *loop = oh->call.ow->params.loop;
	if (rule->origin.connect_timeout)
		timer_start(loop, &oh->timer,
			    nsec_add(loop_now(loop), rule->origin.connect_timeout));
	if (rule->service.kind == SERVICE_KIND_UNIX) {
		connect_unix(oh);
	} else if (rule->service.ip.family != IP_FAMILY_NONE) {
		const struct ip_port addr = { .ip = rule->service.ip, .port = rule->service.port };
		connect_to(oh, &addr, 1);
	} else {
		look_up(oh);
	}
}

/* ---- life ---- */

static struct stream *http_upgrade_conn(struct origin_call *call, struct bufq *received)
{
	struct origin_http *oh = http_of(call);
	http_call_upgrade(take_exchange(oh), received);
	return TAKE_PTR(oh->conn);
}

static void http_end(struct origin_call *call)
{
	let_go(http_of(call));
}

static void http_release(struct origin_call *call)
{
	free(http_of(call));
}

static const struct http_trailers *http_trailers(struct origin_call *call)
{
	const struct origin_http *oh = http_of(call);
	return oh->http ? http_call_trailers(oh->http) : NULL;
}

static void http_set_trailers(struct origin_call *call, const struct http_trailers *trailers)
{
	struct origin_http *oh = http_of(call);
	oh->trailers = *trailers;
	if (oh->http)
		(void)http_call_set_trailers(oh->http, trailers);
}

static const struct origin_call_ops http_ops = {
	.upgrade = http_upgrade_conn,
	.end = http_end,
	.release = http_release,
	.trailers = http_trailers,
	.set_trailers = http_set_trailers,
};

static struct origin_http *new_call(struct origin_worker *ow,
				    const struct origin_call_params *params, const char *tls_name)
{
	const struct conf_rule *rule = params->rule;
	const struct origin_worker_params *p = &ow->params;
	/* Rules don't share connections: their settings may differ. */
	size_t front = strlen(rule->name) + 1 + strlen(rule->service.text) + 1;
	size_t len = front + strlen(tls_name) + 1;
	struct origin_http *oh = calloc(1, sizeof(*oh) + len);
	if (!oh)
		return NULL;
	origin_call_init(&oh->call, &http_ops, ow, params);
	(void)snprintf(oh->service, len, "%s %s %s", rule->name, rule->service.text, tls_name);
	oh->tls_name = oh->service + front;
	oh->tls = params->tls;
	oh->call.body = &oh->body;
	oh->body = (struct stream){ .ops = &body_ops, .loop = p->loop, .slab = p->slab };
	oh->state = ORIGIN_STATE_START;
	oh->timer.on_expire = on_connect_timeout;
	oh->generation = ow->generation;
	oh->limits = (struct http_limits){
		.head_max = p->limits->head_max,
		.field_max = p->limits->field_max,
		.line_max = p->limits->line_max,
		.trailer_max = p->limits->trailer_max,
		.trailer_field_max = p->limits->trailer_field_max,
		.header_timeout = rule->origin.response_header_timeout,
		.write_timeout = write_timeout,
	};
	return oh;
}

int origin_http_start(struct origin_worker *ow, const struct origin_call_params *params,
		      struct origin_call **ret)
{
	char tls_name[ORIGIN_TLS_NAME_MAX] = "";
	if (params->rule->service.tls && !params->tls)
		return -EOPNOTSUPP;
	if (!http_request_is_valid(params->request))
		return -EBADMSG;
	if (params->tls && origin_tls_name(params->rule, params->request->authority, tls_name) < 0)
		return -EBADMSG;
	struct origin_http *oh = new_call(ow, params, tls_name);
	if (!oh)
		return -ENOMEM;
	struct stream *idle = origin_pool_take(&ow->pool, pool_key(oh));
	if (!idle) {
		dial(oh);
	} else {
		ow->stats.reused++;
		int r = begin(oh, idle, true);
		if (r < 0) {
			origin_call_end(&oh->call);
			return r;
		}
	}
	*ret = &oh->call;
	return 0;
}
