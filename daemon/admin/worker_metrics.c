/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every worker counts. UDP counters have no worker label: they are sums over the shards.
 */
#include "daemon/admin/worker_metrics.h"

#include <stdio.h>

#include "daemon/base/version.h"
#include "util/macro.h"

static const struct metric_family by_worker[] = {
	{ .name = "adit_buffer_bytes",
	  .help = "Buffers handed out and granted to peers.",
	  .type = METRIC_TYPE_GAUGE,
	  .labels = { "worker" } },
	{ .name = "adit_buffer_limit_bytes",
	  .help = "Budget of buffers.",
	  .type = METRIC_TYPE_GAUGE,
	  .labels = { "worker" } },
	{ .name = "adit_worker_busy_seconds_total",
	  .help = "Time spent working.",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "worker" },
	  .scale = 1e-9 },
	{ .name = "adit_buffer_refused_total",
	  .help = "Buffers refused at the budget.",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "worker" } },
	{ .name = "adit_arena_bytes",
	  .help = "Memory of arenas: heads, trailers and texts of exchanges.",
	  .type = METRIC_TYPE_GAUGE,
	  .labels = { "worker" } },
};

static const struct metric_family udp[] = {
	{ .name = "adit_udp_sendmsg_total",
	  .help = "Send calls on UDP sockets.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "adit_udp_recvmsg_total",
	  .help = "Receive calls on UDP sockets.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "adit_udp_gso_segments_total",
	  .help = "Packets sent in aggregates.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "adit_udp_gro_segments_total",
	  .help = "Packets received in aggregates.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "adit_udp_tx_bytes_total",
	  .help = "Bytes sent by UDP.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "adit_udp_rx_bytes_total",
	  .help = "Bytes received by UDP.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "adit_udp_tx_packets_total",
	  .help = "Packets sent by UDP.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "adit_udp_rx_packets_total",
	  .help = "Packets received by UDP.",
	  .type = METRIC_TYPE_COUNTER },
	{ .name = "adit_udp_tx_errors_total",
	  .help = "Sends that failed.",
	  .type = METRIC_TYPE_COUNTER },
};

static const struct metric_family build_family = {
	.name = "adit_build_info",
	.help = "1, with the version as label.",
	.type = METRIC_TYPE_GAUGE,
	.labels = { "version" },
};

int worker_metrics_init(struct worker_metrics *m, struct metric_registry *reg, unsigned int workers)
{
	int f[ARRAY_SIZE(by_worker)];
	metric_id *const plain[] = { &m->tx_calls,    &m->rx_calls,    &m->gso,
				     &m->gro,         &m->tx_bytes,    &m->rx_bytes,
				     &m->tx_segments, &m->rx_segments, &m->tx_errors };
	for (unsigned int i = 0; i < ARRAY_SIZE(by_worker); i++) {
		f[i] = metric_define(reg, &by_worker[i]);
		if (f[i] < 0)
			return f[i];
	}
	int build = metric_define(reg, &build_family);
	if (build < 0)
		return build;
	const char *version = adit_version;
	m->build = metric_series(reg, build, &version);
	for (unsigned int i = 0; i < workers && i < WORKER_METRICS_MAX; i++) {
		char text[12];
		(void)snprintf(text, sizeof(text), "%u", i);
		const char *value = text;
		m->workers[i].bytes = metric_series(reg, f[0], &value);
		m->workers[i].limit = metric_series(reg, f[1], &value);
		m->workers[i].busy = metric_series(reg, f[2], &value);
		m->workers[i].refused = metric_series(reg, f[3], &value);
		m->workers[i].arenas = metric_series(reg, f[4], &value);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(udp); i++) {
		int family = metric_define(reg, &udp[i]);
		if (family < 0)
			return family;
		*plain[i] = metric_series(reg, family, NULL);
	}
	return 0;
}

void worker_metrics_refresh(const struct worker_metrics *m, struct worker *worker,
			    const struct udp_stats *u)
{
	struct slab_stats slab;
	struct metric_shard *shard = worker->metrics;
	slab_get_stats(worker->slab, &slab);
	if (worker->index == 0)
		metric_set(shard, m->build, 1);
	if (worker->index < WORKER_METRICS_MAX) {
		metric_set(shard, m->workers[worker->index].bytes,
			   (int64_t)(slab.in_use + slab.reserved));
		metric_set(shard, m->workers[worker->index].limit, (int64_t)slab.limit);
		metric_set(shard, m->workers[worker->index].busy, (int64_t)loop_busy(worker->loop));
		metric_set(shard, m->workers[worker->index].refused, (int64_t)slab.refused);
		metric_set(shard, m->workers[worker->index].arenas, (int64_t)slab.arenas);
	}
	if (!u)
		return;
	metric_set(shard, m->tx_calls, (int64_t)u->tx_calls);
	metric_set(shard, m->rx_calls, (int64_t)u->rx_calls);
	metric_set(shard, m->gso, (int64_t)u->tx_gso);
	metric_set(shard, m->gro, (int64_t)u->rx_gro);
	metric_set(shard, m->tx_bytes, (int64_t)u->tx_bytes);
	metric_set(shard, m->rx_bytes, (int64_t)u->rx_bytes);
	metric_set(shard, m->tx_segments, (int64_t)u->tx_segments);
	metric_set(shard, m->rx_segments, (int64_t)u->rx_segments);
	metric_set(shard, m->tx_errors, (int64_t)u->tx_errors);
}
