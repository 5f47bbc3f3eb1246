/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor of the network and the watch for sleeps on the control loop. Neither is needed to
 * serve: where a sandbox forbids netlink, changes are noticed by silence, later.
 */
#include "daemon/aditd/netwatch.h"

#include <stdlib.h>
#include <sys/epoll.h>

#include "daemon/base/log.h"
#include "daemon/base/mainloop.h"
#include "daemon/base/metric.h"
#include "daemon/base/resume.h"
#include "netlink/monitor.h"
#include "util/macro.h"

struct netwatch {
	struct netwatch_params p;
	struct monitor *monitor; /* NULL: goes without */
	struct mainloop_io io;
	struct mainloop_timer pace;
	struct resume *resume;
	metric_id changes;
};

DEFINE_CLEANUP(struct netwatch *, netwatch_stop)

static void tell(struct netwatch *w)
{
	metric_add(w->p.metrics, w->changes, 1);
	w->p.on_change(w->p.user);
}

/* Tells what is due; what comes too soon after the last one waits. */
static void settle(struct netwatch *w)
{
	nsec_t now = nsec_clock(CLOCK_MONOTONIC);
	if (monitor_take(w->monitor, now)) {
		log_info(w->p.log, "network", "the network has changed");
		tell(w);
	}
	nsec_t next = monitor_deadline(w->monitor);
	if (next != NSEC_NEVER)
		(void)mainloop_timer_start(w->p.loop, &w->pace, next);
}

static void on_pace(struct mainloop_timer *timer)
{
	settle(CONTAINER_OF(timer, struct netwatch, pace));
}

static void on_ready(struct mainloop_io *io, uint32_t revents UNUSED)
{
	struct netwatch *w = CONTAINER_OF(io, struct netwatch, io);
	int r = monitor_read(w->monitor);
	if (r < 0) {
		mainloop_io_stop(&w->io);
		log_warning(w->p.log, "network", "cannot watch the network any more", KV_ERR(r));
	}
	resume_check(w->resume); /* interfaces come back after a sleep */
	settle(w);
}

static void on_resume(nsec_t slept, void *user)
{
	struct netwatch *w = user;
	log_notice(w->p.log, "network", "the machine has slept",
		   KV_U64("seconds", slept / NSEC_PER_SEC));
	tell(w);
}

static int start_metrics(struct netwatch *w)
{
	static const struct metric_family family = {
		.name = "adit_network_changes_total",
		.help = "Times that the way to the edge may have changed",
		.type = METRIC_TYPE_COUNTER,
	};
	int number = metric_define(w->p.registry, &family);
	if (number < 0)
		return number;
	w->changes = metric_series(w->p.registry, number, NULL);
	return 0;
}

static int start_monitor(struct netwatch *w)
{
	int r = (w->p.open_monitor ? w->p.open_monitor : monitor_open)(&w->monitor);
	if (r < 0)
		return r;
	w->io.on_ready = on_ready;
	w->pace.on_expire = on_pace;
	return mainloop_io_start(w->p.loop, &w->io, monitor_fd(w->monitor), EPOLLIN);
}

int netwatch_start(const struct netwatch_params *params, struct netwatch **ret)
{
	_cleanup_(netwatch_stopp) struct netwatch *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->p = *params;
	int r = start_metrics(w);
	if (r < 0)
		return r;
	struct resume_params resume = { .loop = w->p.loop,
					.clock = w->p.clock,
					.open_jumps = w->p.open_jumps,
					.on_resume = on_resume,
					.user = w };
	r = resume_start(&resume, &w->resume);
	if (r < 0)
		log_warning(w->p.log, "network", "cannot notice a sleep", KV_ERR(r));
	r = start_monitor(w);
	if (r < 0)
		log_warning(w->p.log, "network", "cannot watch the network", KV_ERR(r));
	*ret = TAKE_PTR(w);
	return 0;
}

void netwatch_stop(struct netwatch *w)
{
	if (!w)
		return;
	mainloop_io_stop(&w->io);
	mainloop_timer_stop(&w->pace);
	monitor_close(w->monitor);
	resume_stop(w->resume);
	free(w);
}
