/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of UDP: public ports, private networks, and the flows of both.
 */
#include "daemon/edge/udp_metrics.h"

#include <errno.h>

static const struct metric_family flows_family = {
	.name = "adit_flows",
	.help = "UDP flows.",
	.type = METRIC_TYPE_GAUGE,
	.labels = { "path", "kind" },
};
static const struct metric_family packets_family = {
	.name = "adit_flow_packets_total",
	.help = "Datagrams from (rx) and to (tx) clients.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "path", "dir" },
};
static const struct metric_family registrations_family = {
	.name = "adit_edge_flow_registrations_total",
	.help = "Registrations of UDP flows at daemons, and what became of them.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "result" },
};
static const struct metric_family forwarded_family = {
	.name = "adit_edge_datagrams_forwarded_total",
	.help = "Datagrams of clients handed to another worker.",
	.type = METRIC_TYPE_COUNTER,
};

static const char *const front_reasons[UDP_METRICS_FRONT] = {
	"too-many-flows", "registration-rate", "no-link",
	"worker-full",    "client-full",       "client-error",
};
static const char *const results[UDP_METRICS_REGISTRATIONS] = {
	"sent", "repeated", "refused", "unanswered", "ended", "untold"
};

int udp_metrics_init(struct udp_metrics *m, struct metric_registry *reg, int drops)
{
	int flows = metric_define(reg, &flows_family);
	int packets = metric_define(reg, &packets_family);
	int registrations = metric_define(reg, &registrations_family);
	int forwarded = metric_define(reg, &forwarded_family);
	if (flows < 0 || packets < 0 || registrations < 0 || forwarded < 0)
		return -ENOMEM;
	for (unsigned int i = 0; i < CALL_DROP_MAX_; i++) {
		const char *name = call_drop_name((enum call_drop)i);
		m->drops[i] = metric_series(reg, drops, (const char *const[]){ "datagram", name });
	}
	for (unsigned int i = 0; i < UDP_METRICS_FRONT; i++)
		m->front[i] =
			metric_series(reg, drops, (const char *const[]){ "udp", front_reasons[i] });
	for (unsigned int i = 0; i < UDP_METRICS_REGISTRATIONS; i++)
		m->registrations[i] = metric_series(reg, registrations, &results[i]);
	m->packets = packets;
	m->flows = metric_series(reg, flows, (const char *const[]){ "socket", "udp" });
	m->tun_flows = metric_series(reg, flows, (const char *const[]){ "tun", "udp" });
	m->rx = metric_series(reg, packets, (const char *const[]){ "socket", "rx" });
	m->tx = metric_series(reg, packets, (const char *const[]){ "socket", "tx" });
	m->forwarded = metric_series(reg, forwarded, NULL);
	return 0;
}

void udp_metrics_refresh(const struct udp_metrics *m, struct metric_shard *shard,
			 const struct udp_metrics_of *of)
{
	static const struct udp_clients none;
	const struct front_udp_stats *s = front_udp_get_stats(of->front);
	const struct udp_clients *u = front_udp_clients(of->front);
	const struct udp_clients *n = of->networks ? of->networks : &none;
	const struct flow_caller *flows = of->flows;
	const uint64_t of_front[UDP_METRICS_FRONT] = {
		u->stats.too_many + n->stats.too_many,
		u->stats.rate + n->stats.rate,
		u->stats.no_link + n->stats.no_link,
		u->stats.forward_full + n->stats.forward_full,
		s->client_full,
		s->client_error,
	};
	const uint64_t of_registrations[UDP_METRICS_REGISTRATIONS] = {
		flows->registrations, flows->repeats, flows->refusals,
		flows->unanswered,    flows->ended,   flows->untold
	};
	for (unsigned int i = 0; i < CALL_DROP_MAX_; i++)
		metric_set(shard, m->drops[i], (int64_t)flows->drops[i]);
	for (unsigned int i = 0; i < UDP_METRICS_FRONT; i++)
		metric_set(shard, m->front[i], (int64_t)of_front[i]);
	for (unsigned int i = 0; i < UDP_METRICS_REGISTRATIONS; i++)
		metric_set(shard, m->registrations[i], (int64_t)of_registrations[i]);
	metric_set(shard, m->flows, (int64_t)u->flows);
	metric_set(shard, m->tun_flows, (int64_t)n->flows);
	metric_set(shard, m->rx, (int64_t)s->rx_datagrams);
	metric_set(shard, m->tx, (int64_t)s->tx_datagrams);
	metric_set(shard, m->forwarded, (int64_t)(u->stats.forwarded + n->stats.forwarded));
}
