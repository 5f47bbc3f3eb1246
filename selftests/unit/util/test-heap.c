/* SPDX-License-Identifier: Apache-2.0 */
/* The pairing heap: order, removal from anywhere, duplicates, and trees of any shape. */
#include "util/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct item {
	unsigned int key;
	bool is_in;
	struct heap_node node;
};

static bool is_before(const struct heap_node *a, const struct heap_node *b)
{
	return HEAP_ENTRY_CONST(a, struct item, node)->key <
	       HEAP_ENTRY_CONST(b, struct item, node)->key;
}

static struct item *first(const struct heap *h)
{
	return heap_first(h) ? HEAP_ENTRY(heap_first(h), struct item, node) : NULL;
}

static void test_empty_and_single(void **state UNUSED)
{
	struct heap h;
	heap_init(&h, is_before);
	assert_null(heap_first(&h));
	struct item one = { .key = 1 };
	heap_insert(&h, &one.node);
	assert_ptr_equal(first(&h), &one);
	heap_remove(&h, &one.node);
	assert_null(heap_first(&h));
}

/* A small generator of our own: the same sequence everywhere. */
static unsigned int next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + 1;
	return (unsigned int)(*state >> 33);
}

static void test_sorts(void **state UNUSED)
{
	enum { COUNT = 5000 };
	struct heap h;
	heap_init(&h, is_before);
	struct item *items = calloc(COUNT, sizeof(*items));
	assert_non_null(items);
	uint64_t seed = 1;
	for (unsigned int i = 0; i < COUNT; i++) {
		items[i].key = next_random(&seed) % 1000; /* with duplicates */
		heap_insert(&h, &items[i].node);
	}
	unsigned int last = 0;
	unsigned int count = 0;
	for (; first(&h); count++) {
		assert_true(first(&h)->key >= last);
		last = first(&h)->key;
		heap_remove(&h, heap_first(&h));
	}
	assert_int_equal(count, COUNT);
	free(items);
}

/* Inserts and removes at random and compares the first element with a linear search. */
static void test_random_removal(void **state UNUSED)
{
	enum { COUNT = 200, STEPS = 20000 };
	struct item items[COUNT] = {};
	struct heap h;
	heap_init(&h, is_before);
	uint64_t seed = 2;

	for (unsigned int step = 0; step < STEPS; step++) {
		struct item *it = &items[next_random(&seed) % COUNT];
		if (it->is_in) {
			heap_remove(&h, &it->node);
		} else {
			it->key = next_random(&seed) % 500;
			heap_insert(&h, &it->node);
		}
		it->is_in = !it->is_in;

		const struct item *least = NULL;
		for (unsigned int i = 0; i < COUNT; i++)
			if (items[i].is_in && (!least || items[i].key < least->key))
				least = &items[i];
		assert_int_equal(least == NULL, first(&h) == NULL);
		if (least)
			assert_int_equal(first(&h)->key, least->key);
	}
}

/* Ascending and descending runs make the widest and the deepest trees. */
static void test_long_runs(void **state UNUSED)
{
	enum { COUNT = 200000 };
	struct item *items = calloc(COUNT, sizeof(*items));
	assert_non_null(items);
	for (unsigned int run = 0; run < 2; run++) {
		struct heap h;
		heap_init(&h, is_before);
		for (unsigned int i = 0; i < COUNT; i++) {
			items[i].key = run ? i : COUNT - 1 - i;
			heap_insert(&h, &items[i].node);
		}
		for (unsigned int i = 0; i < COUNT; i++) {
			assert_int_equal(first(&h)->key, i);
			heap_remove(&h, heap_first(&h));
		}
	}
	free(items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_and_single),
		cmocka_unit_test(test_sorts),
		cmocka_unit_test(test_random_removal),
		cmocka_unit_test(test_long_runs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
