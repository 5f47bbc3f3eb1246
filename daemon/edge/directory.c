/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which links does a tunnel have? Changes are rare (a registration) and looking is frequent (a
 * request): plain arrays, one per tunnel, walked whole.
 */
#include "daemon/edge/directory.h"

#include <stdlib.h>

#include "util/cleanup.h"
#include "util/macro.h"

struct links {
	struct edge_link **items; /* referenced */
	unsigned int count;
	unsigned int room;
};

struct directory {
	struct worker *worker;
	uint32_t tunnels;
	unsigned int turn; /* equally loaded links take turns */
	void (*on_doubt)(struct edge_link *el, void *user);
	void *user;
	struct links links[];
};

/* An announcement on its way to one worker; it carries the reference. */
struct notice {
	struct message message;
	struct directory *directory;
	struct edge_link *link;
};

int directory_new(struct worker *worker, uint32_t tunnels, struct directory **ret)
{
	struct directory *d = calloc(1, sizeof(*d) + (size_t)tunnels * sizeof(d->links[0]));
	if (!d)
		return -ENOMEM;
	d->worker = worker;
	d->tunnels = tunnels;
	*ret = d;
	return 0;
}

void directory_free(struct directory *d)
{
	if (!d)
		return;
	for (uint32_t t = 0; t < d->tunnels; t++) {
		for (unsigned int i = 0; i < d->links[t].count; i++)
			edge_link_unref(d->links[t].items[i]);
		free(d->links[t].items);
	}
	free(d);
}

static void directory_add(struct directory *d, struct edge_link *el_take)
{
	struct links *l = &d->links[el_take->tunnel];
	if (l->count == l->room) {
		unsigned int room = l->room ? l->room * 2 : 8;
		struct edge_link **items = reallocarray(l->items, room, sizeof(*items));
		if (!items) {
			edge_link_unref(el_take); /* this worker does without it */
			return;
		}
		l->items = items;
		l->room = room;
	}
	l->items[l->count++] = el_take;
}

static void directory_remove(struct directory *d, const struct edge_link *el)
{
	struct links *l = &d->links[el->tunnel];
	for (unsigned int i = 0; i < l->count; i++) {
		if (l->items[i] == el) {
			edge_link_unref(l->items[i]);
			l->items[i] = l->items[--l->count];
			return;
		}
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
	const struct links *l = &d->links[n->link->tunnel];
	for (unsigned int i = 0; i < l->count; i++) {
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

unsigned int directory_count(const struct directory *d, uint32_t tunnel)
{
	unsigned int n = 0;
	for (unsigned int i = 0; tunnel < d->tunnels && i < d->links[tunnel].count; i++)
		n += edge_link_is_usable(d->links[tunnel].items[i]);
	return n;
}

static void prefer(struct edge_link **best, struct edge_link *el)
{
	if (!*best || edge_link_load(el) < edge_link_load(*best))
		*best = el;
}

struct edge_link *directory_pick(struct directory *d, uint32_t tunnel,
				 const struct edge_link *avoid)
{
	struct edge_link *best = NULL, *own = NULL, *suspect = NULL, *avoided = NULL;
	if (tunnel >= d->tunnels)
		return NULL;
	const struct links *l = &d->links[tunnel];
	unsigned int first = l->count ? d->turn++ % l->count : 0;
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
		prefer(&best, el);
		if (el->worker == d->worker)
			prefer(&own, el);
	}
	if (own && edge_link_load(own) <= 2 * edge_link_load(best) + 1)
		return own;
	return best ? best : suspect ? suspect : avoided;
}

struct edge_link *directory_find_older(const struct directory *d, const struct edge_link *el)
{
	const struct links *l = &d->links[el->tunnel];
	for (unsigned int i = 0; i < l->count; i++) {
		struct edge_link *other = l->items[i];
		if (other != el && other->index == el->index && other->serial < el->serial &&
		    edge_link_is_usable(other) && uuid_eq(&other->connector_id, &el->connector_id))
			return other;
	}
	return NULL;
}
