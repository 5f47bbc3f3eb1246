/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool of idle connections over streams in memory.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "daemon/origin/origin.h"
#include "daemon/origin/origin_pool.h"
#include "selftests/lib/fake_stream.h"

static struct loop *loop;
static struct slab *slab;
static struct origin_stats stats;
static struct origin_pool pool;
static struct metric_registry *registry;
static metric_id gauge;

static int setup(void **state)
{
	(void)state;
	stats = (struct origin_stats){};
	if (loop_new(&loop) < 0 || slab_new(1024 * 1024, &slab) < 0)
		return -1;
	static const struct metric_family family = { .name = "idle",
						     .help = "Idle connections.",
						     .type = METRIC_TYPE_GAUGE };
	origin_pool_init(&pool, loop, &stats);
	if (metric_registry_new(1, &registry) < 0 || metric_define(registry, &family) != 0)
		return -1;
	gauge = metric_series(registry, 0, NULL);
	pool.metrics = metric_shard_new(registry);
	return pool.metrics ? 0 : -1;
}

static void turns(void)
{
	for (int i = 0; i < 10; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(metric_value(registry, gauge), stats.idle);
	origin_pool_done(&pool);
	turns();
	assert_int_equal(stats.idle, 0);
	assert_int_equal(metric_value(registry, gauge), 0);
	metric_registry_free(registry);
	loop_free(loop);
	slab_free(slab);
	return 0;
}

static struct stream *put(const char *service, unsigned int limit, struct stream **ret_peer)
{
	struct stream *s;
	assert_int_equal(fake_pair_new(loop, slab, 1000, &s, ret_peer), 0);
	const struct origin_pool_terms terms = { .limit = limit, .gauge = gauge };
	origin_pool_put(&pool, span_str(service), s, &terms);
	turns();
	return s;
}

static void test_last_used_first(void **state)
{
	(void)state;
	struct stream *peer[3];
	struct stream *a = put("one", 5, &peer[0]);
	struct stream *b = put("one", 5, &peer[1]);
	struct stream *c = put("two", 5, &peer[2]);
	assert_int_equal(stats.idle, 3);
	assert_int_equal(metric_value(registry, gauge), 3);
	assert_null(origin_pool_take(&pool, SPAN_LIT("three")));
	assert_ptr_equal(origin_pool_take(&pool, SPAN_LIT("one")), b);
	assert_ptr_equal(origin_pool_take(&pool, SPAN_LIT("one")), a);
	assert_null(origin_pool_take(&pool, SPAN_LIT("one")));
	assert_ptr_equal(origin_pool_take(&pool, SPAN_LIT("two")), c);
	assert_int_equal(stats.idle, 0);
	stream_close(a);
	stream_close(b);
	stream_close(c);
	for (int i = 0; i < 3; i++)
		stream_close(peer[i]);
}

static void test_limit(void **state)
{
	(void)state;
	struct stream *peer[3];
	for (int i = 0; i < 3; i++)
		(void)put("one", 2, &peer[i]);
	assert_int_equal(stats.idle, 2);
	assert_int_equal(stats.expired, 1);
	origin_pool_drain(&pool);
	assert_int_equal(stats.idle, 0);
	assert_int_equal(stats.expired, 3);
	for (int i = 0; i < 3; i++)
		stream_close(peer[i]);
}

/* An end, and bytes that nobody asked for. */
static void test_spoiled(void **state)
{
	(void)state;
	struct stream *peer[3];
	(void)put("one", 5, &peer[0]);
	(void)put("one", 5, &peer[1]);
	(void)put("one", 5, &peer[2]);
	stream_finish(peer[0]);
	fake_stream_put(peer[1], "HTTP/1.1 408 Late\r\n", 19);
	turns();
	assert_int_equal(stats.idle, 1);

	/* Not yet told by the loop when it is taken. */
	stream_reset(peer[2], 0);
	assert_null(origin_pool_take(&pool, SPAN_LIT("one")));
	assert_int_equal(stats.idle, 0);
	for (int i = 0; i < 3; i++)
		stream_close(peer[i]);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_last_used_first),
		TEST(test_limit),
		TEST(test_spoiled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
