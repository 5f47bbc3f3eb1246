/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A word holds 56 bits of the id's hash and, in the last byte, the worker. An id may stand in
 * either of two rows of eight words (a cache line each), so rows are full only when the table
 * nearly is. Two workers that are told of the same new id in the same moment may both find it free
 * and write a word each. Then readers see one of them, and each clears its own.
 */
#include "daemon/base/owners.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "daemon/base/siphash.h"
#include "daemon/base/worker.h"

enum {
	ROW = 8,
	SPACE = 2, /* words for each id that is expected */
	OWNER_MASK = 0xff,
};

struct owners {
	size_t rows; /* a power of two */
	_Atomic uint64_t *words;
};

/* Where an id may stand, and as what. */
struct spot {
	_Atomic uint64_t *rows[2];
	uint64_t tag; /* without the worker */
};

int owners_new(size_t count, struct owners **ret)
{
	static_assert(WORKER_MAX <= OWNER_MASK + 1);

	struct owners *o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->rows = 1;
	while (o->rows * ROW < count * SPACE)
		o->rows *= 2;
	void *words = mmap(NULL, o->rows * ROW * sizeof(*o->words), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (words == MAP_FAILED) {
		free(o);
		return -ENOMEM;
	}
	o->words = words;
	*ret = o;
	return 0;
}

void owners_free(struct owners *o)
{
	if (!o)
		return;
	(void)munmap(o->words, o->rows * ROW * sizeof(*o->words));
	free(o);
}

static struct spot spot_of(const struct owners *o, struct span id)
{
	uint64_t hash = siphash_process(id);
	/* A word of zeros is free. */
	uint64_t tag = hash & ~(uint64_t)OWNER_MASK;
	return (struct spot){
		.rows = { o->words + ROW * (hash & (o->rows - 1)),
			  o->words + ROW * ((hash >> 32) & (o->rows - 1)) },
		.tag = tag ? tag : OWNER_MASK + 1,
	};
}

/* The word of an id, and what it held; NULL: there is none. */
static _Atomic uint64_t *word_of(const struct spot *spot, uint64_t *ret_value)
{
	for (unsigned int i = 0; i < 2 * ROW; i++) {
		_Atomic uint64_t *word = &spot->rows[i / ROW][i % ROW];
		uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
		if ((value & ~(uint64_t)OWNER_MASK) != spot->tag)
			continue;
		*ret_value = value;
		return word;
	}
	return NULL;
}

int owners_find(const struct owners *o, struct span id)
{
	if (!o)
		return -ENOENT;
	struct spot spot = spot_of(o, id);
	uint64_t value;
	return word_of(&spot, &value) ? (int)(value & OWNER_MASK) : -ENOENT;
}

static bool replace(_Atomic uint64_t *word, uint64_t before, uint64_t after)
{
	if (atomic_load_explicit(word, memory_order_relaxed) != before)
		return false;
	return atomic_compare_exchange_strong_explicit(word, &before, after, memory_order_relaxed,
						       memory_order_relaxed);
}

static unsigned int free_words(const _Atomic uint64_t *row)
{
	unsigned int count = 0;
	for (unsigned int i = 0; i < ROW; i++)
		count += atomic_load_explicit(&row[i], memory_order_relaxed) == 0;
	return count;
}

static bool set_free(_Atomic uint64_t *row, uint64_t value)
{
	for (unsigned int i = 0; i < ROW; i++)
		if (replace(&row[i], 0, value))
			return true;
	return false;
}

bool owners_set(struct owners *o, struct span id, unsigned int worker)
{
	if (!o)
		return true;
	struct spot spot = spot_of(o, id);
	uint64_t value, wanted = spot.tag | worker;
	_Atomic uint64_t *word = word_of(&spot, &value);
	if (word && replace(word, value, wanted))
		return true;
	bool is_second = free_words(spot.rows[1]) > free_words(spot.rows[0]);
	return set_free(spot.rows[is_second], wanted) || set_free(spot.rows[!is_second], wanted);
}

void owners_clear(struct owners *o, struct span id, unsigned int worker)
{
	if (!o)
		return;
	struct spot spot = spot_of(o, id);
	uint64_t mine = spot.tag | worker;
	for (unsigned int i = 0; i < 2 * ROW; i++)
		if (replace(&spot.rows[i / ROW][i % ROW], mine, 0))
			return;
}
