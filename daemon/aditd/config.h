/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One configuration as aditd uses it: an immutable snapshot with all that is made of it once. The
 * control thread makes it and posts it to the workers (admin/reload.h says how one gets here).
 */
#ifndef DAEMON_ADITD_CONFIG_H
#define DAEMON_ADITD_CONFIG_H

#include "daemon/base/snapshot.h"
#include "daemon/conf/report.h"
#include "daemon/net/tlsctx.h"
#include "daemon/proxy/rules.h"

struct app;

struct config {
	struct snapshot snapshot;
	struct conf *conf;
	struct proxy_rules *rules;
	struct tls_trust trust;
	SSL_CTX *tls; /* with the authorities that were in the files when it was made */
	char *local_json;
	size_t local_len; /* 0: not sent to the edge */
};

/*
 * Makes a snapshot of conf (a reference is taken). Returns 0; -EINVAL with an error in the report;
 * -ENOMEM.
 */
[[nodiscard]] int config_new(struct app *a, struct conf *conf, struct conf_report *report,
			     struct config **ret);
void config_unref(struct config *c);

/* What admin/reload does with a configuration of this program. */
extern const struct reload_ops config_reload_ops;

#endif
