/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to ascending lists of numbers. Sorting first puts the entries of a key side by side; the
 * hash (FNV-1a, open addressing, at most half full) leads to the first of them.
 */
#include "daemon/route/host_index.h"

#include <errno.h>
#include <stdlib.h>

#include "util/macro.h"

static size_t hash_of(struct span key)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < key.len; i++)
		h = (h ^ key.ptr[i]) * UINT64_C(0x100000001b3);
	return (size_t)(h ^ h >> 32);
}

static int compare(const void *a, const void *b)
{
	const struct host_index_entry *x = a;
	const struct host_index_entry *y = b;
	size_t shorter = MIN(x->key.len, y->key.len);
	int r = shorter ? memcmp(x->key.ptr, y->key.ptr, shorter) : 0;
	if (r == 0)
		r = (x->key.len > y->key.len) - (x->key.len < y->key.len);
	return r ? r : (x->value > y->value) - (x->value < y->value);
}

int host_index_init(struct host_index *x, struct host_index_entry *entries_take, size_t count)
{
	size_t slot_count = 4;
	while (slot_count < 2 * count)
		slot_count *= 2;
	*x = (struct host_index){ .entries = entries_take,
				  .count = count,
				  .slot_count = slot_count };
	x->slots = calloc(slot_count, sizeof(*x->slots));
	if (!x->slots || count >= UINT32_MAX) {
		host_index_done(x);
		return -ENOMEM;
	}
	if (count)
		qsort(x->entries, count, sizeof(*x->entries), compare);
	for (size_t i = 0; i < count; i++) {
		if (i && span_eq(x->entries[i].key, x->entries[i - 1].key))
			continue;
		size_t at = hash_of(x->entries[i].key) & (slot_count - 1);
		while (x->slots[at])
			at = (at + 1) & (slot_count - 1);
		x->slots[at] = (uint32_t)i + 1;
	}
	return 0;
}

void host_index_done(struct host_index *x)
{
	free(x->entries);
	free(x->slots);
	*x = (struct host_index){};
}

const struct host_index_entry *host_index_find(const struct host_index *x, struct span key,
					       size_t *ret_count)
{
	size_t at = hash_of(key) & (x->slot_count - 1);
	for (; x->slots[at]; at = (at + 1) & (x->slot_count - 1)) {
		size_t first = x->slots[at] - 1;
		if (!span_eq(x->entries[first].key, key))
			continue;
		size_t n = 1;
		while (first + n < x->count && span_eq(x->entries[first + n].key, key))
			n++;
		*ret_count = n;
		return &x->entries[first];
	}
	*ret_count = 0;
	return NULL;
}
