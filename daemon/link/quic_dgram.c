/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DATAGRAM frames. The library never reports one that is too large for the path: it would stay at
 * the head for ever. So sizes are checked when a datagram is queued and again when it is written,
 * because the path may have become narrower in between.
 */
#include "daemon/link/quic_dgram.h"

#include <errno.h>

#include "daemon/link/quic_io.h"
#include "util/macro.h"

enum {
	/* Short header with the longest packet number, AEAD tag, frame type and length. */
	OVERHEAD = 1 + 4 + 16 + 3,
	FRAME_OVERHEAD = 3, /* what max_datagram_frame_size counts besides the payload */
};

void quic_dgram_init(struct quic_link *link)
{
	bufq_init(&link->dgrams.bytes, link->qw->worker->slab);
}

void quic_dgram_clear(struct quic_link *link)
{
	bufq_clear(&link->dgrams.bytes);
	link->dgrams.count = 0;
}

static size_t max_in(const struct quic_link *link, size_t packet)
{
	size_t overhead = OVERHEAD + ngtcp2_conn_get_dcid(link->conn)->datalen;
	const ngtcp2_transport_params *peer = ngtcp2_conn_get_remote_transport_params(link->conn);
	if (!peer || peer->max_datagram_frame_size <= FRAME_OVERHEAD || packet <= overhead)
		return 0;
	return MIN(packet - overhead, (size_t)peer->max_datagram_frame_size - FRAME_OVERHEAD);
}

size_t quic_dgram_max(const struct quic_link *link)
{
	if (!link->conn || !link->is_handshake_done)
		return 0;
	size_t packet = ngtcp2_conn_get_path_max_tx_udp_payload_size(link->conn);
	return max_in(link, link->mtu.is_capped ? QUIC_MTU_BASE : packet);
}

static bool is_up(const struct quic_link *link)
{
	return link->conn && link->is_handshake_done && !link->is_closing;
}

static bool has_room(const struct quic_dgram_queue *q, enum datagram_kind kind, size_t len)
{
	static const unsigned int places[] = {
		[DATAGRAM_KIND_PAYLOAD] = QUIC_DGRAM_PAYLOADS,
		[DATAGRAM_KIND_ANSWER] = QUIC_DGRAM_OTHERS,
		[DATAGRAM_KIND_PACKET] = QUIC_DGRAM_OTHERS,
	};
	static_assert(ARRAY_SIZE(places) == DATAGRAM_KIND_MAX_);
	if (q->waiting[kind] == places[kind])
		return false;
	return kind != DATAGRAM_KIND_PAYLOAD || q->bytes.len + len <= QUIC_DGRAM_QUEUE_BYTES;
}

int quic_dgram_send(struct quic_link *link, enum datagram_kind kind, struct span payload)
{
	struct quic_dgram_queue *q = &link->dgrams;
	if (is_up(link) && kind == DATAGRAM_KIND_PAYLOAD && !has_room(q, kind, payload.len))
		quic_io_write_early(link);
	if (!is_up(link))
		return -EPROTO;
	int r = 0;
	if (payload.len > quic_dgram_max(link))
		r = -EMSGSIZE;
	else if (!has_room(q, kind, payload.len))
		r = -ENOBUFS;
	else
		r = bufq_append_copy(&q->bytes, payload);
	if (r < 0) {
		link->stats.dropped_datagrams++;
		return r;
	}
	unsigned int last = (q->first + q->count) % QUIC_DGRAM_QUEUE;
	q->lens[last] = (uint16_t)payload.len;
	q->kinds[last] = kind;
	q->waiting[kind]++;
	q->count++;
	quic_io_mark_dirty(link);
	return 0;
}

static void pop(struct quic_dgram_queue *q)
{
	bufq_consume(&q->bytes, q->lens[q->first]);
	q->waiting[q->kinds[q->first]]--;
	q->first = (q->first + 1) % QUIC_DGRAM_QUEUE;
	q->count--;
	q->next_id++;
}

bool quic_dgram_is_waiting(struct quic_link *link, size_t len)
{
	struct quic_dgram_queue *q = &link->dgrams;
	if (q->count == 0)
		return false;
	size_t path = ngtcp2_conn_get_path_max_tx_udp_payload_size(link->conn);
	size_t max = max_in(link, MIN(path, len));
	while (q->count && q->lens[q->first] > max) {
		pop(q);
		link->stats.dropped_datagrams++;
	}
	return q->count > 0;
}

unsigned int quic_dgram_peek(struct quic_link *link, ngtcp2_vec ret_vec[2], uint64_t *ret_id)
{
	const struct quic_dgram_queue *q = &link->dgrams;
	struct iovec iov[2];
	/* A copy of at most 64 KiB went into buffers of 2 KiB or more: two for what a packet holds.
	 */
	unsigned int count = bufq_iov(&q->bytes, 0, q->lens[q->first], iov, 2);
	for (unsigned int i = 0; i < count; i++)
		ret_vec[i] = (ngtcp2_vec){ iov[i].iov_base, iov[i].iov_len };
	*ret_id = q->next_id;
	return count;
}

void quic_dgram_sent(struct quic_link *link)
{
	pop(&link->dgrams);
	link->stats.tx_datagrams++;
}
