/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: what is understood, what is refused and how it is said, the help. */
#include "daemon/base/opt.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/macro.h"

struct settings {
	bool is_verbose;
	char *config;
	uint64_t count;
	uint64_t any;
	struct opt_args sets;
};

static const struct opt_row rows[] = {
	{ .name = "verbose",
	  .letter = 'v',
	  .offset = offsetof(struct settings, is_verbose),
	  .help = "say more" },
	{ .name = "config",
	  .letter = 'c',
	  .kind = OPT_KIND_STR,
	  .offset = offsetof(struct settings, config),
	  .arg = "FILE",
	  .help = "read this file instead of the default one; the words of a help text that is longer "
		  "than a line are wrapped" },
	{ .name = "count",
	  .kind = OPT_KIND_U64,
	  .offset = offsetof(struct settings, count),
	  .help = "how many",
	  .min = 1,
	  .max = 64 },
	{ .name = "any", .kind = OPT_KIND_U64, .offset = offsetof(struct settings, any) },
	{ .name = "set-a-configuration-key",
	  .kind = OPT_KIND_LIST,
	  .offset = offsetof(struct settings, sets),
	  .arg = "K=V",
	  .help = "set a key" },
	{},
};

enum { ARGS_MAX = 16 };

/* Splits a line at blanks, in place, and parses it. */
static int parse(char *line, enum opt_mode mode, struct settings *into, struct opt_args *args,
		 struct opt_error *error)
{
	char *argv[ARGS_MAX];
	int argc = 0;
	char *rest = NULL;
	for (char *p = strtok_r(line, " ", &rest); p; p = strtok_r(NULL, " ", &rest)) {
		assert_true(argc < ARGS_MAX);
		argv[argc++] = p;
	}
	*into = (struct settings){ .count = 4 };
	struct opt_parser parser = { .rows = rows, .mode = mode, .into = into };
	int r = opt_parse(&parser, argc, argv);
	*args = parser.args;
	*error = parser.error;
	return r;
}

static void test_understood(void **state UNUSED)
{
	struct settings s;
	struct opt_args args;
	struct opt_error error;
	char line[] = "one --verbose --config=a=b two --count 7 --set-a-configuration-key x=1 "
		      "--set-a-configuration-key=y=2 -c last - -- --verbose";
	assert_int_equal(parse(line, OPT_MODE_MIXED, &s, &args, &error), 0);
	assert_true(s.is_verbose);
	assert_string_equal(s.config, "last");
	assert_int_equal(s.count, 7);
	assert_int_equal(s.sets.count, 2);
	assert_string_equal(s.sets.items[0], "x=1");
	assert_string_equal(s.sets.items[1], "y=2");
	assert_int_equal(args.count, 4);
	assert_string_equal(args.items[0], "one");
	assert_string_equal(args.items[1], "two");
	assert_string_equal(args.items[2], "-");
	assert_string_equal(args.items[3], "--verbose");

	char none[] = "";
	assert_int_equal(parse(none, OPT_MODE_MIXED, &s, &args, &error), 0);
	assert_int_equal(s.count, 4); /* the default stays */
	assert_null(s.config);

	char big[] = "--any=18446744073709551615";
	assert_int_equal(parse(big, OPT_MODE_MIXED, &s, &args, &error), 0);
	assert_true(s.any == UINT64_MAX);
}

static void test_verb(void **state UNUSED)
{
	struct settings s;
	struct opt_args args;
	struct opt_error error;
	char line[] = "-v status --json -v";
	assert_int_equal(parse(line, OPT_MODE_VERB, &s, &args, &error), 0);
	assert_true(s.is_verbose);
	assert_int_equal(args.count, 3);
	assert_string_equal(args.items[1], "--json");
}

static void test_refused(void **state UNUSED)
{
	static const struct {
		const char *line;
		const char *arg;
		const char *reason;
	} cases[] = {
		{ "--nothing", "--nothing", "not known" },
		{ "--tokn=secret", "option", "not known" }, /* the value isn't shown */
		{ "--verb", "--verb", "not known" },
		{ "-x", "-x", "not known" },
		{ "-vv", "-vv", "not known" },
		{ "--verbose=yes", "verbose", "takes no value" },
		{ "--config", "config", "needs a value" },
		{ "-c", "config", "needs a value" },
		{ "--config=", "config", "needs a value" },
		{ "--count=", "count", "a number is needed" },
		{ "--count=0", "count", "too small" },
		{ "--count=65", "count", "too large" },
		{ "--count=-1", "count", "not a number" },
		{ "--count=1k", "count", "not a number" },
		{ "--any=18446744073709551616", "any", "too large" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct settings s;
		struct opt_args args;
		struct opt_error error;
		char line[64];
		assert_true(strlen(cases[i].line) < sizeof(line));
		(void)snprintf(line, sizeof(line), "%s", cases[i].line);
		assert_int_equal(parse(line, OPT_MODE_MIXED, &s, &args, &error), -EINVAL);
		assert_string_equal(error.arg, cases[i].arg);
		assert_string_equal(error.reason, cases[i].reason);
	}
}

static void test_too_many(void **state UNUSED)
{
	char arg[] = "x";
	char *argv[OPT_ARGS_MAX + 1];
	struct settings s = {};
	struct opt_parser parser = { .rows = rows, .into = &s };
	for (unsigned int i = 0; i < ARRAY_SIZE(argv); i++)
		argv[i] = arg;
	assert_int_equal(opt_parse(&parser, OPT_ARGS_MAX, argv), 0);
	assert_int_equal(parser.args.count, OPT_ARGS_MAX);
	assert_int_equal(opt_parse(&parser, OPT_ARGS_MAX + 1, argv), -EINVAL);
	assert_string_equal(parser.error.reason, "too many");
}

static void test_help(void **state UNUSED)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	assert_non_null(f);
	opt_print_help(rows, f);
	assert_int_equal(fclose(f), 0);
	assert_string_equal(
		text,
		"  -v, --verbose             say more\n"
		"  -c, --config=FILE         read this file instead of the default one; the words of a "
		"help text that\n"
		"                            is longer than a line are wrapped\n"
		"      --count=VALUE         how many\n"
		"      --set-a-configuration-key=K=V\n"
		"                            set a key\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_understood), cmocka_unit_test(test_verb),
		cmocka_unit_test(test_refused),    cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_help),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
