/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attempts of an index to connect: two at most, and one registration in flight.
 */
#include <errno.h>

#include "daemon/aditd/supervisor_core_priv.h"
#include "util/macro.h"

enum { ATTEMPTS_MAX = 255 };

nsec_t core_random(const struct supervisor_core *c, nsec_t most)
{
	return c->p.random_below(most + 1);
}

nsec_t core_ready_at(const struct supervisor_core *c, unsigned int index, nsec_t now)
{
	return MAX(ratelimit_ready_at(&c->dials, now, 1),
		   ratelimit_ready_at(&c->indexes[index].dials, now, 1));
}

unsigned int core_try_count(const struct core_index *ix)
{
	unsigned int count = 0;
	for (unsigned int i = 0; i < CORE_TRIES; i++)
		count += ix->tries[i].state != TRY_STATE_NONE_;
	return count;
}

struct core_try *core_try_find(struct core_index *ix, uint64_t serial)
{
	for (unsigned int i = 0; i < CORE_TRIES; i++)
		if (ix->tries[i].state != TRY_STATE_NONE_ && ix->tries[i].serial == serial)
			return &ix->tries[i];
	return NULL;
}

struct core_try *core_try_in(struct core_index *ix, enum try_state state)
{
	struct core_try *found = NULL;
	for (unsigned int i = 0; i < CORE_TRIES; i++)
		if (ix->tries[i].state == state && (!found || ix->tries[i].since < found->since))
			found = &ix->tries[i];
	return found;
}

int core_try_dial(struct supervisor_core *c, unsigned int index, const struct core_try *what,
		  nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	struct core_try *t = core_try_in(ix, TRY_STATE_NONE_);
	if (!t || core_ready_at(c, index, now) > now)
		return -EAGAIN;
	(void)ratelimit_take(&c->dials, now, 1);
	(void)ratelimit_take(&ix->dials, now, 1);
	struct core_dial dial = {
		.index = index,
		.serial = ++c->last_serial,
		.protocol = what->protocol,
		.peer = what->peer,
		.is_probe = what->purpose == CORE_PURPOSE_RETURN,
		.is_only = ix->link.serial == 0 && core_try_count(ix) == 0,
	};
	ix->last_dial = now;
	int r = c->p.ops->dial(&dial, c->p.user);
	if (r < 0)
		return r;
	*t = (struct core_try){ .purpose = what->purpose,
				.protocol = what->protocol,
				.peer = what->peer,
				.serial = dial.serial,
				.since = now };
	(void)try_fsm_step(&t->state, TRY_EVENT_DIAL);
	return 0;
}

void core_try_close(struct supervisor_core *c, unsigned int index, struct core_try *t,
		    const char *why)
{
	c->p.ops->close(index, t->serial, why, c->p.user);
	*t = (struct core_try){};
}

void core_try_close_all(struct supervisor_core *c, unsigned int index, const char *why)
{
	struct core_index *ix = &c->indexes[index];
	for (unsigned int i = 0; i < CORE_TRIES; i++)
		if (ix->tries[i].state != TRY_STATE_NONE_)
			core_try_close(c, index, &ix->tries[i], why);
	ix->partner.is_pending = false;
}

nsec_t core_try_held_until(struct core_index *ix)
{
	const struct core_try *registering = core_try_in(ix, TRY_STATE_REGISTERING);
	const struct core_try *held = core_try_in(ix, TRY_STATE_HELD);
	if (!held)
		return NSEC_NEVER;
	if (!registering)
		return held->since;
	return registering->protocol == held->protocol ? NSEC_NEVER
						       : nsec_add(held->since, CORE_HELD_NSEC);
}

void core_try_promote(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	struct core_try *registering = core_try_in(ix, TRY_STATE_REGISTERING);
	struct core_try *held = core_try_in(ix, TRY_STATE_HELD);
	if (!held || now < core_try_held_until(ix))
		return;
	if (registering) {
		ix->attempts = MIN(ix->attempts + 1, (unsigned int)ATTEMPTS_MAX);
		core_try_close(c, index, registering, "its registration wasn't answered");
	}
	(void)try_fsm_step(&held->state, TRY_EVENT_REGISTER);
	held->since = now;
	c->p.ops->register_now(index, held->serial, ix->attempts, c->p.user);
	core_step(c, index, INDEX_EVENT_CONNECTED, now);
}

void core_try_failed(struct supervisor_core *c, unsigned int index, const struct core_try *was,
		     nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	if (was->purpose == CORE_PURPOSE_RETURN)
		core_return_failed(c, now);
	if (was->purpose == CORE_PURPOSE_SPREAD)
		core_spread_ended(c, false, now);
	if (was->purpose != CORE_PURPOSE_CONNECT && ix->state == INDEX_STATE_UP)
		return;
	ix->attempts = MIN(ix->attempts + 1, (unsigned int)ATTEMPTS_MAX);
	if (ip_port_eq(&ix->partner.peer, &was->peer))
		ix->partner.at = MIN(ix->partner.at, now);
	core_dial_partner(c, index, now);
	core_try_promote(c, index, now);
	if (core_try_count(ix) == 0 && !ix->partner.is_pending)
		core_step(c, index, INDEX_EVENT_FAILED, now);
	else if (!core_try_in(ix, TRY_STATE_REGISTERING))
		core_step(c, index, INDEX_EVENT_RELAPSED, now);
}
