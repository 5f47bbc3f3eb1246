/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which links does a tunnel have? Changes are rare (a registration) and looking is frequent (a
 * request): plain arrays, one for each tunnel that has a link, walked whole. They are found by what
 * the tunnel is, not by its place in a configuration, so a reload doesn't touch them.
 */
#include "daemon/edge/directory.h"

#include <stdlib.h>

#include "daemon/base/map.h"
#include "util/cleanup.h"
#include "util/macro.h"

struct links {
	struct map_node node;             /* key: the address of the tunnel */
	const struct edge_tunnel *tunnel; /* alive: its links refer to it */
	struct edge_link **items;         /* referenced */
	unsigned int count;
	unsigned int room;
};

struct directory {
	struct worker *worker;
	unsigned int turn; /* equally loaded links take turns */
	struct map tunnels;
	void (*on_doubt)(struct edge_link *el, void *user);
	void *user;
};

/* An announcement on its way to one worker; it carries the reference. */
struct notice {
	struct message message;
	struct directory *directory;
	struct edge_link *link;
};

int directory_new(struct worker *worker, struct directory **ret)
{
	struct directory *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->worker = worker;
	map_init(&d->tunnels, SIZE_MAX); /* as many as have a link: those are limited */
	*ret = d;
	return 0;
}

static struct span key_of(const struct edge_tunnel *const *tunnel)
{
	return span_of(tunnel, sizeof(*tunnel));
}

static struct links *links_of(const struct directory *d, const struct edge_tunnel *tunnel)
{
	struct map_node *node = map_find(&d->tunnels, key_of(&tunnel));
	return node ? MAP_ENTRY(node, struct links, node) : NULL;
}

static void links_free(struct directory *d, struct links *l)
{
	map_remove(&d->tunnels, &l->node);
	free(l->items);
	free(l);
}

static struct links *links_new(struct directory *d, const struct edge_tunnel *tunnel)
{
	struct links *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->tunnel = tunnel;
	if (map_insert(&d->tunnels, &l->node, key_of(&l->tunnel)) < 0) {
		free(l);
		return NULL;
	}
	return l;
}

void directory_free(struct directory *d)
{
	if (!d)
		return;
	MAP_FOREACH(node, &d->tunnels)
	{
		struct links *l = MAP_ENTRY(node, struct links, node);
		for (unsigned int i = 0; i < l->count; i++)
			edge_link_unref(l->items[i]);
		links_free(d, l);
	}
	map_done(&d->tunnels);
	free(d);
}

static bool links_grow(struct links *l)
{
	if (l->count < l->room)
		return true;
	unsigned int room = l->room ? l->room * 2 : 8;
	struct edge_link **items = reallocarray(l->items, room, sizeof(*items));
	if (!items)
		return false;
	l->items = items;
	l->room = room;
	return true;
}

static void directory_add(struct directory *d, struct edge_link *el_take)
{
	struct links *l = links_of(d, el_take->tunnel);
	if (!l)
		l = links_new(d, el_take->tunnel);
	if (l && links_grow(l)) {
		l->items[l->count++] = el_take;
		return;
	}
	/* This worker does without it. */
	if (l && l->count == 0)
		links_free(d, l);
	edge_link_unref(el_take);
}

static void directory_remove(struct directory *d, struct edge_link *el)
{
	struct links *l = links_of(d, el->tunnel);
	for (unsigned int i = 0; l && i < l->count; i++) {
		if (l->items[i] != el)
			continue;
		l->items[i] = l->items[--l->count];
		if (l->count == 0)
			links_free(d, l); /* before the tunnel may go with its last link */
		edge_link_unref(el);
		return;
	}
}

static void notice_discard(struct message *message)
{
	struct notice *n = CONTAINER_OF(message, struct notice, message);
	edge_link_unref(n->link);
	free(n);
}

static void notice_add(struct message *message, void *owner)
{
	(void)owner;
	struct notice *n = CONTAINER_OF(message, struct notice, message);
	directory_add(n->directory, n->link);
	free(n);
}

static void notice_remove(struct message *message, void *owner)
{
	(void)owner;
	struct notice *n = CONTAINER_OF(message, struct notice, message);
	directory_remove(n->directory, n->link);
	notice_discard(message);
}

static void notice_doubt(struct message *message, void *owner)
{
	(void)owner;
	struct notice *n = CONTAINER_OF(message, struct notice, message);
	struct directory *d = n->directory;
	const struct links *l = links_of(d, n->link->tunnel);
	for (unsigned int i = 0; l && i < l->count; i++) {
		struct edge_link *el = l->items[i];
		if (el->worker == d->worker && el->link &&
		    uuid_eq(&el->connector_id, &n->link->connector_id))
			link_probe(el->link);
	}
	if (d->on_doubt)
		d->on_doubt(n->link, d->user);
	notice_discard(message);
}

static struct notice *notice_new(struct directory *d, struct edge_link *el,
				 void (*deliver)(struct message *, void *))
{
	struct notice *n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->message.on_deliver = deliver;
	n->message.on_discard = notice_discard;
	n->directory = d;
	n->link = edge_link_ref(el);
	return n;
}

/* Makes all notices before any is posted, so that either all workers learn of a link or none. */
static int notify_all(struct worker_set *set, struct directory *const *dirs, struct edge_link *el,
		      void (*deliver)(struct message *, void *))
{
	unsigned int count = worker_set_count(set);
	_cleanup_(freep) struct notice **all = calloc(count, sizeof(*all));
	for (unsigned int i = 0; all && i < count; i++) {
		all[i] = notice_new(dirs[i], el, deliver);
		if (!all[i]) {
			while (i-- > 0)
				notice_discard(&all[i]->message);
			return -ENOMEM;
		}
	}
	for (unsigned int i = 0; all && i < count; i++)
		mailbox_post(worker_set_get(set, i)->mailbox, &all[i]->message);
	return all ? 0 : -ENOMEM;
}

int directory_announce(struct worker_set *set, struct directory *const *dirs, struct edge_link *el)
{
	return notify_all(set, dirs, el, notice_add);
}

void directory_withdraw(struct worker_set *set, struct directory *const *dirs, struct edge_link *el)
{
	/* Without memory the entry stays, unusable, until the directory goes: it is never picked.
	 */
	(void)notify_all(set, dirs, el, notice_remove);
}

void directory_doubt(struct worker_set *set, struct directory *const *dirs, struct edge_link *el)
{
	/* Without memory requests wait on it until it ends. */
	(void)notify_all(set, dirs, el, notice_doubt);
}

void directory_watch(struct directory *d, void (*on_doubt)(struct edge_link *el, void *user),
		     void *user)
{
	d->on_doubt = on_doubt;
	d->user = user;
}

unsigned int directory_count(const struct directory *d, const struct edge_tunnel *tunnel)
{
	const struct links *l = links_of(d, tunnel);
	unsigned int n = 0;
	for (unsigned int i = 0; l && i < l->count; i++)
		n += edge_link_is_usable(l->items[i]);
	return n;
}

static void prefer(struct edge_link **best, struct edge_link *el)
{
	if (!*best || edge_link_load(el) < edge_link_load(*best))
		*best = el;
}

struct edge_link *directory_pick(struct directory *d, const struct edge_tunnel *tunnel,
				 const struct edge_link *avoid)
{
	struct edge_link *best = NULL, *own = NULL, *sibling = NULL, *suspect = NULL,
			 *avoided = NULL;
	const struct links *l = links_of(d, tunnel);
	if (!l)
		return NULL;
	unsigned int first = d->turn++ % l->count;
	for (unsigned int i = 0; i < l->count; i++) {
		struct edge_link *el = l->items[(first + i) % l->count];
		if (!edge_link_is_usable(el))
			continue;
		if (el == avoid) {
			avoided = el;
			continue;
		}
		if (edge_link_suspicion(el)) {
			prefer(&suspect, el);
			continue;
		}
		if (avoid && uuid_eq(&el->connector_id, &avoid->connector_id)) {
			prefer(&sibling, el);
			continue;
		}
		prefer(&best, el);
		if (el->worker == d->worker)
			prefer(&own, el);
	}
	if (own && edge_link_load(own) <= 2 * edge_link_load(best) + 1)
		return own;
	if (!best)
		best = sibling ? sibling : suspect;
	return best ? best : avoided;
}

struct edge_link *directory_pick_flows(struct directory *d, const struct edge_tunnel *tunnel)
{
	struct edge_link *best = NULL;
	unsigned int best_rank = 0;
	const struct links *l = links_of(d, tunnel);
	unsigned int first = l ? d->turn++ % l->count : 0;
	for (unsigned int i = 0; l && i < l->count; i++) {
		struct edge_link *el = l->items[(first + i) % l->count];
		if (!el->has_flows || !edge_link_is_usable(el))
			continue;
		unsigned int rank = 1 + (el->worker == d->worker) + 2 * !edge_link_suspicion(el);
		if (rank > best_rank) {
			best = el;
			best_rank = rank;
		}
	}
	return best;
}

struct edge_link *directory_find_older(const struct directory *d, const struct edge_link *el)
{
	const struct links *l = links_of(d, el->tunnel);
	for (unsigned int i = 0; l && i < l->count; i++) {
		struct edge_link *other = l->items[i];
		if (other != el && other->index == el->index && other->serial < el->serial &&
		    edge_link_is_usable(other) && uuid_eq(&other->connector_id, &el->connector_id))
			return other;
	}
	return NULL;
}
