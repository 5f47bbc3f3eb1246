/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of the routed mode, of one worker; its UDP flows are among those of flow_metrics.
 */
#ifndef DAEMON_ADITD_TUN_METRICS_H
#define DAEMON_ADITD_TUN_METRICS_H

#include "daemon/aditd/flow_metrics.h"
#include "daemon/datapath/tun_ground.h"

struct tun_metrics {
	metric_id flows, rx, tx, errors, crossed;
	metric_id drops[TUN_DROP_MAX_];
};

/* flows has been initialised. 0, or a negative errno. */
[[nodiscard]] int tun_metrics_init(struct tun_metrics *m, struct metric_registry *reg,
				   const struct link_metrics *links,
				   const struct flow_metrics *flows);
/* On the worker's thread. */
void tun_metrics_refresh(const struct tun_metrics *m, struct wiring *w);

#endif
