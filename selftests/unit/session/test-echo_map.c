/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echoes on their way, under a clock of the test's own.
 */
#include "daemon/session/echo_map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/session/icmp_session.h"
#include "selftests/lib/scarce.h"

#define LIFE (ECHO_LIFE_SEC * NSEC_PER_SEC)

static struct icmp_port one, other;

static uint16_t add(struct echo_map *m, nsec_t now, struct icmp_port *port, uint16_t id)
{
	uint16_t seq = 0;
	const struct echo e = { .port = port, .id = id };
	assert_int_equal(echo_map_add(m, now, &e, &seq), 0);
	return seq;
}

static void expect(const struct echo_map *m, nsec_t now, uint16_t seq, int id)
{
	const struct echo *e = echo_map_find(m, seq, now);
	if (id < 0)
		assert_null(e);
	else
		assert_true(e && e->id == id);
}

static void test_numbers(void **state)
{
	(void)state;
	struct echo_map m = {};
	expect(&m, 0, 0, -1);
	for (uint16_t i = 0; i < 1000; i++)
		assert_int_equal(add(&m, i, &one, (uint16_t)(7 * i)), i);
	assert_int_equal(m.count, 1000);
	for (uint16_t i = 0; i < 1000; i++)
		expect(&m, 1000, i, (uint16_t)(7 * i));
	expect(&m, 1000, 1000, -1);
	expect(&m, 1000, 65535, -1);

	struct echo *e = echo_map_find(&m, 500, 1000);
	assert_non_null(e);
	echo_map_remove(&m, e);
	echo_map_remove(&m, e);
	assert_int_equal(m.count, 999);
	expect(&m, 1000, 500, -1);
	expect(&m, 1000, 501, 3507);
	echo_map_done(&m);
	assert_int_equal(m.count, 0);
	expect(&m, 1000, 501, -1);
	/* The next one has no number that something may still be on its way with. */
	assert_int_equal(add(&m, 1000, &one, 1), 1000);
	echo_map_done(&m);
}

static void test_expiry(void **state)
{
	(void)state;
	struct echo_map m = {};
	(void)add(&m, 10, &one, 1);
	(void)add(&m, 20, &one, 2);
	expect(&m, 10 + LIFE - 1, 0, 1);
	expect(&m, 10 + LIFE, 0, -1);
	expect(&m, 10 + LIFE, 1, 2);
	echo_map_expire(&m, 10 + LIFE);
	assert_int_equal(m.count, 1);
	assert_non_null(m.ring);
	echo_map_expire(&m, 20 + LIFE);
	assert_int_equal(m.count, 0);
	assert_null(m.ring);
	/* What was answered doesn't keep the memory. */
	uint16_t seq = add(&m, 0, &one, 3);
	echo_map_remove(&m, echo_map_find(&m, seq, 0));
	echo_map_expire(&m, 1);
	assert_null(m.ring);
}

/* One ping a second for ever needs no more than the least. */
static void test_small(void **state)
{
	(void)state;
	struct echo_map m = {};
	for (unsigned int i = 0; i < 200000; i++) {
		uint16_t seq = add(&m, i * NSEC_PER_SEC, &one, (uint16_t)i);
		assert_int_equal(seq, (uint16_t)i);
		expect(&m, i * NSEC_PER_SEC, seq, (uint16_t)i);
		assert_true(m.size <= 64);
	}
	assert_int_equal(m.forgotten, 0);
	echo_map_done(&m);
}

static void test_full(void **state)
{
	(void)state;
	struct echo_map m = {};
	for (unsigned int i = 0; i < ECHO_MAP_MAX; i++)
		(void)add(&m, i, &one, (uint16_t)i);
	assert_true(m.count == ECHO_MAP_MAX && m.size == ECHO_MAP_MAX && m.forgotten == 0);
	expect(&m, ECHO_MAP_MAX, 0, 0);
	expect(&m, ECHO_MAP_MAX, 65535, 65535);
	/* The oldest goes, and its number is the next one's. */
	assert_int_equal(add(&m, ECHO_MAP_MAX, &one, 4711), 0);
	assert_true(m.count == ECHO_MAP_MAX && m.forgotten == 1);
	expect(&m, ECHO_MAP_MAX, 0, 4711);
	expect(&m, ECHO_MAP_MAX, 1, 1);
	/* One that was answered makes room without a loss. */
	echo_map_remove(&m, echo_map_find(&m, 1, ECHO_MAP_MAX));
	assert_int_equal(add(&m, ECHO_MAP_MAX, &one, 4712), 1);
	assert_true(m.count == ECHO_MAP_MAX && m.forgotten == 1);
	echo_map_done(&m);
}

static void test_ports(void **state)
{
	(void)state;
	struct echo_map m = {};
	for (uint16_t i = 0; i < 300; i++)
		(void)add(&m, 0, i % 3 ? &one : &other, i);
	echo_map_remove_port(&m, &one);
	assert_int_equal(m.count, 100);
	for (uint16_t i = 0; i < 300; i++)
		expect(&m, 0, i, i % 3 ? -1 : i);
	echo_map_remove_port(&m, &other);
	assert_int_equal(m.count, 0);
	echo_map_remove_port(&m, &other);
	echo_map_done(&m);
}

/* Without memory for more what there is serves on, and the oldest goes. */
static void test_no_memory(void **state)
{
	(void)state;
	struct echo_map m = {};
	uint16_t seq = 0;
	scarce_begin(&(struct scarce){ .allocation = 1 });
	assert_int_equal(echo_map_add(&m, 0, &(struct echo){ .port = &one }, &seq), -ENOMEM);
	assert_int_equal(m.count, 0);
	scarce_begin(&(struct scarce){ .allocation = 2, .run = 1000 });
	for (uint16_t i = 0; i < 100; i++)
		(void)add(&m, 0, &one, i);
	assert_true(scarce_has_failed());
	scarce_relent();
	assert_true(m.count == 64 && m.size == 64 && m.forgotten == 36);
	expect(&m, 0, 99, 99);
	expect(&m, 0, 35, -1);
	expect(&m, 0, 36, 36);
	echo_map_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_small),   cmocka_unit_test(test_full),
		cmocka_unit_test(test_ports),   cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
