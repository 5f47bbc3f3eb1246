/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to neighbours against what Linux 6.18 sent for the same addresses. */
#include "daemon/datapath/solicit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/wire/endpoint.h"
#include "util/macro.h"

enum { ETHER_MIN = 60 };

static const struct {
	const char *local, *target;
	bool to_all;
	const char *frame;
} cases[] = {
	{ "192.0.2.1", "192.0.2.99", true,
	  "ffffffffffff020000000001080600010800060400010200"
	  "00000001c0000201000000000000c0000263" },
	{ "192.0.2.1", "192.0.2.99", false,
	  "020000000002020000000001080600010800060400010200"
	  "00000001c0000201000000000000c0000263" },
	{ "2001:db8::1", "2001:db8::1234:5678", true,
	  "3333ff34567802000000000186dd6000000000203aff2001"
	  "0db8000000000000000000000001ff020000000000000000"
	  "0001ff34567887005cd20000000020010db8000000000000"
	  "0000123456780101020000000001" },
	{ "fe80::ff:fe00:1", "2001:db8::1234:5678", false,
	  "02000000000202000000000186dd6000000000203afffe80"
	  "000000000000000000fffe00000120010db8000000000000"
	  "00001234567887004b560000000020010db8000000000000"
	  "0000123456780101020000000001" },
};

static void test_frames(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct solicit s = { .local_mac = { 2, 0, 0, 0, 0, 1 },
				     .mac = { 2, 0, 0, 0, 0, 2 },
				     .to_all = cases[i].to_all };
		uint8_t got[SOLICIT_MAX];
		char text[2 * SOLICIT_MAX + 1] = "";
		assert_int_equal(ip_addr_parse(span_str(cases[i].local), &s.local), 0);
		assert_int_equal(ip_addr_parse(span_str(cases[i].target), &s.target), 0);
		size_t len = solicit_write(&s, got);
		size_t want = strlen(cases[i].frame) / 2;
		assert_int_equal(len, MAX(want, (size_t)ETHER_MIN));
		for (size_t at = 0; at < want; at++)
			(void)snprintf(text + 2 * at, 3, "%02x", got[at]);
		assert_string_equal(text, cases[i].frame);
		for (size_t at = want; at < len; at++)
			assert_int_equal(got[at], 0); /* Ethernet's padding */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
