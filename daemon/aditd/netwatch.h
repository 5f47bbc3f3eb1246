/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says when the way to the edge may have changed: the kernel's links, addresses or routes did, or
 * the machine has slept (adit.md §6). Control thread.
 */
#ifndef DAEMON_ADITD_NETWATCH_H
#define DAEMON_ADITD_NETWATCH_H

#include "util/time.h"

struct log;
struct mainloop;
struct metric_registry;
struct metric_shard;
struct monitor;
struct netwatch;

struct netwatch_params {
	struct mainloop *loop;
	struct log *log;
	struct metric_registry *registry;
	struct metric_shard *metrics;
	/* From the loop: after each sleep, and for the network at most every MONITOR_INTERVAL. */
	void (*on_change)(void *user);
	void *user;
	/* For tests; NULL: the kernel's. Those of a sleep are as in base/resume. */
	int (*open_monitor)(struct monitor **ret);
	nsec_t (*clock)(clockid_t clock);
	int (*open_jumps)(void);
};
/*
 * What the system doesn't let us watch is logged and goes without. Returns 0, -ENOMEM, -E2BIG (no
 * room for metrics).
 */
[[nodiscard]] int netwatch_start(const struct netwatch_params *params, struct netwatch **ret);
/* Accepts NULL. */
void netwatch_stop(struct netwatch *w);

#endif
