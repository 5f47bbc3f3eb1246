/* SPDX-License-Identifier: Apache-2.0 */
/* The map, and SipHash with the vector of its paper. */
#include "daemon/base/map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/base/siphash.h"

/* Appendix A of the paper: key 00 … 0f, input 00 … 0e; and the empty input of the reference
 * vectors. */
static void test_siphash(void **state UNUSED)
{
	const struct siphash_key key = { UINT64_C(0x0706050403020100),
					 UINT64_C(0x0f0e0d0c0b0a0908) };
	uint8_t bytes[15];
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	assert_true(siphash(key, span_of(bytes, 15), 2, 4) == UINT64_C(0xa129ca6149be45e5));
	assert_true(siphash(key, span_of(bytes, 0), 2, 4) == UINT64_C(0x726fdb47dd0e0e31));
	assert_true(siphash(key, span_of(bytes, 15), 1, 3) !=
		    siphash(key, span_of(bytes, 14), 1, 3));
	assert_true(siphash_process(SPAN_LIT("a")) == siphash_process(SPAN_LIT("a")));
	assert_true(siphash_process(SPAN_LIT("a")) != siphash_process(SPAN_LIT("b")));
}

struct item {
	char key[16];
	struct map_node node;
	unsigned int visits;
};

static void set_key(struct item *it, unsigned int i)
{
	(void)snprintf(it->key, sizeof(it->key), "key-%u", i);
}

static void test_insert_find_remove(void **state UNUSED)
{
	enum { COUNT = 3000 };
	struct item *items = calloc(COUNT, sizeof(*items));
	assert_non_null(items);
	struct map m;
	map_init(&m, COUNT - 1);
	assert_null(map_find(&m, SPAN_LIT("key-1")));
	assert_null(map_first(&m));
	map_fetch_chain(&m, 1);
	map_fetch_first(&m, 1);
	for (unsigned int i = 0; i < COUNT; i++) {
		set_key(&items[i], i);
		assert_int_equal(map_insert(&m, &items[i].node, span_str(items[i].key)),
				 i < COUNT - 1 ? 0 : -E2BIG);
	}
	struct item twin = {};
	assert_int_equal(map_insert(&m, &twin.node, SPAN_LIT("key-7")), -EEXIST);
	for (unsigned int i = 0; i < COUNT - 1; i++)
		assert_ptr_equal(map_find(&m, span_str(items[i].key)), &items[i].node);
	assert_null(map_find(&m, span_str(items[COUNT - 1].key)));
	assert_null(map_find(&m, (struct span){}));
	for (unsigned int i = 0; i < COUNT; i++) {
		struct span key = span_str(items[i].key);
		uint64_t hash = map_hash(key);
		map_fetch_chain(&m, hash);
		map_fetch_first(&m, hash);
		assert_ptr_equal(map_find_hashed(&m, hash, key), map_find(&m, key));
	}

	for (unsigned int i = 0; i < COUNT; i += 2)
		map_remove(&m, &items[i].node);
	map_remove(&m, &items[0].node);
	assert_int_equal(m.count, COUNT / 2 - 1 + COUNT % 2);
	for (unsigned int i = 0; i < COUNT - 1; i++)
		assert_int_equal(map_find(&m, span_str(items[i].key)) != NULL, i % 2);
	map_done(&m);
	assert_false(items[1].node.is_in);
	assert_int_equal(map_insert(&m, &items[1].node, SPAN_LIT("again")), 0);
	assert_ptr_equal(map_find(&m, SPAN_LIT("again")), &items[1].node);
	map_done(&m);
	free(items);
}

static void test_walk(void **state UNUSED)
{
	enum { COUNT = 100 };
	struct item items[COUNT] = {};
	struct map m;
	map_init(&m, SIZE_MAX);
	for (unsigned int i = 0; i < COUNT; i++) {
		set_key(&items[i], i);
		assert_int_equal(map_insert(&m, &items[i].node, span_str(items[i].key)), 0);
	}
	MAP_FOREACH(node, &m)
	{
		struct item *it = MAP_ENTRY(node, struct item, node);
		it->visits++;
		if ((it - items) % 3 == 0)
			map_remove(&m, node);
	}
	MAP_FOREACH(node, &m)
	MAP_ENTRY(node, struct item, node)->visits++;
	for (unsigned int i = 0; i < COUNT; i++)
		assert_int_equal(items[i].visits, i % 3 ? 2 : 1);
	MAP_FOREACH(node, &m)
	map_remove(&m, node);
	assert_int_equal(m.count, 0);
	assert_null(map_first(&m));
	map_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash),
		cmocka_unit_test(test_insert_find_remove),
		cmocka_unit_test(test_walk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
