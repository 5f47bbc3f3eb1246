/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is shown of the links of each tunnel (spec §12). Several links may share a series: gauges
 * show the worst of them, whatever worker it lives on.
 */
#ifndef DAEMON_EDGE_TUNNEL_METRICS_H
#define DAEMON_EDGE_TUNNEL_METRICS_H

#include "daemon/base/metric.h"
#include "daemon/conf/edge_conf.h"
#include "daemon/link/link.h"

enum {
	TUNNEL_METRICS_INDEXES = 16, /* shown by number; the rest is "other" */
};

struct tunnel_worst; /* what one worker knows of one tunnel */
struct tunnel_series;

/* Defined once at start. */
struct tunnel_families {
	struct metric_registry *reg;
	int links, mtu, ecn, rtt, lost, stalls;
};
/* Main thread, before any series. 0 or a negative errno. */
[[nodiscard]] int tunnel_families_define(struct tunnel_families *f, struct metric_registry *reg);

/* Of one snapshot. A scrape that a reload overtakes may miss a worker's links. */
struct tunnel_metrics {
	const struct tunnel_families *families;
	const struct edge_conf *conf;
	unsigned int workers;
	struct tunnel_series *series; /* [tunnel] */
	struct tunnel_worst *worst;   /* [worker][tunnel]; each worker writes its own */
};

/* Main thread. families and conf are borrowed. 0 or -ENOMEM (then tunnel_metrics_done()). */
[[nodiscard]] int tunnel_metrics_init(struct tunnel_metrics *m,
				      const struct tunnel_families *families,
				      const struct edge_conf *conf, unsigned int workers);
void tunnel_metrics_done(struct tunnel_metrics *m);

/* The counters of a tunnel's index: packets lost, and times without link-level send credit. */
struct tunnel_counters {
	metric_id lost, stalls;
};
/* Any thread; takes a lock: at registrations. */
struct tunnel_counters tunnel_metrics_counters(const struct tunnel_metrics *m, uint32_t tunnel,
					       unsigned int index);

/*
 * A scrape visits the workers in order; each forgets what it knew, notes its links, and tells: the
 * last one makes the gauges of what all have noted.
 */
void tunnel_metrics_forget(struct tunnel_metrics *m, const struct worker *worker);
void tunnel_metrics_note(struct tunnel_metrics *m, const struct worker *worker, uint32_t tunnel,
			 unsigned int index, const struct link_stats *stats);
void tunnel_metrics_tell(struct tunnel_metrics *m, const struct worker *worker);
/* How many links a tunnel has: one worker tells for all, the first. */
void tunnel_metrics_tell_links(const struct tunnel_metrics *m, const struct worker *worker,
			       uint32_t tunnel, unsigned int count);

/* The snapshot is no longer in force: what the worker has told is 0 from now on. */
void tunnel_metrics_zero(const struct tunnel_metrics *m, const struct worker *worker);

#endif
