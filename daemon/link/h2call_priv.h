/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call, and the translation of heads that it needs; h2call*.c only.
 */
#ifndef DAEMON_LINK_H2CALL_PRIV_H
#define DAEMON_LINK_H2CALL_PRIV_H

#include "daemon/base/arena.h"
#include "daemon/flow/framed.h"
#include "daemon/link/h2call.h"
#include "daemon/link/h2link_priv.h"
#include "daemon/wire/h2_head.h"
#include "daemon/wire/preamble.h"

struct h2call {
	struct stream base;
	struct h2link *link; /* NULL: gone */
	struct stream *h2;   /* owned; NULL: not opened yet (edge), or gone */
	enum h2_class class;
	bool has_key; /* TCP with a Sec-WebSocket-Key: answered as a WebSocket would be */
	char key[32];
	bool is_framed;    /* the user's body bytes are frames */
	bool is_bodiless;  /* edge: the request has ended with its head */
	bool is_answered;  /* edge: the answer's head has come */
	bool is_head_done; /* the user's message has been translated */
	bool is_stopped, is_reset, is_lost, is_closed;
	bool wants_fin;                  /* the user has finished */
	bool has_finished;               /* and h2 knows */
	bool has_rx_end;                 /* the peer's end, frames and all, is in ready */
	struct preamble_reader preamble; /* of the user's message */
	struct bufq ready;               /* to be read before what is in h2 */
	struct bufq
		head;    /* of the user's message, not whole yet; of a configuration's answer all */
	struct bufq out; /* body bytes that h2 has not taken yet */
	struct stream pipe; /* beneath framed: reads frames, writes to ready */
	struct bufq frames; /* that the user has written */
	struct framed framed;
	struct arena arena; /* trailers of framed */
	struct timer retry;
	nsec_t reset_due; /* edge: when a reset is told; 0: none has come */
	struct list node;
	struct loop_garbage garbage;
};

/* ---- h2call.c: a call's life ---- */

/* One without a stream of HTTP/2 yet; on the link's list. NULL: memory. */
[[nodiscard]] struct h2call *h2call_make(struct h2link *link);
/* Its stream, which it takes. */
void h2call_attach(struct h2call *c, struct stream *h2);
/* Its user's body bytes are frames from now on. */
void h2call_begin_frames(struct h2call *c);
/* It can't go on: both its user and the peer are told. */
void h2call_break(struct h2call *c);
/* Nobody has it any more. */
void h2call_dispose(struct h2call *c);

/*
 * ---- h2call_head.c ----
 * Heads from one form to the other. Texts of *ret_head are borrowed from room (scratch of the link)
 * and from frame.
 */
struct h2call_room {
	uint8_t *at;
	size_t cap;
};

/* Daemon: a request's head to preamble and ConnectRequest in room. 0, -ENOBUFS, -EBADMSG. */
[[nodiscard]] int h2call_head_request_in(struct h2call *call, const struct h2_request *request,
					 struct h2call_room room, struct span *ret);
/* Daemon: ConnectResponse to the answer's head; *ret_is_end: nothing follows. 0, -EBADMSG,
 * -ENOBUFS. */
[[nodiscard]] int h2call_head_response_out(const struct h2call *call, struct span frame,
					   struct h2call_room room, struct h2_head *ret_head,
					   bool *ret_is_end);
/* Daemon: the answer instead of one that the edge would not take. */
void h2call_head_too_large(const struct h2call *c, struct h2call_room room,
			   struct h2_head *ret_head);
/* Edge: ConnectRequest to the request's head; sets class, is_framed, is_bodiless. */
[[nodiscard]] int h2call_head_request_out(struct h2call *call, struct span frame,
					  struct h2call_room room, struct h2_head *ret_head);
/* Edge: the answer's head to preamble and ConnectResponse. */
[[nodiscard]] int h2call_head_response_in(const struct h2call *call, const struct h2_head *head,
					  struct h2call_room room, struct span *ret);

#endif
