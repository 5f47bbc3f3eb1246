/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP/2 listeners of tunnels, worker by worker.
 */
#include "daemon/edge/wiring_tunnels.h"

#include <stdlib.h>

#include "daemon/base/exit.h"
#include "daemon/base/gather.h"
#include "daemon/edge/app.h"
#include "daemon/link/quic.h"
#include "daemon/net/tcp.h"
#include "util/cleanup.h"

enum {
	BACKLOG = 1024,
	WINDOW_MIN = 128 * 1024,
	WINDOW_START = 768 * 1024,
};

static int open_one(struct edge *e, const struct ip_port *addr)
{
	int fd = tcp_listen(addr, true, BACKLOG);
	if (fd < 0)
		log_error(e->log, "start", "cannot listen", KV_ADDR("address", addr), KV_ERR(fd));
	return fd;
}

int edge_tunnels_open(struct edge *e, struct edge_worker *ew)
{
	const struct conf_edge_listener *c = &e->params.conf->edge;
	ew->tunnel_fds = calloc(MAX(c->listen_count, (size_t)1), sizeof(*ew->tunnel_fds));
	if (!ew->tunnel_fds)
		return EXIT_FAILED;
	for (size_t i = 0; i < c->listen_count; i++)
		ew->tunnel_fds[i] = -EBADF;
	int r = 0;
	for (size_t i = 0; i < c->listen_count && r >= 0; i++)
		r = ew->tunnel_fds[i] = open_one(e, &c->listens[i].addr);
	if (r < 0)
		return EXIT_FAILED;
	if (e->quic_settings.keylog_fd >= 0)
		tlsctx_set_keylog(e->h2_tls, e->quic_settings.keylog_fd);
	return EXIT_OK;
}

void edge_tunnels_close(struct edge *e, struct edge_worker *ew)
{
	for (size_t i = 0; ew->tunnel_fds && i < e->params.conf->edge.listen_count; i++)
		(void)fd_close(ew->tunnel_fds[i]);
	free(TAKE_PTR(ew->tunnel_fds));
}

void edge_tunnels_use_limits(struct edge_worker *ew)
{
	const struct roster *roster = edge_worker_roster(ew);
	const struct conf_limits *l = &roster->conf->common.limits;
	struct slab_stats slab;
	slab_get_stats(ew->worker->slab, &slab);
	uint64_t start = MIN(MAX(slab.limit / 4, (uint64_t)WINDOW_MIN), (uint64_t)WINDOW_START);
	ew->h2_settings = h2link_settings_default;
	ew->h2_settings.keep_alive = roster->conf->edge.keep_alive;
	struct h2_settings *h2 = &ew->h2_settings.h2;
	h2->stream_window = (uint32_t)l->stream_window;
	h2->stream_window_max = (uint32_t)l->stream_window_max;
	h2->conn_window = (uint32_t)start;
	h2->conn_window_max = (uint32_t)MAX(l->link_window_max, start);
	h2->send_queue_max = l->send_queue;
	h2->field_max = roster->limits.field_max;
	h2->head_max = roster->limits.head_max;
	h2->line_max = roster->limits.line_max;
	h2->trailer_max = roster->limits.trailer_max;
	h2->trailer_field_max = roster->limits.trailer_field_max;
}

void edge_tunnels_start(struct edge_worker *ew)
{
	struct edge *e = ew->edge;
	const struct edge_conf *conf = e->params.conf;
	const struct front_tunnel_params params = {
		.worker = ew->worker,
		.settings = &ew->h2_settings,
		.tls = e->h2_tls,
		.conns = &ew->conns,
		.register_timeout = conf->common.limits.register_timeout,
		.fds = ew->tunnel_fds,
		.fd_count = (unsigned int)conf->edge.listen_count,
	};
	ew->conns.strangers = quic_server_strangers(e->server, ew->worker);
	ew->conns.register_timeout = params.register_timeout;
	int r = front_tunnel_new(&params, &ew->tunnels);
	if (r < 0)
		log_error(e->log, "start", "the tunnel listener over TCP doesn't start", KV_ERR(r));
}

/* ---- another certificate ------------------------------------------------------------------- */

static void visit(struct worker *worker, void *arg)
{
	struct edge_worker *ew = worker->app;
	if (ew->tunnels && front_tunnel_use_tls(ew->tunnels, arg) < 0)
		log_error(worker->log, "tls", "the renewed certificate is not used");
}

static void give_back(void *arg)
{
	tlsctx_free(arg);
}

static const struct gather_ops gather_ops = {
	.visit = visit,
	.on_done = give_back,
	.on_cancel = give_back,
};

int edge_tunnels_use_tls(struct edge *e, SSL_CTX *tls_take)
{
	if (e->quic_settings.keylog_fd >= 0)
		tlsctx_set_keylog(tls_take, e->quic_settings.keylog_fd);
	int r = gather_start(e->workers, mainloop_mailbox(e->loop), &gather_ops, tls_take);
	if (r < 0)
		tlsctx_free(tls_take);
	return r;
}
