/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Series of the supervisor. The cloudflared_ names are the reference's; ha_connections counts what
 * is registered, not what is tried.
 */
#include "daemon/aditd/supervisor_metrics.h"

#include <errno.h>
#include <stdio.h>

static const struct metric_family ha_family = { .name = "cloudflared_tunnel_ha_connections",
						.help = "Connections that are registered.",
						.type = METRIC_TYPE_GAUGE };
static const struct metric_family ok_family = {
	.name = "cloudflared_tunnel_tunnel_register_success",
	.help = "Successful registrations.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "rpcName" }
};
static const struct metric_family fail_family = { .name = "cloudflared_tunnel_tunnel_register_fail",
						  .help = "Refused or failed registrations.",
						  .type = METRIC_TYPE_COUNTER,
						  .labels = { "error", "rpcName" } };
static const struct metric_family dials_family = { .name = "adit_dials_total",
						   .help = "Connections tried.",
						   .type = METRIC_TYPE_COUNTER,
						   .labels = { "protocol", "result" } };
static const struct metric_family up_family = {
	.name = "adit_link_up",
	.help = "1 while the connection of this index is registered.",
	.type = METRIC_TYPE_GAUGE,
	.labels = { "index", "protocol" }
};
static const struct metric_family suspicions_family = {
	.name = "adit_link_suspicions_total",
	.help = "Times the edge seemed to be gone.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "index" },
};
static const struct metric_family resets_family = {
	.name = "adit_link_resets_total",
	.help = "Connections that ended by a stateless reset: the edge had forgotten them.",
	.type = METRIC_TYPE_COUNTER,
};

static int define_links(struct supervisor_metrics *m, struct metric_registry *reg,
			unsigned int indexes)
{
	int up = metric_define(reg, &up_family);
	int suspicions = metric_define(reg, &suspicions_family);
	if (up < 0 || suspicions < 0)
		return -ENOMEM;
	for (unsigned int i = 0; i < indexes; i++) {
		char text[12];
		(void)snprintf(text, sizeof(text), "%u", i);
		m->suspicions[i] = metric_series(reg, suspicions, (const char *const[]){ text });
		for (unsigned int p = 0; p < LINK_PROTOCOL_MAX_; p++) {
			const char *protocol = link_protocol_name((enum link_protocol)p);
			m->up[i][p] =
				metric_series(reg, up, (const char *const[]){ text, protocol });
		}
	}
	return 0;
}

int supervisor_metrics_init(struct supervisor_metrics *m, struct metric_registry *reg,
			    struct metric_shard *shard, unsigned int indexes)
{
	static const char *const results[] = { "failed", "ok" };
	int ha = metric_define(reg, &ha_family), ok = metric_define(reg, &ok_family);
	int fail = metric_define(reg, &fail_family), dials = metric_define(reg, &dials_family);
	int resets = metric_define(reg, &resets_family);
	if (ha < 0 || ok < 0 || fail < 0 || dials < 0 || resets < 0)
		return -ENOMEM;
	m->shard = shard;
	m->registered = metric_series(reg, ha, NULL);
	m->resets = metric_series(reg, resets, NULL);
	m->register_ok = metric_series(reg, ok, (const char *const[]){ "registerConnection" });
	m->register_fail[0] = metric_series(
		reg, fail, (const char *const[]){ "server_error", "registerConnection" });
	m->register_fail[1] = metric_series(
		reg, fail, (const char *const[]){ "dup_edge_conn", "registerConnection" });
	for (unsigned int p = 0; p < LINK_PROTOCOL_MAX_; p++)
		for (unsigned int i = 0; i < 2; i++)
			m->dials[p][i] = metric_series(
				reg, dials,
				(const char *const[]){ link_protocol_name((enum link_protocol)p),
						       results[i] });
	int r = define_links(m, reg, indexes);
	return r < 0 ? r : locations_init(&m->locations, reg);
}

void supervisor_metrics_dialled(struct supervisor_metrics *m, enum link_protocol protocol, bool ok)
{
	metric_add(m->shard, m->dials[protocol][ok], 1);
}

void supervisor_metrics_registered(struct supervisor_metrics *m, unsigned int index,
				   const char *location)
{
	metric_add(m->shard, m->register_ok, 1);
	locations_set(&m->locations, m->shard, index, location);
}

void supervisor_metrics_refused(struct supervisor_metrics *m, bool is_duplicate)
{
	metric_add(m->shard, m->register_fail[is_duplicate], 1);
}

void supervisor_metrics_reset(struct supervisor_metrics *m)
{
	metric_add(m->shard, m->resets, 1);
}

void supervisor_metrics_suspect(struct supervisor_metrics *m, unsigned int index)
{
	metric_add(m->shard, m->suspicions[index], 1);
}

void supervisor_metrics_set_link(struct supervisor_metrics *m, unsigned int index,
				 const struct core_link *link)
{
	for (unsigned int p = 0; p < LINK_PROTOCOL_MAX_; p++)
		metric_set(m->shard, m->up[index][p], link->serial && link->protocol == p);
	m->registered_count -= m->is_registered[index];
	m->is_registered[index] = link->serial != 0;
	m->registered_count += m->is_registered[index];
	metric_set(m->shard, m->registered, m->registered_count);
}
