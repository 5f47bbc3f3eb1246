/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `adit-edge init`: the birth of an edge and of its declared tunnels (spec §3).
 */
#ifndef DAEMON_EDGE_INIT_H
#define DAEMON_EDGE_INIT_H

#include <stddef.h>

/* Whom adit-edge becomes when it was started as root and there is such a user. */
#define EDGE_SERVICE_USER "adit-edge"

enum { INIT_HOSTNAMES_MAX = 256 };

struct init_params {
	const char *config; /* path of edge.conf */
	const char *state_dir;
	const char *state_option; /* --state-dir as it was given; NULL: state_dir is the default */
	const char *domain;
	const char *advertise; /* host:port */
	const char *tunnel;    /* NULL: none */
	const char *hostnames[INIT_HOSTNAMES_MAX];
	size_t hostname_count;
	bool print_token;
};

/*
 * Writes what is missing, never over existing files; adds the tunnel. Prints what was done to
 * standard output and errors to standard error. Returns an exit code: 0, 1 (I/O), 64 (usage), 78
 * (configuration).
 */
int init_run(const struct init_params *params);

#endif
