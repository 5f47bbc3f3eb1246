/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service manager is told (sd_notify(3), Type=notify-reload). Without one nothing happens.
 */
#ifndef DAEMON_BASE_NOTIFY_H
#define DAEMON_BASE_NOTIFY_H

#include "util/time.h"

/* status: one line for people, shown by systemctl status; control characters become blanks. */
void notify_ready(const char *status);
void notify_status(const char *status);
/* A reload has begun; notify_ready() ends it. */
void notify_reloading(void);
/* The process is alive (base/watchdog). */
void notify_watchdog(void);
void notify_stopping(const char *status);
/* Asks for that much more time to start or stop, from now. */
void notify_extend_timeout(nsec_t more);

#endif
