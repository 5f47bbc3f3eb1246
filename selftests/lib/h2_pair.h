/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two HTTP/2 connections that are each other's peer over a socketpair, with what their users would
 * note down. Or one of them, and bytes that the test writes.
 */
#ifndef SELFTESTS_LIB_H2_PAIR_H
#define SELFTESTS_LIB_H2_PAIR_H

#include "daemon/http/h2.h"

enum { H2_CALLS = 64, H2_TEXT = 512 };

/* One stream as its user sees it. */
struct h2_call {
	struct h2_end_point *end;
	struct stream *s;
	char head[H2_TEXT]; /* "GET https host /path|name=value|…" or "200|…" */
	enum h2_fault fault;
	bool has_head, is_end, is_quiet; /* quiet: doesn't read */
	struct bufq rx, tx;
	uint64_t rx_total, rx_sum, tx_total; /* bytes; what they add up to */
	ssize_t rx_status, tx_status;        /* what the last call said */
	bool finishes;                       /* when tx is empty */
	uint64_t endless;                    /* so many bytes are still to be made */
};

struct h2_end_point {
	struct h2_conn *conn;
	struct stream *raw; /* instead of conn */
	struct h2_call calls[H2_CALLS];
	unsigned int count; /* of calls */
	unsigned int opened, goaways, pongs, closed;
	enum h2_end end;
	uint32_t code;
	char reason[H2_TEXT];
	void (*on_request)(struct h2_call *call); /* NULL: notes it down only */
};

struct h2_pair {
	struct loop *loop;
	struct slab *slab;
	struct h2_settings settings;
	struct h2_end_point client, server;
	bool has_preface;  /* raw: of a client, was read */
	struct bufq batch; /* raw: what is sent together, */
	size_t batch_max;  /* when it is so much */
};

extern const struct h2_settings h2_pair_settings;

/* settings of the pair may be changed between the two. */
void h2_pair_init(struct h2_pair *p, size_t budget);
void h2_pair_start(struct h2_pair *p);
/* Only one of them; the other is a stream of the test's, with bytes by h2_raw_…. */
void h2_pair_start_raw(struct h2_pair *p, enum h2_role role);
void h2_pair_done(struct h2_pair *p);

/* Turns until the condition holds, at most ten seconds. */
#define H2_RUN_UNTIL(pair, condition)                                                \
	do {                                                                         \
		nsec_t deadline_ = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;  \
		while (!(condition)) {                                               \
			assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline_);        \
			assert_int_equal(loop_turn((pair)->loop, NSEC_PER_MSEC), 0); \
		}                                                                    \
	} while (0)

/* METHOD https host /p?q, with fields (NULL: none); is_end: no body. Returns what h2_open() said.
 */
int h2_call_open(struct h2_end_point *client, const char *method,
		 const struct http_trailers *fields, bool is_end, struct h2_call **ret);
int h2_call_respond(struct h2_call *call, unsigned int status, const struct http_trailers *fields,
		    bool is_end);
/* Queues bytes for the call; sent as credit allows. */
void h2_call_write(struct h2_call *call, const void *bytes, size_t len);
/* Makes len bytes of a pattern, whose sum h2_pattern_sum() knows, and sends them as credit allows.
 */
void h2_call_write_pattern(struct h2_call *call, uint64_t len);
uint64_t h2_pattern_sum(uint64_t len);
void h2_call_read(struct h2_call *call);
void h2_call_finish(struct h2_call *call); /* when all is written */
void h2_call_close(struct h2_call *call);
/* What was read, as text. Static buffer. */
const char *h2_call_text(struct h2_call *call);

/* ---- raw bytes ---- */

struct h2_raw_frame {
	uint8_t type, flags;
	uint32_t id;
	size_t len;
	uint8_t payload[256]; /* its beginning */
};

/* A frame to the connection under test: head's type, flags and id. */
void h2_raw_send(struct h2_pair *p, const struct h2_raw_frame *head, const void *payload,
		 size_t len);
void h2_raw_bytes(struct h2_pair *p, const void *bytes, size_t len);
/* The preface of a client and SETTINGS, and an answer to those of the connection. */
void h2_raw_hello(struct h2_pair *p);

/* The next frame that the connection sends, of this type (others are passed over). Returns false at
 * the end of its stream. */
bool h2_raw_next(struct h2_pair *p, uint8_t type, struct h2_raw_frame *ret);
/* Drops what it has sent. */
void h2_raw_drop(struct h2_pair *p);

#endif
