/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines by table. getopt_long() isn't used: its table says neither where a value goes nor
 * what the help says, and its state is global.
 */
#include "daemon/base/opt.h"

#include <errno.h>
#include <string.h>

#include "util/macro.h"
#include "util/span.h"

enum {
	HELP_COLUMN = 28,
	HELP_WIDTH = 100,
};

/* The command line as far as it is read. */
struct reader {
	struct opt_parser *parser;
	char **argv;
	int argc;
	int next;
};

static int fail(struct reader *rd, const char *arg, const char *reason)
{
	rd->parser->error = (struct opt_error){ .arg = arg, .reason = reason };
	return -EINVAL;
}

static int add_arg(struct reader *rd, struct opt_args *args, char *arg)
{
	if (args->count == OPT_ARGS_MAX)
		return fail(rd, arg, "too many");
	args->items[args->count++] = arg;
	return 0;
}

static int parse_u64(struct reader *rd, const struct opt_row *row, const char *text, uint64_t *ret)
{
	uint64_t v = 0;
	if (*text == '\0')
		return fail(rd, row->name, "a number is needed");
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return fail(rd, row->name, "not a number");
		unsigned int digit = (unsigned int)(*text - '0');
		if (v > (UINT64_MAX - digit) / 10)
			return fail(rd, row->name, "too large");
		v = v * 10 + digit;
	}
	if (v < row->min)
		return fail(rd, row->name, "too small");
	if (row->max && v > row->max)
		return fail(rd, row->name, "too large");
	*ret = v;
	return 0;
}

static int store(struct reader *rd, const struct opt_row *row, char *value)
{
	void *field = (char *)rd->parser->into + row->offset;
	switch (row->kind) {
	case OPT_KIND_FLAG:
		*(bool *)field = true;
		return 0;
	case OPT_KIND_STR:
		if (value[0] == '\0')
			return fail(rd, row->name, "needs a value");
		*(char **)field = value;
		return 0;
	case OPT_KIND_U64:
		return parse_u64(rd, row, value, field);
	case OPT_KIND_LIST:
		return add_arg(rd, field, value);
	}
	return -EINVAL;
}

/* value: what stands behind '=', or NULL; then the next argument is it. */
static int take_option(struct reader *rd, const struct opt_row *row, char *value)
{
	if (row->kind == OPT_KIND_FLAG)
		return value ? fail(rd, row->name, "takes no value") : store(rd, row, NULL);
	if (!value) {
		if (rd->next == rd->argc)
			return fail(rd, row->name, "needs a value");
		value = rd->argv[rd->next++];
	}
	return store(rd, row, value);
}

static int take_long(struct reader *rd, char *arg)
{
	char *equals = strchr(arg + 2, '=');
	struct span name = span_of(arg + 2, equals ? (size_t)(equals - arg - 2) : strlen(arg + 2));
	for (const struct opt_row *row = rd->parser->rows; row->name; row++)
		if (span_eq_str(name, row->name))
			return take_option(rd, row, equals ? equals + 1 : NULL);
	/* What stands behind '=' may be the secret of a mistyped option. */
	return fail(rd, equals ? "option" : arg, "not known");
}

static int take_short(struct reader *rd, char *arg)
{
	for (const struct opt_row *row = rd->parser->rows; arg[2] == '\0' && row->name; row++)
		if (row->letter == arg[1])
			return take_option(rd, row, NULL);
	return fail(rd, arg, "not known");
}

int opt_parse(struct opt_parser *parser, int argc, char **argv)
{
	struct reader rd = { .parser = parser, .argv = argv, .argc = argc };
	bool is_over = false;
	parser->args.count = 0;
	while (rd.next < rd.argc) {
		char *arg = rd.argv[rd.next++];
		int r = 0;
		if (is_over || arg[0] != '-' || arg[1] == '\0') { /* "-" is an argument */
			is_over = is_over || parser->mode == OPT_MODE_VERB;
			r = add_arg(&rd, &parser->args, arg);
		} else if (strcmp(arg, "--") == 0) {
			is_over = true;
		} else {
			r = arg[1] == '-' ? take_long(&rd, arg) : take_short(&rd, arg);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- help ---------------------------------------------------------------------------------- */

/* Words of text between HELP_COLUMN and HELP_WIDTH; the cursor is at column. */
static void print_wrapped(FILE *out, const char *text, int column)
{
	int at = column;
	if (at >= HELP_COLUMN) {
		(void)fputc('\n', out);
		at = 0;
	}
	(void)fprintf(out, "%*s", HELP_COLUMN - at, "");
	at = HELP_COLUMN;
	while (*text) {
		int len = (int)strcspn(text, " ");
		if (at > HELP_COLUMN && at + 1 + len > HELP_WIDTH) {
			(void)fprintf(out, "\n%*s", HELP_COLUMN, "");
			at = HELP_COLUMN;
		} else if (at > HELP_COLUMN) {
			(void)fputc(' ', out);
			at++;
		}
		(void)fprintf(out, "%.*s", len, text);
		at += len;
		text += len;
		text += strspn(text, " ");
	}
	(void)fputc('\n', out);
}

void opt_print_help(const struct opt_row *rows, FILE *out)
{
	for (const struct opt_row *row = rows; row->name; row++) {
		if (!row->help)
			continue;
		int column = row->letter ? fprintf(out, "  -%c, --%s", row->letter, row->name)
					 : fprintf(out, "      --%s", row->name);
		if (row->kind != OPT_KIND_FLAG)
			column += fprintf(out, "=%s", row->arg ? row->arg : "VALUE");
		print_wrapped(out, row->help, column);
	}
}
