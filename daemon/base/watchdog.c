/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watchdog by mailbox: one ping at a time travels through all workers. A worker that is stuck, or a
 * control thread that is, keeps it, and the service manager hears nothing until it is freed. An
 * idle worker answers by waking up.
 */
#include "daemon/base/watchdog.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <systemd/sd-daemon.h>

#include "daemon/base/gather.h"
#include "daemon/base/mainloop.h"
#include "daemon/base/notify.h"
#include "util/macro.h"

enum { PINGS_PER_PERIOD = 3 };

/* What is asked for is cut to this: pings cost little, and no sum of times overflows. */
#define PERIOD_MIN (3 * NSEC_PER_MSEC)
#define PERIOD_MAX (UINT64_C(24) * 3600 * NSEC_PER_SEC)

struct watchdog {
	struct watchdog_params p;
	nsec_t period;
	struct mainloop_timer timer;
	nsec_t sent;                   /* the ping that is out */
	_Atomic unsigned int answered; /* workers that it has visited */
	bool is_out;
	bool is_told; /* that a worker keeps it */
	bool is_stopped;
};

static void visit(struct worker *worker, void *arg)
{
	struct watchdog *wd = arg;
	atomic_store_explicit(&wd->answered, worker->index + 1, memory_order_relaxed);
}

static void on_home(void *arg)
{
	struct watchdog *wd = arg;
	wd->is_out = false;
	if (wd->is_stopped)
		free(wd);
	else
		notify_watchdog();
}

static void on_lost(void *arg)
{
	free(arg); /* workers have ended, and the watchdog was stopped before them */
}

static const struct gather_ops ping = {
	.visit = visit,
	.on_done = on_home,
	.on_cancel = on_lost,
};

static void send_ping(struct watchdog *wd, nsec_t now)
{
	atomic_store_explicit(&wd->answered, 0, memory_order_relaxed);
	wd->sent = now;
	wd->is_told = false;
	/* Without memory the next one tries again. */
	wd->is_out = gather_start(wd->p.workers, mainloop_mailbox(wd->p.loop), &ping, wd) == 0;
}

static void look_after_ping(struct watchdog *wd, nsec_t now)
{
	if (wd->is_told || now - wd->sent < wd->period / 2)
		return;
	wd->is_told = true;
	log_error(wd->p.log, "watchdog", "a worker does not answer",
		  KV_U64("worker", atomic_load_explicit(&wd->answered, memory_order_relaxed)));
}

static void on_tick(struct mainloop_timer *timer)
{
	struct watchdog *wd = CONTAINER_OF(timer, struct watchdog, timer);
	nsec_t now = nsec_clock(CLOCK_MONOTONIC);
	if (wd->is_out)
		look_after_ping(wd, now);
	else
		send_ping(wd, now);
	if (mainloop_timer_start(wd->p.loop, timer, now + wd->period / PINGS_PER_PERIOD) < 0)
		log_error(wd->p.log, "watchdog", "no memory: it is not fed any more",
			  KV_ERR(-ENOMEM));
}

int watchdog_start(const struct watchdog_params *params, struct watchdog **ret)
{
	uint64_t usec = 0;
	int r = sd_watchdog_enabled(0, &usec);
	if (r < 0)
		return -EINVAL;
	if (r == 0) {
		*ret = NULL;
		return 0;
	}
	struct watchdog *wd = calloc(1, sizeof(*wd));
	if (!wd)
		return -ENOMEM;
	wd->p = *params;
	nsec_t period = usec < PERIOD_MAX / NSEC_PER_USEC ? usec * NSEC_PER_USEC : PERIOD_MAX;
	wd->period = MAX(period, PERIOD_MIN);
	wd->timer.on_expire = on_tick;
	r = mainloop_timer_start(params->loop, &wd->timer, 0);
	if (r < 0) {
		free(wd);
		return r;
	}
	*ret = wd;
	return 0;
}

void watchdog_stop(struct watchdog *wd)
{
	if (!wd)
		return;
	mainloop_timer_stop(&wd->timer);
	wd->is_stopped = true;
	if (!wd->is_out) /* else who brings the ping home, or loses it */
		free(wd);
}
