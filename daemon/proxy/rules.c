/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration snapshot as requests use it. Series are looked up here, once per snapshot, so
 * that a request only adds to numbers it already knows.
 */
#include "daemon/proxy/rules.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/wire/uri.h"
#include "util/macro.h"

static const double seconds_buckets[] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
					  0.5,   1,      2.5,   5,    10,    30,   60 };

static const struct metric_family families[] = {
	{ .name = "adit_requests_total",
	  .help = "Finished requests by rule and class of the status.",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "rule", "code_class" } },
	{ .name = "adit_request_seconds",
	  .help = "Time from the request's head to the end of its answer.",
	  .type = METRIC_TYPE_HISTOGRAM,
	  .labels = { "rule" },
	  .buckets = seconds_buckets,
	  .bucket_count = ARRAY_SIZE(seconds_buckets),
	  .scale = 1e-9 },
	{ .name = "adit_request_errors_total",
	  .help = "Failed requests by rule and reason.",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "rule", "reason" } },
	{ .name = "adit_requests_active",
	  .help = "Requests in progress.",
	  .type = METRIC_TYPE_GAUGE,
	  .labels = { "rule" } },
	{ .name = "adit_body_bytes_total",
	  .help = "Body bytes from visitors (in) and to visitors (out).",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "rule", "dir" } },
	{ .name = "adit_origin_connections",
	  .help = "Connections to origins that are open: with an exchange on them, or idle.",
	  .type = METRIC_TYPE_GAUGE,
	  .labels = { "rule", "state" } },
	{ .name = "cloudflared_tunnel_response_by_code",
	  .help = "Completed responses by status.",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "status_code" } },
};

static const struct metric_family plain_families[] = {
	{ .name = "cloudflared_tunnel_total_requests",
	  .help = "Requests received.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "cloudflared_tunnel_concurrent_requests_per_tunnel",
	  .help = "Requests in progress.",
	  .type = METRIC_TYPE_GAUGE },
	{ .name = "cloudflared_tunnel_request_errors",
	  .help = "Failed requests.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "cloudflared_tcp_total_sessions",
	  .help = "TCP flows that were let in.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "cloudflared_tcp_active_sessions",
	  .help = "TCP flows in progress.",
	  .type = METRIC_TYPE_GAUGE },
};

int proxy_metrics_init(struct proxy_metrics *m, struct metric_registry *reg)
{
	int *const numbers[] = { &m->requests, &m->seconds, &m->errors, &m->active,
				 &m->bytes,    &m->origins, &m->by_code };
	metric_id *const plain[] = { &m->total, &m->concurrent, &m->failed, &m->tcp_total,
				     &m->tcp_active };
	*m = (struct proxy_metrics){ .reg = reg };
	for (unsigned int i = 0; i < ARRAY_SIZE(families); i++) {
		*numbers[i] = metric_define(reg, &families[i]);
		if (*numbers[i] < 0)
			return *numbers[i];
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(plain_families); i++) {
		int family = metric_define(reg, &plain_families[i]);
		if (family < 0)
			return family;
		*plain[i] = metric_series(reg, family, NULL);
	}
	/* The statuses that occur: a scrape shows them from the start, a request takes no lock. */
	static const uint16_t codes[] = { 101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307,
					  308, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413,
					  416, 422, 429, 431, 500, 501, 502, 503, 504 };
	for (unsigned int i = 0; i < ARRAY_SIZE(codes); i++) {
		char text[8];
		(void)snprintf(text, sizeof(text), "%u", codes[i]);
		m->codes[codes[i]] = metric_series(reg, m->by_code, (const char *const[]){ text });
	}
	const char *other = "other";
	metric_id rest = metric_series(reg, m->by_code, &other);
	for (unsigned int i = 0; i < ARRAY_SIZE(m->codes); i++)
		if (m->codes[i] == 0)
			m->codes[i] = rest;
	return 0;
}

static void rule_metrics_init(struct rule_metrics *r, const struct proxy_metrics *m,
			      const char *rule)
{
	static const char *const classes[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
	for (unsigned int i = 0; i < ARRAY_SIZE(classes); i++)
		r->requests[i] = metric_series(m->reg, m->requests,
					       (const char *const[]){ rule, classes[i] });
	for (unsigned int i = 1; i < PROXY_REASON_MAX_; i++) {
		const char *name = proxy_reason_info((enum proxy_reason)i)->name;
		r->errors[i] =
			metric_series(m->reg, m->errors, (const char *const[]){ rule, name });
	}
	r->seconds = metric_series(m->reg, m->seconds, &rule);
	r->active = metric_series(m->reg, m->active, &rule);
	r->bytes_in = metric_series(m->reg, m->bytes, (const char *const[]){ rule, "in" });
	r->bytes_out = metric_series(m->reg, m->bytes, (const char *const[]){ rule, "out" });
}

static struct origin_series origin_series(const struct proxy_metrics *m, const char *rule)
{
	return (struct origin_series){
		.active =
			metric_series(m->reg, m->origins, (const char *const[]){ rule, "active" }),
		.idle = metric_series(m->reg, m->origins, (const char *const[]){ rule, "idle" }),
	};
}

int proxy_rules_new(struct conf *conf, const struct proxy_metrics *m, struct proxy_rules **ret,
		    struct proxy_rules_error *ret_error)
{
	struct proxy_rules *rules = calloc(1, sizeof(*rules));
	if (!rules)
		return -ENOMEM;
	atomic_init(&rules->refs, 1);
	rules->conf = conf_ref(conf);
	rules->metrics = calloc(MAX(conf->rule_count, (size_t)1), sizeof(*rules->metrics));
	int r = rules->metrics ? route_new(conf, &rules->route) : -ENOMEM;
	if (r == 0)
		r = origin_tls_new(conf, &rules->tls, &ret_error->rule, &ret_error->reason);
	if (r < 0) {
		proxy_rules_unref(rules);
		return r;
	}
	for (size_t i = 0; i < conf->rule_count; i++) {
		rule_metrics_init(&rules->metrics[i], m, conf->rules[i].name);
		rules->metrics[i].origin = origin_series(m, conf->rules[i].name);
	}
	rule_metrics_init(&rules->none, m, "none");
	rule_metrics_init(&rules->network, m, "network");
	*ret = rules;
	return 0;
}

enum proxy_reason proxy_rules_find(const struct proxy_rules *rules, struct pattern_scratch *scratch,
				   const struct http_head *request, struct arena *arena,
				   struct proxy_found *ret)
{
	struct uri uri;
	bool is_adit = rules->conf->edge.kind == CONF_EDGE_KIND_ADIT;
	*ret = (struct proxy_found){ .metrics = &rules->none };
	uint8_t *path = arena_alloc(arena, request->target.len);
	struct packer p = packer_over(path, path ? request->target.len : 0);
	if (!path)
		return PROXY_REASON_OVERLOADED;
	if (uri_parse(request->target, &uri) < 0 || uri_path_decode(uri.path, &p) < 0)
		return PROXY_REASON_BAD_REQUEST;
	struct route_query query = { .host = request->authority, .path = packer_span(&p) };
	struct route_result found;
	route_match(rules->route, scratch, &query, &found);
	if (found.rule) {
		ret->rule = found.rule;
		ret->metrics = &rules->metrics[found.index];
	}
	switch (found.verdict) {
	case ROUTE_VERDICT_FOUND:
		return PROXY_REASON_NONE;
	case ROUTE_VERDICT_NO_HOST:
		ret->status = is_adit ? 0 : 404;
		return PROXY_REASON_NO_SUCH_HOST;
	case ROUTE_VERDICT_NO_RULES:
		ret->status = 503;
		return PROXY_REASON_NO_SUCH_HOST;
	case ROUTE_VERDICT_COST:
		ret->status = is_adit ? 0 : 503;
		return PROXY_REASON_RULE_COST;
	}
	return PROXY_REASON_BAD_REQUEST;
}

struct proxy_rules *proxy_rules_ref(struct proxy_rules *rules)
{
	atomic_fetch_add_explicit(&rules->refs, 1, memory_order_relaxed);
	return rules;
}

void proxy_rules_unref(struct proxy_rules *rules)
{
	if (!rules || atomic_fetch_sub_explicit(&rules->refs, 1, memory_order_acq_rel) != 1)
		return;
	route_free(rules->route);
	origin_tls_free(rules->tls);
	conf_unref(rules->conf);
	free(rules->metrics);
	free(rules);
}
