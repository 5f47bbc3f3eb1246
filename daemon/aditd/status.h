/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What aditd says of itself: the control interface, the metrics page, readiness. struct app is what
 * app.c and status.c share.
 */
#ifndef DAEMON_ADITD_STATUS_H
#define DAEMON_ADITD_STATUS_H

#include <stdatomic.h>

#include "daemon/aditd/app.h"
#include "daemon/aditd/supervisor.h"
#include "daemon/aditd/wiring.h"
#include "daemon/base/mainloop.h"

struct discovery;
struct netwatch;
struct page;
struct reload;
struct status;
struct varlink;
struct watchdog;

struct app {
	struct app_params params; /* its conf is that of the start */
	struct config *config;    /* in force */
	struct log *log;
	struct metric_registry *metrics;
	struct metric_shard *shard; /* the control thread's */
	struct mainloop *loop;
	struct worker_set *workers;
	struct netwatch *netwatch;
	struct watchdog *watchdog; /* NULL: nobody asks for it */
	unsigned int worker_count;
	struct wiring_shared shared;
	struct wiring *wirings;     /* one per worker */
	struct tunnel_env *tunnels; /* one per worker */
	struct supervisor *supervisor;
	struct discovery *discovery;
	struct reload *reload;
	struct page *page;
	struct status *status;
	struct varlink *varlink;
	struct mainloop_timer ready_timer;
	nsec_t started; /* CLOCK_REALTIME */
	_Atomic unsigned int up;
	bool is_ready;
	bool is_stopping;
};

/* READY=1 with the line for systemctl status. */
void app_announce_ready(struct app *a);

/* Exit code; 0: the control interface and the metrics page are there. */
int status_start(struct app *a);
void status_stop(struct app *a);
/* What only this worker knows goes into its metrics; on its thread. */
void status_refresh(struct worker *worker, struct app *a);

#endif
