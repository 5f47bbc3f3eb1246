/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC counters: each method has series of its own, on the side it is called from.
 */
#include "daemon/link/rpc_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct seen {
	unsigned int series, clients, servers;
	uint64_t observed;
};

static void on_sample(const struct metric_sample *s, void *arg)
{
	struct seen *seen = arg;
	seen->series++;
	seen->clients += strncmp(s->family->name, "cloudflared_rpc_client_", 23) == 0;
	seen->servers += strncmp(s->family->name, "cloudflared_rpc_server_", 23) == 0;
	for (unsigned int i = 0; s->counts && i <= s->family->bucket_count; i++)
		seen->observed += s->counts[i];
}

static void test_each_method(void **state)
{
	(void)state;
	struct metric_registry *reg = NULL;
	struct rpc_metrics m = {};
	assert_int_equal(metric_registry_new(1000, &reg), 0);
	assert_int_equal(rpc_metrics_init(&m, reg), 0);
	struct metric_shard *shard = metric_shard_new(reg);
	assert_non_null(shard);
	for (unsigned int i = 0; i < RPC_METHOD_MAX_; i++) {
		rpc_metrics_count(&m, shard, (enum rpc_method)i, NSEC_PER_SEC, true);
		rpc_metrics_count(&m, shard, (enum rpc_method)i, NSEC_PER_SEC, false);
	}
	for (unsigned int i = 0; i < RPC_METHOD_MAX_; i++) {
		assert_int_equal(metric_value(reg, m.methods[i].operations), 2);
		assert_int_equal(metric_value(reg, m.methods[i].failures), 1);
	}
	struct seen seen = {};
	metric_walk(reg, on_sample, &seen);
	assert_int_equal(seen.series, 3 * RPC_METHOD_MAX_);
	assert_int_equal(seen.clients, 3 * 4);
	assert_int_equal(seen.servers, 3 * 4);
	assert_int_equal(seen.observed, 2 * RPC_METHOD_MAX_);
	metric_registry_free(reg);
}

static void test_without(void **state)
{
	(void)state;
	rpc_metrics_count(NULL, NULL, RPC_METHOD_OTHER, 1, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_method),
		cmocka_unit_test(test_without),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
