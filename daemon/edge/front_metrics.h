/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public names as requests see them: whose each is, and what its requests are counted as (spec
 * §12).
 */
#ifndef DAEMON_EDGE_FRONT_METRICS_H
#define DAEMON_EDGE_FRONT_METRICS_H

#include "daemon/base/metric.h"
#include "daemon/conf/edge_conf.h"
#include "daemon/proxy/reason.h"

/* A public name: whose it is, and what its requests are counted as. */
struct front_host {
	uint32_t tunnel;       /* index in the snapshot's tunnels */
	metric_id requests[6]; /* by code class */
	metric_id errors[PROXY_REASON_MAX_];
	metric_id seconds;
	metric_id active;
	metric_id bytes_in;
	metric_id bytes_out;
};

enum { FRONT_FAMILIES = 6 };

/* Defined once at start. */
struct front_families {
	struct metric_registry *reg;
	int numbers[FRONT_FAMILIES];
	metric_id no_route;
};
/* Main thread, before any series. 0 or what metric_define() said. */
[[nodiscard]] int front_families_define(struct front_families *f, struct metric_registry *reg);

/* Of one snapshot. */
struct front_metrics {
	struct front_host *hosts;    /* in the snapshot's order; the last: no name of ours */
	size_t host_count;           /* without the last */
	struct front_host *ports;    /* of [tcp NAME], in the snapshot's order; named tcp/NAME */
	struct front_host *networks; /* TCP to [network NAME], likewise; named network/NAME */
};
/* Main thread. 0 or -ENOMEM. */
[[nodiscard]] int front_metrics_init(struct front_metrics *m, const struct front_families *f,
				     const struct edge_conf *conf);
void front_metrics_done(struct front_metrics *m);

#endif
