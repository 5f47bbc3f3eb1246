/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters, gauges and histograms. A series is a run of slots and its id the first of them, so
 * adding to it is one load and one store in the writer's own shard. Shards have the room of the
 * worst case from the start; its pages come when they are touched. Families, series and shards are
 * only ever added: readers walk them without a lock.
 */
#include "daemon/base/metric.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/macro.h"

enum {
	FAMILY_MAX = 256,
	LABEL_MAX = 3,
	BUCKET_MAX = 16,
	SLOTS_PER_SERIES = 1 + BUCKET_MAX + 1, /* histogram: sum, buckets, +Inf */
	SERIES_LIMIT = 1 << 20,
	LABEL_VALUE_LEN = 200, /* longer ones go under "other", too */
	CHAINS = 64,
	SCRAPE_MAX = 32,
};

static const char *const other_values[LABEL_MAX] = { "other", "other", "other" };

struct series {
	struct family *family;
	_Atomic(struct series *) next; /* of the family, in the order of their making */
	struct series *chain;
	metric_id id;
	const char *values[LABEL_MAX]; /* in text */
	char text[];
};

struct family {
	const struct metric_family *def;
	unsigned int label_count;
	uint64_t bounds[BUCKET_MAX]; /* in stored units */
	_Atomic(struct series *) first;
	/* under the registry's mutex */
	struct series *last;
	struct series *other;
	struct series *chains[CHAINS];
	unsigned int count;
};

struct metric_shard {
	struct metric_shard *next;
	const struct metric_registry *reg;
	_Atomic uint64_t slots[];
};

struct metric_registry {
	pthread_mutex_t mutex; /* adding: series, shards, callbacks; the counts below */
	unsigned int max_series;
	unsigned int series_count;
	unsigned int others_left; /* labelled families that have no "other" yet */
	size_t slot_count;        /* of a shard */
	metric_id next_slot;
	_Atomic(struct metric_shard *) shards;
	_Atomic unsigned int family_count;
	struct family families[FAMILY_MAX];
	const struct family **family_of; /* by slot */
	struct {
		void (*update)(void *arg);
		void *arg;
	} scrapes[SCRAPE_MAX];
	unsigned int scrape_count;
};

DEFINE_CLEANUP(struct metric_registry *, metric_registry_free)

int metric_registry_new(unsigned int max_series, struct metric_registry **ret)
{
	_cleanup_(metric_registry_freep) struct metric_registry *reg = calloc(1, sizeof(*reg));
	if (!reg)
		return -ENOMEM;
	(void)pthread_mutex_init(&reg->mutex, NULL);
	reg->max_series = MIN(max_series, (unsigned int)SERIES_LIMIT);
	reg->slot_count = 1 + (size_t)reg->max_series * SLOTS_PER_SERIES;
	reg->next_slot = 1; /* 0 is the sink */
	reg->family_of =
		(const struct family **)calloc(reg->slot_count, sizeof(const struct family *));
	if (!reg->family_of)
		/* cppcheck-suppress memleak ; freed by its cleanup attribute */
		return -ENOMEM;
	*ret = TAKE_PTR(reg);
	/* cppcheck-suppress memleak ; moved out */
	return 0;
}

void metric_registry_free(struct metric_registry *reg)
{
	if (!reg)
		return;
	for (unsigned int i = 0; i < reg->family_count; i++) {
		struct series *next = NULL;
		for (struct series *s = reg->families[i].first; s; s = next) {
			next = s->next;
			free(s);
		}
	}
	struct metric_shard *next = NULL;
	for (struct metric_shard *shard = reg->shards; shard; shard = next) {
		next = shard->next;
		free(shard);
	}
	(void)pthread_mutex_destroy(&reg->mutex);
	free((void *)reg->family_of);
	free(reg);
}

/* ---- families ------------------------------------------------------------------------------ */

static int compute_bounds(const struct metric_family *def, uint64_t *ret_bounds)
{
	double scale = def->scale != 0 ? def->scale : 1;
	if (def->bucket_count > BUCKET_MAX || scale < 0)
		return -EINVAL;
	for (unsigned int i = 0; i < def->bucket_count; i++) {
		double bound = def->buckets[i] / scale + 0.5;
		if (!(bound >= 0 && bound < 0x1p63))
			return -EINVAL;
		ret_bounds[i] = (uint64_t)bound;
		if (i > 0 && ret_bounds[i] <= ret_bounds[i - 1])
			return -EINVAL;
	}
	return 0;
}

int metric_define(struct metric_registry *reg, const struct metric_family *def)
{
	unsigned int number = reg->family_count;
	if (!def->name || !def->help || (def->bucket_count && def->type != METRIC_TYPE_HISTOGRAM))
		return -EINVAL;
	if (number == FAMILY_MAX)
		return -E2BIG;
	struct family *f = &reg->families[number];
	int r = compute_bounds(def, f->bounds);
	if (r < 0)
		return r;
	f->def = def;
	while (f->label_count < LABEL_MAX && def->labels[f->label_count])
		f->label_count++;
	reg->others_left += f->label_count != 0;
	atomic_store_explicit(&reg->family_count, number + 1, memory_order_release);
	return (int)number;
}

/* ---- series -------------------------------------------------------------------------------- */

static const char *value_at(const char *const *values, unsigned int i)
{
	return values && values[i] ? values[i] : "";
}

/* FNV-1a: who can choose label values at will is held by the cap, not by the hash. */
static unsigned int hash_values(const struct family *f, const char *const *values)
{
	uint32_t hash = 2166136261U;
	for (unsigned int i = 0; i < f->label_count; i++) {
		const char *p = value_at(values, i);
		do {
			hash = (hash ^ (uint8_t)*p) * 16777619U;
		} while (*p++);
	}
	return hash % CHAINS;
}

static bool has_values(const struct series *s, const char *const *values)
{
	for (unsigned int i = 0; i < s->family->label_count; i++)
		if (strcmp(s->values[i], value_at(values, i)) != 0)
			return false;
	return true;
}

static bool is_other(const struct family *f, const char *const *values)
{
	for (unsigned int i = 0; i < f->label_count; i++)
		if (strcmp(value_at(values, i), other_values[i]) != 0)
			return false;
	return true;
}

static unsigned int slots_of(const struct metric_family *def)
{
	return def->type == METRIC_TYPE_HISTOGRAM ? def->bucket_count + 2 : 1;
}

static struct series *series_new(struct family *f, const char *const *values)
{
	size_t len = 0;
	for (unsigned int i = 0; i < f->label_count; i++)
		len += strlen(value_at(values, i)) + 1;
	struct series *s = calloc(1, sizeof(*s) + len);
	if (!s)
		return NULL;
	s->family = f;
	char *text = s->text;
	for (unsigned int i = 0; i < f->label_count; i++) {
		s->values[i] = text;
		text = stpcpy(text, value_at(values, i)) + 1;
	}
	return s;
}

/* Adds a series and publishes it to the readers. */
static struct series *series_add(struct metric_registry *reg, struct family *f, unsigned int chain,
				 const char *const *values)
{
	struct series *s = series_new(f, values);
	if (!s)
		return NULL;
	s->id = reg->next_slot;
	reg->next_slot += slots_of(f->def);
	reg->family_of[s->id] = f;
	reg->series_count++;
	f->count++;
	s->chain = f->chains[chain];
	f->chains[chain] = s;
	atomic_store_explicit(f->last ? &f->last->next : &f->first, s, memory_order_release);
	f->last = s;
	return s;
}

static struct series *series_other(struct metric_registry *reg, struct family *f)
{
	if (!f->other && f->label_count && reg->series_count < reg->max_series) {
		f->other = series_add(reg, f, hash_values(f, other_values), other_values);
		reg->others_left -= f->other != NULL;
	}
	return f->other;
}

static bool has_room(const struct metric_registry *reg, const struct family *f)
{
	unsigned int reserved = f->label_count ? reg->others_left : 0;
	return f->count < METRIC_FAMILY_SERIES && reg->series_count < reg->max_series &&
	       reserved < reg->max_series - reg->series_count;
}

static struct series *series_get(struct metric_registry *reg, struct family *f,
				 const char *const *values)
{
	bool is_too_long = false;
	for (unsigned int i = 0; i < f->label_count; i++)
		is_too_long |= strnlen(value_at(values, i), LABEL_VALUE_LEN + 1) > LABEL_VALUE_LEN;
	if (is_too_long)
		return series_other(reg, f);

	unsigned int chain = hash_values(f, values);
	if (f->label_count && is_other(f, values))
		return series_other(reg, f);
	for (struct series *s = f->chains[chain]; s; s = s->chain)
		if (has_values(s, values))
			return s;
	return has_room(reg, f) ? series_add(reg, f, chain, values) : series_other(reg, f);
}

metric_id metric_series(struct metric_registry *reg, int family, const char *const *values)
{
	if (family < 0 || (unsigned int)family >= reg->family_count)
		return 0;
	(void)pthread_mutex_lock(&reg->mutex);
	struct series *s = series_get(reg, &reg->families[family], values);
	metric_id id = s ? s->id : 0;
	(void)pthread_mutex_unlock(&reg->mutex);
	return id;
}

/* ---- writing ------------------------------------------------------------------------------- */

struct metric_shard *metric_shard_new(struct metric_registry *reg)
{
	struct metric_shard *shard =
		calloc(1, sizeof(*shard) + reg->slot_count * sizeof(shard->slots[0]));
	if (!shard)
		return NULL;
	shard->reg = reg;
	(void)pthread_mutex_lock(&reg->mutex);
	shard->next = atomic_load_explicit(&reg->shards, memory_order_relaxed);
	atomic_store_explicit(&reg->shards, shard, memory_order_release);
	(void)pthread_mutex_unlock(&reg->mutex);
	return shard;
}

static void add_slot(struct metric_shard *shard, metric_id slot, uint64_t n)
{
	_Atomic uint64_t *v = &shard->slots[slot];
	atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

void metric_add(struct metric_shard *shard, metric_id id, int64_t n)
{
	if (shard)
		add_slot(shard, id, (uint64_t)n);
}

void metric_set(struct metric_shard *shard, metric_id id, int64_t value)
{
	if (shard)
		atomic_store_explicit(&shard->slots[id], (uint64_t)value, memory_order_relaxed);
}

void metric_observe(struct metric_shard *shard, metric_id id, uint64_t value)
{
	if (!shard || id == 0)
		return;
	const struct family *f = shard->reg->family_of[id];
	unsigned int i = 0;
	while (i < f->def->bucket_count && value > f->bounds[i])
		i++;
	add_slot(shard, id, value);
	add_slot(shard, id + 1 + i, 1);
}

/* ---- reading ------------------------------------------------------------------------------- */

static uint64_t sum_slot(const struct metric_registry *reg, metric_id slot)
{
	uint64_t sum = 0;
	for (const struct metric_shard *shard =
		     atomic_load_explicit(&reg->shards, memory_order_acquire);
	     shard; shard = shard->next)
		sum += atomic_load_explicit(&shard->slots[slot], memory_order_relaxed);
	return sum;
}

int64_t metric_value(const struct metric_registry *reg, metric_id id)
{
	return id ? (int64_t)sum_slot(reg, id) : 0;
}

static void emit_series(const struct metric_registry *reg, const struct series *s,
			void (*emit)(const struct metric_sample *sample, void *arg), void *arg)
{
	const struct metric_family *def = s->family->def;
	const char *values[LABEL_MAX] = { s->values[0], s->values[1], s->values[2] };
	uint64_t counts[BUCKET_MAX + 1] = {};
	struct metric_sample sample = { .family = def, .values = values };

	if (def->type == METRIC_TYPE_HISTOGRAM) {
		for (unsigned int i = 0; i <= def->bucket_count; i++)
			counts[i] = sum_slot(reg, s->id + 1 + i);
		sample.counts = counts;
	}
	sample.value = (int64_t)sum_slot(reg, s->id);
	emit(&sample, arg);
}

void metric_walk(const struct metric_registry *reg,
		 void (*emit)(const struct metric_sample *sample, void *arg), void *arg)
{
	unsigned int count = atomic_load_explicit(&reg->family_count, memory_order_acquire);
	for (unsigned int i = 0; i < count; i++)
		for (const struct series *s =
			     atomic_load_explicit(&reg->families[i].first, memory_order_acquire);
		     s; s = atomic_load_explicit(&s->next, memory_order_acquire))
			emit_series(reg, s, emit, arg);
}

int metric_on_scrape(struct metric_registry *reg, void (*update)(void *arg), void *arg)
{
	(void)pthread_mutex_lock(&reg->mutex);
	int r = reg->scrape_count < SCRAPE_MAX ? 0 : -E2BIG;
	if (r == 0) {
		reg->scrapes[reg->scrape_count].update = update;
		reg->scrapes[reg->scrape_count++].arg = arg;
	}
	(void)pthread_mutex_unlock(&reg->mutex);
	return r;
}

void metric_scrape(struct metric_registry *reg)
{
	(void)pthread_mutex_lock(&reg->mutex);
	unsigned int count = reg->scrape_count; /* entries stay as they are */
	(void)pthread_mutex_unlock(&reg->mutex);
	for (unsigned int i = 0; i < count; i++)
		reg->scrapes[i].update(reg->scrapes[i].arg);
}
