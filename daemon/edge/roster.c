/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration snapshot as the edge uses it. Made whole on the control thread, then only read.
 */
#include "daemon/edge/roster.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/base/secret.h"
#include "daemon/conf/credential.h"
#include "daemon/net/digest.h"
#include "util/cleanup.h"

/* ---- tunnels ---- */

static int load_secret(const struct conf_edge_tunnel *t, uint8_t ret[EDGE_TUNNEL_SECRET_LEN],
		       const char **ret_reason)
{
	if (t->has_secret_sha256) {
		memcpy(ret, t->secret_sha256, EDGE_TUNNEL_SECRET_LEN);
		return 0;
	}
	uint8_t secret[TUNNEL_SECRET_MAX];
	int n = credential_read_secret(t->secret_file, secret, ret_reason);
	int r = n < 0 ? n : digest_sha256(span_of(secret, (size_t)n), ret);
	secret_wipe(secret, sizeof(secret));
	return r;
}

static struct edge_tunnel *tunnel_new(const struct conf_edge_tunnel *t, const uint8_t *digest)
{
	struct edge_tunnel *made = edge_tunnel_new();
	if (!made)
		return NULL;
	made->id = t->id;
	(void)snprintf(made->name, sizeof(made->name), "%s", t->name);
	(void)snprintf(made->account, sizeof(made->account), "%s", t->account);
	memcpy(made->secret_sha256, digest, sizeof(made->secret_sha256));
	return made;
}

/* That of the old snapshot if a registration would be answered the same. */
static int tunnel_take(const struct roster_params *p, const struct conf_edge_tunnel *t,
		       const char **ret_reason, struct edge_tunnel **ret)
{
	uint8_t digest[EDGE_TUNNEL_SECRET_LEN];
	int r = load_secret(t, digest, ret_reason);
	if (r < 0)
		return r;
	const struct roster_tunnel *old = p->old ? roster_find(p->old, &t->id) : NULL;
	bool is_same = old && strcmp(old->shared->account, t->account) == 0 &&
		       secret_eq(span_of(old->shared->secret_sha256, sizeof(digest)),
				 span_of(digest, sizeof(digest)));
	*ret = is_same ? edge_tunnel_ref(old->shared) : tunnel_new(t, digest);
	secret_wipe(digest, sizeof(digest));
	return *ret ? 0 : -ENOMEM;
}

/* ---- the roster ---- */

static void roster_free(struct snapshot *snapshot)
{
	struct roster *r = CONTAINER_OF(snapshot, struct roster, snapshot);
	map_done(&r->ids);
	hosts_free(r->hosts);
	front_metrics_done(&r->front);
	tunnel_metrics_done(&r->links);
	for (size_t i = 0; i < r->conf->tunnel_count; i++)
		edge_tunnel_unref(r->tunnels[i].shared);
	edge_conf_unref(r->conf);
	free(r);
}

struct roster *roster_ref(struct roster *r)
{
	(void)snapshot_ref(&r->snapshot);
	return r;
}

void roster_unref(struct roster *r)
{
	if (r)
		snapshot_unref(&r->snapshot);
}
DEFINE_CLEANUP(struct roster *, roster_unref)

static int add_tunnels(struct roster *r, const struct roster_params *p, const char **ret_reason)
{
	for (size_t i = 0; i < p->conf->tunnel_count; i++) {
		struct roster_tunnel *t = &r->tunnels[i];
		t->conf = &p->conf->tunnels[i];
		int e = tunnel_take(p, t->conf, ret_reason, &t->shared);
		if (e == 0)
			e = map_insert(&r->ids, &t->by_id, uuid_span(&t->conf->id));
		if (e < 0)
			return e;
	}
	return 0;
}

static int add_hosts(struct roster *r)
{
	const struct edge_conf *c = r->conf;
	size_t count = 0, n = 0;
	for (size_t i = 0; i < c->tunnel_count; i++)
		count += c->tunnels[i].host_count;
	_cleanup_(freep) struct hosts_entry *entries =
		calloc(MAX(count, (size_t)1), sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	for (size_t i = 0; i < c->tunnel_count; i++)
		for (size_t j = 0; j < c->tunnels[i].host_count; j++) {
			entries[n] =
				(struct hosts_entry){ &c->tunnels[i].hosts[j].host, (uint32_t)n };
			n++;
		}
	return hosts_new(entries, count, &r->hosts);
}

int roster_new(const struct roster_params *p, const char **ret_reason, struct roster **ret)
{
	const struct conf_front *front = &p->conf->front;
	const struct conf_limits *limits = &p->conf->common.limits;
	*ret_reason = "no memory";
	_cleanup_(roster_unrefp) struct roster *r =
		calloc(1, sizeof(*r) + p->conf->tunnel_count * sizeof(r->tunnels[0]));
	if (!r)
		return -ENOMEM;
	snapshot_init(&r->snapshot, roster_free);
	r->conf = edge_conf_ref(p->conf);
	map_init(&r->ids, p->conf->tunnel_count);
	r->limits = (struct http_limits){
		.head_max = limits->head_size,
		.field_max = limits->head_fields,
		.line_max = limits->head_line,
		.trailer_max = limits->trailers_size,
		.trailer_field_max = limits->trailers_fields,
		.body_max = front->max_body,
		.header_timeout = front->header_timeout,
		.idle_timeout = front->idle_timeout,
		.body_timeout = front->body_timeout,
	};
	int e = add_tunnels(r, p, ret_reason);
	if (e == 0)
		e = add_hosts(r);
	if (e == 0)
		e = front_metrics_init(&r->front, p->front, p->conf);
	if (e == 0)
		e = tunnel_metrics_init(&r->links, p->links, p->conf, p->worker_count);
	if (e < 0)
		return e;
	*ret = TAKE_PTR(r);
	return 0;
}

const struct roster_tunnel *roster_find(const struct roster *r, const struct uuid *id)
{
	struct map_node *node = map_find(&r->ids, uuid_span(id));
	return node ? MAP_ENTRY(node, struct roster_tunnel, by_id) : NULL;
}

struct edge_tunnel *roster_tunnel_named(const struct roster *r, const char *name)
{
	size_t i = edge_conf_find_tunnel(r->conf, name);
	return i < r->conf->tunnel_count ? r->tunnels[i].shared : NULL;
}

const char *roster_name_of(const struct roster *r, const struct edge_tunnel *t)
{
	const struct roster_tunnel *found = roster_find(r, &t->id);
	return found ? found->conf->name : t->name;
}
