/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of RPCs. All three of a method are counted at its end, whatever that is: an operation
 * that is still waiting isn't one yet.
 */
#include "daemon/link/rpc_metrics.h"

#include "util/macro.h"

static const double latency_buckets[] = { 0.05, 0.15, 0.45, 1.35, 4.05 };

#define FAMILY(n, h, t) { .name = (n), .help = (h), .type = (t), .labels = { "handler", "method" } }
#define LATENCY(n, h)                                  \
	{ .name = (n),                                 \
	  .help = (h),                                 \
	  .type = METRIC_TYPE_HISTOGRAM,               \
	  .labels = { "handler", "method" },           \
	  .buckets = latency_buckets,                  \
	  .bucket_count = ARRAY_SIZE(latency_buckets), \
	  .scale = 1e-9 }

/* [0]: what we call, [1]: what is called here. */
static const struct metric_family families[][3] = {
	{ FAMILY("cloudflared_rpc_client_operations", "RPCs sent.", METRIC_TYPE_COUNTER),
	  FAMILY("cloudflared_rpc_client_failures", "RPCs that failed or were refused.",
		 METRIC_TYPE_COUNTER),
	  LATENCY("cloudflared_rpc_client_latency_secs", "Time until an RPC was answered.") },
	{ FAMILY("cloudflared_rpc_server_operations", "RPCs served.", METRIC_TYPE_COUNTER),
	  FAMILY("cloudflared_rpc_server_failures", "RPCs answered with an error.",
		 METRIC_TYPE_COUNTER),
	  LATENCY("cloudflared_rpc_server_latency_secs", "Time that an RPC's answer took.") },
};

/* clang-format off */
static const struct {
	bool is_served;
	const char *handler;
	const char *method;
} methods[RPC_METHOD_MAX_] = {
	[RPC_METHOD_REGISTER_CONNECTION]        = { false, "registration", "register_connection" },
	[RPC_METHOD_UNREGISTER_CONNECTION]      = { false, "registration", "unregister_connection" },
	[RPC_METHOD_UPDATE_LOCAL_CONFIGURATION] = { false, "registration", "update_local_configuration" },
	[RPC_METHOD_END_UDP_SESSION]            = { false, "session", "unregister_udp_session" },
	[RPC_METHOD_REGISTER_UDP_SESSION]       = { true,  "session", "register_udp_session" },
	[RPC_METHOD_UNREGISTER_UDP_SESSION]     = { true,  "session", "unregister_udp_session" },
	[RPC_METHOD_UPDATE_CONFIGURATION]       = { true,  "config", "update_configuration" },
	[RPC_METHOD_OTHER]                      = { true,  "other", "other" },
};
/* clang-format on */

int rpc_metrics_init(struct rpc_metrics *m, struct metric_registry *reg)
{
	int f[ARRAY_SIZE(families)][3];
	for (unsigned int i = 0; i < ARRAY_SIZE(families); i++) {
		for (unsigned int j = 0; j < 3; j++) {
			f[i][j] = metric_define(reg, &families[i][j]);
			if (f[i][j] < 0)
				return f[i][j];
		}
	}
	for (unsigned int i = 0; i < RPC_METHOD_MAX_; i++) {
		const char *const values[] = { methods[i].handler, methods[i].method };
		const int *family = f[methods[i].is_served];
		m->methods[i].operations = metric_series(reg, family[0], values);
		m->methods[i].failures = metric_series(reg, family[1], values);
		m->methods[i].latency = metric_series(reg, family[2], values);
	}
	return 0;
}

void rpc_metrics_count(const struct rpc_metrics *m, struct metric_shard *shard,
		       enum rpc_method method, nsec_t took, bool ok)
{
	if (!m)
		return;
	metric_add(shard, m->methods[method].operations, 1);
	metric_add(shard, m->methods[method].failures, !ok);
	metric_observe(shard, m->methods[method].latency, took);
}
