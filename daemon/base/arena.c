/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one connection, stream or exchange. Chunks come from malloc and hold what is asked for;
 * there is no free list, because nothing is given back alone.
 */
#include "daemon/base/arena.h"

#include <errno.h>
#include <stdarg.h>
#include <stdckdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/base/slab.h"

enum {
	CHUNK_LEN = 4096 - 64,
	ALIGN = alignof(max_align_t),
};

struct arena_chunk {
	struct arena_chunk *next;
	size_t cap;
	size_t used;
	alignas(max_align_t) uint8_t data[];
};

void arena_init(struct arena *a, size_t limit, struct slab *slab)
{
	*a = (struct arena){ .limit = limit, .slab = slab };
}

static void free_until(struct arena *a, const struct arena_chunk *last)
{
	while (a->chunks != last) {
		struct arena_chunk *next = a->chunks->next;
		if (a->slab)
			slab_arena_freed(a->slab, a->chunks->cap);
		free(a->chunks);
		a->chunks = next;
	}
}

void arena_done(struct arena *a)
{
	free_until(a, NULL);
	a->used = 0;
}

void arena_reset(struct arena *a)
{
	struct arena_chunk *first = a->chunks;
	while (first && first->next)
		first = first->next;
	free_until(a, first);
	if (first && first->cap > CHUNK_LEN) {
		free_until(a, NULL);
		first = NULL;
	}
	if (first)
		first->used = 0;
	a->used = 0;
}

static struct arena_chunk *add_chunk(struct arena *a, size_t size)
{
	size_t cap = size > CHUNK_LEN ? size : CHUNK_LEN;
	size_t len;
	if (ckd_add(&len, cap, sizeof(struct arena_chunk)))
		return NULL;
	struct arena_chunk *c = malloc(len);
	if (!c)
		return NULL;
	*c = (struct arena_chunk){ .next = a->chunks, .cap = cap };
	a->chunks = c;
	if (a->slab)
		slab_arena_grown(a->slab, cap);
	return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
	size_t rounded;
	if (ckd_add(&rounded, size, (size_t)ALIGN - 1))
		return NULL;
	rounded &= ~((size_t)ALIGN - 1);
	if (rounded > a->limit - a->used)
		return NULL;

	struct arena_chunk *c = a->chunks;
	if (!c || rounded > c->cap - c->used)
		c = add_chunk(a, rounded);
	if (!c)
		return NULL;
	void *p = c->data + c->used;
	c->used += rounded;
	a->used += rounded;
	return p;
}

void *arena_calloc(struct arena *a, size_t count, size_t size)
{
	size_t len;
	if (ckd_mul(&len, count, size))
		return NULL;
	void *p = arena_alloc(a, len);
	return p ? memset(p, 0, len) : NULL;
}

int arena_copy(struct arena *a, struct span bytes, struct span *ret)
{
	uint8_t *p = arena_alloc(a, bytes.len);
	if (!p)
		return -ENOMEM;
	if (bytes.len)
		memcpy(p, bytes.ptr, bytes.len);
	*ret = span_of(p, bytes.len);
	return 0;
}

char *arena_str(struct arena *a, struct span bytes)
{
	size_t len;
	if (ckd_add(&len, bytes.len, (size_t)1))
		return NULL;
	char *p = arena_alloc(a, len);
	if (!p)
		return NULL;
	if (bytes.len)
		memcpy(p, bytes.ptr, bytes.len);
	p[bytes.len] = '\0';
	return p;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return NULL;

	char *p = arena_alloc(a, (size_t)len + 1);
	if (!p)
		return NULL;
	va_start(args, format);
	(void)vsnprintf(p, (size_t)len + 1, format, args);
	va_end(args);
	return p;
}
