/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services and hostnames beyond the recorded rule sets (test-ingress_vectors): what the parsed form
 * holds, bastion mode, kinds that aren't built.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/conf/arena.h"
#include "daemon/conf/rule.h"
#include "util/macro.h"

static struct conf_arena *arena;

static int parse(const char *text, bool bastion, struct conf_service *ret)
{
	const char *reason = NULL;
	int r = service_parse(arena, span_str(text), bastion, ret, &reason);
	assert_true(r == 0 || reason);
	return r;
}

static void test_services(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum service_kind kind;
		bool tls;
		uint16_t port;
		const char *host;
		const char *missing;
	} rows[] = {
		{ "http://a", SERVICE_KIND_HTTP, false, 80, "a", NULL },
		{ "ws://a:1", SERVICE_KIND_HTTP, false, 1, "a", NULL },
		{ "https://A.b", SERVICE_KIND_HTTP, true, 443, "A.b", NULL },
		{ "wss://[::1]", SERVICE_KIND_HTTP, true, 443, "::1", NULL },
		{ "http://[fe80::1%25eth0]:2", SERVICE_KIND_HTTP, false, 2, "fe80::1%eth0", NULL },
		{ "SSH://h", SERVICE_KIND_STREAM, false, 22, "h", "ssh" },
		{ "foo://h", SERVICE_KIND_STREAM, false, 0, "h", "foo" },
		{ "unix:/x", SERVICE_KIND_UNIX, false, 0, NULL, NULL },
		{ "unix+tls:/x", SERVICE_KIND_UNIX, true, 0, NULL, NULL },
		{ "http_status:200", SERVICE_KIND_STATUS, false, 0, NULL, NULL },
		{ "hello-world", SERVICE_KIND_HELLO, false, 0, NULL, NULL },
		{ "socks-proxy", SERVICE_KIND_SOCKS, false, 0, NULL, "socks-proxy" },
		{ "bastion", SERVICE_KIND_BASTION, false, 0, NULL, "bastion" },
		{ "origins:web", SERVICE_KIND_ORIGINS, false, 0, NULL, "origins" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf_service s = {};
		assert_int_equal(parse(rows[i].text, false, &s), 0);
		assert_int_equal(s.kind, rows[i].kind);
		assert_int_equal(s.tls, rows[i].tls);
		assert_int_equal(s.port, rows[i].port);
		if (rows[i].host)
			assert_string_equal(s.host, rows[i].host);
		const char *missing = service_missing_kind(&s);
		assert_true(missing == rows[i].missing ||
			    (missing && rows[i].missing && strcmp(missing, rows[i].missing) == 0));
	}
}

static void test_service_fields(void **state)
{
	(void)state;
	struct conf_service s = {};
	assert_int_equal(parse("http://127.0.0.1:81", false, &s), 0);
	assert_int_equal(s.ip.family, IP_FAMILY_V4);
	assert_int_equal(parse("http://[::1]", false, &s), 0);
	assert_int_equal(s.ip.family, IP_FAMILY_V6);
	assert_string_equal(s.text, "http://[::1]");
	assert_int_equal(parse("http://localhost", false, &s), 0);
	assert_int_equal(s.ip.family, IP_FAMILY_NONE);
	assert_int_equal(parse("origins:web", false, &s), 0);
	assert_string_equal(s.path, "web");
	assert_int_equal(parse("anything at all", true, &s), 0);
	assert_int_equal(s.kind, SERVICE_KIND_BASTION);
	assert_int_equal(parse("", true, &s), 0);
	assert_int_equal(parse("http_status:200", true, &s), 0);
	assert_int_equal(s.status, 200);
	assert_int_equal(parse("http_status:1", true, &s), -EINVAL);
}

static void test_services_refused(void **state)
{
	(void)state;
	static const char *const bad[] = { "",
					   "x",
					   "http://",
					   "http://a/",
					   "http://a:0",
					   "http://a:65536",
					   "http://a:x",
					   "http://[::1",
					   "http://[1.2.3.4]",
					   "http://a%41",
					   "http://a<b",
					   "http://[::zz]",
					   "http://a b",
					   "//a",
					   "localhost:80",
					   "http_status:+",
					   "http_status:99999999999999999999" };
	char path[128] = "unix:";
	struct conf_service s;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parse(bad[i], false, &s) != -EINVAL)
			fail_msg("%s was accepted", bad[i]);
	memset(path + 5, 'p', 107);
	assert_int_equal(parse(path, false, &s), 0);
	path[112] = 'p';
	assert_int_equal(parse(path, false, &s), -EINVAL);
}

static void test_hosts(void **state)
{
	(void)state;
	struct host_pattern h;
	const char *reason = NULL;
	assert_int_equal(host_pattern_parse(arena,
					    SPAN_LIT("B\xc3\xbc"
						     "cher.Example."),
					    &h, &reason),
			 0);
	assert_true(span_eq_str(h.text, "b\xc3\xbc"
					"cher.example"));
	assert_true(span_eq_str(h.ascii, "xn--bcher-kva.example"));
	assert_int_equal(host_pattern_parse(arena, SPAN_LIT("*.Example.com."), &h, &reason), 0);
	assert_int_equal(h.kind, HOST_KIND_SUFFIX);
	assert_true(span_eq_str(h.text, ".example.com"));
	assert_int_equal(host_pattern_parse(arena, SPAN_LIT(""), &h, &reason), 0);
	assert_true(host_pattern_is_any(&h));
	static const char *const bad[] = { "a b",     "a,b", "a..b", "a:1",
					   "[::1]:2", "a*",  "**",   "*.*.a" };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(host_pattern_parse(arena, span_str(bad[i]), &h, &reason), -EINVAL);
	char name[260];
	memset(name, 'n', sizeof(name));
	assert_int_equal(host_pattern_parse(arena, span_of(name, 253), &h, &reason), 0);
	assert_int_equal(host_pattern_parse(arena, span_of(name, 254), &h, &reason), -EINVAL);
}

static int setup(void **state)
{
	(void)state;
	arena = conf_arena_new();
	return arena ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	conf_arena_free(arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_services),
		cmocka_unit_test(test_service_fields),
		cmocka_unit_test(test_services_refused),
		cmocka_unit_test(test_hosts),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
