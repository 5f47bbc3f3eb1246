/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path expressions: what RE2 accepts and refuses, what means something else in PCRE2, limits.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <cmocka.h>

#include "daemon/conf/pattern.h"
#include "util/macro.h"

static int match_bytes(const char *text, struct span subject)
{
	_cleanup_(pattern_freep) struct pattern *p = NULL;
	_cleanup_(pattern_scratch_freep) struct pattern_scratch *s = pattern_scratch_new();
	struct pattern_error error = {};
	assert_non_null(s);
	int r = pattern_new(span_str(text), &p, &error);
	if (r < 0) {
		assert_int_equal(r, -EINVAL);
		assert_non_null(error.reason);
		return r;
	}
	return pattern_match(p, s, subject);
}

static int match(const char *text, const char *subject)
{
	return match_bytes(text, span_str(subject));
}

struct row {
	const char *text;
	const char *subject;
	int result; /* 1, 0 */
};

static void check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int r = match(rows[i].text, rows[i].subject);
		if (r != rows[i].result)
			fail_msg("%s on %s: %d instead of %d", rows[i].text, rows[i].subject, r,
				 rows[i].result);
	}
}

static const struct row found_rows[] = {
	{ "", "", 1 },
	{ "api", "/x/apiary", 1 },
	{ "^/api$", "/api", 1 },
	{ "^/api$", "/api\n", 0 }, /* "$" is the end only */
	{ "(?m)^/api$", "/x\n/api\n/y", 1 },
	{ "(?m)x$\\n^$", "x\n", 1 }, /* "^" behind the last newline too */
	{ "a.b", "a\nb", 0 },
	{ "(?s)a.b", "a\nb", 1 },
	{ "a.b", "a\rb", 1 },
	{ "(?i)ABC", "xabcx", 1 },
	{ "(?i:A)B", "aB", 1 },
	{ "(?i:A)B", "ab", 0 },
	{ "a(?i)b|c", "C", 1 },
	{ "(?i-i)A", "a", 0 },
	{ "(?U)a+?b", "aab", 1 },
	{ "(?-U)a", "a", 1 },
	{ "a{,3}", "a{,3}", 1 }, /* text, not a count */
	{ "a{,3}", "aaa", 0 },
	{ "{", "{", 1 },
	{ "a{02}", "a{02}", 1 },
	{ "a{2}", "aa", 1 },
	{ "^a{2,}$", "aaa", 1 },
	{ "^a{2,3}?$", "aaaa", 0 },
	{ "a{x}", "a{x}", 1 },
	{ "\\z", "", 1 },
	{ "\\Aa\\z", "a", 1 },
	{ "x*", "", 1 },
	{ "^*a", "a", 1 },
	{ "(?:\\b)+a", "a", 1 },
	{ "\\ba\\B", "ab", 1 },
	{ "\\Q.*\\E", "a.*b", 1 },
	{ "\\Q.*\\E", "ab", 0 },
	{ "\\Qa", "a", 1 },
	{ "a\\Q\\Eb", "ab", 1 },
	{ "^\\Qab\\E+$", "abbb", 1 },
	{ "\\x{2603}", "\xe2\x98\x83", 1 },
	{ "\\x41\\101\\012", "AA\n", 1 },
	{ "\\v", "\v", 1 },
	{ "\\v", "\n", 0 }, /* in PCRE2 any vertical space */
	{ "\\s", "\v", 0 },
	{ "\\S", "\v", 1 },
	{ "[\\s]", "\v", 0 },
	{ "[\\S]", "\v", 1 },
	{ "[^\\s]", "\v", 1 },
	{ "\\a\\f\\t\\r", "\a\f\t\r", 1 },
	{ "\\_\\-\\.\\/", "_-./", 1 },
	{ "^\\w+$", "a_9", 1 },
	{ "^\\w+$", "\xc3\xa9", 0 }, /* ASCII only */
	{ "^\\W$", "\xc3\xa9", 1 },
	{ "^\\d+$", "\xd9\xa1", 0 },
	{ "^\\D$", "\xd9\xa1", 1 },
	{ "^[\\d\\-x]+$", "1-x", 1 },
	{ "^[\\d-z]+$", "1-z", 1 },
	{ "^[\\D]$", "1", 0 },
	{ "^[\\W]$", "-", 1 },
	{ "(?i)\\w", "\xe2\x84\xaa", 1 }, /* Kelvin sign folds to k */
	{ "[[:alpha:]]{3}", "abc", 1 },
	{ "[[:^alpha:]]", "abc", 0 },
	{ "[[:word:]]", "_", 1 },
	{ "[[:alpha]", "[", 1 }, /* no class: text */
	{ "[]a]", "]", 1 },
	{ "[^]a]", "]", 0 },
	{ "[a-]", "-", 1 },
	{ "[a-b-c]", "-", 1 },
	{ "[--/]", ".", 1 },
	{ "[\\]]", "]", 1 },
	{ "[\\x{e0}-\\x{ff}]", "\xc3\xa9", 1 },
	{ "[^a]", "\n", 1 },
	{ "[.*]", "b", 0 },
	{ "\\p{Greek}", "\xce\xbb", 1 },
	{ "\\p{^Greek}", "\xce\xbb", 0 },
	{ "\\P{^Greek}", "\xce\xbb", 1 },
	{ "\\P{Greek}", "a", 1 },
	{ "\\pL", "a", 1 },
	{ "\\pN", "a", 0 },
	{ "[\\pL\\d]", "1", 1 },
	{ "\\p{Lu}", "A", 1 },
	{ "\\p{Any}", "A", 1 },
	{ "\\p{Old_Italic}", "a", 0 },
	{ "(?P<n>a)(?<m>b)", "ab", 1 },
	{ "(?<1a>a)", "a", 1 },
	{ "(a|b|)c", "c", 1 },
	{ "()", "", 1 },
	{ "(?:a|b)+?c", "abac", 1 },
	{ "\xc3\xa9+", "\xc3\xa9\xc3\xa9", 1 },
	{ "#", "#", 1 },
	{ "a b", "a b", 1 },
	{ "]", "]", 1 },
	{ "}", "}", 1 },
	{ "((a{10}){10}){10}", "a", 0 },
	{ "(a{1000})*", "", 1 },
	{ "((a{1000}){0}){2}", "", 1 },
};

static void test_found(void **state)
{
	(void)state;
	check_rows(found_rows, ARRAY_SIZE(found_rows));
}

static const char *const refused[] = {
	"(",
	")",
	"a)",
	"(a",
	"[",
	"[a",
	"[z-a]",
	"*",
	"+a",
	"|*",
	"(*a)",
	"a**",
	"a++",
	"a*+",
	"a?+",
	"a{2}{3}",
	"a{2}*",
	"a*??",
	"a{1001}",
	"a{2,1}",
	"a{1001,}",
	"a{1,1001}",
	"a{99999999}",
	"(a{100}){100}",
	"((a{10}){10}){11}",
	"(a{1000}){2}",
	"(?=a)",
	"(?!a)",
	"(?<=a)",
	"(?<!a)",
	"(?>a)",
	"(?#c)",
	"(?x)a",
	"(?i",
	"(?i-)a",
	"(?-)a",
	"(?i--s)",
	"(?P=n)",
	"(?P>n)",
	"(?P<n>a)(?P<n>b)",
	"(?P<>a)",
	"(?P<a-b>a)",
	"(?P<n",
	"(?(1)a)",
	"(?|a)",
	"(?&n)",
	"(?R)",
	"\\1",
	"(a)\\1",
	"\\8",
	"\\Z",
	"\\C",
	"\\K",
	"\\h",
	"\\R",
	"\\X",
	"\\G",
	"\\q",
	"\\e",
	"\\N",
	"\\",
	"\\x",
	"\\x4",
	"\\x{",
	"\\x{}",
	"\\x{110000}",
	"\\xg0",
	"\\\xc3\xa9",
	"\\p",
	"\\p{",
	"\\p{greek}",
	"\\p{Nope}",
	"\\p{L&}",
	"\\p{Xan}",
	"\\pX",
	"\\p{}",
	"\\p{Alphabetic}",
	"\\p{scx:Greek}",
	"[[:nope:]]",
	"[\\b]",
	"[\\z]",
	"[a-\\d]",
	"[\\Q]\\E]",
	"[[:word:]",
	"(?i)*",
	"\\x{d800}",
	"\xff",
	"[\xff]",
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (match(refused[i], "") != -EINVAL)
			fail_msg("%s was accepted", refused[i]);
}

/* Where a fault was seen. */
static void test_offset(void **state)
{
	(void)state;
	struct pattern_error error = {};
	struct pattern *p = NULL;
	assert_int_equal(pattern_new(SPAN_LIT("abc(?=d)"), &p, &error), -EINVAL);
	assert_int_equal(error.offset, 5);
	assert_int_equal(pattern_new(SPAN_LIT("abc(?=d)"), &p, NULL), -EINVAL);
}

static void test_limits(void **state)
{
	(void)state;
	size_t size = PATTERN_TEXT_MAX + 1;
	char *text = malloc(size);
	assert_non_null(text);
	struct pattern_error error = {};
	char *out = NULL;
	memset(text, 'a', size);
	assert_int_equal(pattern_translate(span_of(text, size - 1), &out, &error), 0);
	free(out);
	assert_int_equal(pattern_translate(span_of(text, size), &out, &error), -EINVAL);

	memset(text, '(', PATTERN_DEPTH_MAX + 1);
	memset(text + PATTERN_DEPTH_MAX + 1, ')', PATTERN_DEPTH_MAX + 1);
	assert_int_equal(pattern_translate(span_of(text, 2 * PATTERN_DEPTH_MAX + 2), &out, &error),
			 -EINVAL);
	struct pattern *p = NULL;
	assert_int_equal(pattern_new(span_of(text + 1, 2 * PATTERN_DEPTH_MAX), &p, &error), 0);
	pattern_free(p);

	/* What would be too large when written out is told as that. */
	memset(text, 'a', 200);
	text[0] = '(';
	memcpy(text + 200, "){1000}", 8);
	assert_int_equal(pattern_new(span_str(text), &p, &error), -EINVAL);
	assert_string_equal(error.reason, "too large when repeats are written out");
	free(text);
}

/* A match that would take for ever is no "not found". */
static void check_cost(void)
{
	char subject[4000];
	memset(subject, 'a', sizeof(subject));
	assert_int_equal(match_bytes("^(a+)+$|b", span_of(subject, 3999)), 1);
	subject[sizeof(subject) - 1] = '!';
	assert_int_equal(match_bytes("^(a+)+$", span_of(subject, sizeof(subject))), -E2BIG);
	assert_int_equal(match_bytes("^(a|aa)*$", span_of(subject, sizeof(subject))), -E2BIG);
}

static void test_cost(void **state)
{
	(void)state;
	check_cost();
	char *long_path = calloc(1, 1024 * 1024 + 1);
	assert_non_null(long_path);
	assert_int_equal(match_bytes("x", span_of(long_path, 1024 * 1024 + 1)), -E2BIG);
	free(long_path);
}

/* Bytes that are no UTF-8 count as U+FFFD each, as in the reference. */
static void test_bad_utf8(void **state)
{
	(void)state;
	assert_int_equal(match_bytes("^a..b$", SPAN_LIT("a\xff\xfe"
							"b")),
			 1);
	assert_int_equal(match_bytes("\\x{fffd}", SPAN_LIT("\xc3")), 1);
	assert_int_equal(match_bytes("^...$", SPAN_LIT("\xed\xa0\x80")), 1);
	assert_int_equal(match_bytes("a\\x{0}b", SPAN_LIT("a\0b")), 1);
	assert_int_equal(match_bytes("^$", span_of(NULL, 0)), 1);
}

/* Where memory may not be both written and executed, patterns are interpreted. The last test: for
 * good. */
static void test_without_jit(void **state)
{
	(void)state;
	(void)prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0);
	assert_int_equal(match("^/a.*z$", "/abcz"), 1);
	check_cost();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),       cmocka_unit_test(test_refused),
		cmocka_unit_test(test_offset),      cmocka_unit_test(test_limits),
		cmocka_unit_test(test_cost),        cmocka_unit_test(test_bad_utf8),
		cmocka_unit_test(test_without_jit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
