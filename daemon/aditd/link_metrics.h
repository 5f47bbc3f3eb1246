/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and gauges of each connection index (spec §12; the reference's quic_client_* names). Set
 * at a scrape by the worker that has the link.
 */
#ifndef DAEMON_ADITD_LINK_METRICS_H
#define DAEMON_ADITD_LINK_METRICS_H

#include "daemon/aditd/wiring.h"

enum { LINK_METRICS_SERIES = 22 };

struct link_metrics {
	metric_id ids[64][LINK_METRICS_SERIES]; /* [index] */
	unsigned int count;
	int drops; /* family adit_drops_total */
	metric_id dialled, ended;
	metric_id rx_datagrams, tx_datagrams, dropped_datagrams;
	metric_id opened, reused, retried;
	metric_id drops_malformed, drops_cut, drops_hints;
	metric_id trailers_raw, trailers_refused, drops_frames;
	metric_id build, pushes, push_errors;
	metric_id config_errors; /* of source "edge": filled in by whoever has it */
};

[[nodiscard]] int link_metrics_init(struct link_metrics *m, struct metric_registry *reg,
				    unsigned int indexes);
void link_metrics_refresh(const struct link_metrics *m, struct wiring *w);

#endif
