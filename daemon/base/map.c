/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive hash table: chains, doubled when there are half as many elements as chains, because
 * each element of a chain is a fetch from memory. Hashes are kept, so growing doesn't touch keys
 * and a lookup compares bytes about once. When there is no memory to grow, chains get longer and
 * nothing fails.
 */
#include "daemon/base/map.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/base/siphash.h"
#include "util/cache.h"

enum {
	BUCKETS_MIN = 16,
};

void map_init(struct map *m, size_t limit)
{
	*m = (struct map){ .limit = limit };
}

void map_done(struct map *m)
{
	MAP_FOREACH(node, m)
	{
		node->is_in = false;
		node->next = NULL;
	}
	free((void *)m->buckets);
	map_init(m, m->limit);
}

static struct map_node **bucket_of(const struct map *m, uint64_t hash)
{
	return &m->buckets[hash & (m->bucket_count - 1)];
}

static int grow(struct map *m)
{
	struct map old = *m;
	size_t count = old.bucket_count ? old.bucket_count * 2 : BUCKETS_MIN;
	struct map_node **buckets = (struct map_node **)calloc(count, sizeof(struct map_node *));
	if (!buckets)
		return old.bucket_count ? 0 : -ENOMEM;
	m->buckets = buckets;
	m->bucket_count = count;
	MAP_FOREACH(node, &old)
	{
		struct map_node **bucket = bucket_of(m, node->hash);
		node->next = *bucket;
		*bucket = node;
	}
	free((void *)old.buckets);
	return 0;
}

uint64_t map_hash(struct span key)
{
	return siphash_process(key);
}

struct map_node *map_find_hashed(const struct map *m, uint64_t hash, struct span key)
{
	if (!m->bucket_count)
		return NULL;
	struct map_node *node = *bucket_of(m, hash);
	while (node && !(node->hash == hash && span_eq(node->key, key)))
		node = node->next;
	return node;
}

int map_insert(struct map *m, struct map_node *node, struct span key)
{
	uint64_t hash = map_hash(key);
	if (map_find_hashed(m, hash, key))
		return -EEXIST;
	if (m->count >= m->limit)
		return -E2BIG;
	if (m->count >= m->bucket_count / 2) {
		int r = grow(m);
		if (r < 0)
			return r;
	}
	struct map_node **bucket = bucket_of(m, hash);
	*node = (struct map_node){ .next = *bucket, .key = key, .hash = hash, .is_in = true };
	*bucket = node;
	m->count++;
	return 0;
}

struct map_node *map_find(const struct map *m, struct span key)
{
	return map_find_hashed(m, map_hash(key), key);
}

void map_fetch_chain(const struct map *m, uint64_t hash)
{
	if (m->bucket_count)
		__builtin_prefetch(bucket_of(m, hash));
}

void map_fetch_first(const struct map *m, uint64_t hash)
{
	const struct map_node *node = m->bucket_count ? *bucket_of(m, hash) : NULL;
	if (node)
		cache_fetch_pair(node);
}

void map_remove(struct map *m, struct map_node *node)
{
	if (!node->is_in)
		return;
	struct map_node **p = bucket_of(m, node->hash);
	while (*p != node)
		p = &(*p)->next;
	*p = node->next;
	node->next = NULL;
	node->is_in = false;
	m->count--;
}

static struct map_node *first_from(const struct map *m, size_t bucket)
{
	for (; bucket < m->bucket_count; bucket++)
		if (m->buckets[bucket])
			return m->buckets[bucket];
	return NULL;
}

struct map_node *map_first(const struct map *m)
{
	return first_from(m, 0);
}

struct map_node *map_next(const struct map *m, const struct map_node *node)
{
	if (node->next)
		return node->next;
	return first_from(m, (node->hash & (m->bucket_count - 1)) + 1);
}
