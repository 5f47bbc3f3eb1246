/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an index dials, with which transport, and how long it waits (spec §6).
 */
#include <errno.h>

#include "daemon/aditd/supervisor_core_priv.h"
#include "util/macro.h"

/* Longest waits: while nothing is up, after ten minutes of that, while another index is up. */
#define SHORT_CAP   (2 * NSEC_PER_SEC)
#define LONG_CAP    (30 * NSEC_PER_SEC)
#define UP_CAP      (60 * NSEC_PER_SEC)
#define SHORT_PHASE (600 * NSEC_PER_SEC)

static void add_use(struct edge_use *uses, size_t *count, unsigned int index,
		    const struct ip_port *addr)
{
	uses[(*count)++] = (struct edge_use){ .addr = *addr, .index = index };
}

size_t core_list_uses(const struct supervisor_core *c, struct edge_use *uses)
{
	size_t count = 0;
	for (unsigned int i = 0; i < c->p.connections; i++) {
		const struct core_index *ix = &c->indexes[i];
		if (ix->link.serial)
			add_use(uses, &count, i, &ix->link.peer);
		for (unsigned int t = 0; t < CORE_TRIES; t++)
			if (ix->tries[t].state != TRY_STATE_NONE_)
				add_use(uses, &count, i, &ix->tries[t].peer);
	}
	return count;
}

int core_choose(const struct supervisor_core *c, unsigned int index, const struct edge_query *like,
		nsec_t now, struct ip_port *ret)
{
	struct edge_use uses[CORE_USES_MAX];
	struct edge_query query = *like;
	query.index = index;
	query.uses = uses;
	query.use_count = core_list_uses(c, uses);
	return edge_addrs_choose(&c->addrs, &query, now, ret);
}

/* The address that this dial should not go to, as far as there is another. */
static struct edge_query query_of(const struct core_index *ix)
{
	if (ix->state == INDEX_STATE_SUSPECT)
		return (struct edge_query){ .avoid = &ix->link.peer };
	if (ix->left.ip.family != IP_FAMILY_NONE)
		return (struct edge_query){ .avoid = &ix->left, .wants_other_region = true };
	for (unsigned int t = 0; t < CORE_TRIES; t++)
		if (ix->tries[t].state != TRY_STATE_NONE_)
			return (struct edge_query){ .avoid = &ix->tries[t].peer };
	return (struct edge_query){};
}

static enum link_protocol other_of(enum link_protocol protocol)
{
	return protocol == LINK_PROTOCOL_QUIC ? LINK_PROTOCOL_HTTP2 : LINK_PROTOCOL_QUIC;
}

/* When the other transport is dialled beside the first. */
static nsec_t race_at(const struct supervisor_core *c, unsigned int index, nsec_t now)
{
	const struct core_index *ix = &c->indexes[index];
	bool is_flapping = ix->link.protocol == LINK_PROTOCOL_HTTP2 && c->back.flaps > 0;
	if (ix->state == INDEX_STATE_SUSPECT && !is_flapping)
		return now;
	if (index > 0 && c->has_winner && ix->backoff.attempt == 0 && c->healthy > 0)
		return NSEC_NEVER;
	return nsec_add(now, CORE_OVERLAP_NSEC);
}

int core_dial(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	bool has_other = c->p.transport.has_other;
	struct core_try what = { .protocol = c->p.transport.first };
	if (core_ready_at(c, index, now) > now)
		return -EAGAIN;
	ix->last_dial = now;
	const struct edge_query query = query_of(ix);
	int r = core_choose(c, index, &query, now, &what.peer);
	if (r < 0) {
		c->p.ops->refresh_addresses(c->p.user);
		return r;
	}
	if (has_other && c->has_winner)
		what.protocol = c->winner;
	if (has_other && ix->state == INDEX_STATE_SUSPECT &&
	    ip_port_eq(&what.peer, &ix->link.peer)) {
		/* The same address: what the suspect connection doesn't use. */
		has_other = ix->link.protocol == LINK_PROTOCOL_HTTP2;
		what.protocol = LINK_PROTOCOL_HTTP2;
	}
	r = core_try_dial(c, index, &what, now);
	if (r < 0)
		return r;
	ix->left = (struct ip_port){};
	ix->partner.is_pending = has_other;
	ix->partner.protocol = other_of(what.protocol);
	ix->partner.peer = what.peer;
	ix->partner.at = race_at(c, index, now);
	core_dial_partner(c, index, now);
	return 0;
}

void core_dial_partner(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	if (core_partner_at(c, index, now) > now)
		return;
	const struct core_try what = { .protocol = ix->partner.protocol, .peer = ix->partner.peer };
	ix->partner.is_pending = false;
	(void)core_try_dial(c, index, &what, now); /* without memory there is the first one */
}

nsec_t core_partner_at(const struct supervisor_core *c, unsigned int index, nsec_t now)
{
	const struct core_index *ix = &c->indexes[index];
	if (!ix->partner.is_pending || core_try_count(ix) == CORE_TRIES)
		return NSEC_NEVER;
	return MAX(ix->partner.at, core_ready_at(c, index, now));
}

nsec_t core_overlap_at(const struct supervisor_core *c, unsigned int index, nsec_t now)
{
	const struct core_index *ix = &c->indexes[index];
	if (ix->state != INDEX_STATE_DIALING && ix->state != INDEX_STATE_REGISTERING &&
	    ix->state != INDEX_STATE_SUSPECT)
		return NSEC_NEVER;
	if (c->healthy > 0 || ix->partner.is_pending || core_try_count(ix) != 1)
		return NSEC_NEVER;
	return MAX(nsec_add(ix->last_dial, CORE_OVERLAP_NSEC), core_ready_at(c, index, now));
}

static nsec_t cap(const struct supervisor_core *c, nsec_t now)
{
	if (c->healthy > 0)
		return UP_CAP;
	return nsec_sub(now, c->quiet_since) < SHORT_PHASE ? SHORT_CAP : LONG_CAP;
}

nsec_t core_draw(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct backoff *b = &c->indexes[index].backoff;
	b->max = cap(c, now);
	return backoff_next(b, c->p.random_below(UINT64_MAX));
}

nsec_t core_draw_again(const struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct backoff b = c->indexes[index].backoff;
	b.max = cap(c, now);
	b.attempt -= b.attempt > 0;
	return backoff_next(&b, c->p.random_below(UINT64_MAX));
}
