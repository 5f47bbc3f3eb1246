/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets in and out. Every link writes once a turn, as many packets as pacing and the congestion
 * window allow, in aggregates that leave with one system call. What the kernel has no room for
 * waits in the link (the library counts it as sent), and nothing more is written until it is gone.
 */
#include "daemon/link/quic_io.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "daemon/link/close.h"
#include "daemon/link/quic_accept.h"
#include "daemon/link/quic_conn.h"
#include "daemon/link/quic_dgram.h"
#include "daemon/link/quic_stream.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	TICKLES = 120, /* probes for a stateless reset: half a minute */
	TICKLE_LEN = 43,
};
#define TICKLE_EVERY (250 * NSEC_PER_MSEC)

/* ---- sockets ------------------------------------------------------------------------------- */

static void release_sock(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct quic_sock, garbage));
}

void quic_io_close_sock(struct quic_sock *sock)
{
	if (!sock)
		return;
	while (!list_is_empty(&sock->waiting)) {
		struct quic_held *held = LIST_ENTRY(sock->waiting.next, struct quic_held, node);
		quic_io_drop_held(CONTAINER_OF(held, struct quic_link, held));
	}
	timer_stop(&sock->linger);
	loop_io_stop(&sock->io);
	udp_close(&sock->udp);
	sock->garbage.release = release_sock;
	loop_defer_free(sock->qw->worker->loop, &sock->garbage);
}

/* The kernel's word on an address of ours; a path error is no reason to end anything. */
static void on_sock_error(struct quic_sock *sock, int error)
{
	struct quic_link *link = sock->link;
	if (!link || !link->conn || link->is_closing || error == -EMSGSIZE)
		return;
	if (!link->is_handshake_done && link->base.role == LINK_ROLE_CLIENT)
		quic_conn_fail_error(link, error);
	else if (error == -ECONNREFUSED || error == -EHOSTUNREACH)
		quic_io_suspect(link);
}

static void feed_message(struct quic_sock *sock, const struct udp_msg *msg)
{
	struct ip_port local = sock->local;
	if (msg->local.family != IP_FAMILY_NONE)
		local.ip = msg->local;
	struct quic_path path;
	quic_io_path(&local, &msg->peer, &path);

	for (size_t at = 0; at < msg->len; at += msg->segment_len) {
		struct span packet =
			span_first(span_skip(span_of(msg->data, msg->len), at), msg->segment_len);
		if (sock->accept)
			quic_accept_packet(sock->accept, sock, &path.path, packet, msg->ecn);
		else if (sock->link && sock->link->conn)
			quic_io_feed(sock->link, &path.path, packet, msg->ecn);
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
		quic_io_drop_held(link);
		quic_io_mark_dirty(link);
	}
	(void)loop_io_update(&sock->io, EPOLLIN);
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
	quic_io_close_sock(sock);
}

int quic_io_adopt_sock(struct quic_worker *qw, struct udp_socket *udp, struct quic_sock **ret)
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

int quic_io_open_sock(struct quic_worker *qw, const struct udp_params *params,
		      struct quic_sock **ret)
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
		r = quic_io_adopt_sock(qw, &udp, &sock);
	if (r < 0) {
		udp_close(&udp);
		return r;
	}
	sock->local = local;
	if (params->peer)
		sock->peer = *params->peer;
	*ret = sock;
	return 0;
}

void quic_io_path(const struct ip_port *local, const struct ip_port *remote, struct quic_path *ret)
{
	struct sockaddr_storage sa;
	ret->path = (ngtcp2_path){};
	ret->path.local.addrlen = sockaddr_from_ip_port(local, &sa);
	memcpy(&ret->local, &sa, sizeof(ret->local));
	ret->path.local.addr = &ret->local.sa;
	ret->path.remote.addrlen = sockaddr_from_ip_port(remote, &sa);
	memcpy(&ret->remote, &sa, sizeof(ret->remote));
	ret->path.remote.addr = &ret->remote.sa;
}

/* ---- in ------------------------------------------------------------------------------------ */

void quic_io_feed(struct quic_link *link, const ngtcp2_path *path, struct span packet,
		  enum udp_ecn ecn)
{
	if (link->is_closing)
		return;
	ngtcp2_pkt_info info = { .ecn = (uint8_t)ecn };
	nsec_t now = loop_now(link->qw->worker->loop);

	timer_stop(&link->tickle);
	link->tickles_left = 0;
	link->has_news = true;
	link->depth++;
	int r = ngtcp2_conn_read_pkt(link->conn, path, &info, packet.ptr, packet.len, now);
	link->depth--;
	if (link->is_freed) {
		quic_conn_dispose(link);
		return;
	}
	if (r != 0) {
		quic_conn_fail(link, r);
		return;
	}
	if (link->is_path_new) {
		link->is_path_new = false;
		quic_io_follow_peer(link);
	}
	quic_io_mark_dirty(link);
}

/* ---- out ----------------------------------------------------------------------------------- */

void quic_io_mark_dirty(struct quic_link *link)
{
	loop_task_post(link->qw->worker->loop, &link->flush, LOOP_PHASE_FLUSH);
}

void quic_io_drop_held(struct quic_link *link)
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
	uint8_t *copy = malloc(rest.len);
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

static void send_packets(struct quic_link *link, const ngtcp2_path *path, enum udp_ecn ecn,
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

void quic_io_send_now(struct quic_link *link, const ngtcp2_path *path, enum udp_ecn ecn,
		      struct span packet)
{
	if (!link->held.data)
		send_packets(link, path, ecn, packet, packet.len);
}

/* Where the library writes a packet. */
struct packet_out {
	ngtcp2_path *path;
	ngtcp2_pkt_info *info;
	uint8_t *dest;
	size_t len;
	ngtcp2_tstamp now;
};

/* Follows a large packet until it is answered. What it carried last stands for all of it. */
struct cargo {
	int64_t stream;
	uint64_t end;
	bool has_any;
};

static ngtcp2_ssize write_stream(struct quic_link *link, struct quic_stream *qs,
				 const struct packet_out *w, struct cargo *cargo)
{
	ngtcp2_vec vec[QUIC_STREAM_IOV];
	bool is_fin = false;
	unsigned int count = quic_stream_peek(qs, w->len, vec, &is_fin);
	size_t offered = 0;
	for (unsigned int i = 0; i < count; i++)
		offered += vec[i].len;

	ngtcp2_ssize taken = -1;
	uint32_t flags =
		NGTCP2_WRITE_STREAM_FLAG_MORE | (is_fin ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0U);
	ngtcp2_ssize n = ngtcp2_conn_writev_stream(link->conn, w->path, w->info, w->dest, w->len,
						   &taken, flags, qs->id, vec, count, w->now);
	if (taken >= 0) {
		quic_stream_sent(qs, (size_t)taken, is_fin && (size_t)taken == offered);
		*cargo = (struct cargo){ qs->id, qs->tx_sent, true };
	}
	if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED) {
		quic_stream_block(qs);
		return NGTCP2_ERR_WRITE_MORE;
	}
	if (n == NGTCP2_ERR_STREAM_SHUT_WR || n == NGTCP2_ERR_STREAM_NOT_FOUND) {
		quic_stream_on_refused(qs, LINK_CODE_NONE);
		return NGTCP2_ERR_WRITE_MORE;
	}
	return n;
}

static ngtcp2_ssize write_dgram(struct quic_link *link, const struct packet_out *w,
				struct cargo *cargo)
{
	ngtcp2_vec vec[2];
	uint64_t id = 0;
	unsigned int count = quic_dgram_peek(link, vec, &id);
	int accepted = 0;
	ngtcp2_ssize n = ngtcp2_conn_writev_datagram(link->conn, w->path, w->info, w->dest, w->len,
						     &accepted, NGTCP2_WRITE_DATAGRAM_FLAG_MORE, id,
						     vec, count, w->now);
	if (accepted) {
		quic_dgram_sent(link);
		*cargo = (struct cargo){ QUIC_MTU_STREAM_NONE, id, true };
	}
	return n;
}

static void follow_large(struct quic_link *link, size_t len, const struct cargo *cargo, nsec_t now)
{
	/* A probe for a larger size is meant to be lost on most paths. */
	if (len <= QUIC_MTU_BASE || len > ngtcp2_conn_get_path_max_tx_udp_payload_size(link->conn))
		return;
	quic_mtu_sent(&link->mtu, now);
	if (cargo->has_any)
		quic_mtu_sample(&link->mtu, cargo->stream, cargo->end, now);
}

/* Writes one packet: datagrams or streams first in turn, then what still fits. */
static ngtcp2_ssize write_packet(ngtcp2_conn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info,
				 uint8_t *dest, size_t len, ngtcp2_tstamp now, void *user)
{
	struct quic_link *link = user;
	if (link->mtu.is_capped)
		len = MIN(len, (size_t)QUIC_MTU_BASE);
	const struct packet_out w = { path, info, dest, len, now };
	struct cargo cargo = {};
	ngtcp2_ssize n = NGTCP2_ERR_WRITE_MORE;
	bool is_stalled = ngtcp2_conn_get_max_data_left(conn) == 0;

	while (n == NGTCP2_ERR_WRITE_MORE) {
		struct quic_stream *qs = link->is_handshake_done ? quic_stream_next(link) : NULL;
		bool has_dgram = link->is_handshake_done && quic_dgram_is_waiting(link, len);
		if (has_dgram && (link->dgrams.is_turn || !qs || is_stalled))
			n = write_dgram(link, &w, &cargo);
		else if (qs)
			n = write_stream(link, qs, &w, &cargo);
		else
			n = ngtcp2_conn_writev_stream(conn, path, info, dest, len, NULL,
						      NGTCP2_WRITE_STREAM_FLAG_NONE, -1, NULL, 0,
						      now);
	}
	if (n > 0) {
		link->dgrams.is_turn = !link->dgrams.is_turn;
		follow_large(link, (size_t)n, &cargo, now);
	}
	return n;
}

static void count_ecn(struct quic_link *link, const ngtcp2_pkt_info *info, size_t packets)
{
	if (info->ecn != NGTCP2_ECN_NOT_ECT) {
		link->ecn_sent += packets;
		link->ecn_gap = 0;
	} else {
		link->ecn_gap += packets;
	}
}

/* Writes aggregates until nothing is left, the quantum is used up or the socket is full. */
static int write_all(struct quic_link *link, nsec_t now, bool *ret_more)
{
	struct quic_worker *qw = link->qw;
	size_t quantum = ngtcp2_conn_get_send_quantum(link->conn);
	size_t total = 0;

	*ret_more = false;
	while (!link->held.data) {
		ngtcp2_path_storage path;
		ngtcp2_path_storage_zero(&path);
		ngtcp2_pkt_info info = {};
		size_t segment_len = 0;
		ngtcp2_ssize n = ngtcp2_conn_write_aggregate_pkt2(
			link->conn, &path.path, &info, qw->out, QUIC_OUT_LEN, &segment_len,
			write_packet, UDP_GSO_SEGMENTS, now);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		count_ecn(link, &info, ((size_t)n + segment_len - 1) / segment_len);
		send_packets(link, &path.path, (enum udp_ecn)info.ecn, span_of(qw->out, (size_t)n),
			     segment_len);
		if (!link->conn || link->is_closing)
			return 0;
		total += (size_t)n;
		if (total >= quantum) {
			*ret_more = true;
			break;
		}
	}
	ngtcp2_conn_update_pkt_tx_time(link->conn, now);
	return 0;
}

/* What other parts want to know often, copied once a flush. */
static void refresh_stats(struct quic_link *link)
{
	ngtcp2_conn_info info;
	ngtcp2_conn_get_conn_info(link->conn, &info);
	link->stats.rtt_nsec = info.smoothed_rtt;
	link->stats.cwnd = info.cwnd;

	bool is_stalled =
		!list_is_empty(&link->ready) && ngtcp2_conn_get_max_data_left(link->conn) == 0;
	if (is_stalled && !link->is_stalled)
		link->stats.credit_stalls++;
	link->is_stalled = is_stalled;
}

void quic_io_on_flush(struct loop_task *task)
{
	struct quic_link *link = CONTAINER_OF(task, struct quic_link, flush);
	struct loop *loop = link->qw->worker->loop;
	nsec_t now = loop_now(loop);
	if (!link->conn)
		return;
	if (link->is_closing) {
		quic_conn_finish(link);
		return;
	}

	nsec_t retry = quic_stream_retry_blocked(link, now);
	quic_mtu_check(&link->mtu, now, ngtcp2_conn_get_pto(link->conn));
	bool has_more = false;
	link->depth++;
	int r = write_all(link, now, &has_more);
	link->depth--;
	if (!link->conn)
		return;
	if (r < 0) {
		quic_conn_fail(link, r);
		return;
	}
	if (link->is_closing) {
		quic_conn_finish(link);
		return;
	}
	refresh_stats(link);
	quic_conn_check_drained(link);
	nsec_t at = ngtcp2_conn_get_expiry(link->conn);
	at = MIN(at, retry);
	/* A full quantum: the pacer says when the next may follow, at once if it doesn't. */
	if (has_more && at > now + NSEC_PER_MSEC)
		at = now;
	if (at == NSEC_NEVER)
		timer_stop(&link->timer);
	else
		timer_start(loop, &link->timer, at);
}

void quic_io_on_timer(struct timer *timer)
{
	struct quic_link *link = CONTAINER_OF(timer, struct quic_link, timer);
	if (!link->conn || link->is_closing)
		return;
	link->depth++;
	int r = ngtcp2_conn_handle_expiry(link->conn, loop_now(link->qw->worker->loop));
	link->depth--;
	if (r != 0)
		quic_conn_fail(link, r);
	else
		quic_io_mark_dirty(link);
}

/* ---- paths --------------------------------------------------------------------------------- */

int quic_io_migrate(struct quic_link *link)
{
	struct quic_worker *qw = link->qw;
	struct loop *loop = qw->worker->loop;
	if (!link->conn || !link->is_handshake_done || link->is_closing)
		return -EPROTO;

	struct udp_params params;
	quic_conn_udp_params(link, &params);
	params.local.port = 0;
	struct quic_sock *sock = NULL;
	int r = quic_io_open_sock(qw, &params, &sock);
	if (r < 0)
		return r;
	struct quic_path path;
	quic_io_path(&sock->local, &link->dial.peer, &path);
	nsec_t now = loop_now(loop);
	r = ngtcp2_conn_initiate_immediate_migration(link->conn, &path.path, now);
	if (r != 0) {
		quic_io_close_sock(sock);
		return r == NGTCP2_ERR_NOMEM ? -ENOMEM : -EAGAIN;
	}

	quic_io_drop_held(link);
	quic_io_close_sock(link->old_sock);
	link->old_sock = link->sock;
	timer_start(loop, &link->old_sock->linger, now + 3 * ngtcp2_conn_get_pto(link->conn));
	sock->link = link;
	link->sock = sock;
	link->stats.is_migrated = true;
	quic_mtu_reset(&link->mtu);
	quic_io_mark_dirty(link);
	return 0;
}

void quic_io_follow_peer(struct quic_link *link)
{
	const ngtcp2_path *path = ngtcp2_conn_get_path(link->conn);
	struct ip_port remote;
	if (sockaddr_to_ip_port(path->remote.addr, path->remote.addrlen, &remote) < 0)
		return;
	link->stats.is_migrated = true;
	quic_mtu_reset(&link->mtu);
	if (!link->sock || ip_port_eq(&link->sock->peer, &remote))
		return;
	if (udp_connect(&link->sock->udp, &remote) == 0)
		link->sock->peer = remote;
}

void quic_io_on_shrunk(struct quic_link *link)
{
	link->stats.blackholes++;
	log_notice(link->qw->worker->log, "link", "path mtu has shrunk",
		   KV_U64("was", ngtcp2_conn_get_path_max_tx_udp_payload_size(link->conn)));
	link->is_shrunk = true;
	loop_task_post(link->qw->worker->loop, &link->events, LOOP_PHASE_WORK);
}

/* A packet that only a peer without memory of us answers: its stateless reset ends the link. */
void quic_io_on_tickle(struct timer *timer)
{
	struct quic_link *link = CONTAINER_OF(timer, struct quic_link, tickle);
	if (!link->conn || link->is_closing || link->tickles_left == 0)
		return;
	link->tickles_left--;

	uint8_t packet[TICKLE_LEN + NGTCP2_MAX_CIDLEN];
	const ngtcp2_cid *dcid = ngtcp2_conn_get_dcid(link->conn);
	if (RAND_bytes(packet, sizeof(packet)) != 1)
		return;
	packet[0] = (uint8_t)((packet[0] & 0x3f) | 0x40); /* short header, fixed bit */
	memcpy(packet + 1, dcid->data, dcid->datalen);
	struct loop *loop = link->qw->worker->loop;
	timer_start(loop, &link->tickle, loop_now(loop) + TICKLE_EVERY);
	quic_io_send_now(link, ngtcp2_conn_get_path(link->conn), UDP_ECN_NOT_ECT,
			 span_of(packet, TICKLE_LEN + dcid->datalen));
}

void quic_io_suspect(struct quic_link *link)
{
	if (link->base.role != LINK_ROLE_CLIENT || timer_is_armed(&link->tickle))
		return;
	struct loop *loop = link->qw->worker->loop;
	if (link->tickles_left == 0)
		link->tickles_left = TICKLES;
	timer_start(loop, &link->tickle, loop_now(loop) + TICKLE_EVERY);
}
