/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of private networks (spec §12). Set at a scrape, by each worker.
 */
#ifndef DAEMON_EDGE_NET_METRICS_H
#define DAEMON_EDGE_NET_METRICS_H

#include "daemon/edge/front_net.h"

struct net_metrics {
	metric_id drops[NET_DROP_MAX_];
	metric_id rx, tx, echoes_rx, echoes_tx;
	metric_id bursts_rx, bursts_tx;
	metric_id errors;
};

/* drops, packets: the families adit_drops_total and adit_flow_packets_total. 0 or -ENOMEM. */
[[nodiscard]] int net_metrics_init(struct net_metrics *m, struct metric_registry *reg, int drops,
				   int packets);
void net_metrics_refresh(const struct net_metrics *m, struct metric_shard *shard,
			 const struct front_net *front);

#endif
