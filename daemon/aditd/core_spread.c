/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evenness. Where an edge was away its connections have gone to others and would stay there: the
 * edge that is back gets none, and everything hangs on those that are left. So an index that has
 * more neighbours than it would have elsewhere moves, one at a time: it registers at the other
 * address, then drains the old connection. Failures double the wait.
 */
#include "daemon/aditd/core_spread.h"

#include "daemon/aditd/supervisor_core_priv.h"
#include "util/macro.h"

#define WAIT_NSEC    (20 * NSEC_PER_SEC)
#define LONGEST_NSEC (600 * NSEC_PER_SEC)
#define SETTLED_NSEC (10 * NSEC_PER_SEC)

enum { SHIFT_MAX = 5 };

static int find_emptier(const struct supervisor_core *c, unsigned int index, nsec_t now,
			struct ip_port *ret)
{
	const struct ip_port *here = &c->indexes[index].link.peer;
	struct edge_use uses[CORE_USES_MAX];
	const struct edge_query query = {
		.index = index,
		.uses = uses,
		.use_count = core_list_uses(c, uses),
	};
	return edge_addrs_choose_emptier(&c->addrs, &query, here, now, ret);
}

/* Somebody will want to move, at the latest when what speaks against addresses is forgotten. */
static bool is_uneven(const struct supervisor_core *c)
{
	struct ip_port ignored;
	for (unsigned int i = 0; i < c->p.connections; i++)
		if (c->indexes[i].link.serial && find_emptier(c, i, NSEC_NEVER, &ignored) == 0)
			return true;
	return false;
}

static bool is_free(const struct core_index *ix, nsec_t now)
{
	return ix->state == INDEX_STATE_UP && core_try_count(ix) == 0 && !ix->wants_move &&
	       nsec_sub(now, ix->link.since) >= SETTLED_NSEC;
}

void core_spread_plan(struct supervisor_core *c, nsec_t now)
{
	if (c->spread.next_at != NSEC_NEVER || !is_uneven(c))
		return;
	nsec_t wait = WAIT_NSEC << MIN(c->spread.failures, (unsigned int)SHIFT_MAX);
	wait = MIN(wait, LONGEST_NSEC);
	c->spread.next_at = nsec_add(now, wait + core_random(c, wait / 2));
}

static void plan_anew(struct supervisor_core *c, nsec_t now)
{
	c->spread.next_at = NSEC_NEVER;
	core_spread_plan(c, now);
}

void core_spread_hurry(struct supervisor_core *c, nsec_t now)
{
	nsec_t before = c->spread.next_at;
	c->spread.failures = 0;
	plan_anew(c, now);
	c->spread.next_at = MIN(c->spread.next_at, before);
}

void core_spread_run(struct supervisor_core *c, nsec_t now)
{
	if (now < c->spread.next_at)
		return;
	/* Also when nobody will say what became of it: the index may find better things to do. */
	plan_anew(c, now);
	for (unsigned int k = 1; k <= c->p.connections; k++) {
		unsigned int i = (c->spread.last + k) % c->p.connections;
		struct core_try what = { .purpose = CORE_PURPOSE_SPREAD,
					 .protocol = c->indexes[i].link.protocol };
		if (!is_free(&c->indexes[i], now) || find_emptier(c, i, now, &what.peer) < 0)
			continue;
		c->spread.last = i;
		(void)core_try_dial(c, i, &what, now); /* else the next time */
		return;
	}
}

void core_spread_ended(struct supervisor_core *c, bool is_done, nsec_t now)
{
	c->spread.failures = is_done ? 0 : c->spread.failures + 1;
	plan_anew(c, now);
}
