/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The INI reader: what is read, what is refused with its line, and that nothing is read past the
 * end.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/conf/ini.h"
#include "daemon/conf/load.h"
#include "util/macro.h"

static bool list_keys(void *userdata, const char *kind, const char *key)
{
	(void)userdata;
	(void)kind;
	return strncmp(key, "list", 4) == 0;
}

/* "kind name@line: key=value@line …" of a whole text, and "!line" for each fault. */
static char *read_as_text(struct span text)
{
	struct conf_report report = {};
	struct ini_file f = {};
	struct ini_source source = { .file = "f", .is_list = list_keys };
	char *heap = malloc(text.len ? text.len : 1);
	assert_non_null(heap);
	if (text.len)
		memcpy(heap, text.ptr, text.len);
	assert_int_equal(ini_parse_text(span_of(heap, text.len), &source, &report, &f), 0);
	free(heap);

	char *out = NULL;
	size_t len;
	FILE *to = open_memstream(&out, &len);
	assert_non_null(to);
	for (size_t i = 0; i < f.section_count; i++) {
		const struct ini_section *s = &f.sections[i];
		(void)fprintf(to, "%s%s%s@%u:", s->kind, s->name ? " " : "", s->name ? s->name : "",
			      s->line);
		for (size_t k = 0; k < s->entry_count; k++)
			(void)fprintf(to, " %s=%s@%u", s->entries[k].key, s->entries[k].value,
				      s->entries[k].line);
		(void)fputc('\n', to);
	}
	for (size_t i = 0; i < report.count; i++)
		(void)fprintf(to, "!%u", report.messages[i].line);
	(void)fclose(to);
	ini_file_done(&f);
	conf_report_done(&report);
	return out;
}

static void check(const char *text, const char *want)
{
	char *got = read_as_text(span_str(text));
	assert_string_equal(got, want);
	free(got);
}

static void test_read(void **state)
{
	(void)state;
	check("", "");
	check("\n; c\n# c\n  ; c\n\t\n", "");
	check("[a]\n", "a@1:\n");
	check("[a]", "a@1:\n");
	check("\xef\xbb\xbf[a]\r\nk = v\r\n", "a@1: k=v@2\n");
	check("[a]\n[a]\n[b]\n", "a@1:\na@2:\nb@3:\n");
	check("[ a \t x.y_z-1 ] ; c\n", "a x.y_z-1@1:\n");
	check("[a]\nk=v ; c\nl = a;b\nm =;x\nn = ; x\no=\n",
	      "a@1: k=v@2 l=a;b@3 m=;x@4 n=@5 o=@6\n");
	check("[a]\nk = a = b : c\n", "a@1: k=a = b : c@2\n");
	check("[a]\nlist = 1\n  2 ; c\n\n\t3\nk = v\n", "a@1: list=1@2 list=2@3 list=3@5 k=v@6\n");
	check("[a]\nlist =\n  [2001:db8::7]:7844\n  a:b\n",
	      "a@1: list=@2 list=[2001:db8::7]:7844@3 list=a:b@4\n");
	check("[a]\nk = B\xc3\xbc"
	      "cher\n",
	      "a@1: k=B\xc3\xbc"
	      "cher@2\n");
}

static void test_refused(void **state)
{
	(void)state;
	check("k = v\n", "!1");
	check("[a\nk = v\n[b]\n", "b@3:\n!1");
	check("[a] x\nk = v\n", "!1");
	check(" [a]\nk = v\n", "!1");
	check("[a]\n  [b] ; c\nk = v\n  x\n", "a@1:\n!2");
	check("[]\n[A]\n[a b c]\n[a !]\n[-a]\n", "!1!2!3!4!5");
	check("[a 123456789012345678901234567890123]\n[a 12345678901234567890123456789012]\n",
	      "a 12345678901234567890123456789012@2:\n!1");
	check("[a]\n  k = v\n", "a@1:\n!2");
	check("[a]\nk = v\n  w\nx = y\n", "a@1: k=v@2 x=y@4\n!3");
	check("[a]\nk: v\nlist: v\n  w\nx = y\n", "a@1: x=y@5\n!2!3");
	check("[a]\nk\n  w\nx = y\n", "a@1: x=y@4\n!2");
	check("[a]\nk = \x01\nl = \xff\n", "a@1:\n!2!3");
	check("[a]\nk = \xed\xa0\x80\n", "a@1:\n!2");
	char *got = read_as_text(SPAN_LIT("[a]\nk = a\0b\nl = v\n"));
	assert_string_equal(got, "a@1: l=v@3\n!2");
	free(got);
}

/* A line of so many bytes, "k = vvv…", in section a. */
static char *read_long_line(size_t len)
{
	char *text = malloc(4 + len + 8);
	assert_non_null(text);
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a span */
	memcpy(text, "[a]\nk = ", 8);
	memset(text + 8, 'v', len - 4);
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): a span */
	memcpy(text + 4 + len, "\nl=1\n", 5);
	char *out = read_as_text(span_of(text, 4 + len + 5));
	free(text);
	return out;
}

static void test_long_lines(void **state)
{
	(void)state;
	char *out = read_long_line(INI_LINE_MAX);
	assert_int_equal(strlen(out), strlen("a@1: k=@2 l=1@3\n") + INI_LINE_MAX - 4);
	free(out);
	out = read_long_line(INI_LINE_MAX + 1);
	assert_string_equal(out, "a@1: l=1@3\n!2");
	free(out);

	/* 48 bytes between the brackets, blanks counted. */
	char header[80] = "[";
	memset(header + 1, ' ', 48);
	/* NOLINTNEXTLINE(bugprone-not-null-terminated-result): into the middle of a text */
	memcpy(header + 1, "kind", 4);
	memcpy(header + 49, "]\n", 3);
	check(header, "kind@1:\n");
	memcpy(header + 49, " ]\n", 4);
	check(header, "!1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_long_lines),
	};
	conf_global_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
