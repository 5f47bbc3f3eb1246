/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of adit-edge. What can fail is made here, before any worker is told of it.
 */
#include "daemon/edge/config.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/admin/reload.h"
#include "daemon/base/exit.h"
#include "daemon/base/notify.h"
#include "daemon/edge/app.h"
#include "util/cleanup.h"

static int load(struct conf_report *report, struct conf_common **ret, void *user)
{
	const struct edge *e = user;
	struct edge_conf *conf = NULL;
	int r = edge_conf_load(&e->params.source, report, &conf);
	if (r < 0)
		return r;
	*ret = &conf->common;
	return 0;
}

static void unref(struct conf_common *common)
{
	edge_conf_unref(CONTAINER_OF(common, struct edge_conf, common));
}

static int publish(struct edge *e, struct roster *roster)
{
	_cleanup_(freep) struct snapshot_target *targets =
		calloc(e->worker_count, sizeof(*targets));
	if (!targets)
		return -ENOMEM;
	for (unsigned int i = 0; i < e->worker_count; i++)
		targets[i] = (struct snapshot_target){
			.mailbox = worker_set_get(e->workers, i)->mailbox,
			.slot = &e->edge_workers[i].roster,
		};
	return snapshot_publish(&roster->snapshot, targets, e->worker_count);
}

/* A tunnel whose secret lies in a file can change without a changed text. */
static int add_secret_changes(const struct roster *old, const struct roster *now,
			      struct conf_changes *changes)
{
	for (size_t i = 0; i < now->conf->tunnel_count; i++) {
		const struct roster_tunnel *t = &now->tunnels[i];
		const struct roster_tunnel *before = roster_find(old, &t->conf->id);
		if (!t->conf->secret_file || !before || before->shared == t->shared)
			continue;
		int r = conf_names_add(&changes->changed, "tunnel.%s (secret)", t->conf->name);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make(struct edge *e, struct edge_conf *conf, const char **ret_reason,
		struct roster **ret)
{
	struct roster_params params = {
		.conf = conf,
		.old = e->roster,
		.front = &e->front_families,
		.links = &e->tunnel_families,
		.worker_count = e->worker_count,
	};
	/* Said when it is news. */
	unsigned int visitors = conf->common.limits.visitors;
	conf_cut_to_descriptors(&visitors, "visitors", NULL);
	bool is_news = !e->roster || visitors != e->roster->conf->common.limits.visitors;
	conf_cut_to_descriptors(&conf->common.limits.visitors, "visitors", is_news ? e->log : NULL);
	return roster_new(&params, ret_reason, ret);
}

static int apply(struct conf_common *common, struct conf_report *report,
		 struct conf_changes *changes, void *user)
{
	struct edge *e = user;
	struct edge_conf *now = CONTAINER_OF(common, struct edge_conf, common);
	struct roster *roster = NULL;
	const char *reason = "";
	int r = edge_conf_keep_fixed(now, e->params.conf, changes);
	if (r < 0)
		return r;
	r = make(e, now, &reason, &roster);
	if (r < 0 && r != -ENOMEM) {
		conf_report_add(report, CONF_SEVERITY_ERROR, now->common.file, 0,
				"a tunnel's secret: %s", reason);
		return -EINVAL;
	}
	if (r == 0)
		r = add_secret_changes(e->roster, roster, changes);
	if (r == 0)
		r = publish(e, roster);
	if (r < 0) {
		roster_unref(roster);
		return r;
	}
	roster_unref(e->roster);
	e->roster = roster;
	edge_conf_unref(now); /* the roster has its own reference */
	return 0;
}

static void announce(void *user)
{
	(void)user;
	notify_ready("listening");
}

static bool is_announced(void *user)
{
	return !((const struct edge *)user)->is_draining;
}

static bool is_stopping(void *user)
{
	return ((const struct edge *)user)->is_draining;
}

static const struct reload_ops reload_ops = {
	.load = load,
	.apply = apply,
	.unref = unref,
	.announce = announce,
	.is_announced = is_announced,
	.is_stopping = is_stopping,
};

int edge_config_start(struct edge *e)
{
	const char *reason = "";
	int r = make(e, e->params.conf, &reason, &e->roster);
	if (r < 0) {
		log_error(e->log, "start", "cannot read a tunnel's secret",
			  KV_STR("reason", reason), KV_ERR(r));
		return EXIT_CONFIG;
	}
	struct reload_params params = {
		.loop = e->loop,
		.workers = e->workers,
		.log = e->log,
		.registry = e->metrics,
		.shard = e->shard,
		.conf = &e->params.conf->common,
		.ops = &reload_ops,
		.user = e,
	};
	r = reload_new(&params, &e->reload);
	if (r < 0)
		log_error(e->log, "start", "cannot prepare for a reload", KV_ERR(r));
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}

void edge_config_stop(struct edge *e)
{
	reload_free(TAKE_PTR(e->reload));
	roster_unref(TAKE_PTR(e->roster));
}
