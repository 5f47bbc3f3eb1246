/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration snapshot as requests use it: the compiled route and the counters of every rule.
 * One reference per exchange, so that an exchange ends with the rules it began with (design §6).
 */
#ifndef DAEMON_PROXY_RULES_H
#define DAEMON_PROXY_RULES_H

#include "daemon/base/arena.h"
#include "daemon/base/metric.h"
#include "daemon/conf/conf.h"
#include "daemon/origin/origin.h"
#include "daemon/origin/origin_tls.h"
#include "daemon/proxy/reason.h"
#include "daemon/route/route.h"

struct pattern_scratch;

/* Series of one rule; bounded by the registry (then shared with "other"). */
struct rule_metrics {
	metric_id requests[6]; /* by code class, [1] … [5]; [0]: no status */
	metric_id seconds;
	metric_id errors[PROXY_REASON_MAX_];
	metric_id active;
	metric_id bytes_in;
	metric_id bytes_out;
	struct origin_series origin;
};

/* Families of all rules and of the program; defined once at start. */
struct proxy_metrics {
	struct metric_registry *reg;
	int requests, seconds, errors, active, bytes, origins, by_code;
	metric_id total, concurrent, failed; /* the reference's names */
	metric_id tcp_total, tcp_active;
	metric_id codes[1000]; /* the reference's response_by_code, by status */
};
[[nodiscard]] int proxy_metrics_init(struct proxy_metrics *m, struct metric_registry *reg);

struct proxy_rules {
	_Atomic unsigned int refs;
	struct conf *conf;
	struct route *route;
	struct origin_tls *tls;       /* whom each rule trusts */
	struct rule_metrics *metrics; /* [conf->rule_count] */
	struct rule_metrics none;     /* requests that no rule took */
	struct rule_metrics network;  /* TCP flows, by [network] */
};

/*
 * Compiles a snapshot (takes a reference of conf). Main thread.
 *
 * Returns 0, -ENOMEM, or -EINVAL with the rule whose ca-pool isn't one, and why (static text).
 */
struct proxy_rules_error {
	const struct conf_rule *rule;
	const char *reason;
};
[[nodiscard]] int proxy_rules_new(struct conf *conf, const struct proxy_metrics *m,
				  struct proxy_rules **ret, struct proxy_rules_error *ret_error);
/* What takes a request. */
struct proxy_found {
	const struct conf_rule *rule;       /* NULL: none */
	const struct rule_metrics *metrics; /* of the rule, or those of none */
	unsigned int status; /* with a reason: to be answered as it is; 0: an error */
};
/*
 * Finds the rule of a request. NONE, or the reason for which there is none: our own edge makes a
 * page of it, another one gets ret->status as it is. arena: for the moment.
 */
enum proxy_reason proxy_rules_find(const struct proxy_rules *rules, struct pattern_scratch *scratch,
				   const struct http_head *request, struct arena *arena,
				   struct proxy_found *ret);
/* Any thread. */
struct proxy_rules *proxy_rules_ref(struct proxy_rules *rules);
void proxy_rules_unref(struct proxy_rules *rules);

#endif
