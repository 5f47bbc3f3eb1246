/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every kind of exchange counts, under our names and the reference's.
 */
#include "daemon/proxy/account.h"

#include "util/macro.h"

void account_begin(struct proxy_env *env, const struct rule_metrics *m)
{
	struct metric_shard *shard = env->worker->metrics;
	metric_add(shard, env->metrics->total, 1);
	metric_add(shard, env->metrics->concurrent, 1);
	metric_add(shard, m->active, 1);
}

void account_refused(struct proxy_env *env, const struct rule_metrics *m, enum proxy_reason reason)
{
	struct metric_shard *shard = env->worker->metrics;
	metric_add(shard, env->metrics->total, 1);
	metric_add(shard, env->metrics->failed, 1);
	metric_add(shard, m->requests[proxy_reason_info(reason)->status / 100], 1);
	metric_add(shard, m->errors[reason], 1);
}

void account_end(struct proxy_env *env, const struct proxy_rules *rules,
		 const struct rule_metrics *m, const struct access_record *record, nsec_t latency)
{
	struct metric_shard *shard = env->worker->metrics;
	metric_add(shard, m->requests[MIN(record->status / 100, 5U)], 1);
	metric_observe(shard, m->seconds, latency);
	metric_add(shard, m->active, -1);
	metric_add(shard, m->bytes_in, (int64_t)record->bytes_in);
	metric_add(shard, m->bytes_out, (int64_t)record->bytes_out);
	metric_add(shard, env->metrics->concurrent, -1);
	if (record->reason) {
		metric_add(shard, m->errors[record->reason], 1);
		metric_add(shard, env->metrics->failed, 1);
	} else if (record->status >= 100 && record->status < 1000) {
		metric_add(shard, env->metrics->codes[record->status], 1);
	}
	access_log_write(env->worker->log, rules->conf->common.log.access, record);
}
