/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: a Varlink server on the control thread (spec §11). Reading is for whom the
 * socket's mode admits, changing for uid 0 and our own.
 */
#ifndef DAEMON_ADMIN_VARLINK_PRIV_H
#define DAEMON_ADMIN_VARLINK_PRIV_H

#include <systemd/sd-varlink.h>

struct varlink;

struct varlink_method {
	const char *name; /* "io.adit.Daemon.Status" */
	/* Answers now, or keeps a reference of the link and answers later. userdata: params.user.
	 */
	sd_varlink_method_t call;
};

struct varlink_params {
	sd_event *event;
	const char *socket; /* path; what is there is replaced */
	const char *product;
	const sd_varlink_interface *interface;
	const struct varlink_method *methods; /* borrowed */
	unsigned int method_count;
	void *user;
};

[[nodiscard]] int varlink_new(const struct varlink_params *params, struct varlink **ret);
/* Closes connections and removes the socket. Accepts NULL. */
void varlink_free(struct varlink *v);

/*
 * For a method without parameters: 0 when there are none, else the error is answered and what is
 * returned must be handed on.
 */
[[nodiscard]] int varlink_no_parameters(sd_varlink *link, sd_json_variant *parameters);
/* May the caller change something: uid 0 or ours? */
bool varlink_may_change(sd_varlink *link);
/* Answers with PermissionDenied. */
int varlink_deny(sd_varlink *link);
/* The method Drain of every daemon: SIGTERM to ourselves, the same way as systemctl stop. */
int varlink_on_drain(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
		     void *user);

struct conf_names;
struct reload;

/*
 * The method Reload of every daemon; bad_config is the name of its error (static). Returns what
 * the method returns.
 */
int varlink_reload(sd_varlink *link, sd_json_variant *parameters, struct reload *reload,
		   const char *bad_config);
/* Names as an array of strings; the caller unreferences it. 0 or a negative errno. */
[[nodiscard]] int varlink_string_array(const struct conf_names *names, sd_json_variant **ret);

#endif
