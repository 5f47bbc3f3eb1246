/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anchors. Looking for one with a place for a remote has a bound: the search goes on where the last
 * one ended, so that neither many flows to one remote nor one flow to each of many is slow; at
 * worst a socket more is opened than there had to be.
 */
#include "daemon/datapath/anchor.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "util/cleanup.h"

enum {
	TRIES = 16,         /* anchors that are looked at for one path */
	SPARES = 16,        /* of a local address, kept without a flow */
	ANCHOR_FLOWS = 4096 /* of one anchor: they share its buffer */
};

/* The anchors of one local address. */
struct anchor_group {
	struct datapath *datapath;
	struct ip_addr local;
	struct list anchors; /* the next search begins at the first */
	unsigned int count;
	unsigned int spares;
	struct list node;
};

static void make_key(const struct ip_port *remote, uint8_t ret[PATH_REMOTE_LEN])
{
	memcpy(ret, remote->ip.bytes, sizeof(remote->ip.bytes));
	ret[16] = (uint8_t)remote->ip.family;
	ret[17] = (uint8_t)(remote->port >> 8);
	ret[18] = (uint8_t)remote->port;
}

struct flow_path *anchor_find(const struct anchor *a, const struct ip_port *remote)
{
	uint8_t key[PATH_REMOTE_LEN];
	make_key(remote, key);
	struct map_node *node = map_find(&a->places, span_of(key, sizeof(key)));
	return node ? MAP_ENTRY(node, struct path_place, node)->path : NULL;
}

/* ---- opening and closing ---- */

static struct anchor_group *group_of(struct datapath *d, const struct ip_addr *local)
{
	LIST_FOREACH(node, &d->groups)
	{
		struct anchor_group *g = LIST_ENTRY(node, struct anchor_group, node);
		if (ip_addr_eq(&g->local, local))
			return g;
	}
	struct anchor_group *g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->datapath = d;
	g->local = *local;
	list_init(&g->anchors);
	list_append(&d->groups, &g->node);
	return g;
}

static void group_put(struct anchor_group *g)
{
	if (g->count > 0)
		return;
	list_remove(&g->node);
	free(g);
}

static int anchor_open(struct anchor_group *g, struct anchor **ret)
{
	static_assert(offsetof(struct anchor, sock) == 0); /* it is released with its socket */

	struct datapath *d = g->datapath;
	_cleanup_(freep) struct anchor *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	int r = path_sock_open(&a->sock, d, &(struct ip_port){ .ip = g->local }, NULL);
	if (r < 0)
		return r;
	a->sock.anchor = a;
	a->group = g;
	map_init(&a->places, ANCHOR_FLOWS);
	list_prepend(&g->anchors, &a->node);
	g->count++;
	g->spares++;
	d->stats.anchors++;
	d->stats.opened++;
	*ret = TAKE_PTR(a);
	return 0;
}

static void anchor_close(struct anchor *a)
{
	struct anchor_group *g = a->group;
	map_done(&a->places);
	list_remove(&a->node);
	g->count--;
	g->spares--;
	g->datapath->stats.anchors--;
	path_sock_close(&a->sock);
}

/* 0, -EEXIST or -E2BIG: not here. */
static int try_anchor(struct anchor *a, struct path_place *place)
{
	int r = map_insert(&a->places, &place->node, span_of(place->key, sizeof(place->key)));
	if (r < 0)
		return r;
	place->anchor = a;
	if (a->places.count == 1)
		a->group->spares--;
	return 0;
}

static int search(struct anchor_group *g, struct path_place *place)
{
	for (unsigned int i = 0; i < MIN(g->count, (unsigned int)TRIES); i++) {
		struct anchor *a = LIST_ENTRY(g->anchors.next, struct anchor, node);
		int r = try_anchor(a, place);
		if (r == 0 || r == -ENOMEM)
			return r;
		list_remove(&a->node);
		list_append(&g->anchors, &a->node);
	}
	return -ENOENT;
}

int anchor_take(struct datapath *d, const struct ip_addr *local, struct flow_path *path)
{
	_cleanup_(freep) struct path_place *place = calloc(1, sizeof(*place));
	struct anchor_group *g = place ? group_of(d, local) : NULL;
	if (!g)
		return -ENOMEM;
	make_key(&path->remote, place->key);
	int r = search(g, place);
	if (r == -ENOENT) {
		struct anchor *a = NULL;
		r = anchor_open(g, &a);
		if (r == 0)
			r = try_anchor(a, place);
	}
	if (r < 0) {
		group_put(g);
		return r;
	}
	place->path = path;
	place->home = d->worker;
	path->place = TAKE_PTR(place);
	return 0;
}

/* On the anchor's worker. */
static void place_free(struct path_place *place)
{
	struct anchor *a = place->anchor;
	struct anchor_group *g = a->group;
	map_remove(&a->places, &place->node);
	free(place);
	if (a->places.count > 0)
		return;
	g->spares++;
	if (g->spares > SPARES)
		anchor_close(a);
}

static void on_home(struct message *message, void *owner)
{
	(void)owner;
	place_free(CONTAINER_OF(message, struct path_place, message));
}

/* The anchor's worker has ended, and the anchor with it. */
static void on_home_discard(struct message *message)
{
	free(CONTAINER_OF(message, struct path_place, message));
}

void anchor_give(struct flow_path *path)
{
	struct path_place *place = TAKE_PTR(path->place);
	if (path->datapath && path->datapath->worker == place->home) {
		place_free(place);
		return;
	}
	place->message = (struct message){ .on_deliver = on_home, .on_discard = on_home_discard };
	mailbox_post(place->home->mailbox, &place->message);
}

void anchor_close_all(struct datapath *d)
{
	LIST_FOREACH(at, &d->groups)
	{
		struct anchor_group *g = LIST_ENTRY(at, struct anchor_group, node);
		LIST_FOREACH(node, &g->anchors)
		anchor_close(LIST_ENTRY(node, struct anchor, node));
		group_put(g);
	}
}
