/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idle connections to origins. The one used last is taken first, so that the others can grow old;
 * whatever an idle connection has to say means that it can't be used again.
 */
#include "daemon/origin/origin_pool.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/origin/origin.h"

struct service {
	struct map_node node; /* key: the bytes behind */
	struct list idle;     /* the one used last first */
	unsigned int count;
	uint8_t key[];
};

struct idle {
	struct stream *s;
	struct origin_pool *pool;
	struct service *service;
	metric_id gauge;
	struct list node;
	struct timer timer;
	struct loop_garbage garbage;
};

void origin_pool_init(struct origin_pool *pool, struct loop *loop, struct origin_stats *stats)
{
	*pool = (struct origin_pool){ .loop = loop, .stats = stats };
	map_init(&pool->services, ORIGIN_POOL_SERVICES_MAX);
}

void origin_pool_done(struct origin_pool *pool)
{
	origin_pool_drain(pool);
	map_done(&pool->services);
}

static void release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct idle, garbage));
}

/* Takes a connection out; the service goes with its last one. The stream is the caller's. */
static struct stream *take_out(struct idle *idle)
{
	struct origin_pool *pool = idle->pool;
	struct service *service = idle->service;
	struct stream *s = idle->s;
	timer_stop(&idle->timer);
	stream_forget_user(s);
	list_remove(&idle->node);
	pool->stats->idle--;
	metric_add(pool->metrics, idle->gauge, -1);
	if (--service->count == 0) {
		map_remove(&pool->services, &service->node);
		free(service);
	}
	idle->garbage.release = release;
	loop_defer_free(pool->loop, &idle->garbage);
	return s;
}

static void drop(struct idle *idle)
{
	idle->pool->stats->expired++;
	stream_close(take_out(idle));
}

static void on_expire(struct timer *timer)
{
	drop(CONTAINER_OF(timer, struct idle, timer));
}

/* Nothing may come on an idle connection: bytes, the end, or an error all end it. */
static bool is_alive(struct stream *s)
{
	struct bufq unexpected;
	bufq_init(&unexpected, s->slab);
	ssize_t n = stream_read(s, &unexpected, 1);
	bufq_clear(&unexpected);
	return n == -EAGAIN || n == -ENOBUFS;
}

static void on_readable(struct stream *s, void *user)
{
	if (!is_alive(s))
		drop(user);
}

static void on_writable(struct stream *s, void *user)
{
	(void)s;
	(void)user;
}

static const struct stream_user idle_user = {
	.on_readable = on_readable,
	.on_writable = on_writable,
};

static struct service *find_service(const struct origin_pool *pool, struct span key)
{
	struct map_node *node = map_find(&pool->services, key);
	return node ? MAP_ENTRY(node, struct service, node) : NULL;
}

static struct service *add_service(struct origin_pool *pool, struct span key)
{
	struct service *service = calloc(1, sizeof(*service) + key.len);
	if (!service)
		return NULL;
	list_init(&service->idle);
	if (key.len)
		memcpy(service->key, key.ptr, key.len);
	if (map_insert(&pool->services, &service->node, span_of(service->key, key.len)) < 0) {
		free(service);
		return NULL;
	}
	return service;
}

struct stream *origin_pool_take(struct origin_pool *pool, struct span service)
{
	struct service *found;
	while ((found = find_service(pool, service))) {
		struct idle *idle = LIST_ENTRY(found->idle.next, struct idle, node);
		if (is_alive(idle->s))
			return take_out(idle);
		drop(idle);
	}
	return NULL;
}

void origin_pool_put(struct origin_pool *pool, struct span service, struct stream *stream_take,
		     const struct origin_pool_terms *terms)
{
	struct service *found = find_service(pool, service);
	bool has_room = found ? found->count < terms->limit : terms->limit > 0;
	struct idle *idle = has_room ? calloc(1, sizeof(*idle)) : NULL;
	if (idle && !found)
		found = add_service(pool, service);
	if (!idle || !found) {
		free(idle);
		pool->stats->expired++;
		stream_close(stream_take);
		return;
	}
	idle->s = stream_take;
	idle->pool = pool;
	idle->service = found;
	idle->gauge = terms->gauge;
	idle->timer.on_expire = on_expire;
	list_prepend(&found->idle, &idle->node);
	found->count++;
	pool->stats->idle++;
	metric_add(pool->metrics, terms->gauge, 1);
	if (terms->timeout)
		timer_start(pool->loop, &idle->timer,
			    nsec_add(loop_now(pool->loop), terms->timeout));
	stream_set_user(stream_take, &idle_user, idle);
}

void origin_pool_drain(struct origin_pool *pool)
{
	struct map_node *node;
	while ((node = map_first(&pool->services))) {
		struct service *service = MAP_ENTRY(node, struct service, node);
		drop(LIST_ENTRY(service->idle.next, struct idle, node));
	}
}
