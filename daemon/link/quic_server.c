/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accepting side of a process: sockets, keys, and each worker's share of the limits. All
 * sockets are bound in the order of the workers before any of them runs, because the kernel's
 * steering names a socket by its place in the group.
 */
#include <errno.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/link/quic_accept.h"
#include "daemon/link/quic_conn.h"
#include "daemon/link/quic_io.h"
#include "daemon/link/quic_sock.h"
#include "daemon/link/quic_steer.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	RETRY_FROM_PART = 4,    /* of max_unregistered: 256 of 1 024 (spec §13) */
	INITIALS_PER_SEC = 200, /* unvalidated ones, from which Retry is asked for */
};

DEFINE_CLEANUP(struct quic_server *, quic_server_free)

static unsigned int share_of(unsigned int total, unsigned int workers)
{
	return MAX((total + workers - 1) / workers, 1U);
}

static int open_listener(const struct quic_accept *a, struct ip_port *addr, struct udp_socket *ret)
{
	const struct udp_params params = {
		.local = *addr,
		.reuse_port = true,
		.want_gro = true,
		.is_v6_only = true,
		.rcvbuf = a->qw->settings->rcvbuf,
		.sndbuf = a->qw->settings->sndbuf,
	};
	struct udp_socket sock;
	int r = udp_open(&params, &sock);
	if (r < 0)
		return r;
	addr->port = sock.local.port; /* the kernel's choice holds for all workers */
	*ret = sock;
	return 0;
}

static void steer(struct quic_server *s, unsigned int listen)
{
	const struct quic_accept *first = s->accepts[0];
	int fds[STEER_MAX_WORKERS] = {};
	for (unsigned int w = 0; w < s->worker_count; w++)
		fds[w] = s->accepts[w]->bound[listen].fd;
	enum quic_steering found = quic_steer(fds, s->worker_count, &first->bound[listen].local,
					      first->qw->worker->log);
	s->steering = MAX(s->steering, found);
}

/*
 * Sockets of one address must have one owner (spec §5): they are given away when all of them are
 * bound, for a further one of ours would not be let in among those of another user.
 */
static int give_away(const struct quic_server *s, unsigned int listen,
		     const struct quic_server_params *params)
{
	for (unsigned int w = 0; params->has_owner && w < s->worker_count; w++)
		if (fchown(s->accepts[w]->bound[listen].fd, params->owner_uid, params->owner_gid) <
		    0)
			return -errno;
	return 0;
}

static int open_all(struct quic_server *s, const struct quic_server_params *params)
{
	for (unsigned int i = 0; i < params->listen_count; i++) {
		struct ip_port addr = params->listen[i];
		for (unsigned int w = 0; w < s->worker_count; w++) {
			struct quic_accept *a = s->accepts[w];
			int r = open_listener(a, &addr, &a->bound[i]);
			if (r < 0)
				return r;
		}
		steer(s, i);
		s->listen_count++;
		int r = give_away(s, i, params);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_accept(struct quic_server *s, struct quic_worker *qw, unsigned int index,
		       const struct strangers_limits *limits)
{
	struct quic_accept *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->server = s;
	a->qw = qw;
	a->index = index;
	strangers_init(&a->strangers, limits);
	for (unsigned int i = 0; i < QUIC_LISTEN_MAX; i++)
		a->bound[i].fd = -EBADF;
	a->building =
		(struct quic_forward **)calloc(s->worker_count, sizeof(struct quic_forward *));
	s->accepts[index] = a;
	qw->accept = a;
	return a->building ? 0 : -ENOMEM;
}

int quic_server_set_tls(struct quic_server *server, SSL_CTX *tls)
{
	int r = tlsctx_set_alpn(tls, "argotunnel", true);
	if (r < 0)
		return r;
	if (server->keylog_fd >= 0)
		tlsctx_set_keylog(tls, server->keylog_fd);
	if (SSL_CTX_up_ref(tls) != 1)
		return -ENOMEM;
	tlsctx_free(server->retired);
	server->retired = atomic_exchange_explicit(&server->tls, tls, memory_order_acq_rel);
	return 0;
}

int quic_server_new(const struct quic_server_params *params, struct quic_worker *const *qws,
		    unsigned int worker_count, struct quic_server **ret)
{
	if (params->listen_count > QUIC_LISTEN_MAX || worker_count == 0 ||
	    worker_count > STEER_MAX_WORKERS)
		return -EINVAL;
	_cleanup_(quic_server_freep) struct quic_server *s =
		calloc(1, sizeof(*s) + worker_count * sizeof(s->accepts[0]));
	if (!s)
		return -ENOMEM;
	s->worker_count = worker_count;
	s->keylog_fd = qws[0]->settings->keylog_fd;
	s->retry = params->retry;
	s->generation = params->generation;
	s->register_timeout = params->register_timeout;
	s->retry_from = share_of(params->max_unregistered / RETRY_FROM_PART, worker_count);
	s->initials_from = share_of(INITIALS_PER_SEC, worker_count);
	s->connected_max = share_of(QUIC_CONNECTED_MAX, worker_count);

	const struct strangers_limits limits = {
		.max = params->max_unregistered,
		.max_per_addr = params->max_unregistered_per_addr,
		.workers = worker_count,
	};
	int r = quic_tls_derive(params->key, "adit stateless reset", s->reset_key);
	if (r == 0)
		r = quic_tls_derive(params->key, "adit retry token", s->token_key);
	for (unsigned int w = 0; w < worker_count && r == 0; w++)
		r = make_accept(s, qws[w], w, &limits);
	if (r == 0)
		r = quic_server_set_tls(s, params->tls);
	if (r == 0)
		r = open_all(s, params);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void quic_server_keep_ledger(struct quic_server *server, struct quic_ledger *ledger_take)
{
	server->ledger = ledger_take;
}

void quic_server_addr(const struct quic_server *server, unsigned int listen, struct ip_port *ret)
{
	const struct quic_accept *a = server->accepts[0];
	*ret = a->socks[listen] ? a->socks[listen]->local : a->bound[listen].local;
}

int quic_server_start(struct quic_server *server, struct worker *worker,
		      const struct link_sink *sink, void *(*on_link)(struct link *link, void *arg),
		      void *arg)
{
	struct quic_accept *a = server->accepts[worker->index];
	a->sink = sink;
	a->on_link = on_link;
	a->arg = arg;
	for (unsigned int i = 0; i < server->listen_count; i++) {
		int r = quic_sock_adopt(a->qw, &a->bound[i], &a->socks[i]);
		if (r < 0)
			return r;
		a->socks[i]->accept = a;
		a->socks[i]->listen = i;
	}
	a->is_running = true;
	if (a->index == 0)
		quic_ledger_each_old(server->ledger, quic_reply_farewell, a);
	return 0;
}

void quic_server_refuse_new(struct quic_server *server, struct worker *worker)
{
	server->accepts[worker->index]->refuses_new = true;
}

void quic_server_stop(struct quic_server *server, struct worker *worker)
{
	struct quic_accept *a = server->accepts[worker->index];
	a->is_running = false;
	a->refuses_new = true;
	LIST_FOREACH(n, &a->qw->links)
	{
		struct quic_link *link = LIST_ENTRY(n, struct quic_link, node);
		if (link->base.role != LINK_ROLE_SERVER)
			continue;
		if (link->is_announced)
			quic_conn_finish(link);
		else
			quic_conn_dispose(link);
	}
	for (unsigned int i = 0; i < server->listen_count; i++) {
		quic_sock_close(a->socks[i]);
		a->socks[i] = NULL;
	}
}

void quic_server_free(struct quic_server *server)
{
	if (!server)
		return;
	for (unsigned int w = 0; w < server->worker_count; w++) {
		struct quic_accept *a = server->accepts[w];
		if (!a)
			continue;
		for (unsigned int i = 0; i < QUIC_LISTEN_MAX; i++)
			udp_close(&a->bound[i]);
		a->qw->accept = NULL;
		free((void *)a->building);
		free(a);
	}
	quic_ledger_close(server->ledger);
	tlsctx_free(server->retired);
	tlsctx_free(server->tls);
	OPENSSL_cleanse(server, sizeof(*server));
	free(server);
}

enum quic_steering quic_server_steering(const struct quic_server *server)
{
	return server->steering;
}

struct strangers *quic_server_strangers(struct quic_server *server, const struct worker *worker)
{
	return &server->accepts[worker->index]->strangers;
}

static unsigned int gauge(const _Atomic uint64_t *counter)
{
	return (unsigned int)atomic_load_explicit(counter, memory_order_relaxed);
}

void quic_server_get_stats(const struct quic_server *server, unsigned int worker,
			   struct quic_server_stats *ret)
{
	const struct quic_accept_counters *c = &server->accepts[worker]->counters;
	*ret = (struct quic_server_stats){
		.accepted = atomic_load_explicit(&c->accepted, memory_order_relaxed),
		.refused_limit = atomic_load_explicit(&c->refused_limit, memory_order_relaxed),
		.refused_addr = atomic_load_explicit(&c->refused_addr, memory_order_relaxed),
		.retries_sent = atomic_load_explicit(&c->retries_sent, memory_order_relaxed),
		.resets_sent = atomic_load_explicit(&c->resets_sent, memory_order_relaxed),
		.versions_sent = atomic_load_explicit(&c->versions_sent, memory_order_relaxed),
		.forwarded = atomic_load_explicit(&c->forwarded, memory_order_relaxed),
		.dropped_forward = atomic_load_explicit(&c->dropped_forward, memory_order_relaxed),
		.dropped_unknown = atomic_load_explicit(&c->dropped_unknown, memory_order_relaxed),
		.handshake_failed =
			atomic_load_explicit(&c->handshake_failed, memory_order_relaxed),
		.register_timeouts =
			atomic_load_explicit(&c->register_timeouts, memory_order_relaxed),
		.unregistered = strangers_count(&server->accepts[worker]->strangers),
		.connections = gauge(&c->connections),
		.connected_sockets = gauge(&c->connected_sockets),
	};
}
