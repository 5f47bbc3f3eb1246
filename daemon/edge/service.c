/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.adit.Edge: what the control interface of adit-edge answers (spec §11).
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/admin/idl.h"
#include "daemon/admin/page.h"
#include "daemon/admin/reload.h"
#include "daemon/admin/row.h"
#include "daemon/admin/varlink_priv.h"
#include "daemon/base/gather.h"
#include "daemon/base/version.h"
#include "daemon/edge/app.h"
#include "daemon/edge/refuse.h"
#include "daemon/edge/service_priv.h"
#include "daemon/edge/status.h"
#include "util/cleanup.h"

enum {
	CONNECTIONS_MAX = 1024, /* shown in one answer */
};

/* A Status call on its way through the workers, which fill in the rows. */
struct query {
	struct edge *edge;
	sd_varlink *link;
	sd_json_variant *connections;
	unsigned int count;
	int error;
	uint64_t memory;
	uint64_t memory_limit;
};

static int append_connection(struct query *q, const struct edge_conn_row *row)
{
	const struct link_stats *s = &row->stats;
	char peer[ADMIN_ADDR_MAX];
	return sd_json_variant_append_arraybo(
		&q->connections, SD_JSON_BUILD_PAIR_STRING("tunnel", row->name),
		SD_JSON_BUILD_PAIR_UNSIGNED("index", row->index),
		SD_JSON_BUILD_PAIR_STRING("protocol", row->protocol),
		SD_JSON_BUILD_PAIR_STRING("peer", admin_addr(&s->peer, peer)),
		SD_JSON_BUILD_PAIR_UNSIGNED("since_usec", admin_realtime_usec(s->since)),
		SD_JSON_BUILD_PAIR_UNSIGNED("rtt_usec", s->rtt_nsec / NSEC_PER_USEC),
		SD_JSON_BUILD_PAIR_UNSIGNED("loss_ppm", admin_loss_ppm(s)),
		SD_JSON_BUILD_PAIR_UNSIGNED("streams", s->streams),
		SD_JSON_BUILD_PAIR_UNSIGNED("rx_bytes", s->rx_bytes),
		SD_JSON_BUILD_PAIR_UNSIGNED("tx_bytes", s->tx_bytes),
		SD_JSON_BUILD_PAIR_UNSIGNED("worker", row->worker),
		SD_JSON_BUILD_PAIR_CONDITION(s->group[0] != '\0', "group",
					     SD_JSON_BUILD_STRING(s->group)),
		SD_JSON_BUILD_PAIR_UNSIGNED("mtu", s->mtu),
		SD_JSON_BUILD_PAIR_STRING("ecn", admin_ecn(s)));
}

static void on_row(const struct edge_conn_row *row, void *arg)
{
	struct query *q = arg;
	if (q->error >= 0 && q->count++ < CONNECTIONS_MAX)
		q->error = append_connection(q, row);
}

static void visit(struct worker *worker, void *arg)
{
	struct query *q = arg;
	struct edge_worker *ew = worker->app;
	struct slab_stats slab;
	slab_get_stats(worker->slab, &slab);
	q->memory += slab.in_use + slab.reserved;
	q->memory_limit += slab.limit;
	edge_conn_walk(&ew->conns, on_row, q);
}

static int append_tunnel(sd_json_variant **array, struct edge *e, size_t i)
{
	const struct roster_tunnel *own = &e->roster->tunnels[i];
	const struct conf_edge_tunnel *t = own->conf;
	char id[UUID_TEXT_LEN + 1];
	uuid_format(&t->id, id);
	sd_json_variant *hosts = NULL;
	int r = sd_json_variant_new_array(&hosts, NULL, 0);
	for (size_t h = 0; r >= 0 && h < t->host_count; h++)
		r = sd_json_variant_append_arrayb(&hosts, SD_JSON_BUILD_STRING(t->hosts[h].text));
	unsigned int n = atomic_load_explicit(&own->shared->connections, memory_order_relaxed);
	if (r >= 0)
		r = sd_json_variant_append_arraybo(array,
						   SD_JSON_BUILD_PAIR_STRING("name", t->name),
						   SD_JSON_BUILD_PAIR_STRING("id", id),
						   SD_JSON_BUILD_PAIR_VARIANT("hostnames", hosts),
						   SD_JSON_BUILD_PAIR_UNSIGNED("connections", n));
	(void)sd_json_variant_unref(hosts);
	return r;
}

static int reply_status(struct query *q, sd_json_variant *tunnels, sd_json_variant *need_restart)
{
	struct edge *e = q->edge;
	char metrics[ADMIN_ADDR_MAX] = "off";
	const char *refusing = refuse_kind(e->refuse);
	if (e->page)
		(void)admin_addr(page_address(e->page), metrics);
	return sd_varlink_replybo(
		q->link, SD_JSON_BUILD_PAIR_STRING("version", adit_version),
		SD_JSON_BUILD_PAIR_STRING("state", e->is_draining ? "draining" : "listening"),
		SD_JSON_BUILD_PAIR_UNSIGNED("since_usec", e->started / NSEC_PER_USEC),
		SD_JSON_BUILD_PAIR_INTEGER("pid", getpid()),
		SD_JSON_BUILD_PAIR_STRING(
			"config", e->params.conf->common.file ? e->params.conf->common.file : ""),
		SD_JSON_BUILD_PAIR_UNSIGNED("config_version", reload_version(e->reload)),
		SD_JSON_BUILD_PAIR_VARIANT("need_restart", need_restart),
		SD_JSON_BUILD_PAIR_STRING("metrics", metrics),
		SD_JSON_BUILD_PAIR_STRING("steering",
					  quic_steering_name(quic_server_steering(e->server))),
		SD_JSON_BUILD_PAIR_UNSIGNED("memory", q->memory),
		SD_JSON_BUILD_PAIR_UNSIGNED("memory_limit", q->memory_limit),
		SD_JSON_BUILD_PAIR_CONDITION(refusing != NULL, "refusing",
					     SD_JSON_BUILD_STRING(refusing)),
		SD_JSON_BUILD_PAIR_VARIANT("tunnels", tunnels),
		SD_JSON_BUILD_PAIR_VARIANT("connections", q->connections));
}

static void query_free(void *arg)
{
	struct query *q = arg;
	(void)sd_json_variant_unref(q->connections);
	(void)sd_varlink_unref(q->link);
	free(q);
}

static void on_visited(void *arg)
{
	struct query *q = arg;
	sd_json_variant *tunnels = NULL, *need_restart = NULL;
	int r = q->error;
	if (r >= 0)
		r = sd_json_variant_new_array(&tunnels, NULL, 0);
	for (size_t i = 0; r >= 0 && i < q->edge->roster->conf->tunnel_count; i++)
		r = append_tunnel(&tunnels, q->edge, i);
	if (r >= 0)
		r = varlink_string_array(reload_need_restart(q->edge->reload), &need_restart);
	if (r >= 0)
		r = reply_status(q, tunnels, need_restart);
	if (r < 0)
		(void)sd_varlink_error_errno(q->link, r);
	(void)sd_json_variant_unref(tunnels);
	(void)sd_json_variant_unref(need_restart);
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
	struct edge *e = user;
	int r = varlink_no_parameters(link, parameters);
	if (r != 0)
		return r;
	struct query *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->edge = e;
	q->link = sd_varlink_ref(link);
	r = sd_json_variant_new_array(&q->connections, NULL, 0);
	if (r >= 0)
		r = gather_start(e->workers, mainloop_mailbox(e->loop), &gather_ops, q);
	if (r < 0)
		query_free(q);
	return r;
}

static int on_reload(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
		     void *user)
{
	(void)flags;
	struct edge *e = user;
	return varlink_reload(link, parameters, e->reload, "io.adit.Edge.BadConfig");
}

static const struct varlink_method methods[] = {
	{ "io.adit.Edge.Status", on_status },
	{ "io.adit.Edge.Reload", on_reload },
	{ "io.adit.Edge.Drain", varlink_on_drain },
	{ "io.adit.Edge.Refuse", edge_service_on_refuse },
};

int edge_service_start(struct edge *e)
{
	struct varlink_params params = {
		.event = mainloop_event(e->loop),
		.socket = e->params.paths.control,
		.product = "adit-edge",
		.interface = idl_edge,
		.methods = methods,
		.method_count = ARRAY_SIZE(methods),
		.user = e,
	};
	return varlink_new(&params, &e->varlink);
}

void edge_service_stop(struct edge *e)
{
	varlink_free(TAKE_PTR(e->varlink));
	refuse_unref(TAKE_PTR(e->refuse));
}
