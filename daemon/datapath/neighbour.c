/* SPDX-License-Identifier: Apache-2.0 */
/* Asking, and looking what the kernel has heard: each neighbour once in a while, some at a time. */
#include "daemon/datapath/neighbour.h"

#include <stdlib.h>

#include "netlink/lookup.h"

enum {
	TRIES = 4,     /* questions without an answer: to it, then to everybody */
	AT_ONCE = 512, /* neighbours that are looked at in a tick: the kernel is asked for each */
};
#define GAP   (5 * NSEC_PER_SEC)
#define SLACK (20 * NSEC_PER_MSEC) /* the kernel's times are coarse */

void neighbours_init(struct neighbours *set, const struct neighbour_ops *ops, void *user,
		     struct lookup *lookup, size_t limit)
{
	*set = (struct neighbours){ .ops = ops, .user = user, .lookup = lookup };
	map_init(&set->map, limit);
	list_init(&set->all);
}

void neighbours_done(struct neighbours *set)
{
	map_done(&set->map);
}

static struct neighbour_key key_of(unsigned int ifindex, const struct ip_addr *addr)
{
	struct neighbour_key key = { .ifindex = ifindex, .family = addr->family };
	memcpy(key.addr, addr->bytes, sizeof(key.addr));
	return key;
}

struct neighbour *neighbour_find(const struct neighbours *set, unsigned int ifindex,
				 const struct ip_addr *addr)
{
	struct neighbour_key key = key_of(ifindex, addr);
	struct map_node *node = map_find(&set->map, span_of(&key, sizeof(key)));
	return node ? MAP_ENTRY(node, struct neighbour, in_map) : NULL;
}

struct neighbour *neighbour_get(struct neighbours *set, unsigned int way, unsigned int ifindex,
				const struct solicit *question)
{
	struct neighbour *n = neighbour_find(set, ifindex, &question->target);
	if (n)
		return n;
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->key = key_of(ifindex, &question->target);
	n->way = way;
	n->question = *question;
	list_init(&n->flows);
	if (map_insert(&set->map, &n->in_map, span_of(&n->key, sizeof(n->key))) < 0) {
		free(n);
		return NULL;
	}
	list_prepend(&set->all, &n->node);
	return n;
}

void neighbour_free(struct neighbours *set, struct neighbour *n)
{
	map_remove(&set->map, &n->in_map);
	list_remove(&n->node);
	free(n);
}

static void ask(struct neighbours *set, struct neighbour *n, nsec_t now)
{
	n->question.to_all = n->tries > 0;
	if (!set->ops->ask(set->user, n))
		return;
	n->tries++;
	n->asked = n->asked ? n->asked : now;
	list_remove(&n->node);
	list_append(&set->all, &n->node);
}

enum answer { ANSWER_NONE, ANSWER_YES, ANSWER_OTHER };

/* What the kernel has heard since it was asked. */
static enum answer find_answer(const struct neighbours *set, const struct neighbour *n, nsec_t now)
{
	struct lookup_neighbour found;
	if (lookup_neighbour(set->lookup, n->key.ifindex, &n->question.target, &found) < 0)
		return ANSWER_OTHER;
	if (memcmp(found.mac, n->question.mac, sizeof(found.mac)) != 0)
		return ANSWER_OTHER;
	bool is_heard = found.is_fixed || found.confirmed <= now - n->asked + SLACK;
	return is_heard ? ANSWER_YES : ANSWER_NONE;
}

static void look_at(struct neighbours *set, struct neighbour *n, nsec_t now)
{
	enum answer answer = n->asked ? find_answer(set, n, now) : ANSWER_NONE;
	if (answer == ANSWER_YES) {
		n->due = nsec_add(n->asked, GAP);
		n->asked = 0;
		n->tries = 0;
	} else if (answer == ANSWER_OTHER || n->tries == TRIES) {
		set->ops->on_lost(set->user, n);
	} else {
		ask(set, n, now);
	}
}

void neighbours_tick(struct neighbours *set, nsec_t now)
{
	unsigned int left = AT_ONCE;
	struct list *last = set->all.prev;
	LIST_FOREACH(node, &set->all)
	{
		struct neighbour *n = LIST_ENTRY(node, struct neighbour, node);
		bool is_last = node == last; /* those behind it have been moved there just now */
		if (n->question.local.family == n->question.target.family &&
		    (n->asked || now >= n->due) && left > 0) {
			left--;
			look_at(set, n, now);
		}
		if (is_last)
			return;
	}
}
