/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP exchange at the daemon: from a ConnectRequest that came through the tunnel to an origin
 * and back (docs/protocol.md §10.3, §10.4, §10.6).
 */
#ifndef DAEMON_PROXY_PROXY_HTTP_H
#define DAEMON_PROXY_PROXY_HTTP_H

#include "daemon/base/worker.h"
#include "daemon/http/http.h"
#include "daemon/proxy/rules.h"
#include "daemon/wire/connect.h"
#include "util/list.h"

struct origin_worker;

/* After one direction of a WebSocket or TCP flow has ended, towards an edge that isn't ours: the
 * longest silence of the other, whose end it may not tell (spec §4). */
static constexpr nsec_t PROXY_HALF_SILENCE = 60 * NSEC_PER_SEC;

/* What the exchanges of one worker share. Owned by the program's wiring. */
struct proxy_env {
	struct worker *worker;
	struct origin_worker *origins;
	struct proxy_rules *rules; /* current snapshot; swapped at the top of a turn */
	struct pattern_scratch *scratch;
	const struct proxy_metrics *metrics;
	const struct http_limits *limits;
	struct span connector_id; /* text of the uuid */
	struct list exchanges;    /* running ones */
	struct list flows;        /* of TCP */
	unsigned int active;
	unsigned int active_max;   /* of this worker; over it: overloaded */
	unsigned int flow_count;   /* of them in flows */
	unsigned int flow_max;     /* of this worker */
	uint64_t trailers_raw;     /* bodies whose trailers had no place */
	uint64_t trailers_refused; /* trailers that may not pass */
	uint64_t frames_malformed; /* framed bodies of the edge */
	struct log_limit log_limit;
	struct log_limit refused_limit; /* of lines about requests that weren't begun */
};

/*
 * Serves a request of type HTTP or WebSocket. Takes the stream; moves what was read beyond the
 * message out of rest. The request's spans are read before this returns. Never fails: whatever is
 * wrong is answered on the stream.
 */
void proxy_http_start(struct proxy_env *env, struct stream *stream, struct bufq *rest,
		      struct connect_request *req);

/* Answers a request with an error and ends the stream (kinds that aren't served, bad messages). */
void proxy_refuse(struct proxy_env *env, struct stream *stream, enum proxy_reason reason,
		  const char *detail);

/* The same for a flow over the limit: overloaded, and the edge is told why
 * (FlowConnectRateLimited). */
void proxy_refuse_limited(struct proxy_env *env, struct stream *stream, const char *detail);

/* Why there is no room for another exchange (static text), or NULL. */
const char *proxy_lacks(const struct proxy_env *env);
/* Breaks all running exchanges off (end of the grace period). */
void proxy_http_abort_all(struct proxy_env *env);

#endif
