/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of packets and bodies of one worker: fixed buffers of two sizes under one budget
 * (design §3; limits in docs/limits.md). No allocation per chunk: buffers and slice nodes are
 * reused.
 *
 * A buffer is counted; its references may be given back from any thread (a bridge hands slices to
 * another worker), everything else belongs to the owning worker's thread.
 */
#ifndef DAEMON_BASE_SLAB_H
#define DAEMON_BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

enum {
	SLAB_SMALL_LEN = 2048 - 64,       /* payload bytes of a small buffer */
	SLAB_LARGE_LEN = 16 * 1024 + 512, /* of a large one: a TLS record's worth */
};

struct slab;

/* One buffer. data[0 … cap-1] is the holder's to write while it has the only reference. */
struct slab_buf {
	struct slab *owner;
	struct slab_buf *next; /* slab's own: free or returned list */
	_Atomic uint32_t refs;
	uint32_t cap;
	alignas(16) uint8_t data[];
};

/* A run of bytes in a buffer; one reference of it. Nodes come from the worker's slab. */
struct slice {
	struct slice *next;
	struct slab_buf *buf;
	uint8_t *ptr;
	uint32_t len;
};

struct slab_stats {
	size_t in_use;    /* bytes of buffers handed out */
	size_t reserved;  /* bytes granted to peers that can still arrive */
	size_t limit;     /* the budget */
	uint64_t refused; /* requests that the budget refused */
	size_t arenas;    /* bytes that arenas hold; they are no part of the budget */
};

/*
 * budget: bytes of buffers (payload, by their cap) that may be handed out at once. The calling
 * thread becomes the owner. Returns 0 or -ENOMEM.
 */
[[nodiscard]] int slab_new(size_t budget, struct slab **ret);
/* Makes the calling thread the owner; the one before must not use the slab any more. */
void slab_adopt(struct slab *slab);
/* All buffers must have come back. Any thread, when no other uses the slab. Accepts NULL. */
void slab_free(struct slab *slab);

/*
 * Gives memory back to the kernel that nobody needed since the last call; to be called once a
 * second while it returns true (there is memory left). on_grow is called when there is new memory.
 */
bool slab_trim(struct slab *slab);
void slab_on_grow(struct slab *slab, void (*on_grow)(void *arg), void *arg);

/* A buffer of at least min(want, SLAB_LARGE_LEN) bytes with one reference; NULL at the budget. */
[[nodiscard]] struct slab_buf *slab_buf_get(struct slab *slab, size_t want);
struct slab_buf *slab_buf_ref(struct slab_buf *buf);
/* Gives one reference back. Any thread. Accepts NULL. */
void slab_buf_unref(struct slab_buf *buf);
/* True while somebody else has a reference, too: the bytes are not to be written. */
bool slab_buf_is_shared(const struct slab_buf *buf);

/* Slice nodes of this worker; NULL when out of memory or over a limit made from the budget.
 * slice_put also gives the buffer reference back. */
[[nodiscard]] struct slice *slice_get(struct slab *slab);
void slice_put(struct slab *slab, struct slice *slice);

/*
 * Accounts bytes that were granted to a peer (QUIC flow control can't be withdrawn), so that the
 * budget covers them. slab_release() undoes it as they arrive or become impossible. It counts as
 * pressure, from which grants are made, and refuses nobody a buffer: what was granted must fit in.
 */
void slab_reserve(struct slab *slab, size_t bytes);
void slab_release(struct slab *slab, size_t bytes);

/* Thousandths of the budget that are in use or granted (can exceed 1000). */
unsigned int slab_pressure(const struct slab *slab);
enum { SLAB_PRESSURE_SHORT = 900 }; /* from here on new work is refused (spec §13) */
/* on_short is called with each buffer and grant that leaves the slab there: not to free it at once.
 */
void slab_on_short(struct slab *slab, void (*on_short)(void *arg), void *arg);
/* Counts memory of arenas: whoever has one has the worker's slab. For base/arena alone; owner. */
void slab_arena_grown(struct slab *slab, size_t bytes);
void slab_arena_freed(struct slab *slab, size_t bytes);
/* Readable from any thread (relaxed). */
void slab_get_stats(const struct slab *slab, struct slab_stats *ret);

#endif
