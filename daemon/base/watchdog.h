/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells the service manager that the process is alive (sd_watchdog_enabled(3)), and only while it
 * is: the control thread and every worker.
 */
#ifndef DAEMON_BASE_WATCHDOG_H
#define DAEMON_BASE_WATCHDOG_H

#include "daemon/base/worker.h"

struct mainloop;
struct watchdog;

struct watchdog_params {
	struct mainloop *loop;
	struct worker_set *workers;
	const struct log *log;
};

/*
 * Begins, when the threads run, if WATCHDOG_USEC asks this process for it: each third of that time
 * a ping visits every worker, and WATCHDOG=1 is sent when it comes home. *ret is NULL where nobody
 * asks. Returns 0, -ENOMEM, or -EINVAL for a WATCHDOG_USEC that is no time.
 */
[[nodiscard]] int watchdog_start(const struct watchdog_params *params, struct watchdog **ret);
/* No more pings; before the loop and the workers go. Accepts NULL. */
void watchdog_stop(struct watchdog *wd);

#endif
