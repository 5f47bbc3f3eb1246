/* SPDX-License-Identifier: Apache-2.0 */
/* The arena: its limit, alignment, reuse after a reset, texts. */
#include "daemon/base/arena.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/base/slab.h"
#include "util/macro.h"

static void test_alloc(void **state UNUSED)
{
	struct arena a;
	arena_init(&a, 100000, NULL);
	for (unsigned int i = 0; i < 200; i++) {
		uint8_t *p = arena_alloc(&a, i);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
		memset(p, 0xff, i);
	}
	uint8_t *big = arena_alloc(&a, 20000);
	assert_non_null(big);
	memset(big, 1, 20000);
	uint64_t *zeroed = arena_calloc(&a, 10, sizeof(*zeroed));
	for (unsigned int i = 0; i < 10; i++)
		assert_int_equal(zeroed[i], 0);
	arena_done(&a);
	assert_int_equal(a.used, 0);
	arena_done(&a);
}

static void test_limit(void **state UNUSED)
{
	struct arena a;
	struct span copy = SPAN_LIT("as before");
	arena_init(&a, 64, NULL);
	assert_null(arena_alloc(&a, 65));
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
	assert_non_null(arena_alloc(&a, 48));
	assert_int_equal(arena_copy(&a, SPAN_LIT("more than sixteen bytes"), &copy), -ENOMEM);
	assert_true(span_eq_str(copy, "as before"));
	assert_null(arena_str(&a, SPAN_LIT("sixteen and one.")));
	assert_null(arena_printf(&a, "%0100d", 1));
	assert_int_equal(arena_copy(&a, SPAN_LIT("sixteen bytes ok"), &copy), 0);
	assert_true(span_eq_str(copy, "sixteen bytes ok"));
	assert_null(arena_alloc(&a, 1));
	arena_reset(&a);
	assert_non_null(arena_alloc(&a, 64));
	arena_done(&a);

	arena_init(&a, SIZE_MAX, NULL);
	assert_null(arena_alloc(&a, SIZE_MAX - 15)); /* with its header more than there can be */
	assert_non_null(arena_alloc(&a, 1));
	arena_done(&a);
}

static void test_reset(void **state UNUSED)
{
	struct arena a;
	arena_init(&a, 1 << 20, NULL);
	void *first = arena_alloc(&a, 100);
	for (unsigned int i = 0; i < 100; i++)
		assert_non_null(arena_alloc(&a, 1000));
	arena_reset(&a);
	assert_ptr_equal(arena_alloc(&a, 100), first);
	arena_done(&a);

	assert_non_null(arena_alloc(&a, 50000)); /* a large first chunk isn't kept */
	arena_reset(&a);
	assert_null(a.chunks);
	arena_done(&a);
}

static void test_texts(void **state UNUSED)
{
	struct arena a;
	arena_init(&a, 10000, NULL);
	assert_string_equal(arena_str(&a, SPAN_LIT("abc")), "abc");
	assert_string_equal(arena_str(&a, (struct span){}), "");
	assert_string_equal(arena_printf(&a, "%s-%d", "n", 7), "n-7");
	char *large = arena_printf(&a, "%05000d", 1);
	assert_int_equal(strlen(large), 5000);
	arena_done(&a);
}

static size_t held_by(const struct slab *slab)
{
	struct slab_stats stats;
	slab_get_stats(slab, &stats);
	assert_int_equal(stats.in_use, 0);
	return stats.arenas;
}

/* A slab counts what arenas hold, whether handed out or kept. */
static void test_counted(void **state UNUSED)
{
	struct arena a;
	struct arena b;
	struct slab *slab;
	assert_int_equal(slab_new(1, &slab), 0);
	arena_init(&a, 1 << 20, slab);
	arena_init(&b, 1 << 20, slab);
	assert_int_equal(held_by(slab), 0);

	assert_non_null(arena_alloc(&a, 1));
	size_t chunk = held_by(slab);
	assert_in_range(chunk, 1, 4096);
	assert_non_null(arena_alloc(&a, 1));
	assert_int_equal(held_by(slab), chunk);
	assert_non_null(arena_alloc(&b, 20000));
	assert_int_equal(held_by(slab), chunk + 20000);
	assert_non_null(arena_alloc(&a, chunk));
	assert_int_equal(held_by(slab), 2 * chunk + 20000);

	assert_null(arena_alloc(&a, 1 << 20)); /* over the limit: nothing changes */
	assert_int_equal(held_by(slab), 2 * chunk + 20000);
	arena_reset(&a); /* keeps its first */
	assert_int_equal(held_by(slab), chunk + 20000);
	arena_reset(&b);
	assert_int_equal(held_by(slab), chunk);
	arena_done(&a);
	arena_done(&b);
	assert_int_equal(held_by(slab), 0);
	slab_free(slab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc),   cmocka_unit_test(test_limit),
		cmocka_unit_test(test_reset),   cmocka_unit_test(test_texts),
		cmocka_unit_test(test_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
