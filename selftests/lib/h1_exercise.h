/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the fuzzers of HTTP/1.1: reads whatever there is as messages of one kind, cut in different
 * ways, and makes one number of all that was seen.
 */
#ifndef SELFTESTS_LIB_H1_EXERCISE_H
#define SELFTESTS_LIB_H1_EXERCISE_H

#include <errno.h>
#include <stdlib.h>

#include "daemon/http/h1_priv.h"
#include "selftests/lib/h1_resend.h"
#include "util/macro.h"

enum { EXERCISE_READ = 100 };

struct h1_exercise {
	enum h1_kind kind;
	struct slab *slab;
	struct arena arena;
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
	h1_resend(e->kind, &e->rx.head, e->slab);
}

static inline void exercise_fail(struct h1_exercise *e, int error)
{
	e->has_failed = true;
	exercise_add_number(e, (uint64_t)error);
	exercise_add_number(e, e->rx.status);
	exercise_check(e->rx.status >= 400 && e->rx.status < 600);
}

static inline void exercise_end(struct h1_exercise *e)
{
	exercise_add_number(e, ';');
	e->in_body = false;
	h1_rx_next(&e->rx);
	arena_reset(&e->arena);
}

/* One step of reading. Returns how many bytes of body came, 0 for a head or an end, or an error. */
static inline ssize_t exercise_step(struct h1_exercise *e, struct bufq *body)
{
	if (!e->in_body) {
		int r = h1_rx_head(&e->rx);
		e->in_body = r == 0;
		if (r == 0)
			exercise_head(e);
		return r;
	}
	ssize_t n = h1_rx_body(&e->rx, body, EXERCISE_READ);
	if (n == 0)
		exercise_end(e);
	return n;
}

/* Reads what can be read now. */
static inline void exercise_run(struct h1_exercise *e)
{
	struct bufq body;
	bufq_init(&body, e->slab);
	ssize_t n;
	while (!e->has_failed && (n = exercise_step(e, &body)) != -EAGAIN) {
		uint8_t bytes[EXERCISE_READ];
		if (n < 0)
			exercise_fail(e, (int)n);
		exercise_add(e, span_of(bytes, bufq_copy_out(&body, bytes, sizeof(bytes))));
		exercise_check(n < 0 ? body.len == 0 : body.len == (size_t)n);
		bufq_clear(&body);
	}
}

/* All of in, cut into pieces of this length. */
static inline uint64_t exercise_h1(enum h1_kind kind, bool to_head, struct span in, size_t piece)
{
	struct h1_exercise e = { .kind = kind, .digest = UINT64_C(0xcbf29ce484222325) };
	static struct slab *slab; /* one for all runs: making one costs more than a run */
	exercise_check(slab || slab_new((size_t)64 * 1024 * 1024, &slab) == 0);
	e.slab = slab;
	arena_init(&e.arena, (size_t)1024 * 1024, NULL);
	h1_rx_init(&e.rx, kind, e.slab, &http_limits_default, &e.arena);
	e.rx.is_answer_to_head = to_head;
	while (in.len && !e.has_failed) {
		struct span run = span_first(in, piece);
		h1_append(&e.rx.raw, run);
		exercise_run(&e);
		in = span_skip(in, run.len);
	}
	if (!e.has_failed && (e.in_body || e.rx.has_bytes)) {
		int r = h1_rx_eof(&e.rx);
		exercise_add_number(&e, (uint64_t)r);
	}
	h1_rx_done(&e.rx);
	arena_done(&e.arena);
	struct slab_stats stats;
	slab_get_stats(slab, &stats);
	exercise_check(stats.in_use == 0);
	return e.digest;
}

/* However it is cut, the same is seen. */
static inline void exercise_cuts(enum h1_kind kind, bool to_head, struct span in)
{
	uint64_t whole = exercise_h1(kind, to_head, in, in.len);
	exercise_check(exercise_h1(kind, to_head, in, 7) == whole);
	if (in.len <= 4096)
		exercise_check(exercise_h1(kind, to_head, in, 1) == whole);
}

#endif
