/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and ports as values. */
#include "util/addr.h"

#include <setjmp.h>
#include <stdarg.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "util/macro.h"

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = { .family = strchr(text, ':') ? IP_FAMILY_V6 : IP_FAMILY_V4 };
	int family = a.family == IP_FAMILY_V6 ? AF_INET6 : AF_INET;
	assert_int_equal(inet_pton(family, text, a.bytes), 1);
	return a;
}

static void test_kinds(void **state UNUSED)
{
	static const struct {
		const char *text;
		bool is_loopback;
		bool is_any;
	} cases[] = {
		{ "127.0.0.1", true, false },
		{ "127.255.255.255", true, false },
		{ "126.255.255.255", false, false },
		{ "0.0.0.0", false, true },
		{ "::1", true, false },
		{ "::", false, true },
		{ "::2", false, false },
		{ "7f00::", false, false },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ip_addr a = addr(cases[i].text);
		assert_int_equal(ip_addr_is_loopback(&a), cases[i].is_loopback);
		assert_int_equal(ip_addr_is_any(&a), cases[i].is_any);
		assert_true(ip_addr_eq(&a, &a));
		assert_int_equal(ip_family_len(a.family), a.family == IP_FAMILY_V4 ? 4 : 16);
	}
	struct ip_addr v4 = addr("0.0.0.0");
	struct ip_addr v6 = addr("::");
	assert_false(ip_addr_eq(&v4, &v6));
	assert_int_equal(ip_family_len(IP_FAMILY_NONE), 0);
}

static void test_mapped(void **state UNUSED)
{
	struct ip_addr v4 = addr("192.0.2.7");
	struct ip_addr mapped = { .family = IP_FAMILY_V6 };
	ip_addr_to_mapped(&v4, mapped.bytes);
	struct ip_addr want = addr("::ffff:192.0.2.7");
	assert_true(ip_addr_eq(&mapped, &want));
	struct ip_addr back = ip_addr_unmap(mapped);
	assert_true(ip_addr_eq(&back, &v4));
	back = ip_addr_unmap(v4);
	assert_true(ip_addr_eq(&back, &v4));
	struct ip_addr v6 = addr("2001:db8::1");
	back = ip_addr_unmap(v6);
	assert_true(ip_addr_eq(&back, &v6));
	ip_addr_to_mapped(&v6, mapped.bytes);
	assert_true(ip_addr_eq(&mapped, &v6));
}

static void test_prefixes(void **state UNUSED)
{
	static const struct {
		const char *net;
		unsigned int bits;
		const char *last, *behind; /* the last address in it, and the next one */
	} rows[] = {
		{ "10.0.0.0", 8, "10.255.255.255", "11.0.0.0" },
		{ "192.0.2.64", 27, "192.0.2.95", "192.0.2.96" },
		{ "192.0.2.7", 32, "192.0.2.7", "192.0.2.8" },
		{ "2001:db8:0:8000::", 49, "2001:db8:0:ffff:ffff:ffff:ffff:ffff", "2001:db8:1::" },
		{ "::fffe", 128, "::fffe", "::ffff" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_addr net = addr(rows[i].net), last = addr(rows[i].last);
		struct ip_addr behind = addr(rows[i].behind), other = { .family = IP_FAMILY_NONE };
		assert_true(ip_addr_is_in(&net, &net, rows[i].bits));
		assert_true(ip_addr_is_in(&last, &net, rows[i].bits));
		assert_false(ip_addr_is_in(&behind, &net, rows[i].bits));
		assert_true(ip_addr_is_in(&behind, &net, 0));
		assert_false(ip_addr_is_in(&other, &net, 0));
	}
}

static void test_ports(void **state UNUSED)
{
	struct ip_port a = { .ip = addr("fe80::1"), .port = 53, .scope = 2 };
	struct ip_port b = a;
	assert_true(ip_port_eq(&a, &b));
	b.scope = 3;
	assert_false(ip_port_eq(&a, &b));
	b = a;
	b.port = 54;
	assert_false(ip_port_eq(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_ports),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
