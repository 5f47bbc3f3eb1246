/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge's kind of origin: a stream to a daemon through one of its links, on whatever worker that
 * lives (spec §5).
 */
#ifndef DAEMON_EDGE_ORIGIN_TUNNEL_H
#define DAEMON_EDGE_ORIGIN_TUNNEL_H

#include "daemon/edge/edge_link.h"
#include "daemon/flow/bridge.h"

/*
 * Opens a stream on el for a user on worker. A failure on another worker shows as -ECONNRESET on
 * the stream. The stream counts as load of el until origin_tunnel_closed(). Returns 0, -EAGAIN (no
 * stream credit), -EPROTO (link not up), -ENOMEM.
 */
[[nodiscard]] int origin_tunnel_open(struct worker *worker, struct edge_link *el,
				     const struct bridge_metrics *metrics, struct stream **ret);
/* To be called once for each successful open, when its stream was closed. */
void origin_tunnel_closed(struct edge_link *el);

#endif
