/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adit: options, then a verb of the table. The options may also stand behind the verb, since that
 * is where fingers put them.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/base/version.h"
#include "daemon/cli/cli.h"
#include "util/macro.h"

/* clang-format off */
#define AT(field) .offset = offsetof(struct cli, field)
#define ROWS_OF_ALL \
	{ .name = "instance", .letter = 'i', .kind = OPT_KIND_STR, AT(instance), .arg = "NAME", .help = "the aditd of that name (without: the default one)" }, \
	{ .name = "edge", .letter = 'e', .kind = OPT_KIND_FLAG, AT(is_edge), .help = "the adit-edge of this machine instead" }, \
	{ .name = "run-dir", .kind = OPT_KIND_STR, AT(run_dir), .arg = "DIR", .help = "where the daemon was told to put its control socket" }, \
	{ .name = "json", .kind = OPT_KIND_FLAG, AT(is_json), .help = "prints JSON" }, \
	{ .name = "help", .letter = 'h', .kind = OPT_KIND_FLAG, AT(wants_help), .help = "prints this; behind a verb, about the verb" }, \
	{ .name = "version", .letter = 'V', .kind = OPT_KIND_FLAG, AT(wants_version), .help = "prints the version of this command" }
static const struct opt_row rows[] = { ROWS_OF_ALL, {} };
static const struct opt_row refuse_rows[] = {
	{ .name = "tunnel", .kind = OPT_KIND_STR, AT(tunnel), .arg = "NAME", .help = "registrations of this tunnel only" },
	{ .name = "count", .kind = OPT_KIND_U64, AT(count), .arg = "N", .help = "so many, instead of all until the next call", .min = 1, .max = 1000000000 },
	{ .name = "retry-after", .kind = OPT_KIND_U64, AT(retry_after_sec), .arg = "SECONDS", .help = "what the answer says, instead of what the kind has", .max = 1000000000 },
	ROWS_OF_ALL,
	{},
};

static const struct opt_row status_rows[] = {
	{ .name = "flows", .kind = OPT_KIND_FLAG, AT(wants_flows), .help = "UDP flows of aditd instead, 1000 at most, and what was dropped and why" },
	ROWS_OF_ALL,
	{},
};

static const struct cli_verb verbs[] = {
	{ .name = "edge drain", .help = "sends every daemon away, lets requests end, ends the edge",
	  .example = "adit edge drain", .is_edges = true, .run = verb_edge_drain },
	{ .name = "edge refuse", .help = "for tests: has the edge refuse registrations; KIND is unauthorized, too-many, "
	  "draining, duplicate, retry, permanent, exception, silent, close, or none to end it",
	  .example = "adit edge refuse retry --tunnel home --count 3 --retry-after 10", .args = "KIND",
	  .rows = refuse_rows, .is_edges = true, .run = verb_edge_refuse },
	{ .name = "edge status", .help = "the same as --edge status", .example = "adit edge status",
	  .is_edges = true, .run = verb_status },
	{ .name = "reconnect", .help = "has aditd dial one connection, or all, anew",
	  .example = "adit reconnect 2", .args = "[INDEX]", .run = verb_reconnect },
	{ .name = "reload", .help = "has the daemon read its configuration again; says what changed",
	  .example = "adit --edge reload", .run = verb_reload },
	{ .name = "status", .help = "what the daemon is doing, connection by connection",
	  .example = "adit --instance blog status --flows", .rows = status_rows, .run = verb_status },
	{ .name = "version", .help = "versions of this command and of the daemon",
	  .example = "adit --edge version", .run = verb_version },
};
/* clang-format on */

const char *cli_program(const struct cli *c)
{
	return c->is_edge ? "adit-edge" : "aditd";
}

static int print_help(FILE *out)
{
	(void)fputs("adit: looks after aditd and adit-edge\n"
		    "usage: adit [--instance NAME | --edge] [--json] VERB\n\n",
		    out);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		(void)fprintf(out, "  %-24s  %s\n", verbs[i].name, verbs[i].help);
	(void)fputc('\n', out);
	opt_print_help(rows, out);
	(void)fputs("\nexit codes: 0 done, 1 refused or failed, 3 daemon not reachable, 64 usage\n",
		    out);
	return CLI_EXIT_DONE;
}

static int print_verb_help(const struct cli_verb *verb)
{
	(void)printf("adit %s: %s\nusage: adit [OPTION…] %s%s%s\nexample: %s\n\n", verb->name,
		     verb->help, verb->name, verb->args ? " " : "", verb->args ? verb->args : "",
		     verb->example);
	opt_print_help(verb->rows ? verb->rows : rows, stdout);
	return CLI_EXIT_DONE;
}

/* How many of the words make up the name: 1 or 2, or 0 when they don't begin with it. */
static unsigned int match(const char *name, const struct opt_args *words)
{
	size_t len = strcspn(name, " ");
	if (strncmp(words->items[0], name, len) != 0 || words->items[0][len] != '\0')
		return 0;
	if (name[len] == '\0')
		return 1;
	return words->count > 1 && strcmp(words->items[1], name + len + 1) == 0 ? 2 : 0;
}

static const struct cli_verb *find_verb(const struct opt_args *words, unsigned int *ret_count)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		*ret_count = match(verbs[i].name, words);
		if (*ret_count > 0)
			return &verbs[i];
	}
	return NULL;
}

static int fail_usage(const char *arg, const char *reason)
{
	(void)fprintf(stderr, "adit: %s: %s; see adit --help\n", arg, reason);
	return CLI_EXIT_USAGE;
}

static int run_verb(struct cli *c, const struct cli_verb *verb, const struct opt_args *args)
{
	if (c->wants_help)
		return print_verb_help(verb);
	c->is_edge = c->is_edge || verb->is_edges;
	if (c->is_edge && c->instance)
		return fail_usage("--instance", "an edge has none");
	struct paths_params where = { .program = cli_program(c),
				      .instance = c->instance,
				      .run_dir = c->run_dir };
	if (paths_find(&where, &c->paths) < 0)
		return fail_usage("--instance or --run-dir", "not usable");
	return verb->run(c, args);
}

static int run(struct cli *c, int argc, char **argv)
{
	struct opt_parser parser = { .rows = rows, .mode = OPT_MODE_VERB, .into = c };
	if (opt_parse(&parser, argc - 1, argv + 1) < 0)
		return fail_usage(parser.error.arg, parser.error.reason);
	if (c->wants_version) {
		(void)printf("adit %s\n", adit_version);
		return CLI_EXIT_DONE;
	}
	if (parser.args.count == 0 && c->wants_help)
		return print_help(stdout);
	if (parser.args.count == 0) {
		(void)print_help(stderr);
		return CLI_EXIT_USAGE;
	}
	unsigned int words = 0;
	const struct cli_verb *verb = find_verb(&parser.args, &words);
	if (!verb)
		return fail_usage(parser.args.items[0], "no such verb");

	struct opt_parser rest = { .rows = verb->rows ? verb->rows : rows,
				   .mode = OPT_MODE_MIXED,
				   .into = c };
	if (opt_parse(&rest, (int)(parser.args.count - words), parser.args.items + words) < 0)
		return fail_usage(rest.error.arg, rest.error.reason);
	return run_verb(c, verb, &rest.args);
}

int main(int argc, char **argv)
{
	struct cli c = { .retry_after_sec = CLI_NOT_GIVEN };
	int code = run(&c, argc, argv);
	/* A full disk or a closed pipe behind us is a failure too. */
	if (fflush(stdout) != 0 || ferror(stdout))
		return code ? code : CLI_EXIT_FAILED;
	return code;
}
