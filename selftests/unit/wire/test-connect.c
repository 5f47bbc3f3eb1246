/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ConnectRequest and ConnectResponse: the rules for metadata keys, iteration, writing; preambles.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/wire/connect.h"
#include "daemon/wire/preamble.h"
#include "util/macro.h"

static uint8_t buf[4096];

/* A request with one metadata entry (key, "v"), decoded. */
static void request_with_key(const char *key, struct connect_request *ret)
{
	struct connect_writer w;
	struct span built;
	connect_writer_init(&w, buf, sizeof(buf));
	connect_request_begin(&w, CONNECT_TYPE_HTTP, SPAN_LIT("/"), 1);
	connect_add(&w, span_str(key), SPAN_LIT("v"));
	assert_int_equal(connect_finish(&w, &built), 0);
	assert_int_equal(connect_request_decode(span_skip(built, PREAMBLE_MAX), ret), 0);
}

static void test_header_keys(void **state)
{
	(void)state;
	const struct {
		const char *key;
		bool is_bad;
		bool is_header;
		const char *name;
	} cases[] = {
		{ "HttpHeader:Accept", false, true, "Accept" },
		{ "HttpHeader:", false, true, "" },
		{ "HttpHeader", true, false, "" },
		{ "HttpHeader:a:b", true, false, "" },
		{ "XHttpHeaderY:Name", false, true, "Name" },
		{ "Name:HttpHeader", false, true, "HttpHeader" },
		{ "httpheader:Accept", false, false, "httpheader:Accept" },
		{ "HttpHeade:Accept", false, false, "HttpHeade:Accept" },
		{ "FlowID", false, false, "FlowID" },
		{ "", false, false, "" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct connect_request q;
		struct connect_iter it = {};
		struct connect_meta e;
		request_with_key(cases[i].key, &q);
		assert_int_equal(q.meta.bad_key.ptr != NULL, cases[i].is_bad);
		assert_int_equal(q.meta.header_count, cases[i].is_header);
		if (cases[i].is_bad) {
			assert_true(span_eq_str(q.meta.bad_key, cases[i].key));
			assert_false(connect_next(&q.meta, &it, &e));
			continue;
		}
		assert_true(connect_next(&q.meta, &it, &e));
		assert_int_equal(e.is_header, cases[i].is_header);
		assert_true(span_eq_str(e.name, cases[i].name));
		assert_true(span_eq_str(e.value, "v"));
		assert_false(connect_next(&q.meta, &it, &e));
	}
}

static void test_last_method_and_host_win(void **state)
{
	(void)state;
	struct connect_writer w;
	struct connect_request q;
	struct span built;
	connect_writer_init(&w, buf, sizeof(buf));
	connect_request_begin(&w, CONNECT_TYPE_WEBSOCKET, SPAN_LIT("https://h/p"), 5);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_METHOD), SPAN_LIT("POST"));
	connect_add(&w, SPAN_LIT(CONNECT_KEY_HOST), SPAN_LIT("one"));
	connect_add_header(&w, SPAN_LIT("X"), SPAN_LIT("1"));
	connect_add(&w, SPAN_LIT(CONNECT_KEY_HOST), SPAN_LIT("two"));
	connect_add(&w, SPAN_LIT(CONNECT_KEY_METHOD), (struct span){});
	assert_int_equal(connect_finish(&w, &built), 0);
	assert_int_equal(connect_request_decode(span_skip(built, PREAMBLE_MAX), &q), 0);
	assert_int_equal(q.type, CONNECT_TYPE_WEBSOCKET);
	assert_true(span_eq_str(q.dest, "https://h/p"));
	assert_int_equal(q.method.len, 0);
	assert_true(span_eq_str(q.host, "two"));

	/* As often as one likes, also of a copy. */
	struct connect_request copy = q;
	for (int pass = 0; pass < 50; pass++) {
		struct connect_iter it = {};
		struct connect_meta e;
		unsigned int count = 0;
		while (connect_next(&copy.meta, &it, &e))
			count++;
		assert_int_equal(count, 5);
	}
}

static void test_status(void **state)
{
	(void)state;
	const struct {
		const char *text;
		unsigned int status;
	} cases[] = {
		{ "200", 200 }, { "999", 999 }, { "100", 100 }, { "099", 0 },
		{ "1000", 0 },  { "20", 0 },    { "2x0", 0 },   { "", 0 },
		{ " 200", 0 },  { "+20", 0 },   { "x00", 0 },   { "00x", 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct connect_writer w;
		struct connect_response p;
		struct span built;
		connect_writer_init(&w, buf, sizeof(buf));
		connect_response_begin(&w, (struct span){}, 1);
		connect_add(&w, SPAN_LIT(CONNECT_KEY_STATUS), span_str(cases[i].text));
		assert_int_equal(connect_finish(&w, &built), 0);
		assert_int_equal(connect_response_decode(span_skip(built, PREAMBLE_MAX), &p), 0);
		assert_int_equal(p.status, cases[i].status);
		assert_int_equal(p.error.len, 0);
	}
}

static void test_null_and_empty_lists(void **state)
{
	(void)state;
	struct connect_writer w;
	struct connect_response p;
	struct connect_request q;
	struct span built;

	connect_writer_init(&w, buf, sizeof(buf));
	connect_response_begin(&w, (struct span){}, 0);
	assert_int_equal(connect_finish(&w, &built), 0);
	assert_int_equal(built.len, 48); /* docs/protocol.md §10.5 */
	assert_int_equal(connect_response_decode(span_skip(built, PREAMBLE_MAX), &p), 0);
	assert_false(p.meta.list.is_null);

	connect_writer_init(&w, buf, sizeof(buf));
	connect_response_begin(&w, SPAN_LIT("no"), 0);
	assert_int_equal(connect_finish(&w, &built), 0);
	assert_int_equal(connect_response_decode(span_skip(built, PREAMBLE_MAX), &p), 0);
	assert_true(p.meta.list.is_null);
	assert_true(span_eq_str(p.error, "no"));

	connect_writer_init(&w, buf, sizeof(buf));
	connect_request_begin(&w, CONNECT_TYPE_TCP, SPAN_LIT("1.2.3.4:5"), 0);
	assert_int_equal(connect_finish(&w, &built), 0);
	assert_int_equal(connect_request_decode(span_skip(built, PREAMBLE_MAX), &q), 0);
	assert_true(q.meta.list.is_null);
}

static void test_writer_errors(void **state)
{
	(void)state;
	struct connect_writer w;
	struct span built;

	/* One entry too few, one too many. */
	for (uint32_t added = 0; added <= 2; added++) {
		connect_writer_init(&w, buf, sizeof(buf));
		connect_request_begin(&w, CONNECT_TYPE_HTTP, SPAN_LIT("/"), 1);
		for (uint32_t i = 0; i < added; i++)
			connect_add(&w, SPAN_LIT("k"), SPAN_LIT("v"));
		assert_int_equal(connect_finish(&w, &built), added == 1 ? 0 : -EPROTO);
	}
	/* Every size that is too small. */
	size_t full = 0;
	for (size_t cap = 0; full == 0; cap++) {
		uint8_t *exact = malloc(cap ? cap : 1);
		assert_non_null(exact);
		connect_writer_init(&w, exact, cap);
		connect_response_begin(&w, SPAN_LIT("error"), 1);
		connect_add_header(&w, SPAN_LIT("Name"), SPAN_LIT("value"));
		int r = connect_finish(&w, &built);
		if (r == 0)
			full = built.len;
		else
			assert_int_equal(r, -ENOBUFS);
		free(exact);
	}
	assert_int_equal(full, 8 + 8 + 8 + 16 + 8 + 8 + 16 + 16 + 8);
}

static void test_preamble_writes(void **state)
{
	(void)state;
	struct packer p = packer_over(buf, sizeof(buf));
	preamble_write(&p, PREAMBLE_KIND_NONE);
	assert_int_equal(p.len, 0);
	preamble_write(&p, PREAMBLE_KIND_RPC);
	assert_int_equal(p.len, 6);
	preamble_write(&p, PREAMBLE_KIND_DATA);
	assert_int_equal(p.len, 14);

	/* What follows stays; a reader that is complete takes nothing more. */
	struct preamble_reader r = {};
	struct span in = packer_span(&p);
	assert_int_equal(preamble_read(&r, &in), 0);
	assert_int_equal(r.kind, PREAMBLE_KIND_RPC);
	assert_int_equal(in.len, 8);
	assert_int_equal(preamble_read(&r, &in), 0);
	assert_int_equal(in.len, 8);
	r = (struct preamble_reader){};
	assert_int_equal(preamble_read(&r, &in), 0);
	assert_int_equal(r.kind, PREAMBLE_KIND_DATA);
	assert_int_equal(in.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_keys),
		cmocka_unit_test(test_last_method_and_host_win),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_null_and_empty_lists),
		cmocka_unit_test(test_writer_errors),
		cmocka_unit_test(test_preamble_writes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
