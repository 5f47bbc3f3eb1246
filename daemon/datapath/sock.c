/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets towards origins. Whatever socket of a port a datagram arrived in, it is its sender that
 * says whose it is: between its bind() and its connect() a path's own socket draws datagrams that
 * are the anchor's.
 */
#include "daemon/datapath/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "daemon/datapath/anchor.h"
#include "daemon/datapath/promote.h"
#include "daemon/datapath/tun_path.h"
#include "util/cleanup.h"

enum {
	READS = 4,        /* of one socket in a turn */
	BUFFER = 1 << 20, /* asked of the kernel; it gives what it allows */
	ERRORS = 64,      /* reports of one socket in a turn */
};

/* ---- what arrives ---- */

static struct flow_path *find(const struct path_sock *s, const struct ip_port *remote)
{
	if (s->path && ip_port_eq(&s->path->remote, remote))
		return s->path;
	return s->anchor ? anchor_find(s->anchor, remote) : NULL;
}

static void deliver(struct path_sock *s, const struct udp_msg *m)
{
	struct datapath_stats *stats = &s->datapath->stats;
	size_t at = 0;
	do {
		size_t len = MIN(m->segment_len, m->len - at);
		/* Looked up for each: the user may close the path, and with it the socket. */
		struct flow_path *path = s->udp.fd >= 0 ? find(s, &m->peer) : NULL;
		if (path) {
			stats->rx_datagrams[s->path ? PATH_KIND_CONNECTED : PATH_KIND_ANCHOR]++;
			if (s->datapath->promoter)
				promote_note(s->datapath->promoter, path, 1);
			path->user->on_datagram(path, m->data + at, len);
		} else {
			stats->strangers++;
		}
		at += len;
	} while (at < m->len);
}

static void read_errors(struct path_sock *s)
{
	struct udp_error e;
	for (unsigned int i = 0; i < ERRORS && s->udp.fd >= 0; i++) {
		if (udp_read_error(&s->udp, &e) < 0)
			return;
		struct flow_path *path = find(s, &e.peer);
		if (!path)
			continue;
		s->datapath->stats.errors++;
		if (s->datapath->promoter)
			promote_error(s->datapath->promoter, path, e.error);
		path->user->on_error(path, &e);
	}
}

void path_sock_read(struct path_sock *s)
{
	struct datapath *d = s->datapath;
	for (unsigned int i = 0; i < READS && s->udp.fd >= 0; i++) {
		const struct udp_msg *messages = NULL;
		int n = udp_recv(&s->udp, d->batch, &d->stats.udp, &messages);
		if (n < 0)
			return; /* nothing, or an error that the kernel has kept as well */
		for (int k = 0; k < n; k++)
			deliver(s, &messages[k]);
		if (n < UDP_BATCH)
			return;
	}
}

static void on_ready(struct loop_io *io, uint32_t revents)
{
	struct path_sock *s = CONTAINER_OF(io, struct path_sock, io);
	if (revents & EPOLLERR)
		read_errors(s);
	path_sock_read(s);
}

/* ---- opening and closing ---- */

static void release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct path_sock, garbage));
}

int path_sock_open(struct path_sock *s, struct datapath *d, const struct ip_port *local,
		   const struct ip_port *peer)
{
	const struct udp_params params = {
		.local = *local,
		.peer = peer,
		.is_group_head = !peer,
		.reuse_port = peer != NULL,
		.want_gro = true,
		.is_v6_only = true,
		.may_fragment = true,
		.want_errors = true,
		.rcvbuf = BUFFER,
		.sndbuf = BUFFER,
	};
	int r = udp_open(&params, &s->udp);
	if (r < 0)
		return r;
	list_init(&s->tx);
	s->io.on_ready = on_ready;
	s->garbage.release = release;
	r = loop_io_start(d->worker->loop, &s->io, s->udp.fd, EPOLLIN);
	if (r < 0) {
		udp_close(&s->udp);
		return r;
	}
	s->datapath = d;
	return 0;
}

void path_sock_close(struct path_sock *s)
{
	loop_io_stop(&s->io);
	udp_close(&s->udp);
	/* Whoever is reading it goes on with the datapath's numbers. */
	if (s->datapath)
		loop_defer_free(s->datapath->worker->loop, &s->garbage);
	else
		free(s);
}

struct path_sock *path_sock_of(const struct flow_path *path)
{
	if (path->tun)
		return tun_ground_sock(path->datapath->tun);
	return path->own ? path->own : &path->place->anchor->sock;
}

int path_own_open(struct flow_path *path)
{
	struct datapath *d = path->datapath;
	_cleanup_(freep) struct path_sock *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	int r = path_sock_open(s, d, flow_path_local(path), &path->remote);
	if (r < 0)
		return r;
	/* It is counted by the socket that it has. */
	if (d->promoter)
		promote_forget(d->promoter, path);
	s->path = path;
	s->anchor = path->place->anchor;
	d->stats.connected++;
	d->stats.paths[PATH_KIND_ANCHOR]--;
	d->stats.paths[PATH_KIND_CONNECTED]++;
	path->own = TAKE_PTR(s);
	return 0;
}

void path_own_close(struct flow_path *path)
{
	struct path_sock *s = TAKE_PTR(path->own);
	if (s->datapath)
		s->datapath->stats.connected--;
	path_sock_close(s);
}
