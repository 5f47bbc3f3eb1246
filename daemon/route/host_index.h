/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to ascending lists of numbers: a hash table that is built once and then only read, by any
 * number of threads. Keys come from the configuration, so a visitor can't fill it with collisions.
 */
#ifndef DAEMON_ROUTE_HOST_INDEX_H
#define DAEMON_ROUTE_HOST_INDEX_H

#include "util/span.h"

struct host_index_entry {
	struct span key; /* borrowed; must outlive the index */
	uint32_t value;
};

struct host_index {
	struct host_index_entry *entries; /* sorted by key, then value */
	size_t count;
	uint32_t *slots;   /* index of the first entry of a key plus 1; 0 is free */
	size_t slot_count; /* a power of two */
};

/*
 * Takes entries (count of them, from malloc, also when it fails) and sorts them; the same key may
 * stand there often. 0 or -ENOMEM.
 */
[[nodiscard]] int host_index_init(struct host_index *x, struct host_index_entry *entries_take,
				  size_t count);
void host_index_done(struct host_index *x);

/* The entries of a key, ascending by value; *ret_count of them, NULL for none. */
const struct host_index_entry *host_index_find(const struct host_index *x, struct span key,
					       size_t *ret_count);

#endif
