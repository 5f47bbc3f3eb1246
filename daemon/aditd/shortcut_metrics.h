/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of the short cut around sockets: promotions, what its program did with frames, what was
 * dropped on the way to a worker.
 */
#ifndef DAEMON_ADITD_SHORTCUT_METRICS_H
#define DAEMON_ADITD_SHORTCUT_METRICS_H

#include "abi/flow_abi.h"
#include "daemon/aditd/link_metrics.h"
#include "daemon/aditd/wiring.h"

struct shortcut_metrics {
	metric_id open, promotions, demotions, late;
	metric_id lost[PATH_LOSS_MAX_];
	metric_id frames[FLOW_VERDICTS];
};

/* 0 or -ENOMEM. */
[[nodiscard]] int shortcut_metrics_init(struct shortcut_metrics *m, struct metric_registry *reg,
					const struct link_metrics *links);
/* On the worker's thread. */
void shortcut_metrics_refresh(const struct shortcut_metrics *m, struct wiring *w);

#endif
