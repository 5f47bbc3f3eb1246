/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framed body of a tunnel stream (docs/protocol.md §10.7) as a stream of its plain bytes, with
 * trailers and truthful endings. It has no user: whoever uses the stream beneath is told by that
 * one and moves bytes through this.
 */
#ifndef DAEMON_FLOW_FRAMED_H
#define DAEMON_FLOW_FRAMED_H

#include "daemon/base/arena.h"
#include "daemon/flow/stream.h"
#include "daemon/wire/body_frame.h"

enum framed_state : uint8_t {
	FRAMED_STATE_INVALID,
	FRAMED_STATE_HEAD, /* between frames, or in the head of one */
	FRAMED_STATE_DATA,
	FRAMED_STATE_TEXT, /* in the payload of TRAILERS or ABORT */
	FRAMED_STATE_SKIP, /* in a frame of an unknown type */
	FRAMED_STATE_MAX_,
};

struct framed_limits {
	size_t trailer_max; /* bytes of a TRAILERS payload */
	unsigned int trailer_fields;
};

struct framed {
	struct stream
		base; /* for pumps; reset and finish as below, stop goes through, close doesn't */
	struct stream *s;    /* borrowed */
	struct arena *arena; /* borrowed: trailers that come live there */
	struct framed_limits limits;

	struct bufq in; /* read and not yet cut */
	enum framed_state state;
	uint64_t type; /* of the frame */
	uint64_t left; /* bytes of its payload still to come */
	uint8_t *text; /* payload that is collected */
	size_t text_len;
	struct http_field *fields;
	unsigned int field_count; /* trailers that came, in lower case */
	bool has_trailers;
	bool is_aborted; /* by ABORT: base.error_code is its reason */
	int error;       /* sticky: -EBADMSG (bad frames), -ECONNRESET, -ENOMEM */

	struct bufq out;        /* framed and not yet taken */
	struct slab_buf *heads; /* frames' heads are cut from it */
	size_t heads_used;
	const struct http_field *tx_fields; /* borrowed until the end was sent */
	unsigned int tx_field_count;
	bool wants_fin; /* finish() was called */
	bool has_ended; /* the trailers are in out */
};

/* s and arena are borrowed. */
void framed_init(struct framed *f, struct stream *s, struct arena *arena,
		 const struct framed_limits *limits);
/* What had been read of s before, e.g. behind a head, is the beginning of the body: moved. */
void framed_take(struct framed *f, struct bufq *rest);
/* Frees what is queued; harmless on zeroes and twice. */
void framed_done(struct framed *f);

/* To be called before stream_finish(): borrowed until framed_flush() has said 0. */
void framed_set_trailers(struct framed *f, const struct http_field *fields, unsigned int count);
/*
 * To be called when s is writable: writes what waits, and the FIN after stream_finish(). Returns 0
 * when nothing waits any more, -EAGAIN, or what stream_write() said.
 */
int framed_flush(struct framed *f);
/*
 * Ends our direction with ABORT and a reason, reliably behind what was written. Returns as
 * framed_flush(), which goes on with it; without a buffer s is reset.
 */
int framed_abort(struct framed *f, uint64_t reason);

#endif
