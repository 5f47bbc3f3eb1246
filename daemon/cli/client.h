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

/* A method and what it is given. */
struct client_request {
	const char *method;
	struct sd_json_variant *parameters; /* borrowed; NULL: none */
	unsigned int wait_sec;
};

/*
 * Calls a method on c->paths.control and waits for the answer, but not for ever. What went wrong is
 * printed to standard error.
 *
 * ret: the answer's parameters, owned by the caller (sd_json_variant_unref()).
 *
 * Returns an exit code: CLI_EXIT_DONE, CLI_EXIT_FAILED (the daemon refused, or we may not connect),
 * CLI_EXIT_ABSENT (nobody there, or no answer in time).
 */
[[nodiscard]] int client_call(const struct cli *c, const struct client_request *request,
			      struct sd_json_variant **ret);

/*
 * The same of a method whose answers come one by one: they are made into one document {list: […]}
 * of what each has as member. error_none: what the daemon says when there are none.
 */
struct client_list {
	const char *member, *list, *error_none;
};
[[nodiscard]] int client_collect(const struct cli *c, const struct client_request *request,
				 const struct client_list *what, struct sd_json_variant **ret);

/* A whole verb: calls a method whose answer says nothing but that it is done; with --json prints
 * the answer. Returns an exit code as above. */
[[nodiscard]] int client_change(const struct cli *c, const char *method,
				struct sd_json_variant *parameters);

#endif
