/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines: one table says what is understood, where it goes in a struct, and what the help
 *says.
 *
 *	--name=value, --name value, --flag, -l value; "--" ends the options.
 */
#ifndef DAEMON_BASE_OPT_H
#define DAEMON_BASE_OPT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	OPT_ARGS_MAX = 128,
};

/* Arguments that aren't options, or the values of an option that may be repeated. */
struct opt_args {
	char *items[OPT_ARGS_MAX]; /* borrowed from argv */
	unsigned int count;
};

enum opt_kind : uint8_t {
	OPT_KIND_FLAG, /* bool */
	OPT_KIND_STR,  /* char *, borrowed from argv; the last one wins */
	OPT_KIND_U64,  /* uint64_t, decimal, min … max */
	OPT_KIND_LIST, /* struct opt_args: may be repeated */
};

struct opt_row {
	const char *name; /* without the dashes; NULL ends the table */
	char letter;      /* for -l, or 0 */
	enum opt_kind kind;
	size_t offset;    /* of the field */
	const char *arg;  /* what the value is called in the help */
	const char *help; /* NULL: understood, not shown */
	uint64_t min;
	uint64_t max; /* 0: any */
};

/* What was wrong, for "adit: --name: reason". */
struct opt_error {
	const char *arg;    /* borrowed from argv; a value is never shown (it may be a secret) */
	const char *reason; /* static */
};

enum opt_mode : uint8_t {
	OPT_MODE_MIXED, /* options and arguments in any order */
	OPT_MODE_VERB,  /* the first argument ends the options: what follows is the verb's */
};

struct opt_parser {
	const struct opt_row *rows;
	enum opt_mode mode;
	void *into; /* the struct, zeroed or with defaults; what isn't given stays as it is */
	/* results */
	struct opt_args args;
	struct opt_error error;
};

/*
 * argc, argv: without the program's name. Returns 0, or -EINVAL with parser->error (then the struct
 * may have been changed in part).
 */
[[nodiscard]] int opt_parse(struct opt_parser *parser, int argc, char **argv);

/* Writes a line or two for each option that has a help text. */
void opt_print_help(const struct opt_row *rows, FILE *out);

#endif
