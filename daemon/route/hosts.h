/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public hostnames of adit-edge: exact name, else the longest wildcard, to a number (the index of a
 * tunnel). Built once, then read by all workers.
 */
#ifndef DAEMON_ROUTE_HOSTS_H
#define DAEMON_ROUTE_HOSTS_H

#include "daemon/conf/rule.h"
#include "util/cleanup.h"

struct hosts;

struct hosts_entry {
	const struct host_pattern *host; /* borrowed; must outlive the table */
	uint32_t value;
};

/*
 * Builds a table. A name that stands twice keeps its smallest value (the loader has refused it
 * before). Returns 0 or -ENOMEM.
 */
[[nodiscard]] int hosts_new(const struct hosts_entry *entries, size_t count, struct hosts **ret);
void hosts_free(struct hosts *h);
DEFINE_CLEANUP(struct hosts *, hosts_free)

/*
 * Looks a Host field up (port and all, any case, last dot or not).
 * Returns 0 with the value, or -ESTALE.
 */
[[nodiscard]] int hosts_find(const struct hosts *h, struct span host, uint32_t *ret_value);

#endif
