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

static const struct cli_verb verbs[] = {
	{ "reload", "has the daemon read its configuration again; says what changed",
	  "adit --edge reload", verb_reload },
	{ "status", "what the daemon is doing, connection by connection",
	  "adit --instance blog status", verb_status },
	{ "version", "versions of this command and of the daemon", "adit --edge version",
	  verb_version },
};

/* clang-format off */
#define AT(field) .offset = offsetof(struct cli, field)
static const struct opt_row rows[] = {
	{ .name = "instance", .letter = 'i', .kind = OPT_KIND_STR, AT(instance), .arg = "NAME", .help = "the aditd of that name (without: the default one)" },
	{ .name = "edge", .letter = 'e', .kind = OPT_KIND_FLAG, AT(is_edge), .help = "the adit-edge of this machine instead" },
	{ .name = "run-dir", .kind = OPT_KIND_STR, AT(run_dir), .arg = "DIR", .help = "where the daemon was told to put its control socket" },
	{ .name = "json", .kind = OPT_KIND_FLAG, AT(is_json), .help = "prints JSON" },
	{ .name = "help", .letter = 'h', .kind = OPT_KIND_FLAG, AT(wants_help), .help = "prints this; behind a verb, about the verb" },
	{ .name = "version", .letter = 'V', .kind = OPT_KIND_FLAG, AT(wants_version), .help = "prints the version of this command" },
	{},
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
	(void)printf("adit %s: %s\nusage: adit [OPTION…] %s\nexample: %s\n\n", verb->name,
		     verb->help, verb->name, verb->example);
	opt_print_help(rows, stdout);
	return CLI_EXIT_DONE;
}

static const struct cli_verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
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
	const struct cli_verb *verb = find_verb(parser.args.items[0]);
	if (!verb)
		return fail_usage(parser.args.items[0], "no such verb");

	struct opt_parser rest = { .rows = rows, .mode = OPT_MODE_MIXED, .into = c };
	if (opt_parse(&rest, (int)parser.args.count - 1, parser.args.items + 1) < 0)
		return fail_usage(rest.error.arg, rest.error.reason);
	return run_verb(c, verb, &rest.args);
}

int main(int argc, char **argv)
{
	struct cli c = {};
	int code = run(&c, argc, argv);
	/* A full disk or a closed pipe behind us is a failure too. */
	if (fflush(stdout) != 0 || ferror(stdout))
		return code ? code : CLI_EXIT_FAILED;
	return code;
}
