/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and gauges of each connection index. Counters of a link that has ended start again with
 * the next one, as Prometheus expects of a restarted process.
 */
#include "daemon/aditd/link_metrics.h"

#include <stdio.h>

#include "daemon/base/version.h"
#include "util/macro.h"

/* One series of a link: its family, label values behind the index, and where the value comes from.
 */
struct series {
	const struct metric_family *family;
	const char *label;
	int64_t (*value)(const struct link_stats *s);
};

#define VALUE(name, expr)                                       \
	static int64_t value_##name(const struct link_stats *s) \
	{                                                       \
		return (int64_t)(expr);                         \
	}
VALUE(rtt, s->rtt_nsec)
VALUE(rtt_ms, s->rtt_nsec / NSEC_PER_MSEC)
VALUE(min_rtt_ms, s->min_rtt_nsec / NSEC_PER_MSEC)
VALUE(latest_rtt_ms, s->latest_rtt_nsec / NSEC_PER_MSEC)
VALUE(rx_packets, s->rx_packets)
VALUE(tx_packets, s->tx_packets)
VALUE(lost, s->lost_packets)
VALUE(rx_bytes, s->rx_bytes)
VALUE(tx_bytes, s->tx_bytes)
VALUE(mtu, s->mtu)
VALUE(ecn, s->ecn)
VALUE(cwnd, s->cwnd)
VALUE(blackholes, s->blackholes)
VALUE(stalls, s->credit_stalls)
VALUE(streams, s->streams)
VALUE(congestion, s->congestion)

#define LABELS_INDEX      { "index" }
#define LABELS_INDEX_DIR  { "index", "dir" }
#define LABELS_CONN_INDEX { "conn_index" }
/* clang-format off */
static const struct metric_family rtt_family = { .name = "adit_link_rtt_seconds", .help = "Smoothed round trip time.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_INDEX, .scale = 1e-9 };
static const struct metric_family packets_family = { .name = "adit_link_packets_total", .help = "QUIC packets.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_INDEX_DIR };
static const struct metric_family bytes_family = { .name = "adit_link_bytes_total", .help = "UDP payload bytes.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_INDEX_DIR };
static const struct metric_family lost_family = { .name = "adit_link_lost_packets_total", .help = "Packets declared lost.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_INDEX };
static const struct metric_family datagrams_family = { .name = "adit_link_datagrams_total", .help = "DATAGRAM frames.", .type = METRIC_TYPE_COUNTER, .labels = { "dir", "result" } };
static const struct metric_family mtu_family = { .name = "adit_link_mtu_bytes", .help = "UDP payload bytes that the path takes.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_INDEX };
static const struct metric_family ecn_family = { .name = "adit_link_ecn", .help = "1: validated, 0: off or testing, -1: the path clears the bits.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_INDEX };
static const struct metric_family blackhole_family = { .name = "adit_link_blackholes_total", .help = "Times the path MTU was found to have shrunk.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_INDEX };
static const struct metric_family stall_family = { .name = "adit_link_credit_stalls_total", .help = "Times the link's send credit was 0 with data waiting.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_INDEX };
static const struct metric_family streams_family = { .name = "adit_link_streams", .help = "Open streams.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_INDEX };
static const struct metric_family q_sent = { .name = "quic_client_sent_bytes", .help = "UDP payload bytes sent.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_CONN_INDEX };
static const struct metric_family q_received = { .name = "quic_client_receive_bytes", .help = "UDP payload bytes received.", .type = METRIC_TYPE_COUNTER, .labels = LABELS_CONN_INDEX };
static const struct metric_family q_rtt = { .name = "quic_client_smoothed_rtt", .help = "Smoothed round trip time in ms.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_CONN_INDEX };
static const struct metric_family q_min_rtt = { .name = "quic_client_min_rtt", .help = "Least round trip time in ms.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_CONN_INDEX };
static const struct metric_family q_latest_rtt = { .name = "quic_client_latest_rtt", .help = "Latest round trip time in ms.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_CONN_INDEX };
static const struct metric_family q_mtu = { .name = "quic_client_mtu", .help = "UDP payload bytes that the path takes.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_CONN_INDEX };
static const struct metric_family q_payload = { .name = "quic_client_max_udp_payload", .help = "UDP payload bytes that are sent at most.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_CONN_INDEX };
static const struct metric_family q_cwnd = { .name = "quic_client_congestion_window", .help = "Congestion window in bytes.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_CONN_INDEX };
static const struct metric_family q_state = { .name = "quic_client_congestion_state", .help = "0: slow start, 1: avoidance, 2: there isn't more to send, -1: unknown.", .type = METRIC_TYPE_GAUGE, .labels = LABELS_CONN_INDEX };
static const struct metric_family q_lost = { .name = "quic_client_lost_packets", .help = "Packets declared lost.", .type = METRIC_TYPE_COUNTER, .labels = { "conn_index", "reason" } };

/* label: the second label's value. */
static const struct series table[LINK_METRICS_SERIES] = {
	{ &rtt_family, NULL, value_rtt },
	{ &packets_family, "rx", value_rx_packets },
	{ &packets_family, "tx", value_tx_packets },
	{ &bytes_family, "rx", value_rx_bytes },
	{ &bytes_family, "tx", value_tx_bytes },
	{ &lost_family, NULL, value_lost },
	{ &mtu_family, NULL, value_mtu },
	{ &ecn_family, NULL, value_ecn },
	{ &blackhole_family, NULL, value_blackholes },
	{ &stall_family, NULL, value_stalls },
	{ &streams_family, NULL, value_streams },
	{ &q_sent, NULL, value_tx_bytes },
	{ &q_received, NULL, value_rx_bytes },
	{ &q_rtt, NULL, value_rtt_ms },
	{ &q_min_rtt, NULL, value_min_rtt_ms },
	{ &q_latest_rtt, NULL, value_latest_rtt_ms },
	{ &q_mtu, NULL, value_mtu },
	{ &q_payload, NULL, value_mtu },
	{ &q_cwnd, NULL, value_cwnd },
	{ &q_state, NULL, value_congestion },
	/* The library doesn't tell packets overtaken from packets overdue. */
	{ &q_lost, "unknown", value_lost },
};

static const struct metric_family opened_family = { .name = "adit_origin_connections_total", .help = "Connections to origins.", .type = METRIC_TYPE_COUNTER, .labels = { "result" } };
static const struct metric_family drops_family = { .name = "adit_drops_total", .help = "What was refused or dropped.", .type = METRIC_TYPE_COUNTER, .labels = { "where", "reason" } };
static const struct metric_family build_family = { .name = "build_info", .help = "1, with the build's facts as labels.", .type = METRIC_TYPE_GAUGE, .labels = { "type", "revision", "version" } };
static const struct metric_family remote_family = { .name = "cloudflared_orchestration_config_version", .help = "Last remote configuration; 0: none.", .type = METRIC_TYPE_GAUGE };
static const struct metric_family pushes_family = { .name = "cloudflared_config_local_config_pushes", .help = "Local configurations sent to the edge.", .type = METRIC_TYPE_COUNTER };
static const struct metric_family push_errors_family = { .name = "cloudflared_config_local_config_pushes_errors", .help = "Those that it did not take.", .type = METRIC_TYPE_COUNTER };
static const struct metric_family total_family = { .name = "quic_client_total_connections", .help = "QUIC connections dialled.", .type = METRIC_TYPE_COUNTER };
static const struct metric_family closed_family = { .name = "quic_client_closed_connections", .help = "Those that have ended.", .type = METRIC_TYPE_COUNTER };
/* clang-format on */

static int define_totals(struct link_metrics *m, struct metric_registry *reg)
{
	int opened = metric_define(reg, &opened_family);
	int datagrams = metric_define(reg, &datagrams_family);
	int drops = m->drops = metric_define(reg, &drops_family);
	int total = metric_define(reg, &total_family), closed = metric_define(reg, &closed_family);
	if (opened < 0 || datagrams < 0 || drops < 0 || total < 0 || closed < 0)
		return -ENOMEM;
	m->dialled = metric_series(reg, total, NULL);
	m->ended = metric_series(reg, closed, NULL);
	m->opened = metric_series(reg, opened, (const char *const[]){ "opened" });
	m->reused = metric_series(reg, opened, (const char *const[]){ "reused" });
	m->retried = metric_series(reg, opened, (const char *const[]){ "retried" });
	m->rx_datagrams = metric_series(reg, datagrams, (const char *const[]){ "rx", "ok" });
	m->tx_datagrams = metric_series(reg, datagrams, (const char *const[]){ "tx", "ok" });
	m->dropped_datagrams =
		metric_series(reg, datagrams, (const char *const[]){ "tx", "dropped" });
	m->drops_malformed =
		metric_series(reg, drops, (const char *const[]){ "stream", "malformed" });
	m->drops_cut = metric_series(reg, drops, (const char *const[]){ "stream", "cut-short" });
	m->drops_hints = metric_series(reg, drops, (const char *const[]){ "answer", "interim" });
	m->trailers_raw = metric_series(reg, drops, (const char *const[]){ "trailers", "raw" });
	m->trailers_refused =
		metric_series(reg, drops, (const char *const[]){ "trailers", "name" });
	m->drops_frames = metric_series(reg, drops, (const char *const[]){ "frames", "malformed" });
	return 0;
}

static int define_config(struct link_metrics *m, struct metric_registry *reg)
{
	int build = metric_define(reg, &build_family);
	int remote = metric_define(reg, &remote_family);
	int pushes = metric_define(reg, &pushes_family);
	int errors = metric_define(reg, &push_errors_family);
	if (build < 0 || remote < 0 || pushes < 0 || errors < 0)
		return -ENOMEM;
	m->build = metric_series(reg, build,
				 (const char *const[]){ "adit", adit_version, adit_version });
	(void)metric_series(reg, remote, NULL); /* stays 0 */
	m->pushes = metric_series(reg, pushes, NULL);
	m->push_errors = metric_series(reg, errors, NULL);
	return 0;
}

int link_metrics_init(struct link_metrics *m, struct metric_registry *reg, unsigned int indexes)
{
	const struct metric_family *last = NULL;
	int family = -1;
	m->count = MIN(indexes, (unsigned int)ARRAY_SIZE(m->ids));
	for (unsigned int j = 0; j < LINK_METRICS_SERIES && table[j].family; j++) {
		if (table[j].family != last) {
			last = table[j].family;
			family = metric_define(reg, last);
			if (family < 0)
				return family;
		}
		for (unsigned int i = 0; i < m->count; i++) {
			char text[12];
			(void)snprintf(text, sizeof(text), "%u", i);
			m->ids[i][j] = metric_series(reg, family,
						     (const char *const[]){ text, table[j].label });
		}
	}
	int r = define_config(m, reg);
	return r < 0 ? r : define_totals(m, reg);
}

static void refresh_totals(const struct link_metrics *m, struct wiring *w)
{
	struct metric_shard *shard = w->worker->metrics;
	const struct origin_stats *o = origin_worker_stats(w->origins);
	metric_set(shard, m->dialled, (int64_t)w->tunnels->links_dialled);
	metric_set(shard, m->ended, (int64_t)w->tunnels->links_ended);
	metric_set(shard, m->opened, (int64_t)o->opened);
	metric_set(shard, m->reused, (int64_t)o->reused);
	metric_set(shard, m->retried, (int64_t)o->retried);
	struct tunnel_datagrams datagrams;
	tunnel_get_datagrams(w->tunnels, &datagrams);
	metric_set(shard, m->rx_datagrams, (int64_t)datagrams.rx);
	metric_set(shard, m->tx_datagrams, (int64_t)datagrams.tx);
	metric_set(shard, m->dropped_datagrams, (int64_t)datagrams.dropped);
	metric_set(shard, m->pushes, (int64_t)w->tunnels->config_pushes);
	metric_set(shard, m->config_errors, (int64_t)w->demux.stats.configs_refused);
	metric_set(shard, m->push_errors, (int64_t)w->tunnels->config_errors);
	if (w->worker->index == 0)
		metric_set(shard, m->build, 1);
	metric_set(shard, m->drops_malformed, (int64_t)w->demux.stats.malformed);
	metric_set(shard, m->drops_cut, (int64_t)w->demux.stats.cut_short);
	metric_set(shard, m->drops_hints, (int64_t)o->hints);
	metric_set(shard, m->trailers_raw, (int64_t)w->proxy.trailers_raw);
	metric_set(shard, m->trailers_refused, (int64_t)w->proxy.trailers_refused);
	metric_set(shard, m->drops_frames, (int64_t)w->proxy.frames_malformed);
}

void link_metrics_refresh(const struct link_metrics *m, struct wiring *w)
{
	struct link_stats stats = {};
	refresh_totals(m, w);
	for (unsigned int i = w->worker->index; i < m->count; i += w->shared->worker_count) {
		if (!tunnel_get_stats(w->tunnels, i, &stats))
			/* no link: nothing of the last one */
			stats = (struct link_stats){ .congestion = -1 };
		for (unsigned int j = 0; j < LINK_METRICS_SERIES && table[j].family; j++)
			metric_set(w->worker->metrics, m->ids[i][j], table[j].value(&stats));
	}
}
