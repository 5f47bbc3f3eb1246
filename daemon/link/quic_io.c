/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets in and out. Every link writes once a turn, as many packets as pacing and the congestion
 * window allow, in runs of equal length that leave with one system call. The library's own way to
 * aggregate begins no run with a packet that isn't full, so that datagrams would leave one by one.
 * While a socket is full nothing is written.
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

enum {
	PAD_PART = 8,     /* of a packet may be padding, so that it has the length of the others */
	DGRAMS_WAIT = 32, /* packets with datagrams that wait together for an acknowledgement */
};

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
	link->has_payload = link->has_dgram = false;
	link->stats.heard = now;
	link->depth++;
	int r = ngtcp2_conn_read_pkt(link->conn, path, &info, packet.ptr, packet.len, now);
	link->depth--;
	if (link->is_freed) {
		quic_conn_dispose(link);
		return;
	}
	link->unanswered += link->has_payload;
	link->unanswered_dgrams += link->has_dgram && !link->has_payload;
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
	uint32_t flags = NGTCP2_WRITE_DATAGRAM_FLAG_MORE;
	/* A packet that is too full for this one may become as long as the others. */
	if (link->dgrams.lens[link->dgrams.first] <= w->len / PAD_PART)
		flags |= NGTCP2_WRITE_DATAGRAM_FLAG_PADDING;
	ngtcp2_ssize n = ngtcp2_conn_writev_datagram(link->conn, w->path, w->info, w->dest, w->len,
						     &accepted, flags, id, vec, count, w->now);
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
static ngtcp2_ssize write_packet(struct quic_link *link, struct packet_out *w)
{
	if (link->mtu.is_capped)
		w->len = MIN(w->len, (size_t)QUIC_MTU_BASE);
	struct cargo cargo = {};
	ngtcp2_ssize n = NGTCP2_ERR_WRITE_MORE;
	bool is_stalled = ngtcp2_conn_get_max_data_left(link->conn) == 0;

	while (n == NGTCP2_ERR_WRITE_MORE) {
		struct quic_stream *qs = link->is_handshake_done ? quic_stream_next(link) : NULL;
		bool has_dgram = link->is_handshake_done && quic_dgram_is_waiting(link, w->len);
		if (has_dgram && (link->dgrams.is_turn || !qs || is_stalled))
			n = write_dgram(link, w, &cargo);
		else if (qs)
			n = write_stream(link, qs, w, &cargo);
		else
			n = ngtcp2_conn_writev_stream(link->conn, w->path, w->info, w->dest, w->len,
						      NULL, NGTCP2_WRITE_STREAM_FLAG_NONE, -1, NULL,
						      0, w->now);
	}
	if (n > 0) {
		link->dgrams.is_turn = !link->dgrams.is_turn;
		follow_large(link, (size_t)n, &cargo, w->now);
	}
	return n;
}

/* Packets that leave together: of one length but the last, which may be shorter; on one path, with
 * one mark. They lie in the worker's buffer. */
struct run {
	uint8_t *at;
	size_t len, segment_len;
	unsigned int count;
	ngtcp2_path_storage paths[2]; /* theirs, and room for the next packet's */
	unsigned int which, next;
	ngtcp2_pkt_info info;
};

static void count_ecn(struct quic_link *link, const struct run *run)
{
	if (run->info.ecn != NGTCP2_ECN_NOT_ECT) {
		link->ecn_sent += run->count;
		link->ecn_gap = 0;
	} else {
		link->ecn_gap += run->count;
	}
}

/* The next one begins at `next`. */
static void send_run(struct quic_link *link, struct run *run, uint8_t *next)
{
	if (run->count > 0 && link->conn && !link->is_closing && !link->held.data) {
		count_ecn(link, run);
		quic_sock_send(link, &run->paths[run->which].path, (enum udp_ecn)run->info.ecn,
			       span_of(run->at, run->len), run->segment_len);
	}
	run->at = next;
	run->len = 0;
	run->count = 0;
}

/* Takes a packet that lies behind the run into it. If it doesn't fit there, what there is leaves; a
 * socket that has no room for that loses the packet. */
static void add_packet(struct quic_link *link, struct run *run, size_t len,
		       const ngtcp2_pkt_info *info)
{
	uint8_t *out = link->qw->out;
	if (run->count > 0 && (len > run->segment_len || info->ecn != run->info.ecn ||
			       !ngtcp2_path_eq(&run->paths[0].path, &run->paths[1].path)))
		send_run(link, run, run->at + run->len);
	if (run->count == 0) {
		run->segment_len = len;
		run->info = *info;
		run->which = run->next;
	}
	run->len += len;
	run->count++;
	if (len < run->segment_len || run->count == UDP_GSO_SEGMENTS ||
	    out + QUIC_OUT_LEN - (run->at + run->len) < QUIC_MTU_MAX)
		send_run(link, run, out);
}

/* Writes packets until nothing is left, the quantum is used up or the socket is full. */
static int write_all(struct quic_link *link, nsec_t now, bool *ret_more)
{
	size_t quantum = ngtcp2_conn_get_send_quantum(link->conn);
	size_t total = 0;
	ngtcp2_ssize n = 0;
	struct run run = { .at = link->qw->out };
	ngtcp2_path_storage_zero(&run.paths[0]);
	ngtcp2_path_storage_zero(&run.paths[1]);

	*ret_more = false;
	while (!link->held.data) {
		run.next = run.count ? 1 - run.which : run.which;
		ngtcp2_pkt_info info = {};
		n = write_packet(link, &(struct packet_out){ .path = &run.paths[run.next].path,
							     .info = &info,
							     .dest = run.at + run.len,
							     .len = QUIC_MTU_MAX,
							     .now = now });
		if (n <= 0)
			break;
		add_packet(link, &run, (size_t)n, &info);
		if (!link->conn || link->is_closing)
			return 0;
		total += (size_t)n;
		*ret_more = total >= quantum;
		if (*ret_more)
			break;
	}
	send_run(link, &run, link->qw->out);
	if (n < 0)
		return (int)n;
	if (link->conn)
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

/* What came needs an acknowledgement that may wait. */
static bool is_patient(const struct quic_link *link)
{
	if (link->unanswered == 0)
		return link->unanswered_dgrams > 0 && link->unanswered_dgrams <= DGRAMS_WAIT;
	return link->unanswered == 1 && link->unanswered_dgrams == 0;
}

/*
 * The library acknowledges with every write. A lone packet that brought nothing to send is most
 * often a request or an answer, and what follows from it will have something to send; so will
 * datagrams, which are most often answered: true while the acknowledgement waits for that. Loss of
 * what is on the way may be noticed as much later.
 */
static bool may_wait(struct quic_link *link, nsec_t now)
{
	if (has_cargo(link) || !is_patient(link))
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

/* retry: when blocked streams want to try again. */
static void write_out(struct quic_link *link, nsec_t now, nsec_t retry)
{
	link->unanswered = link->unanswered_dgrams = 0;
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
	/* With nothing to send it doesn't matter when the pacer would allow that; what else the
	 * library waits for is no finer than a millisecond. */
	if (!has_more && !has_cargo(link))
		at = MAX(at, nsec_add(now, NSEC_PER_MSEC));
	if (at == NSEC_NEVER)
		timer_stop(&link->timer);
	else
		timer_start(link->qw->worker->loop, &link->timer, at);
}

void quic_io_on_flush(struct loop_task *task)
{
	struct quic_link *link = CONTAINER_OF(task, struct quic_link, flush);
	nsec_t now = loop_now(link->qw->worker->loop);
	if (!link->conn)
		return;
	if (link->is_closing) {
		quic_conn_finish(link);
		return;
	}
	nsec_t retry = quic_stream_retry_blocked(link, now);
	if (retry != NSEC_NEVER || !may_wait(link, now))
		write_out(link, now, retry);
}

void quic_io_write_early(struct quic_link *link)
{
	if (link->depth == 0 && link->conn && !link->is_closing)
		write_out(link, loop_now(link->qw->worker->loop), NSEC_NEVER);
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
