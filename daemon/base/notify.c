/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service manager is told. A message that doesn't get there is no reason to stop serving,
 * so nothing here fails.
 */
#include "daemon/base/notify.h"

#include <inttypes.h>
#include <stdio.h>

#include <systemd/sd-daemon.h>

enum {
	STATUS_LEN = 256,
};

static void notify_with(const char *states, const char *status)
{
	char line[STATUS_LEN];
	(void)snprintf(line, sizeof(line), "%s", status);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	(void)sd_notifyf(0, "%sSTATUS=%s", states, line);
}

void notify_ready(const char *status)
{
	notify_with("READY=1\n", status);
}

void notify_status(const char *status)
{
	notify_with("", status);
}

void notify_reloading(void)
{
	(void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
			 nsec_clock(CLOCK_MONOTONIC) / NSEC_PER_USEC);
}

void notify_watchdog(void)
{
	(void)sd_notify(0, "WATCHDOG=1");
}

void notify_stopping(const char *status)
{
	notify_with("STOPPING=1\n", status);
}

void notify_extend_timeout(nsec_t more)
{
	(void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%" PRIu64, more / NSEC_PER_USEC);
}
