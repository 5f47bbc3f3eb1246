/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.adit.Daemon. Status needs the workers: the call waits while they are asked, nothing else does.
 */
#include "daemon/aditd/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/aditd/service_flows.h"
#include "daemon/aditd/status.h"
#include "daemon/aditd/tun_host.h"
#include "daemon/admin/idl.h"
#include "daemon/admin/page.h"
#include "daemon/admin/reload.h"
#include "daemon/admin/row.h"
#include "daemon/admin/varlink_priv.h"
#include "daemon/base/gather.h"
#include "daemon/base/version.h"
#include "daemon/conf/pattern.h"
#include "daemon/wire/token.h"
#include "daemon/wire/uri.h"
#include "util/cleanup.h"

/* A Status call on its way through the workers. */
struct query {
	struct app *app;
	sd_varlink *link;
	struct link_stats stats[SUPERVISOR_INDEX_MAX];
	bool has_stats[SUPERVISOR_INDEX_MAX];
	unsigned int flows[SUPERVISOR_INDEX_MAX];
	uint64_t memory;
	uint64_t memory_limit;
	struct tun_state tun; /* of the routed mode */
};

static void add_tun_state(struct tun_state *sum, const struct tun_ground_stats *s)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(sum->has_answers); i++)
		sum->has_answers[i] |= s->read[i] > 0;
	sum->has_gone |= s->has_gone;
}

static void visit(struct worker *worker, void *arg)
{
	struct query *q = arg;
	struct wiring *w = worker->app;
	struct slab_stats slab;
	slab_get_stats(worker->slab, &slab);
	q->memory += slab.in_use + slab.reserved;
	q->memory_limit += slab.limit;
	if (w->tun)
		add_tun_state(&q->tun, tun_ground_get_stats(w->tun));
	for (unsigned int i = worker->index; i < supervisor_count(q->app->supervisor);
	     i += q->app->worker_count) {
		q->has_stats[i] = tunnel_get_stats(w->tunnels, i, &q->stats[i]);
		q->flows[i] = tunnel_get_flows(w->tunnels, i);
	}
}

static int append_connection(sd_json_variant **array, const struct query *q, unsigned int i)
{
	const struct supervisor_index *info = supervisor_get(q->app->supervisor, i);
	const struct link_stats *s = &q->stats[i];
	bool up = q->has_stats[i] &&
		  (info->state == INDEX_STATE_UP || info->state == INDEX_STATE_SUSPECT);
	/* One that has never dialled has no error of its own: perhaps there is no address. */
	const char *cause = info->last_error;
	if (!cause[0] && supervisor_up_count(q->app->supervisor) == 0)
		cause = supervisor_last_error(q->app->supervisor);
	char edge[ADMIN_ADDR_MAX], local[ADMIN_ADDR_MAX];
	return sd_json_variant_append_arraybo(
		array, SD_JSON_BUILD_PAIR_UNSIGNED("index", i),
		SD_JSON_BUILD_PAIR_STRING("state", index_state_name(info->state)),
		SD_JSON_BUILD_PAIR_STRING("protocol", link_protocol_name(info->protocol)),
		SD_JSON_BUILD_PAIR_STRING("edge", admin_addr(&info->edge, edge)),
		SD_JSON_BUILD_PAIR_CONDITION(up, "location", SD_JSON_BUILD_STRING(info->location)),
		SD_JSON_BUILD_PAIR_STRING("local",
					  admin_addr(up ? &s->local : &info->local, local)),
		SD_JSON_BUILD_PAIR_UNSIGNED("since_usec", info->since / NSEC_PER_USEC),
		SD_JSON_BUILD_PAIR_CONDITION(up, "rtt_usec",
					     SD_JSON_BUILD_UNSIGNED(s->rtt_nsec / NSEC_PER_USEC)),
		SD_JSON_BUILD_PAIR_CONDITION(up, "loss_ppm",
					     SD_JSON_BUILD_UNSIGNED(admin_loss_ppm(s))),
		SD_JSON_BUILD_PAIR_UNSIGNED("streams", up ? s->streams : 0),
		SD_JSON_BUILD_PAIR_UNSIGNED("flows", up ? q->flows[i] : 0),
		SD_JSON_BUILD_PAIR_UNSIGNED("rx_bytes", up ? s->rx_bytes : 0),
		SD_JSON_BUILD_PAIR_UNSIGNED("tx_bytes", up ? s->tx_bytes : 0),
		SD_JSON_BUILD_PAIR_UNSIGNED("worker", info->worker),
		SD_JSON_BUILD_PAIR_CONDITION(up && s->group[0], "group",
					     SD_JSON_BUILD_STRING(s->group)),
		SD_JSON_BUILD_PAIR_CONDITION(cause[0] != '\0', "last_error",
					     SD_JSON_BUILD_STRING(cause)),
		SD_JSON_BUILD_PAIR_CONDITION(up, "mtu", SD_JSON_BUILD_UNSIGNED(s->mtu)),
		SD_JSON_BUILD_PAIR_CONDITION(up, "ecn", SD_JSON_BUILD_STRING(admin_ecn(s))));
}

static const char *state_of(const struct app *a)
{
	if (a->is_stopping)
		return "draining";
	return supervisor_up_count(a->supervisor) > 0 ? "connected" : "connecting";
}

static int add_lack(void *user, const char *lack)
{
	return sd_json_variant_append_arrayb(user, SD_JSON_BUILD_STRING(lack));
}

/* NULL: nothing is routed. */
static int list_lacks(const struct query *q, sd_json_variant **ret)
{
	const struct tun_host *tun = q->app->shared.tun;
	if (!tun)
		return 0;
	int r = sd_json_variant_new_array(ret, NULL, 0);
	return r < 0 ? r : tun_host_lacks(tun, &q->tun, add_lack, ret);
}

static int reply_status(struct query *q, sd_json_variant *connections,
			sd_json_variant *need_restart, sd_json_variant *lacks)
{
	struct app *a = q->app;
	char id[UUID_TEXT_LEN + 1], metrics[ADMIN_ADDR_MAX] = "off";
	uuid_format(&a->params.conf->credential->tunnel_id, id);
	if (a->page)
		(void)admin_addr(page_address(a->page), metrics);
	return sd_varlink_replybo(
		q->link, SD_JSON_BUILD_PAIR_STRING("version", adit_version),
		SD_JSON_BUILD_PAIR_STRING("instance", a->params.instance),
		SD_JSON_BUILD_PAIR_STRING("tunnel", id),
		SD_JSON_BUILD_PAIR_STRING("state", state_of(a)),
		SD_JSON_BUILD_PAIR_UNSIGNED("since_usec", a->started / NSEC_PER_USEC),
		SD_JSON_BUILD_PAIR_INTEGER("pid", getpid()),
		SD_JSON_BUILD_PAIR_STRING(
			"config", a->params.conf->common.file ? a->params.conf->common.file : ""),
		SD_JSON_BUILD_PAIR_UNSIGNED("config_version", reload_version(a->reload)),
		SD_JSON_BUILD_PAIR_STRING("metrics", metrics),
		SD_JSON_BUILD_PAIR_UNSIGNED("memory", q->memory),
		SD_JSON_BUILD_PAIR_UNSIGNED("memory_limit", q->memory_limit),
		SD_JSON_BUILD_PAIR_VARIANT("need_restart", need_restart),
		SD_JSON_BUILD_PAIR_CONDITION(lacks != NULL, "routed",
					     SD_JSON_BUILD_STRING(a->params.conf->datapath.tun)),
		SD_JSON_BUILD_PAIR_CONDITION(lacks != NULL, "routed_lacks",
					     SD_JSON_BUILD_VARIANT(lacks)),
		SD_JSON_BUILD_PAIR_VARIANT("connections", connections));
}

static void query_free(void *arg)
{
	struct query *q = arg;
	(void)sd_varlink_unref(q->link);
	free(q);
}

static void on_visited(void *arg)
{
	struct query *q = arg;
	sd_json_variant *connections = NULL, *need_restart = NULL, *lacks = NULL;
	int r = sd_json_variant_new_array(&connections, NULL, 0);
	if (r >= 0)
		r = varlink_string_array(reload_need_restart(q->app->reload), &need_restart);
	if (r >= 0)
		r = list_lacks(q, &lacks);
	for (unsigned int i = 0; r >= 0 && i < supervisor_count(q->app->supervisor); i++)
		r = append_connection(&connections, q, i);
	if (r >= 0)
		r = reply_status(q, connections, need_restart, lacks);
	if (r < 0)
		(void)sd_varlink_error_errno(q->link, r);
	(void)sd_json_variant_unref(connections);
	(void)sd_json_variant_unref(need_restart);
	(void)sd_json_variant_unref(lacks);
	query_free(q);
}

static const struct gather_ops gather_ops = {
	.visit = visit,
	.on_done = on_visited,
	.on_cancel = query_free,
};

static int on_status(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
		     void *user)
{
	(void)flags;
	struct app *a = user;
	int r = varlink_no_parameters(link, parameters);
	if (r != 0)
		return r;
	struct query *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->app = a;
	q->link = sd_varlink_ref(link);
	r = gather_start(a->workers, mainloop_mailbox(a->loop), &gather_ops, q);
	if (r < 0)
		query_free(q);
	return r;
}

static int explain(struct app *a, const char *url, struct route_result *found, char *why,
		   size_t size)
{
	struct uri uri;
	char path[4096];
	struct packer p = packer_over(path, sizeof(path));
	if (uri_parse(span_str(url), &uri) < 0 || uri_path_decode(uri.path, &p) < 0)
		return -EINVAL;
	struct pattern_scratch *scratch = pattern_scratch_new();
	if (!scratch)
		return -ENOMEM;
	struct route_query query = { .host = uri.authority, .path = packer_span(&p) };
	route_match(a->config->rules->route, scratch, &query, found);
	(void)route_explain(a->config->rules->route, scratch, &query, why, size);
	pattern_scratch_free(scratch);
	return 0;
}

static int on_explain(sd_varlink *link, sd_json_variant *parameters,
		      sd_varlink_method_flags_t flags, void *user)
{
	(void)flags;
	static const sd_json_dispatch_field fields[] = {
		{ "url", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, 0,
		  SD_JSON_MANDATORY },
		{},
	};
	struct app *a = user;
	const char *url = NULL;
	struct route_result found = {};
	char why[4096];
	int r = sd_varlink_dispatch(link, parameters, fields, &url);
	if (r != 0)
		return r;
	r = explain(a, url, &found, why, sizeof(why));
	if (r == -EINVAL)
		return sd_varlink_error_invalid_parameter_name(link, "url");
	if (r < 0)
		return r;
	return sd_varlink_replybo(
		link, SD_JSON_BUILD_PAIR_STRING("rule", found.rule ? found.rule->name : ""),
		SD_JSON_BUILD_PAIR_STRING("why", why),
		SD_JSON_BUILD_PAIR_STRING("service", found.rule ? found.rule->service.text : ""));
}

static int on_reconnect(sd_varlink *link, sd_json_variant *parameters,
			sd_varlink_method_flags_t flags, void *user)
{
	(void)flags;
	static const sd_json_dispatch_field fields[] = {
		{ "index", SD_JSON_VARIANT_INTEGER, sd_json_dispatch_int, 0, 0 },
		{},
	};
	struct app *a = user;
	int index = -1;
	if (!varlink_may_change(link))
		return varlink_deny(link);
	int r = sd_varlink_dispatch(link, parameters, fields, &index);
	if (r != 0)
		return r;
	if (supervisor_reconnect(a->supervisor, index) < 0)
		return sd_varlink_errorbo(link, "io.adit.Daemon.NoSuchIndex",
					  SD_JSON_BUILD_PAIR_INTEGER("index", index));
	return sd_varlink_reply(link, NULL);
}

static int on_reload(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
		     void *user)
{
	(void)flags;
	struct app *a = user;
	return varlink_reload(link, parameters, a->reload, "io.adit.Daemon.BadConfig");
}

static const struct varlink_method methods[] = {
	{ "io.adit.Daemon.Status", on_status },       { "io.adit.Daemon.Explain", on_explain },
	{ "io.adit.Daemon.Reload", on_reload },       { "io.adit.Daemon.Reconnect", on_reconnect },
	{ "io.adit.Daemon.Drain", varlink_on_drain }, { "io.adit.Daemon.Flows", service_on_flows },
	{ "io.adit.Daemon.Drops", service_on_drops },
};

int service_start(struct app *a)
{
	struct varlink_params params = {
		.event = mainloop_event(a->loop),
		.socket = a->params.paths.control,
		.product = "aditd",
		.interface = idl_daemon,
		.methods = methods,
		.method_count = ARRAY_SIZE(methods),
		.user = a,
	};
	a->started = nsec_clock(CLOCK_REALTIME);
	return varlink_new(&params, &a->varlink);
}

void service_stop(struct app *a)
{
	varlink_free(TAKE_PTR(a->varlink));
}
