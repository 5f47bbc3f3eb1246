/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners of HTTP/2 links. Who is over a limit is closed before a byte of TLS: a handshake is
 * what costs.
 */
#include "daemon/edge/front_tunnel.h"

#include <stdlib.h>

#include "daemon/net/tcp.h"
#include "util/cleanup.h"

struct tunnel_listener {
	struct tcp_listener tcp;
	struct front_tunnel *front;
};

struct front_tunnel {
	struct worker *worker;
	const struct h2link_settings *settings;
	SSL_CTX *tls;
	struct edge_conn_env *conns;
	nsec_t register_timeout;
	struct front_tunnel_stats stats;
	unsigned int listener_count;
	struct tunnel_listener listeners[];
};

DEFINE_CLEANUP(struct front_tunnel *, front_tunnel_free)

/* Counts who may not come in. */
static bool is_welcome(struct front_tunnel *f, const struct ip_addr *ip)
{
	const struct strangers *s = f->conns->strangers;
	bool is_full = strangers_are_full(s);
	bool is_crowd = !is_full && strangers_of(s, ip, true) >= s->max_per_addr;
	f->stats.refused_limit += is_full;
	f->stats.refused_addr += is_crowd;
	return !is_full && !is_crowd;
}

static void on_accept(struct tcp_listener *tcp, int fd, const struct ip_port *peer,
		      const struct ip_port *local)
{
	(void)local;
	struct front_tunnel *f = CONTAINER_OF(tcp, struct tunnel_listener, tcp)->front;
	const struct ip_addr ip = ip_addr_unmap(peer->ip);
	const struct h2link_accept accept = {
		.settings = f->settings,
		.fd = fd,
		.tls = f->tls,
		.peer = { .ip = ip, .port = peer->port },
		.register_timeout = f->register_timeout,
	};
	struct link *link = NULL;
	if (!is_welcome(f, &ip)) {
		(void)fd_close(fd);
		return;
	}
	if (h2link_accept(f->worker, &accept, &edge_conn_sink, NULL, &link) < 0) {
		f->stats.refused_local++;
		return;
	}
	link->user = edge_conn_accept_stranger(link, f->conns, &ip);
	if (!link->user) {
		f->stats.refused_local++;
		link_free(link);
		return;
	}
	f->stats.accepted++;
}

int front_tunnel_use_tls(struct front_tunnel *f, SSL_CTX *tls)
{
	SSL_CTX *mine = NULL;
	int r = tlsctx_ref(tls, &mine);
	if (r < 0)
		return r;
	tlsctx_free(f->tls);
	f->tls = mine;
	return 0;
}

static void close_all(int *fds, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		fds[i] = fd_close(fds[i]);
}

int front_tunnel_new(const struct front_tunnel_params *params, struct front_tunnel **ret)
{
	_cleanup_(front_tunnel_freep) struct front_tunnel *f =
		calloc(1, sizeof(*f) + params->fd_count * sizeof(f->listeners[0]));
	if (!f) {
		close_all(params->fds, params->fd_count);
		return -ENOMEM;
	}
	f->worker = params->worker;
	f->settings = params->settings;
	f->conns = params->conns;
	f->register_timeout = params->register_timeout;
	int r = front_tunnel_use_tls(f, params->tls);
	for (unsigned int i = 0; i < params->fd_count && r == 0; i++) {
		struct tunnel_listener *l = &f->listeners[f->listener_count++];
		l->front = f;
		l->tcp.on_accept = on_accept;
		r = tcp_listener_start(&l->tcp, f->worker->loop, TAKE_FD(params->fds[i]));
	}
	if (r < 0) {
		close_all(params->fds, params->fd_count);
		return r;
	}
	*ret = TAKE_PTR(f);
	return 0;
}

void front_tunnel_refuse_new(struct front_tunnel *f)
{
	for (unsigned int i = 0; i < f->listener_count; i++)
		tcp_listener_stop(&f->listeners[i].tcp);
	f->listener_count = 0;
}

void front_tunnel_free(struct front_tunnel *f)
{
	if (!f)
		return;
	front_tunnel_refuse_new(f);
	tlsctx_free(f->tls);
	free(f);
}

const struct front_tunnel_stats *front_tunnel_get_stats(const struct front_tunnel *f)
{
	return &f->stats;
}
