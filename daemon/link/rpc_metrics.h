/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of RPCs under the reference's names, cloudflared_rpc_client_* and
 * cloudflared_rpc_server_* (orchestration-and-management §8): the methods are known, so the series
 * are, too.
 */
#ifndef DAEMON_LINK_RPC_METRICS_H
#define DAEMON_LINK_RPC_METRICS_H

#include "daemon/base/metric.h"
#include "util/time.h"

/* Methods that a daemon calls, then those that an edge calls at a daemon. */
enum rpc_method : uint8_t {
	RPC_METHOD_REGISTER_CONNECTION,
	RPC_METHOD_UNREGISTER_CONNECTION,
	RPC_METHOD_UPDATE_LOCAL_CONFIGURATION,
	RPC_METHOD_END_UDP_SESSION, /* unregister_udp_session, called by the daemon */
	RPC_METHOD_REGISTER_UDP_SESSION,
	RPC_METHOD_UNREGISTER_UDP_SESSION,
	RPC_METHOD_UPDATE_CONFIGURATION,
	RPC_METHOD_OTHER, /* what nobody has declared */
	RPC_METHOD_MAX_,
};

struct rpc_metrics {
	struct {
		metric_id operations, failures, latency;
	} methods[RPC_METHOD_MAX_];
};

/* Main thread. 0 or what metric_define() said. */
[[nodiscard]] int rpc_metrics_init(struct rpc_metrics *m, struct metric_registry *reg);

/* An RPC is over, or given up. The shard's thread; a NULL m (unit tests) counts nothing. */
void rpc_metrics_count(const struct rpc_metrics *m, struct metric_shard *shard,
		       enum rpc_method method, nsec_t took, bool ok);

#endif
