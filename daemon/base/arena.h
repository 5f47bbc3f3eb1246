/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one connection, stream or exchange: handed out piece by piece, given back as a whole
 * (style O4). The first chunk survives arena_reset(), so an arena that is used again and again for
 * small things allocates once.
 */
#ifndef DAEMON_BASE_ARENA_H
#define DAEMON_BASE_ARENA_H

#include <stddef.h>

#include "util/macro.h"
#include "util/span.h"

struct arena_chunk;
struct slab;

struct arena {
	struct arena_chunk *chunks; /* the newest first, the oldest last */
	size_t limit;               /* bytes that may be handed out at once */
	size_t used;                /* bytes handed out, with their alignment */
	struct slab *slab;          /* where its memory is counted, or NULL */
};

/*
 * Allocates nothing yet. What it will hold is counted at slab, whose owner's thread alone uses the
 * arena then, and which lives longer; NULL: it is counted nowhere.
 */
void arena_init(struct arena *a, size_t limit, struct slab *slab);
/* Gives everything back. The arena stays usable. */
void arena_done(struct arena *a);
/* Forgets everything that was handed out and keeps the first chunk for what comes. */
void arena_reset(struct arena *a);

/* size bytes, aligned for anything, not cleared; NULL over the limit or out of memory. */
[[nodiscard]] void *arena_alloc(struct arena *a, size_t size);
/* The same for count elements, cleared. */
[[nodiscard]] void *arena_calloc(struct arena *a, size_t count, size_t size);
/* Copies bytes; 0, or -ENOMEM and ret is untouched. */
[[nodiscard]] int arena_copy(struct arena *a, struct span bytes, struct span *ret);
/* A copy of bytes with a NUL behind it; NULL as above. */
[[nodiscard]] char *arena_str(struct arena *a, struct span bytes);
/* Formatted text; NULL as above. */
[[nodiscard]] char *arena_printf(struct arena *a, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
