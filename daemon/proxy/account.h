/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every kind of exchange counts, and its line in the access log.
 */
#ifndef DAEMON_PROXY_ACCOUNT_H
#define DAEMON_PROXY_ACCOUNT_H

#include "daemon/proxy/access_log.h"
#include "daemon/proxy/proxy_http.h"

/* One has begun: it is in progress, by m. */
void account_begin(struct proxy_env *env, const struct rule_metrics *m);
/* It was refused before it began. */
void account_refused(struct proxy_env *env, const struct rule_metrics *m, enum proxy_reason reason);
/* It has ended. latency: from its beginning to its answer, or to the end without one. */
void account_end(struct proxy_env *env, const struct proxy_rules *rules,
		 const struct rule_metrics *m, const struct access_record *record, nsec_t latency);

#endif
