/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds a snapshot: file, environment and command line by precedence, every value checked through
 * the schema, then what several values must agree on. All errors are reported, not the first.
 */
#ifndef DAEMON_CONF_LOAD_H
#define DAEMON_CONF_LOAD_H

#include "daemon/conf/conf.h"
#include "daemon/conf/edge_conf.h"
#include "daemon/conf/report.h"

/* Limits of a configuration file (adit.md §13). */
constexpr size_t CONF_FILE_MAX = 16777216;
constexpr size_t CONF_RULES_MAX = 100000;

/* Where values come from. All borrowed for the call. */
struct conf_source {
	const char *path;           /* file; NULL: none (everything from the rest) */
	bool path_is_optional;      /* a missing file is as if it were empty */
	const char *const *environ; /* "NAME=VALUE", NULL at the end; NULL: none */
	const char *const *set;     /* "section.key=value" or "section.name.key=value" */
	size_t set_count;
	struct span token;      /* join token that the program has taken; empty: none */
	bool token_is_variable; /* out of TUNNEL_TOKEN: not of the command line, which wins */
	/*
	 * --check: a file that the configuration names and that doesn't exist here is a warning, so
	 * that a configuration can be checked on another machine. Modes and contents are checked as
	 * always.
	 */
	bool check;
};

/*
 * Loads the configuration of aditd. Warnings and errors are added to report.
 *
 * Returns 0 with a snapshot of one reference; -EINVAL when report->errors grew (exit code 78);
 * -ENOMEM. Main thread; reads files, doesn't write.
 */
[[nodiscard]] int conf_load(const struct conf_source *src, struct conf_report *report,
			    struct conf **ret);

/* The same for adit-edge. */
[[nodiscard]] int edge_conf_load(const struct conf_source *src, struct conf_report *report,
				 struct edge_conf **ret);

/*
 * After a load: a file that might have been missing and is there must be there from now on, or a
 * reload while it is being replaced would find no rules and be content.
 */
void conf_source_settle(struct conf_source *src);

/*
 * Sets what inih keeps in global variables. Called once by main() before the first thread and
 * before any other function of conf/.
 */
void conf_global_init(void);

#endif
