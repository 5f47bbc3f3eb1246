/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 sender, shared by server and client: heads and bodies in their framing into a bounded
 * queue (RFC 9112).
 */
#ifndef DAEMON_HTTP_H1_TX_H
#define DAEMON_HTTP_H1_TX_H

#include "daemon/http/http.h"

enum {
	H1_OUT_MAX = 64 * 1024,   /* bytes of a body that wait for the connection */
	H1_OUT_FLUSH = 32 * 1024, /* from here on they are written at once */
};

enum h1_framing : uint8_t {
	H1_FRAMING_NONE,   /* nothing may be written */
	H1_FRAMING_DROP,   /* a body is dropped: HEAD, 204, 304 */
	H1_FRAMING_LENGTH, /* exactly left more bytes */
	H1_FRAMING_CHUNKED,
	H1_FRAMING_CLOSE, /* until our FIN */
};

struct h1_tx {
	struct bufq out;        /* made and not yet taken by the connection */
	struct slab_buf *lines; /* chunk lines are cut from it, so that a chunk costs no buffer */
	size_t lines_used;
	enum h1_framing framing;
	bool has_head;
	bool is_finished;
	bool owes_line_end; /* behind the last chunk */
	uint64_t left;
	uint64_t body_len;             /* bytes taken */
	struct http_trailers trailers; /* borrowed: of a chunked body */
};

void h1_tx_init(struct h1_tx *tx, struct slab *slab);
void h1_tx_done(struct h1_tx *tx);
/* Ready for the next message; what is in out stays. */
void h1_tx_next(struct h1_tx *tx);

/* Queue a head. 0, -ENOBUFS, -EBADMSG (then nothing was queued). */
[[nodiscard]] int h1_tx_request(struct h1_tx *tx, const struct http_head *head);
struct h1_answer_to {
	bool is_head; /* HEAD was asked */
	uint8_t minor;
	bool close; /* the connection ends after this answer */
};
[[nodiscard]] int h1_tx_response(struct h1_tx *tx, const struct http_head *head,
				 const struct h1_answer_to *to);
/* Queues bytes as they are (100 Continue). */
[[nodiscard]] int h1_tx_raw(struct h1_tx *tx, struct span bytes);
/*
 * Queues at most max bytes of body, framed. Returns how many; -EAGAIN while out is full or the head
 * hasn't been queued, -EPROTO for bytes that the framing has no room for, -ENOBUFS.
 */
[[nodiscard]] ssize_t h1_tx_body(struct h1_tx *tx, struct bufq *from, size_t max);
/* What goes behind a chunked body; 0, or -ENOTSUP for another. */
int h1_tx_set_trailers(struct h1_tx *tx, const struct http_trailers *trailers);
/* Ends the body: 0, -EMSGSIZE when bytes are missing, -ENOBUFS. Idempotent. */
[[nodiscard]] int h1_tx_finish(struct h1_tx *tx);
/* How many body bytes h1_tx_body() would take. */
size_t h1_tx_credit(const struct h1_tx *tx);
/* Writes out to the connection. 0 when out is empty, -EAGAIN, or what stream_write() said. */
[[nodiscard]] int h1_tx_flush(struct h1_tx *tx, struct stream *to);

#endif
