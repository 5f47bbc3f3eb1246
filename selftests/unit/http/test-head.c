/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to a head.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "daemon/http/head.h"
#include "util/macro.h"

static struct http_field fields[] = {
	{ SPAN_LIT("Accept"), SPAN_LIT("a") },
	{ SPAN_LIT("connection"), SPAN_LIT("x-one , Close") },
	{ SPAN_LIT("ACCEPT"), SPAN_LIT("b") },
	{ SPAN_LIT("Connection"), SPAN_LIT("X-Two") },
};

static const struct http_head head = { .fields = fields, .field_count = ARRAY_SIZE(fields) };

static void test_find(void **state)
{
	(void)state;
	assert_ptr_equal(http_head_find(&head, "aCCept"), &fields[0]);
	assert_null(http_head_find(&head, "accep"));
	assert_true(http_head_lists(&head, "connection", SPAN_LIT("close")));
	assert_true(http_head_lists(&head, "connection", SPAN_LIT("x-two")));
	assert_false(http_head_lists(&head, "connection", SPAN_LIT("x")));
}

static void test_hop_by_hop(void **state)
{
	(void)state;
	assert_true(http_head_is_hop_by_hop(&head, SPAN_LIT("X-One")));
	assert_true(http_head_is_hop_by_hop(&head, SPAN_LIT("x-two")));
	assert_true(http_head_is_hop_by_hop(&head, SPAN_LIT("Keep-Alive")));
	assert_false(http_head_is_hop_by_hop(&head, SPAN_LIT("Accept")));
}

static void test_registries(void **state)
{
	(void)state;
	assert_true(http_method_is_idempotent(SPAN_LIT("GET")));
	assert_true(http_method_is_idempotent(SPAN_LIT("DELETE")));
	assert_true(http_method_is_idempotent(SPAN_LIT("PROPFIND")));
	assert_false(http_method_is_idempotent(SPAN_LIT("POST")));
	assert_false(http_method_is_idempotent(SPAN_LIT("PATCH")));
	assert_false(http_method_is_idempotent(SPAN_LIT("get")));
	assert_true(http_status_is_bodiless(204));
	assert_true(http_status_is_bodiless(103));
	assert_false(http_status_is_bodiless(205));
	assert_string_equal(http_status_text(404), "Not Found");
	assert_string_equal(http_status_text(599), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_hop_by_hop),
		cmocka_unit_test(test_registries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
