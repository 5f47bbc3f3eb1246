/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one configuration. Blocks double up to a cap, so that a file of three lines costs one
 * page and one of 100 000 rules few allocations; what doesn't fit a block gets one of its own.
 */
#include "daemon/conf/arena.h"

#include <stdalign.h>

#include "util/macro.h"

constexpr size_t BLOCK_FIRST = 4096;
constexpr size_t BLOCK_LAST = 1048576;
constexpr size_t ALIGN = alignof(max_align_t);

struct block {
	struct block *next;
	size_t used;
	size_t size;
	alignas(max_align_t) unsigned char bytes[];
};

struct owned {
	struct owned *next;
	void (*on_free)(void *object);
	void *object;
};

struct conf_arena {
	struct block *blocks; /* the first one is the one being filled */
	struct owned *owned;
};

struct conf_arena *conf_arena_new(void)
{
	return calloc(1, sizeof(struct conf_arena));
}

void conf_arena_free(struct conf_arena *a)
{
	if (!a)
		return;
	for (struct owned *o = a->owned; o; o = o->next)
		o->on_free(o->object);
	for (struct block *b = a->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	free(a);
}

static struct block *block_add(struct conf_arena *a, size_t need)
{
	size_t size = a->blocks ? MIN(a->blocks->size * 2, BLOCK_LAST) : BLOCK_FIRST;
	size = MAX(size, need);
	struct block *b = calloc(1, sizeof(*b) + size);
	if (!b)
		return NULL;
	b->size = size;
	b->next = a->blocks;
	a->blocks = b;
	return b;
}

void *conf_alloc(struct conf_arena *a, size_t size)
{
	if (size > SIZE_MAX / 4)
		return NULL;
	size_t need = (MAX(size, (size_t)1) + ALIGN - 1) / ALIGN * ALIGN;
	struct block *b = a->blocks;
	if (!b || need > b->size - b->used)
		b = block_add(a, need);
	if (!b)
		return NULL;
	void *p = b->bytes + b->used;
	b->used += need;
	return p;
}

char *conf_strdup(struct conf_arena *a, struct span s)
{
	char *p = conf_alloc(a, s.len + 1);
	if (p && s.len)
		memcpy(p, s.ptr, s.len);
	return p;
}

void *conf_array_add(struct conf_arena *a, void *array, size_t *count, size_t size)
{
	unsigned char *old;
	memcpy((void *)&old, array, sizeof(old));
	size_t n = *count;

	/* Full exactly when the count is a power of two; the old copy stays in the arena. */
	if ((n & (n - 1)) == 0) {
		unsigned char *grown = conf_alloc(a, (n ? n * 2 : 1) * size);
		if (!grown)
			return NULL;
		if (n)
			memcpy(grown, old, n * size);
		old = grown;
		memcpy(array, (const void *)&old, sizeof(old));
	}
	*count = n + 1;
	return old + n * size;
}

int conf_arena_own(struct conf_arena *a, void (*on_free)(void *object), void *object)
{
	struct owned *o = conf_alloc(a, sizeof(*o));
	if (!o)
		return -ENOMEM;
	*o = (struct owned){ .next = a->owned, .on_free = on_free, .object = object };
	a->owned = o;
	return 0;
}
