/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing an address is comparing ranks: a number whose digits are the reasons, the weightiest
 * first.
 */
#include "daemon/aditd/edge_addrs.h"

#include <errno.h>

#include "util/macro.h"

#define TURN_NSEC (600 * NSEC_PER_SEC)

static const nsec_t fault_nsec[EDGE_FAULT_MAX_] = {
	[EDGE_FAULT_NETWORK] = 60 * NSEC_PER_SEC, [EDGE_FAULT_SILENT] = 60 * NSEC_PER_SEC,
	[EDGE_FAULT_BROKEN] = 60 * NSEC_PER_SEC,  [EDGE_FAULT_DUPLICATE] = 30 * NSEC_PER_SEC,
	[EDGE_FAULT_AWAY] = 60 * NSEC_PER_SEC,
};

void edge_addrs_init(struct edge_addrs *e, uint8_t ip_version,
		     uint64_t (*random_below)(uint64_t bound))
{
	*e = (struct edge_addrs){ .random_below = random_below };
	if (ip_version)
		e->only = ip_version == 4 ? IP_FAMILY_V4 : IP_FAMILY_V6;
}

static int find(const struct edge_addrs *e, const struct ip_port *addr)
{
	for (unsigned int i = 0; i < e->count; i++)
		if (ip_port_eq(&e->entries[i].a.addr, addr))
			return (int)i;
	return -ENOENT;
}

bool edge_addrs_has(const struct edge_addrs *e, const struct ip_port *addr)
{
	return find(e, addr) >= 0;
}

/* ---- the set -------------------------------------------------------------------------------- */

static void add(struct edge_addrs *to, const struct edge_addrs *from, const struct edge_addr *a)
{
	enum ip_family family = a->addr.ip.family;
	if (family == IP_FAMILY_NONE || (to->only && family != to->only))
		return;
	if (to->count == EDGE_ADDRS_MAX || edge_addrs_has(to, &a->addr))
		return;
	struct edge_entry *entry = &to->entries[to->count++];
	int old = find(from, &a->addr);
	if (old >= 0)
		*entry = from->entries[old];
	entry->a = *a;
	entry->a.region = a->region % EDGE_REGIONS;
	if (to->regions[entry->a.region].first == IP_FAMILY_NONE)
		to->regions[entry->a.region].first = family;
}

uint64_t edge_addrs_replace(struct edge_addrs *e, const struct edge_addr *set, size_t count)
{
	struct edge_addrs now;
	edge_addrs_init(&now, 0, e->random_below);
	now.only = e->only;
	for (size_t i = 0; i < count; i++)
		add(&now, e, &set[i]);
	if (now.count == 0)
		return 0;
	for (unsigned int i = 0; i < EDGE_REGIONS; i++)
		now.regions[i].turned_until = e->regions[i].turned_until;
	uint64_t gone = 0;
	for (unsigned int i = 0; i < EDGE_INDEXES_MAX; i++) {
		if (e->own[i].ip.family == IP_FAMILY_NONE)
			continue;
		if (edge_addrs_has(&now, &e->own[i]))
			now.own[i] = e->own[i];
		else
			gone |= UINT64_C(1) << i;
	}
	*e = now;
	return gone;
}

/* ---- what is known -------------------------------------------------------------------------- */

void edge_addrs_set_own(struct edge_addrs *e, unsigned int index, const struct ip_port *addr)
{
	e->own[index] = *addr;
}

static bool has_other_family(const struct edge_addrs *e, const struct edge_addr *a)
{
	for (unsigned int i = 0; i < e->count; i++)
		if (e->entries[i].a.region == a->region &&
		    e->entries[i].a.addr.ip.family != a->addr.ip.family)
			return true;
	return false;
}

/* The family that goes first in a region at this time. */
static bool is_first_family(const struct edge_addrs *e, const struct edge_addr *a, nsec_t now)
{
	bool is_turned = now < e->regions[a->region].turned_until;
	return (a->addr.ip.family == e->regions[a->region].first) != is_turned;
}

void edge_addrs_blame(struct edge_addrs *e, const struct ip_port *addr, enum edge_fault fault,
		      nsec_t now)
{
	int i = find(e, addr);
	if (i < 0)
		return;
	const struct edge_addr *a = &e->entries[i].a;
	e->entries[i].until[fault] = nsec_add(now, fault_nsec[fault]);
	if (fault != EDGE_FAULT_NETWORK || !is_first_family(e, a, now) || !has_other_family(e, a))
		return;
	bool is_turned = now < e->regions[a->region].turned_until;
	e->regions[a->region].turned_until = is_turned ? 0 : nsec_add(now, TURN_NSEC);
}

void edge_addrs_praise(struct edge_addrs *e, const struct ip_port *addr)
{
	int i = find(e, addr);
	if (i < 0)
		return;
	e->entries[i].until[EDGE_FAULT_NETWORK] = 0;
	e->entries[i].until[EDGE_FAULT_SILENT] = 0;
	e->entries[i].until[EDGE_FAULT_BROKEN] = 0;
	const struct edge_addr *a = &e->entries[i].a;
	if (a->addr.ip.family == e->regions[a->region].first)
		e->regions[a->region].turned_until = 0;
}

void edge_addrs_forgive(struct edge_addrs *e)
{
	for (unsigned int i = 0; i < e->count; i++) {
		e->entries[i].until[EDGE_FAULT_NETWORK] = 0;
		e->entries[i].until[EDGE_FAULT_SILENT] = 0;
	}
	for (unsigned int i = 0; i < EDGE_REGIONS; i++)
		e->regions[i].turned_until = 0;
}

bool edge_addrs_is_blamed(const struct edge_addrs *e, const struct ip_port *addr,
			  enum edge_fault fault, nsec_t now)
{
	int i = find(e, addr);
	return i >= 0 && now < e->entries[i].until[fault];
}

/* ---- choice --------------------------------------------------------------------------------- */

struct ranking {
	const struct edge_addrs *e;
	const struct edge_query *query;
	nsec_t now;
	uint64_t users[EDGE_ADDRS_MAX]; /* other indexes there, as bits */
	unsigned int in_region[EDGE_REGIONS];
	int avoid; /* entry, or negative */
};

static void count_user(struct ranking *r, const struct ip_port *addr, unsigned int index)
{
	if (index == r->query->index || addr->ip.family == IP_FAMILY_NONE)
		return;
	int i = find(r->e, addr);
	uint64_t bit = UINT64_C(1) << (index % EDGE_INDEXES_MAX);
	if (i < 0 || (r->users[i] & bit))
		return;
	r->users[i] |= bit;
	r->in_region[r->e->entries[i].a.region]++;
}

/* When what speaks against it began to, or 0: nothing does. */
static nsec_t blamed_since(const struct edge_entry *entry, nsec_t now)
{
	nsec_t since = 0;
	for (unsigned int f = 0; f < EDGE_FAULT_MAX_; f++)
		if (now < entry->until[f])
			since = MAX(since, nsec_sub(entry->until[f], fault_nsec[f]) + 1);
	return since;
}

static unsigned int doubt(const struct ranking *r, const struct edge_entry *entry)
{
	if (r->now < entry->until[EDGE_FAULT_AWAY])
		return 3;
	if (blamed_since(entry, r->now))
		return 2;
	bool is_turned = r->now < r->e->regions[entry->a.region].turned_until;
	return is_turned && !is_first_family(r->e, &entry->a, r->now) ? 1 : 0;
}

/* The digits below doubt: among doubtful addresses the oldest doubt counts more than these. */
#define TASTE_MASK ((UINT64_C(1) << (1 + 8 + 1 + 8 + 1)) - 1)

/* Smaller is better. */
static uint64_t rank(const struct ranking *r, unsigned int i)
{
	const struct edge_entry *entry = &r->e->entries[i];
	const struct ip_port *own = &r->e->own[r->query->index];
	bool is_same_region = r->query->wants_other_region && r->avoid >= 0 &&
			      r->e->entries[r->avoid].a.region == entry->a.region;
	uint64_t value = r->avoid == (int)i;
	value = value << 2 | doubt(r, entry);
	value = value << 1 | is_same_region;
	value = value << 8 | (unsigned int)__builtin_popcountll(r->users[i]);
	value = value << 1 | !ip_port_eq(own, &entry->a.addr);
	value = value << 8 | r->in_region[entry->a.region];
	return value << 1 | !is_first_family(r->e, &entry->a, r->now);
}

static struct ranking count_users(const struct edge_addrs *e, const struct edge_query *query,
				  nsec_t now)
{
	struct ranking r = { .e = e, .query = query, .now = now, .avoid = -ENOENT };
	if (query->avoid)
		r.avoid = find(e, query->avoid);
	for (unsigned int i = 0; i < EDGE_INDEXES_MAX; i++)
		count_user(&r, &e->own[i], i);
	for (size_t i = 0; i < query->use_count; i++)
		count_user(&r, &query->uses[i].addr, query->uses[i].index);
	return r;
}

/* Other indexes at the address, then in its region: smaller is emptier. */
static unsigned int neighbours(const struct ranking *r, unsigned int i)
{
	return (unsigned int)__builtin_popcountll(r->users[i]) << 8 |
	       r->in_region[r->e->entries[i].a.region];
}

int edge_addrs_choose_emptier(const struct edge_addrs *e, const struct edge_query *query,
			      const struct ip_port *where, nsec_t now, struct ip_port *ret)
{
	const struct ranking r = count_users(e, query, now);
	int here = find(e, where);
	if (here < 0)
		return -ENOENT;
	int best = -ENOENT;
	unsigned int fewest = neighbours(&r, (unsigned int)here), equals = 0;
	for (unsigned int i = 0; i < e->count; i++) {
		unsigned int count = neighbours(&r, i);
		if (doubt(&r, &e->entries[i]) > 0 || count > fewest || (int)i == here)
			continue;
		if (count < fewest)
			equals = 0;
		else if (best < 0)
			continue; /* no better than here */
		fewest = count;
		if (e->random_below(++equals) == 0)
			best = (int)i;
	}
	if (best < 0)
		return -ENOENT;
	*ret = e->entries[best].a.addr;
	return 0;
}

int edge_addrs_choose(const struct edge_addrs *e, const struct edge_query *query, nsec_t now,
		      struct ip_port *ret)
{
	const struct ranking r = count_users(e, query, now);
	int best = -ENOENT;
	uint64_t best_rank = 0;
	nsec_t best_since = 0;
	unsigned int equals = 0;
	for (unsigned int i = 0; i < e->count; i++) {
		uint64_t key = rank(&r, i);
		nsec_t since = blamed_since(&e->entries[i], now);
		if (since)
			key &= ~TASTE_MASK;
		bool is_equal = best >= 0 && key == best_rank && since == best_since;
		if (best < 0 || key < best_rank || (key == best_rank && since < best_since)) {
			equals = 0;
			is_equal = true;
		}
		if (!is_equal)
			continue;
		best_rank = key;
		best_since = since;
		if (e->random_below(++equals) == 0)
			best = (int)i;
	}
	if (best < 0)
		return -ENOENT;
	*ret = e->entries[best].a.addr;
	return 0;
}
