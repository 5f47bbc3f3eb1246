/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aditd: command line, secrets out of sight, configuration; then the control thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/aditd/app.h"
#include "daemon/base/argv.h"
#include "daemon/base/exit.h"
#include "daemon/base/opt.h"
#include "daemon/base/secret.h"
#include "daemon/base/version.h"
#include "daemon/conf/dump.h"
#include "daemon/conf/load.h"
#include "util/cleanup.h"

enum {
	SETS_MAX = OPT_ARGS_MAX + 4,
	SET_LEN = 4096,
};

struct options {
	char *config;
	char *instance;
	char *token;
	char *token_file;
	char *credentials_file;
	char *url;
	char *run_dir;
	char *state_dir;
	struct opt_args set;
	bool check;
	bool dump_config;
	bool dump_docs;
	bool version;
	bool help;
};

/* clang-format off */
#define AT(field) .offset = offsetof(struct options, field)
static const struct opt_row rows[] = {
	{ .name = "config", .letter = 'c', .kind = OPT_KIND_STR, AT(config), .arg = "FILE", .help = "configuration file" },
	{ .name = "instance", .letter = 'i', .kind = OPT_KIND_STR, AT(instance), .arg = "NAME", .help = "names the configuration file, state and run directories" },
	{ .name = "token-file", .kind = OPT_KIND_STR, AT(token_file), .arg = "FILE", .help = "file with the join token" },
	{ .name = "token", .kind = OPT_KIND_STR, AT(token), .arg = "TOKEN", .help = "join token (a file is better: this one was visible for a moment)" },
	{ .name = "credentials-file", .kind = OPT_KIND_STR, AT(credentials_file), .arg = "FILE", .help = "credentials file (JSON)" },
	{ .name = "url", .kind = OPT_KIND_STR, AT(url), .arg = "URL", .help = "the one service to publish, instead of rules" },
	{ .name = "set", .kind = OPT_KIND_LIST, AT(set), .arg = "SECTION.KEY=VALUE", .help = "sets any key of the configuration" },
	{ .name = "run-dir", .kind = OPT_KIND_STR, AT(run_dir), .arg = "DIR", .help = "where the control socket goes" },
	{ .name = "state-dir", .kind = OPT_KIND_STR, AT(state_dir), .arg = "DIR", .help = "where state is kept" },
	{ .name = "check", .kind = OPT_KIND_FLAG, AT(check), .help = "checks the configuration and exits" },
	{ .name = "dump-config", .kind = OPT_KIND_FLAG, AT(dump_config), .help = "prints the effective configuration and exits" },
	{ .name = "dump-docs", .kind = OPT_KIND_FLAG, AT(dump_docs) },
	{ .name = "version", .letter = 'V', .kind = OPT_KIND_FLAG, AT(version), .help = "prints the version" },
	{ .name = "help", .letter = 'h', .kind = OPT_KIND_FLAG, AT(help), .help = "prints this" },
	{},
};
/* clang-format on */

static int print_help(FILE *out)
{
	(void)fputs("aditd: puts a private service on the internet without opening a port\n"
		    "usage: aditd [--config FILE | --token-file FILE --url URL] [OPTION…]\n\n",
		    out);
	opt_print_help(rows, out);
	return EXIT_OK;
}

/* A join token, and where it was. */
struct token {
	struct secret *secret;
	bool is_variable; /* TUNNEL_TOKEN, not the command line */
};

/* Takes it out of argv and the environment, before anybody else can look. */
static int take_token(struct options *o, struct token *ret)
{
	struct secret *variable = NULL;
	int r = o->token ? argv_take_secret(o->token, &ret->secret) : 0;
	int e = argv_take_env("TUNNEL_TOKEN", &variable);
	if (e == 0 && !o->token) {
		ret->secret = TAKE_PTR(variable);
		ret->is_variable = true;
	}
	secret_free(variable);
	return r < 0 ? r : (e == -ENOENT ? 0 : e);
}

/*
 * --token-file and its like are --set in other words; a path of the command line may be relative,
 * one of the configuration may not.
 */
static int collect_sets(const struct options *o, const char *sets[SETS_MAX], char room[3][SET_LEN],
			size_t *ret_count)
{
	const struct {
		const char *key, *value;
		bool is_path;
	} named[] = {
		{ "tunnel.token-file", o->token_file, true },
		{ "tunnel.credentials-file", o->credentials_file, true },
		{ "tunnel.url", o->url, false },
	};
	size_t n = 0;
	char cwd[PATHS_LEN];
	for (unsigned int i = 0; i < ARRAY_SIZE(named); i++) {
		if (!named[i].value)
			continue;
		bool is_relative = named[i].is_path && named[i].value[0] != '/';
		if (is_relative && !getcwd(cwd, sizeof(cwd)))
			return -errno;
		int len = snprintf(room[i], SET_LEN, "%s=%s%s%s", named[i].key,
				   is_relative ? cwd : "", is_relative ? "/" : "", named[i].value);
		if (len < 0 || len >= SET_LEN)
			return -ENAMETOOLONG;
		sets[n++] = room[i];
	}
	for (unsigned int i = 0; i < o->set.count; i++)
		sets[n++] = o->set.items[i];
	*ret_count = n;
	return 0;
}

/* The environment alone may be a configuration: a token or credentials, of a person or systemd. */
static bool has_environment(void)
{
	static const char *const names[] = { "TUNNEL_TOKEN_FILE", "TUNNEL_CRED_FILE",
					     "CREDENTIALS_DIRECTORY" };
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (getenv(names[i])) /* NOLINT(concurrency-mt-unsafe): before any thread */
			return true;
	return false;
}

/*
 * Loads, and leaves in src what a reload needs: it is read again with the same command line and
 * environment. token lives as long as src.
 */
static int load(const struct options *o, const struct paths *paths, const struct token *token,
		struct conf_source *src, struct conf **ret)
{
	static const char *sets[SETS_MAX]; /* as long as the process, as is what they point to */
	static char room[3][SET_LEN];
	size_t count = 0;
	if (collect_sets(o, sets, room, &count) < 0) {
		(void)fprintf(stderr, "aditd: a path is too long\n");
		return EXIT_USAGE;
	}
	bool has_settings = token->secret || count > 0 || has_environment();
	const char *path = o->config ? o->config : paths->config;
	if (!o->config && !has_settings && access(path, F_OK) < 0 && errno == ENOENT) {
		(void)fprintf(
			stderr,
			"aditd: no configuration at %s\nusage: aditd --config FILE, or aditd --token-file FILE --url URL; aditd --help\n",
			path);
		return EXIT_CONFIG;
	}
	struct conf_report report = {};
	*src = (struct conf_source){
		.path = path,
		.path_is_optional = !o->config && has_settings,
		.environ = (const char *const *)environ,
		.set = sets,
		.set_count = count,
		.token = secret_span(token->secret),
		.token_is_variable = token->is_variable,
		.check = o->check,
	};
	int r = conf_load(src, &report, ret);
	conf_source_settle(src);
	conf_report_print(&report, "aditd", stderr);
	conf_report_done(&report);
	return r < 0 ? EXIT_CONFIG : EXIT_OK;
}

static int run(struct options *o, struct conf *conf_take, const struct conf_source *src,
	       const struct paths *paths)
{
	_cleanup_(conf_unrefp) struct conf *conf = conf_take;
	if (o->check) {
		(void)printf("configuration is fine\n");
		return EXIT_OK;
	}
	if (o->dump_config)
		return conf_dump(&conf->common, stdout) < 0 ? EXIT_FAILED : EXIT_OK;
	if (!conf->credential) {
		(void)fprintf(
			stderr,
			"aditd: no tunnel: set token-file or credentials-file in [tunnel], or pass --token-file FILE\n");
		return EXIT_CONFIG;
	}
	struct app_params params = {
		.conf = TAKE_PTR(conf),
		.source = *src,
		.paths = *paths,
		.instance = o->instance ? o->instance : "default",
	};
	return app_run(&params);
}

int main(int argc, char **argv)
{
	static struct options o; /* holds pointers into argv for the whole run */
	static struct opt_parser parser = { .rows = rows, .mode = OPT_MODE_MIXED, .into = &o };
	conf_global_init();
	if (opt_parse(&parser, argc - 1, argv + 1) < 0) {
		(void)fprintf(stderr, "aditd: %s: %s\n", parser.error.arg, parser.error.reason);
		return EXIT_USAGE;
	}
	if (parser.args.count > 0) {
		(void)fprintf(stderr, "aditd: '%s' is not an option; see aditd --help\n",
			      parser.args.items[0]);
		return EXIT_USAGE;
	}
	if (o.help)
		return print_help(stdout);
	if (o.version) {
		(void)printf("aditd %s\n", adit_version);
		return EXIT_OK;
	}
	if (o.dump_docs)
		return conf_dump_docs(stdout) < 0 ? EXIT_FAILED : EXIT_OK;

	struct token token = {};
	struct paths paths;
	struct paths_params where = { .program = "aditd",
				      .instance = o.instance,
				      .run_dir = o.run_dir,
				      .state_dir = o.state_dir };
	if (take_token(&o, &token) < 0 || paths_find(&where, &paths) < 0) {
		(void)fprintf(stderr, "aditd: --instance, --run-dir or --state-dir: not usable\n");
		return EXIT_USAGE;
	}
	struct conf_source src;
	struct conf *conf = NULL;
	int code = load(&o, &paths, &token, &src, &conf);
	if (code == EXIT_OK)
		code = run(&o, conf, &src, &paths);
	secret_free(token.secret);
	return code;
}
