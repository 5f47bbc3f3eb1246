/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The envelope of a pushed configuration: what is one, and which version it has.
 */
#include "daemon/conf/push.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/macro.h"

static int version_of(const char *text, int32_t *ret)
{
	size_t len = strlen(text);
	char *copy = malloc(len + 1); /* of the exact size */
	assert_non_null(copy);
	for (size_t i = 0; i < len; i++)
		copy[i] = text[i];
	int r = conf_push_version(copy, len, ret);
	free(copy);
	return r;
}

static void test_versions(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int32_t version;
	} good[] = {
		{ "{}", 0 },
		{ "null", 0 },
		{ " {\"version\": 12, \"config\": {}}", 12 },
		{ "{\"Version\":7,\"Config\":{}}", 7 },
		{ "{\"version\":-5}", -5 },
		{ "{\"version\":2147483647}", INT32_MAX },
		{ "{\"version\":-2147483648}", INT32_MIN },
		{ "{\"version\":10,\"version\":11}", 11 },
		{ "{\"version\":null}", 0 },
		{ "{\"version\":8,\"config\":\"str\"}garbage", 8 },
		{ "{\"other\":[1,2,{}],\"version\":3}", 3 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int32_t version = 99;
		assert_int_equal(version_of(good[i].text, &version), 0);
		assert_int_equal(version, good[i].version);
	}
}

static void test_bad(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"hello",
		"[]",
		"12",
		"\"text\"",
		"{\"version\":\"6\"}",
		"{\"version\":6.5}",
		"{\"version\":4294967296}",
		"{\"version\":true}",
		"{\"version\":1",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int32_t version = 99;
		assert_int_equal(version_of(bad[i], &version), -EBADMSG);
		assert_int_equal(version, 99);
	}
	char zero[] = "{\"version\":1}\0x";
	int32_t version = 99;
	assert_int_equal(conf_push_version(zero, sizeof(zero) - 1, &version), -EBADMSG);
}

static void test_answers(void **state)
{
	(void)state;
	char buf[128];
	struct packer p = packer_over(buf, sizeof(buf));
	conf_push_answer(&p, 12, NULL);
	assert_true(span_eq_str(packer_span(&p), "{\"lastAppliedVersion\":12,\"err\":null}"));
	p = packer_over(buf, sizeof(buf));
	conf_push_answer(&p, -1, "no");
	assert_true(span_eq_str(packer_span(&p),
				"{\"lastAppliedVersion\":-1,\"err\":{\"message\":\"no\"}}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_answers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
