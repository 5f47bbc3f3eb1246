/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idle connections to origins, of one worker: kept by service until a limit, a time, or the peer
 * ends them (spec §2.2 keep-alive-connections).
 */
#ifndef DAEMON_ORIGIN_ORIGIN_POOL_H
#define DAEMON_ORIGIN_ORIGIN_POOL_H

#include "daemon/base/map.h"
#include "daemon/base/metric.h"
#include "daemon/flow/stream.h"
#include "util/list.h"
#include "util/time.h"

struct origin_stats;

struct origin_pool {
	struct loop *loop;
	struct map services; /* of those that have an idle connection */
	struct origin_stats *stats;
	struct metric_shard *metrics; /* NULL: nothing is counted */
};

enum { ORIGIN_POOL_SERVICES_MAX = 100000 }; /* as many as rules */

/* stats is borrowed. */
void origin_pool_init(struct origin_pool *pool, struct loop *loop, struct origin_stats *stats);
/* Closes everything. */
void origin_pool_done(struct origin_pool *pool);

/* The idle connection of this service that was used last, still open; NULL when there is none. */
struct stream *origin_pool_take(struct origin_pool *pool, struct span service);
struct origin_pool_terms {
	unsigned int limit; /* idle connections of this service; 0: closed at once */
	nsec_t timeout;     /* 0 for none */
	metric_id gauge;    /* counts those that are kept */
};
/* Keeps a connection whose exchange is whole. Closed when there is no room or no memory. */
void origin_pool_put(struct origin_pool *pool, struct span service, struct stream *stream_take,
		     const struct origin_pool_terms *terms);
/* Closes all idle connections. */
void origin_pool_drain(struct origin_pool *pool);

#endif
