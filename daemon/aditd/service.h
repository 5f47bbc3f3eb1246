/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.adit.Daemon: what the control interface answers (spec §11).
 */
#ifndef DAEMON_ADITD_SERVICE_H
#define DAEMON_ADITD_SERVICE_H

struct app;

/* 0 or a negative errno. */
[[nodiscard]] int service_start(struct app *a);
void service_stop(struct app *a);

#endif
