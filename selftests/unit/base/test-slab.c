/* SPDX-License-Identifier: Apache-2.0 */
/* The slab: exact budget, references from other threads, memory that goes back to the kernel. */
#include "daemon/base/slab.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/macro.h"

static struct slab *new_slab(size_t budget)
{
	struct slab *s = NULL;
	assert_int_equal(slab_new(budget, &s), 0);
	return s;
}

static struct slab_stats stats_of(const struct slab *s)
{
	struct slab_stats st;
	slab_get_stats(s, &st);
	return st;
}

static void test_sizes(void **state UNUSED)
{
	static const struct {
		size_t want;
		size_t cap;
	} cases[] = {
		{ 0, SLAB_SMALL_LEN },
		{ 1, SLAB_SMALL_LEN },
		{ SLAB_SMALL_LEN, SLAB_SMALL_LEN },
		{ SLAB_SMALL_LEN + 1, SLAB_LARGE_LEN },
		{ SLAB_LARGE_LEN, SLAB_LARGE_LEN },
		{ SIZE_MAX, SLAB_LARGE_LEN },
	};
	struct slab *s = new_slab(1 << 20);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct slab_buf *b = slab_buf_get(s, cases[i].want);
		assert_non_null(b);
		assert_int_equal(b->cap, cases[i].cap);
		assert_int_equal((uintptr_t)b->data % 16, 0);
		assert_int_equal(stats_of(s).in_use, b->cap);
		memset(b->data, 0xa5, b->cap); /* ASan sees one byte too far */
		assert_false(slab_buf_is_shared(b));
		assert_ptr_equal(slab_buf_ref(b), b);
		assert_true(slab_buf_is_shared(b));
		slab_buf_unref(b);
		assert_int_equal(stats_of(s).in_use, b->cap);
		slab_buf_unref(b);
		assert_int_equal(stats_of(s).in_use, 0);
	}
	slab_buf_unref(NULL);
	slab_free(s);
	slab_free(NULL);
}

static void test_budget_is_exact(void **state UNUSED)
{
	enum { COUNT = 300 };
	static struct slab_buf *bufs[COUNT];
	struct slab *s = new_slab(COUNT * (size_t)SLAB_SMALL_LEN);
	for (unsigned int i = 0; i < COUNT; i++) {
		bufs[i] = slab_buf_get(s, 1);
		assert_non_null(bufs[i]);
	}
	assert_null(slab_buf_get(s, 1));
	assert_null(slab_buf_get(s, SLAB_LARGE_LEN));
	assert_int_equal(stats_of(s).refused, 2);
	assert_int_equal(slab_pressure(s), 1000);
	slab_buf_unref(bufs[7]);
	assert_null(slab_buf_get(s, SLAB_LARGE_LEN));
	bufs[7] = slab_buf_get(s, 1);
	assert_non_null(bufs[7]);
	for (unsigned int i = 0; i < COUNT; i++)
		slab_buf_unref(bufs[i]);
	assert_int_equal(slab_pressure(s), 0);
	slab_free(s);

	s = new_slab(SLAB_SMALL_LEN - 1);
	assert_null(slab_buf_get(s, 1));
	slab_free(s);
	s = new_slab(0);
	assert_null(slab_buf_get(s, 1));
	assert_int_equal(slab_pressure(s), 0);
	slab_free(s);
}

static void test_cells_are_distinct(void **state UNUSED)
{
	enum { COUNT = 100 };
	struct slab_buf *bufs[COUNT];
	struct slab *s = new_slab(16 << 20);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < COUNT; i++) {
			bufs[i] = slab_buf_get(s, i % 2 ? 1 : SLAB_LARGE_LEN);
			assert_non_null(bufs[i]);
			memset(bufs[i]->data, (int)i, bufs[i]->cap);
		}
		for (unsigned int i = 0; i < COUNT; i++) {
			assert_int_equal(bufs[i]->data[0], i);
			assert_int_equal(bufs[i]->data[bufs[i]->cap - 1], i);
			slab_buf_unref(bufs[i]);
		}
	}
	slab_free(s);
}

static void test_reserve(void **state UNUSED)
{
	struct slab *s = new_slab(1000 * 1000);
	slab_reserve(s, 500 * 1000);
	assert_int_equal(slab_pressure(s), 500);
	slab_reserve(s, 1000 * 1000);
	assert_int_equal(slab_pressure(s), 1500);
	struct slab_buf *b = slab_buf_get(s, 1); /* what was granted must fit in */
	assert_non_null(b);
	slab_buf_unref(b);
	assert_int_equal(stats_of(s).reserved, 1500 * 1000);
	slab_release(s, 1500 * 1000);
	assert_int_equal(slab_pressure(s), 0);
	slab_free(s);
}

static void test_slices_are_bounded(void **state UNUSED)
{
	struct slab *s = new_slab(0);
	struct slice *all = NULL;
	unsigned int count = 0;
	for (struct slice *n = slice_get(s); n; n = slice_get(s)) {
		assert_null(n->buf);
		n->next = all;
		all = n;
		count++;
		assert_true(count <= 10000);
	}
	assert_int_equal(count, 1024);
	assert_int_equal(stats_of(s).refused, 1);
	while (all) {
		struct slice *next = all->next;
		slice_put(s, all);
		all = next;
	}
	assert_non_null(all = slice_get(s));
	slice_put(s, all);
	slab_free(s);
}

static size_t resident(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	assert_non_null(f);
	char line[128];
	char *second = NULL;
	assert_non_null(fgets(line, sizeof(line), f));
	(void)fclose(f);
	(void)strtoul(line, &second, 10);
	return strtoul(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

static void count_growth(void *arg)
{
	++*(unsigned int *)arg;
}

static void test_memory_goes_back(void **state UNUSED)
{
	enum { COUNT = 2000 }; /* about 32 MiB */
	static struct slab_buf *bufs[COUNT];
	struct slab *s = new_slab((size_t)COUNT * SLAB_LARGE_LEN);
	unsigned int grown = 0;
	slab_on_grow(s, count_growth, &grown);
	size_t before = resident();
	for (unsigned int i = 0; i < COUNT; i++) {
		bufs[i] = slab_buf_get(s, SLAB_LARGE_LEN);
		assert_non_null(bufs[i]);
		memset(bufs[i]->data, 1, bufs[i]->cap);
	}
	assert_true(grown > 100);
	assert_true(resident() - before > 30 << 20);
	for (unsigned int i = 0; i < COUNT; i++)
		slab_buf_unref(bufs[i]);
	/* The first call notes what is spare, the second gives it back; a call that used it
	 * doesn't. */
	assert_true(slab_trim(s));
	assert_true(resident() - before > 30 << 20);
	struct slab_buf *b = slab_buf_get(s, SLAB_LARGE_LEN);
	assert_true(slab_trim(s));
	assert_true(resident() < before + (16 << 20));
	slab_buf_unref(b);
	assert_true(slab_trim(s));
	assert_false(slab_trim(s));
	slab_free(s);
}

/* Who must make room hears of each buffer and grant that leaves nine tenths used. */
static void test_short(void **state UNUSED)
{
	struct slab *s = new_slab(100 * SLAB_SMALL_LEN);
	unsigned int told = 0;
	slab_on_short(s, count_growth, &told);
	slab_reserve(s, 88 * SLAB_SMALL_LEN);
	struct slab_buf *b = slab_buf_get(s, 1);
	assert_int_equal(told, 0);
	struct slab_buf *c = slab_buf_get(s, 1);
	assert_int_equal(told, 1);
	assert_true(slab_pressure(s) >= SLAB_PRESSURE_SHORT);
	slab_reserve(s, 1);
	assert_int_equal(told, 2);
	slab_release(s, 88 * SLAB_SMALL_LEN + 1);
	slab_buf_unref(c);
	slab_buf_unref(b);
	slab_free(s);
}

/* ---- other threads ------------------------------------------------------------------------- */

enum { RING = 64, ROUNDS = 20000 };

struct handover {
	_Atomic(struct slab_buf *) slots[RING];
	_Atomic bool is_done;
};

static void *return_buffers(void *arg)
{
	struct handover *h = arg;
	bool is_done = false;
	unsigned int count = 0;
	while (!is_done) {
		is_done = h->is_done;
		for (unsigned int i = 0; i < RING; i++) {
			struct slab_buf *b = atomic_exchange(&h->slots[i], NULL);
			if (!b)
				continue;
			assert_int_equal(b->data[0], b->data[b->cap - 1]);
			slab_buf_unref(b);
			count++;
		}
	}
	return (void *)(uintptr_t)count;
}

static void *use_slab(void *arg)
{
	struct slab *s = arg;
	slab_adopt(s);
	struct slab_buf *b = slab_buf_get(s, 1);
	assert_non_null(b);
	slab_buf_unref(b);
	assert_int_equal(stats_of(s).in_use, 0);
	return slab_buf_get(s, 1);
}

static void test_adopt(void **state UNUSED)
{
	struct slab *s = new_slab(1 << 20);
	pthread_t thread;
	void *kept = NULL;
	assert_int_equal(pthread_create(&thread, NULL, use_slab, s), 0);
	assert_int_equal(pthread_join(thread, &kept), 0);
	slab_buf_unref(kept); /* not ours: waits for the owner */
	assert_int_equal(stats_of(s).in_use, SLAB_SMALL_LEN);
	slab_adopt(s);
	slab_buf_unref(slab_buf_get(s, 1));
	assert_int_equal(stats_of(s).in_use, 0);
	slab_free(s);
}

static void test_remote_return(void **state UNUSED)
{
	struct handover *h = calloc(1, sizeof(*h));
	assert_non_null(h);
	struct slab *s = new_slab((size_t)RING * 2 * SLAB_SMALL_LEN);
	pthread_t threads[2];
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, return_buffers, h), 0);

	unsigned int handed = 0;
	for (unsigned int i = 0; handed < ROUNDS; i++) {
		struct slab_buf *b = slab_buf_get(s, 1);
		if (!b)
			continue; /* all on their way */
		memset(b->data, (int)i, b->cap);
		(void)slab_buf_ref(b);
		struct slab_buf *old = atomic_exchange(&h->slots[i % RING], b);
		slab_buf_unref(old);
		slab_buf_unref(b); /* races with the other thread's */
		handed++;
	}
	h->is_done = true;
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	struct slab_buf *b = slab_buf_get(s, 1); /* takes the returned ones in */
	assert_int_equal(stats_of(s).in_use, SLAB_SMALL_LEN);
	slab_buf_unref(b);
	slab_free(s);
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_budget_is_exact),
		cmocka_unit_test(test_cells_are_distinct),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_slices_are_bounded),
		cmocka_unit_test(test_memory_goes_back),
		cmocka_unit_test(test_short),
		cmocka_unit_test(test_adopt),
		cmocka_unit_test(test_remote_return),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
