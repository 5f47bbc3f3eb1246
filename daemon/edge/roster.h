/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration snapshot as the edge uses it: its tunnels, whom each hostname leads to, series. A
 * worker swaps it at the top of a turn; a request keeps the one it began with. A tunnel that stands
 * in the next snapshot with the same account and secret keeps its struct edge_tunnel; else the
 * links that point to the old one are sent away.
 */
#ifndef DAEMON_EDGE_ROSTER_H
#define DAEMON_EDGE_ROSTER_H

#include "daemon/base/map.h"
#include "daemon/base/snapshot.h"
#include "daemon/conf/edge_conf.h"
#include "daemon/edge/edge_tunnel.h"
#include "daemon/edge/front_metrics.h"
#include "daemon/edge/tunnel_metrics.h"
#include "daemon/http/head.h"
#include "daemon/route/hosts.h"

struct roster_tunnel {
	const struct conf_edge_tunnel *conf;
	struct edge_tunnel *shared; /* referenced */
	struct map_node by_id;
};

struct roster {
	struct snapshot snapshot;
	struct edge_conf *conf; /* referenced */
	struct hosts *hosts;    /* to indexes of front.hosts */
	struct front_metrics front;
	struct tunnel_metrics links; /* scrapes write into it */
	struct map ids;
	struct http_limits limits;
	struct roster_tunnel tunnels[]; /* [conf->tunnel_count] */
};

struct roster_params {
	struct edge_conf *conf;   /* a reference is taken */
	const struct roster *old; /* in force so far; NULL at the start */
	const struct front_families *front;
	const struct tunnel_families *links;
	unsigned int worker_count;
};

/*
 * Reads secret files. Control thread. Returns 0 with one reference, -ENOMEM, or the error of a
 * secret file with *ret_reason (static).
 */
[[nodiscard]] int roster_new(const struct roster_params *params, const char **ret_reason,
			     struct roster **ret);
struct roster *roster_ref(struct roster *r);
/* Accepts NULL. */
void roster_unref(struct roster *r);

/* NULL when the snapshot has none of this id. */
const struct roster_tunnel *roster_find(const struct roster *r, const struct uuid *id);
/* NULL when it has none of this name. */
struct edge_tunnel *roster_tunnel_named(const struct roster *r, const char *name);
/* The name that a tunnel has here, else the one that it had. */
const char *roster_name_of(const struct roster *r, const struct edge_tunnel *t);
static inline uint32_t roster_index(const struct roster *r, const struct roster_tunnel *t)
{
	return (uint32_t)(t - r->tunnels);
}
/* The name of requests that no tunnel has. */
static inline const struct front_host *roster_nobody(const struct roster *r)
{
	return &r->front.hosts[r->front.host_count];
}

#endif
