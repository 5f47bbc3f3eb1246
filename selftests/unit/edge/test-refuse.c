/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders to refuse: what each kind answers, how many of which tunnel fall under one.
 */
#include "daemon/edge/refuse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/macro.h"
#include "util/time.h"

static const struct uuid home = { .bytes = { 1 } }, other = { .bytes = { 2 } };

static const struct {
	const char *kind;
	enum refuse_manner manner;
	const char *cause;
	bool should_retry;
	unsigned int retry_after_sec;
} kinds[] = {
	{ "unauthorized", REFUSE_MANNER_ANSWER, "Unauthorized: tunnel or secret not known", false,
	  0 },
	{ "too-many", REFUSE_MANNER_ANSWER, "too many connections", true, 30 },
	{ "draining", REFUSE_MANNER_ANSWER, "edge is draining", true, 1 },
	{ "duplicate", REFUSE_MANNER_ANSWER, "EDUPCONN", true, 0 },
	{ "retry", REFUSE_MANNER_ANSWER, "try again later", true, 5 },
	{ "permanent", REFUSE_MANNER_ANSWER, "refused for good", false, 0 },
	{ "exception", REFUSE_MANNER_EXCEPTION, NULL, false, 0 },
	{ "silent", REFUSE_MANNER_SILENT, NULL, false, 0 },
	{ "close", REFUSE_MANNER_CLOSE, NULL, false, 0 },
};

static struct refuse *order(const char *kind, const struct uuid *tunnel, uint64_t count,
			    int64_t retry_after_ns)
{
	struct refuse *r = NULL;
	const struct refuse_params params = {
		.kind = kind, .tunnel = tunnel, .count = count, .retry_after_ns = retry_after_ns
	};
	assert_int_equal(refuse_new(&params, &r), 0);
	return r;
}

static void test_kinds(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct tunnel_registered answer = {};
		struct refuse *r = order(kinds[i].kind, NULL, 0, -1);
		assert_string_equal(refuse_kind(r), kinds[i].kind);
		assert_int_equal(refuse_answer(r, &answer), kinds[i].manner);
		assert_int_equal(answer.verdict,
				 kinds[i].cause ? TUNNEL_VERDICT_ERROR : (enum tunnel_verdict)0);
		if (kinds[i].cause)
			assert_true(span_eq_str(answer.cause, kinds[i].cause));
		assert_int_equal(answer.should_retry, kinds[i].should_retry);
		assert_int_equal(answer.retry_after_ns,
				 (int64_t)(kinds[i].retry_after_sec * NSEC_PER_SEC));
		refuse_unref(r);
	}
}

static void test_own_delay(void **state)
{
	(void)state;
	struct tunnel_registered answer = {};
	struct refuse *r = order("too-many", NULL, 0, 7);
	(void)refuse_answer(r, &answer);
	assert_int_equal(answer.retry_after_ns, 7);
	refuse_unref(r);
	r = order("retry", NULL, 0, 0);
	(void)refuse_answer(r, &answer);
	assert_int_equal(answer.retry_after_ns, 0);
	refuse_unref(r);
}

static void test_count_and_tunnel(void **state)
{
	(void)state;
	struct refuse *r = order("close", &home, 2, -1);
	assert_false(refuse_take(r, &other));
	assert_true(refuse_take(r, &home));
	assert_non_null(refuse_kind(r));
	assert_true(refuse_take(r, &home));
	assert_false(refuse_take(r, &home));
	assert_null(refuse_kind(r));
	refuse_unref(r);
	/* Without a count it never ends; without a tunnel it is for all. */
	r = refuse_ref(order("close", NULL, 0, -1));
	refuse_unref(r);
	for (unsigned int i = 0; i < 1000; i++)
		assert_true(refuse_take(r, i % 2 ? &home : &other));
	refuse_unref(r);
}

static void test_none(void **state)
{
	(void)state;
	struct refuse *r = NULL;
	const char *const wrong[] = { "", "none", "Retry", "retry ", "bogus" };
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(refuse_new(&(struct refuse_params){ .kind = wrong[i] }, &r),
				 -EINVAL);
	assert_null(r);
	assert_false(refuse_take(NULL, &home));
	assert_null(refuse_kind(NULL));
	assert_null(refuse_ref(NULL));
	refuse_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_own_delay),
		cmocka_unit_test(test_count_and_tunnel),
		cmocka_unit_test(test_none),
	};
	return cmocka_run_group_tests_name("refuse", tests, NULL, NULL);
}
