/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows and Drops. The workers are asked one after the other; the rows of all go out in a stream,
 * as the protocol wants lists. Drops come from the metrics, so that whoever counts one there is in
 * the list.
 */
#include "daemon/aditd/service_flows.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/aditd/status.h"
#include "daemon/admin/row.h"
#include "daemon/base/gather.h"
#include "daemon/session/flow_list.h"
#include "util/cleanup.h"

enum { FLOWS_DEFAULT = 1000, FLOWS_MAX = 10000 };

static const char error_none[] = "io.adit.Daemon.NoFlows";

/* ---- Flows ---- */

struct flows_query {
	struct app *app;
	sd_varlink *link;
	size_t count, limit;
	struct flow_row rows[];
};

static void visit_flows(struct worker *worker, void *arg)
{
	struct flows_query *q = arg;
	const struct wiring *w = worker->app;
	q->count += flow_table_list(&w->flows, q->rows + q->count, q->limit - q->count);
}

static int make_row(const struct flow_row *f, sd_json_variant **ret)
{
	char id[DGRAM_ID_TEXT_LEN + 1], source[ADMIN_ADDR_MAX], destination[ADMIN_ADDR_MAX];
	dgram_id_format(&f->id, id);
	return sd_json_buildo(
		ret, SD_JSON_BUILD_PAIR_STRING("id", id),
		SD_JSON_BUILD_PAIR_STRING("source", admin_addr(&f->local, source)),
		SD_JSON_BUILD_PAIR_STRING("destination", admin_addr(&f->remote, destination)),
		SD_JSON_BUILD_PAIR_STRING("path", path_kind_name(f->path)),
		SD_JSON_BUILD_PAIR_STRING("why", f->why),
		SD_JSON_BUILD_PAIR_UNSIGNED("since_usec", admin_realtime_usec(f->since)),
		SD_JSON_BUILD_PAIR_CONDITION(f->is_bound, "index",
					     SD_JSON_BUILD_UNSIGNED(f->index)),
		SD_JSON_BUILD_PAIR_UNSIGNED("version", f->is_v2 ? 2 : 3),
		SD_JSON_BUILD_PAIR_UNSIGNED("tx", f->tx), SD_JSON_BUILD_PAIR_UNSIGNED("rx", f->rx),
		SD_JSON_BUILD_PAIR_UNSIGNED("idle_sec", f->idle / NSEC_PER_SEC));
}

/* The last one ends the answer. */
static int send_row(sd_varlink *link, const struct flow_row *f, bool is_last)
{
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *flow = NULL;
	int r = make_row(f, &flow);
	if (r < 0)
		return r;
	return is_last ? sd_varlink_replybo(link, SD_JSON_BUILD_PAIR_VARIANT("flow", flow))
		       : sd_varlink_notifybo(link, SD_JSON_BUILD_PAIR_VARIANT("flow", flow));
}

static void flows_free(void *arg)
{
	struct flows_query *q = arg;
	(void)sd_varlink_unref(q->link);
	free(q);
}

static void on_flows_visited(void *arg)
{
	struct flows_query *q = arg;
	int r = q->count ? 0 : sd_varlink_error(q->link, error_none, NULL);
	for (size_t i = 0; r >= 0 && i < q->count; i++)
		r = send_row(q->link, &q->rows[i], i + 1 == q->count);
	if (r < 0 && q->count)
		(void)sd_varlink_error_errno(q->link, r);
	flows_free(q);
}

static const struct gather_ops flows_ops = {
	.visit = visit_flows,
	.on_done = on_flows_visited,
	.on_cancel = flows_free,
};

int service_on_flows(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
		     void *user)
{
	static const sd_json_dispatch_field fields[] = {
		{ "limit", SD_JSON_VARIANT_INTEGER, sd_json_dispatch_int, 0, 0 },
		{},
	};
	struct app *a = user;
	int limit = FLOWS_DEFAULT;
	int r = sd_varlink_dispatch(link, parameters, fields, &limit);
	if (r != 0)
		return r;
	if (limit < 1 || limit > FLOWS_MAX)
		return sd_varlink_error_invalid_parameter_name(link, "limit");
	if (!(flags & SD_VARLINK_METHOD_MORE))
		return sd_varlink_error(link, SD_VARLINK_ERROR_EXPECTED_MORE, NULL);
	struct flows_query *q = calloc(1, sizeof(*q) + (size_t)limit * sizeof(q->rows[0]));
	if (!q)
		return -ENOMEM;
	q->app = a;
	q->limit = (size_t)limit;
	q->link = sd_varlink_ref(link);
	r = gather_start(a->workers, mainloop_mailbox(a->loop), &flows_ops, q);
	if (r < 0)
		flows_free(q);
	return r;
}

/* ---- Drops ---- */

struct drops_query {
	struct app *app;
	sd_varlink *link;
	sd_json_variant *drops;
	int error;
};

static void visit_drops(struct worker *worker, void *arg)
{
	struct drops_query *q = arg;
	status_refresh(worker, q->app);
}

static void append_drop(const struct metric_sample *sample, void *arg)
{
	struct drops_query *q = arg;
	if (q->error < 0 || sample->value == 0 ||
	    strcmp(sample->family->name, "adit_drops_total") != 0)
		return;
	q->error = sd_json_variant_append_arraybo(
		&q->drops, SD_JSON_BUILD_PAIR_STRING("where", sample->values[0]),
		SD_JSON_BUILD_PAIR_STRING("reason", sample->values[1]),
		SD_JSON_BUILD_PAIR_INTEGER("count", sample->value));
}

static void drops_free(void *arg)
{
	struct drops_query *q = arg;
	(void)sd_varlink_unref(q->link);
	(void)sd_json_variant_unref(q->drops);
	free(q);
}

static void on_drops_visited(void *arg)
{
	struct drops_query *q = arg;
	q->error = sd_json_variant_new_array(&q->drops, NULL, 0);
	metric_walk(q->app->metrics, append_drop, q);
	if (q->error >= 0)
		q->error =
			sd_varlink_replybo(q->link, SD_JSON_BUILD_PAIR_VARIANT("drops", q->drops));
	if (q->error < 0)
		(void)sd_varlink_error_errno(q->link, q->error);
	drops_free(q);
}

static const struct gather_ops drops_ops = {
	.visit = visit_drops,
	.on_done = on_drops_visited,
	.on_cancel = drops_free,
};

int service_on_drops(sd_varlink *link, sd_json_variant *parameters, sd_varlink_method_flags_t flags,
		     void *user)
{
	(void)flags;
	struct app *a = user;
	int r = varlink_no_parameters(link, parameters);
	if (r != 0)
		return r;
	struct drops_query *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->app = a;
	q->link = sd_varlink_ref(link);
	r = gather_start(a->workers, mainloop_mailbox(a->loop), &drops_ops, q);
	if (r < 0)
		drops_free(q);
	return r;
}
