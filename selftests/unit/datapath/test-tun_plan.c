/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of the routed mode: how many there are, which, and whose.
 */
#include "daemon/datapath/tun_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/wire/endpoint.h"
#include "util/macro.h"

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {};
	if (text[0])
		assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
	return a;
}

static struct tun_plan plan_of(const char *v4, uint8_t bits4, const char *v6, uint8_t bits6,
			       unsigned int workers)
{
	return (struct tun_plan){ .v4 = { addr(v4), bits4 },
				  .v6 = { addr(v6), bits6 },
				  .workers = workers };
}

static void test_counts(void **state UNUSED)
{
	static const struct {
		uint8_t bits;
		bool is_v6, keeps;
		unsigned int workers, count;
	} rows[] = {
		{ 24, false, false, 1, 253 }, { 24, false, false, 2, 126 },
		{ 24, false, true, 2, 4 },    { 8, false, false, 2, 256 },
		{ 29, false, false, 2, 2 },   { 29, false, true, 2, 1 },
		{ 29, false, false, 5, 1 },   { 29, false, false, 6, 0 },
		{ 29, false, true, 6, 0 },    { 120, true, false, 1, 254 },
		{ 120, true, true, 64, 1 },   { 16, true, false, 256, 256 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool is_v6 = rows[i].is_v6;
		struct tun_plan p = plan_of(is_v6 ? "" : "10.0.0.0", rows[i].bits,
					    is_v6 ? "fd00::" : "", rows[i].bits, rows[i].workers);
		p.keeps_source = rows[i].keeps;
		assert_int_equal(tun_plan_count(&p, is_v6 ? IP_FAMILY_V6 : IP_FAMILY_V4),
				 rows[i].count);
		assert_int_equal(tun_plan_count(&p, is_v6 ? IP_FAMILY_V4 : IP_FAMILY_V6), 0);
	}
}

static void expect(struct ip_addr found, const char *wanted)
{
	struct ip_addr a = addr(wanted);
	assert_true(ip_addr_eq(&found, &a));
}

static void test_addresses(void **state UNUSED)
{
	struct tun_plan p = plan_of("10.9.255.0", 24, "fd00:1::ff00", 120, 3);
	p.keeps_source = true;
	expect(tun_plan_device(&p, IP_FAMILY_V4), "10.9.255.1");
	expect(tun_plan_device(&p, IP_FAMILY_V6), "fd00:1::ff01");
	expect(tun_plan_address(&p, IP_FAMILY_V4, 0, 0), "10.9.255.2");
	expect(tun_plan_address(&p, IP_FAMILY_V4, 2, 3), "10.9.255.13");
	expect(tun_plan_address(&p, IP_FAMILY_V6, 1, 1), "fd00:1::ff07");
}

/* Nobody else's address is one that a worker has, and none of them lies outside. */
static void test_no_overlap(void **state UNUSED)
{
	struct tun_plan p = plan_of("10.9.0.0", 29, "", 0, 5);
	bool seen[8] = { true, true, [7] = true };
	for (unsigned int w = 0; w < 5; w++) {
		struct ip_addr a = tun_plan_address(&p, IP_FAMILY_V4, w, 0);
		assert_true(tun_plan_contains(&p, &a) && a.bytes[3] < 8 && !seen[a.bytes[3]]);
		seen[a.bytes[3]] = true;
	}
}

static void test_kept(void **state UNUSED)
{
	static const struct {
		const char *addr;
		bool is_in, may_keep;
	} rows[] = {
		{ "10.9.0.0", true, false },     { "10.9.0.1", true, false },
		{ "10.9.0.9", true, false },     { "10.9.0.10", true, true },
		{ "10.9.15.254", true, true },   { "10.9.15.255", true, false },
		{ "10.9.16.0", false, false },   { "10.8.255.255", false, false },
		{ "fd00::", true, false },       { "fd00::9", true, false },
		{ "fd00::a", true, true },       { "fd00::ffff:ffff:ffff:ffff", true, true },
		{ "fd00::1:0:0:2", true, true }, { "fd00:0:0:1::a", false, false },
	};
	struct tun_plan p = plan_of("10.9.0.0", 20, "fd00::", 64, 2);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_addr a = addr(rows[i].addr);
		assert_int_equal(tun_plan_contains(&p, &a), rows[i].is_in);
		p.keeps_source = true;
		assert_int_equal(tun_plan_may_keep(&p, &a), rows[i].may_keep);
		p.keeps_source = false;
		assert_false(tun_plan_may_keep(&p, &a));
	}
	p.v6 = (struct tun_prefix){};
	struct ip_addr none = {}, six = addr("fd00::a");
	assert_false(tun_plan_contains(&p, &none) || tun_plan_contains(&p, &six));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_no_overlap),
		cmocka_unit_test(test_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
