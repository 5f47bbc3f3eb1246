/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells, tables and JSON of `adit`: every kind of value, what is absent, what must not reach a
 * terminal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <systemd/sd-json.h>

#include "daemon/cli/print.h"
#include "util/macro.h"

#define NOW UINT64_C(1800000000000000)

static sd_json_variant *parse(const char *text)
{
	sd_json_variant *v = NULL;
	assert_int_equal(sd_json_parse(text, 0, &v, NULL, NULL), 0);
	return v;
}

/* clang-format off */
static const struct {
	const char *json;
	enum print_as as;
	const char *text;
} cells[] = {
	{ "\"plain\"",           PRINT_AS_TEXT,    "plain" },
	{ "\"\"",                PRINT_AS_TEXT,    "-" },
	{ "null",                PRINT_AS_TEXT,    "-" },
	{ "true",                PRINT_AS_TEXT,    "-" },
	{ "-1",                  PRINT_AS_COUNT,   "-" },
	{ "[\"a\",\"b.c\"]",     PRINT_AS_TEXT,    "a b.c" },
	{ "[]",                  PRINT_AS_TEXT,    "-" },
	{ "[1,\"a\",null]",      PRINT_AS_TEXT,    "a" },
	{ "\"a\\u001b[31mb\\n\"", PRINT_AS_TEXT,   "a?[31mb?" },
	{ "\"\\u007f\\u0085x\"", PRINT_AS_TEXT,    "??x" },
	{ "\"gr\xc3\xbc\xc3\x9f\"", PRINT_AS_TEXT, "gr\xc3\xbc\xc3\x9f" },
	{ "17",                  PRINT_AS_COUNT,   "17" },
	{ "18446744073709551615", PRINT_AS_COUNT,  "18446744073709551615" },
	{ "0",                   PRINT_AS_BYTES,   "0" },
	{ "1023",                PRINT_AS_BYTES,   "1023" },
	{ "1024",                PRINT_AS_BYTES,   "1.0K" },
	{ "1572864",             PRINT_AS_BYTES,   "1.5M" },
	{ "18446744073709551615", PRINT_AS_BYTES,  "16.0E" },
	{ "0",                   PRINT_AS_AGE,     "-" },
	{ "1800000000000000",    PRINT_AS_AGE,     "0s" },
	{ "1800000001000000",    PRINT_AS_AGE,     "0s" },
	{ "1799999941000000",    PRINT_AS_AGE,     "59s" },
	{ "1799999939000000",    PRINT_AS_AGE,     "1m 1s" },
	{ "1799996340000000",    PRINT_AS_AGE,     "1h 1m" },
	{ "1799906400000000",    PRINT_AS_AGE,     "1d 2h" },
	{ "1234",                PRINT_AS_DELAY,   "1.2ms" },
	{ "1250",                PRINT_AS_PER_MIL, "0.12%" },
	{ "1000000",             PRINT_AS_PER_MIL, "100.00%" },
};
/* clang-format on */

static void test_cells(void **state)
{
	(void)state;
	struct print p = { .now_usec = NOW };
	char text[128], buf[PRINT_CELL_MAX];
	for (size_t i = 0; i < ARRAY_SIZE(cells); i++) {
		const struct print_column column = { "k", "K", cells[i].as };
		(void)snprintf(text, sizeof(text), "{\"k\":%s}", cells[i].json);
		sd_json_variant *v = parse(text);
		assert_string_equal(print_cell(&p, v, &column, buf), cells[i].text);
		sd_json_variant_unref(v);
	}
	const struct print_column missing = { "other", "K", PRINT_AS_TEXT };
	sd_json_variant *v = parse("{\"k\":1}");
	assert_string_equal(print_cell(&p, v, &missing, buf), "-");
	assert_string_equal(print_cell(&p, NULL, &missing, buf), "-");
	sd_json_variant_unref(v);
}

/* A text of any length ends between characters and within the cell. */
static void test_long_text(void **state)
{
	(void)state;
	struct print p = {};
	char text[2 * PRINT_CELL_MAX + 16], buf[PRINT_CELL_MAX];
	const struct print_column column = { "k", "K", PRINT_AS_TEXT };
	for (size_t lead = 0; lead < 3; lead++) {
		size_t n = (size_t)snprintf(text, sizeof(text), "{\"k\":\"%.*s", (int)lead, "aaa");
		for (size_t i = 0; i < PRINT_CELL_MAX - 10; i++, n += 2)
			(void)snprintf(text + n, sizeof(text) - n, "\xc3\xa4");
		(void)snprintf(text + n, sizeof(text) - n, "\"}");
		sd_json_variant *v = parse(text);
		size_t len = strlen(print_cell(&p, v, &column, buf));
		assert_in_range(len, PRINT_CELL_MAX - 4, PRINT_CELL_MAX - 1);
		assert_int_equal((len - lead) % 2, 0);
		sd_json_variant_unref(v);
	}
}

static const struct print_column columns[] = {
	{ "name", "NAME", PRINT_AS_TEXT },
	{ "count", "COUNT", PRINT_AS_COUNT },
	{ "error", "ERROR", PRINT_AS_TEXT },
};
static const struct print_table table = { "rows", columns, ARRAY_SIZE(columns) };

static const char document[] = "{\"version\":\"1\",\"rows\":["
			       "{\"name\":\"gr\xc3\xbc\xc3\x9f\",\"count\":1},"
			       "{\"name\":\"a longer one\",\"count\":123456,\"error\":\"no\"}]}";

static void test_rows(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	struct print p = { .out = open_memstream(&text, &len) };
	sd_json_variant *v = parse(document);
	const struct print_column head[] = { { "version", "version", PRINT_AS_TEXT },
					     { "none", "a long one", PRINT_AS_TEXT } };
	print_head(&p, v, head, ARRAY_SIZE(head));
	print_rows(&p, v, &table);
	const struct print_table absent = { "absent", columns, ARRAY_SIZE(columns) };
	print_rows(&p, v, &absent);
	(void)fclose(p.out);
	assert_string_equal(text, "version     1\n"
				  "a long one  -\n"
				  "NAME          COUNT   ERROR\n"
				  "gr\xc3\xbc\xc3\x9f          1       -\n"
				  "a longer one  123456  no\n"
				  "NAME  COUNT  ERROR\n");
	free(text);
	sd_json_variant_unref(v);
}

static void test_json(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	struct print p = { .out = open_memstream(&text, &len) };
	sd_json_variant *v = parse(document);
	assert_int_equal(print_json(&p, v, &table, 1), 0);
	(void)fclose(p.out);
	sd_json_variant *back = parse(text);
	sd_json_variant *rows = sd_json_variant_by_key(back, "rows");
	assert_int_equal(sd_json_variant_elements(rows), 2);
	sd_json_variant *error = sd_json_variant_by_key(sd_json_variant_by_index(rows, 0), "error");
	assert_non_null(error);
	assert_true(sd_json_variant_is_null(error));
	assert_string_equal(sd_json_variant_string(sd_json_variant_by_key(
				    sd_json_variant_by_index(rows, 1), "error")),
			    "no");
	assert_non_null(sd_json_variant_by_key(back, "version"));
	/* The daemon's own document is as it was. */
	assert_null(sd_json_variant_by_key(
		sd_json_variant_by_index(sd_json_variant_by_key(v, "rows"), 0), "error"));
	sd_json_variant_unref(back);
	sd_json_variant_unref(v);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cells),
		cmocka_unit_test(test_long_text),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_json),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
