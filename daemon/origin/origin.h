/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How to reach a service: an exchange with the origin of a rule, whatever kind it is (spec
 * ingress-and-origins §4, §6–§8; adit §7). One struct origin_worker per worker holds its idle
 * connections.
 */
#ifndef DAEMON_ORIGIN_ORIGIN_H
#define DAEMON_ORIGIN_ORIGIN_H

#include "daemon/base/metric.h"
#include "daemon/conf/rule.h"
#include "daemon/flow/stream.h"
#include "daemon/http/head.h"

struct resolver;
struct ssl_ctx_st;

/* Why there is no answer. */
enum origin_failure : uint8_t {
	ORIGIN_FAILURE_NONE,
	ORIGIN_FAILURE_REFUSED,     /* nobody listens there */
	ORIGIN_FAILURE_UNREACHABLE, /* no address, no route, no socket */
	ORIGIN_FAILURE_TLS,         /* no handshake, or a certificate that isn't trusted */
	ORIGIN_FAILURE_TIMEOUT,     /* connect-, tls- or response-header-timeout has passed */
	ORIGIN_FAILURE_PROTOCOL,    /* what came is no HTTP answer */
	ORIGIN_FAILURE_RESET,       /* the connection ended before an answer */
	ORIGIN_FAILURE_OVERLOADED,  /* our own memory or budget */
	ORIGIN_FAILURE_MAX_,
};

/* What a failed connect means. error: negative errno. */
enum origin_failure origin_failure_of_connect(int error);

/* Counters of one worker; the caller shows them. */
struct origin_stats {
	uint64_t opened;  /* connections that were established */
	uint64_t reused;  /* calls that got an idle one */
	uint64_t retried; /* calls that began again on a fresh one */
	uint64_t hints;   /* 1xx answers that were passed over */
	uint64_t failed[ORIGIN_FAILURE_MAX_];
	uint64_t expired; /* idle connections that ended: time, peer, limit, drain */
	unsigned int idle;
	unsigned int active; /* calls */
};

/* Gauges of one rule: adit_origin_connections. Zero: not shown. */
struct origin_series {
	metric_id active, idle;
};

struct origin_worker;
struct origin_worker_params {
	struct loop *loop;
	struct slab *slab;
	struct resolver *resolver;        /* borrowed, outlives the worker */
	struct metric_shard *metrics;     /* the worker's; NULL: nothing is counted */
	const struct http_limits *limits; /* of answers' heads; borrowed; NULL: the defaults */
	unsigned int workers;             /* that share a rule's keep-alive-connections */
};
[[nodiscard]] int origin_worker_new(const struct origin_worker_params *params,
				    struct origin_worker **ret);
/* Closes idle connections; all calls must have ended. Accepts NULL. */
void origin_worker_free(struct origin_worker *ow);
/* The configuration has changed: no connection of before serves another call. */
void origin_worker_drain(struct origin_worker *ow);
const struct origin_stats *origin_worker_stats(const struct origin_worker *ow);

/*
 * One request and its answer. Exactly one of the events comes, from the loop, unless the call is
 * ended before.
 */
struct origin_call;
struct origin_call_events {
	/* The final head, valid until origin_call_end(); its body is read from
	 * origin_call_body(). */
	void (*on_response)(struct origin_call *call, const struct http_head *head, void *user);
	/* error: negative errno; detail: static text for the log. The call must still be ended. */
	void (*on_failure)(struct origin_call *call, enum origin_failure failure, int error,
			   const char *detail, void *user);
};

struct origin_call_params {
	const struct conf_rule *rule;    /* borrowed until origin_call_end() */
	const struct http_head *request; /* so is what it points to, not itself */
	struct ssl_ctx_st *tls;          /* origin_tls_context() of the rule; borrowed as well */
	const struct origin_call_events *events;
	void *user;
	struct origin_series series;
};

/*
 * Starts an exchange with the rule's service.
 *
 * Returns 0, -ENOMEM, -ENOBUFS, -EBADMSG (a request that can't be sent), -EOPNOTSUPP (a service
 * that isn't spoken to in HTTP).
 */
[[nodiscard]] int origin_call_start(struct origin_worker *ow,
				    const struct origin_call_params *params,
				    struct origin_call **ret);
/*
 * The bodies; the same object from the start to the end, whatever happens to connections. write:
 * the request's (waits for a connection; -EPIPE when the origin takes none); read: the answer's
 * (0 at its truthful end, -EBADMSG or -ECONNRESET when it broke off). Owned by the call.
 */
struct stream *origin_call_body(struct origin_call *call);
/*
 * After a head with status 101: ends the call and hands the connection over, which is a raw pipe
 * from here on. What has come behind the head goes to the end of received. NULL when the kind of
 * service has no connection; the call goes on then.
 */
struct stream *origin_call_upgrade(struct origin_call *call, struct bufq *received);
/* Of the answer, after stream_read() of the body has given 0; NULL: none. Borrowed from the call.
 */
const struct http_trailers *origin_call_trailers(struct origin_call *call);
/* Of the request, before stream_finish() of the body. What it points to lives as long as the call.
 * Dropped where the service takes none. */
void origin_call_set_trailers(struct origin_call *call, const struct http_trailers *trailers);
/* Gives the call back, at any time, also from its events. A connection whose exchange is whole goes
 * to the idle ones. Accepts NULL. */
void origin_call_end(struct origin_call *call);

#endif
