/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locations of connections. A series can't be taken back, and an edge may say a new name at every
 * registration: each index has room for a few, then for "other".
 */
#include "daemon/aditd/locations.h"

#include <stdio.h>
#include <string.h>

static const struct metric_family family = {
	.name = "cloudflared_tunnel_server_locations",
	.help = "1: where the connection is, 0: where it was.",
	.type = METRIC_TYPE_GAUGE,
	.labels = { "connection_id", "edge_location" },
};

int locations_init(struct locations *l, struct metric_registry *reg)
{
	int number = metric_define(reg, &family);
	if (number < 0)
		return number;
	*l = (struct locations){ .reg = reg, .family = number };
	return 0;
}

static metric_id find(struct locations *l, unsigned int index, const char *name)
{
	struct location *known = l->indexes[index].known;
	unsigned int count = l->indexes[index].count;
	for (unsigned int i = 0; i < count; i++)
		if (strncmp(known[i].name, name, sizeof(known[i].name) - 1) == 0)
			return known[i].id;
	if (count > LOCATIONS_PER_INDEX)
		return known[LOCATIONS_PER_INDEX].id;
	unsigned int i = count;
	char text[12];
	(void)snprintf(text, sizeof(text), "%u", index);
	(void)snprintf(known[i].name, sizeof(known[i].name), "%s",
		       i < LOCATIONS_PER_INDEX ? name : "other");
	known[i].id =
		metric_series(l->reg, l->family, (const char *const[]){ text, known[i].name });
	l->indexes[index].count = i + 1;
	return known[i].id;
}

void locations_set(struct locations *l, struct metric_shard *shard, unsigned int index,
		   const char *name)
{
	if (index >= LOCATIONS_INDEX_MAX)
		return;
	metric_id id = find(l, index, name);
	metric_set(shard, l->indexes[index].current, 0);
	metric_set(shard, id, 1);
	l->indexes[index].current = id;
}
