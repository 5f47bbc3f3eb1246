/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket. The run directory decides who may talk to it: with the setgid bit the socket
 * inherits the operators' group and is 0660, else it is 0600.
 */
#include "daemon/admin/varlink_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-varlink.h>
#include <unistd.h>

#include "daemon/base/version.h"
#include "util/cleanup.h"
#include "util/macro.h"

struct varlink {
	struct varlink_params p;
	sd_varlink_server *server;
	char *socket;
};

int varlink_no_parameters(sd_varlink *link, sd_json_variant *parameters)
{
	static const sd_json_dispatch_field none[] = { {} }; /* NULL instead is refused */
	return sd_varlink_dispatch(link, parameters, none, NULL);
}

bool varlink_may_change(sd_varlink *link)
{
	uid_t uid = (uid_t)-1;
	return sd_varlink_get_peer_uid(link, &uid) >= 0 && (uid == 0 || uid == geteuid());
}

int varlink_deny(sd_varlink *link)
{
	return sd_varlink_error(link, SD_VARLINK_ERROR_PERMISSION_DENIED, NULL);
}

int varlink_on_drain(sd_varlink *link, sd_json_variant *parameters,
		     sd_varlink_method_flags_t flags UNUSED, void *user UNUSED)
{
	if (!varlink_may_change(link))
		return varlink_deny(link);
	int r = varlink_no_parameters(link, parameters);
	if (r != 0)
		return r;
	(void)kill(getpid(), SIGTERM); /* the loop sees it after this answer */
	return sd_varlink_reply(link, NULL);
}

static mode_t socket_mode(const char *socket)
{
	char folder[1024];
	struct stat st;
	size_t len = strlen(socket);
	if (len >= sizeof(folder))
		return 0600;
	memcpy(folder, socket, len + 1);
	char *slash = strrchr(folder, '/');
	if (!slash)
		return 0600;
	*slash = '\0';
	return stat(folder, &st) == 0 && (st.st_mode & S_ISGID) ? 0660 : 0600;
}

static int start(struct varlink *v)
{
	int r = sd_varlink_server_new(&v->server, SD_VARLINK_SERVER_ACCOUNT_UID |
							  SD_VARLINK_SERVER_INHERIT_USERDATA);
	if (r < 0)
		return r;
	(void)sd_varlink_server_set_userdata(v->server, v->p.user);
	r = sd_varlink_server_set_info(v->server, "adit", v->p.product, adit_version, NULL);
	if (r >= 0)
		r = sd_varlink_server_add_interface(v->server, v->p.interface);
	for (unsigned int i = 0; r >= 0 && i < v->p.method_count; i++)
		r = sd_varlink_server_bind_method(v->server, v->p.methods[i].name,
						  v->p.methods[i].call);
	if (r < 0)
		return r;
	(void)unlink(v->socket);
	r = sd_varlink_server_listen_address(v->server, v->socket, socket_mode(v->socket));
	return r < 0 ? r : sd_varlink_server_attach_event(v->server, v->p.event, 0);
}

int varlink_new(const struct varlink_params *params, struct varlink **ret)
{
	struct varlink *v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->p = *params;
	v->socket = strdup(params->socket);
	int r = v->socket ? start(v) : -ENOMEM;
	if (r < 0) {
		varlink_free(v);
		return r;
	}
	*ret = v;
	return 0;
}

void varlink_free(struct varlink *v)
{
	if (!v)
		return;
	if (v->server) {
		(void)sd_varlink_server_shutdown(v->server);
		(void)sd_varlink_server_unref(v->server);
		if (v->socket)
			(void)unlink(v->socket);
	}
	free(v->socket);
	free(v);
}
