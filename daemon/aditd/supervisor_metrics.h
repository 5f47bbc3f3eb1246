/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the supervisor counts (docs/metrics.md). Written by the control thread.
 */
#ifndef DAEMON_ADITD_SUPERVISOR_METRICS_H
#define DAEMON_ADITD_SUPERVISOR_METRICS_H

#include "daemon/aditd/locations.h"
#include "daemon/aditd/supervisor_core.h"
#include "daemon/base/metric.h"

struct supervisor_metrics {
	struct metric_shard *shard; /* borrowed */
	metric_id registered, register_ok, register_fail[2], resets;
	metric_id dials[LINK_PROTOCOL_MAX_][2]; /* [][failed, ok] */
	metric_id up[EDGE_INDEXES_MAX][LINK_PROTOCOL_MAX_];
	metric_id suspicions[EDGE_INDEXES_MAX];
	bool is_registered[EDGE_INDEXES_MAX];
	unsigned int registered_count;
	struct locations locations;
};

/* 0 or a negative errno. */
[[nodiscard]] int supervisor_metrics_init(struct supervisor_metrics *m, struct metric_registry *reg,
					  struct metric_shard *shard, unsigned int indexes);
/* A handshake has ended. */
void supervisor_metrics_dialled(struct supervisor_metrics *m, enum link_protocol protocol, bool ok);
void supervisor_metrics_registered(struct supervisor_metrics *m, unsigned int index,
				   const char *location);
void supervisor_metrics_refused(struct supervisor_metrics *m, bool is_duplicate);
/* A stateless reset ended a connection. */
void supervisor_metrics_reset(struct supervisor_metrics *m);
/* An edge doesn't answer. */
void supervisor_metrics_suspect(struct supervisor_metrics *m, unsigned int index);
/* What an index has now; serial 0: nothing. */
void supervisor_metrics_set_link(struct supervisor_metrics *m, unsigned int index,
				 const struct core_link *link);

#endif
