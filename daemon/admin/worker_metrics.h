/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every worker of either program counts: buffers, time, UDP (spec §12). Set at a scrape, by
 * the worker.
 */
#ifndef DAEMON_ADMIN_WORKER_METRICS_H
#define DAEMON_ADMIN_WORKER_METRICS_H

#include "daemon/base/worker.h"
#include "daemon/net/udp.h"

enum { WORKER_METRICS_MAX = 256 };

struct worker_metrics {
	struct {
		metric_id bytes, limit, busy, refused, arenas;
	} workers[WORKER_METRICS_MAX];
	metric_id build, tx_calls, rx_calls, gso, gro, tx_bytes, rx_bytes, tx_segments, rx_segments,
		tx_errors;
};

[[nodiscard]] int worker_metrics_init(struct worker_metrics *m, struct metric_registry *reg,
				      unsigned int workers);
/* On the worker's thread. udp may be NULL. */
void worker_metrics_refresh(const struct worker_metrics *m, struct worker *worker,
			    const struct udp_stats *udp);

#endif
