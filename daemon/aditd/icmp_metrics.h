/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of ICMP (spec §12; the reference's cloudflared_icmp_* names). Set at a scrape, by each
 * worker.
 */
#ifndef DAEMON_ADITD_ICMP_METRICS_H
#define DAEMON_ADITD_ICMP_METRICS_H

#include "daemon/aditd/flow_metrics.h"

enum { ICMP_METRICS_REASONS = 2, ICMP_METRICS_ERRORS = 4 };

struct icmp_metrics {
	unsigned int count;                                      /* of indexes */
	metric_id dropped[ICMP_INDEX_MAX][ICMP_METRICS_REASONS]; /* the reference's reasons */
	metric_id drops[ICMP_DROP_MAX_];                         /* ours, over all indexes */
	metric_id made[ICMP_METRICS_ERRORS], passed[ICMP_METRICS_ERRORS];
	metric_id requests, replies;
	metric_id flows[ICMP_PATH_KIND_MAX_], rx[ICMP_PATH_KIND_MAX_], tx[ICMP_PATH_KIND_MAX_];
};

[[nodiscard]] int icmp_metrics_init(struct icmp_metrics *m, struct metric_registry *reg,
				    const struct link_metrics *links,
				    const struct flow_metrics *flows);
void icmp_metrics_refresh(const struct icmp_metrics *m, struct wiring *w);

#endif
