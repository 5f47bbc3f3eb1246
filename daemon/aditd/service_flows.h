/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.adit.Daemon's Flows and Drops: UDP flows one by one, and why datagrams went no further.
 * Private to service.c.
 */
#ifndef DAEMON_ADITD_SERVICE_FLOWS_H
#define DAEMON_ADITD_SERVICE_FLOWS_H

#include "daemon/admin/varlink_priv.h"

int service_on_flows(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
		     void *user);
int service_on_drops(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
		     void *user);

#endif
