/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets and back-off: both are arithmetic on time, up to its ends. */
#include "daemon/base/ratelimit.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "daemon/base/backoff.h"
#include "util/macro.h"

static void test_bucket(void **state UNUSED)
{
	struct ratelimit r;
	nsec_t now = 1000 * NSEC_PER_SEC;
	ratelimit_init(&r, NSEC_PER_SEC, 3);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(ratelimit_take(&r, now, 1));
	assert_false(ratelimit_take(&r, now, 1));
	assert_true(ratelimit_take(&r, now, 0));
	assert_true(ratelimit_ready_at(&r, now, 1) == now + NSEC_PER_SEC);
	assert_true(ratelimit_ready_at(&r, now, 3) == now + 3 * NSEC_PER_SEC);
	assert_true(ratelimit_ready_at(&r, now, 4) == NSEC_NEVER);
	assert_false(ratelimit_take(&r, now + NSEC_PER_SEC - 1, 1));
	assert_true(ratelimit_take(&r, now + NSEC_PER_SEC, 1));
	assert_false(ratelimit_take(&r, now + NSEC_PER_SEC, 1));
	now += 100 * NSEC_PER_SEC; /* it holds no more than three */
	assert_false(ratelimit_take(&r, now, 4));
	assert_true(ratelimit_take(&r, now, 3));
	assert_false(ratelimit_take(&r, now, 1));
}

static void test_rate(void **state UNUSED)
{
	struct ratelimit r = {};
	nsec_t now = 1000 * NSEC_PER_SEC;
	ratelimit_set_rate(&r, 4);
	assert_true(ratelimit_take(&r, now, 4));
	ratelimit_set_rate(&r, 4);
	assert_false(ratelimit_take(&r, now, 1));
	assert_true(ratelimit_ready_at(&r, now, 1) == now + NSEC_PER_SEC / 4);
	ratelimit_set_rate(&r, 5);
	assert_true(ratelimit_take(&r, now, 5));
	assert_false(ratelimit_take(&r, now, 1));
	ratelimit_set_rate(&r, UINT32_MAX); /* more than one a nanosecond isn't told apart */
	assert_true(ratelimit_take(&r, now, UINT32_MAX));
	assert_false(ratelimit_take(&r, now, 1));
}

static void test_bucket_ends(void **state UNUSED)
{
	struct ratelimit r = {};
	assert_true(ratelimit_take(&r, 5, UINT32_MAX)); /* zeroed: no limit */
	assert_true(ratelimit_take(&r, 5, 1));
	ratelimit_init(&r, NSEC_PER_SEC, 0);
	assert_false(ratelimit_take(&r, 0, 1));
	ratelimit_init(&r, NSEC_NEVER, UINT32_MAX);
	assert_true(ratelimit_take(&r, NSEC_NEVER - 1, 1));
}

static void test_backoff(void **state UNUSED)
{
	struct backoff b;
	backoff_init(&b, NSEC_PER_SEC, 10 * NSEC_PER_SEC);
	static const unsigned int limits[] = { 1, 2, 4, 8, 10, 10, 10 };
	for (unsigned int i = 0; i < ARRAY_SIZE(limits); i++) {
		nsec_t limit = limits[i] * NSEC_PER_SEC;
		struct backoff copy = b;
		assert_true(backoff_limit(&b) == limit);
		assert_true(backoff_next(&copy, 0) == limit / 2);
		copy = b;
		assert_true(backoff_next(&copy, limit / 2) == limit);
		nsec_t delay = backoff_next(&b, UINT64_MAX);
		assert_true(delay >= limit / 2 && delay <= limit);
	}
	for (unsigned int i = 0; i < 200; i++)
		assert_true(backoff_next(&b, i) <= 10 * NSEC_PER_SEC);
	backoff_reset(&b);
	assert_true(backoff_limit(&b) == NSEC_PER_SEC);

	backoff_init(&b, 1, UINT64_MAX);
	for (unsigned int i = 0; i < 100; i++)
		(void)backoff_next(&b, UINT64_MAX);
	assert_true(backoff_limit(&b) >= UINT64_C(1) << 63);
	backoff_init(&b, 0, 0);
	assert_true(backoff_next(&b, 7) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_bucket_ends),
		cmocka_unit_test(test_backoff),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
