/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per worker: listeners, connections of daemons, visits. Sockets are opened by the control thread
 * while it may open any port; each worker then takes its own.
 */
#include "daemon/edge/wiring.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/base/exit.h"
#include "daemon/base/gather.h"
#include "daemon/edge/app.h"
#include "daemon/edge/status.h"
#include "daemon/edge/wiring_net.h"
#include "daemon/edge/wiring_tunnels.h"
#include "daemon/link/quic_ledger.h"
#include "util/cleanup.h"

enum {
	BACKLOG = 4096,
	DRAIN_LOOK_MSEC = 20,
	FIRST_MSEC = 1000, /* for those who have come and not asked */
	CERTS_RELOAD_SEC = 60,
	STOP_TURNS = 8,
};

static int complain(struct edge *e, const struct ip_port *addr, int error)
{
	log_error(e->log, "start", "cannot listen", KV_ADDR("address", addr), KV_ERR(error));
	return EXIT_FAILED;
}

/*
 * SO_REUSEPORT, which the workers need among themselves, would let a second edge of the same user
 * share our ports unnoticed. A socket without it tells whether somebody else is there.
 */
static int probe_free(struct edge *e, const struct ip_port *addr, bool is_udp)
{
	int fd = -EBADF;
	int r = 0;
	if (is_udp) {
		struct udp_socket sock;
		r = udp_open(&(struct udp_params){ .local = *addr, .is_v6_only = true }, &sock);
		if (r == 0)
			udp_close(&sock);
	} else {
		fd = tcp_listen(addr, false, 1);
		r = fd < 0 ? fd : 0;
		(void)fd_close(fd);
	}
	return r < 0 ? complain(e, addr, r) : EXIT_OK;
}

static int probe_all(struct edge *e)
{
	const struct edge_conf *c = e->params.conf;
	int code = EXIT_OK;
	for (size_t i = 0; i < c->edge.listen_count && code == EXIT_OK; i++) {
		code = probe_free(e, &c->edge.listens[i].addr, true);
		if (code == EXIT_OK)
			code = probe_free(e, &c->edge.listens[i].addr, false);
	}
	for (size_t i = 0; i < c->front.http.listen_count && code == EXIT_OK; i++)
		code = probe_free(e, &c->front.http.listens[i].addr, false);
	for (size_t i = 0; i < c->front.https.listen_count && code == EXIT_OK; i++)
		code = probe_free(e, &c->front.https.listens[i].addr, false);
	for (size_t i = 0; i < c->tcp_port_count; i++)
		for (size_t k = 0; k < c->tcp_ports[i].listen_count && code == EXIT_OK; k++)
			code = probe_free(e, &c->tcp_ports[i].listens[k].addr, false);
	for (size_t i = 0; i < c->udp_port_count; i++)
		for (size_t k = 0; k < c->udp_ports[i].listen_count && code == EXIT_OK; k++)
			code = probe_free(e, &c->udp_ports[i].listens[k].addr, true);
	return code;
}

/* Opens a worker's listeners of [tcp NAME]. */
static int open_ports(struct edge *e, struct edge_worker *ew)
{
	const struct edge_conf *c = e->params.conf;
	size_t count = edge_conf_tcp_listeners(c), n = 0;
	ew->tcp_fds = calloc(count ? count : 1, sizeof(*ew->tcp_fds));
	if (!ew->tcp_fds)
		return EXIT_FAILED;
	for (size_t i = 0; i < count; i++)
		ew->tcp_fds[i] = -EBADF;
	for (size_t i = 0; i < c->tcp_port_count; i++)
		for (size_t k = 0; k < c->tcp_ports[i].listen_count; k++) {
			const struct ip_port *addr = &c->tcp_ports[i].listens[k].addr;
			int fd = tcp_listen(addr, true, BACKLOG);
			if (fd < 0)
				return complain(e, addr, fd);
			ew->tcp_fds[n++] = fd;
		}
	return EXIT_OK;
}

static int open_udp(struct edge *e, struct edge_worker *ew)
{
	struct ip_port at = {};
	const struct front_udp_params params = {
		.worker = ew->worker,
		.roster = edge_worker_roster(ew),
		.directory = e->directories[ew->worker->index],
		.flows = &ew->flows,
		.peers = e->udp_peers,
	};
	flow_caller_init(&ew->flows, ew->worker, 0);
	struct front_udp **front = &e->udp_fronts[ew->worker->index];
	int r = front_udp_new(&params, front, &at);
	if (r < 0)
		return complain(e, &at, r);
	e->udp_peers[ew->worker->index] = front_udp_clients(*front);
	return EXIT_OK;
}

/* Those that the front hasn't taken. */
static void close_ports(struct edge *e, struct edge_worker *ew)
{
	size_t count = ew->tcp_fds ? edge_conf_tcp_listeners(e->params.conf) : 0;
	for (size_t i = 0; i < count; i++)
		(void)fd_close(ew->tcp_fds[i]);
	free(TAKE_PTR(ew->tcp_fds));
}

/* Opens a worker's listeners of one front. */
static int open_front(struct edge *e, const struct conf_front_listener *front, int *fds,
		      unsigned int *ret_count)
{
	for (size_t i = 0; i < front->listen_count && i < FRONT_LISTENERS_MAX / 2; i++) {
		const struct ip_port *addr = &front->listens[i].addr;
		fds[i] = tcp_listen(addr, true, BACKLOG);
		if (fds[i] < 0)
			return complain(e, addr, fds[i]);
		*ret_count = (unsigned int)i + 1;
	}
	return EXIT_OK;
}

/* Said when it changes, by one worker for all. */
static void warn_of_bad_certs(struct edge_worker *ew)
{
	int bad = tls_certs_reload(ew->certs);
	if (bad != ew->bad_certs && bad != 0 && ew->worker->index == 0)
		log_warning(ew->edge->log, "tls", "certificates that can't be used",
			    KV_I64("count", bad));
	ew->bad_certs = bad;
}

static int open_certs(struct edge *e, struct edge_worker *ew)
{
	char folder[PATHS_LEN + 8];
	const char *given = e->params.conf->front.certificates;
	(void)snprintf(folder, sizeof(folder), "%s/certs", e->params.paths.state);
	int r = tls_certs_new(given ? given : folder, "http/1.1", &ew->certs);
	if (r < 0) {
		log_error(e->log, "start", "cannot read certificates",
			  KV_STR("folder", given ? given : folder), KV_ERR(r));
		return EXIT_FAILED;
	}
	if (tls_certs_count(ew->certs) == 0 && ew->worker->index == 0)
		log_warning(e->log, "start", "no certificate for visitors yet",
			    KV_STR("folder", given ? given : folder));
	warn_of_bad_certs(ew);
	return EXIT_OK;
}

/* Links and streams that begin from now on go by it. */
static void use_limits(struct edge_worker *ew)
{
	const struct conf_limits *l = &edge_worker_roster(ew)->conf->common.limits;
	ew->quic_settings.max_streams = l->streams_per_link;
	ew->quic_settings.stream_window = l->stream_window;
	ew->quic_settings.stream_window_max = l->stream_window_max;
	ew->quic_settings.link_window_max = l->link_window_max;
	ew->quic_settings.send_queue_max = l->send_queue;
	edge_tunnels_use_limits(ew);
}

/* At the top of a turn: another configuration is in force. Its certificates are read again, too. */
static void on_swap(struct snapshot_slot *slot, struct snapshot *old)
{
	struct edge_worker *ew = CONTAINER_OF(slot, struct edge_worker, roster);
	tunnel_metrics_zero(&CONTAINER_OF(old, struct roster, snapshot)->links, ew->worker);
	use_limits(ew);
	edge_conn_use_roster(&ew->conns, edge_worker_roster(ew));
	if (ew->front)
		front_use_roster(ew->front, edge_worker_roster(ew));
	front_udp_use_roster(ew->edge->udp_fronts[ew->worker->index], edge_worker_roster(ew));
	edge_networks_use_roster(ew);
	if (ew->certs)
		warn_of_bad_certs(ew);
}

static int open_worker(struct edge *e, struct edge_worker *ew, struct worker *worker)
{
	ew->edge = e;
	ew->worker = worker;
	worker->app = ew;
	ew->roster.on_swap = on_swap;
	ew->roster.current = &roster_ref(e->roster)->snapshot;
	ew->quic_settings = e->quic_settings;
	use_limits(ew);
	int r = quic_worker_new(worker, &ew->quic_settings, &ew->quic);
	if (r == 0)
		r = directory_new(worker, &e->directories[worker->index]);
	if (r < 0) {
		log_error(e->log, "start", "cannot prepare a worker", KV_ERR(r));
		return EXIT_FAILED;
	}
	int code = open_front(e, &e->params.conf->front.http, ew->http_fds, &e->http_count);
	if (code == EXIT_OK && e->params.conf->front.https.listen_count > 0)
		code = open_certs(e, ew);
	if (code == EXIT_OK)
		code = open_front(e, &e->params.conf->front.https, ew->https_fds, &e->https_count);
	if (code == EXIT_OK)
		code = open_ports(e, ew);
	if (code == EXIT_OK)
		code = open_udp(e, ew);
	if (code == EXIT_OK)
		code = edge_tunnels_open(e, ew);
	return code;
}

/* After the sockets: a start that fails there leaves the file of a crashed process to the next. */
static int open_ledger(struct edge *e, uid_t uid, gid_t gid)
{
	char path[PATHS_LEN + 8];
	struct quic_ledger *ledger = NULL;
	(void)snprintf(path, sizeof(path), "%s/links", e->params.paths.run);
	int r = quic_ledger_open(path, e->worker_count, uid, gid, &ledger);
	if (r < 0) {
		log_error(e->log, "start", "cannot write connections down", KV_STR("file", path),
			  KV_ERR(r));
		return EXIT_FAILED;
	}
	quic_server_keep_ledger(e->server, ledger);
	return EXIT_OK;
}

static int open_server(struct edge *e, uid_t uid, gid_t gid)
{
	const struct conf_limits *l = &e->params.conf->common.limits;
	const struct conf_edge_listener *c = &e->params.conf->edge;
	_cleanup_(freep) struct quic_worker **qws =
		calloc(e->worker_count, sizeof(struct quic_worker *));
	_cleanup_(freep) struct ip_port *listen = calloc(c->listen_count, sizeof(*listen));
	if (!qws || !listen)
		return EXIT_FAILED;
	for (unsigned int i = 0; i < e->worker_count; i++)
		qws[i] = e->edge_workers[i].quic;
	for (size_t i = 0; i < c->listen_count; i++)
		listen[i] = c->listens[i].addr;
	struct quic_server_params params = {
		.listen = listen,
		.listen_count = (unsigned int)c->listen_count,
		.tls = e->tls,
		.key = e->quic_key,
		.retry = c->retry_always ? QUIC_RETRY_ALWAYS : QUIC_RETRY_AUTO,
		.max_unregistered = l->unregistered,
		.max_unregistered_per_addr = l->unregistered_per_address,
		.register_timeout = l->register_timeout,
		.has_owner = uid != (uid_t)-1,
		.owner_uid = uid,
		.owner_gid = gid,
	};
	int r = quic_server_new(&params, qws, e->worker_count, &e->server);
	return r < 0 ? complain(e, &listen[0], r) : open_ledger(e, uid, gid);
}

int edge_wiring_open(struct edge *e, uid_t uid, gid_t gid)
{
	e->edge_workers = calloc(e->worker_count, sizeof(*e->edge_workers));
	e->directories = calloc(e->worker_count, sizeof(struct directory *));
	e->udp_fronts = calloc(e->worker_count, sizeof(struct front_udp *));
	e->udp_peers = calloc(e->worker_count, sizeof(struct udp_clients *));
	if (!e->edge_workers || !e->directories || !e->udp_fronts || !e->udp_peers)
		return EXIT_FAILED;
	for (unsigned int i = 0; i < e->worker_count; i++) {
		struct edge_worker *ew = &e->edge_workers[i];
		for (unsigned int j = 0; j < FRONT_LISTENERS_MAX; j++)
			ew->http_fds[j] = ew->https_fds[j] = -EBADF;
		for (unsigned int j = 0; j < FRONT_NETWORK_FDS; j++)
			ew->net_fds[j] = -EBADF;
		edge_conn_env_init(&ew->conns);
	}
	int free_code = probe_all(e);
	if (free_code != EXIT_OK)
		return free_code;
	for (unsigned int i = 0; i < e->worker_count; i++) {
		int code = open_worker(e, &e->edge_workers[i], worker_set_get(e->workers, i));
		if (code != EXIT_OK)
			return code;
	}
	return open_server(e, uid, gid);
}

void edge_wiring_close(struct edge *e)
{
	quic_server_free(TAKE_PTR(e->server));
	for (unsigned int i = 0; e->edge_workers && i < e->worker_count; i++) {
		struct edge_worker *ew = &e->edge_workers[i];
		quic_worker_free(TAKE_PTR(ew->quic));
		front_udp_free(TAKE_PTR(e->udp_fronts[i]));
		flow_caller_done(&ew->flows);
		directory_free(TAKE_PTR(e->directories[i]));
		tls_certs_free(TAKE_PTR(ew->certs));
		snapshot_slot_done(&ew->roster);
		for (unsigned int j = 0; j < FRONT_LISTENERS_MAX; j++) {
			ew->http_fds[j] = fd_close(ew->http_fds[j]);
			ew->https_fds[j] = fd_close(ew->https_fds[j]);
		}
		for (unsigned int j = 0; j < FRONT_NETWORK_FDS; j++)
			ew->net_fds[j] = fd_close(ew->net_fds[j]);
		close_ports(e, ew);
		edge_tunnels_close(e, ew);
	}
	free(TAKE_PTR(e->udp_fronts));
	free(TAKE_PTR(e->udp_peers));
	free(TAKE_PTR(e->edge_workers));
	free(TAKE_PTR(e->directories));
}

static void on_certs_timer(struct timer *timer)
{
	struct edge_worker *ew = CONTAINER_OF(timer, struct edge_worker, certs_timer);
	warn_of_bad_certs(ew);
	timer_start(ew->worker->loop, timer,
		    loop_now(ew->worker->loop) + CERTS_RELOAD_SEC * NSEC_PER_SEC);
}

static void start_front(struct edge_worker *ew)
{
	struct edge *e = ew->edge;
	struct front_params params = {
		.worker = ew->worker,
		.roster = edge_worker_roster(ew),
		.directory = e->directories[ew->worker->index],
		.bridge_metrics = &e->bridge_metrics,
		.no_route = e->front_families.no_route,
		.certs = ew->certs,
		.http_fds = ew->http_fds,
		.http_count = e->http_count,
		.https_fds = ew->https_fds,
		.https_count = e->https_count,
		.tcp_fds = ew->tcp_fds,
		.net_fds = ew->net_fds,
	};
	int r = front_new(&params, &ew->front);
	if (r < 0)
		log_error(e->log, "start", "the public front doesn't start", KV_ERR(r));
	for (unsigned int i = 0; i < FRONT_LISTENERS_MAX; i++)
		ew->http_fds[i] = ew->https_fds[i] = -EBADF; /* the front's now */
	for (unsigned int i = 0; i < FRONT_NETWORK_FDS; i++)
		ew->net_fds[i] = -EBADF;
	free(TAKE_PTR(ew->tcp_fds));
}

static void start_udp(struct edge_worker *ew)
{
	struct front_udp *f = ew->edge->udp_fronts[ew->worker->index];
	front_udp_use_roster(f, edge_worker_roster(ew));
	int r = front_udp_start(f);
	if (r < 0)
		log_error(ew->edge->log, "start", "the public UDP ports don't start", KV_ERR(r));
}

void edge_wiring_start(struct worker *worker)
{
	struct edge_worker *ew = worker->app;
	struct edge *e = ew->edge;
	ew->conns.worker = worker;
	ew->conns.set = e->workers;
	ew->conns.directories = e->directories;
	ew->conns.roster = edge_worker_roster(ew);
	ew->conns.is_draining = &e->is_draining;
	ew->conns.next_serial = &e->next_serial;
	ew->conns.flows = &ew->flows;
	ew->conns.grace = 30 * NSEC_PER_SEC;
	ew->conns.rpc_timeout = 30 * NSEC_PER_SEC;
	ew->conns.control_timeout = 60 * NSEC_PER_SEC; /* a configuration may be 4 MiB */
	int r = quic_server_start(e->server, worker, &edge_conn_sink, edge_conn_accept, &ew->conns);
	if (r < 0)
		log_error(e->log, "start", "the tunnel listener doesn't start", KV_ERR(r));
	edge_tunnels_start(ew);
	start_front(ew);
	start_udp(ew);
	edge_networks_start(ew);
	if (ew->certs) {
		ew->certs_timer.on_expire = on_certs_timer;
		timer_start(worker->loop, &ew->certs_timer,
			    loop_now(worker->loop) + CERTS_RELOAD_SEC * NSEC_PER_SEC);
	}
}

void edge_wiring_stop(struct worker *worker)
{
	struct edge_worker *ew = worker->app;
	timer_stop(&ew->certs_timer);
	timer_stop(&ew->drained);
	edge_status_worker_stop(ew->edge, worker);
	if (ew->front)
		front_stop(ew->front);
	front_udp_stop(ew->edge->udp_fronts[worker->index]);
	edge_networks_stop(ew);
	if (ew->tunnels)
		front_tunnel_refuse_new(ew->tunnels);
	edge_conn_env_done(&ew->conns);
	/* What was closed says goodbye and lets go of its memory in the turns after. */
	for (unsigned int i = 0; i < STOP_TURNS; i++)
		(void)loop_turn(worker->loop, 0);
	quic_server_stop(ew->edge->server, worker);
	front_free(TAKE_PTR(ew->front));
	front_tunnel_free(TAKE_PTR(ew->tunnels));
}

/* The last worker that has nothing left ends the process. */
static void all_drained(void *arg)
{
	struct edge *e = arg;
	mainloop_quit(e->loop, EXIT_OK);
}

struct drained {
	struct message message;
	struct edge *edge;
};

static void drained_deliver(struct message *message, void *owner)
{
	(void)owner;
	struct drained *d = CONTAINER_OF(message, struct drained, message);
	struct edge *e = d->edge;
	free(d);
	all_drained(e);
}

static void drained_discard(struct message *message)
{
	free(CONTAINER_OF(message, struct drained, message));
}

static void report_drained(struct edge *e)
{
	struct drained *d = calloc(1, sizeof(*d));
	if (!d)
		return; /* the grace period ends the process */
	d->message.on_deliver = drained_deliver;
	d->message.on_discard = drained_discard;
	d->edge = e;
	mailbox_post(mainloop_mailbox(e->loop), &d->message);
}

static void on_drain_look(struct timer *timer)
{
	struct edge_worker *ew = CONTAINER_OF(timer, struct edge_worker, drained);
	if ((ew->front && front_active(ew->front) > 0) || !list_is_empty(&ew->conns.conns)) {
		timer_start(ew->worker->loop, timer,
			    loop_now(ew->worker->loop) + DRAIN_LOOK_MSEC * NSEC_PER_MSEC);
		return;
	}
	if (atomic_fetch_sub_explicit(&ew->edge->undrained, 1, memory_order_acq_rel) == 1)
		report_drained(ew->edge);
}

static void drain_front(struct edge_worker *ew)
{
	quic_server_refuse_new(ew->edge->server, ew->worker);
	if (ew->tunnels)
		front_tunnel_refuse_new(ew->tunnels);
	if (ew->front)
		front_drain(ew->front);
}

static void drain_links(struct edge_worker *ew)
{
	if (ew->front)
		front_close(ew->front);
	edge_conn_drain_all(&ew->conns);
	ew->drained.on_expire = on_drain_look;
	timer_start(ew->worker->loop, &ew->drained, loop_now(ew->worker->loop));
}

static void drain_visit(struct worker *worker, void *arg)
{
	struct edge *e = arg;
	const struct edge_worker *ew = worker->app;
	if (e->drain_round == DRAIN_ROUND_FRONT)
		drain_front(worker->app);
	else if (e->drain_round == DRAIN_ROUND_ASKED && ew->front && front_awaits(ew->front))
		atomic_store_explicit(&e->awaits_visitors, true, memory_order_relaxed);
	else if (e->drain_round == DRAIN_ROUND_LINKS)
		drain_links(worker->app);
}

static void start_round(struct edge *e, enum drain_round round);

static void on_round_done(void *arg)
{
	struct edge *e = arg;
	nsec_t now = nsec_clock(CLOCK_MONOTONIC);
	bool awaits = atomic_exchange_explicit(&e->awaits_visitors, false, memory_order_relaxed);
	bool is_early = now < nsec_add(e->drain_began, FIRST_MSEC * NSEC_PER_MSEC);
	/* The first wait is also for whom the kernel is still letting in. */
	if ((e->drain_round == DRAIN_ROUND_FRONT || (awaits && is_early)) &&
	    mainloop_timer_start(e->loop, &e->round_timer, now + DRAIN_LOOK_MSEC * NSEC_PER_MSEC) ==
		    0)
		return;
	if (e->drain_round < DRAIN_ROUND_LINKS)
		start_round(e, e->drain_round + 1);
}

static void on_round_again(struct mainloop_timer *timer)
{
	start_round(CONTAINER_OF(timer, struct edge, round_timer), DRAIN_ROUND_ASKED);
}

static void on_round_cancelled(void *arg)
{
	(void)arg; /* the process ends */
}

static void start_round(struct edge *e, enum drain_round round)
{
	static const struct gather_ops ops = {
		.visit = drain_visit,
		.on_done = on_round_done,
		.on_cancel = on_round_cancelled,
	};
	e->drain_round = round;
	if (gather_start(e->workers, mainloop_mailbox(e->loop), &ops, e) < 0)
		mainloop_quit(e->loop, EXIT_FAILED);
}

/*
 * Round after round, each begun when all workers have had the last: visitors that have asked by
 * then still find a link, on whatever worker it is. Who has come but not asked has a second.
 */
void edge_wiring_drain(struct edge *e)
{
	atomic_store_explicit(&e->undrained, e->worker_count, memory_order_relaxed);
	e->drain_began = nsec_clock(CLOCK_MONOTONIC);
	e->round_timer.on_expire = on_round_again;
	start_round(e, DRAIN_ROUND_FRONT);
}
