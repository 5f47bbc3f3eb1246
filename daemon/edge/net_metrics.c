/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of private networks.
 */
#include "daemon/edge/net_metrics.h"

#include <errno.h>

static const struct metric_family bursts_family = {
	.name = "adit_edge_bursts_total",
	.help = "Packets of private networks that held several datagrams.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "dir" },
};
static const struct metric_family errors_family = {
	.name = "adit_edge_icmp_errors_total",
	.help = "ICMP errors of our own to clients of private networks.",
	.type = METRIC_TYPE_COUNTER,
};

int net_metrics_init(struct net_metrics *m, struct metric_registry *reg, int drops, int packets)
{
	int bursts = metric_define(reg, &bursts_family);
	int errors = metric_define(reg, &errors_family);
	if (bursts < 0 || errors < 0)
		return -ENOMEM;
	for (unsigned int i = 0; i < NET_DROP_MAX_; i++) {
		const char *name = net_drop_name((enum net_drop)i);
		m->drops[i] = metric_series(reg, drops, (const char *const[]){ "network", name });
	}
	m->rx = metric_series(reg, packets, (const char *const[]){ "tun", "rx" });
	m->tx = metric_series(reg, packets, (const char *const[]){ "tun", "tx" });
	m->echoes_rx = metric_series(reg, packets, (const char *const[]){ "tun-icmp", "rx" });
	m->echoes_tx = metric_series(reg, packets, (const char *const[]){ "tun-icmp", "tx" });
	m->bursts_rx = metric_series(reg, bursts, (const char *const[]){ "rx" });
	m->bursts_tx = metric_series(reg, bursts, (const char *const[]){ "tx" });
	m->errors = metric_series(reg, errors, NULL);
	return 0;
}

void net_metrics_refresh(const struct net_metrics *m, struct metric_shard *shard,
			 const struct front_net *front)
{
	const struct front_net_stats *s = front_net_get_stats(front);
	for (unsigned int i = 0; i < NET_DROP_MAX_; i++)
		metric_set(shard, m->drops[i], (int64_t)s->drops[i]);
	metric_set(shard, m->rx, (int64_t)s->rx_datagrams);
	metric_set(shard, m->tx, (int64_t)s->tx_datagrams);
	metric_set(shard, m->echoes_rx, (int64_t)s->rx_echoes);
	metric_set(shard, m->echoes_tx, (int64_t)s->tx_packets);
	metric_set(shard, m->bursts_rx, (int64_t)s->rx_bursts);
	metric_set(shard, m->bursts_tx, (int64_t)s->tx_bursts);
	metric_set(shard, m->errors, (int64_t)s->errors);
}
