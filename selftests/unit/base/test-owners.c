/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which worker has what.
 */
#include "daemon/base/owners.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = 20000, THREADS = 4 };

static struct span id_of(uint32_t n, uint8_t buf[16])
{
	memset(buf, 0x5a, 16);
	memcpy(buf + 3, &n, sizeof(n));
	return span_of(buf, 16);
}

static void test_set_find_clear(void **state)
{
	(void)state;
	struct owners *o = NULL;
	uint8_t buf[16], other[16];
	assert_int_equal(owners_new(100, &o), 0);
	assert_int_equal(owners_find(o, id_of(1, buf)), -ENOENT);
	assert_true(owners_set(o, id_of(1, buf), 0));
	assert_true(owners_set(o, id_of(2, other), 255));
	assert_int_equal(owners_find(o, id_of(1, buf)), 0);
	assert_int_equal(owners_find(o, id_of(2, other)), 255);
	assert_true(owners_set(o, id_of(1, buf), 7)); /* it has moved */
	assert_int_equal(owners_find(o, id_of(1, buf)), 7);
	owners_clear(o, id_of(1, buf), 0); /* that one has it no more */
	assert_int_equal(owners_find(o, id_of(1, buf)), 7);
	owners_clear(o, id_of(1, buf), 7);
	assert_int_equal(owners_find(o, id_of(1, buf)), -ENOENT);
	assert_int_equal(owners_find(o, id_of(2, other)), 255);
	owners_free(o);
	owners_free(NULL);
	assert_true(owners_set(NULL, id_of(1, buf), 0)); /* one worker alone */
	assert_int_equal(owners_find(NULL, id_of(1, buf)), -ENOENT);
	owners_clear(NULL, id_of(1, buf), 0);
}

/* As many as were announced all find room, and half of them again after the others have gone. */
static void test_many(void **state)
{
	(void)state;
	struct owners *o = NULL;
	uint8_t buf[16];
	assert_int_equal(owners_new(MANY, &o), 0);
	for (uint32_t n = 0; n < MANY; n++)
		assert_true(owners_set(o, id_of(n, buf), n % 256));
	for (uint32_t n = 0; n < MANY; n++)
		assert_int_equal(owners_find(o, id_of(n, buf)), n % 256);
	for (uint32_t n = 0; n < MANY; n += 2)
		owners_clear(o, id_of(n, buf), n % 256);
	for (uint32_t n = 0; n < MANY; n++)
		assert_int_equal(owners_find(o, id_of(n, buf)), n % 2 ? (int)(n % 256) : -ENOENT);
	for (uint32_t n = MANY; n < MANY + MANY / 2; n++)
		assert_true(owners_set(o, id_of(n, buf), 1));
	owners_free(o);
}

static void test_full(void **state)
{
	(void)state;
	struct owners *o = NULL;
	uint8_t buf[16];
	uint32_t n = 0;
	assert_int_equal(owners_new(4, &o), 0);
	while (n < 100 && owners_set(o, id_of(n, buf), 3))
		n++;
	assert_true(n >= 4 && n < 100);
	assert_int_equal(owners_find(o, id_of(n, buf)), -ENOENT);
	for (uint32_t k = 0; k < n; k++)
		assert_int_equal(owners_find(o, id_of(k, buf)), 3);
	owners_free(o);
}

struct part {
	struct owners *owners;
	uint32_t number;
	pthread_t thread;
};

/* Each thread has ids of its own and reads everybody's. */
static void *work(void *arg)
{
	const struct part *p = arg;
	uint8_t buf[16];
	uintptr_t wrong = 0;
	for (uint32_t turn = 0; turn < 20; turn++) {
		for (uint32_t n = 0; n < 200; n++)
			wrong += !owners_set(p->owners, id_of(n * THREADS + p->number, buf),
					     p->number);
		for (uint32_t n = 0; n < 200 * THREADS; n++) {
			int owner = owners_find(p->owners, id_of(n, buf));
			bool is_mine = n % THREADS == p->number;
			wrong += owner != (int)(n % THREADS) && (is_mine || owner != -ENOENT);
		}
		for (uint32_t n = 0; n < 200; n++)
			owners_clear(p->owners, id_of(n * THREADS + p->number, buf), p->number);
	}
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): a count, not an address */
	return (void *)wrong;
}

static void test_threads(void **state)
{
	(void)state;
	struct owners *o = NULL;
	struct part parts[THREADS];
	assert_int_equal(owners_new(1000, &o), 0);
	for (uint32_t i = 0; i < THREADS; i++) {
		parts[i] = (struct part){ .owners = o, .number = i };
		assert_int_equal(pthread_create(&parts[i].thread, NULL, work, &parts[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		void *wrong = NULL;
		assert_int_equal(pthread_join(parts[i].thread, &wrong), 0);
		assert_null(wrong);
	}
	owners_free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_find_clear),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
