/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept of a head for a line that is written long after it has gone.
 */
#include "daemon/proxy/access_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fill(struct http_head *head, struct span *ray, char bytes[64])
{
	memcpy(bytes, "GETa.test/path?secretray", 25);
	*head = (struct http_head){
		.method = span_of(bytes, 3),
		.authority = span_of(bytes + 3, 6),
		.target = span_of(bytes + 9, 12),
		.field_count = 3,
	};
	*ray = span_of(bytes + 21, 3);
}

static void test_keep(void **state)
{
	(void)state;
	char bytes[64];
	struct http_head head;
	struct span ray;
	fill(&head, &ray, bytes);
	void *block = access_log_keep(CONF_ACCESS_LOG_ERRORS, &head, &ray);
	assert_non_null(block);
	memset(bytes, 'x', sizeof(bytes));
	assert_true(span_eq_str(head.method, "GET"));
	assert_true(span_eq_str(head.authority, "a.test"));
	assert_true(span_eq_str(head.target, "/path"));
	assert_true(span_eq_str(ray, "ray"));
	assert_int_equal(head.field_count, 0);
	free(block);
}

static void test_keep_without_ray(void **state)
{
	(void)state;
	char bytes[64];
	struct http_head head;
	struct span ray;
	fill(&head, &ray, bytes);
	head.target = span_of(NULL, 0);
	void *block = access_log_keep(CONF_ACCESS_LOG_ON, &head, NULL);
	assert_true(span_eq_str(head.authority, "a.test"));
	assert_int_equal(head.target.len, 0);
	free(block);
}

static void test_nothing_to_keep(void **state)
{
	(void)state;
	char bytes[64];
	struct http_head head;
	struct span ray;
	fill(&head, &ray, bytes);
	assert_null(access_log_keep(CONF_ACCESS_LOG_OFF, &head, &ray));
	assert_int_equal(head.method.len + head.authority.len + head.target.len + ray.len, 0);
	assert_int_equal(head.field_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep),
		cmocka_unit_test(test_keep_without_ray),
		cmocka_unit_test(test_nothing_to_keep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
