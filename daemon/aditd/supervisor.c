/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps N connections up. Waits follow spec §6: while nothing is up they stay short for ten minutes
 * (somebody is waiting), while something is up they may grow to a minute. A refusal for good is
 * retried slowly and never ends the process.
 */
#include "daemon/aditd/supervisor.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/aditd/locations.h"
#include "daemon/base/mainloop.h"
#include "daemon/base/random.h"
#include "util/cleanup.h"

enum {
	STAGGER_SEC = 1,
	SHORT_CAP_SEC = 2,
	LONG_CAP_SEC = 30,
	UP_CAP_SEC = 60,
	SHORT_PHASE_SEC = 600,
	REFUSED_MIN_SEC = 60,
	REFUSED_MAX_SEC = 600,
};

static_assert((unsigned int)LOCATIONS_INDEX_MAX == (unsigned int)SUPERVISOR_INDEX_MAX);

struct index_entry {
	struct supervisor *supervisor;
	struct supervisor_index info;
	struct mainloop_timer timer;
	unsigned int failures; /* since it last was up */
	unsigned int live;     /* tunnels on the worker that have not reported CLOSED */
	nsec_t not_before;     /* what a refusal asked for: length of the next wait */
};

struct supervisor {
	struct supervisor_params p;
	struct index_entry entries[SUPERVISOR_INDEX_MAX];
	unsigned int count;
	unsigned int up;
	uint64_t next_serial;
	nsec_t quiet_since; /* since when nothing has been up (CLOCK_MONOTONIC) */
	bool is_stopping;
	bool has_cut;
	char last_error[160];
	metric_id ha_connections, register_ok, register_fail[2], dials_ok, dials_fail, resets;
	metric_id link_up[SUPERVISOR_INDEX_MAX];
	struct locations locations;
};

static void step(struct index_entry *e, enum index_event event);

static nsec_t now_mono(void)
{
	return nsec_clock(CLOCK_MONOTONIC);
}

/* Random in [wait/2, wait]. */
static nsec_t jitter(nsec_t wait)
{
	uint32_t r = 0;
	random_bytes(&r, sizeof(r));
	return wait / 2 + (wait / 2) * (r >> 1) / (UINT32_MAX >> 1);
}

/* How long an index waits before it dials again (spec §6). */
static nsec_t wait_of(struct index_entry *e)
{
	struct supervisor *s = e->supervisor;
	if (e->not_before) {
		nsec_t wait = e->not_before;
		e->not_before = 0;
		return wait;
	}
	if (e->failures <= 1 && e->info.serial && s->up > 0)
		return 0; /* the first time at once */
	nsec_t cap = UP_CAP_SEC;
	if (s->up == 0)
		cap = now_mono() - s->quiet_since < SHORT_PHASE_SEC * NSEC_PER_SEC ? SHORT_CAP_SEC
										   : LONG_CAP_SEC;
	unsigned int shift = MIN(e->failures ? e->failures - 1 : 0, 6U);
	return jitter(MIN(NSEC_PER_SEC << shift, cap * NSEC_PER_SEC));
}

static void on_timer(struct mainloop_timer *timer)
{
	struct index_entry *e = CONTAINER_OF(timer, struct index_entry, timer);
	step(e, e->info.state == INDEX_STATE_IDLE ? INDEX_EVENT_START : INDEX_EVENT_TIMER);
}

static void arm(struct index_entry *e, nsec_t wait)
{
	struct supervisor *s = e->supervisor;
	if (mainloop_timer_start(s->p.loop, &e->timer, now_mono() + wait) < 0)
		log_error(s->p.log, "supervisor", "cannot arm a timer",
			  KV_U64("index", (uint64_t)(e - s->entries)));
}

static void report_free(struct tunnel_report *rep)
{
	free(rep);
}

static void on_report(struct message *message, void *owner);

static void on_discard(struct message *message)
{
	report_free(CONTAINER_OF(message, struct tunnel_report, message));
}

/* A command on its way to a worker. */
struct command {
	struct message message;
	struct tunnel_env *env;
	struct tunnel_dial dial; /* dial; for the others only dial.index */
	nsec_t grace;
};

static void command_discard(struct message *message)
{
	struct command *c = CONTAINER_OF(message, struct command, message);
	tunnel_dial_done(&c->dial);
	free(c);
}

static void run_dial(struct message *message, void *owner)
{
	(void)owner;
	struct command *c = CONTAINER_OF(message, struct command, message);
	tunnel_start(c->env, &c->dial);
	free(c);
}

static void run_drain(struct message *message, void *owner)
{
	(void)owner;
	struct command *c = CONTAINER_OF(message, struct command, message);
	tunnel_drain(c->env, c->dial.index, c->grace);
	free(c);
}

static void run_close(struct message *message, void *owner)
{
	(void)owner;
	struct command *c = CONTAINER_OF(message, struct command, message);
	tunnel_close(c->env, c->dial.index, "closed by the operator");
	free(c);
}

static struct command *command_new(struct index_entry *e, void (*run)(struct message *, void *))
{
	struct command *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->message.on_deliver = run;
	c->message.on_discard = command_discard;
	c->env = &e->supervisor->p.envs[e->info.worker];
	c->dial.index = (unsigned int)(e - e->supervisor->entries);
	return c;
}

static void command_post(struct command *c)
{
	mailbox_post(c->env->worker->mailbox, &c->message);
}

static void post_simple(struct index_entry *e, void (*run)(struct message *, void *), nsec_t grace)
{
	struct command *c = command_new(e, run);
	if (!c)
		return;
	c->grace = grace;
	command_post(c);
}

static bool make_reports(struct tunnel_dial *dial, struct supervisor *s)
{
	for (unsigned int i = 0; i < TUNNEL_REPORT_MAX_; i++) {
		struct tunnel_report *rep = calloc(1, sizeof(*rep));
		if (!rep)
			return false;
		rep->message.on_deliver = on_report;
		rep->message.on_discard = on_discard;
		rep->owner = s;
		dial->reports[i] = rep;
	}
	return true;
}

static void act_dial(struct index_entry *e)
{
	struct supervisor *s = e->supervisor;
	const struct conf_edge *edge = &s->p.conf->edge;
	struct command *c = command_new(e, run_dial);
	if (!c || !make_reports(&c->dial, s)) {
		if (c)
			command_discard(&c->message);
		e->failures++;
		arm(e, NSEC_PER_SEC);
		e->info.state = INDEX_STATE_WAITING;
		return;
	}
	/* Neighbours begin at different addresses; every failure moves on to the next. */
	unsigned int index = c->dial.index;
	c->dial.address = &edge->addresses[(index + e->failures) % edge->address_count];
	c->dial.attempt = e->failures;
	c->dial.serial = e->info.serial = ++s->next_serial;
	c->dial.local_port = e->failures == 0 ? e->info.local.port : 0;
	e->live++;
	command_post(c);
}

static void act_back_off(struct index_entry *e)
{
	e->failures++;
	arm(e, wait_of(e));
}

static void act_settle(struct index_entry *e)
{
	struct supervisor *s = e->supervisor;
	e->failures = 0;
	s->last_error[0] = '\0';
	nsec_t wait = 0;
	for (unsigned int i = 0; i < s->count; i++)
		if (s->entries[i].info.state == INDEX_STATE_IDLE)
			arm(&s->entries[i], wait += STAGGER_SEC * NSEC_PER_SEC);
}

static void act(struct index_entry *e, enum index_action action)
{
	switch (action) {
	case INDEX_ACTION_NONE:
		break;
	case INDEX_ACTION_REPLACE:
		e->failures = 1; /* another address first */
		act_dial(e);
		break;
	case INDEX_ACTION_DIAL:
		act_dial(e);
		break;
	case INDEX_ACTION_BACK_OFF:
		act_back_off(e);
		break;
	case INDEX_ACTION_SETTLE:
		act_settle(e);
		break;
	case INDEX_ACTION_DRAIN:
		break; /* supervisor_stop() has the grace period */
	}
}

static void count_up(struct supervisor *s)
{
	unsigned int up = 0;
	for (unsigned int i = 0; i < s->count; i++)
		up += s->entries[i].info.state == INDEX_STATE_UP;
	if (s->up > 0 && up == 0)
		s->quiet_since = now_mono();
	s->up = up;
	metric_set(s->p.metrics, s->ha_connections, up);
}

/* The only writer of an index's state. */
static void step(struct index_entry *e, enum index_event event)
{
	struct supervisor *s = e->supervisor;
	enum index_state before = e->info.state;
	struct index_step st = index_fsm_step(before, event);
	if (st.next == INDEX_STATE_INVALID_)
		return;
	unsigned int index = (unsigned int)(e - s->entries);
	log_debug(s->p.log, "supervisor", "step", KV_U64("index", index),
		  KV_STR("from", index_state_name(before)),
		  KV_STR("event", index_event_name(event)),
		  KV_STR("to", index_state_name(st.next)));
	e->info.state = st.next;
	if (st.next != before) {
		e->info.since = nsec_clock(CLOCK_REALTIME);
		metric_set(s->p.metrics, s->link_up[index], st.next == INDEX_STATE_UP);
	}
	count_up(s);
	act(e, st.action);
	if (st.next != before)
		s->p.events->on_change(s, s->p.user);
}

static void on_refused(struct index_entry *e, const struct control_result *result)
{
	struct supervisor *s = e->supervisor;
	metric_add(s->p.metrics, s->register_fail[result->cause == CONTROL_CAUSE_DUPLICATE ? 0 : 1],
		   1);
	if (result->cause == CONTROL_CAUSE_PERMANENT) {
		unsigned int shift = MIN(e->failures, 4U);
		nsec_t slow = MIN((nsec_t)REFUSED_MIN_SEC << shift, (nsec_t)REFUSED_MAX_SEC);
		slow *= NSEC_PER_SEC;
		e->not_before = MAX(result->retry_after, slow);
	} else if (result->retry_after) {
		e->not_before = MIN(result->retry_after, REFUSED_MAX_SEC * NSEC_PER_SEC);
	}
}

static void on_registered(struct index_entry *e, const struct tunnel_report *rep)
{
	struct supervisor *s = e->supervisor;
	e->info.connection_id = rep->result.connection_id;
	(void)snprintf(e->info.location, sizeof(e->info.location), "%s", rep->result.location);
	e->info.last_error[0] = '\0';
	metric_add(s->p.metrics, s->register_ok, 1);
	locations_set(&s->locations, s->p.metrics, rep->index, rep->result.location);
	log_info(s->p.log, "tunnel", "registered", KV_U64("index", rep->index),
		 KV_STR("protocol", "quic"), KV_ADDR("edge", &rep->peer),
		 KV_STR("location", e->info.location));
}

static void on_closed(struct index_entry *e, const struct tunnel_report *rep, bool is_current)
{
	struct supervisor *s = e->supervisor;
	if (!is_current || s->is_stopping) {
		log_info(s->p.log, "tunnel", "connection ended", KV_U64("index", rep->index),
			 KV_ADDR("edge", &rep->peer));
		return;
	}
	(void)snprintf(e->info.last_error, sizeof(e->info.last_error), "%s", rep->text);
	(void)snprintf(s->last_error, sizeof(s->last_error), "%s", rep->text);
	log_warning(s->p.log, "tunnel",
		    e->info.state == INDEX_STATE_UP ? "connection lost" : "connection failed",
		    KV_U64("index", rep->index), KV_ADDR("edge", &rep->peer),
		    KV_STR("cause", rep->text));
}

static bool all_gone(const struct supervisor *s)
{
	for (unsigned int i = 0; i < s->count; i++)
		if (s->entries[i].live > 0)
			return false;
	return true;
}

static void on_report(struct message *message, void *owner)
{
	(void)owner;
	struct tunnel_report *rep = CONTAINER_OF(message, struct tunnel_report, message);
	struct supervisor *s = rep->owner;
	struct index_entry *e = &s->entries[rep->index];
	bool is_current = rep->serial == e->info.serial;
	switch (rep->kind) {
	case TUNNEL_REPORT_CONNECTED:
		metric_add(s->p.metrics, s->dials_ok, 1);
		if (is_current) {
			e->info.edge = rep->peer;
			e->info.local = rep->local;
			step(e, INDEX_EVENT_CONNECTED);
		}
		break;
	case TUNNEL_REPORT_REGISTERED:
		if (is_current) {
			on_registered(e, rep);
			step(e, INDEX_EVENT_REGISTERED);
		}
		break;
	case TUNNEL_REPORT_REFUSED:
		on_refused(e, &rep->result);
		break;
	case TUNNEL_REPORT_AWAY:
		log_notice(s->p.log, "tunnel", "the edge is going away",
			   KV_U64("index", rep->index), KV_ADDR("edge", &rep->peer));
		if (is_current)
			step(e, INDEX_EVENT_AWAY);
		break;
	case TUNNEL_REPORT_CLOSED:
		if (e->info.state == INDEX_STATE_DIALING && is_current)
			metric_add(s->p.metrics, s->dials_fail, 1);
		if (rep->close.end == LINK_END_RESET)
			metric_add(s->p.metrics, s->resets, 1);
		e->live--;
		on_closed(e, rep, is_current);
		if (is_current)
			step(e, INDEX_EVENT_CLOSED);
		if (s->is_stopping && all_gone(s))
			s->p.events->on_stopped(s, s->p.user);
		break;
	case TUNNEL_REPORT_MAX_:
		break;
	}
	report_free(rep);
}

static const struct metric_family ha_family = { .name = "cloudflared_tunnel_ha_connections",
						.help = "Connections that are registered.",
						.type = METRIC_TYPE_GAUGE };
static const struct metric_family ok_family = {
	.name = "cloudflared_tunnel_tunnel_register_success",
	.help = "Successful registrations.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "rpcName" }
};
static const struct metric_family fail_family = { .name = "cloudflared_tunnel_tunnel_register_fail",
						  .help = "Refused or failed registrations.",
						  .type = METRIC_TYPE_COUNTER,
						  .labels = { "error", "rpcName" } };
static const struct metric_family dials_family = { .name = "adit_dials_total",
						   .help = "Connections tried.",
						   .type = METRIC_TYPE_COUNTER,
						   .labels = { "protocol", "result" } };
static const struct metric_family up_family = {
	.name = "adit_link_up",
	.help = "1 while the connection of this index is registered.",
	.type = METRIC_TYPE_GAUGE,
	.labels = { "index", "protocol" }
};

static const struct metric_family resets_family = {
	.name = "adit_link_resets_total",
	.help = "Connections that ended by a stateless reset: the edge had forgotten them.",
	.type = METRIC_TYPE_COUNTER,
};

static int define_metrics(struct supervisor *s)
{
	struct metric_registry *reg = s->p.registry;
	int ha = metric_define(reg, &ha_family), ok = metric_define(reg, &ok_family);
	int fail = metric_define(reg, &fail_family), dials = metric_define(reg, &dials_family);
	int up = metric_define(reg, &up_family), resets = metric_define(reg, &resets_family);
	if (ha < 0 || ok < 0 || fail < 0 || dials < 0 || up < 0 || resets < 0)
		return -ENOMEM;
	int r = locations_init(&s->locations, reg);
	if (r < 0)
		return r;
	s->ha_connections = metric_series(reg, ha, NULL);
	s->resets = metric_series(reg, resets, NULL);
	s->register_ok = metric_series(reg, ok, (const char *const[]){ "registerConnection" });
	s->register_fail[0] = metric_series(
		reg, fail, (const char *const[]){ "dup_edge_conn", "registerConnection" });
	s->register_fail[1] = metric_series(
		reg, fail, (const char *const[]){ "server_error", "registerConnection" });
	s->dials_ok = metric_series(reg, dials, (const char *const[]){ "quic", "ok" });
	s->dials_fail = metric_series(reg, dials, (const char *const[]){ "quic", "failed" });
	for (unsigned int i = 0; i < s->count; i++) {
		char text[12];
		(void)snprintf(text, sizeof(text), "%u", i);
		s->link_up[i] = metric_series(reg, up, (const char *const[]){ text, "quic" });
	}
	return 0;
}

int supervisor_new(const struct supervisor_params *params, struct supervisor **ret)
{
	_cleanup_(freep) struct supervisor *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->p = *params;
	s->count = MIN(params->connections, (unsigned int)SUPERVISOR_INDEX_MAX);
	s->quiet_since = now_mono();
	int r = define_metrics(s);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < s->count; i++) {
		struct index_entry *e = &s->entries[i];
		e->supervisor = s;
		e->info.state = INDEX_STATE_IDLE;
		e->info.worker = i % params->worker_count;
		e->timer.on_expire = on_timer;
	}
	*ret = TAKE_PTR(s);
	return 0;
}

void supervisor_free(struct supervisor *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < s->count; i++)
		mainloop_timer_stop(&s->entries[i].timer);
	free(s);
}

void supervisor_start(struct supervisor *s)
{
	step(&s->entries[0], INDEX_EVENT_START);
}

void supervisor_stop(struct supervisor *s, nsec_t grace)
{
	bool cut = s->is_stopping || grace == 0;
	if (s->has_cut)
		return;
	s->has_cut = cut;
	s->is_stopping = true;
	for (unsigned int i = 0; i < s->count; i++) {
		struct index_entry *e = &s->entries[i];
		mainloop_timer_stop(&e->timer);
		step(e, INDEX_EVENT_STOP);
		if (e->live > 0)
			post_simple(e, cut ? run_close : run_drain, grace);
	}
	if (all_gone(s))
		s->p.events->on_stopped(s, s->p.user);
}

int supervisor_reconnect(struct supervisor *s, int index)
{
	if (index >= (int)s->count)
		return -ESTALE;
	for (unsigned int i = 0; i < s->count; i++) {
		struct index_entry *e = &s->entries[i];
		if (index >= 0 && i != (unsigned int)index)
			continue;
		if (e->info.state == INDEX_STATE_WAITING)
			step(e, INDEX_EVENT_START);
		else if (e->live > 0)
			post_simple(e, run_close, 0);
	}
	return 0;
}

unsigned int supervisor_count(const struct supervisor *s)
{
	return s->count;
}

unsigned int supervisor_up_count(const struct supervisor *s)
{
	return s->up;
}

const struct supervisor_index *supervisor_get(const struct supervisor *s, unsigned int index)
{
	return &s->entries[index].info;
}

const char *supervisor_last_error(const struct supervisor *s)
{
	return s->last_error;
}
