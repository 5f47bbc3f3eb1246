/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that origins with TLS are asked for, and contexts by rule.
 */
#include "daemon/origin/origin_tls.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/macro.h"

static struct conf_rule rule_of(enum service_kind kind, const char *host)
{
	return (struct conf_rule){
		.name = "r",
		.service = { .kind = kind, .tls = true, .host = host, .text = "s" },
	};
}

/* Any service's host or origin-server-name wins over the request's, unless it varies. */
static void test_fixed_names(void **state)
{
	(void)state;
	char name[ORIGIN_TLS_NAME_MAX];
	struct conf_rule rule = rule_of(SERVICE_KIND_HTTP, "Origin.Example.");
	assert_false(origin_tls_name_varies(&rule));
	assert_int_equal(origin_tls_name(&rule, SPAN_LIT("visitor.test"), name), 0);
	assert_string_equal(name, "origin.example");
	rule.origin.origin_server_name = "named.example";
	assert_int_equal(origin_tls_name(&rule, SPAN_LIT(""), name), 0);
	assert_string_equal(name, "named.example");
	rule.service.host = "2001:db8::1";
	rule.origin.origin_server_name = NULL;
	assert_int_equal(origin_tls_name(&rule, SPAN_LIT("x"), name), 0);
	assert_string_equal(name, "2001:db8::1");

	rule = rule_of(SERVICE_KIND_UNIX, NULL);
	rule.origin.origin_server_name = "named.example";
	assert_false(origin_tls_name_varies(&rule));
	rule.service.tls = false;
	rule.origin.origin_server_name = NULL;
	assert_false(origin_tls_name_varies(&rule));
}

static void test_names_of_requests(void **state)
{
	(void)state;
	static const struct {
		const char *authority, *name; /* NULL: refused */
	} table[] = {
		{ "visitor.test", "visitor.test" },
		{ "Visitor.TEST:8443", "visitor.test" },
		{ "visitor.test.", "visitor.test" },
		{ "visitor.test.:80", "visitor.test" },
		{ "a_b-c.test", "a_b-c.test" },
		{ "127.0.0.1:80", "127.0.0.1" },
		{ "[2001:DB8::1]:443", "2001:db8::1" },
		{ "[::1]", "::1" },
		{ "", NULL },
		{ ".", NULL },
		{ ":80", NULL },
		{ "[nonsense]", NULL },
		{ "a b", NULL },
		{ "a,b", NULL },
		{ "caf\xc3\xa9.test", NULL },
		{ ".test", NULL },
	};
	struct conf_rule kinds[2] = { rule_of(SERVICE_KIND_HTTP, "origin.example"),
				      rule_of(SERVICE_KIND_UNIX, NULL) };
	kinds[0].origin.match_sni_to_host = true;
	kinds[0].origin.origin_server_name = "ignored.example";
	for (size_t i = 0; i < 2 * ARRAY_SIZE(table); i++) {
		const struct conf_rule *rule = &kinds[i % 2];
		char name[ORIGIN_TLS_NAME_MAX] = "unchanged";
		assert_true(origin_tls_name_varies(rule));
		int r = origin_tls_name(rule, span_str(table[i / 2].authority), name);
		assert_int_equal(r, table[i / 2].name ? 0 : -EINVAL);
		assert_string_equal(name, table[i / 2].name ? table[i / 2].name : "unchanged");
	}
}

static void test_long_names(void **state)
{
	(void)state;
	struct conf_rule rule = rule_of(SERVICE_KIND_UNIX, NULL);
	uint8_t text[ORIGIN_TLS_NAME_MAX];
	char name[ORIGIN_TLS_NAME_MAX];
	memset(text, 'a', sizeof(text));
	assert_int_equal(origin_tls_name(&rule, span_of(text, sizeof(text) - 1), name), 0);
	assert_int_equal(strlen(name), sizeof(text) - 1);
	assert_int_equal(origin_tls_name(&rule, span_of(text, sizeof(text)), name), -EINVAL);
}

/* Rules with the same trust share a context; in clear there is none. */
static void test_contexts(void **state)
{
	(void)state;
	struct conf_rule rules[4] = {
		rule_of(SERVICE_KIND_HTTP, "a"),
		rule_of(SERVICE_KIND_HTTP, "b"),
		rule_of(SERVICE_KIND_UNIX, NULL),
		rule_of(SERVICE_KIND_HTTP, "c"),
	};
	rules[1].service.tls = false;
	rules[3].origin.no_tls_verify = true;
	struct conf conf = { .rules = rules, .rule_count = ARRAY_SIZE(rules) };
	struct origin_tls *tls = NULL;
	const struct conf_rule *bad = NULL;
	const char *reason = NULL;
	assert_int_equal(origin_tls_new(&conf, &tls, &bad, &reason), 0);
	assert_non_null(origin_tls_context(tls, &rules[0]));
	assert_null(origin_tls_context(tls, &rules[1]));
	assert_ptr_equal(origin_tls_context(tls, &rules[2]), origin_tls_context(tls, &rules[0]));
	assert_ptr_not_equal(origin_tls_context(tls, &rules[3]),
			     origin_tls_context(tls, &rules[0]));
	origin_tls_free(tls);
	origin_tls_free(NULL);
}

static void test_bad_pools(void **state)
{
	(void)state;
	char path[] = "/tmp/adit-pool-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "nothing\n", 8), 8);
	close(fd);
	const char *const pools[] = { path, "/nonexistent/pool.pem" };
	for (size_t i = 0; i < ARRAY_SIZE(pools); i++) {
		struct conf_rule rules[2] = { rule_of(SERVICE_KIND_HTTP, "a"),
					      rule_of(SERVICE_KIND_HTTP, "b") };
		rules[1].origin.ca_pool = pools[i];
		struct conf conf = { .rules = rules, .rule_count = ARRAY_SIZE(rules) };
		struct origin_tls *tls = NULL;
		const struct conf_rule *bad = NULL;
		const char *reason = NULL;
		assert_int_equal(origin_tls_new(&conf, &tls, &bad, &reason), -EINVAL);
		assert_null(tls);
		assert_ptr_equal(bad, &rules[1]);
		assert_non_null(reason);
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed_names), cmocka_unit_test(test_names_of_requests),
		cmocka_unit_test(test_long_names),  cmocka_unit_test(test_contexts),
		cmocka_unit_test(test_bad_pools),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
