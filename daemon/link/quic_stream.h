/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of a QUIC link: buffers, credit, and the order in which they are written (spec §13).
 * Private to the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_STREAM_H
#define DAEMON_LINK_QUIC_STREAM_H

#include "daemon/link/quic_priv.h"

enum {
	QUIC_STREAM_TURN = 16 * 1024, /* bytes of a stream before the next one's turn */
	QUIC_STREAM_IOV = 8,          /* runs of bytes offered for one packet */
};

struct quic_stream {
	struct stream base;     /* first */
	struct quic_link *link; /* NULL once the library or the connection has let go of it */
	int64_t id;
	struct list node;    /* on link->streams */
	struct list arrival; /* on link->arrivals */
	struct list ready;   /* on link->ready */
	struct loop_garbage garbage;

	struct bufq rx;
	struct rx_window window;
	uint64_t rx_unpaid; /* bytes in rx for which the link's credit waits until they are taken */
	nsec_t rx_moved;    /* when rx was last empty or taken from */
	struct timer retry; /* of a reader for whom there was no slice node */

	struct bufq tx;         /* from the first byte that isn't acknowledged */
	uint64_t tx_acked;      /* stream offset of tx's first byte */
	uint64_t tx_sent;       /* offset of the first byte not yet in a packet */
	struct slice *tx_slice; /* where that byte is, or the end of the slice before it */
	const uint8_t *tx_pos;
	size_t tx_turn;  /* bytes of this turn */
	nsec_t tx_moved; /* when tx was last empty or acknowledged from */

	bool has_fin, is_reset, is_stopped; /* receiving: peer's end, peer's reset, our stop */
	bool wants_fin, has_sent_fin;       /* sending */
	bool is_tx_reset, is_tx_refused, is_blocked; /* by us; by the peer; no stream credit */
	bool is_closed, is_over, is_lost; /* by the user; in the library; connection gone */
	bool wants_room;                  /* on_writable is owed */
};

/* A stream of the library's id: the peer's (then it joins link->arrivals) or ours. NULL: memory. */
struct quic_stream *quic_stream_new(struct quic_link *link, int64_t id);
/* Open streams but for the control stream. */
unsigned int quic_stream_running(const struct quic_link *link);

/* What the library says about a stream. */
void quic_stream_on_data(struct quic_stream *qs, struct span data, bool is_fin);
void quic_stream_on_acked(struct quic_stream *qs, uint64_t offset, uint64_t len);
void quic_stream_on_reset(struct quic_stream *qs, uint64_t code);
void quic_stream_on_credit(struct quic_stream *qs);
/* Both directions have ended: the library forgets the stream. code: the first that either sent. */
void quic_stream_on_over(struct quic_stream *qs, uint64_t code);
/*
 * The peer doesn't want our data. The library has no callback for STOP_SENDING: it shows when we
 * write (then without a code), or when the stream is over.
 */
void quic_stream_on_refused(struct quic_stream *qs, uint64_t code);
/*
 * Tries streams without credit again, so that a stop is noticed there, too: at most twice a second,
 * and only when the peer has said something. Returns when that will be, or NSEC_NEVER.
 */
nsec_t quic_stream_retry_blocked(struct quic_link *link, nsec_t now);
/* The connection is gone: every stream says so to its user. */
void quic_stream_lose_all(struct quic_link *link);

/* Gives the streams that the peer has opened to the sink. */
void quic_stream_announce(struct quic_link *link);

/* The stream to write from next; NULL when none has anything to say. */
struct quic_stream *quic_stream_next(struct quic_link *link);
/* What it would send: runs of bytes, about want in sum. ret_fin: with the end behind them. */
unsigned int quic_stream_peek(const struct quic_stream *qs, size_t want, ngtcp2_vec *ret_vec,
			      bool *ret_fin);
/* len bytes of what was peeked (and the end) went into a packet. */
void quic_stream_sent(struct quic_stream *qs, size_t len, bool is_fin);
/* No stream credit: not before quic_stream_on_credit(). */
void quic_stream_block(struct quic_stream *qs);

/* Since when somebody should have taken something and hasn't; NSEC_NEVER when nothing waits. */
nsec_t quic_stream_stuck_since(const struct quic_stream *qs);
/* Resets both directions because memory is short. */
void quic_stream_overload(struct quic_stream *qs);
/* Tells a user who wants to write if there is room by now. */
void quic_stream_check_room(struct quic_stream *qs);

#endif
