/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers and statuses of the reasons are an interface: logs, metrics and the other end know
 * them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/flow/relay.h"
#include "daemon/proxy/reason.h"
#include "util/macro.h"

static const struct {
	const char *name;
	unsigned int status;
	bool has_retry;
} golden[] = {
	{ "no-such-host", 404, false },       { "tunnel-offline", 503, true },
	{ "tunnel-lost", 502, false },        { "origin-refused", 502, false },
	{ "origin-unreachable", 502, false }, { "origin-tls", 502, false },
	{ "origin-protocol", 502, false },    { "origin-timeout", 504, false },
	{ "origin-reset", 502, false },       { "overloaded", 503, true },
	{ "access-denied", 403, false },      { "rule-cost", 503, false },
	{ "visitor-gone", 499, false },       { "bad-request", 400, false },
	{ "header-too-large", 431, false },   { "body-too-large", 413, false },
	{ "header-timeout", 408, false },
};

static void test_table(void **state)
{
	(void)state;
	assert_int_equal(PROXY_REASON_MAX_, ARRAY_SIZE(golden) + 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(golden); i++) {
		const struct proxy_reason_info *info =
			proxy_reason_info((enum proxy_reason)(i + 1));
		assert_string_equal(info->name, golden[i].name);
		assert_int_equal(info->status, golden[i].status);
		assert_int_equal(info->retry_after > 0, golden[i].has_retry);
		assert_non_null(info->title);
		assert_non_null(info->advice);
		/* Texts go into HTML and JSON as they are. */
		assert_null(strpbrk(info->title, "<>&\"\\"));
		assert_null(strpbrk(info->advice, "<>&\"\\"));
	}
}

static void test_find(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(golden); i++)
		assert_int_equal(
			proxy_reason_find(golden[i].name, (unsigned int)strlen(golden[i].name)),
			i + 1);
	assert_int_equal(proxy_reason_find("origin-tl", 9), PROXY_REASON_NONE);
	assert_int_equal(proxy_reason_find("origin-tlsx", 11), PROXY_REASON_NONE);
	assert_int_equal(proxy_reason_find("none", 4), PROXY_REASON_NONE);
	assert_int_equal(proxy_reason_find("", 0), PROXY_REASON_NONE);
}

static void test_of_relay(void **state)
{
	(void)state;
	static const struct {
		struct pump up, down;
		enum proxy_reason reason;
	} rows[] = {
		{ { .state = PUMP_STATE_DONE }, { .state = PUMP_STATE_DONE }, PROXY_REASON_NONE },
		{ { .state = PUMP_STATE_SINK_FAILED, .error = -EPIPE },
		  { .state = PUMP_STATE_DONE },
		  PROXY_REASON_NONE },
		{ { .state = PUMP_STATE_SOURCE_FAILED, .error = -ECONNRESET },
		  { .state = PUMP_STATE_SINK_FAILED, .error = -ECONNRESET },
		  PROXY_REASON_VISITOR_GONE },
		{ { .state = PUMP_STATE_SINK_FAILED, .error = -ECONNRESET },
		  { .state = PUMP_STATE_SOURCE_FAILED, .error = -ECONNRESET },
		  PROXY_REASON_ORIGIN_RESET },
		{ { .state = PUMP_STATE_DONE },
		  { .state = PUMP_STATE_SOURCE_FAILED, .error = -ECONNRESET, .code = 10 },
		  PROXY_REASON_OVERLOADED },
		{ { .state = PUMP_STATE_SOURCE_FAILED, .error = -ECONNRESET, .code = 10 },
		  { .state = PUMP_STATE_DONE },
		  PROXY_REASON_OVERLOADED },
		{ { .state = PUMP_STATE_DONE },
		  { .state = PUMP_STATE_SOURCE_FAILED, .error = -ETIMEDOUT },
		  PROXY_REASON_ORIGIN_TIMEOUT },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct relay relay = { .a_to_b = rows[i].up, .b_to_a = rows[i].down };
		if (proxy_reason_of_relay(&relay) != rows[i].reason)
			fail_msg("row %u", i);
	}
}

static void test_beyond_the_table(void **state)
{
	(void)state;
	assert_string_equal(proxy_reason_info(PROXY_REASON_MAX_)->name, "none");
	assert_string_equal(proxy_reason_info((enum proxy_reason)255)->name, "none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_beyond_the_table),
		cmocka_unit_test(test_of_relay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
