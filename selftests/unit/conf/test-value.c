/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single values: times, sizes, numbers, prefixes, pins; limits and overflow.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/conf/value.h"
#include "util/macro.h"

static void test_durations(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		nsec_t want;
	} good[] = {
		{ "0", 0 },
		{ "0s", 0 },
		{ "250ms", 250 * NSEC_PER_MSEC },
		{ "30s", 30 * NSEC_PER_SEC },
		{ "5m", 300 * NSEC_PER_SEC },
		{ "1h", 3600 * NSEC_PER_SEC },
		{ "1h30m", 5400 * NSEC_PER_SEC },
		{ "1ns", 1 },
		{ "2us", 2000 },
		{ "5000000h", UINT64_C(5000000) * 3600 * NSEC_PER_SEC },
	};
	static const char *const bad[] = {
		"",   "1",    "s",  "-1s", "+1s", "1.5s",     "1 s",
		"1d", "1sec", "00", "1s ", " 1s", "6000000h", "99999999999999999999s"
	};
	nsec_t v = 7;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(conf_parse_duration(span_str(good[i].text), &v), 0);
		assert_true(v == good[i].want);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		v = 7;
		assert_int_equal(conf_parse_duration(span_str(bad[i]), &v), -EINVAL);
		assert_true(v == 7);
	}
}

static void test_sizes(void **state)
{
	(void)state;
	static const char *const bad[] = { "",    "K",  "1k",           "1KB",
					   "1 K", "-1", "17179869184G", "18446744073709551616" };
	uint64_t v = 0;
	assert_int_equal(conf_parse_size(SPAN_LIT("0"), &v), 0);
	assert_int_equal(conf_parse_size(SPAN_LIT("64K"), &v), 0);
	assert_true(v == 65536);
	assert_int_equal(conf_parse_size(SPAN_LIT("3M"), &v), 0);
	assert_true(v == 3 << 20);
	assert_int_equal(conf_parse_size(SPAN_LIT("2G"), &v), 0);
	assert_true(v == UINT64_C(2) << 30);
	assert_int_equal(conf_parse_size(SPAN_LIT("18446744073709551615"), &v), 0);
	assert_true(v == UINT64_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(conf_parse_size(span_str(bad[i]), &v), -EINVAL);
}

static void test_bools(void **state)
{
	(void)state;
	bool b = false;
	assert_int_equal(conf_parse_bool(SPAN_LIT("yes"), &b), 0);
	assert_true(b);
	assert_int_equal(conf_parse_bool(SPAN_LIT("no"), &b), 0);
	assert_false(b);
	assert_int_equal(conf_parse_bool(SPAN_LIT("true"), &b), -EINVAL);
	assert_int_equal(conf_parse_bool(SPAN_LIT("Yes"), &b), -EINVAL);
}

static void test_prefixes(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",         "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "::/129",
		"10.0.0/8", "/8",       "x/8",       "10.0.0.0/-1", "1.1.1.1/+8"
	};
	struct conf_prefix p;
	assert_int_equal(conf_parse_prefix(SPAN_LIT("10.1.2.255/29"), &p), 0);
	assert_int_equal(p.bits, 29);
	assert_int_equal(p.ip.bytes[3], 248);
	assert_int_equal(conf_parse_prefix(SPAN_LIT("255.255.255.255/0"), &p), 0);
	assert_int_equal(p.ip.bytes[0], 0);
	assert_int_equal(conf_parse_prefix(SPAN_LIT("::1/128"), &p), 0);
	assert_int_equal(p.ip.bytes[15], 1);
	assert_int_equal(conf_parse_prefix(SPAN_LIT("2001:db8:ffff::/33"), &p), 0);
	assert_int_equal(p.ip.bytes[4], 0x80);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(conf_parse_prefix(span_str(bad[i]), &p), -EINVAL);
}

static void test_pins(void **state)
{
	(void)state;
	uint8_t pin[32] = {};
	assert_int_equal(
		conf_parse_pin(SPAN_LIT("sha256/AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI="),
			       pin),
		0);
	assert_int_equal(pin[0], 1);
	assert_int_equal(pin[31], 2);
	assert_int_equal(conf_parse_pin(SPAN_LIT("sha256/AQAA"), pin), -EINVAL);
	assert_int_equal(
		conf_parse_pin(SPAN_LIT("sha1/AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI="), pin),
		-EINVAL);
	assert_int_equal(
		conf_parse_pin(
			SPAN_LIT("sha256/AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAI="),
			pin),
		-EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_bools),     cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_pins),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
