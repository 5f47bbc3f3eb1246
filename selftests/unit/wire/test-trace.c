/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces against the recorded ones (selftests/data/datagrams.json, tracing_identity*), and what the
 * text may look like.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "data/datagrams.h"

#include "daemon/wire/trace.h"
#include "util/macro.h"

static void check_good(const struct vector_case *c, const struct trace *t)
{
	uint8_t bytes[TRACE_LEN], text[TRACE_TEXT_MAX];
	struct trace u = {};
	struct packer p = packer_over(bytes, sizeof(bytes));
	trace_write(&p, t);
	assert_true(span_eq(packer_span(&p), vector_span(c)));
	assert_int_equal(c->len, vector_number(c, "length"));

	p = packer_over(text, sizeof(text));
	trace_print(&p, t);
	assert_int_equal(packer_finish(&p), 0);
	assert_true(span_eq_str(packer_span(&p), vector_get(c, "text_form")));

	assert_int_equal(trace_read(vector_span(c), &u), 0);
	assert_memory_equal(t, &u, sizeof(u));
}

static void test_recorded(void **state)
{
	(void)state;
	unsigned int good = 0, bad = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (strncmp(c->name, "tracing_identity", 16) != 0)
			continue;
		struct trace t = {};
		const char *text = vector_get(c, "text_form_input");
		if (!text)
			text = vector_get(c, "text_form");
		struct span in = vector_heap_copy(span_str(text));
		int r = trace_parse(in, &t);
		vector_heap_free(in);
		if (vector_is(c, "decode", "error")) {
			assert_int_equal(r, -EBADMSG);
			bad++;
		} else {
			assert_int_equal(r, 0);
			check_good(c, &t);
			good++;
		}
	}
	assert_int_equal(good, 2);
	assert_int_equal(bad, 5);
}

static void test_texts(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *printed; /* NULL: refused */
	} cases[] = {
		{ "1:2:3:4", "00000000000000000000000000000001:2:0:4" },
		{ "1:2::4", "00000000000000000000000000000001:2:0:4" },
		{ "0:0:0:0", "00000000000000000000000000000000:0:0:0" },
		{ "ABC:0d:x:0f", "00000000000000000000000000000abc:d:0:f" },
		{ "ffffffffffffffffffffffffffffffff:ffffffffffffffff:0:ff",
		  "ffffffffffffffffffffffffffffffff:ffffffffffffffff:0:ff" },
		{ "0ffffffffffffffffffffffffffffffff:1:0:1", NULL },
		{ "1:12345678901234567:0:1", NULL },
		{ "1::0:1", NULL },
		{ "1:1:0:", NULL },
		{ "1:1:0:1:", NULL },
		{ "1:1:0:1:0", NULL },
		{ ":::", NULL },
		{ "1:1:0:g", NULL },
		{ "1:-1:0:1", NULL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct trace t = { .flags = 7 };
		uint8_t text[TRACE_TEXT_MAX];
		struct packer p = packer_over(text, sizeof(text));
		int r = trace_parse(span_str(cases[i].text), &t);
		assert_int_equal(r, cases[i].printed ? 0 : -EBADMSG);
		if (r < 0) {
			assert_int_equal(t.flags, 7);
			continue;
		}
		trace_print(&p, &t);
		assert_int_equal(packer_finish(&p), 0);
		assert_true(span_eq_str(packer_span(&p), cases[i].printed));
	}
	struct trace t;
	assert_int_equal(trace_read(span_of(cases, TRACE_LEN - 1), &t), -EBADMSG);
	assert_int_equal(trace_read(span_of(cases, TRACE_LEN + 1), &t), -EBADMSG);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
