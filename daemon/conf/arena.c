/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one configuration: an arena without a limit (what is read is limited) and what hangs on
 * it.
 */
#include "daemon/conf/arena.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/base/arena.h"

struct owned {
	struct owned *next;
	void (*on_free)(void *object);
	void *object;
};

struct conf_arena {
	struct arena memory; /* of everything but this */
	struct owned *owned;
};

struct conf_arena *conf_arena_new(void)
{
	struct conf_arena *a = calloc(1, sizeof(*a));
	if (a)
		arena_init(&a->memory, SIZE_MAX, NULL);
	return a;
}

void conf_arena_free(struct conf_arena *a)
{
	if (!a)
		return;
	for (struct owned *o = a->owned; o; o = o->next)
		o->on_free(o->object);
	arena_done(&a->memory);
	free(a);
}

void *conf_alloc(struct conf_arena *a, size_t size)
{
	return arena_calloc(&a->memory, 1, size);
}

char *conf_strdup(struct conf_arena *a, struct span s)
{
	return arena_str(&a->memory, s);
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
