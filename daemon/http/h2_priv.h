/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of HTTP/2 share; nobody else includes it.
 */
#ifndef DAEMON_HTTP_H2_PRIV_H
#define DAEMON_HTTP_H2_PRIV_H

#include <nghttp2/nghttp2.h>

#include "daemon/base/ratelimit.h"
#include "daemon/flow/rx.h"
#include "daemon/http/h2_check.h"
#include "daemon/http/h2_skim.h"

enum {
	H2_TURN = 16 * 1024,    /* bytes of a stream before the next one's turn: a DATA frame */
	H2_OUT_MAX = 64 * 1024, /* bytes that wait for the stream beneath; a frame more at most */
};

struct h2_stream {
	struct stream base;   /* first */
	struct h2_conn *conn; /* NULL once the library or the connection has let go of it */
	void *owner;
	int32_t id;
	struct list node;  /* on conn->streams */
	struct list ready; /* on conn->ready */
	struct loop_garbage garbage;

	struct bufq rx;
	struct rx_window window;
	uint64_t rx_unpaid; /* bytes in rx for which the connection's credit waits */
	uint64_t rx_left;   /* bytes that content-length still promises; H2_LENGTH_NONE: unknown */
	nsec_t rx_moved;    /* when rx was last empty or taken from */
	struct timer retry; /* of a reader for whom there was no slice node */
	struct http_trailers rx_trailers, tx_trailers;
	void *rx_block, *tx_block; /* their memory; owned */

	struct bufq tx;
	size_t tx_turn;  /* bytes that it may send now */
	nsec_t tx_moved; /* when tx was last empty or sent from */
	uint32_t broken_code;

	bool has_head;                         /* the peer's final head has come */
	bool has_fin, is_reset, is_stopped;    /* receiving: peer's end, a reset, our stop */
	bool is_tx_open;                       /* our head was handed over */
	bool wants_fin, has_eof, has_sent_fin; /* asked for; told the library; gone out */
	bool is_tx_reset, is_tx_refused;       /* by us; by the peer */
	bool is_blocked;                       /* no stream credit */
	bool is_broken, is_bodiless, is_held, is_ours; /* ends by RST; answer has no body; … */
	bool is_closed, is_lost, is_rst_sent; /* by the user; connection gone; RST is on its way */
	bool wants_room;                      /* on_writable is owed */
};
#define H2_LENGTH_NONE UINT64_MAX

struct h2_conn {
	enum h2_role role;
	const struct h2_settings *settings;
	const struct h2_events *events;
	void *user;
	struct loop *loop;
	struct slab *slab;
	struct stream *below; /* NULL after the end */
	nghttp2_session *session;
	struct h2_skim skim; /* what is read goes through it */
	struct bufq in, out;
	struct loop_task read, flush;    /* goes on reading; writes once a turn */
	struct loop_task closer, notice; /* say that it is over; that ids are used up */
	struct loop_garbage garbage;
	unsigned int depth; /* inside nghttp2_session_mem_recv2() */

	struct list streams, ready; /* all; with something to send, round robin */
	struct h2_stream *first;
	unsigned int stream_count, held_count, opened; /* opened by us and not over */
	unsigned int senders;                          /* streams with bytes to send */

	struct arena arena; /* of the block that is being received */
	struct h2_block block;

	struct rx_window window;
	uint64_t stream_windows; /* sum of all */
	uint64_t reserved;       /* granted to the peer, not yet received */
	uint64_t counted;        /* of it, by the worker's budget */
	uint64_t unpaid;         /* credit that waits until streams' users take what arrived */
	struct timer watch;

	struct ratelimit idle_limit, reset_limit; /* frames that move nothing; resets */
	uint64_t update_credit;                   /* WINDOW_UPDATEs that our DATA explains */
	nsec_t asked;                             /* SETTINGS or a PING is on its way since */
	bool is_asking, is_pinging;

	bool is_open, is_draining, has_goaway, is_tx_stalled;
	bool is_tx_short; /* a frame waits for memory, and with it all others */
	bool has_ended, is_shut, is_freed, is_below_broken;
	enum h2_end end;
	uint32_t end_code;
	char end_reason[64];
	struct h2_stats stats;
};

/* ---- h2.c: the connection ------------------------------------------------------------------ */

/* Output is written at the end of the turn. */
void h2_mark_dirty(struct h2_conn *c);
/* It is over: streams are lost, on_closed follows. Idempotent; from anywhere. */
void h2_end(struct h2_conn *c, enum h2_end end, uint32_t code, const char *reason);
/* The peer broke the rules, or memory: GOAWAY and the end. */
void h2_fail(struct h2_conn *c, uint32_t code, const char *reason);
void h2_on_answer(struct h2_conn *c); /* to what was asked: a round trip */
/* RST_STREAM, also of a stream that has no object. */
void h2_submit_reset(struct h2_conn *c, int32_t id, uint32_t code);

/* ---- h2_callbacks.c ------------------------------------------------------------------------ */

/* The session of a connection. 0 or -ENOMEM. */
[[nodiscard]] int h2_session_new(struct h2_conn *c);

/* ---- h2_head.c ------------------------------------------------------------------------------ */

/* A copy in one block of memory, to be freed. 0 or -ENOMEM. */
[[nodiscard]] int h2_trailers_copy(const struct http_trailers *from, struct http_trailers *ret,
				   void **ret_block);
/* From the library's read callback: our body has ended and these follow. 0 or -ENOMEM. */
[[nodiscard]] int h2_submit_trailers(struct h2_stream *s);

#endif
