/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting strangers. A list is enough: it is walked once for each new connection and is at most
 * as long as a worker's share of the limit.
 */
#include "daemon/link/strangers.h"

#include <string.h>

#include "util/macro.h"

enum { ADDR_SHARE_MIN = 2 }; /* connections of an address that a worker takes at least */

static unsigned int share_of(unsigned int total, unsigned int workers)
{
	return MAX((total + workers - 1) / workers, 1U);
}

void strangers_init(struct strangers *s, const struct strangers_limits *limits)
{
	*s = (struct strangers){
		.max = share_of(limits->max, limits->workers),
		.max_per_addr = MAX(share_of(limits->max_per_addr, limits->workers),
				    (unsigned int)ADDR_SHARE_MIN),
	};
	list_init(&s->all);
}

static void set_count(struct strangers *s, unsigned int count)
{
	atomic_store_explicit(&s->count, count, memory_order_relaxed);
}

void strangers_add(struct strangers *s, struct stranger *stranger, const struct ip_addr *ip)
{
	stranger->ip = *ip;
	list_append(&s->all, &stranger->node);
	set_count(s, strangers_count(s) + 1);
}

bool strangers_remove(struct strangers *s, struct stranger *stranger)
{
	if (!list_is_linked(&stranger->node))
		return false;
	list_remove(&stranger->node);
	set_count(s, strangers_count(s) - 1);
	return true;
}

static bool is_same_user(const struct ip_addr *a, const struct ip_addr *b)
{
	size_t len = a->family == IP_FAMILY_V6 ? 8 : sizeof(a->bytes);
	return a->family == b->family && memcmp(a->bytes, b->bytes, len) == 0;
}

unsigned int strangers_of(const struct strangers *s, const struct ip_addr *ip, bool only_validated)
{
	unsigned int n = 0;
	for (const struct list *i = s->all.next; i != &s->all; i = i->next) {
		const struct stranger *one =
			(const struct stranger *)((const char *)i -
						  offsetof(struct stranger, node));
		n += is_same_user(&one->ip, ip) && (!only_validated || one->is_validated);
	}
	return n;
}
