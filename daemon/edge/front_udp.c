/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public UDP ports. A client is known by its address, by the socket and, where that listens
 * everywhere, by the address that it wrote to. On the worker that reads its datagrams it says which
 * link they take; on the worker of that link it has the flow. Often these are one.
 */
#include "daemon/edge/front_udp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "daemon/base/ratelimit.h"
#include "daemon/edge/edge_conn.h"
#include "daemon/edge/udp_forward.h"
#include "util/cleanup.h"

enum {
	KEY_LEN = 2 + 19 + 17, /* socket, client, local address */
	READS = 4,             /* of one socket in a turn */
	BUFFER = 4 << 20,      /* asked of the kernel; it gives what it allows */
};

struct udp_client {
	struct front_udp *front;
	unsigned int listen;
	struct ip_port addr;
	struct ip_addr local;
	struct edge_link *el;  /* referenced */
	struct flow_call call; /* open where the link is this worker's */
	nsec_t active;         /* else: when it sent last */
	struct timer timer;    /* … and when it is forgotten */
	struct map_node node;
	uint8_t key[KEY_LEN];
	struct loop_garbage garbage;
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
	struct map clients;
	struct ratelimit rate;              /* of new ones */
	const struct edge_tunnel **tunnels; /* by port; of the roster in force; NULL: none */
	struct udp_forward forward;
	struct front_udp_stats stats;
	bool is_running;
	size_t listener_count;
	struct udp_listener listeners[];
};

static const struct conf_edge_port *port_of(const struct front_udp *f, unsigned int listen)
{
	return &f->p.roster->conf->udp_ports[f->listeners[listen].port];
}

struct worker *front_udp_worker(const struct front_udp *f)
{
	return f->p.worker;
}

const struct front_udp_stats *front_udp_get_stats(const struct front_udp *f)
{
	return &f->stats;
}

/* ---- clients ---- */

static void client_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct udp_client, garbage));
}

static void client_end(struct udp_client *c)
{
	struct front_udp *f = c->front;
	flow_call_close(&c->call);
	timer_stop(&c->timer);
	map_remove(&f->clients, &c->node);
	edge_link_unref(TAKE_PTR(c->el));
	loop_defer_free(f->p.worker->loop, &c->garbage);
}

static void on_route_timer(struct timer *timer)
{
	struct udp_client *c = CONTAINER_OF(timer, struct udp_client, timer);
	struct loop *loop = c->front->p.worker->loop;
	nsec_t due = nsec_add(c->active, port_of(c->front, c->listen)->idle);
	if (loop_now(loop) < due)
		timer_start(loop, &c->timer, due);
	else
		client_end(c);
}

/* To the client, from the address that it wrote to. */
static void on_payload(struct flow_call *call, struct span payload)
{
	struct udp_client *c = CONTAINER_OF(call, struct udp_client, call);
	struct front_udp *f = c->front;
	const struct udp_send send = { .data = payload, .peer = &c->addr, .local = &c->local };
	size_t sent = 0;
	int r = udp_send(&f->listeners[c->listen].sock, &send, &f->stats.udp, &sent);
	f->stats.tx_datagrams += r == 0;
	f->stats.client_full += r == -EAGAIN;
	f->stats.client_error += r < 0 && r != -EAGAIN;
}

static void on_idle(struct flow_call *call)
{
	client_end(CONTAINER_OF(call, struct udp_client, call));
}

/* A link that is good for flows through a socket's tunnel; NULL: there is none. */
static struct edge_link *pick(struct front_udp *f, unsigned int listen)
{
	const struct edge_tunnel *tunnel = f->tunnels[f->listeners[listen].port];
	return tunnel ? directory_pick_flows(f->p.directory, tunnel) : NULL;
}

static void use_link(struct udp_client *c, struct edge_link *el)
{
	if (c->el == el)
		return;
	edge_link_unref(c->el);
	c->el = edge_link_ref(el);
}

/* What waits can't go to another worker; another link of this one will do. */
static void on_lost(struct flow_call *call)
{
	struct udp_client *c = CONTAINER_OF(call, struct udp_client, call);
	struct front_udp *f = c->front;
	struct edge_link *el = pick(f, c->listen);
	struct call_port *port = el && el->worker == f->p.worker ? edge_conn_flow_port(el) : NULL;
	if (!port)
		return;
	use_link(c, el);
	flow_call_bind(call, port);
}

static const struct flow_call_user call_user = {
	.on_payload = on_payload,
	.on_idle = on_idle,
	.on_lost = on_lost,
};

static void put_ip(struct packer *p, const struct ip_addr *ip)
{
	packer_u8(p, ip->family);
	packer_bytes(p, span_of(ip->bytes, sizeof(ip->bytes)));
}

static void make_key(const struct udp_arrival *a, uint8_t ret[KEY_LEN])
{
	struct packer p = packer_over(ret, KEY_LEN);
	packer_be16(&p, (uint16_t)a->listen);
	packer_be16(&p, a->client.port);
	put_ip(&p, &a->client.ip);
	put_ip(&p, &a->local);
}

static struct udp_client *client_find(const struct front_udp *f, const struct udp_arrival *a)
{
	uint8_t key[KEY_LEN];
	make_key(a, key);
	struct map_node *node = map_find(&f->clients, span_of(key, sizeof(key)));
	return node ? MAP_ENTRY(node, struct udp_client, node) : NULL;
}

static struct udp_client *client_new(struct front_udp *f, const struct udp_arrival *a)
{
	struct udp_client *c = f->clients.count < f->clients.limit ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		f->stats.too_many++;
		return NULL;
	}
	c->front = f;
	c->listen = a->listen;
	c->addr = a->client;
	c->local = a->local;
	c->timer.on_expire = on_route_timer;
	c->garbage.release = client_release;
	make_key(a, c->key);
	if (map_insert(&f->clients, &c->node, span_of(c->key, sizeof(c->key))) < 0) {
		f->stats.too_many++;
		free(c);
		return NULL;
	}
	return c;
}

/* ---- to the tunnel ---- */

/* The link is this worker's. */
static void send_here(struct udp_client *c, struct span bytes)
{
	struct front_udp *f = c->front;
	timer_stop(&c->timer);
	if (!c->call.caller) {
		const struct conf_edge_port *port = port_of(f, c->listen);
		if (flow_call_open(f->p.flows, &c->call, &call_user, &port->dest->addr,
				   port->idle) < 0) {
			f->stats.too_many++;
			client_end(c);
			return;
		}
	}
	struct call_port *port = edge_conn_flow_port(c->el);
	if (port)
		flow_call_bind(&c->call, port);
	flow_call_send(&c->call, bytes);
}

static void send_there(struct udp_client *c, const struct udp_arrival *a)
{
	struct front_udp *f = c->front;
	struct loop *loop = f->p.worker->loop;
	flow_call_close(&c->call);
	c->active = loop_now(loop);
	if (!timer_is_armed(&c->timer))
		timer_start(loop, &c->timer, nsec_add(c->active, port_of(f, c->listen)->idle));
	if (udp_forward_add(&f->forward, a, c->el))
		f->stats.forwarded++;
	else
		f->stats.forward_full++;
}

/* The link that a client's datagrams take: the one of before while it is good, or the only one;
 * NULL: there is none. now: NULL for a new client. */
static struct edge_link *choose(struct front_udp *f, struct edge_link *now, unsigned int listen)
{
	bool is_usable = now && edge_link_is_usable(now);
	if (is_usable && !edge_link_suspicion(now))
		return now;
	struct edge_link *el = pick(f, listen);
	return is_usable && (!el || edge_link_suspicion(el)) ? now : el;
}

static void take_client(struct front_udp *f, const struct udp_arrival *a)
{
	struct udp_client *c = client_find(f, a);
	struct edge_link *el = choose(f, c ? c->el : NULL, a->listen);
	f->stats.rx_datagrams++;
	if (!el) {
		f->stats.no_link++;
		return;
	}
	if (!c && !ratelimit_take(&f->rate, loop_now(f->p.worker->loop), 1)) {
		f->stats.rate++;
		return;
	}
	if (!c)
		c = client_new(f, a);
	if (!c)
		return;
	use_link(c, el);
	if (el->worker == f->p.worker)
		send_here(c, a->bytes);
	else
		send_there(c, a);
}

void front_udp_take(struct front_udp *f, const struct udp_arrival *a, struct edge_link *el)
{
	if (!f->is_running)
		return;
	struct udp_client *c = client_find(f, a);
	if (!c)
		c = client_new(f, a);
	if (!c)
		return;
	use_link(c, el);
	send_here(c, a->bytes);
}

/* ---- sockets ---- */

static void read_message(struct udp_listener *l, const struct udp_msg *m)
{
	struct front_udp *f = l->front;
	struct udp_arrival a = {
		.listen = (unsigned int)(l - f->listeners),
		.client = m->peer,
		.local = m->local,
	};
	size_t at = 0;
	do {
		size_t len = MIN(m->segment_len, m->len - at);
		a.bytes = span_of(m->data + at, len);
		take_client(f, &a);
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
	const struct conf_limits *l = &conf->common.limits;
	unsigned int workers = worker_set_count(f->p.worker->set);
	f->p.roster = roster;
	f->clients.limit = MAX(l->flows / workers, 1U);
	ratelimit_set_rate(&f->rate, MAX(l->flow_registrations / workers, 1U));
	f->p.flows->held_max = l->flow_queue;
	for (size_t i = 0; i < conf->udp_port_count; i++) {
		size_t k = edge_conf_find_tunnel(conf, conf->udp_ports[i].tunnel);
		f->tunnels[i] = k < conf->tunnel_count ? roster->tunnels[k].shared : NULL;
	}
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
	map_init(&f->clients, 0);
	udp_forward_init(&f->forward, f, params->worker->set, params->fronts);
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
	f->is_running = true;
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
	f->is_running = false;
	MAP_FOREACH(node, &f->clients)
	client_end(MAP_ENTRY(node, struct udp_client, node));
	udp_forward_done(&f->forward);
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
	map_done(&f->clients);
	udp_batch_free(f->batch);
	free((void *)f->tunnels);
	free(f);
}
