/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a program keeps its files (spec §1): configuration, state, and what lives as long as the
 * process.
 */
#ifndef DAEMON_BASE_PATHS_H
#define DAEMON_BASE_PATHS_H

enum { PATHS_LEN = 1024 };

struct paths {
	char config[PATHS_LEN]; /* default configuration file */
	char state[PATHS_LEN];
	char run[PATHS_LEN];
	char control[PATHS_LEN]; /* socket in run */
};

struct paths_params {
	const char *program;   /* "aditd", "adit-edge" */
	const char *instance;  /* aditd: NULL is the default one; adit-edge: NULL */
	const char *run_dir;   /* --run-dir or NULL */
	const char *state_dir; /* --state-dir or NULL */
};

/*
 * $RUNTIME_DIRECTORY and $STATE_DIRECTORY win over the options, which win over the table: as root
 * /etc/adit, /var/lib, /run; else the XDG folders. Returns 0, -EINVAL for an instance name that
 * isn't one, -ENAMETOOLONG.
 */
[[nodiscard]] int paths_find(const struct paths_params *params, struct paths *ret);

/*
 * Makes a folder with its parents. The last one gets mode (and must belong to us when it is there:
 * -EPERM). /tmp/adit-UID has to be ours and 0700. Returns 0 or a negative errno.
 */
[[nodiscard]] int paths_make(const char *folder, unsigned int mode);

#endif
