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
	unsigned int active;
	unsigned int active_max;   /* of this worker; over it: overloaded */
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

/* Breaks all running exchanges off (end of the grace period). */
void proxy_http_abort_all(struct proxy_env *env);

#endif
