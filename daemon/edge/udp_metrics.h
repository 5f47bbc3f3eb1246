/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of UDP, of public ports and private networks, and of its flows (spec §12). Set at a
 * scrape, by each worker.
 */
#ifndef DAEMON_EDGE_UDP_METRICS_H
#define DAEMON_EDGE_UDP_METRICS_H

#include "daemon/edge/front_udp.h"

enum { UDP_METRICS_FRONT = 6, UDP_METRICS_REGISTRATIONS = 6 };

struct udp_metrics {
	metric_id drops[CALL_DROP_MAX_];
	metric_id front[UDP_METRICS_FRONT];
	metric_id registrations[UDP_METRICS_REGISTRATIONS];
	metric_id flows, tun_flows, rx, tx, forwarded;
	int packets; /* the family adit_flow_packets_total */
};

/* drops: the family adit_drops_total. 0 or a negative errno. */
[[nodiscard]] int udp_metrics_init(struct udp_metrics *m, struct metric_registry *reg, int drops);
/* What one worker has. */
struct udp_metrics_of {
	struct front_udp *front;
	const struct udp_clients *networks; /* clients of private networks; NULL: none */
	const struct flow_caller *flows;
};
void udp_metrics_refresh(const struct udp_metrics *m, struct metric_shard *shard,
			 const struct udp_metrics_of *of);

#endif
