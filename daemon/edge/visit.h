/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One visitor's request on its way to a daemon and back (docs/protocol.md §10). Used by front_http
 * only.
 */
#ifndef DAEMON_EDGE_VISIT_H
#define DAEMON_EDGE_VISIT_H

#include "daemon/edge/front_http.h"
#include "daemon/proxy/access_log.h"
#include "util/list.h"

struct front_conn;

/* A visitor's end is kept so long from a daemon that would end both directions (spec §4). */
static constexpr nsec_t VISIT_HOLD_END = 10 * NSEC_PER_SEC;

/* A visitor's connection counts as long as somebody has a reference, HTTP or not. */
struct front_conn *front_conn_ref(struct front_conn *c);
void front_conn_unref(struct front_conn *c);

enum { VISIT_RAY_MAX = 96 }; /* bytes of a request id */

/* What the visits of one worker share. */
struct visit_env {
	struct front_params p;
	struct list visits;
	struct list flows; /* of TCP */
	unsigned int active;
	uint64_t next_ray; /* request ids: random start, then counted */
	struct log_limit log_limit;
	struct front_drops drops;
};

/* Serves an exchange (takes it), whose user is the visitor's struct front_conn. */
void visit_start(struct visit_env *env, struct http_exchange *x);
/* user: the env. A link has become suspect: what waits on it goes elsewhere after a while, if it
 * may. */
void visit_on_doubt(struct edge_link *el, void *user);
/* Counts one that has ended, with its line in the access log (its rule is the tunnel's name).
 * latency: until the answer. */
void visit_account(struct visit_env *env, const struct roster *roster, const struct front_host *m,
		   struct access_record *record, nsec_t latency);
/* What a daemon's error text says: "reason: detail" of our own, or anybody's words. */
enum proxy_reason visit_reason_of_error(struct span error);
/* Breaks all off, flows too. */
void visit_abort_all(struct visit_env *env);
/* The next request id, "0123456789abcdef-location", into buf. */
struct span visit_make_ray(struct visit_env *env, char *buf, size_t size);

#endif
