/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets of QUIC links. What the kernel has no room for waits in the link (the library counts it
 * as sent) until the socket is writable. A socket may be closed by what it received; its memory
 * lasts until the turn is over.
 */
#include "daemon/link/quic_sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "daemon/link/quic_accept.h"
#include "daemon/link/quic_conn.h"
#include "daemon/link/quic_io.h"
#include "daemon/link/quic_path.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"

/* ---- receiving ----------------------------------------------------------------------------- */

/* The kernel's word on an address of ours; a path error is no reason to end anything. */
static void on_sock_error(struct quic_sock *sock, int error)
{
	struct quic_link *link = sock->link;
	if (!link || !link->conn || link->is_closing || error == -EMSGSIZE)
		return;
	if (!link->is_handshake_done && link->base.role == LINK_ROLE_CLIENT)
		quic_conn_fail_error(link, error);
	else if (error == -ECONNREFUSED || error == -EHOSTUNREACH)
		quic_path_refused(link, error);
}

static void feed_message(struct quic_sock *sock, const struct udp_msg *msg)
{
	struct ip_port local = sock->local;
	if (msg->local.family != IP_FAMILY_NONE)
		local.ip = msg->local;
	struct quic_path path;
	quic_path_make(&local, &msg->peer, &path);

	for (size_t at = 0; at < msg->len; at += msg->segment_len) {
		const struct quic_packet packet = {
			.sock = sock,
			.path = &path.path,
			.bytes = span_first(span_skip(span_of(msg->data, msg->len), at),
					    msg->segment_len),
			.ecn = msg->ecn,
		};
		if (sock->accept)
			quic_accept_packet(sock->accept, &packet);
		else if (sock->link && sock->link->conn)
			quic_io_feed(sock->link, packet.path, packet.bytes, packet.ecn);
	}
}

static void receive(struct quic_sock *sock)
{
	struct quic_worker *qw = sock->qw;
	const struct udp_msg *messages = NULL;
	int n = udp_recv(&sock->udp, qw->batch, &qw->udp, &messages);
	if (n < 0 && n != -EAGAIN)
		on_sock_error(sock, n);
	/* The socket may be closed by what it brought; its memory lasts until the turn is over. */
	struct quic_accept *accept = sock->accept;
	for (int i = 0; i < n && sock->udp.fd >= 0; i++)
		feed_message(sock, &messages[i]);
	if (accept)
		quic_accept_batch_done(accept);
}

/* ---- sending -------------------------------------------------------------------------------- */

void quic_sock_drop_held(struct quic_link *link)
{
	list_remove(&link->held.node);
	free(link->held.data);
	link->held = (struct quic_held){};
}

/* The socket for a path, and the address to name (NULL where the socket is connected to it). */
static struct quic_sock *sock_for(struct quic_link *link, const struct ip_port *local,
				  const struct ip_port *remote, const struct ip_port **ret_peer)
{
	*ret_peer = NULL;
	if (link->base.role == LINK_ROLE_CLIENT) {
		struct quic_sock *old = link->old_sock;
		return old && ip_port_eq(&old->local, local) ? old : link->sock;
	}
	if (link->sock && ip_port_eq(&link->sock->peer, remote))
		return link->sock;
	*ret_peer = remote;
	return link->listener;
}

static void hold(struct quic_link *link, struct quic_sock *sock, const struct udp_send *send,
		 size_t sent)
{
	struct span rest = span_skip(send->data, sent);
	uint8_t *copy = rest.len ? malloc(rest.len) : NULL;
	if (!copy)
		return; /* lost packets, as far as the library is concerned */
	memcpy(copy, rest.ptr, rest.len);
	link->held = (struct quic_held){
		.data = copy,
		.len = rest.len,
		.segment_len = send->segment_len,
		.ecn = send->ecn,
		.sock = sock,
	};
	if (send->peer)
		link->held.peer = *send->peer;
	if (send->local)
		link->held.local = *send->local;
	list_append(&sock->waiting, &link->held.node);
	(void)loop_io_update(&sock->io, EPOLLIN | EPOLLOUT);
}

void quic_sock_send(struct quic_link *link, const ngtcp2_path *path, enum udp_ecn ecn,
		    struct span data, size_t segment_len)
{
	struct ip_port local, remote;
	if (sockaddr_to_ip_port(path->local.addr, path->local.addrlen, &local) < 0 ||
	    sockaddr_to_ip_port(path->remote.addr, path->remote.addrlen, &remote) < 0)
		return;

	const struct ip_port *peer;
	struct quic_sock *sock = sock_for(link, &local, &remote, &peer);
	if (!sock)
		return;
	struct udp_send send = {
		.data = data,
		.segment_len = segment_len,
		.peer = peer,
		.local = peer ? &local.ip : NULL,
		.ecn = link->qw->settings->use_ecn ? ecn : UDP_ECN_NOT_ECT,
	};
	size_t sent = 0;
	int r = udp_send(&sock->udp, &send, &link->qw->udp, &sent);
	if (r == -EAGAIN)
		hold(link, sock, &send, sent);
	else if (r < 0)
		on_sock_error(sock, r);
}

static void send_waiting(struct quic_sock *sock)
{
	while (!list_is_empty(&sock->waiting)) {
		struct quic_held *held = LIST_ENTRY(sock->waiting.next, struct quic_held, node);
		struct quic_link *link = CONTAINER_OF(held, struct quic_link, held);
		size_t sent = 0;
		struct udp_send send = {
			.data = span_of(held->data, held->len),
			.segment_len = held->segment_len,
			.peer = held->peer.ip.family ? &held->peer : NULL,
			.local = &held->local,
			.ecn = held->ecn,
		};
		int r = udp_send(&sock->udp, &send, &sock->qw->udp, &sent);
		if (r == -EAGAIN) {
			memmove(held->data, held->data + sent, held->len - sent);
			held->len -= sent;
			return;
		}
		quic_sock_drop_held(link);
		quic_io_mark_dirty(link);
	}
	(void)loop_io_update(&sock->io, EPOLLIN);
}

/* ---- opening and closing ------------------------------------------------------------------- */

static void release_sock(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct quic_sock, garbage));
}

void quic_sock_close(struct quic_sock *sock)
{
	if (!sock)
		return;
	while (!list_is_empty(&sock->waiting)) {
		struct quic_held *held = LIST_ENTRY(sock->waiting.next, struct quic_held, node);
		quic_sock_drop_held(CONTAINER_OF(held, struct quic_link, held));
	}
	timer_stop(&sock->linger);
	loop_io_stop(&sock->io);
	udp_close(&sock->udp);
	sock->garbage.release = release_sock;
	loop_defer_free(sock->qw->worker->loop, &sock->garbage);
}

static void on_ready(struct loop_io *io, uint32_t revents)
{
	struct quic_sock *sock = CONTAINER_OF(io, struct quic_sock, io);
	if (revents & EPOLLOUT)
		send_waiting(sock);
	if (revents & (EPOLLIN | EPOLLERR) && sock->udp.fd >= 0)
		receive(sock);
}

static void on_linger(struct timer *timer)
{
	struct quic_sock *sock = CONTAINER_OF(timer, struct quic_sock, linger);
	if (sock->link)
		sock->link->old_sock = NULL;
	quic_sock_close(sock);
}

int quic_sock_adopt(struct quic_worker *qw, struct udp_socket *udp, struct quic_sock **ret)
{
	_cleanup_(freep) struct quic_sock *sock = calloc(1, sizeof(*sock));
	if (!sock)
		return -ENOMEM;
	sock->udp = *udp;
	sock->qw = qw;
	sock->local = udp->local;
	sock->io.on_ready = on_ready;
	sock->linger.on_expire = on_linger;
	list_init(&sock->waiting);
	int r = loop_io_start(qw->worker->loop, &sock->io, udp->fd, EPOLLIN);
	if (r < 0)
		return r;
	udp->fd = -EBADF;
	*ret = TAKE_PTR(sock);
	return 0;
}

int quic_sock_open(struct quic_worker *qw, const struct udp_params *params, struct quic_sock **ret)
{
	struct udp_socket udp;
	int r = udp_open(params, &udp);
	if (r < 0)
		return r;
	struct ip_port local = udp.local;
	if (params->peer)
		r = udp_local_addr(&udp, &local);
	struct quic_sock *sock = NULL;
	if (r == 0)
		r = quic_sock_adopt(qw, &udp, &sock);
	if (r < 0 || !sock) {
		udp_close(&udp);
		return r;
	}
	sock->local = local;
	if (params->peer)
		sock->peer = *params->peer;
	*ret = sock;
	return 0;
}
