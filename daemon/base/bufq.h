/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of bytes made of slices: what streams hand to one another. Moving between queues moves
 * references, not bytes. A queue belongs to one worker and is bounded by whoever fills it.
 */
#ifndef DAEMON_BASE_BUFQ_H
#define DAEMON_BASE_BUFQ_H

#include <sys/types.h>
#include <sys/uio.h>

#include "daemon/base/slab.h"
#include "util/span.h"

struct bufq {
	struct slab *slab; /* the worker's; nodes and new buffers come from it */
	struct slice *head;
	struct slice *tail;
	size_t len; /* bytes */
};

void bufq_init(struct bufq *q, struct slab *slab);
/* Drops all bytes. The queue stays usable. */
void bufq_clear(struct bufq *q);

static inline bool bufq_is_empty(const struct bufq *q)
{
	return q->len == 0;
}

/* Copies bytes to the end, filling the last buffer first. All or nothing: 0 or -ENOBUFS. */
[[nodiscard]] int bufq_append_copy(struct bufq *q, struct span bytes);
/* Appends a run of buf (adds a reference). 0 or -ENOBUFS. */
[[nodiscard]] int bufq_append_ref(struct bufq *q, struct slab_buf *buf, uint8_t *ptr, size_t len);

/*
 * Room for writing behind the last byte, at least 1 byte and about want (one buffer at most); a new
 * buffer is taken when the last has less than a quarter of want left. NULL at the budget.
 * bufq_commit() then counts len of it as written (0 gives an unused new buffer back).
 */
[[nodiscard]] uint8_t *bufq_room(struct bufq *q, size_t want, size_t *ret_len);
void bufq_commit(struct bufq *q, size_t len);

/* Moves up to max bytes from the head of from to the end of to (same slab). Returns how many. */
size_t bufq_move(struct bufq *to, struct bufq *from, size_t max);
/* Drops len bytes (at most q->len) from the head. */
void bufq_consume(struct bufq *q, size_t len);
/* The first contiguous run; empty for an empty queue. */
struct span bufq_peek(const struct bufq *q);
/* Copies the first len bytes (at most q->len) out without consuming. Returns how many. */
size_t bufq_copy_out(const struct bufq *q, void *to, size_t len);
/* Fills up to max vectors over at most limit bytes from byte offset on. Returns how many vectors.
 */
unsigned int bufq_iov(const struct bufq *q, size_t offset, size_t limit, struct iovec *iov,
		      unsigned int max);

#endif
