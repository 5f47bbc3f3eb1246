/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of UDP flows (spec §12; the reference's cloudflared_udp_* names). Set at a scrape, by
 * each worker.
 */
#ifndef DAEMON_ADITD_FLOW_METRICS_H
#define DAEMON_ADITD_FLOW_METRICS_H

#include "daemon/aditd/link_metrics.h"

enum { FLOW_METRICS_PLAIN = 5, FLOW_METRICS_REASONS = 6, FLOW_METRICS_COMMANDS = 2 };

struct flow_metrics {
	unsigned int count; /* of indexes */
	metric_id plain[FLOW_INDEX_MAX][FLOW_METRICS_PLAIN];
	metric_id dropped[FLOW_INDEX_MAX][FLOW_METRICS_REASONS]; /* the reference's reasons */
	metric_id drops[FLOW_DROP_MAX_];                         /* ours, over all indexes */
	metric_id limited;                                       /* registrations at the limit */
	metric_id sessions, sessions_total, too_big;             /* of version 2 */
	metric_id unsupported[FLOW_INDEX_MAX][FLOW_METRICS_COMMANDS];
	metric_id flows[PATH_KIND_MAX_], rx[PATH_KIND_MAX_], tx[PATH_KIND_MAX_];
	metric_id anchors, strangers, errors;
	metric_id burst_rx, burst_tx;
	metric_id crossed, handed_over;   /* to other workers */
	int flows_family, packets_family; /* by path: of whoever else has one */
};

[[nodiscard]] int flow_metrics_init(struct flow_metrics *m, struct metric_registry *reg,
				    const struct link_metrics *links);
void flow_metrics_refresh(const struct flow_metrics *m, struct wiring *w);

#endif
