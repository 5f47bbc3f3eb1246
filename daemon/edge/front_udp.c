/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public UDP ports: the sockets. A way of udp_clients is the number of a listener; where that
 * listens everywhere, the address that a client wrote to is part of who it is.
 */
#include "daemon/edge/front_udp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "util/cleanup.h"

enum {
	READS = 4,        /* of one socket in a turn */
	BUFFER = 4 << 20, /* asked of the kernel; it gives what it allows */
};

/* One socket. */
struct udp_listener {
	struct loop_io io;
	struct udp_socket sock; /* fd is -EBADF when it is closed */
	struct front_udp *front;
	unsigned int port; /* index of [udp NAME] */
};

struct front_udp {
	struct front_udp_params p;
	struct udp_batch *batch;
	struct udp_clients clients;
	const struct edge_tunnel **tunnels; /* by port; of the roster in force; NULL: none */
	struct front_udp_stats stats;
	size_t listener_count;
	struct udp_listener listeners[];
};

struct udp_clients *front_udp_clients(struct front_udp *f)
{
	return &f->clients;
}

const struct front_udp_stats *front_udp_get_stats(const struct front_udp *f)
{
	return &f->stats;
}

/* ---- what clients ask ---- */

static struct udp_route on_route(void *user, unsigned int way)
{
	const struct front_udp *f = user;
	const struct conf_edge_port *port = &f->p.roster->conf->udp_ports[f->listeners[way].port];
	return (struct udp_route){
		.tunnel = f->tunnels[f->listeners[way].port],
		.dest = &port->dest->addr,
		.idle = port->idle,
	};
}

/* To the client, from the address that it wrote to. */
static void on_answer(void *user, struct udp_client *c, struct span payload)
{
	struct front_udp *f = user;
	const struct udp_send send = { .data = payload, .peer = &c->addr, .local = &c->local.ip };
	size_t sent = 0;
	int r = udp_send(&f->listeners[c->way].sock, &send, &f->stats.udp, &sent);
	f->stats.tx_datagrams += r == 0;
	f->stats.client_full += r == -EAGAIN;
	f->stats.client_error += r < 0 && r != -EAGAIN;
}

static const struct udp_clients_ops clients_ops = { .route = on_route, .answer = on_answer };

/* ---- sockets ---- */

static void read_message(struct udp_listener *l, const struct udp_msg *m)
{
	struct front_udp *f = l->front;
	struct udp_arrival a = {
		.way = (unsigned int)(l - f->listeners),
		.client = m->peer,
		.local.ip = m->local,
	};
	size_t at = 0;
	do {
		size_t len = MIN(m->segment_len, m->len - at);
		a.bytes = span_of(m->data + at, len);
		f->stats.rx_datagrams++;
		(void)udp_clients_take(&f->clients, &a);
		at += len;
	} while (at < m->len);
}

static void on_ready(struct loop_io *io, uint32_t revents UNUSED)
{
	struct udp_listener *l = CONTAINER_OF(io, struct udp_listener, io);
	struct front_udp *f = l->front;
	for (unsigned int i = 0; i < READS; i++) {
		const struct udp_msg *messages = NULL;
		int n = udp_recv(&l->sock, f->batch, &f->stats.udp, &messages);
		for (int k = 0; k < n; k++)
			read_message(l, &messages[k]);
		if (n < UDP_BATCH)
			return;
	}
}

static int open_listeners(struct front_udp *f, struct ip_port *ret_at)
{
	const struct edge_conf *conf = f->p.roster->conf;
	for (size_t i = 0; i < conf->udp_port_count; i++)
		for (size_t k = 0; k < conf->udp_ports[i].listen_count; k++) {
			struct udp_listener *l = &f->listeners[f->listener_count];
			*ret_at = conf->udp_ports[i].listens[k].addr;
			const struct udp_params params = {
				.local = *ret_at,
				.reuse_port = true,
				.want_gro = true,
				.is_v6_only = true,
				.may_fragment = true,
				.rcvbuf = BUFFER,
				.sndbuf = BUFFER,
			};
			int r = udp_open(&params, &l->sock);
			if (r < 0)
				return r;
			l->front = f;
			l->port = (unsigned int)i;
			l->io.on_ready = on_ready;
			f->listener_count++;
		}
	return 0;
}

/* ---- life ---- */

void front_udp_use_roster(struct front_udp *f, struct roster *roster)
{
	const struct edge_conf *conf = roster->conf;
	f->p.roster = roster;
	udp_clients_use_limits(&f->clients, &conf->common.limits);
	for (size_t i = 0; i < conf->udp_port_count; i++)
		f->tunnels[i] = roster_tunnel_named(roster, conf->udp_ports[i].tunnel);
}

int front_udp_new(const struct front_udp_params *params, struct front_udp **ret,
		  struct ip_port *ret_at)
{
	const struct edge_conf *conf = params->roster->conf;
	size_t count = edge_conf_udp_listeners(conf);
	struct front_udp *f = calloc(1, sizeof(*f) + count * sizeof(f->listeners[0]));
	if (!f)
		return -ENOMEM;
	f->p = *params;
	udp_clients_init(&f->clients, &(struct udp_clients_params){
					      .worker = params->worker,
					      .directory = params->directory,
					      .flows = params->flows,
					      .peers = params->peers,
					      .ops = &clients_ops,
					      .user = f,
				      });
	f->tunnels = (const struct edge_tunnel **)calloc(MAX(conf->udp_port_count, (size_t)1),
							 sizeof(*f->tunnels));
	int r = f->tunnels ? udp_batch_new(&f->batch) : -ENOMEM;
	if (r == 0)
		r = open_listeners(f, ret_at);
	if (r < 0) {
		front_udp_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

int front_udp_start(struct front_udp *f)
{
	udp_clients_start(&f->clients);
	for (size_t i = 0; i < f->listener_count; i++) {
		struct udp_listener *l = &f->listeners[i];
		int r = loop_io_start(f->p.worker->loop, &l->io, l->sock.fd, EPOLLIN);
		if (r < 0)
			return r;
	}
	return 0;
}

void front_udp_stop(struct front_udp *f)
{
	udp_clients_stop(&f->clients);
	for (size_t i = 0; i < f->listener_count; i++) {
		loop_io_stop(&f->listeners[i].io);
		udp_close(&f->listeners[i].sock);
	}
	f->listener_count = 0;
}

void front_udp_free(struct front_udp *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->listener_count; i++)
		udp_close(&f->listeners[i].sock);
	udp_clients_done(&f->clients);
	udp_batch_free(f->batch);
	free((void *)f->tunnels);
	free(f);
}
