/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread of aditd: everything that exists once, from the loaded configuration to the
 * last drained connection.
 */
#ifndef DAEMON_ADITD_APP_H
#define DAEMON_ADITD_APP_H

#include "daemon/base/paths.h"
#include "daemon/conf/load.h"

struct app_params {
	struct conf *conf;         /* a reference, taken */
	struct conf_source source; /* that it was loaded from; lives as long as the process */
	struct paths paths;
	const char *instance; /* "default" without one */
};

/* Runs until a signal ends it. Returns an exit code: 0 drained, 1 failed, 78 configuration. */
int app_run(const struct app_params *params);

#endif
