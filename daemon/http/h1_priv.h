/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 receiver, shared by server and client: one message after the other out of a byte queue
 * (RFC 9112).
 */
#ifndef DAEMON_HTTP_H1_PRIV_H
#define DAEMON_HTTP_H1_PRIV_H

#include <llhttp.h>

#include "daemon/http/h1_tx.h"

enum {
	H1_READ_LEN = 16 * 1024,    /* bytes taken from a connection at once */
	H1_TRAILER_MAX = 16 * 1024, /* where the limits say nothing */
	H1_TRAILER_FIELDS = 100,
	H1_EMPTY_LINES = 4, /* before a request (RFC 9112 §2.2) */
};

enum h1_kind : uint8_t {
	H1_KIND_REQUEST = 1, /* strict */
	H1_KIND_RESPONSE,    /* lenient as spec §7 says */
};

/* Where the search for the end of the head stands; nothing is scanned twice. */
struct h1_scan {
	struct slice *at;   /* slice of raw, NULL: at its head */
	size_t at_used;     /* bytes of it that were looked at */
	size_t len;         /* bytes looked at */
	size_t line_len;    /* of them in the current line */
	unsigned int lines; /* that have ended */
	bool last_was_cr;
};

struct h1_rx {
	llhttp_t parser;
	struct bufq raw; /* received and not yet parsed */
	enum h1_kind kind;
	bool is_answer_to_head; /* set by the client: the answer has no body */
	bool has_fields;        /* llhttp has seen the head's end */
	bool is_head_done;
	bool is_complete; /* the message has ended */
	bool keep_alive;
	bool until_close;
	bool has_bytes; /* something of this message has come */
	unsigned int empty_lines;
	int error;           /* sticky: -EBADMSG, -EMSGSIZE, -E2BIG, -ENOMEM */
	unsigned int status; /* what a server answers to error */
	const struct http_limits *limits;
	struct arena *arena; /* of the current message */
	struct h1_scan scan;

	/* while llhttp runs */
	struct span text; /* the head's bytes, in the arena */
	struct span method;
	struct span target;
	struct span version;
	struct http_field *fields; /* room for every line */
	unsigned int field_count;
	bool in_value;
	struct bufq *body_to;
	struct slab_buf *body_buf;

	uint64_t body_len;  /* bytes handed on */
	size_t extra_len;   /* trailers and chunk extensions, */
	size_t trailer_max; /* of at most so many bytes; 0: none has come */
	unsigned int trailer_field_max;
	uint8_t *trailer_text; /* room for what may still come, in the arena */
	size_t trailer_len;
	struct http_field *trailer_fields;
	bool has_odd_trailer;          /* one was left out: it can't be sent on */
	struct http_trailers trailers; /* when the message has ended */
	unsigned int trailer_count;    /* while it has not */
	struct http_head head;
};

/* limits and arena are borrowed. */
void h1_rx_init(struct h1_rx *rx, enum h1_kind kind, struct slab *slab,
		const struct http_limits *limits, struct arena *arena);
void h1_rx_done(struct h1_rx *rx);
/* Ready for the next message; what is in raw stays. The arena is the caller's to reset. */
void h1_rx_next(struct h1_rx *rx);

/*
 * Looks for a whole head in raw and parses it. Returns 0 (rx->head), -EAGAIN (more bytes are
 * wanted), -EMSGSIZE over a limit, -EBADMSG, -ENOMEM; the errors stay. For a request rx->status
 * says what to answer.
 */
[[nodiscard]] int h1_rx_head(struct h1_rx *rx);
/*
 * Moves at most max bytes of body from raw to the end of to, by reference. Returns how many, 0 at
 * the message's end, -EAGAIN when raw is used up, or -EBADMSG, -E2BIG (body_max), -ENOMEM.
 */
[[nodiscard]] ssize_t h1_rx_body(struct h1_rx *rx, struct bufq *to, size_t max);
/*
 * The peer has sent its FIN and raw is used up. Returns 0 if that ends the message truthfully (or
 * it has ended), -ECONNRESET when not a byte of it had come, else -EBADMSG.
 */
[[nodiscard]] int h1_rx_eof(struct h1_rx *rx);

/*
 * Before llhttp, for answers only: continuation lines are joined to theirs with one space, blanks
 * before a colon and identical repeated Content-Length lines are taken out (spec §7). In place;
 * returns the new length, 0 for what can't be a head.
 */
size_t h1_head_tidy(uint8_t *text, size_t len);
/* After llhttp: rx->head from what it found. 0 or -EBADMSG with rx->status. */
[[nodiscard]] int h1_head_finish(struct h1_rx *rx);

#endif
