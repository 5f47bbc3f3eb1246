/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon's connection at the edge. Until it has registered it may do nothing but that; the link's
 * own timer ends it otherwise. What other workers see of it is the struct edge_link.
 */
#include "daemon/edge/edge_conn.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/base/random.h"
#include "daemon/edge/flow_link.h"
#include "daemon/link/control_serve.h"
#include "daemon/link/rpc_channel.h"
#include "util/cleanup.h"

enum {
	RPC_STREAMS_MAX = 1024,    /* of one daemon at a time: all its sessions may end at once */
	REFUSED_CLOSE_SEC = 1,     /* for a refused daemon to end the control stream itself */
	UNANSWERED_CLOSE_SEC = 30, /* for one that is left without an answer on request */
};

struct edge_conn {
	struct edge_conn_env *env;
	struct link *link;
	struct control_serve *control;
	struct edge_link *el;   /* NULL until registered */
	struct flow_link flows; /* open once it has registered, where datagrams are carried */
	struct list rpc;        /* streams that the daemon opened besides */
	unsigned int rpc_count;
	struct tunnel_counters counters; /* 0 until registered */
	uint64_t lost_counted, stalls_counted, trailers_counted;
	bool is_leaving;
	bool is_replaced;   /* its daemon has a newer connection of this index */
	struct timer leave; /* its turn in a drain has come */
	struct timer grace;
	struct timer refused;
	struct stranger stranger; /* linked while it counts as one */
	nsec_t since;             /* accepted */
	bool has_control;         /* the control stream has come */
	struct list node;
	struct loop_garbage garbage;
};

/* A daemon-opened RPC stream (docs/protocol.md §9). */
struct conn_rpc {
	struct edge_conn *conn;
	struct rpc_channel *channel;
	struct list node;
	struct loop_garbage garbage;
};

static void conn_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct edge_conn, garbage));
}

static void rpc_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct conn_rpc, garbage));
}

static void rpc_done(struct conn_rpc *rpc)
{
	rpc_channel_close(TAKE_PTR(rpc->channel), false);
	list_remove(&rpc->node);
	rpc->conn->rpc_count--;
	loop_defer_free(rpc->conn->env->worker->loop, &rpc->garbage);
}

/* No new requests come here; the count for max-connections is given back. */
static void conn_withdraw(struct edge_conn *c)
{
	if (!c->el)
		return;
	struct edge_link *el = TAKE_PTR(c->el);
	atomic_store_explicit(&el->is_usable, false, memory_order_release);
	directory_withdraw(c->env->set, c->env->directories, el);
	enroll_release(el->tunnel);
	c->env->registered--;
	el->owner = NULL;
	edge_link_unref(el);
}

static void conn_count(struct edge_conn *c)
{
	struct link_stats stats = {};
	link_get_stats(c->link, &stats);
	struct metric_shard *shard = c->env->worker->metrics;
	metric_add(shard, c->counters.lost, (int64_t)(stats.lost_packets - c->lost_counted));
	metric_add(shard, c->counters.stalls, (int64_t)(stats.credit_stalls - c->stalls_counted));
	c->lost_counted = stats.lost_packets;
	c->stalls_counted = stats.credit_stalls;
	c->env->trailers_raw += stats.dropped_trailers - c->trailers_counted;
	c->trailers_counted = stats.dropped_trailers;
}

/* Its end, when it has never been more than a stranger. */
static void conn_forget_stranger(struct edge_conn *c)
{
	struct edge_conn_env *env = c->env;
	if (!env->strangers || !strangers_remove(env->strangers, &c->stranger))
		return;
	if (!c->has_control) /* who only looked whether we are there is none */
		env->handshake_failed += c->link->close_info.end != LINK_END_PEER;
	else if (nsec_sub(loop_now(env->worker->loop), c->since) >= env->register_timeout)
		env->register_timeouts++;
}

static void conn_free(struct edge_conn *c)
{
	conn_count(c);
	conn_forget_stranger(c);
	if (c->el)
		c->el->link = NULL;
	conn_withdraw(c);
	flow_link_close(&c->flows);
	timer_stop(&c->leave);
	timer_stop(&c->grace);
	timer_stop(&c->refused);
	control_serve_free(TAKE_PTR(c->control));
	LIST_FOREACH(node, &c->rpc)
	rpc_done(LIST_ENTRY(node, struct conn_rpc, node));
	list_remove(&c->node);
	link_free(TAKE_PTR(c->link));
	loop_defer_free(c->env->worker->loop, &c->garbage);
}

/* Lets running requests end, then closes. */
static void conn_leave(struct edge_conn *c, bool say_so)
{
	struct loop *loop = c->env->worker->loop;
	if (c->is_leaving)
		return;
	c->is_leaving = true;
	if (c->el)
		atomic_store_explicit(&c->el->is_usable, false, memory_order_release);
	if (say_so && c->control)
		control_serve_go_away(c->control);
	timer_start(loop, &c->grace, nsec_add(loop_now(loop), c->env->grace));
	link_drain(c->link);
}

static void on_leave(struct timer *timer)
{
	conn_leave(CONTAINER_OF(timer, struct edge_conn, leave), true);
}

static void on_grace_over(struct timer *timer)
{
	struct edge_conn *c = CONTAINER_OF(timer, struct edge_conn, grace);
	link_close(c->link, 0, "grace period over");
}

static void on_refused(struct timer *timer)
{
	struct edge_conn *c = CONTAINER_OF(timer, struct edge_conn, refused);
	link_close(c->link, 0, "registration refused");
}

/* It has proved who it is. */
static void conn_know(struct edge_conn *c)
{
	if (c->env->strangers)
		(void)strangers_remove(c->env->strangers, &c->stranger);
	link_set_registered(c->link);
}

/* A newer connection of the same connector and index has registered, perhaps on another worker. */
struct replacement {
	struct message message;
	struct edge_link *el;
};

static void replacement_discard(struct message *message)
{
	struct replacement *rep = CONTAINER_OF(message, struct replacement, message);
	edge_link_unref(rep->el);
	free(rep);
}

static void replacement_deliver(struct message *message, void *owner)
{
	(void)owner;
	struct replacement *rep = CONTAINER_OF(message, struct replacement, message);
	struct edge_conn *c = rep->el->owner;
	if (c && edge_link_suspicion(rep->el)) /* what runs there waits for nobody */
		link_close(c->link, 0, "replaced while it was silent");
	else if (c) {
		/* Why the daemon has done that may not show here yet. */
		c->is_replaced = true;
		link_probe(c->link);
		conn_leave(c, true);
	}
	replacement_discard(message);
}

static void replace_older(struct edge_conn *c)
{
	const struct directory *d = c->env->directories[c->env->worker->index];
	struct edge_link *older = directory_find_older(d, c->el);
	struct replacement *rep = older ? calloc(1, sizeof(*rep)) : NULL;
	if (!rep)
		return;
	atomic_store_explicit(&older->is_usable, false, memory_order_release);
	rep->message.on_deliver = replacement_deliver;
	rep->message.on_discard = replacement_discard;
	rep->el = edge_link_ref(older);
	mailbox_post(older->worker->mailbox, &rep->message);
}

/* Its tunnel in the configuration in force; NULL: it is no longer there. */
static const struct roster_tunnel *at_of(const struct edge_conn *c)
{
	const struct roster_tunnel *t = roster_find(c->env->roster, &c->el->tunnel->id);
	return t && t->shared == c->el->tunnel ? t : NULL;
}

static const char *name_of(const struct edge_conn *c)
{
	return roster_name_of(c->env->roster, c->el->tunnel);
}

static bool announces(const struct tunnel_register *reg, const char *feature)
{
	for (unsigned int i = 0; i < reg->feature_count; i++)
		if (span_eq_str(reg->features[i], feature))
			return true;
	return false;
}

/* Makes the shared object and tells everybody. */
static int conn_enlist(struct edge_conn *c, const struct tunnel_register *reg,
		       struct edge_tunnel *tunnel)
{
	struct edge_link *el = edge_link_new(tunnel);
	if (!el)
		return -ENOMEM;
	struct link_stats stats = {};
	link_get_stats(c->link, &stats);
	el->worker = c->env->worker;
	el->link = c->link;
	el->owner = c;
	el->index = reg->conn_index;
	el->is_adit = announces(reg, "adit_1");
	el->has_flows = c->env->flows && link_max_datagram(c->link) > 0;
	el->peer = stats.peer;
	el->serial = atomic_fetch_add_explicit(c->env->next_serial, 1, memory_order_relaxed) + 1;
	random_bytes(el->connection_id.bytes, sizeof(el->connection_id.bytes));
	uuid_make_v4(&el->connection_id);
	(void)uuid_from_span(reg->client_id, &el->connector_id);
	atomic_store_explicit(&el->is_usable, true, memory_order_release);
	if (directory_announce(c->env->set, c->env->directories, el) < 0) {
		edge_link_unref(el);
		return -ENOMEM;
	}
	c->el = el;
	if (el->has_flows)
		flow_link_open(&c->flows, c->link, c->env->flows, el->is_adit,
			       announces(reg, "support_datagram_v3_2"));
	c->counters = tunnel_metrics_counters(&c->env->roster->links,
					      roster_index(c->env->roster, at_of(c)), el->index);
	return 0;
}

static void log_refusal(struct edge_conn *c, enum enroll_refusal refusal, struct span cause)
{
	struct edge_conn_env *env = c->env;
	struct link_stats stats = {};
	env->refusals[refusal]++;
	link_get_stats(c->link, &stats);
	if (log_limit_pass(&env->log_limit, loop_now(env->worker->loop), 5))
		log_warning(env->worker->log, "tunnel", "registration refused",
			    KV_ADDR("peer", &stats.peer), KV_SPAN("cause", cause));
}

/* The daemon closes; who doesn't, is closed. */
static int conn_refuse(struct edge_conn *c, enum enroll_refusal refusal,
		       struct tunnel_registered *ret)
{
	struct loop *loop = c->env->worker->loop;
	enroll_refuse(refusal, ret);
	log_refusal(c, refusal, ret->cause);
	timer_start(loop, &c->refused, loop_now(loop) + REFUSED_CLOSE_SEC * NSEC_PER_SEC);
	return 0;
}

/* As conn_refuse(), the way that the order in force has it. Returns what on_register() returns. */
static int conn_refuse_by_order(struct edge_conn *c, struct tunnel_registered *ret)
{
	struct loop *loop = c->env->worker->loop;
	enum refuse_manner manner = refuse_answer(c->env->refuse, ret);
	unsigned int sec =
		manner == REFUSE_MANNER_SILENT ? UNANSWERED_CLOSE_SEC : REFUSED_CLOSE_SEC;
	log_refusal(c, ENROLL_REFUSAL_ORDERED, span_str("an order"));
	timer_start(loop, &c->refused, loop_now(loop) + sec * NSEC_PER_SEC);
	switch (manner) {
	case REFUSE_MANNER_ANSWER:
		return 0;
	case REFUSE_MANNER_EXCEPTION:
		return -EBADMSG;
	case REFUSE_MANNER_SILENT:
		conn_know(c); /* the daemon's deadline passes, not ours */
		return -ECANCELED;
	case REFUSE_MANNER_CLOSE:
		link_close(c->link, 0, "registration refused");
		return -ECANCELED;
	}
	return -EBADMSG;
}

static int on_register(struct control_serve *cs, const struct tunnel_register *reg,
		       struct tunnel_registered *ret, void *user)
{
	(void)cs;
	struct edge_conn *c = user;
	struct edge_conn_env *env = c->env;
	struct uuid client, tunnel_id;
	struct edge_tunnel *tunnel = NULL;
	if (c->el || timer_is_armed(&c->refused) || uuid_from_span(reg->client_id, &client) < 0 ||
	    uuid_from_span(reg->tunnel_id, &tunnel_id) < 0)
		return -EBADMSG;
	bool is_draining = atomic_load_explicit(env->is_draining, memory_order_relaxed);
	enum enroll_refusal refusal = enroll_check(env->roster, is_draining, reg, &tunnel);
	bool is_ordered = refusal == ENROLL_REFUSAL_NONE && refuse_take(env->refuse, &tunnel_id);
	if (is_ordered)
		enroll_release(tunnel);
	if (refusal == ENROLL_REFUSAL_NONE && !is_ordered && conn_enlist(c, reg, tunnel) < 0) {
		enroll_release(tunnel);
		refusal = ENROLL_REFUSAL_TOO_MANY;
	}
	edge_tunnel_unref(tunnel); /* the link has its own */
	if (is_ordered)
		return conn_refuse_by_order(c, ret);
	if (refusal != ENROLL_REFUSAL_NONE)
		return conn_refuse(c, refusal, ret);
	env->registered++;
	env->registrations++;
	conn_know(c);
	replace_older(c);
	ret->verdict = TUNNEL_VERDICT_DETAILS;
	ret->connection_id = uuid_span(&c->el->connection_id);
	ret->location = span_str(env->roster->conf->edge.location);
	log_info(env->worker->log, "tunnel", "registered", KV_STR("tunnel", name_of(c)),
		 KV_U64("index", reg->conn_index), KV_ADDR("peer", &c->el->peer),
		 KV_SPAN("version", reg->version), KV_U64("worker", env->worker->index));
	return 0;
}

static void on_local_config(struct control_serve *cs, struct span json, void *user)
{
	(void)cs;
	struct edge_conn *c = user;
	log_debug(c->env->worker->log, "tunnel", "local configuration received",
		  KV_U64("bytes", json.len));
}

static void on_unregister(struct control_serve *cs, void *user)
{
	(void)cs;
	struct edge_conn *c = user;
	if (c->el)
		log_info(c->env->worker->log, "tunnel", "unregistered",
			 KV_STR("tunnel", name_of(c)), KV_U64("index", c->el->index),
			 KV_ADDR("peer", &c->el->peer));
	if (c->el)
		atomic_store_explicit(&c->el->is_usable, false, memory_order_release);
}

/*
 * The daemon ended the control stream. After unregistration that is the ordinary goodbye: the
 * connection is closed when its requests are done, by us at the latest, for over TCP the reference
 * waits for that. Before, it is a daemon that has lost its mind or ours. A reset is the end of the
 * connection (spec §4).
 */
static void on_control_end(struct control_serve *cs, enum rpc_channel_end end, void *user)
{
	struct edge_conn *c = user;
	c->env->rpc_timeouts += end == RPC_CHANNEL_END_STALLED;
	control_serve_free(cs);
	c->control = NULL;
	if (!c->el)
		link_close(c->link, 0, "control stream ended");
	else if (end == RPC_CHANNEL_END_LOST)
		link_close(c->link, 0, "control stream reset");
	else
		conn_leave(c, false);
}

static const struct control_serve_events control_events = {
	.on_register = on_register,
	.on_local_config = on_local_config,
	.on_unregister = on_unregister,
	.on_end = on_control_end,
};

/* The link has become suspect, or isn't any more. */
static void conn_doubt(struct edge_conn *c)
{
	struct edge_link *el = c->el;
	enum link_suspicion suspicion = c->link->suspicion;
	if (!el || edge_link_suspicion(el) == suspicion)
		return;
	atomic_store_explicit(&el->suspicion, suspicion, memory_order_relaxed);
	if (!suspicion)
		return;
	c->env->suspicions++;
	if (log_limit_pass(&c->env->log_limit, loop_now(c->env->worker->loop), 5))
		log_notice(c->env->worker->log, "tunnel", "a daemon doesn't answer",
			   KV_STR("tunnel", name_of(c)), KV_U64("index", el->index),
			   KV_ADDR("peer", &el->peer));
	if (c->is_replaced)
		link_close(c->link, 0, "replaced while it was silent");
	else
		directory_doubt(c->env->set, c->env->directories, el);
}

static void on_state(struct link *link, enum link_state state, void *user)
{
	struct edge_conn *c = user;
	if (state != LINK_STATE_CLOSED) {
		conn_doubt(c);
		if (state == LINK_STATE_DRAINING && c->el) /* perhaps the daemon takes no more */
			atomic_store_explicit(&c->el->is_usable, false, memory_order_release);
		return;
	}
	if (c->el)
		log_info(c->env->worker->log, "tunnel", "connection ended",
			 KV_STR("tunnel", name_of(c)), KV_U64("index", c->el->index),
			 KV_ADDR("peer", &c->el->peer),
			 KV_STR("cause", link_end_name(link->close_info.end)),
			 KV_STR("reason", link->close_info.reason));
	conn_free(c);
}

static int on_rpc_call(void *user, uint32_t answer_id, const struct rpc_message *call)
{
	struct conn_rpc *rpc = user;
	return flow_link_serve(&rpc->conn->flows, &rpc->channel->session, answer_id, call);
}

static void on_rpc_end(void *user, enum rpc_channel_end end)
{
	struct conn_rpc *rpc = user;
	rpc->conn->env->rpc_timeouts += end == RPC_CHANNEL_END_STALLED;
	rpc_done(rpc);
}

static const struct rpc_channel_ops rpc_ops = {
	.on_call = on_rpc_call,
	.on_end = on_rpc_end,
};

static void conn_serve_rpc(struct edge_conn *c, struct stream *stream)
{
	struct conn_rpc *rpc =
		c->rpc_count < RPC_STREAMS_MAX && c->el ? calloc(1, sizeof(*rpc)) : NULL;
	if (!rpc) {
		c->env->rpc_refused++;
		stream_close(stream);
		return;
	}
	rpc->conn = c;
	rpc->garbage.release = rpc_release;
	if (rpc_channel_new(c->env->worker->loop, stream, &rpc_ops, rpc, &rpc->channel) < 0) {
		free(rpc);
		return;
	}
	rpc_channel_expect_signature(rpc->channel);
	rpc_channel_set_timeout(rpc->channel, c->env->rpc_timeout, true);
	list_append(&c->rpc, &rpc->node);
	c->rpc_count++;
}

static void on_stream(struct link *link, struct stream *stream, uint64_t id, void *user)
{
	(void)link;
	struct edge_conn *c = user;
	if (id != 0) {
		conn_serve_rpc(c, stream);
		return;
	}
	c->has_control = true;
	if (control_serve_new(c->env->worker->loop, stream, &control_events, c, &c->control) < 0) {
		link_close(c->link, 0, "no memory");
		return;
	}
	control_serve_set_timeout(c->control, c->env->control_timeout);
}

static void on_datagram(struct link *link, struct span payload, void *user)
{
	(void)link;
	struct edge_conn *c = user;
	if (flow_link_is_open(&c->flows))
		flow_link_take(&c->flows, payload);
	else
		c->env->datagrams++;
}

struct call_port *edge_conn_flow_port(struct edge_link *el)
{
	struct edge_conn *c = el->owner;
	return c && flow_link_is_open(&c->flows) ? &c->flows.port : NULL;
}

const struct edge_tunnel *edge_conn_tunnel_of_port(struct call_port *port)
{
	return CONTAINER_OF(port, struct edge_conn, flows.port)->el->tunnel;
}

const struct link_sink edge_conn_sink = {
	.on_state = on_state,
	.on_stream = on_stream,
	.on_datagram = on_datagram,
};

void *edge_conn_accept(struct link *link, void *arg)
{
	struct edge_conn_env *env = arg;
	struct edge_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->env = env;
	c->link = link;
	c->since = loop_now(env->worker->loop);
	c->leave.on_expire = on_leave;
	c->grace.on_expire = on_grace_over;
	c->refused.on_expire = on_refused;
	c->garbage.release = conn_release;
	list_init(&c->rpc);
	list_append(&env->conns, &c->node);
	return c;
}

void *edge_conn_accept_stranger(struct link *link, struct edge_conn_env *env,
				const struct ip_addr *ip)
{
	struct edge_conn *c = edge_conn_accept(link, env);
	if (!c)
		return NULL;
	c->stranger.is_validated = true; /* or there would be no connection */
	strangers_add(env->strangers, &c->stranger, ip);
	return c;
}

void edge_conn_env_init(struct edge_conn_env *env)
{
	list_init(&env->conns);
}

void edge_conn_walk(struct edge_conn_env *env,
		    void (*on_row)(const struct edge_conn_row *row, void *arg), void *arg)
{
	LIST_FOREACH(node, &env->conns)
	{
		struct edge_conn *c = LIST_ENTRY(node, struct edge_conn, node);
		if (!c->el)
			continue;
		struct edge_conn_row row = { .at = at_of(c),
					     .name = name_of(c),
					     .index = c->el->index,
					     .worker = env->worker->index,
					     .protocol = c->link->ops->protocol };
		link_get_stats(c->link, &row.stats);
		on_row(&row, arg);
	}
}

void edge_conn_count(struct edge_conn_env *env)
{
	LIST_FOREACH(node, &env->conns)
	{
		struct edge_conn *c = LIST_ENTRY(node, struct edge_conn, node);
		if (c->counters.lost)
			conn_count(c);
	}
}

void edge_conn_use_roster(struct edge_conn_env *env, struct roster *roster)
{
	env->roster = roster;
	LIST_FOREACH(node, &env->conns)
	{
		struct edge_conn *c = LIST_ENTRY(node, struct edge_conn, node);
		if (!c->el || c->is_leaving || at_of(c))
			continue;
		log_info(env->worker->log, "tunnel", "sent away by the new configuration",
			 KV_STR("tunnel", name_of(c)), KV_U64("index", c->el->index),
			 KV_ADDR("peer", &c->el->peer));
		conn_leave(c, true);
	}
}

void edge_conn_use_refuse(struct edge_conn_env *env, struct refuse *refuse)
{
	refuse_unref(env->refuse);
	env->refuse = refuse_ref(refuse);
}

nsec_t edge_conn_drain_step(unsigned int links, unsigned int workers, nsec_t grace)
{
	nsec_t fastest = grace / 2 / MAX(links, 1U);
	return MIN(workers * NSEC_PER_SEC, fastest);
}

/* A connection of the reference, which doesn't hear that we go. */
static bool is_reference(const struct edge_conn *c)
{
	return c->el && !c->el->is_adit;
}

/*
 * Daemons of ours dial elsewhere when they are told. The reference doesn't hear it and would dial
 * anew with all its connections at once: its links go one after the other. Each worker begins at a
 * moment of its own.
 */
void edge_conn_drain_all(struct edge_conn_env *env)
{
	struct loop *loop = env->worker->loop;
	unsigned int links = 0, workers = worker_set_count(env->set);
	LIST_FOREACH(node, &env->conns)
	links += is_reference(LIST_ENTRY(node, struct edge_conn, node));
	nsec_t step = edge_conn_drain_step(links, workers, env->grace);
	nsec_t turn = loop_now(loop) + step * env->worker->index / workers;
	LIST_FOREACH(node, &env->conns)
	{
		struct edge_conn *c = LIST_ENTRY(node, struct edge_conn, node);
		if (!is_reference(c)) {
			conn_leave(c, true);
			continue;
		}
		timer_start(loop, &c->leave, turn);
		turn += step;
	}
}

void edge_conn_env_done(struct edge_conn_env *env)
{
	LIST_FOREACH(node, &env->conns)
	{
		struct edge_conn *c = LIST_ENTRY(node, struct edge_conn, node);
		link_close(c->link, 0, "edge is stopping");
		conn_free(c);
	}
	refuse_unref(TAKE_PTR(env->refuse));
}
