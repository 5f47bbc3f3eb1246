/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of UDP flows. The reference's families have the index of the connection; what it doesn't
 * tell apart is summed under its words, and once more under ours.
 */
#include "daemon/aditd/flow_metrics.h"

#include <stddef.h>
#include <stdio.h>

#include "util/macro.h"

#define LABELS_CONN_INDEX { "conn_index" }
/* clang-format off */
static const struct {
	struct metric_family family;
	size_t at; /* in struct flow_counters */
} plain[FLOW_METRICS_PLAIN] = {
	{ { .name = "cloudflared_udp_active_flows", .help = "UDP flows, by the connection that registered them first.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_CONN_INDEX },
	  offsetof(struct flow_counters, active) },
	{ { .name = "cloudflared_udp_total_flows", .help = "UDP flows registered.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_CONN_INDEX },
	  offsetof(struct flow_counters, total) },
	{ { .name = "cloudflared_udp_failed_flows", .help = "UDP flows ended by an error of the origin.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_CONN_INDEX },
	  offsetof(struct flow_counters, failed) },
	{ { .name = "cloudflared_udp_retry_flow_responses", .help = "Registrations answered again.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_CONN_INDEX },
	  offsetof(struct flow_counters, repeated) },
	{ { .name = "cloudflared_udp_migrated_flows", .help = "Flows moved here from another connection.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_CONN_INDEX },
	  offsetof(struct flow_counters, moved) },
};

static const struct metric_family dropped_family = { .name = "cloudflared_udp_dropped_datagrams", .help = "Datagrams of flows dropped.", .type = METRIC_TYPE_COUNTER, .labels = { "conn_index", "reason" } };
static const struct metric_family limited_family = { .name = "flow_client_registrations_rate_limited_total", .help = "Flows refused at the limit.", .type = METRIC_TYPE_COUNTER, .labels = { "flow_type" } };
static const struct metric_family flows_family = { .name = "adit_flows", .help = "UDP flows; ICMP echoes that wait for an answer.", .type = METRIC_TYPE_GAUGE, .labels = { "path", "kind" } };
static const struct metric_family packets_family = { .name = "adit_flow_packets_total", .help = "Datagrams from (rx) and to (tx) origins.", .type = METRIC_TYPE_COUNTER, .labels = { "path", "dir" } };
static const struct metric_family sessions_family = { .name = "cloudflared_udp_active_sessions", .help = "UDP sessions of datagram version 2.", .type = METRIC_TYPE_GAUGE };
static const struct metric_family sessions_total_family = { .name = "cloudflared_udp_total_sessions", .help = "UDP sessions of datagram version 2 registered.", .type = METRIC_TYPE_COUNTER };
static const struct metric_family too_big_family = { .name = "quic_client_packet_too_big_dropped", .help = "Datagrams of origins too large for a session of datagram version 2.", .type = METRIC_TYPE_COUNTER };
static const struct metric_family unsupported_family = { .name = "cloudflared_udp_unsupported_remote_command_total", .help = "Calls of datagram version 2 on connections of version 3.", .type = METRIC_TYPE_COUNTER, .labels = { "conn_index", "command" } };
static const struct metric_family anchors_family = { .name = "adit_anchors", .help = "Sockets towards UDP origins.", .type = METRIC_TYPE_GAUGE };
static const struct metric_family bursts_family = { .name = "adit_flow_aggregated_packets_total", .help = "Of those, what the kernel took or gave several at a time (UDP_SEGMENT, UDP_GRO).", .type = METRIC_TYPE_COUNTER, .labels = { "dir" } };
static const struct metric_family crossings_family = { .name = "adit_flow_crossings_total", .help = "What went to another worker: datagrams whose flow is there, and flows that were registered there.", .type = METRIC_TYPE_COUNTER, .labels = { "what" } };
static const struct metric_family errors_family = { .name = "adit_flow_errors_total", .help = "ICMP errors about datagrams to origins.", .type = METRIC_TYPE_COUNTER };
/* clang-format on */

/* The reference's word for each of ours; it counts registrations elsewhere or not at all. */
static const char *const reasons[FLOW_METRICS_REASONS] = {
	"write_failed", "write_full",     "write_flow_unknown",
	"read_failed",  "read_too_large", "write_deadline_exceeded"
};
static const uint8_t reason_of[FLOW_DROP_MAX_] = {
	[FLOW_DROP_ORIGIN] = 1,    [FLOW_DROP_ORIGIN_FULL] = 2, [FLOW_DROP_NO_FLOW] = 3,
	[FLOW_DROP_LINK_FULL] = 4, [FLOW_DROP_LINK_DOWN] = 4,   [FLOW_DROP_TOO_BIG] = 5,
	[FLOW_DROP_UNTOLD] = 4,
};

static const char *const commands[FLOW_METRICS_COMMANDS] = { "register_udp_session",
							     "unregister_udp_session" };

static int define_by_index(struct flow_metrics *m, struct metric_registry *reg)
{
	int dropped = metric_define(reg, &dropped_family);
	int unsupported = metric_define(reg, &unsupported_family);
	int families[FLOW_METRICS_PLAIN];
	int r = MIN(dropped, unsupported);
	for (unsigned int k = 0; k < FLOW_METRICS_PLAIN && r >= 0; k++)
		r = families[k] = metric_define(reg, &plain[k].family);
	for (unsigned int i = 0; i < m->count && r >= 0; i++) {
		char text[12];
		(void)snprintf(text, sizeof(text), "%u", i);
		for (unsigned int k = 0; k < FLOW_METRICS_PLAIN; k++)
			m->plain[i][k] =
				metric_series(reg, families[k], (const char *const[]){ text });
		for (unsigned int k = 0; k < FLOW_METRICS_REASONS; k++)
			m->dropped[i][k] = metric_series(reg, dropped,
							 (const char *const[]){ text, reasons[k] });
		for (unsigned int k = 0; k < FLOW_METRICS_COMMANDS; k++)
			m->unsupported[i][k] = metric_series(
				reg, unsupported, (const char *const[]){ text, commands[k] });
	}
	return r < 0 ? r : 0;
}

static int define_sessions(struct flow_metrics *m, struct metric_registry *reg)
{
	int active = metric_define(reg, &sessions_family);
	int total = metric_define(reg, &sessions_total_family);
	int too_big = metric_define(reg, &too_big_family);
	if (active < 0 || total < 0 || too_big < 0)
		return -ENOMEM;
	m->sessions = metric_series(reg, active, NULL);
	m->sessions_total = metric_series(reg, total, NULL);
	m->too_big = metric_series(reg, too_big, NULL);
	return 0;
}

int flow_metrics_init(struct flow_metrics *m, struct metric_registry *reg,
		      const struct link_metrics *links)
{
	int drops = links->drops;
	m->count = MIN(links->count, (unsigned int)FLOW_INDEX_MAX);
	int r = define_by_index(m, reg);
	if (r == 0)
		r = define_sessions(m, reg);
	int limited = metric_define(reg, &limited_family);
	int flows = metric_define(reg, &flows_family),
	    packets = metric_define(reg, &packets_family);
	int anchors = metric_define(reg, &anchors_family),
	    errors = metric_define(reg, &errors_family),
	    crossings = metric_define(reg, &crossings_family);
	int bursts = metric_define(reg, &bursts_family);
	if (r < 0 || limited < 0 || flows < 0 || packets < 0 || anchors < 0 || errors < 0 ||
	    crossings < 0 || bursts < 0)
		return -ENOMEM;
	m->flows_family = flows;
	m->packets_family = packets;
	for (unsigned int i = 0; i < FLOW_DROP_MAX_; i++) {
		const char *name = flow_drop_name((enum flow_drop)i);
		m->drops[i] = metric_series(reg, drops, (const char *const[]){ "datagram", name });
	}
	m->strangers = metric_series(reg, drops, (const char *const[]){ "datagram", "stranger" });
	m->limited = metric_series(reg, limited, (const char *const[]){ "udp" });
	for (unsigned int k = 0; k < PATH_KIND_MAX_; k++) {
		const char *name = path_kind_name((enum path_kind)k);
		m->flows[k] = metric_series(reg, flows, (const char *const[]){ name, "udp" });
		m->rx[k] = metric_series(reg, packets, (const char *const[]){ name, "rx" });
		m->tx[k] = metric_series(reg, packets, (const char *const[]){ name, "tx" });
	}
	m->burst_rx = metric_series(reg, bursts, (const char *const[]){ "rx" });
	m->burst_tx = metric_series(reg, bursts, (const char *const[]){ "tx" });
	m->crossed = metric_series(reg, crossings, (const char *const[]){ "datagram" });
	m->handed_over = metric_series(reg, crossings, (const char *const[]){ "flow" });
	m->anchors = metric_series(reg, anchors, NULL);
	m->errors = metric_series(reg, errors, NULL);
	return 0;
}

static uint64_t counter_at(const struct flow_counters *c, size_t at)
{
	uint64_t value;
	memcpy(&value, (const uint8_t *)c + at, sizeof(value));
	return value;
}

static void refresh_index(const struct flow_metrics *m, struct wiring *w, unsigned int index)
{
	const struct flow_counters *c = &w->flows.by_index[index];
	uint64_t sums[FLOW_METRICS_REASONS] = {};
	for (unsigned int k = 0; k < FLOW_METRICS_PLAIN; k++)
		metric_set(w->worker->metrics, m->plain[index][k],
			   (int64_t)counter_at(c, plain[k].at));
	for (unsigned int i = 0; i < FLOW_DROP_MAX_; i++)
		if (reason_of[i])
			sums[reason_of[i] - 1] += c->drops[i];
	for (unsigned int k = 0; k < FLOW_METRICS_REASONS; k++)
		metric_set(w->worker->metrics, m->dropped[index][k], (int64_t)sums[k]);
	const uint64_t unsupported[FLOW_METRICS_COMMANDS] = { c->unsupported_register,
							      c->unsupported_unregister };
	for (unsigned int k = 0; k < FLOW_METRICS_COMMANDS; k++)
		metric_set(w->worker->metrics, m->unsupported[index][k], (int64_t)unsupported[k]);
}

void flow_metrics_refresh(const struct flow_metrics *m, struct wiring *w)
{
	struct metric_shard *shard = w->worker->metrics;
	const struct datapath_stats *d = datapath_get_stats(w->datapath);
	uint64_t drops[FLOW_DROP_MAX_] = {};
	for (unsigned int i = 0; i < FLOW_INDEX_MAX; i++)
		for (unsigned int k = 0; k < FLOW_DROP_MAX_; k++)
			drops[k] += w->flows.by_index[i].drops[k];
	for (unsigned int i = 0; i < m->count; i++)
		refresh_index(m, w, i);
	for (unsigned int k = 0; k < FLOW_DROP_MAX_; k++)
		metric_set(shard, m->drops[k], (int64_t)drops[k]);
	metric_set(shard, m->limited, (int64_t)drops[FLOW_DROP_TOO_MANY]);
	metric_set(shard, m->sessions, (int64_t)w->flows.sessions.active);
	metric_set(shard, m->sessions_total, (int64_t)w->flows.sessions.total);
	metric_set(shard, m->too_big, (int64_t)w->flows.sessions.too_big);
	for (unsigned int k = 0; k < PATH_KIND_MAX_; k++) {
		metric_set(shard, m->flows[k], (int64_t)d->paths[k]);
		metric_set(shard, m->rx[k], (int64_t)d->rx_datagrams[k]);
		metric_set(shard, m->tx[k], (int64_t)d->tx_datagrams[k]);
	}
	metric_set(shard, m->burst_rx, (int64_t)d->udp.rx_gro);
	metric_set(shard, m->burst_tx, (int64_t)d->udp.tx_gso);
	metric_set(shard, m->crossed, (int64_t)w->flows.crossed);
	metric_set(shard, m->handed_over, (int64_t)w->flows.handed_over);
	metric_set(shard, m->anchors, (int64_t)d->anchors);
	metric_set(shard, m->strangers, (int64_t)d->strangers);
	metric_set(shard, m->errors, (int64_t)d->errors);
}
