/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive hash table keyed by bytes, with a hash that strangers can't aim at (SipHash with a key
 * of the process) and a limit of elements. One thread's.
 */
#ifndef DAEMON_BASE_MAP_H
#define DAEMON_BASE_MAP_H

#include "util/macro.h"
#include "util/span.h"

/* Embedded in the element. Zeroed before its first use. */
struct map_node {
	struct map_node *next;
	struct span key; /* borrowed: lives in the element or as long as it */
	uint64_t hash;
	bool is_in; /* in a map */
};

struct map {
	struct map_node **buckets;
	size_t bucket_count; /* a power of two, or 0 before the first element */
	size_t count;
	size_t limit;
};

void map_init(struct map *m, size_t limit);
/* Frees the table; elements are the caller's and count as taken out. The map stays usable. */
void map_done(struct map *m);

/* Adds an element under key. Returns 0, -EEXIST, -E2BIG at the limit, -ENOMEM. */
[[nodiscard]] int map_insert(struct map *m, struct map_node *node, struct span key);
/* NULL when there is none. */
struct map_node *map_find(const struct map *m, struct span key);
/*
 * The same in steps, for many keys at a time: each asks for the memory that the next one looks at,
 * which comes while the other keys have their turn.
 */
uint64_t map_hash(struct span key);
void map_fetch_chain(const struct map *m, uint64_t hash);
/* A pair of lines from the first element's node on. */
void map_fetch_first(const struct map *m, uint64_t hash);
struct map_node *map_find_hashed(const struct map *m, uint64_t hash, struct span key);
/* Takes an element out; harmless on one that is in no map. */
void map_remove(struct map *m, struct map_node *node);

/* Walks in no particular order; the current element may be removed (fetch the next one before). */
struct map_node *map_first(const struct map *m);
struct map_node *map_next(const struct map *m, const struct map_node *node);

#define MAP_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

/* NOLINTBEGIN(bugprone-macro-parentheses): a declaration has none */
#define MAP_FOREACH(node, m)                                                    \
	for (struct map_node *node = map_first((m)),                            \
			     *node##_next_ = node ? map_next((m), node) : NULL; \
	     node; node = node##_next_, node##_next_ = node ? map_next((m), node) : NULL)
/* NOLINTEND(bugprone-macro-parentheses) */

#endif
