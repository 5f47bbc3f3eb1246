/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One configuration as aditd uses it. What can fail is made here, before anybody is told of it.
 */
#include "daemon/aditd/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/aditd/status.h"
#include "daemon/admin/reload.h"
#include "daemon/conf/dump.h"
#include "util/cleanup.h"

#define VENDOR_CA_DIR "/etc/adit/ca.d"

/* ---- a snapshot ---- */

static void config_free(struct snapshot *snapshot)
{
	struct config *c = CONTAINER_OF(snapshot, struct config, snapshot);
	proxy_rules_unref(c->rules);
	tlsctx_free(c->tls);
	free(c->local_json);
	conf_unref(c->conf);
	free(c);
}

void config_unref(struct config *c)
{
	if (c)
		snapshot_unref(&c->snapshot);
}
DEFINE_CLEANUP(struct config *, config_unref)

static int make_tls(struct config *c, struct conf_report *report)
{
	static const enum tls_pq modes[] = {
		[CONF_POST_QUANTUM_PREFER] = TLS_PQ_PREFER,
		[CONF_POST_QUANTUM_REQUIRE] = TLS_PQ_REQUIRE,
		[CONF_POST_QUANTUM_OFF] = TLS_PQ_OFF,
	};
	const struct conf_edge *e = &c->conf->edge;
	c->trust.ca_file = e->ca_file;
	c->trust.ca_dir = e->kind == CONF_EDGE_KIND_VENDOR ? VENDOR_CA_DIR : NULL;
	c->trust.has_pin = e->has_pin;
	memcpy(c->trust.pin, e->pin, sizeof(c->trust.pin));
	const char *reason = "";
	int r = tlsctx_new_tunnel_client(&c->trust, modes[c->conf->tunnel.post_quantum], &c->tls,
					 &reason);
	if (r == -EINVAL || r == -E2BIG) {
		conf_report_add(report, CONF_SEVERITY_ERROR, c->conf->common.file, 0,
				"[edge] %s%s%s", e->ca_file ? e->ca_file : "trust",
				reason[0] ? ": " : "", reason);
		return -EINVAL;
	}
	return r;
}

static int make_rules(struct config *c, const struct proxy_metrics *m, struct conf_report *report)
{
	struct proxy_rules_error error = {};
	int r = proxy_rules_new(c->conf, m, &c->rules, &error);
	if (r == -EINVAL)
		conf_report_add(report, CONF_SEVERITY_ERROR, c->conf->common.file, error.rule->line,
				"[ingress %s] ca-pool: %s: %s", error.rule->name,
				error.rule->origin.ca_pool, error.reason);
	return r;
}

int config_new(struct app *a, struct conf *conf, struct conf_report *report, struct config **ret)
{
	_cleanup_(config_unrefp) struct config *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	snapshot_init(&c->snapshot, config_free);
	c->conf = conf_ref(conf);
	int r = make_tls(c, report);
	if (r == 0)
		r = make_rules(c, &a->shared.proxy_metrics, report);
	if (r < 0)
		return r;
	r = conf_dump_local_json(conf, &c->local_json, &c->local_len);
	if (r < 0)
		log_warning(a->log, "config", "the local configuration isn't sent to the edge",
			    KV_ERR(r));
	*ret = TAKE_PTR(c);
	return 0;
}

/* ---- reload ---- */

static int load(struct conf_report *report, struct conf_common **ret, void *user)
{
	struct app *a = user;
	struct conf *conf = NULL;
	int r = conf_load(&a->params.source, report, &conf);
	if (r < 0)
		return r;
	conf_source_settle(&a->params.source);
	*ret = &conf->common;
	return 0;
}

static void unref(struct conf_common *common)
{
	conf_unref(CONTAINER_OF(common, struct conf, common));
}

static int publish(struct app *a, struct config *c)
{
	_cleanup_(freep) struct snapshot_target *targets =
		calloc(a->worker_count, sizeof(*targets));
	if (!targets)
		return -ENOMEM;
	for (unsigned int i = 0; i < a->worker_count; i++)
		targets[i] = (struct snapshot_target){
			.mailbox = worker_set_get(a->workers, i)->mailbox,
			.slot = &a->wirings[i].config,
		};
	return snapshot_publish(&c->snapshot, targets, a->worker_count);
}

static int apply(struct conf_common *common, struct conf_report *report,
		 struct conf_changes *changes, void *user)
{
	struct app *a = user;
	struct conf *now = CONTAINER_OF(common, struct conf, common);
	_cleanup_(config_unrefp) struct config *c = NULL;
	int r = conf_keep_fixed(now, a->params.conf, a->config->conf, changes);
	if (r < 0)
		return r;
	/* Said when it is news. */
	unsigned int streams = now->common.limits.streams;
	conf_cut_to_descriptors(&streams, "streams", NULL);
	bool is_news = streams != a->config->conf->common.limits.streams;
	conf_cut_to_descriptors(&now->common.limits.streams, "streams", is_news ? a->log : NULL);
	r = config_new(a, now, report, &c);
	if (r == 0)
		r = publish(a, c);
	if (r < 0)
		return r;
	config_unref(a->config);
	a->config = TAKE_PTR(c);
	conf_unref(now); /* the snapshot has its own */
	return 0;
}

static void announce(void *user)
{
	app_announce_ready(user);
}

static bool is_announced(void *user)
{
	const struct app *a = user;
	return a->is_ready && !a->is_stopping;
}

static bool is_stopping(void *user)
{
	return ((const struct app *)user)->is_stopping;
}

const struct reload_ops config_reload_ops = {
	.load = load,
	.apply = apply,
	.unref = unref,
	.announce = announce,
	.is_announced = is_announced,
	.is_stopping = is_stopping,
};
