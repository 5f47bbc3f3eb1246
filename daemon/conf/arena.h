/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one configuration: grows while it is built, is read-only afterwards, freed whole.
 * Objects of libraries that hang on it are registered and freed with it.
 */
#ifndef DAEMON_CONF_ARENA_H
#define DAEMON_CONF_ARENA_H

#include "util/cleanup.h"
#include "util/span.h"

struct conf_arena;

/* NULL: no memory. */
struct conf_arena *conf_arena_new(void);
/* Runs what was registered, latest first, then frees everything. NULL is harmless. */
void conf_arena_free(struct conf_arena *a);
DEFINE_CLEANUP(struct conf_arena *, conf_arena_free)

/* Zeroed memory, aligned for any type; NULL: no memory. size may be 0. */
void *conf_alloc(struct conf_arena *a, size_t size);
/* A copy with a NUL behind it; NULL: no memory. */
char *conf_strdup(struct conf_arena *a, struct span s);

/*
 * Makes room for one more element: *array has *count elements of size bytes and grows by doubling.
 * Returns the new, zeroed element and counts it, or NULL: no memory (nothing changed).
 */
void *conf_array_add(struct conf_arena *a, void *array, size_t *count, size_t size);

/* Has on_free(object) called by conf_arena_free(). 0 or -ENOMEM (then the caller still owns it). */
[[nodiscard]] int conf_arena_own(struct conf_arena *a, void (*on_free)(void *object), void *object);

#endif
