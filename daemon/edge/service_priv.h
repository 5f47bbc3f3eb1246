/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods of io.adit.Edge that have a file of their own.
 */
#ifndef DAEMON_EDGE_SERVICE_PRIV_H
#define DAEMON_EDGE_SERVICE_PRIV_H

#include <systemd/sd-varlink.h>

/* A sd_varlink_method_t; user: the struct edge. */
int edge_service_on_refuse(sd_varlink *link, sd_json_variant *parameters,
			   sd_varlink_method_flags_t flags, void *user);

#endif
