/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adit-edge: command line and configuration; then `init` or the control thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/exit.h"
#include "daemon/base/opt.h"
#include "daemon/base/version.h"
#include "daemon/conf/dump.h"
#include "daemon/conf/load.h"
#include "daemon/edge/app.h"
#include "daemon/edge/init.h"
#include "daemon/edge/net_host.h"
#include "util/cleanup.h"

struct options {
	char *config;
	char *run_dir;
	char *state_dir;
	char *user;
	struct opt_args set;
	bool check;
	bool clean_up;
	bool dump_config;
	bool version;
	bool help;
	/* init */
	char *domain;
	char *advertise;
	char *tunnel;
	struct opt_args hostname;
	bool print_token;
};

/* clang-format off */
#define AT(field) .offset = offsetof(struct options, field)
static const struct opt_row rows[] = {
	{ .name = "config", .letter = 'c', .kind = OPT_KIND_STR, AT(config), .arg = "FILE", .help = "configuration file" },
	{ .name = "set", .kind = OPT_KIND_LIST, AT(set), .arg = "SECTION.KEY=VALUE", .help = "sets any key of the configuration" },
	{ .name = "run-dir", .kind = OPT_KIND_STR, AT(run_dir), .arg = "DIR", .help = "where the control socket goes" },
	{ .name = "state-dir", .kind = OPT_KIND_STR, AT(state_dir), .arg = "DIR", .help = "where keys, certificates and tokens are" },
	{ .name = "user", .kind = OPT_KIND_STR, AT(user), .arg = "NAME", .help = "user to become when started as root (adit-edge)" },
	{ .name = "check", .kind = OPT_KIND_FLAG, AT(check), .help = "checks the configuration and exits" },
	{ .name = "dump-config", .kind = OPT_KIND_FLAG, AT(dump_config), .help = "prints the effective configuration and exits" },
	{ .name = "clean-up", .kind = OPT_KIND_FLAG, AT(clean_up), .help = "undoes what an edge that has ended left in the kernel's network, and exits" },
	{ .name = "version", .letter = 'V', .kind = OPT_KIND_FLAG, AT(version), .help = "prints the version" },
	{ .name = "help", .letter = 'h', .kind = OPT_KIND_FLAG, AT(help), .help = "prints this" },
	{ .name = "domain", .kind = OPT_KIND_STR, AT(domain), .arg = "NAME", .help = "init: domain that this edge serves" },
	{ .name = "advertise", .kind = OPT_KIND_STR, AT(advertise), .arg = "HOST:PORT", .help = "init: where daemons reach it" },
	{ .name = "tunnel", .kind = OPT_KIND_STR, AT(tunnel), .arg = "NAME", .help = "init: also makes this tunnel" },
	{ .name = "hostname", .kind = OPT_KIND_LIST, AT(hostname), .arg = "HOST", .help = "init: name that the tunnel serves; may be repeated" },
	{ .name = "print-token", .kind = OPT_KIND_FLAG, AT(print_token), .help = "init: prints the join token" },
	{},
};
/* clang-format on */

static int print_help(void)
{
	(void)fputs(
		"adit-edge: the public end of tunnels\n"
		"usage: adit-edge [--config FILE] [OPTION…]\n"
		"       adit-edge init --domain NAME --advertise HOST:PORT [--tunnel NAME --hostname HOST…]\n\n",
		stdout);
	opt_print_help(rows, stdout);
	return EXIT_OK;
}

static int run_init(const struct options *o, const struct paths *paths)
{
	struct init_params p = {
		.config = o->config ? o->config : paths->config,
		.state_dir = paths->state,
		.state_option = o->state_dir,
		.domain = o->domain,
		.advertise = o->advertise,
		.tunnel = o->tunnel,
		.hostname_count = MIN(o->hostname.count, (unsigned int)INIT_HOSTNAMES_MAX),
		.print_token = o->print_token,
	};
	for (size_t i = 0; i < p.hostname_count; i++)
		p.hostnames[i] = o->hostname.items[i];
	return init_run(&p);
}

/* Loads, and leaves in src what a reload needs. */
static int load(const struct options *o, const struct paths *paths, struct conf_source *src,
		struct edge_conf **ret)
{
	static const char *sets[OPT_ARGS_MAX]; /* as long as the process */
	const char *path = o->config ? o->config : paths->config;
	for (unsigned int i = 0; i < o->set.count; i++)
		sets[i] = o->set.items[i];
	if (!o->config && access(path, F_OK) < 0 && errno == ENOENT) {
		(void)fprintf(
			stderr,
			"adit-edge: no configuration at %s\n"
			"to make one: adit-edge init --domain NAME --advertise HOST:PORT --tunnel NAME --hostname HOST\n",
			path);
		return EXIT_CONFIG;
	}
	struct conf_report report = {};
	*src = (struct conf_source){
		.path = path,
		.environ = (const char *const *)environ,
		.set = sets,
		.set_count = o->set.count,
		.check = o->check,
	};
	int r = edge_conf_load(src, &report, ret);
	conf_report_print(&report, "adit-edge", stderr);
	conf_report_done(&report);
	return r < 0 ? EXIT_CONFIG : EXIT_OK;
}

static int run_edge(const struct options *o, const struct paths *paths)
{
	_cleanup_(edge_conf_unrefp) struct edge_conf *conf = NULL;
	struct conf_source src;
	int code = load(o, paths, &src, &conf);
	if (code)
		return code;
	if (o->check) {
		(void)printf("configuration is fine\n");
		return EXIT_OK;
	}
	if (o->dump_config)
		return conf_dump(&conf->common, stdout) < 0 ? EXIT_FAILED : EXIT_OK;
	struct edge_params params = {
		.conf = TAKE_PTR(conf), .source = src, .paths = *paths, .user = o->user
	};
	return edge_run(&params);
}

int main(int argc, char **argv)
{
	static struct options o; /* holds pointers into argv for the whole run */
	static struct opt_parser parser = { .rows = rows, .mode = OPT_MODE_MIXED, .into = &o };
	conf_global_init();
	if (opt_parse(&parser, argc - 1, argv + 1) < 0) {
		(void)fprintf(stderr, "adit-edge: %s: %s\n", parser.error.arg, parser.error.reason);
		return EXIT_USAGE;
	}
	bool is_init = parser.args.count == 1 && strcmp(parser.args.items[0], "init") == 0;
	if (parser.args.count > (is_init ? 1U : 0U)) {
		(void)fprintf(stderr, "adit-edge: '%s' is not an option; see adit-edge --help\n",
			      parser.args.items[0]);
		return EXIT_USAGE;
	}
	if (o.help)
		return print_help();
	if (o.version) {
		(void)printf("adit-edge %s\n", adit_version);
		return EXIT_OK;
	}
	struct paths paths;
	struct paths_params where = { .program = "adit-edge",
				      .run_dir = o.run_dir,
				      .state_dir = o.state_dir };
	if (paths_find(&where, &paths) < 0) {
		(void)fprintf(stderr, "adit-edge: --run-dir or --state-dir: too long\n");
		return EXIT_USAGE;
	}
	if (o.clean_up)
		return net_host_clean_up(&paths);
	return is_init ? run_init(&o, &paths) : run_edge(&o, &paths);
}
