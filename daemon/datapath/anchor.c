/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anchors. Looking for one with a place for a remote has a bound: the search goes on where the last
 * one ended, so that neither many flows to one remote nor one flow to each of many is slow; at
 * worst a socket more is opened than there had to be.
 */
#include "daemon/datapath/anchor.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "daemon/net/tcp.h"
#include "util/cleanup.h"

enum {
	TRIES = 16,         /* anchors that are looked at for one path */
	SPARES = 16,        /* of a local address, kept without a flow */
	READS = 4,          /* of one anchor in a turn */
	BUFFER = 1 << 20,   /* asked of the kernel; it gives what it allows */
	ERRORS = 64,        /* reports of one anchor in a turn */
	ANCHOR_FLOWS = 4096 /* of one anchor: they share its buffer */
};

/* The anchors of one local address. */
struct anchor_group {
	struct datapath *datapath;
	struct ip_addr local;
	struct list anchors; /* the next search begins at the first */
	unsigned int count;
	unsigned int spares;
	struct list node;
};

static void make_key(const struct ip_port *remote, uint8_t ret[PATH_REMOTE_LEN])
{
	memcpy(ret, remote->ip.bytes, sizeof(remote->ip.bytes));
	ret[16] = (uint8_t)remote->ip.family;
	ret[17] = (uint8_t)(remote->port >> 8);
	ret[18] = (uint8_t)remote->port;
}

static struct flow_path *find_path(const struct anchor *a, const struct ip_port *remote)
{
	uint8_t key[PATH_REMOTE_LEN];
	make_key(remote, key);
	struct map_node *node = map_find(&a->paths, span_of(key, sizeof(key)));
	return node ? MAP_ENTRY(node, struct flow_path, node) : NULL;
}

/* ---- what arrives ---- */

static void deliver(struct anchor *a, const struct udp_msg *m)
{
	struct datapath_stats *stats = &a->group->datapath->stats;
	size_t at = 0;
	do {
		size_t len = MIN(m->segment_len, m->len - at);
		/* Looked up for each: the user may close the path, and with it the anchor. */
		struct flow_path *path = a->sock.fd >= 0 ? find_path(a, &m->peer) : NULL;
		if (path) {
			stats->rx_datagrams++;
			path->user->on_datagram(path, m->data + at, len);
		} else {
			stats->strangers++;
		}
		at += len;
	} while (at < m->len);
}

static void read_errors(struct anchor *a)
{
	struct udp_error e;
	for (unsigned int i = 0; i < ERRORS && a->sock.fd >= 0; i++) {
		if (udp_read_error(&a->sock, &e) < 0)
			return;
		struct flow_path *path = find_path(a, &e.peer);
		if (!path)
			continue;
		a->group->datapath->stats.errors++;
		path->user->on_error(path, &e);
	}
}

static void on_ready(struct loop_io *io, uint32_t revents)
{
	struct anchor *a = CONTAINER_OF(io, struct anchor, io);
	struct datapath *d = a->group->datapath;
	if (revents & EPOLLERR)
		read_errors(a);
	for (unsigned int i = 0; i < READS && a->sock.fd >= 0; i++) {
		const struct udp_msg *messages = NULL;
		int n = udp_recv(&a->sock, d->batch, &d->stats.udp, &messages);
		if (n < 0)
			return; /* nothing, or an error that the kernel has kept as well */
		for (int k = 0; k < n; k++)
			deliver(a, &messages[k]);
		if (n < UDP_BATCH)
			return;
	}
}

/* ---- opening and closing ---- */

static void anchor_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct anchor, garbage));
}

static struct anchor_group *group_of(struct datapath *d, const struct ip_addr *local)
{
	LIST_FOREACH(node, &d->groups)
	{
		struct anchor_group *g = LIST_ENTRY(node, struct anchor_group, node);
		if (ip_addr_eq(&g->local, local))
			return g;
	}
	struct anchor_group *g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->datapath = d;
	g->local = *local;
	list_init(&g->anchors);
	list_append(&d->groups, &g->node);
	return g;
}

static void group_put(struct anchor_group *g)
{
	if (g->count > 0)
		return;
	list_remove(&g->node);
	free(g);
}

static int anchor_open(struct anchor_group *g, struct anchor **ret)
{
	struct datapath *d = g->datapath;
	struct udp_params params = {
		.local = { .ip = g->local },
		.want_gro = true,
		.is_v6_only = true,
		.may_fragment = true,
		.want_errors = true,
		.rcvbuf = BUFFER,
		.sndbuf = BUFFER,
	};
	_cleanup_(freep) struct anchor *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	int r = udp_open(&params, &a->sock);
	if (r < 0)
		return r;
	a->io.on_ready = on_ready;
	r = loop_io_start(d->worker->loop, &a->io, a->sock.fd, EPOLLIN);
	if (r < 0) {
		udp_close(&a->sock);
		return r;
	}
	a->group = g;
	a->garbage.release = anchor_release;
	map_init(&a->paths, ANCHOR_FLOWS);
	list_prepend(&g->anchors, &a->node);
	g->count++;
	g->spares++;
	d->stats.anchors++;
	d->stats.opened++;
	*ret = TAKE_PTR(a);
	return 0;
}

static void anchor_close(struct anchor *a)
{
	struct anchor_group *g = a->group;
	loop_io_stop(&a->io);
	udp_close(&a->sock);
	map_done(&a->paths);
	list_remove(&a->node);
	g->count--;
	g->spares--;
	g->datapath->stats.anchors--;
	/* Whoever is reading it goes on with the datapath's numbers. */
	loop_defer_free(g->datapath->worker->loop, &a->garbage);
}

/* 0, -EEXIST or -E2BIG: not here. */
static int try_anchor(struct anchor *a, struct flow_path *path)
{
	int r = map_insert(&a->paths, &path->node, span_of(path->key, sizeof(path->key)));
	if (r < 0)
		return r;
	path->anchor = a;
	if (a->paths.count == 1)
		a->group->spares--;
	return 0;
}

static int search(struct anchor_group *g, struct flow_path *path)
{
	for (unsigned int i = 0; i < MIN(g->count, (unsigned int)TRIES); i++) {
		struct anchor *a = LIST_ENTRY(g->anchors.next, struct anchor, node);
		int r = try_anchor(a, path);
		if (r == 0 || r == -ENOMEM)
			return r;
		list_remove(&a->node);
		list_append(&g->anchors, &a->node);
	}
	return -ENOENT;
}

int anchor_take(struct datapath *d, const struct ip_addr *local, struct flow_path *path)
{
	struct anchor_group *g = group_of(d, local);
	if (!g)
		return -ENOMEM;
	make_key(&path->remote, path->key);
	int r = search(g, path);
	if (r == -ENOENT) {
		struct anchor *a = NULL;
		r = anchor_open(g, &a);
		if (r == 0)
			r = try_anchor(a, path);
	}
	if (r < 0)
		group_put(g);
	return r;
}

void anchor_give(struct flow_path *path)
{
	struct anchor *a = TAKE_PTR(path->anchor);
	struct anchor_group *g = a->group;
	map_remove(&a->paths, &path->node);
	if (a->paths.count > 0)
		return;
	g->spares++;
	if (g->spares > SPARES)
		anchor_close(a);
}

void anchor_close_all(struct datapath *d)
{
	LIST_FOREACH(at, &d->groups)
	{
		struct anchor_group *g = LIST_ENTRY(at, struct anchor_group, node);
		LIST_FOREACH(node, &g->anchors)
		anchor_close(LIST_ENTRY(node, struct anchor, node));
		group_put(g);
	}
}

/* ---- sending ---- */

int flow_path_send(struct flow_path *path, struct span datagram)
{
	struct anchor *a = path->anchor;
	struct datapath_stats *stats = &a->group->datapath->stats;
	const struct udp_send send = { .data = datagram, .peer = &path->remote };
	size_t sent = 0;
	int r = udp_send(&a->sock, &send, &stats->udp, &sent);
	/* It may be the error of another flow's datagram that the kernel has kept. Then it is
	 * reported to that flow from the loop, and this one is sent again. */
	if (r < 0 && r != -EAGAIN && r != -EMSGSIZE) {
		(void)socket_error(a->sock.fd);
		r = udp_send(&a->sock, &send, &stats->udp, &sent);
	}
	if (r == 0)
		stats->tx_datagrams++;
	return r;
}

const struct ip_port *flow_path_local(const struct flow_path *path)
{
	return &path->anchor->sock.local;
}
