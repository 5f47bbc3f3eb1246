/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the edge says that each connection has arrived, under the reference's name
 * cloudflared_tunnel_server_locations. The names are the edge's, so their number is bounded.
 */
#ifndef DAEMON_ADITD_LOCATIONS_H
#define DAEMON_ADITD_LOCATIONS_H

#include "daemon/base/metric.h"

enum {
	LOCATIONS_INDEX_MAX = 64,
	LOCATIONS_PER_INDEX = 8, /* more are counted as "other" */
	LOCATIONS_NAME_MAX = 64,
};

struct location {
	metric_id id;
	char name[LOCATIONS_NAME_MAX]; /* cut to fit */
};

struct locations {
	struct metric_registry *reg;
	int family;
	struct {
		struct location known[LOCATIONS_PER_INDEX + 1]; /* the last: "other" */
		unsigned int count;
		metric_id current; /* 0: none yet */
	} indexes[LOCATIONS_INDEX_MAX];
};

/* Control thread, as all of this. 0 or what metric_define() said. */
[[nodiscard]] int locations_init(struct locations *l, struct metric_registry *reg);
/* A connection of this index has registered there: 1 for it, 0 for the one before. */
void locations_set(struct locations *l, struct metric_shard *shard, unsigned int index,
		   const char *name);

#endif
