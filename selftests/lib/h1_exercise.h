/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the fuzzers of HTTP/1.1: reads whatever there is as messages of one kind, cut in different
 * ways, and makes one number of all that was seen.
 */
#ifndef SELFTESTS_LIB_H1_EXERCISE_H
#define SELFTESTS_LIB_H1_EXERCISE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/http/h1_priv.h"
#include "util/macro.h"

#define EXERCISE_CHECK(claim)                                                             \
	do {                                                                              \
		if (!(claim)) {                                                           \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #claim); \
			abort();                                                          \
		}                                                                         \
	} while (0)

struct h1_exercise {
	enum h1_kind kind;
	struct slab *slab;
	struct arena arena;
	struct arena again_arena;
	struct h1_rx rx;
	uint64_t digest; /* FNV-1a */
	bool in_body;
	bool has_failed;
};

static inline void exercise_add(struct h1_exercise *e, struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		e->digest = (e->digest ^ bytes.ptr[i]) * UINT64_C(0x100000001b3);
}

static inline void exercise_add_number(struct h1_exercise *e, uint64_t n)
{
	exercise_add(e, span_of(&n, sizeof(n)));
}

static inline void exercise_append(struct h1_exercise *e, struct bufq *q, struct span bytes)
{
	while (bytes.len) {
		struct slab_buf *b = slab_buf_get(e->slab, bytes.len);
		EXERCISE_CHECK(b);
		size_t n = MIN(bytes.len, (size_t)b->cap);
		memcpy(b->data, bytes.ptr, n);
		EXERCISE_CHECK(bufq_append_ref(q, b, b->data, n) == 0);
		slab_buf_unref(b);
		bytes = span_skip(bytes, n);
	}
}

/* What was taken can be sent, and is read the same by the next one. */
static inline void exercise_pass_on(struct h1_exercise *e)
{
	const struct http_head *head = &e->rx.head;
	struct h1_tx tx;
	struct h1_rx again;
	int r;
	h1_tx_init(&tx, e->slab);
	if (e->kind == H1_KIND_REQUEST)
		r = h1_tx_request(&tx, head);
	else
		r = h1_tx_response(&tx, head, &(struct h1_answer_to){ .minor = 1 });
	EXERCISE_CHECK(r == 0);
	h1_rx_init(&again, e->kind, e->slab, &http_limits_default, &e->again_arena);
	(void)bufq_move(&again.raw, &tx.out, tx.out.len);
	r = h1_rx_head(&again);
	EXERCISE_CHECK(r == 0 || r == -EMSGSIZE); /* a field of ours may be one too many */
	if (r == 0) {
		EXERCISE_CHECK(again.raw.len == 0);
		EXERCISE_CHECK(span_eq(again.head.method, head->method));
		EXERCISE_CHECK(span_eq(again.head.target, head->target));
		EXERCISE_CHECK(span_eq(again.head.authority, head->authority));
		EXERCISE_CHECK(again.head.status == head->status);
	}
	h1_rx_done(&again);
	h1_tx_done(&tx);
	arena_reset(&e->again_arena);
}

static inline void exercise_head(struct h1_exercise *e)
{
	const struct http_head *h = &e->rx.head;
	exercise_add(e, h->method);
	exercise_add(e, h->target);
	exercise_add(e, h->authority);
	exercise_add_number(e, h->status);
	exercise_add_number(e, h->minor);
	exercise_add_number(e, h->body);
	exercise_add_number(e, h->content_length);
	exercise_add_number(e, e->rx.keep_alive);
	for (unsigned int i = 0; i < h->field_count; i++) {
		exercise_add(e, h->fields[i].name);
		exercise_add_number(e, ':');
		exercise_add(e, h->fields[i].value);
		exercise_add_number(e, '\n');
	}
	exercise_pass_on(e);
}

static inline void exercise_fail(struct h1_exercise *e, int error)
{
	e->has_failed = true;
	exercise_add_number(e, (uint64_t)error);
	if (e->kind == H1_KIND_REQUEST) {
		EXERCISE_CHECK(e->rx.status >= 400 && e->rx.status < 600);
		exercise_add_number(e, e->rx.status);
	}
}

/* Reads what can be read now. */
static inline void exercise_run(struct h1_exercise *e)
{
	struct bufq body;
	bufq_init(&body, e->slab);
	while (!e->has_failed) {
		ssize_t r = e->in_body ? 0 : h1_rx_head(&e->rx);
		if (r == -EAGAIN)
			break;
		if (r < 0) {
			exercise_fail(e, (int)r);
			break;
		}
		if (!e->in_body)
			exercise_head(e);
		e->in_body = true;
		r = h1_rx_body(&e->rx, &body, 100);
		EXERCISE_CHECK(r <= 100);
		if (r > 0) {
			uint8_t bytes[100];
			EXERCISE_CHECK(bufq_copy_out(&body, bytes, sizeof(bytes)) == (size_t)r);
			exercise_add(e, span_of(bytes, (size_t)r));
			bufq_clear(&body);
			continue;
		}
		if (r == -EAGAIN)
			break;
		if (r < 0) {
			exercise_fail(e, (int)r);
			break;
		}
		exercise_add_number(e, ';');
		e->in_body = false;
		h1_rx_next(&e->rx);
		arena_reset(&e->arena);
	}
	bufq_clear(&body);
}

/* All of in, cut into pieces of this length. */
static inline uint64_t exercise_h1(enum h1_kind kind, bool to_head, struct span in, size_t piece)
{
	struct h1_exercise e = { .kind = kind, .digest = UINT64_C(0xcbf29ce484222325) };
	static struct slab *slab; /* one for all runs: making one costs more than a run */
	EXERCISE_CHECK(slab || slab_new((size_t)64 * 1024 * 1024, &slab) == 0);
	e.slab = slab;
	arena_init(&e.arena, (size_t)1024 * 1024);
	arena_init(&e.again_arena, (size_t)1024 * 1024);
	h1_rx_init(&e.rx, kind, e.slab, &http_limits_default, &e.arena);
	e.rx.is_answer_to_head = to_head;
	while (in.len && !e.has_failed) {
		struct span run = span_first(in, piece);
		exercise_append(&e, &e.rx.raw, run);
		exercise_run(&e);
		in = span_skip(in, run.len);
	}
	if (!e.has_failed && (e.in_body || e.rx.has_bytes)) {
		int r = h1_rx_eof(&e.rx);
		exercise_add_number(&e, (uint64_t)r);
	}
	h1_rx_done(&e.rx);
	arena_done(&e.arena);
	arena_done(&e.again_arena);
	struct slab_stats stats;
	slab_get_stats(slab, &stats);
	EXERCISE_CHECK(stats.in_use == 0);
	return e.digest;
}

/* However it is cut, the same is seen. */
static inline void exercise_cuts(enum h1_kind kind, bool to_head, struct span in)
{
	uint64_t whole = exercise_h1(kind, to_head, in, in.len);
	EXERCISE_CHECK(exercise_h1(kind, to_head, in, 7) == whole);
	if (in.len <= 4096)
		EXERCISE_CHECK(exercise_h1(kind, to_head, in, 1) == whole);
}

#endif
