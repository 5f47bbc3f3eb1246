/* SPDX-License-Identifier: Apache-2.0 */
/* Random bytes: lengths, bounds, and that they aren't the same every time. */
#include "daemon/base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/macro.h"

static void test_bytes(void **state UNUSED)
{
	enum { LEN = 100000 }; /* more than the kernel gives in one uninterrupted call */
	uint8_t *a = calloc(1, LEN);
	uint8_t *b = calloc(1, LEN);
	assert_non_null(a);
	assert_non_null(b);
	random_bytes(a, LEN);
	random_bytes(b, LEN);
	assert_int_not_equal(memcmp(a, b, LEN), 0);
	assert_int_not_equal(memcmp(a + LEN - 32, b + LEN - 32, 32), 0);
	random_bytes(NULL, 0);
	free(a);
	free(b);
	assert_true(random_u64() != random_u64());
}

static void test_below(void **state UNUSED)
{
	unsigned int seen[10] = {};
	for (unsigned int i = 0; i < 2000; i++)
		seen[random_below(10)]++;
	for (unsigned int i = 0; i < 10; i++)
		assert_true(seen[i] > 100 && seen[i] < 400);
	assert_int_equal(random_below(0), 0);
	assert_int_equal(random_below(1), 0);
	for (unsigned int i = 0; i < 100; i++)
		assert_true(random_below((UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_below),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
