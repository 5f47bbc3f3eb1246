/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the fuzzers of HTTP/1.1: a head that was taken goes through the sender into another receiver.
 */
#ifndef SELFTESTS_LIB_H1_RESEND_H
#define SELFTESTS_LIB_H1_RESEND_H

#include <errno.h>
#include <stdlib.h>

#include "daemon/http/h1_priv.h"
#include "util/macro.h"

/* Stops the program where a debugger or libFuzzer sees it. */
static inline void exercise_check(bool claim)
{
	if (!claim)
		abort();
}

/* Each piece in buffers of its own, so that it stays a slice. */
static inline void h1_append(struct bufq *q, struct span bytes)
{
	while (bytes.len) {
		struct slab_buf *b = slab_buf_get(q->slab, bytes.len);
		exercise_check(b);
		size_t n = MIN(bytes.len, (size_t)b->cap);
		memcpy(b->data, bytes.ptr, n);
		exercise_check(bufq_append_ref(q, b, b->data, n) == 0);
		slab_buf_unref(b);
		bytes = span_skip(bytes, n);
	}
}

/* What was taken can be sent, and is read the same by the next one. */
static inline void h1_resend(enum h1_kind kind, const struct http_head *head, struct slab *slab)
{
	struct arena arena;
	struct h1_tx tx;
	struct h1_rx again;
	int r;
	arena_init(&arena, (size_t)1024 * 1024, NULL);
	h1_tx_init(&tx, slab);
	if (kind == H1_KIND_REQUEST)
		r = h1_tx_request(&tx, head);
	else
		r = h1_tx_response(&tx, head, &(struct h1_answer_to){ .minor = 1 });
	exercise_check(r == 0);
	h1_rx_init(&again, kind, slab, &http_limits_default, &arena);
	(void)bufq_move(&again.raw, &tx.out, tx.out.len);
	r = h1_rx_head(&again);
	exercise_check(r == 0 || r == -EMSGSIZE); /* a field of ours may be one too many */
	if (r == 0) {
		exercise_check(again.raw.len == 0);
		exercise_check(span_eq(again.head.method, head->method));
		exercise_check(span_eq(again.head.target, head->target));
		exercise_check(span_eq(again.head.authority, head->authority));
		exercise_check(again.head.status == head->status);
	}
	h1_rx_done(&again);
	h1_tx_done(&tx);
	arena_done(&arena);
}

#endif
