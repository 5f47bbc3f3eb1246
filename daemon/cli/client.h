/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call to a daemon's control interface, with a deadline (spec §11).
 */
#ifndef DAEMON_CLI_CLIENT_H
#define DAEMON_CLI_CLIENT_H

struct cli;
struct sd_json_variant;

enum {
	CLIENT_WAIT_SEC = 5,    /* for what a daemon knows */
	CLIENT_RELOAD_SEC = 60, /* a hundred thousand rules take seconds */
};

/*
 * Calls a method without parameters on c->paths.control and waits for the answer, but not for ever.
 * What went wrong is printed to standard error.
 *
 * ret: the answer's parameters, owned by the caller (sd_json_variant_unref()).
 *
 * Returns an exit code: CLI_EXIT_DONE, CLI_EXIT_FAILED (the daemon refused, or we may not connect),
 * CLI_EXIT_ABSENT (nobody there, or no answer in time).
 */
[[nodiscard]] int client_call(const struct cli *c, const char *method, unsigned int wait_sec,
			      struct sd_json_variant **ret);

#endif
