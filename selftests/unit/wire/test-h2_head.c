/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads on the HTTP/2 transport, from selftests/data/http2.json: header_serialization,
 * header_classification and response_meta. What else is in the file is for the system tests
 * (test_h2_recorded). Beside it: the table of classes, every cut of every list, what is broken.
 *
 * Set aside besides selftests/data/overrides.json:
 *   header_serialization/several_pairs/distinct_outputs   no case of the table: quoted below
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "data/http2.h"

#include "daemon/wire/h2_head.h"
#include "daemon/wire/hex.h"
#include "util/macro.h"

enum { ROOM = 1024 };

static bool in_group(const struct vector_case *c, const char *group)
{
	return strncmp(c->name, group, strlen(group)) == 0;
}

/* A recorded member in hexadecimal digits, as bytes in p. */
static struct span hex_field(const struct vector_case *c, const char *key, struct packer *p)
{
	const char *digits = vector_get(c, key);
	size_t start = p->len;
	assert_non_null(digits);
	assert_int_equal(hex_decode(span_str(digits), p), 0);
	return span_skip(packer_span(p), start);
}

/* ---- pairs ---- */

static void test_single_pairs(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!in_group(c, "header_serialization/single_pair/"))
			continue;
		uint8_t bytes[ROOM], text[ROOM], back[ROOM];
		struct packer in = packer_over(bytes, sizeof(bytes));
		struct http_field f = { .name = hex_field(c, "name_hex", &in) };
		f.value = hex_field(c, "value_hex", &in);
		struct packer p = packer_over(text, h2_pair_len(&f));
		h2_pair_add(&p, &f);
		assert_int_equal(packer_finish(&p), 0);
		assert_true(span_eq_str(packer_span(&p), vector_get(c, "serialized")));

		struct span list = packer_span(&p);
		struct packer q = packer_over(back, list.len);
		struct http_field g = {};
		assert_int_equal(h2_pair_next(&list, &q, &g), 1);
		assert_true(span_eq(f.name, g.name) && span_eq(f.value, g.value));
		assert_int_equal(h2_pair_next(&list, &q, &g), 0);
		count++;
	}
	assert_int_equal(count, 22);
}

/* header_serialization/several_pairs: the first of distinct_outputs only (override, row 15). */
static void test_order_is_kept(void **state)
{
	(void)state;
	static const struct http_field fields[] = {
		{ SPAN_LIT("A"), SPAN_LIT("1") },
		{ SPAN_LIT("A"), SPAN_LIT("2") },
		{ SPAN_LIT("B"), SPAN_LIT("3") },
	};
	uint8_t text[32];
	struct packer p = packer_over(text, sizeof(text));
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		h2_pair_add(&p, &fields[i]);
	assert_true(span_eq_str(packer_span(&p), "QQ:MQ;QQ:Mg;Qg:Mw"));

	struct packer small = packer_over(text, 4);
	h2_pair_add(&small, &fields[0]);
	assert_int_equal(packer_finish(&small), -ENOBUFS);
}

struct outcome {
	int error;
	unsigned int count;
	struct http_field fields[4];
	uint8_t bytes[ROOM];
};

static void read_list(struct span text, struct outcome *ret)
{
	struct span heap = vector_heap_copy(text);
	struct span list = heap;
	struct packer p = packer_over(ret->bytes, MIN(text.len, sizeof(ret->bytes)));
	struct http_field f = {};
	int r = 1;
	ret->count = 0;
	while (r == 1) {
		r = h2_pair_next(&list, &p, &f);
		if (r == 1 && ret->count < ARRAY_SIZE(ret->fields))
			ret->fields[ret->count++] = f;
	}
	ret->error = r;
	vector_heap_free(heap);
}

static void check_pairs(const struct vector_case *c, const struct outcome *o)
{
	assert_int_equal(o->count, strtoul(vector_get(c, "headers/#"), NULL, 10));
	for (unsigned int i = 0; i < o->count; i++) {
		uint8_t bytes[ROOM];
		char key[64];
		struct packer p = packer_over(bytes, sizeof(bytes));
		(void)snprintf(key, sizeof(key), "headers/%u/name_hex", i);
		assert_true(span_eq(o->fields[i].name, hex_field(c, key, &p)));
		(void)snprintf(key, sizeof(key), "headers/%u/value_hex", i);
		assert_true(span_eq(o->fields[i].value, hex_field(c, key, &p)));
	}
}

/* Behaviour overrides (row 18): CR or LF in a token is an error. Recorded errors: any error. */
static void test_deserialize(void **state)
{
	(void)state;
	unsigned int recorded = 0, overridden = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!in_group(c, "header_serialization/deserialize/"))
			continue;
		struct outcome o = {};
		read_list(span_str(vector_get(c, "input")), &o);
		const char *override = vector_override(c);
		bool is_refused = override && strcmp(override, "behaviour") == 0;
		if (is_refused || vector_get(c, "error"))
			assert_int_equal(o.error, -EBADMSG);
		else
			assert_int_equal(o.error, 0);
		if (o.error == 0)
			check_pairs(c, &o);
		overridden += is_refused;
		recorded += !is_refused;
	}
	print_message("deserialize: %u as recorded, %u overridden\n", recorded, overridden);
	assert_int_equal(recorded + overridden, 33);
	assert_int_equal(overridden, 4);
}

/* Every cut of every list is read or refused within its bytes; so is one byte too few of room. */
static void test_cut_lists(void **state)
{
	(void)state;
	static const struct span list = SPAN_LIT("WC1B:MTIz;;QQ:;:Yg;Yw:ZGVmZ2hp");
	for (size_t len = 0; len <= list.len; len++) {
		struct outcome o = {};
		read_list(span_first(list, len), &o);
		assert_true(o.error == 0 || o.error == -EBADMSG);
	}
	uint8_t room[5];
	struct span rest = list;
	struct packer p = packer_over(room, sizeof(room));
	struct http_field f = {};
	assert_int_equal(h2_pair_next(&rest, &p, &f), -ENOBUFS);
	assert_int_equal(rest.len, list.len);
	assert_int_equal(p.len, 0);
}

/* ---- places ---- */

static void test_places(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!in_group(c, "header_classification/rows/"))
			continue;
		/* Not applicable: the reference's caller lowers names first, ours needn't. */
		bool is_ours = vector_is(c, "control", "true") || vector_override(c);
		const char *name = c->name + strlen("header_classification/rows/");
		/* The address of the empty name is a number. */
		unsigned int place = h2_place_of(span_str(name[0] == '#' ? "" : name));
		if (((place & H2_PLACE_INSIDE) == 0) != is_ours)
			fail_msg("%s: place %u", c->name, place);
		count++;
	}
	assert_int_equal(count, 27);
	assert_int_equal(h2_place_of(SPAN_LIT("Content-Length")),
			 H2_PLACE_INSIDE | H2_PLACE_OUTSIDE);
	assert_int_equal(h2_place_of(SPAN_LIT(H2_FIELD_TRACING)), H2_PLACE_OUTSIDE);
	assert_int_equal(h2_place_of(SPAN_LIT(H2_FIELD_META)), 0);
	assert_int_equal(h2_place_of(SPAN_LIT("Content-Type")), H2_PLACE_INSIDE);
}

/* ---- classes ---- */

static void test_classes(void **state)
{
	(void)state;
	static const struct {
		const char *upgrade; /* NULL: no such field */
		const char *src;
		enum h2_class want;
	} cases[] = {
		{ NULL, NULL, H2_CLASS_HTTP },
		{ "update-configuration", NULL, H2_CLASS_CONFIG },
		{ "update-configuration", "1", H2_CLASS_CONFIG },
		{ "websocket", NULL, H2_CLASS_WEBSOCKET },
		{ "websocket", "1.2.3.4", H2_CLASS_WEBSOCKET },
		{ NULL, "1.2.3.4", H2_CLASS_TCP },
		{ "control-stream", "1.2.3.4", H2_CLASS_TCP },
		{ "bogus", "tcp", H2_CLASS_TCP },
		{ "control-stream", NULL, H2_CLASS_CONTROL },
		{ "control-stream", "", H2_CLASS_CONTROL },
		{ NULL, "", H2_CLASS_HTTP },
		{ "WebSocket", NULL, H2_CLASS_HTTP },
		{ "Control-Stream", NULL, H2_CLASS_HTTP },
		{ "bogus", NULL, H2_CLASS_HTTP },
		{ "websocket ", NULL, H2_CLASS_HTTP },
		{ "", NULL, H2_CLASS_HTTP },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http_field fields[3] = { { SPAN_LIT("accept"), SPAN_LIT("*/*") } };
		unsigned int count = 1;
		if (cases[i].src)
			fields[count++] = (struct http_field){ SPAN_LIT("Cf-Cloudflared-Proxy-Src"),
							       span_str(cases[i].src) };
		if (cases[i].upgrade)
			fields[count++] = (struct http_field){ SPAN_LIT(H2_FIELD_UPGRADE),
							       span_str(cases[i].upgrade) };
		if (h2_class_of_fields(fields, count) != cases[i].want)
			fail_msg("case %zu", i);
	}
	assert_int_equal(h2_class_of_fields(NULL, 0), H2_CLASS_HTTP);
}

/* Only the first field of a name counts. */
static void test_first_field_counts(void **state)
{
	(void)state;
	const struct http_field upgrades[] = {
		{ SPAN_LIT(H2_FIELD_UPGRADE), SPAN_LIT("bogus") },
		{ SPAN_LIT(H2_FIELD_UPGRADE), SPAN_LIT("control-stream") },
	};
	assert_int_equal(h2_class_of_fields(upgrades, 2), H2_CLASS_HTTP);
	assert_int_equal(h2_class_of_fields(upgrades + 1, 1), H2_CLASS_CONTROL);
	const struct http_field sources[] = {
		{ SPAN_LIT(H2_FIELD_SRC), {} },
		{ SPAN_LIT(H2_FIELD_SRC), SPAN_LIT("1.2.3.4") },
	};
	assert_int_equal(h2_class_of_fields(sources, 2), H2_CLASS_HTTP);
	assert_int_equal(h2_class_of_fields(sources + 1, 1), H2_CLASS_TCP);
}

/* ---- meta ---- */

static int decode(const char *text, enum h2_meta *ret)
{
	struct span heap = vector_heap_copy(span_str(text));
	int r = h2_meta_decode(heap, ret);
	vector_heap_free(heap);
	return r;
}

static void test_recorded_meta(void **state)
{
	(void)state;
	static const enum h2_meta want[] = { H2_META_ORIGIN, H2_META_DAEMON, H2_META_FLOW_LIMITED };
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!in_group(c, "response_meta/"))
			continue;
		const char *text = vector_get(c, "value");
		enum h2_meta meta = H2_META_NONE;
		assert_true(count < ARRAY_SIZE(want));
		assert_true(vector_is(c, "header", H2_FIELD_META));
		assert_true(span_eq_str(h2_meta_text(want[count]), text));
		assert_int_equal(decode(text, &meta), 0);
		assert_int_equal(meta, want[count]);
		count++;
	}
	assert_int_equal(count, ARRAY_SIZE(want));
	assert_int_equal(h2_meta_text(H2_META_NONE).len, 0);
}

static void test_tolerated_meta(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum h2_meta want;
	} cases[] = {
		{ "{}", H2_META_NONE },
		{ " { \"src\" :\t\"origin\"\r\n} ", H2_META_ORIGIN },
		{ "{\"flow_rate_limited\":true,\"src\":\"cloudflared\"}", H2_META_FLOW_LIMITED },
		{ "{\"flow_rate_limited\":false,\"src\":\"cloudflared\"}", H2_META_DAEMON },
		{ "{\"flow_rate_limited\":\"true\",\"src\":\"cloudflared\"}", H2_META_DAEMON },
		{ "{\"flow_rate_limited\":true,\"src\":\"origin\"}", H2_META_ORIGIN },
		{ "{\"x\":null,\"src\":\"origin\",\"y\":-1.5e+3}", H2_META_ORIGIN },
		{ "{\"src\":\"origin\",\"src\":\"cloudflared\"}", H2_META_DAEMON },
		{ "{\"src\":\"Origin\"}", H2_META_NONE },
		{ "{\"SRC\":\"origin\"}", H2_META_NONE },
		{ "{\"src\":origin}", H2_META_NONE },
		{ "{\"s\\\"}c\":\"a\\\\\",\"src\":\"origin\"}", H2_META_ORIGIN },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum h2_meta meta = H2_META_NONE;
		if (decode(cases[i].text, &meta) != 0 || meta != cases[i].want)
			fail_msg("%s: %d", cases[i].text, meta);
	}
}

static void test_broken_meta(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"null",
		"[]",
		"{",
		"}",
		"{\"src\"}",
		"{\"src\":}",
		"{\"src\":\"origin\"",
		"{\"src\":\"origin",
		"{\"src\":\"origin\\",
		"{\"src\":\"origin\",}",
		"{\"src\":\"origin\"}x",
		"{\"src\":\"origin\"}{}",
		"{,\"src\":\"origin\"}",
		"{\"src\":{\"src\":\"origin\"}}",
		"{\"src\":[]}",
		"{src:\"origin\"}",
		"{\"src\"=\"origin\"}",
		"{\"src\":\"or\nigin\"}",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		enum h2_meta meta = H2_META_ORIGIN;
		if (decode(bad[i], &meta) != -EBADMSG)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(meta, H2_META_ORIGIN);
	}
	enum h2_meta meta = H2_META_NONE;
	assert_int_equal(h2_meta_decode(SPAN_LIT("{}\0"), &meta), -EBADMSG);
}

static void test_long_meta(void **state)
{
	(void)state;
	char text[H2_META_MAX + 2];
	enum h2_meta meta = H2_META_NONE;
	memset(text, ' ', sizeof(text));
	memcpy(text, "{\"src\":\"origin\"", strlen("{\"src\":\"origin\""));
	text[H2_META_MAX - 1] = '}';
	text[H2_META_MAX] = '\0';
	assert_int_equal(decode(text, &meta), 0);
	assert_int_equal(meta, H2_META_ORIGIN);
	text[H2_META_MAX] = ' ';
	text[H2_META_MAX + 1] = '\0';
	assert_int_equal(decode(text, &meta), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single_pairs),
		cmocka_unit_test(test_order_is_kept),
		cmocka_unit_test(test_deserialize),
		cmocka_unit_test(test_cut_lists),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_first_field_counts),
		cmocka_unit_test(test_recorded_meta),
		cmocka_unit_test(test_tolerated_meta),
		cmocka_unit_test(test_broken_meta),
		cmocka_unit_test(test_long_meta),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
