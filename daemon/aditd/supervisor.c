/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the core and the workers. Commands go to the worker of an index and come in the order in
 * which they were posted; reports come back with the serial of their dial.
 */
#include "daemon/aditd/supervisor.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/aditd/supervisor_metrics.h"
#include "daemon/base/mainloop.h"
#include "daemon/base/random.h"
#include "util/cleanup.h"

static_assert((unsigned int)LOCATIONS_INDEX_MAX == (unsigned int)SUPERVISOR_INDEX_MAX);

struct supervisor {
	struct supervisor_params p;
	struct supervisor_core *core;
	struct supervisor_index indexes[SUPERVISOR_INDEX_MAX];
	uint16_t last_port[SUPERVISOR_INDEX_MAX]; /* UDP, worth trying again; 0: none */
	unsigned int count;
	unsigned int live; /* tunnels that haven't reported CLOSED */
	bool is_stopping;
	bool has_cut;
	bool dns_says_v3;
	char last_error[160];
	struct mainloop_timer timer;
	struct supervisor_metrics metrics;
};

DEFINE_CLEANUP(struct supervisor *, supervisor_free)

static nsec_t now_mono(void)
{
	return nsec_clock(CLOCK_MONOTONIC);
}

/* ---- commands ------------------------------------------------------------------------------- */

/* A command on its way to a worker. Each uses what it needs. */
struct command {
	struct message message;
	struct tunnel_env *env;
	struct tunnel_dial dial;
	uint64_t serial;
	unsigned int number; /* attempts, or an index */
	nsec_t grace;
	const char *reason; /* static */
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

static void run_register(struct message *message, void *owner)
{
	(void)owner;
	struct command *c = CONTAINER_OF(message, struct command, message);
	tunnel_register(c->env, c->serial, c->number);
	free(c);
}

static void run_drain(struct message *message, void *owner)
{
	(void)owner;
	struct command *c = CONTAINER_OF(message, struct command, message);
	tunnel_drain(c->env, c->serial);
	free(c);
}

static void run_close(struct message *message, void *owner)
{
	(void)owner;
	struct command *c = CONTAINER_OF(message, struct command, message);
	tunnel_close(c->env, c->serial, c->reason);
	free(c);
}

static void run_probe(struct message *message, void *owner)
{
	(void)owner;
	struct command *c = CONTAINER_OF(message, struct command, message);
	tunnel_probe_all_but(c->env, c->number);
	free(c);
}

static void run_stop(struct message *message, void *owner)
{
	(void)owner;
	struct command *c = CONTAINER_OF(message, struct command, message);
	tunnel_stop_all(c->env, c->grace);
	free(c);
}

static struct command *command_new(struct tunnel_env *env, void (*run)(struct message *, void *))
{
	struct command *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->message.on_deliver = run;
	c->message.on_discard = command_discard;
	c->env = env;
	return c;
}

/* Without memory the connection ends by itself: its edge or its idle timeout sees to that. */
static void command_post(struct command *c)
{
	if (c)
		mailbox_post(c->env->worker->mailbox, &c->message);
}

static struct tunnel_env *env_of(const struct supervisor *s, unsigned int index)
{
	return &s->p.envs[s->indexes[index].worker];
}

/* ---- what the core does ---------------------------------------------------------------------- */

static void on_report(struct message *message, void *owner);

static void on_discard(struct message *message)
{
	free(CONTAINER_OF(message, struct tunnel_report, message));
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

static int op_dial(const struct core_dial *dial, void *user)
{
	struct supervisor *s = user;
	struct command *c = command_new(env_of(s, dial->index), run_dial);
	if (!c || !make_reports(&c->dial, s)) {
		if (c)
			command_discard(&c->message);
		return -ENOMEM;
	}
	c->dial.index = dial->index;
	c->dial.serial = dial->serial;
	c->dial.protocol = dial->protocol;
	c->dial.peer = dial->peer;
	c->dial.dns_says_v3 = s->dns_says_v3;
	if (dial->is_only && dial->protocol == LINK_PROTOCOL_QUIC) {
		c->dial.local_port = s->last_port[dial->index];
		s->last_port[dial->index] = 0;
	}
	log_debug(s->p.log, "tunnel", dial->is_probe ? "probing" : "dialing",
		  KV_U64("index", dial->index), KV_U64("serial", dial->serial),
		  KV_STR("protocol", link_protocol_name(dial->protocol)),
		  KV_ADDR("edge", &dial->peer));
	s->live++;
	command_post(c);
	return 0;
}

static void op_register(unsigned int index, uint64_t serial, unsigned int attempts, void *user)
{
	struct command *c = command_new(env_of(user, index), run_register);
	if (c) {
		c->serial = serial;
		c->number = attempts;
	}
	command_post(c);
}

static void op_close(unsigned int index, uint64_t serial, const char *why, void *user)
{
	struct command *c = command_new(env_of(user, index), run_close);
	if (c) {
		c->serial = serial;
		c->reason = why;
	}
	command_post(c);
}

static void op_drain(unsigned int index, uint64_t serial, void *user)
{
	struct command *c = command_new(env_of(user, index), run_drain);
	if (c)
		c->serial = serial;
	command_post(c);
}

static void op_probe_all_but(unsigned int index, void *user)
{
	struct supervisor *s = user;
	for (unsigned int i = 0; i < s->p.worker_count; i++) {
		struct command *c = command_new(&s->p.envs[i], run_probe);
		if (c)
			c->number = index;
		command_post(c);
	}
}

static void op_refresh(void *user)
{
	struct supervisor *s = user;
	s->p.events->on_refresh(s, s->p.user);
}

static void op_wait(unsigned int index, nsec_t wait, void *user)
{
	struct supervisor *s = user;
	log_info(s->p.log, "tunnel", "waiting before the next dial", KV_U64("index", index),
		 KV_U64("wait_msec", wait / NSEC_PER_MSEC));
}

static void op_step(unsigned int index, enum index_state from, enum index_event event,
		    enum index_state to, void *user)
{
	struct supervisor *s = user;
	struct supervisor_index *info = &s->indexes[index];
	log_debug(s->p.log, "supervisor", "step", KV_U64("index", index),
		  KV_STR("from", index_state_name(from)), KV_STR("event", index_event_name(event)),
		  KV_STR("to", index_state_name(to)));
	info->state = to;
	if (from != to)
		info->since = nsec_clock(CLOCK_REALTIME);
	static const struct core_link none = {};
	supervisor_metrics_set_link(
		&s->metrics, index,
		to == INDEX_STATE_STOPPED ? &none : supervisor_core_link(s->core, index));
	if (from != to)
		s->p.events->on_change(s, s->p.user);
}

static void on_timer(struct mainloop_timer *timer)
{
	struct supervisor *s = CONTAINER_OF(timer, struct supervisor, timer);
	supervisor_core_timer(s->core, now_mono());
}

static void op_arm(nsec_t at, void *user)
{
	struct supervisor *s = user;
	if (at == NSEC_NEVER)
		mainloop_timer_stop(&s->timer);
	else if (mainloop_timer_start(s->p.loop, &s->timer, at) < 0)
		log_error(s->p.log, "supervisor", "cannot arm the timer");
}

static const struct core_ops core_ops = {
	.dial = op_dial,
	.register_now = op_register,
	.close = op_close,
	.drain = op_drain,
	.probe_all_but = op_probe_all_but,
	.refresh_addresses = op_refresh,
	.on_wait = op_wait,
	.on_step = op_step,
	.arm = op_arm,
};

/* ---- what the workers report ----------------------------------------------------------------- */

static void set_cause(struct supervisor *s, const struct tunnel_report *rep)
{
	struct supervisor_index *info = &s->indexes[rep->index];
	(void)snprintf(info->last_error, sizeof(info->last_error), "%s", rep->text);
	(void)snprintf(s->last_error, sizeof(s->last_error), "%s", rep->text);
}

static void log_end(struct supervisor *s, const struct tunnel_report *rep, const char *what)
{
	log_warning(s->p.log, "tunnel", what, KV_U64("index", rep->index),
		    KV_STR("protocol", link_protocol_name(rep->protocol)),
		    KV_ADDR("edge", &rep->peer), KV_STR("cause", rep->text));
}

static void on_connected(struct supervisor *s, const struct tunnel_report *rep, nsec_t now)
{
	struct supervisor_index *info = &s->indexes[rep->index];
	supervisor_metrics_dialled(&s->metrics, rep->protocol, true);
	if (!supervisor_core_link(s->core, rep->index)->serial) {
		info->protocol = rep->protocol;
		info->edge = rep->peer;
		info->local = rep->local;
	}
	supervisor_core_connected(s->core, rep->index, rep->serial, now);
}

static void on_registered(struct supervisor *s, const struct tunnel_report *rep, nsec_t now)
{
	struct supervisor_index *info = &s->indexes[rep->index];
	if (s->is_stopping || !supervisor_core_knows(s->core, rep->index, rep->serial))
		return;
	info->protocol = rep->protocol;
	info->edge = rep->peer;
	info->local = rep->local;
	info->connection_id = rep->result.connection_id;
	(void)snprintf(info->location, sizeof(info->location), "%s", rep->result.location);
	info->last_error[0] = '\0';
	s->last_error[0] = '\0';
	s->last_port[rep->index] = rep->protocol == LINK_PROTOCOL_QUIC ? rep->local.port : 0;
	supervisor_metrics_registered(&s->metrics, rep->index, rep->result.location);
	log_info(s->p.log, "tunnel", "registered", KV_U64("index", rep->index),
		 KV_STR("protocol", link_protocol_name(rep->protocol)), KV_ADDR("edge", &rep->peer),
		 KV_STR("location", info->location));
	supervisor_core_registered(s->core, rep->index, rep->serial, now);
}

static void on_refused(struct supervisor *s, const struct tunnel_report *rep, nsec_t now)
{
	supervisor_metrics_refused(&s->metrics, rep->result.cause == CONTROL_CAUSE_DUPLICATE);
	if (s->is_stopping || !supervisor_core_knows(s->core, rep->index, rep->serial))
		return;
	set_cause(s, rep);
	log_end(s, rep, "connection failed");
	supervisor_core_refused(s->core, rep->index, rep->serial, &rep->result, now);
}

static void on_closed(struct supervisor *s, const struct tunnel_report *rep, nsec_t now)
{
	s->live--;
	if (rep->close.end == LINK_END_RESET)
		supervisor_metrics_reset(&s->metrics);
	if (!s->is_stopping && supervisor_core_knows(s->core, rep->index, rep->serial)) {
		bool is_link = supervisor_core_link(s->core, rep->index)->serial == rep->serial;
		if (!rep->was_connected)
			supervisor_metrics_dialled(&s->metrics, rep->protocol, false);
		set_cause(s, rep);
		log_end(s, rep, is_link ? "connection lost" : "connection failed");
		supervisor_core_closed(s->core, rep->index, rep->serial, &rep->close, now);
	} else {
		log_info(s->p.log, "tunnel", "connection ended", KV_U64("index", rep->index),
			 KV_STR("protocol", link_protocol_name(rep->protocol)),
			 KV_ADDR("edge", &rep->peer), KV_STR("cause", rep->text));
	}
	if (s->is_stopping && s->live == 0)
		s->p.events->on_stopped(s, s->p.user);
}

static void on_report(struct message *message, void *owner)
{
	(void)owner;
	struct tunnel_report *rep = CONTAINER_OF(message, struct tunnel_report, message);
	struct supervisor *s = rep->owner;
	nsec_t now = now_mono();
	switch (rep->kind) {
	case TUNNEL_REPORT_CONNECTED:
		on_connected(s, rep, now);
		break;
	case TUNNEL_REPORT_REGISTERED:
		on_registered(s, rep, now);
		break;
	case TUNNEL_REPORT_REFUSED:
		on_refused(s, rep, now);
		break;
	case TUNNEL_REPORT_AWAY:
		log_notice(s->p.log, "tunnel", "the edge is going away",
			   KV_U64("index", rep->index), KV_ADDR("edge", &rep->peer));
		supervisor_core_away(s->core, rep->index, rep->serial, now);
		break;
	case TUNNEL_REPORT_SUSPECT:
		supervisor_metrics_suspect(&s->metrics, rep->index);
		supervisor_core_suspect(s->core, rep->index, rep->serial, now);
		break;
	case TUNNEL_REPORT_HEARD:
		supervisor_core_heard(s->core, rep->index, rep->serial, now);
		break;
	case TUNNEL_REPORT_CLOSED:
		on_closed(s, rep, now);
		break;
	case TUNNEL_REPORT_MAX_:
		break;
	}
	free(rep);
}

/* ---- life ------------------------------------------------------------------------------------ */

int supervisor_new(const struct supervisor_params *params, struct supervisor **ret)
{
	_cleanup_(supervisor_freep) struct supervisor *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->p = *params;
	s->count = MIN(params->connections, (unsigned int)SUPERVISOR_INDEX_MAX);
	s->timer.on_expire = on_timer;
	for (unsigned int i = 0; i < s->count; i++)
		s->indexes[i] = (struct supervisor_index){
			.state = INDEX_STATE_IDLE,
			.worker = i % params->worker_count,
			.protocol = params->transport.first,
		};
	const struct core_params core = {
		.connections = s->count,
		.transport = params->transport,
		.ip_version = params->ip_version,
		.random_below = random_below,
		.ops = &core_ops,
		.user = s,
	};
	s->core = supervisor_core_new(&core, now_mono());
	if (!s->core)
		return -ENOMEM;
	int r = supervisor_metrics_init(&s->metrics, params->registry, params->metrics, s->count);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void supervisor_free(struct supervisor *s)
{
	if (!s)
		return;
	mainloop_timer_stop(&s->timer);
	supervisor_core_free(s->core);
	free(s);
}

void supervisor_set_addresses(struct supervisor *s, const struct edge_addr *set, size_t count)
{
	supervisor_core_set_addresses(s->core, set, count, now_mono());
}

void supervisor_set_transport(struct supervisor *s, struct transport_choice choice)
{
	supervisor_core_set_transport(s->core, choice);
}

void supervisor_set_dns_v3(struct supervisor *s, bool is_v3)
{
	s->dns_says_v3 = is_v3;
}

void supervisor_set_error(struct supervisor *s, const char *text)
{
	(void)snprintf(s->last_error, sizeof(s->last_error), "%s", text);
}

void supervisor_start(struct supervisor *s)
{
	supervisor_core_start(s->core, now_mono());
}

void supervisor_stop(struct supervisor *s, nsec_t grace)
{
	bool cut = s->is_stopping || grace == 0;
	if (s->has_cut)
		return;
	s->has_cut = cut;
	s->is_stopping = true;
	supervisor_core_stop(s->core);
	for (unsigned int i = 0; i < s->p.worker_count; i++) {
		struct command *c = command_new(&s->p.envs[i], run_stop);
		if (c)
			c->grace = cut ? 0 : grace;
		command_post(c);
	}
	if (s->live == 0)
		s->p.events->on_stopped(s, s->p.user);
}

int supervisor_reconnect(struct supervisor *s, int index)
{
	if (index >= (int)s->count)
		return -ESTALE;
	supervisor_core_reconnect(s->core, index, now_mono());
	return 0;
}

void supervisor_network_changed(struct supervisor *s)
{
	supervisor_core_network_changed(s->core, now_mono());
}

unsigned int supervisor_count(const struct supervisor *s)
{
	return s->count;
}

unsigned int supervisor_up_count(const struct supervisor *s)
{
	return supervisor_core_up_count(s->core);
}

const struct supervisor_index *supervisor_get(const struct supervisor *s, unsigned int index)
{
	return &s->indexes[index];
}

const char *supervisor_last_error(const struct supervisor *s)
{
	return s->last_error;
}
