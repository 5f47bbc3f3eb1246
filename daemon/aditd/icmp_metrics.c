/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of ICMP. The reference tells two reasons apart, by the index of the connection; ours are
 * summed under them, and once more under their own names.
 */
#include "daemon/aditd/icmp_metrics.h"

#include <stdio.h>

#include "util/macro.h"

/* clang-format off */
static const struct metric_family dropped_family = { .name = "cloudflared_icmp_dropped_packets", .help = "ICMP packets of the edge dropped.", .type = METRIC_TYPE_COUNTER, .labels = { "conn_index", "reason" } };
static const struct metric_family requests_family = { .name = "cloudflared_icmp_total_requests", .help = "Echo requests sent to origins.", .type = METRIC_TYPE_COUNTER };
static const struct metric_family replies_family = { .name = "cloudflared_icmp_total_replies", .help = "Echo replies sent to the edge.", .type = METRIC_TYPE_COUNTER };
static const struct metric_family errors_family = { .name = "adit_icmp_errors_total", .help = "ICMP errors sent to the edge: made here, or passed on from the network.", .type = METRIC_TYPE_COUNTER, .labels = { "source", "kind" } };
/* clang-format on */

static const char *const reasons[ICMP_METRICS_REASONS] = { "write_failed", "write_full" };
/* 0: not an ICMP packet of the edge, or the reference answers it, too. */
static const uint8_t reason_of[ICMP_DROP_MAX_] = {
	[ICMP_DROP_MALFORMED] = 1, [ICMP_DROP_KIND] = 1,        [ICMP_DROP_NOT_SERVED] = 1,
	[ICMP_DROP_DENIED] = 1,    [ICMP_DROP_TOO_BIG] = 1,     [ICMP_DROP_UNREACHABLE] = 1,
	[ICMP_DROP_ORIGIN] = 1,    [ICMP_DROP_ORIGIN_FULL] = 2,
};

static const struct {
	enum icmp_kind kind;
	const char *name;
} errors[ICMP_METRICS_ERRORS] = {
	{ ICMP_KIND_UNREACHABLE, "unreachable" },
	{ ICMP_KIND_TOO_BIG, "too-big" },
	{ ICMP_KIND_TIME_EXCEEDED, "time-exceeded" },
	{ ICMP_KIND_BAD_PARAMETER, "bad-parameter" },
};
static const char *const paths[ICMP_PATH_KIND_MAX_] = {
	[ICMP_PATH_KIND_PING] = "ping", [ICMP_PATH_KIND_RAW] = "raw"
};

static void define_by_path(struct icmp_metrics *m, struct metric_registry *reg,
			   const struct flow_metrics *flows)
{
	for (unsigned int k = ICMP_PATH_KIND_PING; k < ICMP_PATH_KIND_MAX_; k++) {
		m->flows[k] = metric_series(reg, flows->flows_family,
					    (const char *const[]){ paths[k], "icmp" });
		m->rx[k] = metric_series(reg, flows->packets_family,
					 (const char *const[]){ paths[k], "rx" });
		m->tx[k] = metric_series(reg, flows->packets_family,
					 (const char *const[]){ paths[k], "tx" });
	}
}

int icmp_metrics_init(struct icmp_metrics *m, struct metric_registry *reg,
		      const struct link_metrics *links, const struct flow_metrics *flows)
{
	int dropped = metric_define(reg, &dropped_family);
	int requests = metric_define(reg, &requests_family);
	int replies = metric_define(reg, &replies_family);
	int told = metric_define(reg, &errors_family);
	if (dropped < 0 || requests < 0 || replies < 0 || told < 0)
		return -ENOMEM;
	m->count = MIN(links->count, (unsigned int)ICMP_INDEX_MAX);
	for (unsigned int i = 0; i < m->count; i++) {
		char text[12];
		(void)snprintf(text, sizeof(text), "%u", i);
		for (unsigned int k = 0; k < ICMP_METRICS_REASONS; k++)
			m->dropped[i][k] = metric_series(reg, dropped,
							 (const char *const[]){ text, reasons[k] });
	}
	for (unsigned int k = 0; k < ICMP_DROP_MAX_; k++) {
		const char *name = icmp_drop_name((enum icmp_drop)k);
		m->drops[k] =
			metric_series(reg, links->drops, (const char *const[]){ "icmp", name });
	}
	for (unsigned int k = 0; k < ICMP_METRICS_ERRORS; k++) {
		m->made[k] =
			metric_series(reg, told, (const char *const[]){ "own", errors[k].name });
		m->passed[k] = metric_series(reg, told,
					     (const char *const[]){ "network", errors[k].name });
	}
	m->requests = metric_series(reg, requests, NULL);
	m->replies = metric_series(reg, replies, NULL);
	define_by_path(m, reg, flows);
	return 0;
}

static void refresh_by_path(const struct icmp_metrics *m, struct wiring *w)
{
	static const enum ip_family families[] = { IP_FAMILY_V4, IP_FAMILY_V6 };
	uint64_t flows[ICMP_PATH_KIND_MAX_] = {}, rx[ICMP_PATH_KIND_MAX_] = {},
		 tx[ICMP_PATH_KIND_MAX_] = {};
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct icmp_path_stats *s = icmp_path_stats(w->icmp.path, families[i]);
		enum icmp_path_kind kind = icmp_path_kind(w->icmp.path, families[i]);
		flows[kind] += icmp_session_count(&w->icmp, families[i]);
		rx[kind] += s->rx;
		tx[kind] += s->tx;
	}
	for (unsigned int k = ICMP_PATH_KIND_PING; k < ICMP_PATH_KIND_MAX_; k++) {
		metric_set(w->worker->metrics, m->flows[k], (int64_t)flows[k]);
		metric_set(w->worker->metrics, m->rx[k], (int64_t)rx[k]);
		metric_set(w->worker->metrics, m->tx[k], (int64_t)tx[k]);
	}
}

void icmp_metrics_refresh(const struct icmp_metrics *m, struct wiring *w)
{
	struct metric_shard *shard = w->worker->metrics;
	const struct icmp_session *s = &w->icmp;
	uint64_t drops[ICMP_DROP_MAX_] = {}, sums[ICMP_INDEX_MAX][ICMP_METRICS_REASONS] = {};
	for (unsigned int i = 0; i < ICMP_INDEX_MAX; i++)
		for (unsigned int k = 0; k < ICMP_DROP_MAX_; k++) {
			drops[k] += s->drops[i][k];
			if (reason_of[k])
				sums[i][reason_of[k] - 1] += s->drops[i][k];
		}
	for (unsigned int i = 0; i < m->count; i++)
		for (unsigned int k = 0; k < ICMP_METRICS_REASONS; k++)
			metric_set(shard, m->dropped[i][k], (int64_t)sums[i][k]);
	for (unsigned int k = 0; k < ICMP_DROP_MAX_; k++)
		metric_set(shard, m->drops[k], (int64_t)drops[k]);
	for (unsigned int k = 0; k < ICMP_METRICS_ERRORS; k++) {
		metric_set(shard, m->made[k], (int64_t)s->stats.made[errors[k].kind]);
		metric_set(shard, m->passed[k], (int64_t)s->stats.passed[errors[k].kind]);
	}
	metric_set(shard, m->requests, (int64_t)s->stats.requests);
	metric_set(shard, m->replies, (int64_t)s->stats.replies);
	refresh_by_path(m, w);
}
