/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two streams that are each other's peer, in memory: what one writes the other reads, within a
 * window, in pieces as small as a test likes.
 */
#ifndef SELFTESTS_LIB_FAKE_STREAM_H
#define SELFTESTS_LIB_FAKE_STREAM_H

#include "daemon/base/loop.h"
#include "daemon/flow/stream.h"

/* window: bytes on their way in each direction. 0 or -ENOMEM. */
[[nodiscard]] int fake_pair_new(struct loop *loop, struct slab *slab, size_t window,
				struct stream **ret_a, struct stream **ret_b);
/* A read of s gives at most step bytes and every byte has a buffer of its own kind (0: no limit).
 */
void fake_stream_set_step(struct stream *s, size_t step);
/* Writes all of it into s, whatever the window; for tests that play the peer. */
void fake_stream_put(struct stream *s, const void *bytes, size_t len);
/* Takes all that has come to s into out (cap bytes). Returns what stream_read() said last (0 at the
 * end, -EAGAIN, …); *ret_len is the number of bytes. */
int fake_stream_take(struct stream *s, void *out, size_t cap, size_t *ret_len);

#endif
