/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens and what follows from it. Every function that is told something ends by arming the
 * one timer; the decisions about dialling are in core_dial.c, the way back to QUIC in
 * core_return.c.
 */
#include "daemon/aditd/supervisor_core.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/aditd/supervisor_core_priv.h"
#include "util/macro.h"

#define BASE_NSEC     NSEC_PER_SEC
#define STAGGER_NSEC  NSEC_PER_SEC
#define SETTLED_NSEC  (10 * NSEC_PER_SEC) /* up for so long: what was before is forgotten */
#define SHAKE_NSEC    (500 * NSEC_PER_MSEC)
#define DIAL_NSEC     (500 * NSEC_PER_MSEC) /* a token for all indexes */
#define DIAL_ONE_NSEC (2 * NSEC_PER_SEC)    /* a token of one index */
#define REFUSED_MIN   (60 * NSEC_PER_SEC)
#define REFUSED_MAX   (600 * NSEC_PER_SEC)
#define LATER_MAX     (3600 * NSEC_PER_SEC) /* of what an edge asks for */
#define BUSY_NSEC     NSEC_PER_SEC

enum {
	BURST_PER_CONNECTION = 2,
	BURST_ONE = 4,
	REFUSED_SHIFT_MAX = 4,
	REFRESH_AFTER = 2, /* failures */
};

/* ---- the states ----------------------------------------------------------------------------- */

/* When the first index comes up the others needn't wait; when the last one goes they mustn't. */
static void hurry(struct supervisor_core *c, nsec_t now)
{
	nsec_t turn = now;
	for (unsigned int i = 0; i < c->p.connections; i++) {
		struct core_index *ix = &c->indexes[i];
		bool is_idle = ix->state == INDEX_STATE_IDLE;
		if ((!is_idle && ix->state != INDEX_STATE_WAITING) || ix->is_refused)
			continue;
		if (c->healthy > 0) {
			turn = nsec_add(turn, STAGGER_NSEC);
			ix->wake = MIN(ix->wake, turn);
		} else if (!is_idle) {
			ix->wake = MIN(ix->wake, nsec_add(now, core_draw_again(c, i, now)));
		}
	}
}

static void count_healthy(struct supervisor_core *c, nsec_t now)
{
	unsigned int before = c->healthy;
	c->healthy = 0;
	for (unsigned int i = 0; i < c->p.connections; i++)
		c->healthy += c->indexes[i].state == INDEX_STATE_UP;
	if (before > 0 && c->healthy == 0)
		c->quiet_since = now;
	if ((before > 0) != (c->healthy > 0))
		hurry(c, now);
}

static void act_back_off(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	if (ix->state == INDEX_STATE_UP && !ix->wants_move)
		return; /* it needn't go any more */
	nsec_t wait = MAX(core_draw(c, index, now), ix->not_before);
	ix->not_before = 0;
	ix->wake = nsec_add(now, wait);
	c->p.ops->on_wait(index, wait, c->p.user);
	if (ix->backoff.attempt >= REFRESH_AFTER)
		c->p.ops->refresh_addresses(c->p.user);
}

static void act_dial(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	ix->is_refused = false;
	ix->wake = NSEC_NEVER;
	int r = core_dial(c, index, now);
	if (r >= 0)
		return;
	ix->wake = r == -EAGAIN ? core_ready_at(c, index, now)
				: nsec_add(now, core_draw(c, index, now));
	core_step(c, index, INDEX_EVENT_BLOCKED, now);
}

/* Another connection beside the one that it has. */
static void act_replace(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	if (ix->state == INDEX_STATE_UP && core_try_count(ix) > 0) {
		ix->wake = nsec_add(now, BUSY_NSEC);
		return;
	}
	ix->is_refused = false;
	ix->wake = NSEC_NEVER;
	int r = core_try_count(ix) < CORE_TRIES ? core_dial(c, index, now) : 0;
	if (r == -EAGAIN)
		ix->wake = core_ready_at(c, index, now);
	else if (r < 0)
		ix->wake = nsec_add(now, core_draw(c, index, now));
}

static void act_adopt(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	for (unsigned int i = 0; i < CORE_TRIES; i++)
		ix->tries[i].purpose = CORE_PURPOSE_CONNECT;
	ix->wake = NSEC_NEVER;
	if (core_try_in(ix, TRY_STATE_REGISTERING))
		core_step(c, index, INDEX_EVENT_CONNECTED, now);
	else if (core_try_count(ix) > 0 || ix->partner.is_pending)
		core_try_promote(c, index, now);
	else if (!ix->has_redial)
		core_step(c, index, INDEX_EVENT_FAILED, now);
	else
		act_dial(c, index, now);
	ix->has_redial = false;
}

static void act_settle(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	core_try_close_all(c, index, "not needed");
	ix->not_before = 0;
	ix->is_refused = false;
	ix->wake = ix->wants_move ? now : NSEC_NEVER;
}

static void act(struct supervisor_core *c, unsigned int index, enum index_action action, nsec_t now)
{
	static void (*const actions[INDEX_ACTION_MAX_])(struct supervisor_core *, unsigned int,
							nsec_t) = {
		[INDEX_ACTION_DIAL] = act_dial,       [INDEX_ACTION_BACK_OFF] = act_back_off,
		[INDEX_ACTION_SETTLE] = act_settle,   [INDEX_ACTION_KEEP] = act_settle,
		[INDEX_ACTION_REPLACE] = act_replace, [INDEX_ACTION_ADOPT] = act_adopt,
	};
	if (actions[action])
		actions[action](c, index, now);
}

void core_step(struct supervisor_core *c, unsigned int index, enum index_event event, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	enum index_state before = ix->state;
	struct index_step st = index_fsm_step(before, event);
	if (st.next == INDEX_STATE_INVALID_)
		return;
	ix->state = st.next;
	count_healthy(c, now);
	c->p.ops->on_step(index, before, event, st.next, c->p.user);
	act(c, index, st.action, now);
}

/* ---- time ----------------------------------------------------------------------------------- */

static nsec_t due(struct supervisor_core *c, nsec_t now)
{
	nsec_t at = MIN(core_return_at(c), c->spread.next_at);
	for (unsigned int i = 0; i < c->p.connections; i++) {
		struct core_index *ix = &c->indexes[i];
		at = MIN(at, ix->wake);
		at = MIN(at, core_try_held_until(ix));
		at = MIN(at, core_partner_at(c, i, now));
		at = MIN(at, core_overlap_at(c, i, now));
	}
	return at;
}

static void finish(struct supervisor_core *c, nsec_t now)
{
	c->p.ops->arm(c->is_stopping ? NSEC_NEVER : due(c, now), c->p.user);
}

static void run_index(struct supervisor_core *c, unsigned int index, nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	if (ix->wake <= now) {
		ix->wake = NSEC_NEVER;
		core_step(c, index,
			  ix->state == INDEX_STATE_IDLE ? INDEX_EVENT_START : INDEX_EVENT_TIMER,
			  now);
	}
	core_dial_partner(c, index, now);
	core_try_promote(c, index, now);
	if (core_overlap_at(c, index, now) <= now)
		(void)core_dial(c, index, now);
	/* The partner was the last chance, and there was no memory for it. */
	if (core_try_count(ix) == 0 && !ix->partner.is_pending && ix->state == INDEX_STATE_DIALING)
		core_step(c, index, INDEX_EVENT_FAILED, now);
}

void supervisor_core_timer(struct supervisor_core *c, nsec_t now)
{
	if (c->is_stopping)
		return;
	for (unsigned int i = 0; i < c->p.connections; i++)
		run_index(c, i, now);
	core_return_run(c, now);
	core_spread_run(c, now);
	finish(c, now);
}

/* A dial that runs may have gone the old way: there is another one soon, and room for it. */
static void dial_anew(struct supervisor_core *c, unsigned int index, nsec_t soon)
{
	struct core_index *ix = &c->indexes[index];
	bool is_full = true;
	for (unsigned int i = 0; i < CORE_TRIES; i++)
		is_full &= ix->tries[i].state == TRY_STATE_DIALING;
	if (is_full)
		core_try_close(c, index, core_try_in(ix, TRY_STATE_DIALING),
			       "the network has changed");
	ix->last_dial = MIN(ix->last_dial, nsec_sub(soon, CORE_OVERLAP_NSEC));
}

void supervisor_core_network_changed(struct supervisor_core *c, nsec_t now)
{
	if (c->is_stopping)
		return;
	edge_addrs_forgive(&c->addrs);
	for (unsigned int i = 0; i < c->p.connections; i++) {
		struct core_index *ix = &c->indexes[i];
		nsec_t soon = nsec_add(now, core_random(c, SHAKE_NSEC));
		if (ix->state == INDEX_STATE_IDLE || ix->state == INDEX_STATE_UP || ix->is_refused)
			continue;
		backoff_reset(&ix->backoff);
		if (ix->wake != NSEC_NEVER)
			ix->wake = MIN(ix->wake, soon);
		dial_anew(c, i, soon);
	}
	core_return_hurry(c, nsec_add(now, core_random(c, SHAKE_NSEC)));
	core_spread_hurry(c, now);
	c->p.ops->probe_all_but(EDGE_INDEXES_MAX, c->p.user);
	finish(c, now);
}

/* ---- connections ---------------------------------------------------------------------------- */

static struct core_try *try_of(struct supervisor_core *c, unsigned int index, uint64_t serial)
{
	if (c->is_stopping || index >= c->p.connections)
		return NULL;
	return core_try_find(&c->indexes[index], serial);
}

static bool is_link(const struct supervisor_core *c, unsigned int index, uint64_t serial)
{
	return !c->is_stopping && index < c->p.connections && serial != 0 &&
	       c->indexes[index].link.serial == serial;
}

void supervisor_core_connected(struct supervisor_core *c, unsigned int index, uint64_t serial,
			       nsec_t now)
{
	struct core_try *t = try_of(c, index, serial);
	if (!t || !try_fsm_step(&t->state, TRY_EVENT_CONNECTED))
		return;
	t->since = now;
	edge_addrs_praise(&c->addrs, &t->peer);
	if (t->purpose == CORE_PURPOSE_RETURN && !core_return_connected(c, now))
		core_try_close(c, index, t, "it works");
	core_try_promote(c, index, now);
	finish(c, now);
}

/* The new connection takes the place of the old one, if there still is one. */
static void replace_link(struct supervisor_core *c, unsigned int index, const struct core_try *t,
			 nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	const struct core_link old = ix->link;
	bool was_http2 = old.serial && old.protocol == LINK_PROTOCOL_HTTP2;
	ix->link = (struct core_link){ .serial = t->serial,
				       .protocol = t->protocol,
				       .peer = t->peer,
				       .since = now,
				       .is_returned = was_http2 || old.is_returned ||
						      t->purpose == CORE_PURPOSE_RETURN };
	if (old.serial && ix->state == INDEX_STATE_SUSPECT) {
		c->p.ops->close(index, old.serial, "replaced: its edge didn't answer", c->p.user);
		if (!ip_port_eq(&old.peer, &t->peer))
			edge_addrs_blame(&c->addrs, &old.peer, EDGE_FAULT_SILENT, now);
		core_return_lost(c, &old, now);
	} else if (old.serial) {
		c->p.ops->drain(index, old.serial, c->p.user);
	}
}

void supervisor_core_registered(struct supervisor_core *c, unsigned int index, uint64_t serial,
				nsec_t now)
{
	struct core_try *t = try_of(c, index, serial);
	if (!t || t->state != TRY_STATE_REGISTERING)
		return;
	const struct core_try was = *t;
	struct core_index *ix = &c->indexes[index];
	*t = (struct core_try){};
	replace_link(c, index, &was, now);
	edge_addrs_set_own(&c->addrs, index, &was.peer);
	ix->wants_move = !edge_addrs_has(&c->addrs, &was.peer);
	ix->attempts = 0;
	ix->refusals = 0;
	c->has_winner = true;
	c->winner = was.protocol;
	core_step(c, index, INDEX_EVENT_REGISTERED, now);
	if (was.purpose == CORE_PURPOSE_RETURN)
		core_return_registered(c, now);
	else if (was.purpose == CORE_PURPOSE_SPREAD)
		core_spread_ended(c, true, now);
	core_return_plan(c, now);
	core_spread_plan(c, now);
	finish(c, now);
}

/* What the edge said counts for its other transport, too. */
static void obey(struct supervisor_core *c, unsigned int index, const struct control_result *result)
{
	struct core_index *ix = &c->indexes[index];
	core_try_close_all(c, index, "refused already");
	ix->not_before = MIN(result->retry_after, LATER_MAX);
	ix->is_refused = result->retry_after > 0;
	if (result->cause != CONTROL_CAUSE_PERMANENT)
		return;
	nsec_t slow = REFUSED_MIN << MIN(ix->refusals, (unsigned int)REFUSED_SHIFT_MAX);
	ix->refusals++;
	ix->not_before = MAX(ix->not_before, MIN(slow, REFUSED_MAX));
	ix->is_refused = true;
}

void supervisor_core_refused(struct supervisor_core *c, unsigned int index, uint64_t serial,
			     const struct control_result *result, nsec_t now)
{
	struct core_try *t = try_of(c, index, serial);
	if (!t)
		return;
	const struct core_try was = *t;
	struct core_index *ix = &c->indexes[index];
	bool is_return = was.purpose == CORE_PURPOSE_RETURN;
	*t = (struct core_try){};
	switch (result->cause) {
	case CONTROL_CAUSE_DUPLICATE:
		edge_addrs_blame(&c->addrs, &was.peer, EDGE_FAULT_DUPLICATE, now);
		if (was.purpose != CORE_PURPOSE_SPREAD)
			ix->left = was.peer;
		break;
	case CONTROL_CAUSE_RETRY:
	case CONTROL_CAUSE_PERMANENT:
		if (was.purpose == CORE_PURPOSE_CONNECT)
			obey(c, index, result);
		break;
	case CONTROL_CAUSE_NONE:
	case CONTROL_CAUSE_EXCEPTION:
	case CONTROL_CAUSE_TIMEOUT:
	case CONTROL_CAUSE_LOST:
		edge_addrs_blame(&c->addrs, &was.peer, EDGE_FAULT_BROKEN, now);
		break;
	}
	if (is_return && result->cause == CONTROL_CAUSE_DUPLICATE)
		core_return_duplicate(c, index, &was, now);
	else
		core_try_failed(c, index, &was, now);
	finish(c, now);
}

void supervisor_core_away(struct supervisor_core *c, unsigned int index, uint64_t serial,
			  nsec_t now)
{
	if (!is_link(c, index, serial))
		return;
	struct core_index *ix = &c->indexes[index];
	edge_addrs_blame(&c->addrs, &ix->link.peer, EDGE_FAULT_AWAY, now);
	ix->link = (struct core_link){};
	ix->has_redial = true;
	core_step(c, index, INDEX_EVENT_AWAY, now);
	finish(c, now);
}

void supervisor_core_suspect(struct supervisor_core *c, unsigned int index, uint64_t serial,
			     nsec_t now)
{
	if (!is_link(c, index, serial))
		return;
	core_step(c, index, INDEX_EVENT_SUSPECT, now);
	c->p.ops->probe_all_but(index, c->p.user);
	finish(c, now);
}

void supervisor_core_heard(struct supervisor_core *c, unsigned int index, uint64_t serial,
			   nsec_t now)
{
	if (!is_link(c, index, serial))
		return;
	core_step(c, index, INDEX_EVENT_HEARD, now);
	finish(c, now);
}

/* What the end of a connection says of its address. */
static enum edge_fault fault_of(const struct link_close_info *info)
{
	switch (info->end) {
	case LINK_END_REFUSED:
	case LINK_END_IDLE:
		return EDGE_FAULT_NETWORK;
	case LINK_END_NETWORK:
		/* Our own packet filter, or our own memory: the address has no part in it. */
		return info->error == -EPERM || info->error == -ENOMEM ? EDGE_FAULT_MAX_
								       : EDGE_FAULT_NETWORK;
	case LINK_END_HANDSHAKE:
		return info->error == -ETIMEDOUT ? EDGE_FAULT_NETWORK : EDGE_FAULT_BROKEN;
	case LINK_END_CERTIFICATE:
	case LINK_END_PROTOCOL:
	case LINK_END_PEER:
		return EDGE_FAULT_BROKEN;
	case LINK_END_NONE:
	case LINK_END_LOCAL:
	case LINK_END_RESET:
	case LINK_END_MAX_:
		break;
	}
	return EDGE_FAULT_MAX_;
}

/* The address has just answered, on the other transport or the connection before. */
static bool is_alive(const struct core_index *ix, const struct ip_port *peer)
{
	if (ix->state == INDEX_STATE_UP && ip_port_eq(&ix->link.peer, peer))
		return true;
	for (unsigned int i = 0; i < CORE_TRIES; i++)
		if (ix->tries[i].state > TRY_STATE_DIALING && ip_port_eq(&ix->tries[i].peer, peer))
			return true;
	return false;
}

static void lost(struct supervisor_core *c, unsigned int index, const struct link_close_info *info,
		 nsec_t now)
{
	struct core_index *ix = &c->indexes[index];
	const struct core_link was = ix->link;
	ix->link = (struct core_link){};
	if (fault_of(info) == EDGE_FAULT_NETWORK)
		edge_addrs_blame(&c->addrs, &was.peer, EDGE_FAULT_SILENT, now);
	if (nsec_sub(now, was.since) >= SETTLED_NSEC) {
		backoff_reset(&ix->backoff);
		ix->has_redial = true;
	}
	if (info->end != LINK_END_LOCAL)
		core_return_lost(c, &was, now);
	if (info->end == LINK_END_IDLE)
		c->p.ops->probe_all_but(index, c->p.user);
	core_step(c, index, INDEX_EVENT_LOST, now);
}

void supervisor_core_closed(struct supervisor_core *c, unsigned int index, uint64_t serial,
			    const struct link_close_info *info, nsec_t now)
{
	struct core_try *t = try_of(c, index, serial);
	if (is_link(c, index, serial)) {
		lost(c, index, info, now);
	} else if (t) {
		const struct core_try was = *t;
		*t = (struct core_try){};
		enum edge_fault fault = fault_of(info);
		if (fault != EDGE_FAULT_MAX_ && was.purpose != CORE_PURPOSE_RETURN &&
		    !is_alive(&c->indexes[index], &was.peer))
			edge_addrs_blame(&c->addrs, &was.peer, fault, now);
		core_try_failed(c, index, &was, now);
	} else {
		return;
	}
	finish(c, now);
}

/* ---- life ----------------------------------------------------------------------------------- */

struct supervisor_core *supervisor_core_new(const struct core_params *p, nsec_t now)
{
	struct supervisor_core *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->p = *p;
	c->p.connections = MIN(p->connections, (unsigned int)CORE_INDEX_MAX);
	c->quiet_since = now;
	c->back.next_at = c->spread.next_at = NSEC_NEVER;
	edge_addrs_init(&c->addrs, p->ip_version, p->random_below);
	ratelimit_init(&c->dials, DIAL_NSEC, BURST_PER_CONNECTION * c->p.connections);
	for (unsigned int i = 0; i < c->p.connections; i++) {
		struct core_index *ix = &c->indexes[i];
		ix->state = INDEX_STATE_IDLE;
		ix->wake = NSEC_NEVER;
		ix->has_redial = true;
		backoff_init(&ix->backoff, BASE_NSEC, REFUSED_MAX);
		ratelimit_init(&ix->dials, DIAL_ONE_NSEC, BURST_ONE);
	}
	return c;
}

void supervisor_core_free(struct supervisor_core *c)
{
	free(c);
}

void supervisor_core_set_addresses(struct supervisor_core *c, const struct edge_addr *set,
				   size_t count, nsec_t now)
{
	bool was_empty = c->addrs.count == 0;
	if (c->is_stopping)
		return;
	(void)edge_addrs_replace(&c->addrs, set, count);
	for (unsigned int i = 0; i < c->p.connections; i++) {
		struct core_index *ix = &c->indexes[i];
		ix->wants_move = ix->link.serial && !edge_addrs_has(&c->addrs, &ix->link.peer);
		if (ix->state == INDEX_STATE_UP)
			ix->wake = ix->wants_move ? MIN(ix->wake, now) : NSEC_NEVER;
		if (!was_empty || ix->state != INDEX_STATE_WAITING)
			continue;
		backoff_reset(&ix->backoff);
		ix->wake = now;
	}
	core_spread_plan(c, now);
	finish(c, now);
}

void supervisor_core_set_transport(struct supervisor_core *c, struct transport_choice choice)
{
	c->p.transport = choice;
}

void supervisor_core_start(struct supervisor_core *c, nsec_t now)
{
	core_step(c, 0, INDEX_EVENT_START, now);
	finish(c, now);
}

void supervisor_core_stop(struct supervisor_core *c)
{
	c->is_stopping = true;
	for (unsigned int i = 0; i < c->p.connections; i++)
		core_step(c, i, INDEX_EVENT_STOP, 0);
	finish(c, 0);
}

void supervisor_core_reconnect(struct supervisor_core *c, int index, nsec_t now)
{
	for (unsigned int i = 0; i < c->p.connections && !c->is_stopping; i++) {
		struct core_index *ix = &c->indexes[i];
		if (index >= 0 && i != (unsigned int)index)
			continue;
		if (ix->link.serial) {
			ix->has_redial = true;
			c->p.ops->close(i, ix->link.serial, "closed by the operator", c->p.user);
		} else if (ix->state == INDEX_STATE_WAITING) {
			core_step(c, i, INDEX_EVENT_START, now);
		}
	}
	finish(c, now);
}

enum index_state supervisor_core_state(const struct supervisor_core *c, unsigned int index)
{
	return c->indexes[index].state;
}

const struct core_link *supervisor_core_link(const struct supervisor_core *c, unsigned int index)
{
	return &c->indexes[index].link;
}

bool supervisor_core_knows(const struct supervisor_core *c, unsigned int index, uint64_t serial)
{
	const struct core_index *ix = &c->indexes[index];
	if (ix->link.serial == serial)
		return true;
	for (unsigned int i = 0; i < CORE_TRIES; i++)
		if (ix->tries[i].state != TRY_STATE_NONE_ && ix->tries[i].serial == serial)
			return true;
	return false;
}

unsigned int supervisor_core_up_count(const struct supervisor_core *c)
{
	return c->healthy;
}
