/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back from HTTP/2 to QUIC (spec §6): a handshake now and then, for one index at a time;
 * when it succeeds that index registers over QUIC and drains its old connection, and the others
 * follow. Where the first handshake didn't succeed, or a return didn't last, UDP may be coming and
 * going: three in a row must succeed, over more than 20 s.
 */
#include "daemon/aditd/core_return.h"

#include <errno.h>

#include "daemon/aditd/supervisor_core_priv.h"
#include "util/macro.h"

#define FIRST_NSEC   (10 * NSEC_PER_SEC)
#define LONGEST_NSEC (600 * NSEC_PER_SEC)
#define STABLE_NSEC  (300 * NSEC_PER_SEC)
#define CONFIRM_NSEC (11 * NSEC_PER_SEC)
#define SEQUEL_NSEC  NSEC_PER_SEC

enum {
	SHIFT_MAX = 6,
	CONFIRMATIONS = 3, /* handshakes in a row */
};

/* ±20 %. */
static nsec_t about(const struct supervisor_core *c, nsec_t wait)
{
	return wait - wait / 5 + core_random(c, 2 * (wait / 5));
}

static bool is_on_http2(const struct core_index *ix)
{
	return ix->state == INDEX_STATE_UP && ix->link.protocol == LINK_PROTOCOL_HTTP2;
}

static bool is_wanted(const struct supervisor_core *c)
{
	if (!c->p.transport.has_other || c->p.transport.first != LINK_PROTOCOL_QUIC)
		return false;
	for (unsigned int i = 0; i < c->p.connections; i++)
		if (is_on_http2(&c->indexes[i]))
			return true;
	return false;
}

static bool is_running(const struct supervisor_core *c)
{
	for (unsigned int i = 0; i < c->p.connections; i++)
		for (unsigned int t = 0; t < CORE_TRIES; t++)
			if (c->indexes[i].tries[t].state != TRY_STATE_NONE_ &&
			    c->indexes[i].tries[t].purpose == CORE_PURPOSE_RETURN)
				return true;
	return false;
}

static void schedule(struct supervisor_core *c, nsec_t now)
{
	nsec_t wait = FIRST_NSEC << MIN(c->back.probes, (unsigned int)SHIFT_MAX);
	c->back.next_at = nsec_add(now, about(c, MIN(wait, LONGEST_NSEC)));
}

/* QUIC has to prove itself from the start. */
static void doubt(struct supervisor_core *c)
{
	c->back.is_sequel = false;
	c->back.confirmed = 0;
}

static void plan(struct supervisor_core *c, nsec_t now)
{
	schedule(c, now);
	doubt(c);
}

void core_return_plan(struct supervisor_core *c, nsec_t now)
{
	if (c->back.next_at == NSEC_NEVER && is_wanted(c) && !is_running(c))
		plan(c, now);
}

nsec_t core_return_at(const struct supervisor_core *c)
{
	return is_running(c) ? NSEC_NEVER : c->back.next_at;
}

/* The index whose turn it is, or -EAGAIN: they have other things to do. */
static int pick(const struct supervisor_core *c)
{
	for (unsigned int k = 1; k <= c->p.connections; k++) {
		unsigned int i = (c->back.last + k) % c->p.connections;
		if (is_on_http2(&c->indexes[i]) && core_try_count(&c->indexes[i]) == 0)
			return (int)i;
	}
	return -EAGAIN;
}

static int dial(struct supervisor_core *c, unsigned int index, const struct ip_port *peer,
		nsec_t now)
{
	const struct core_try what = { .purpose = CORE_PURPOSE_RETURN,
				       .protocol = LINK_PROTOCOL_QUIC,
				       .peer = *peer };
	return core_try_dial(c, index, &what, now);
}

void core_return_hurry(struct supervisor_core *c, nsec_t soon)
{
	c->back.probes = 0;
	doubt(c);
	if (c->back.next_at != NSEC_NEVER)
		c->back.next_at = MIN(c->back.next_at, soon);
}

void core_return_run(struct supervisor_core *c, nsec_t now)
{
	if (!is_wanted(c)) {
		c->back.next_at = NSEC_NEVER;
		return;
	}
	if (now < core_return_at(c))
		return;
	int i = pick(c);
	nsec_t ready = i < 0 ? nsec_add(now, SEQUEL_NSEC) : core_ready_at(c, (unsigned int)i, now);
	if (ready > now) {
		c->back.next_at = ready;
		return;
	}
	c->back.last = (unsigned int)i;
	if (!c->back.is_sequel && c->back.confirmed == 0)
		c->back.probes++;
	/* Also when nobody will say what became of it: the index may find better things to do. */
	schedule(c, now);
	(void)dial(c, (unsigned int)i, &c->indexes[i].link.peer, now);
}

bool core_return_connected(struct supervisor_core *c, nsec_t now)
{
	unsigned int needed = c->back.flaps > 0 || c->back.probes > 1 ? CONFIRMATIONS : 1;
	if (c->back.is_sequel || ++c->back.confirmed >= needed)
		return true;
	c->back.next_at = nsec_add(now, CONFIRM_NSEC + core_random(c, NSEC_PER_SEC));
	return false;
}

void core_return_registered(struct supervisor_core *c, nsec_t now)
{
	c->back.confirmed = 0;
	c->back.is_sequel = true;
	c->back.next_at = nsec_add(now, SEQUEL_NSEC);
}

void core_return_failed(struct supervisor_core *c, nsec_t now)
{
	plan(c, now);
}

void core_return_duplicate(struct supervisor_core *c, unsigned int index,
			   const struct core_try *was, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	const struct edge_query query = { .avoid = &was->peer, .wants_other_region = true };
	struct ip_port other;
	bool is_other = core_choose(c, index, &query, now, &other) == 0 &&
			!ip_port_eq(&other, &was->peer) &&
			!edge_addrs_is_blamed(&c->addrs, &other, EDGE_FAULT_DUPLICATE, now);
	if (is_other && dial(c, index, &other, now) == 0)
		return;
	if (is_other || c->healthy < 2) {
		plan(c, now);
		return;
	}
	/* The old connection is in the way, and another index is there meanwhile. */
	c->p.ops->drain(index, ix->link.serial, c->p.user);
	ix->link = (struct core_link){};
	ix->has_redial = true;
	c->winner = LINK_PROTOCOL_QUIC;
	plan(c, now);
	core_step(c, index, INDEX_EVENT_AWAY, now);
}

void core_return_lost(struct supervisor_core *c, const struct core_link *link, nsec_t now)
{
	if (link->protocol != LINK_PROTOCOL_QUIC)
		return;
	if (nsec_sub(now, link->since) >= STABLE_NSEC) {
		c->back.probes = 0;
		c->back.flaps = 0;
	} else if (link->is_returned) {
		c->back.flaps++;
		doubt(c);
	}
}
