/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TXT records of the vendor: as the reference reads them, and everything that is none.
 */
#include "daemon/aditd/discovery_record.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/macro.h"
#include "util/packer.h"

static void test_protocols(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		int error;
		uint8_t quic, http2;
	} cases[] = {
		{ "[{\"protocol\":\"quic\",\"percentage\":100},{\"protocol\":\"http2\",\"percentage\":0}]",
		  0, 100, 0 },
		{ "[{\"protocol\":\"QUIC\",\"percentage\":30},{\"protocol\":\"quic\",\"percentage\":1}]",
		  0, 30, 0 },
		{ "[{\"protocol\":\"http2\",\"percentage\":500,\"more\":[1]}]", 0, 0, 100 },
		{ "[{\"protocol\":\"quic\"},{\"percentage\":5},{\"protocol\":7}]", 0, 0, 0 },
		{ "[{\"protocol\":\"quic\",\"percentage\":-1}]", 0, 0, 0 },
		{ "[{\"protocol\":\"quic\",\"percentage\":null}]", 0, 0, 0 },
		{ "[]", 0, 0, 0 },
		{ "{}", -EBADMSG, 0, 0 },
		{ "[7]", -EBADMSG, 0, 0 },
		{ "[{\"protocol\":\"quic\",\"percentage\":\"50\"}]", -EBADMSG, 0, 0 },
		{ "[{\"protocol\":\"quic\",\"percentage\":1.5}]", -EBADMSG, 0, 0 },
		{ "[{\"protocol\":\"quic\",\"percentage\":50}", -EBADMSG, 0, 0 },
		{ "quic=50", -EBADMSG, 0, 0 },
		{ "", -EBADMSG, 0, 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct discovery_records r = { .quic_percent = 77, .http2_percent = 78 };
		assert_int_equal(discovery_read_protocols(span_str(cases[i].json), &r),
				 cases[i].error);
		assert_int_equal(r.has_protocols, cases[i].error == 0);
		assert_int_equal(r.quic_percent, cases[i].error ? 77 : cases[i].quic);
		assert_int_equal(r.http2_percent, cases[i].error ? 78 : cases[i].http2);
		assert_false(r.has_features);
	}
}

static void test_features(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		int error;
		uint8_t dv3_2;
	} cases[] = {
		{ "{\"dv3_2\":25,\"skip_prechecks\":true}", 0, 25 },
		{ "{\"dv3_2\":18446744073709551615}", 0, 100 },
		{ "{\"dv3_1\":25}", 0, 0 },
		{ "{}", 0, 0 },
		{ "{\"dv3_2\":-1}", -EBADMSG, 0 },
		{ "{\"dv3_2\":true}", -EBADMSG, 0 },
		{ "[]", -EBADMSG, 0 },
		{ "{\"dv3_2\":25", -EBADMSG, 0 },
		{ "{\"dv3_2\":25} x", -EBADMSG, 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct discovery_records r = { .dv3_2_percent = 77 };
		assert_int_equal(discovery_read_features(span_str(cases[i].json), &r),
				 cases[i].error);
		assert_int_equal(r.has_features, cases[i].error == 0);
		assert_int_equal(r.dv3_2_percent, cases[i].error ? 77 : cases[i].dv3_2);
		assert_false(r.has_protocols);
	}
}

static void test_limits(void **state)
{
	(void)state;
	struct discovery_records r = {};
	char text[8192];
	memset(text, '[', sizeof(text));
	assert_int_equal(discovery_read_protocols(span_of(text, sizeof(text)), &r), -EBADMSG);
	assert_int_equal(discovery_read_protocols(span_of(text, 4096), &r), -EBADMSG);
	assert_int_equal(discovery_read_features(span_of("{}\0", 3), &r), -EBADMSG);
	/* More entries than anybody needs. */
	struct packer p = packer_over(text, sizeof(text));
	packer_u8(&p, '[');
	for (int i = 0; i < 100; i++)
		packer_str(&p, i < 99 ? "{}," : "{}]");
	assert_int_equal(discovery_read_protocols(packer_span(&p), &r), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocols),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
