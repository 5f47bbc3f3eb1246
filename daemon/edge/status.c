/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of adit-edge. Counters that belong to one worker are set by it at the scrape.
 */
#include "daemon/edge/status.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/admin/page.h"
#include "daemon/admin/worker_metrics.h"
#include "daemon/base/exit.h"
#include "daemon/edge/app.h"
#include "daemon/edge/net_metrics.h"
#include "daemon/edge/udp_metrics.h"
#include "util/cleanup.h"

enum {
	ADMIN_PORT = 7845,
};

/* One counter or gauge of the server table. */
struct server_series {
	const char *where;
	const char *reason;
	uint64_t (*value)(const struct quic_server_stats *s);
};

#define VALUE(name)                                                     \
	static uint64_t value_##name(const struct quic_server_stats *s) \
	{                                                               \
		return s->name;                                         \
	}
VALUE(refused_limit)
VALUE(refused_addr)
VALUE(dropped_forward)
VALUE(dropped_unknown)
VALUE(handshake_failed)
VALUE(register_timeouts)
VALUE(accepted)
VALUE(retries_sent)
VALUE(resets_sent)
VALUE(versions_sent)
VALUE(forwarded)
#undef VALUE

static const struct server_series drops[] = {
	{ "accept", "unregistered", value_refused_limit },
	{ "accept", "address", value_refused_addr },
	{ "forward", "queue", value_dropped_forward },
	{ "packet", "unknown", value_dropped_unknown },
	{ "handshake", "failed", value_handshake_failed },
	{ "register", "timeout", value_register_timeouts },
};
static const struct server_series events[] = {
	{ "accepted", NULL, value_accepted },   { "retry", NULL, value_retries_sent },
	{ "reset", NULL, value_resets_sent },   { "version", NULL, value_versions_sent },
	{ "forwarded", NULL, value_forwarded },
};

static const struct metric_family families[] = {
	{ .name = "adit_edge_tunnels",
	  .help = "Tunnels that have a connection.",
	  .type = METRIC_TYPE_GAUGE },
	{ .name = "adit_edge_connections",
	  .help = "Connections of daemons by state.",
	  .type = METRIC_TYPE_GAUGE,
	  .labels = { "state" } },
	{ .name = "adit_edge_registrations_total",
	  .help = "Registrations by result.",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "result" } },
	{ .name = "adit_drops_total",
	  .help = "What was refused or dropped.",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "where", "reason" } },
	{ .name = "adit_edge_quic_total",
	  .help = "What the QUIC listener did.",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "event" } },
	{ .name = "adit_edge_http2_total",
	  .help = "What the HTTP/2 listener of tunnels did.",
	  .type = METRIC_TYPE_COUNTER,
	  .labels = { "event" } },
	{ .name = "adit_edge_unregistered",
	  .help = "Connections that have not registered yet.",
	  .type = METRIC_TYPE_GAUGE },
	{ .name = "adit_edge_suspicions_total",
	  .help = "Times that a registered connection seemed to be dead.",
	  .type = METRIC_TYPE_COUNTER },
};
enum {
	F_TUNNELS,
	F_CONNECTIONS,
	F_REGISTRATIONS,
	F_DROPS,
	F_EVENTS,
	F_HTTP2,
	F_UNREGISTERED,
	F_SUSPICIONS,
	F_MAX_
};

struct edge_status {
	struct worker_metrics workers;
	struct udp_metrics udp;
	struct net_metrics net;
	metric_id tunnels;
	metric_id registered, unregistered, connected_sockets;
	metric_id registrations, refused[ENROLL_REFUSAL_MAX_];
	metric_id drops[ARRAY_SIZE(drops)], events[ARRAY_SIZE(events)];
	metric_id datagrams, rpc_timeouts, rpc_refused, suspicions;
	metric_id http2_accepted, http2_refused;
	metric_id clients, no_network, trailers_raw, trailers_refused, frames;
};

static int define(struct edge_status *st, struct edge *e)
{
	int f[F_MAX_];
	struct metric_registry *reg = e->metrics;
	for (unsigned int i = 0; i < F_MAX_; i++) {
		f[i] = metric_define(reg, &families[i]);
		if (f[i] < 0)
			return f[i];
	}
	st->http2_accepted = metric_series(reg, f[F_HTTP2], (const char *const[]){ "accepted" });
	st->http2_refused =
		metric_series(reg, f[F_DROPS], (const char *const[]){ "accept", "local" });
	st->tunnels = metric_series(reg, f[F_TUNNELS], NULL);
	st->registered =
		metric_series(reg, f[F_CONNECTIONS], (const char *const[]){ "registered" });
	st->unregistered = metric_series(reg, f[F_UNREGISTERED], NULL);
	st->suspicions = metric_series(reg, f[F_SUSPICIONS], NULL);
	st->connected_sockets =
		metric_series(reg, f[F_CONNECTIONS], (const char *const[]){ "own-socket" });
	st->registrations = metric_series(reg, f[F_REGISTRATIONS], (const char *const[]){ "ok" });
	st->refused[ENROLL_REFUSAL_UNKNOWN] =
		metric_series(reg, f[F_REGISTRATIONS], (const char *const[]){ "unauthorized" });
	st->refused[ENROLL_REFUSAL_TOO_MANY] =
		metric_series(reg, f[F_REGISTRATIONS], (const char *const[]){ "too-many" });
	st->refused[ENROLL_REFUSAL_DRAINING] =
		metric_series(reg, f[F_REGISTRATIONS], (const char *const[]){ "draining" });
	st->refused[ENROLL_REFUSAL_ORDERED] =
		metric_series(reg, f[F_REGISTRATIONS], (const char *const[]){ "ordered" });
	for (unsigned int i = 0; i < ARRAY_SIZE(drops); i++)
		st->drops[i] = metric_series(
			reg, f[F_DROPS], (const char *const[]){ drops[i].where, drops[i].reason });
	st->clients = metric_series(reg, f[F_DROPS], (const char *const[]){ "accept", "client" });
	st->no_network =
		metric_series(reg, f[F_DROPS], (const char *const[]){ "network", "no-network" });
	st->trailers_raw =
		metric_series(reg, f[F_DROPS], (const char *const[]){ "trailers", "raw" });
	st->trailers_refused =
		metric_series(reg, f[F_DROPS], (const char *const[]){ "trailers", "name" });
	st->frames = metric_series(reg, f[F_DROPS], (const char *const[]){ "frames", "malformed" });
	st->datagrams =
		metric_series(reg, f[F_DROPS], (const char *const[]){ "datagram", "version" });
	st->rpc_timeouts =
		metric_series(reg, f[F_DROPS], (const char *const[]){ "rpc", "timeout" });
	st->rpc_refused =
		metric_series(reg, f[F_DROPS], (const char *const[]){ "rpc", "too-many-streams" });
	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++)
		st->events[i] = metric_series(reg, f[F_EVENTS], &events[i].where);
	int r = udp_metrics_init(&st->udp, reg, f[F_DROPS]);
	if (r == 0)
		r = net_metrics_init(&st->net, reg, f[F_DROPS], st->udp.packets);
	return r < 0 ? r : worker_metrics_init(&st->workers, reg, e->worker_count);
}

/* The whole process's: told by the first worker from its copy of the directory. */
static void refresh_tunnels(struct edge *e, struct worker *worker)
{
	const struct roster *roster = edge_worker_roster(worker->app);
	unsigned int tunnels = 0;
	for (uint32_t i = 0; i < roster->conf->tunnel_count; i++) {
		const struct edge_tunnel *t = roster->tunnels[i].shared;
		unsigned int n = directory_count(e->directories[worker->index], t);
		tunnel_metrics_tell_links(&roster->links, worker, i, n);
		tunnels += n > 0;
	}
	metric_set(worker->metrics, e->status->tunnels, tunnels);
}

static void on_row(const struct edge_conn_row *row, void *arg)
{
	const struct edge_worker *ew = arg;
	struct roster *roster = edge_worker_roster(ew);
	if (row->at)
		tunnel_metrics_note(&roster->links, ew->worker, roster_index(roster, row->at),
				    row->index, &row->stats);
}

static void refresh_links(struct edge_worker *ew)
{
	struct tunnel_metrics *links = &edge_worker_roster(ew)->links;
	tunnel_metrics_forget(links, ew->worker);
	edge_conn_walk(&ew->conns, on_row, ew);
	edge_conn_count(&ew->conns);
	tunnel_metrics_tell(links, ew->worker);
}

static void refresh_front(const struct edge_status *st, const struct edge_worker *ew)
{
	static const struct front_drops none;
	const struct front_drops *d = ew->front ? front_get_drops(ew->front) : &none;
	struct metric_shard *shard = ew->worker->metrics;
	metric_set(shard, st->trailers_raw, (int64_t)(d->trailers_raw + ew->conns.trailers_raw));
	metric_set(shard, st->clients, (int64_t)d->clients);
	metric_set(shard, st->no_network, (int64_t)d->no_network);
	metric_set(shard, st->trailers_refused, (int64_t)d->trailers_refused);
	metric_set(shard, st->frames, (int64_t)d->frames_malformed);
}

/* What both listeners count goes into one series. */
static void refresh_http2(const struct edge_status *st, const struct edge_worker *ew,
			  struct quic_server_stats *add)
{
	const struct front_tunnel_stats *t = front_tunnel_get_stats(ew->tunnels);
	add->refused_limit += t->refused_limit;
	add->refused_addr += t->refused_addr;
	add->handshake_failed += ew->conns.handshake_failed;
	add->register_timeouts += ew->conns.register_timeouts;
	metric_set(ew->worker->metrics, st->http2_accepted, (int64_t)t->accepted);
	metric_set(ew->worker->metrics, st->http2_refused, (int64_t)t->refused_local);
}

static void refresh(struct worker *worker, void *arg)
{
	struct edge *e = arg;
	const struct edge_status *st = e->status;
	struct edge_worker *ew = worker->app;
	struct metric_shard *shard = worker->metrics;
	struct quic_server_stats s = {};
	quic_server_get_stats(e->server, worker->index, &s);
	if (ew->tunnels)
		refresh_http2(st, ew, &s);
	worker_metrics_refresh(&st->workers, worker, quic_worker_udp_stats(ew->quic));
	for (unsigned int i = 0; i < ARRAY_SIZE(drops); i++)
		metric_set(shard, st->drops[i], (int64_t)drops[i].value(&s));
	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++)
		metric_set(shard, st->events[i], (int64_t)events[i].value(&s));
	metric_set(shard, st->unregistered, s.unregistered);
	metric_set(shard, st->connected_sockets, s.connected_sockets);
	metric_set(shard, st->registered, ew->conns.registered);
	metric_set(shard, st->registrations, (int64_t)ew->conns.registrations);
	for (unsigned int i = 1; i < ENROLL_REFUSAL_MAX_; i++)
		metric_set(shard, st->refused[i], (int64_t)ew->conns.refusals[i]);
	metric_set(shard, st->datagrams, (int64_t)ew->conns.datagrams);
	metric_set(shard, st->rpc_timeouts, (int64_t)ew->conns.rpc_timeouts);
	metric_set(shard, st->rpc_refused, (int64_t)ew->conns.rpc_refused);
	metric_set(shard, st->suspicions, (int64_t)ew->conns.suspicions);
	udp_metrics_refresh(&st->udp, shard,
			    &(struct udp_metrics_of){
				    .front = e->udp_fronts[worker->index],
				    .networks = e->net_peers ? e->net_peers[worker->index] : NULL,
				    .flows = &ew->flows,
			    });
	if (e->net_fronts)
		net_metrics_refresh(&st->net, shard, e->net_fronts[worker->index]);
	if (worker->index == 0)
		refresh_tunnels(e, worker);
	refresh_links(ew);
	refresh_front(st, ew);
}

/* Ready: the listeners are there, and stay. */
static unsigned int ready_count(void *arg)
{
	struct edge *e = arg;
	return e->is_draining ? 0 : 1;
}

static int start_page(struct edge *e)
{
	const struct conf_metrics *m = &e->params.conf->common.metrics;
	char file[PATHS_LEN + 16];
	struct ip_port address = { .ip = { IP_FAMILY_V4, { 127, 0, 0, 1 } }, .port = ADMIN_PORT };
	if (m->listen == CONF_SWITCH_OFF)
		return EXIT_OK;
	if (m->listen == CONF_SWITCH_ON)
		address = m->address.addr;
	struct page_params params = {
		.workers = e->workers,
		.metrics = e->metrics,
		.candidates = &address,
		.candidate_count = 1,
		.any_port = m->listen == CONF_SWITCH_AUTO,
		.ready_count = ready_count,
		.refresh = refresh,
		.arg = e,
	};
	int r = page_new(&params, &e->page);
	if (r < 0) {
		log_error(e->log, "start", "cannot serve metrics", KV_ADDR("address", &address),
			  KV_ERR(r));
		return EXIT_FAILED;
	}
	(void)snprintf(file, sizeof(file), "%s/metrics", e->params.paths.run);
	r = page_publish(e->page, file);
	if (r < 0) {
		log_error(e->log, "start", "cannot write the metrics address down",
			  KV_STR("file", file), KV_ERR(r));
		return EXIT_FAILED;
	}
	log_info(e->log, "start", "metrics", KV_ADDR("address", page_address(e->page)));
	return EXIT_OK;
}

int edge_status_start(struct edge *e)
{
	e->status = calloc(1, sizeof(*e->status));
	int r = e->status ? define(e->status, e) : -ENOMEM;
	if (r < 0) {
		log_error(e->log, "start", "no memory for metrics", KV_ERR(r));
		return EXIT_FAILED;
	}
	int code = start_page(e);
	if (code)
		return code;
	r = edge_service_start(e);
	if (r < 0) {
		log_error(e->log, "start", "cannot serve the control interface",
			  KV_STR("socket", e->params.paths.control), KV_ERR(r));
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

void edge_status_stop(struct edge *e)
{
	edge_service_stop(e);
	page_free(TAKE_PTR(e->page));
	free(TAKE_PTR(e->status));
}

void edge_status_worker_stop(struct edge *e, struct worker *worker)
{
	if (worker->index == 0 && e->page)
		page_stop(e->page);
}
