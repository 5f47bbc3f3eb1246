/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operator command `adit`: what its verbs have in common (spec §10).
 */
#ifndef DAEMON_CLI_CLI_H
#define DAEMON_CLI_CLI_H

#include "daemon/base/opt.h"
#include "daemon/base/paths.h"

enum cli_exit {
	CLI_EXIT_DONE = 0,
	CLI_EXIT_FAILED = 1, /* refused or failed */
	CLI_EXIT_ABSENT = 3, /* the daemon can't be reached */
	CLI_EXIT_USAGE = 64,
};

/* What a verb works with. The options before the verb and behind it are the same. */
struct cli {
	char *instance; /* NULL: the default one */
	char *run_dir;  /* NULL: where the table of paths says */
	bool is_edge;
	bool is_json;
	bool wants_help;
	bool wants_version; /* before the verb only */
	bool wants_flows;   /* of `status` */
	/* of `edge refuse` */
	char *tunnel;             /* NULL: all */
	uint64_t count;           /* 0: until the next call */
	uint64_t retry_after_sec; /* CLI_NOT_GIVEN: what the kind has */
	struct paths paths;       /* of the daemon that is meant */
};

#define CLI_NOT_GIVEN UINT64_MAX

/* A row of the table of verbs. */
struct cli_verb {
	const char *name;           /* one word, or two */
	const char *help;           /* one line, for the list */
	const char *example;        /* shown by `adit VERB --help` */
	const char *args;           /* behind the name in its usage line, or NULL */
	const struct opt_row *rows; /* NULL: no options but those of all verbs */
	bool is_edges;              /* means the edge, also without --edge */
	/* args: what stands behind the verb and is no option. Returns an exit code. */
	int (*run)(struct cli *c, const struct opt_args *args);
};

int verb_edge_drain(struct cli *c, const struct opt_args *args);
int verb_edge_refuse(struct cli *c, const struct opt_args *args);
int verb_reconnect(struct cli *c, const struct opt_args *args);
int verb_reload(struct cli *c, const struct opt_args *args);
int verb_status(struct cli *c, const struct opt_args *args);
int verb_version(struct cli *c, const struct opt_args *args);

/* "aditd" or "adit-edge". */
const char *cli_program(const struct cli *c);

#endif
