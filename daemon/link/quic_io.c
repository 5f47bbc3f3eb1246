/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets in and out. Every link writes once a turn, as many packets as pacing and the congestion
 * window allow, in aggregates that leave with one system call. While a socket is full nothing is
 * written.
 */
#include "daemon/link/quic_io.h"

#include "daemon/link/close.h"
#include "daemon/link/quic_conn.h"
#include "daemon/link/quic_dgram.h"
#include "daemon/link/quic_path.h"
#include "daemon/link/quic_sock.h"
#include "daemon/link/quic_stream.h"
#include "util/macro.h"

/* What an acknowledgement may wait for company; our max_ack_delay is 25 ms. */
#define ACK_WAIT      NSEC_PER_MSEC
#define ACK_WAIT_LONG (10 * NSEC_PER_MSEC)

/* ---- in ------------------------------------------------------------------------------------ */

void quic_io_feed(struct quic_link *link, const ngtcp2_path *path, struct span packet,
		  enum udp_ecn ecn)
{
	if (link->is_closing)
		return;
	ngtcp2_pkt_info info = { .ecn = (uint8_t)ecn };
	nsec_t now = loop_now(link->qw->worker->loop);

	quic_path_heard(link);
	link->has_news = true;
	link->has_payload = false;
	link->stats.heard = now;
	link->depth++;
	int r = ngtcp2_conn_read_pkt(link->conn, path, &info, packet.ptr, packet.len, now);
	link->depth--;
	if (link->is_freed) {
		quic_conn_dispose(link);
		return;
	}
	link->unanswered += link->has_payload;
	if (r != 0) {
		quic_conn_fail(link, r);
		return;
	}
	if (link->is_path_new) {
		link->is_path_new = false;
		quic_path_follow_peer(link);
	}
	quic_io_mark_dirty(link);
}

/* ---- out ----------------------------------------------------------------------------------- */

void quic_io_mark_dirty(struct quic_link *link)
{
	loop_task_post(link->qw->worker->loop, &link->flush, LOOP_PHASE_FLUSH);
}

void quic_io_send_now(struct quic_link *link, const ngtcp2_path *path, enum udp_ecn ecn,
		      struct span packet)
{
	if (!link->held.data)
		quic_sock_send(link, path, ecn, packet, packet.len);
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
/* NOLINTNEXTLINE(readability-function-size): the library's signature */
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
		quic_sock_send(link, &path.path, (enum udp_ecn)info.ecn,
			       span_of(qw->out, (size_t)n), segment_len);
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

/* What other parts want to know often, copied once a flush. True when packets have left since. */
static bool refresh_stats(struct quic_link *link)
{
	ngtcp2_conn_info info;
	ngtcp2_conn_get_conn_info(link->conn, &info);
	link->stats.rtt_nsec = info.smoothed_rtt;
	link->stats.cwnd = info.cwnd;
	link->stats.bytes_in_flight = info.bytes_in_flight;
	bool has_sent = link->stats.tx_packets != info.pkt_sent;
	link->stats.tx_packets = info.pkt_sent;

	bool is_stalled =
		!list_is_empty(&link->ready) && ngtcp2_conn_get_max_data_left(link->conn) == 0;
	if (is_stalled && !link->is_stalled)
		link->stats.credit_stalls++;
	link->is_stalled = is_stalled;
	return has_sent;
}

/* The library's way to a PING: a keep-alive that is overdue. */
static void ask_for_ping(struct quic_link *link)
{
	if (link->wants_ping)
		ngtcp2_conn_set_keep_alive_timeout(link->conn, 1);
}

static void end_ping(struct quic_link *link)
{
	if (!link->wants_ping || !link->stats.bytes_in_flight)
		return;
	link->wants_ping = false;
	ngtcp2_conn_set_keep_alive_timeout(link->conn, link->keep_alive);
}

static bool has_cargo(const struct quic_link *link)
{
	return !link->is_handshake_done || !list_is_empty(&link->ready) || link->dgrams.count ||
	       link->wants_ping;
}

/*
 * The library acknowledges with every write. A lone packet that brought nothing to send is most
 * often a request or an answer, and what follows from it will have something to send: true while
 * the acknowledgement waits for that. Loss of what is on the way may be noticed as much later.
 */
static bool may_wait(struct quic_link *link, nsec_t now)
{
	if (has_cargo(link) || link->unanswered != 1)
		return false;
	if (!link->answer_by) {
		ngtcp2_conn_info info;
		ngtcp2_conn_get_conn_info(link->conn, &info);
		link->answer_by = now + (info.bytes_in_flight ? ACK_WAIT : ACK_WAIT_LONG);
	}
	if (now >= link->answer_by)
		return false;
	timer_start(link->qw->worker->loop, &link->timer, link->answer_by);
	return true;
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
	if (retry == NSEC_NEVER && may_wait(link, now))
		return;
	link->unanswered = 0;
	link->answer_by = 0;
	quic_mtu_check(&link->mtu, now, ngtcp2_conn_get_pto(link->conn));
	ask_for_ping(link);
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
	if (refresh_stats(link))
		quic_path_sent(link, now);
	end_ping(link);
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
