/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which service answers a request? One interface; the engine (ingress rules now) is compiled once
 * per snapshot and shared read-only by all workers.
 */
#ifndef DAEMON_ROUTE_ROUTE_H
#define DAEMON_ROUTE_ROUTE_H

#include "daemon/conf/conf.h"
#include "daemon/conf/pattern.h"

struct route;

/* Longest Host that can match anything but a catch-all, bytes (a name and a port). */
constexpr size_t ROUTE_HOST_MAX = 260;

struct route_query {
	struct span host; /* authority of the request, port and all, any case */
	struct span path; /* decoded, without the query */
};

enum route_verdict : uint8_t {
	ROUTE_VERDICT_FOUND = 1,
	ROUTE_VERDICT_NO_HOST,  /* only the implied last rule: no-such-host, 404 */
	ROUTE_VERDICT_NO_RULES, /* there is none: no-such-host, 503 */
	ROUTE_VERDICT_COST,     /* a path expression reached its limit: rule-cost, 503 */
};

struct route_result {
	enum route_verdict verdict;
	const struct conf_rule *rule; /* FOUND, NO_HOST, COST: which; owned by the snapshot */
	size_t index;                 /* of rule in the snapshot */
};

/*
 * Compiles the rules of a snapshot and takes a reference to it.
 * Returns 0 or -ENOMEM.
 */
[[nodiscard]] int route_new(struct conf *c, struct route **ret);
void route_free(struct route *r);
DEFINE_CLEANUP(struct route *, route_free)

/* The snapshot that it was made of (borrowed). */
struct conf *route_conf(const struct route *r);

/* Finds the rule; first match in the order of the file. Any worker, with its own scratch. */
void route_match(const struct route *r, struct pattern_scratch *s, const struct route_query *q,
		 struct route_result *ret);

/*
 * Says in words why a request goes where it goes, rule by rule (`adit config explain`). Writes into
 * buf (cut to size, with a NUL) and returns buf. Not for the data path: walks all rules.
 */
const char *route_explain(const struct route *r, struct pattern_scratch *s,
			  const struct route_query *q, char *buf, size_t size);

#endif
