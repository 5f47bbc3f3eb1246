/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints and addresses: what is read and printed, what is refused with which reason.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/wire/endpoint.h"
#include "util/macro.h"

static void test_addresses_as_libc(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"0.0.0.0",
		"127.0.0.1",
		"255.255.255.255",
		"1.2.3.4",
		"::",
		"::1",
		"1::",
		"2001:db8::1",
		"fe80::1:2:3:4",
		"1:2:3:4:5:6:7:8",
		"::ffff:1.2.3.4",
		"1:0:0:2:0:0:0:3",
		"1:0:0:0:2:0:0:3",
		"0:1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:0",
		"::2:3:4:5:6:7:8",
		"1:2:3:4:5:6:7::",
		"a:b:c:d:e:f:0:1",
		"FFFF::ABCD",
		"1.2.3",
		"1.2.3.4.5",
		"1.2.3.256",
		"1.2.3.-1",
		"1..2.3",
		"",
		":",
		":::",
		"1::2::3",
		"1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9",
		"12345::",
		"::g",
		":1",
		"1:",
		"1:2:3:4:5:6:7:8::",
		"::1.2.3.4",
		"::1.2.3.4:5",
		"1.2.3.4::",
		"1:2:3:4:5:6:7:1.2.3.4",
		"1:2:3:4:5:6:1.2.3.4",
		" ::1",
		"::1 ",
		"1.2.3.4 ",
		"0x1.2.3.4",
		"::ffff:1.2.3.999",
		"64:ff9b::192.0.2.33",
	};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct ip_addr a = {};
		uint8_t want[16] = {};
		bool is_v6 = strchr(texts[i], ':') != NULL;
		int r = ip_addr_parse(span_str(texts[i]), &a);
		bool is_good = inet_pton(is_v6 ? AF_INET6 : AF_INET, texts[i], want) == 1;
		if ((r == 0) != is_good)
			fail_msg("\"%s\": %d, libc says %d", texts[i], r, is_good);
		if (r < 0)
			continue;
		assert_int_equal(a.family, is_v6 ? IP_FAMILY_V6 : IP_FAMILY_V4);
		assert_memory_equal(a.bytes, want, sizeof(want));

		uint8_t text[ADDR_TEXT_MAX];
		char expected[INET6_ADDRSTRLEN];
		struct packer p = packer_over(text, sizeof(text));
		ip_addr_print(&p, &a);
		assert_int_equal(packer_finish(&p), 0);
		(void)inet_ntop(is_v6 ? AF_INET6 : AF_INET, want, expected, sizeof(expected));
		struct ip_addr again;
		assert_int_equal(ip_addr_parse(packer_span(&p), &again), 0);
		assert_true(ip_addr_eq(&a, &again));
		/* glibc writes ::1.2.3.4 for what RFC 5952 §5 doesn't single out. */
		if (strcmp(texts[i], "::1.2.3.4") != 0 && !span_eq_str(packer_span(&p), expected))
			fail_msg("\"%s\" printed as \"%.*s\"", texts[i], (int)p.len, (char *)text);
	}
	/* We are stricter: no leading zeros, which some read as octal. */
	struct ip_addr a;
	assert_int_equal(ip_addr_parse(SPAN_LIT("01.2.3.4"), &a), -EINVAL);
}

static void test_endpoints(void **state)
{
	(void)state;
	const struct {
		const char *text;
		enum endpoint_kind kind;
		uint16_t port;
		const char *printed; /* NULL: as it was */
	} cases[] = {
		{ "example.com:443", ENDPOINT_KIND_NAME, 443, NULL },
		{ "example.com.:443", ENDPOINT_KIND_NAME, 443, NULL },
		{ "a_b-c.d:0", ENDPOINT_KIND_NAME, 0, NULL },
		{ "localhost:65535", ENDPOINT_KIND_NAME, 65535, NULL },
		{ "127.0.0.1:80", ENDPOINT_KIND_IP, 80, NULL },
		{ "[::1]:80", ENDPOINT_KIND_IP, 80, NULL },
		{ "[0:0:0:0:0:0:0:1]:80", ENDPOINT_KIND_IP, 80, "[::1]:80" },
		{ "[fe80::1%2]:80", ENDPOINT_KIND_IP, 80, NULL },
		{ "unix:/run/x.sock", ENDPOINT_KIND_UNIX, 0, NULL },
		{ "unix:rel/x", ENDPOINT_KIND_UNIX, 0, NULL },
		{ "1a.2:1", ENDPOINT_KIND_NONE, 0, NULL },
		{ "", ENDPOINT_KIND_NONE, 0, NULL },
		{ "example.com", ENDPOINT_KIND_NONE, 0, NULL },
		{ "example.com:", ENDPOINT_KIND_NONE, 0, NULL },
		{ ":80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "example.com:65536", ENDPOINT_KIND_NONE, 0, NULL },
		{ "example.com:080", ENDPOINT_KIND_NONE, 0, NULL },
		{ "example.com:+80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "example.com:99999999999", ENDPOINT_KIND_NONE, 0, NULL },
		{ "::1:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "[::1]", ENDPOINT_KIND_NONE, 0, NULL },
		{ "[::1]80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "[::1", ENDPOINT_KIND_NONE, 0, NULL },
		{ "[1.2.3.4]:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "[::1%eth0]:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "[::1%]:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "[example.com]:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "1.2.3.999:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "a..b:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ ".a:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "a b:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "http://a:80", ENDPOINT_KIND_NONE, 0, NULL },
		{ "unix:", ENDPOINT_KIND_NONE, 0, NULL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct endpoint e = {};
		const char *reason = NULL;
		int r = endpoint_parse(span_str(cases[i].text), &e, &reason);
		if (e.kind != cases[i].kind || (r < 0) != (reason != NULL))
			fail_msg("\"%s\": %d, kind %d", cases[i].text, r, e.kind);
		if (r < 0) {
			assert_int_equal(r, -EINVAL);
			continue;
		}
		assert_int_equal(e.addr.port, cases[i].port);
		uint8_t text[ENDPOINT_TEXT_MAX];
		struct packer p = packer_over(text, sizeof(text));
		endpoint_print(&p, &e);
		assert_true(span_eq_str(packer_span(&p),
					cases[i].printed ? cases[i].printed : cases[i].text));
	}
}

static void test_name_limits(void **state)
{
	(void)state;
	char text[300];
	struct endpoint e;
	const char *reason;
	for (int label = 63; label <= 64; label++) {
		memset(text, 'a', (size_t)label);
		memcpy(text + label, ":1", 3);
		assert_int_equal(endpoint_parse(span_str(text), &e, &reason),
				 label == 63 ? 0 : -EINVAL);
	}
	for (int len = 253; len <= 254; len++) {
		for (int i = 0; i < len; i++)
			text[i] = i % 50 == 49 ? '.' : 'a';
		memcpy(text + len, ":1", 3);
		assert_int_equal(endpoint_parse(span_str(text), &e, &reason),
				 len == 253 ? 0 : -EINVAL);
	}
	for (int len = ENDPOINT_PATH_MAX; len <= ENDPOINT_PATH_MAX + 1; len++) {
		(void)snprintf(text, sizeof(text), "unix:");
		memset(text + 5, 'p', (size_t)len);
		assert_int_equal(endpoint_parse(span_of(text, (size_t)len + 5), &e, &reason),
				 len == ENDPOINT_PATH_MAX ? 0 : -EINVAL);
	}
	assert_int_equal(endpoint_parse(SPAN_LIT("unix:a\0b"), &e, &reason), -EINVAL);
	struct packer p = packer_over(text, sizeof(text));
	endpoint_print(&p, &(struct endpoint){});
	ip_addr_print(&p, &(struct ip_addr){});
	assert_int_equal(p.len, 0);
}

static void test_ip_ports(void **state)
{
	(void)state;
	struct ip_port a;
	assert_int_equal(ip_port_parse(SPAN_LIT("[fe80::1%4294967295]:1"), &a), 0);
	assert_int_equal(a.scope, UINT32_MAX);
	assert_int_equal(ip_port_parse(SPAN_LIT("[fe80::1%4294967296]:1"), &a), -EINVAL);
	assert_int_equal(ip_port_parse(SPAN_LIT("1.2.3.4:5"), &a), 0);
	assert_int_equal(a.port, 5);
	assert_int_equal(ip_port_parse(SPAN_LIT("name:5"), &a), -EINVAL);
	assert_int_equal(ip_port_parse(SPAN_LIT("1.2.3.4"), &a), -EINVAL);
	assert_int_equal(ip_port_parse(SPAN_LIT("::1:5"), &a), -EINVAL);
}

static void test_lists(void **state)
{
	(void)state;
	struct span list = SPAN_LIT(" a:1, b:2\t,,c:3 ");
	static const char *const want[] = { "a:1", "b:2", "c:3" };
	struct span item;
	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		assert_true(endpoint_list_next(&list, &item));
		assert_true(span_eq_str(item, want[i]));
	}
	assert_false(endpoint_list_next(&list, &item));
	list = (struct span){};
	assert_false(endpoint_list_next(&list, &item));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_as_libc),
		cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_name_limits),
		cmocka_unit_test(test_ip_ports),
		cmocka_unit_test(test_lists),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
