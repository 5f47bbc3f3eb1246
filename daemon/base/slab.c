/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of packets and bodies of one worker.
 *
 * Cells of one class come from chunks of 256 KiB that are aligned to their size, so that a cell
 * finds its chunk by masking its address. Each chunk counts its cells; chunks that are wholly free
 * are kept until slab_trim() finds that nobody needed them since its last call, then they go back
 * to the kernel: a burst doesn't stay resident, and steady traffic doesn't map and unmap in every
 * turn.
 *
 * A buffer whose last reference goes on another thread is pushed on an atomic stack; the owner
 * takes the whole stack at once, so there is no ABA problem. In sanitizer builds free cells are
 * poisoned.
 */
#include "daemon/base/slab.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdckdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "util/list.h"
#include "util/macro.h"

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, len)   ((void)(p), (void)(len))
#define ASAN_UNPOISON_MEMORY_REGION(p, len) ((void)(p), (void)(len))
#endif

enum {
	CHUNK_LEN = 256 * 1024,
	CHUNK_HEAD = 128,
	SLICES_MIN = 1024,     /* slice nodes that even a tiny budget allows */
	BYTES_PER_SLICE = 128, /* one slice node for so many bytes of budget */
	PRESSURE_MAX = 1000 * 1000,
};

enum slab_class : uint8_t {
	SLAB_CLASS_SMALL,
	SLAB_CLASS_LARGE,
	SLAB_CLASS_SLICE,
	SLAB_CLASS_MAX_,
};

/* A free cell; the rest of it is poisoned. */
struct cell {
	struct cell *next;
};

/* clang-format off */
static const struct {
	uint32_t len;	 /* bytes of a cell, header included */
	uint32_t stride; /* from cell to cell: keeps data aligned, the rest is a red zone */
} classes[SLAB_CLASS_MAX_] = {
	[SLAB_CLASS_SMALL] = { sizeof(struct slab_buf) + SLAB_SMALL_LEN, 2048 },
	[SLAB_CLASS_LARGE] = { sizeof(struct slab_buf) + SLAB_LARGE_LEN, 16 * 1024 + 576 },
	[SLAB_CLASS_SLICE] = { sizeof(struct slice), sizeof(struct slice) },
};
/* clang-format on */
static_assert(sizeof(struct slab_buf) + SLAB_SMALL_LEN <= 2048);
static_assert(sizeof(struct slab_buf) + SLAB_LARGE_LEN <= 16 * 1024 + 576);

/* At the start of each chunk. */
struct chunk {
	struct list node; /* on partial or spare of its class; on none while full */
	struct cell *free;
	uint32_t used;  /* cells handed out */
	uint32_t fresh; /* offset of the first cell never used: its pages aren't there yet */
	enum slab_class class;
};
static_assert(sizeof(struct chunk) <= CHUNK_HEAD);

struct pool {
	struct list partial; /* chunks with both free and used cells */
	struct list spare;   /* wholly free chunks */
	struct list full;
	unsigned int spare_count;
	unsigned int spare_least; /* the smallest spare_count since the last trim */
};

struct slab {
	struct pool pools[SLAB_CLASS_MAX_];
	unsigned int chunk_count;
	size_t slice_count;
	size_t slice_limit;
	void (*on_grow)(void *arg);
	void *on_grow_arg;
	void (*on_short)(void *arg);
	void *on_short_arg;
	size_t short_from; /* bytes in use and granted */

	/* Written by the owner only, read by anybody. */
	_Atomic size_t in_use;
	_Atomic size_t reserved;
	_Atomic size_t arenas;
	_Atomic uint64_t refused;
	size_t limit;

	_Atomic(const void *) thread;        /* the owner: address of its thread_mark */
	_Atomic(struct slab_buf *) returned; /* by other threads */
};

static thread_local char thread_mark;

static size_t load_size(const _Atomic size_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static void store_size(_Atomic size_t *v, size_t n)
{
	atomic_store_explicit(v, n, memory_order_relaxed);
}

/* ---- chunks -------------------------------------------------------------------------------- */

static struct chunk *chunk_of(void *cell)
{
	return (struct chunk *)(void *)((uint8_t *)cell - ((uintptr_t)cell & (CHUNK_LEN - 1)));
}

/* Maps twice as much and cuts off what is not aligned. */
static void *map_aligned(void)
{
	uint8_t *p = mmap(NULL, 2 * (size_t)CHUNK_LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	size_t before = -(uintptr_t)p & (CHUNK_LEN - 1);
	if (before)
		(void)munmap(p, before);
	(void)munmap(p + before + CHUNK_LEN, CHUNK_LEN - before);
	return p + before;
}

static struct chunk *chunk_new(struct slab *s, enum slab_class class)
{
	struct chunk *c = map_aligned();
	if (!c)
		return NULL;
	ASAN_POISON_MEMORY_REGION((uint8_t *)c + CHUNK_HEAD, CHUNK_LEN - CHUNK_HEAD);
	c->class = class;
	c->fresh = CHUNK_HEAD;
	s->chunk_count++;
	if (s->on_grow)
		s->on_grow(s->on_grow_arg);
	return c;
}

static void chunk_free(struct slab *s, struct chunk *c)
{
	list_remove(&c->node);
	s->chunk_count--;
	ASAN_UNPOISON_MEMORY_REGION(c, CHUNK_LEN);
	(void)munmap(c, CHUNK_LEN);
}

/* A chunk with a free cell, by preference one that is in use already. */
static struct chunk *chunk_find(struct slab *s, enum slab_class class)
{
	struct pool *p = &s->pools[class];
	if (!list_is_empty(&p->partial))
		return LIST_ENTRY(p->partial.next, struct chunk, node);

	struct chunk *c = NULL;
	if (p->spare_count) {
		c = LIST_ENTRY(list_pop(&p->spare), struct chunk, node);
		p->spare_count--;
		p->spare_least = MIN(p->spare_least, p->spare_count);
	} else {
		c = chunk_new(s, class);
	}
	if (c)
		list_prepend(&p->partial, &c->node);
	return c;
}

static bool is_full(const struct chunk *c)
{
	return !c->free && classes[c->class].stride > CHUNK_LEN - c->fresh;
}

static void *cell_get(struct slab *s, enum slab_class class)
{
	struct chunk *c = chunk_find(s, class);
	if (!c)
		return NULL;
	struct cell *cell = c->free;
	if (cell) {
		c->free = cell->next;
	} else {
		cell = (struct cell *)(void *)((uint8_t *)c + c->fresh);
		c->fresh += classes[class].stride;
	}
	c->used++;
	if (is_full(c)) {
		list_remove(&c->node);
		list_append(&s->pools[class].full, &c->node);
	}
	ASAN_UNPOISON_MEMORY_REGION(cell, classes[class].len);
	return cell;
}

/* A chunk keeps its place among the partial ones: the first fill up, so that the last run empty. */
static void cell_put(struct slab *s, void *ptr)
{
	struct chunk *c = chunk_of(ptr);
	struct pool *p = &s->pools[c->class];
	struct cell *cell = ptr;
	bool was_full = is_full(c);

	cell->next = c->free;
	c->free = cell;
	ASAN_POISON_MEMORY_REGION((uint8_t *)ptr + sizeof(*cell),
				  classes[c->class].len - sizeof(*cell));
	if (--c->used == 0) {
		list_remove(&c->node);
		list_prepend(&p->spare, &c->node);
		p->spare_count++;
	} else if (was_full) {
		list_remove(&c->node);
		list_append(&p->partial, &c->node);
	}
}

/* ---- the slab ------------------------------------------------------------------------------ */

int slab_new(size_t budget, struct slab **ret)
{
	struct slab *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->limit = budget;
	s->short_from = budget / 1000 * SLAB_PRESSURE_SHORT;
	s->slice_limit = MAX((size_t)SLICES_MIN, budget / BYTES_PER_SLICE);
	for (unsigned int i = 0; i < SLAB_CLASS_MAX_; i++) {
		list_init(&s->pools[i].partial);
		list_init(&s->pools[i].spare);
		list_init(&s->pools[i].full);
	}
	slab_adopt(s);
	*ret = s;
	return 0;
}

void slab_adopt(struct slab *s)
{
	atomic_store_explicit(&s->thread, &thread_mark, memory_order_relaxed);
}

static void put_local(struct slab *s, struct slab_buf *buf)
{
	store_size(&s->in_use, load_size(&s->in_use) - buf->cap);
	cell_put(s, buf);
}

static void take_returned(struct slab *s)
{
	if (!atomic_load_explicit(&s->returned, memory_order_relaxed))
		return;
	struct slab_buf *buf = atomic_exchange_explicit(&s->returned, NULL, memory_order_acquire);
	while (buf) {
		struct slab_buf *next = buf->next;
		put_local(s, buf);
		buf = next;
	}
}

static void free_chunks(struct slab *s, struct list *chunks)
{
	LIST_FOREACH(node, chunks)
	chunk_free(s, LIST_ENTRY(node, struct chunk, node));
}

void slab_free(struct slab *s)
{
	if (!s)
		return;
	take_returned(s);
	assert(load_size(&s->in_use) == 0);
	for (unsigned int i = 0; i < SLAB_CLASS_MAX_; i++) {
		free_chunks(s, &s->pools[i].spare);
		free_chunks(s, &s->pools[i].partial);
		free_chunks(s, &s->pools[i].full);
	}
	free(s);
}

static void trim_pool(struct slab *s, struct pool *p)
{
	while (p->spare_least) {
		chunk_free(s, LIST_ENTRY(p->spare.prev, struct chunk, node));
		p->spare_count--;
		p->spare_least--;
	}
	p->spare_least = p->spare_count;
}

bool slab_trim(struct slab *s)
{
	take_returned(s);
	for (unsigned int i = 0; i < SLAB_CLASS_MAX_; i++)
		trim_pool(s, &s->pools[i]);
	return s->chunk_count != 0;
}

void slab_on_grow(struct slab *s, void (*on_grow)(void *arg), void *arg)
{
	s->on_grow = on_grow;
	s->on_grow_arg = arg;
}

void slab_on_short(struct slab *s, void (*on_short)(void *arg), void *arg)
{
	s->on_short = on_short;
	s->on_short_arg = arg;
}

static void tell_if_short(struct slab *s)
{
	if (s->on_short && load_size(&s->in_use) + load_size(&s->reserved) >= s->short_from)
		s->on_short(s->on_short_arg);
}

/* ---- buffers ------------------------------------------------------------------------------- */

static void count_refused(struct slab *s)
{
	atomic_store_explicit(&s->refused,
			      atomic_load_explicit(&s->refused, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

struct slab_buf *slab_buf_get(struct slab *s, size_t want)
{
	bool is_small = want <= SLAB_SMALL_LEN;
	uint32_t cap = is_small ? SLAB_SMALL_LEN : SLAB_LARGE_LEN;

	take_returned(s);
	size_t in_use = load_size(&s->in_use);
	struct slab_buf *buf = NULL;
	if (in_use <= s->limit && cap <= s->limit - in_use)
		buf = cell_get(s, is_small ? SLAB_CLASS_SMALL : SLAB_CLASS_LARGE);
	if (!buf) {
		count_refused(s);
		return NULL;
	}
	store_size(&s->in_use, in_use + cap);
	buf->owner = s;
	buf->next = NULL;
	buf->cap = cap;
	atomic_init(&buf->refs, 1);
	tell_if_short(s);
	return buf;
}

struct slab_buf *slab_buf_ref(struct slab_buf *buf)
{
	/* Relaxed: whoever has a reference to copy keeps the buffer alive meanwhile. */
	uint32_t before = atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
	assert(before > 0 && before < UINT32_MAX);
	return buf;
}

static void put_remote(struct slab *s, struct slab_buf *buf)
{
	struct slab_buf *head = atomic_load_explicit(&s->returned, memory_order_relaxed);
	do {
		buf->next = head;
	} while (!atomic_compare_exchange_weak_explicit(
		&s->returned, &head, buf, memory_order_release, memory_order_relaxed));
}

void slab_buf_unref(struct slab_buf *buf)
{
	if (!buf)
		return;
	/* The only reference can't become two by itself: no read-modify-write for the usual case.
	 */
	uint32_t refs = atomic_load_explicit(&buf->refs, memory_order_acquire);
	assert(refs > 0);
	if (refs != 1 && atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel) != 1)
		return;

	atomic_store_explicit(&buf->refs, 0, memory_order_relaxed);
	struct slab *s = buf->owner;
	if (atomic_load_explicit(&s->thread, memory_order_relaxed) == &thread_mark)
		put_local(s, buf);
	else
		put_remote(s, buf);
}

bool slab_buf_is_shared(const struct slab_buf *buf)
{
	return atomic_load_explicit(&buf->refs, memory_order_acquire) != 1;
}

/* ---- slices -------------------------------------------------------------------------------- */

struct slice *slice_get(struct slab *s)
{
	struct slice *slice = NULL;
	if (s->slice_count < s->slice_limit)
		slice = cell_get(s, SLAB_CLASS_SLICE);
	if (!slice) {
		count_refused(s);
		return NULL;
	}
	s->slice_count++;
	*slice = (struct slice){};
	return slice;
}

void slice_put(struct slab *s, struct slice *slice)
{
	slab_buf_unref(slice->buf);
	s->slice_count--;
	cell_put(s, slice);
}

/* ---- accounting ---------------------------------------------------------------------------- */

void slab_reserve(struct slab *s, size_t bytes)
{
	store_size(&s->reserved, load_size(&s->reserved) + bytes);
	tell_if_short(s);
}

void slab_release(struct slab *s, size_t bytes)
{
	size_t reserved = load_size(&s->reserved);
	assert(bytes <= reserved);
	store_size(&s->reserved, reserved - bytes);
}

void slab_arena_grown(struct slab *s, size_t bytes)
{
	store_size(&s->arenas, load_size(&s->arenas) + bytes);
}

void slab_arena_freed(struct slab *s, size_t bytes)
{
	size_t held = load_size(&s->arenas);
	assert(bytes <= held);
	store_size(&s->arenas, held - bytes);
}

unsigned int slab_pressure(const struct slab *s)
{
	size_t used = load_size(&s->in_use) + load_size(&s->reserved);
	size_t thousandths;
	if (ckd_mul(&thousandths, used, (size_t)1000))
		return PRESSURE_MAX;
	return (unsigned int)MIN(thousandths / MAX(s->limit, (size_t)1), (size_t)PRESSURE_MAX);
}

void slab_get_stats(const struct slab *s, struct slab_stats *ret)
{
	*ret = (struct slab_stats){
		.in_use = load_size(&s->in_use),
		.reserved = load_size(&s->reserved),
		.limit = s->limit,
		.refused = atomic_load_explicit(&s->refused, memory_order_relaxed),
		.arenas = load_size(&s->arenas),
	};
}
