/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The method Refuse of io.adit.Edge: makes an order, hands it to every worker, and answers when all
 * of them go by it.
 */
#include "daemon/edge/service_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/admin/varlink_priv.h"
#include "daemon/base/gather.h"
#include "daemon/edge/app.h"
#include "daemon/edge/refuse.h"
#include "util/cleanup.h"

/* On its way through the workers. */
struct order {
	struct edge *edge;
	sd_varlink *link;
	struct refuse *refuse; /* NULL: nothing is refused any more */
};

struct wish {
	const char *kind;
	const char *tunnel;
	uint64_t count;
	uint64_t retry_after_usec; /* UINT64_MAX: as the kind has it */
};

static void order_free(void *arg)
{
	struct order *o = arg;
	refuse_unref(o->refuse);
	(void)sd_varlink_unref(o->link);
	free(o);
}

static void visit(struct worker *worker, void *arg)
{
	const struct order *o = arg;
	struct edge_worker *ew = worker->app;
	edge_conn_use_refuse(&ew->conns, o->refuse);
}

static void on_visited(void *arg)
{
	struct order *o = arg;
	struct edge *e = o->edge;
	refuse_unref(e->refuse);
	e->refuse = TAKE_PTR(o->refuse);
	(void)sd_varlink_reply(o->link, NULL);
	order_free(o);
}

static const struct gather_ops gather_ops = {
	.visit = visit,
	.on_done = on_visited,
	.on_cancel = order_free,
};

static const struct conf_edge_tunnel *find_tunnel(const struct edge *e, const char *name)
{
	const struct edge_conf *c = e->roster->conf;
	size_t i = edge_conf_find_tunnel(c, name);
	return i < c->tunnel_count ? &c->tunnels[i] : NULL;
}

/* Answers by itself where something is wrong with the wish; then returns what the method returns,
 * which is not 0. */
static int make_refuse(struct edge *e, sd_varlink *link, const struct wish *wish,
		       struct refuse **ret)
{
	const struct conf_edge_tunnel *tunnel = wish->tunnel ? find_tunnel(e, wish->tunnel) : NULL;
	if (wish->tunnel && !tunnel) {
		int r = sd_varlink_errorbo(link, "io.adit.Edge.NoSuchTunnel",
					   SD_JSON_BUILD_PAIR_STRING("name", wish->tunnel));
		return r ? r : 1;
	}
	if (strcmp(wish->kind, "none") == 0 || strcmp(wish->kind, "off") == 0)
		return 0;
	bool has_delay = wish->retry_after_usec <= INT64_MAX / NSEC_PER_USEC;
	struct refuse_params params = {
		.kind = wish->kind,
		.tunnel = tunnel ? &tunnel->id : NULL,
		.count = wish->count,
		.retry_after_ns =
			has_delay ? (int64_t)(wish->retry_after_usec * NSEC_PER_USEC) : -1,
	};
	int r = refuse_new(&params, ret);
	if (r == -EINVAL)
		r = sd_varlink_error_invalid_parameter_name(link, "kind");
	return r;
}

/* A number that may be null, which is as if it weren't there. */
static int dispatch_number(const char *name, sd_json_variant *variant,
			   sd_json_dispatch_flags_t flags, void *field)
{
	return sd_json_variant_is_null(variant)
		       ? 0
		       : sd_json_dispatch_uint64(name, variant, flags, field);
}

int edge_service_on_refuse(sd_varlink *link, sd_json_variant *parameters,
			   sd_varlink_method_flags_t flags, void *user)
{
	(void)flags;
	static const sd_json_dispatch_field fields[] = {
		{ "kind", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string,
		  offsetof(struct wish, kind), SD_JSON_MANDATORY },
		{ "tunnel", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string,
		  offsetof(struct wish, tunnel), SD_JSON_NULLABLE },
		{ "count", _SD_JSON_VARIANT_TYPE_INVALID, dispatch_number,
		  offsetof(struct wish, count), SD_JSON_NULLABLE },
		{ "retry_after_usec", _SD_JSON_VARIANT_TYPE_INVALID, dispatch_number,
		  offsetof(struct wish, retry_after_usec), SD_JSON_NULLABLE },
		{},
	};
	struct edge *e = user;
	struct wish wish = { .retry_after_usec = UINT64_MAX };
	struct refuse *refuse = NULL;
	if (!varlink_may_change(link))
		return varlink_deny(link);
	int r = sd_varlink_dispatch(link, parameters, fields, &wish);
	if (r == 0)
		r = make_refuse(e, link, &wish, &refuse);
	if (r != 0)
		return r;
	struct order *o = calloc(1, sizeof(*o));
	if (!o) {
		refuse_unref(refuse);
		return -ENOMEM;
	}
	*o = (struct order){ .edge = e, .link = sd_varlink_ref(link), .refuse = refuse };
	log_notice(e->log, "tunnel", "registrations are refused on request",
		   KV_STR("kind", wish.kind), KV_STR("tunnel", wish.tunnel ? wish.tunnel : "all"),
		   KV_U64("count", wish.count));
	r = gather_start(e->workers, mainloop_mailbox(e->loop), &gather_ops, o);
	if (r < 0)
		order_free(o);
	return r;
}
