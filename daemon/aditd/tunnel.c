/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's end of connections. A tunnel lives from its dial until its link is closed, and then
 * says so once; an index may have several for a time: one draining, one that replaces it, two that
 * race.
 */
#include "daemon/aditd/tunnel.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/base/snapshot.h"
#include "daemon/base/version.h"
#include "daemon/demux/demux_config.h"
#include "daemon/net/udp.h"
#include "daemon/wire/token.h"
#include "util/cleanup.h"

enum {
	RPC_TIMEOUT_SEC = 5,
	SILENT_SEC = 1,
	PATH_TRIES = 20, /* to move a link, PATH_PAUSE apart */
};
#define PATH_PAUSE (100 * NSEC_PER_MSEC)
/* An edge that hasn't answered the goodbye by then may be dead: nothing idle waits for it. */
#define GOODBYE (2 * NSEC_PER_SEC)

struct tunnel {
	struct tunnel_env *env;
	struct tunnel_dial dial;
	struct link *link;
	struct demux_dgram dgram;
	struct control *control;
	bool is_connected; /* its link was UP */
	bool is_registered;
	bool is_draining;
	bool is_ending;
	struct timer grace; /* end of the drain */
	struct timer quiet; /* requests have come: is the edge still there when it falls silent? */
	struct timer path;  /* the link has to move, but couldn't yet */
	unsigned int path_tries;
	struct loop_task end;
	char text[160];
	struct link_close_info close_info;
	struct snapshot *held; /* what control's local configuration lies in */
	struct list node;
	struct loop_garbage garbage;
};

static void tunnel_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct tunnel, garbage));
}

void tunnel_dial_done(struct tunnel_dial *dial)
{
	for (unsigned int i = 0; i < TUNNEL_REPORT_MAX_; i++)
		free(TAKE_PTR(dial->reports[i]));
}

static void add_datagrams(struct tunnel_datagrams *sum, struct link *link)
{
	struct link_stats stats = {};
	link_get_stats(link, &stats);
	sum->rx += stats.rx_datagrams;
	sum->tx += stats.tx_datagrams;
	sum->dropped += stats.dropped_datagrams;
}

static void tunnel_dispose(struct tunnel *t)
{
	timer_stop(&t->grace);
	timer_stop(&t->quiet);
	timer_stop(&t->path);
	loop_task_cancel(&t->end);
	control_free(TAKE_PTR(t->control));
	snapshot_unref(TAKE_PTR(t->held));
	demux_dgram_close(&t->dgram);
	if (t->link) {
		add_datagrams(&t->env->datagrams_ended, t->link);
		link_free(TAKE_PTR(t->link));
		t->env->links_ended++;
	}
	list_remove(&t->node);
	tunnel_dial_done(&t->dial);
	loop_defer_free(t->env->worker->loop, &t->garbage);
}

/* The report to send, or NULL: it has been sent, or there is no memory for another one. */
static struct tunnel_report *report_take(struct tunnel *t, enum tunnel_report_kind kind)
{
	if (kind != TUNNEL_REPORT_SUSPECT && kind != TUNNEL_REPORT_HEARD)
		return TAKE_PTR(t->dial.reports[kind]);
	struct tunnel_report *again = malloc(sizeof(*again));
	if (again)
		*again = *t->dial.reports[kind];
	return again;
}

static void report(struct tunnel *t, enum tunnel_report_kind kind,
		   const struct control_result *result)
{
	struct tunnel_report *rep = report_take(t, kind);
	if (!rep)
		return;
	rep->kind = kind;
	rep->index = t->dial.index;
	rep->serial = t->dial.serial;
	rep->protocol = t->dial.protocol;
	rep->was_connected = t->is_connected;
	rep->peer = t->dial.peer;
	rep->close = t->close_info;
	if (result)
		rep->result = *result;
	(void)snprintf(rep->text, sizeof(rep->text), "%s", t->text);
	if (t->link) {
		struct link_stats stats = {};
		link_get_stats(t->link, &stats);
		rep->local = stats.local;
	}
	mailbox_post(t->env->main, &rep->message);
}

/* What ended the connection: the first cause stands, what follows from it doesn't count. */
static void set_cause(struct tunnel *t, const char *text)
{
	if (t->text[0] == '\0')
		(void)snprintf(t->text, sizeof(t->text), "%s", text);
}

/* Ends the tunnel from the loop, so that whoever is up the stack can finish. The first cause
 * stands. */
static void tunnel_end(struct tunnel *t, const char *text)
{
	if (t->is_ending)
		return;
	t->is_ending = true;
	set_cause(t, text);
	loop_task_post(t->env->worker->loop, &t->end, LOOP_PHASE_WORK);
}

static void on_end_task(struct loop_task *task)
{
	struct tunnel *t = CONTAINER_OF(task, struct tunnel, end);
	report(t, TUNNEL_REPORT_CLOSED, NULL);
	tunnel_dispose(t);
}

/* Requests of a draining link have ended, or their time has. */
static void drain_over(struct tunnel *t, const char *text)
{
	if (t->link)
		link_close(t->link, 0, "");
	else
		tunnel_end(t, text);
}

static void on_grace_over(struct timer *timer)
{
	drain_over(CONTAINER_OF(timer, struct tunnel, grace), "grace period over");
}

static void on_registered(struct control *c, const struct control_result *result, void *user)
{
	(void)c;
	struct tunnel *t = user;
	if (result->cause == CONTROL_CAUSE_NONE) {
		t->is_registered = true;
		link_set_registered(t->link);
		report(t, TUNNEL_REPORT_REGISTERED, result);
		return;
	}
	char text[160];
	(void)snprintf(text, sizeof(text), "registration %s%s%.120s",
		       control_cause_name(result->cause), result->text[0] ? ": " : "",
		       result->text);
	set_cause(t, text);
	report(t, TUNNEL_REPORT_REFUSED, result);
	link_close(t->link, 0, "");
}

static void on_unregistered(struct control *c, void *user)
{
	struct tunnel *t = user;
	control_free(c);
	t->control = NULL;
	link_drain(t->link);
}

/* Nothing but the goodbye is under way, and nobody answers: nothing waits for that. */
static bool is_talking_to_itself(struct tunnel *t)
{
	struct link_stats stats = {};
	link_get_stats(t->link, &stats);
	return t->is_draining && t->link->suspicion && stats.running == 0;
}

/* The control stream's end: FIN means going away, anything else a lost connection (spec §4, §6). */
static void on_control_end(struct control *c, bool is_fin, void *user)
{
	(void)c;
	struct tunnel *t = user;
	if (t->is_draining) {
		/* Both ends are leaving: unregistration won't be answered any more. */
		if (t->control)
			on_unregistered(c, t);
		return;
	}
	if (is_fin && t->is_registered) {
		t->is_draining = true;
		report(t, TUNNEL_REPORT_AWAY, NULL);
		control_free(TAKE_PTR(t->control));
		timer_start(t->env->worker->loop, &t->grace,
			    nsec_add(loop_now(t->env->worker->loop),
				     t->env->config.conf->tunnel.grace_period));
		link_drain(t->link);
		return;
	}
	if (t->link->close_info.end != LINK_END_NONE)
		return; /* the whole link has ended and says why itself */
	set_cause(t, "control stream lost");
	link_close(t->link, 0, "");
}

static void on_config_sent(struct control *c, bool ok, void *user)
{
	(void)c;
	struct tunnel *t = user;
	t->env->config_pushes++;
	t->env->config_errors += !ok;
	if (ok)
		log_debug(t->env->worker->log, "tunnel", "local configuration sent",
			  KV_U64("index", t->dial.index));
	else
		log_warning(t->env->worker->log, "tunnel",
			    "the edge didn't take the local configuration",
			    KV_U64("index", t->dial.index));
}

static const struct control_events control_events = {
	.on_registered = on_registered,
	.on_end = on_control_end,
	.on_unregistered = on_unregistered,
	.on_config_sent = on_config_sent,
};

static bool speaks_v3(const struct tunnel *t)
{
	const struct conf *c = t->env->config.conf;
	switch (c->tunnel.datagram) {
	case CONF_DATAGRAM_AUTO:
		return c->edge.kind == CONF_EDGE_KIND_ADIT || t->dial.dns_says_v3;
	case CONF_DATAGRAM_V3:
		return true;
	case CONF_DATAGRAM_V2:
		break;
	}
	return false;
}

/* Feature strings (docs/protocol.md §7.2, spec §4). Returns how many. */
static unsigned int features(const struct tunnel *t, const char *ret[8])
{
	const struct conf *c = t->env->config.conf;
	bool is_adit = c->edge.kind == CONF_EDGE_KIND_ADIT;
	unsigned int n = 0;
	ret[n++] = "allow_remote_config";
	ret[n++] = "serialized_headers";
	ret[n++] = "support_datagram_v2";
	ret[n++] = "support_quic_eof";
	ret[n++] = "management_logs";
	if (speaks_v3(t))
		ret[n++] = "support_datagram_v3_2";
	if (c->tunnel.post_quantum == CONF_POST_QUANTUM_REQUIRE)
		ret[n++] = "postquantum";
	if (is_adit)
		ret[n++] = "adit_1";
	return n;
}

static void start_registration(struct tunnel *t, unsigned int attempts)
{
	struct tunnel_env *env = t->env;
	struct link_stats stats = {};
	link_get_stats(t->link, &stats);
	const char *names[8];
	struct control_params params = {
		.credential = env->config.conf->credential,
		.index = (uint8_t)t->dial.index,
		.connector_id = env->connector_id,
		.features = names,
		.feature_count = features(t, names),
		.version = adit_version,
		.local = stats.local.ip,
		.previous_attempts = (uint8_t)MIN(attempts, 255U),
		.timeout = RPC_TIMEOUT_SEC * NSEC_PER_SEC,
		.local_config = env->config.local_json,
		.metrics = env->rpc_metrics,
		.events = &control_events,
		.user = t,
	};
	const struct conf *conf = env->config.conf;
	demux_dgram_open(&t->dgram, &(struct demux_dgram_params){ .link = t->link,
								  .flows = env->flows,
								  .rpc_metrics = env->rpc_metrics,
								  .icmp = env->icmp,
								  .index = t->dial.index,
								  .is_ours = conf->edge.kind ==
									     CONF_EDGE_KIND_ADIT,
								  .is_v3 = speaks_v3(t) });
	t->held = snapshot_ref(env->config.snapshot);
	if (control_new(t->link, &params, &t->control) < 0) {
		set_cause(t, "the edge grants no control stream");
		link_close(t->link, 0, "");
	}
}

/* ---- the way to the edge --------------------------------------------------------------------- */

/*
 * Moves the link if the kernel would now send from another address than the link's: that one has
 * gone, or the better way begins elsewhere. The same address on another way needs nothing from us.
 */
static void follow_path(struct tunnel *t)
{
	const struct conf_edge *edge = &t->env->config.conf->edge;
	struct link_stats stats = {};
	struct ip_addr source;
	if (!t->link || !t->is_connected || t->link->state == LINK_STATE_CLOSED ||
	    udp_find_source(&t->dial.peer, edge->bind_interface, edge->fwmark, &source, NULL) < 0)
		return; /* without any way there is nothing to follow */
	link_get_stats(t->link, &stats);
	if (ip_addr_eq(&source, &stats.local.ip))
		return;
	int r = link_migrate(t->link);
	struct loop *loop = t->env->worker->loop;
	if (r == -EAGAIN && t->path_tries++ < PATH_TRIES)
		timer_start(loop, &t->path, nsec_add(loop_now(loop), PATH_PAUSE));
	else if (r < 0)
		link_probe(t->link); /* it may be dead now; that shows sooner when it is asked */
	else
		log_notice(t->env->worker->log, "tunnel", "moved to another local address",
			   KV_U64("index", t->dial.index), KV_ADDR("peer", &t->dial.peer));
}

static void on_path(struct timer *timer)
{
	follow_path(CONTAINER_OF(timer, struct tunnel, path));
}

static void check_path(struct tunnel *t)
{
	t->path_tries = 0;
	follow_path(t);
}

/* What is about to be replaced may only have to move, which is quicker than a handshake. */
static void follow_suspects(struct tunnel_env *env, unsigned int index)
{
	LIST_FOREACH(node, &env->tunnels)
	{
		struct tunnel *t = LIST_ENTRY(node, struct tunnel, node);
		if (t->dial.index == index && t->link && t->link->state == LINK_STATE_SUSPECT)
			check_path(t);
	}
}

void tunnel_network_changed(struct tunnel_env *env)
{
	LIST_FOREACH(node, &env->tunnels)
	check_path(LIST_ENTRY(node, struct tunnel, node));
}

/* The link has ended: what follows from that, a registration that is lost too, has been told. */
static void link_ended(struct tunnel *t)
{
	t->close_info = t->link->close_info;
	const char *what = t->is_connected && !t->is_registered ? "not registered: " : "";
	char text[160];
	(void)snprintf(text, sizeof(text), "%s%s%s%s", what, link_end_name(t->close_info.end),
		       t->close_info.reason[0] ? ": " : "", t->close_info.reason);
	tunnel_end(t, text);
}

static void on_link_state(struct link *link, enum link_state state, void *user)
{
	struct tunnel *t = user;
	if (state == LINK_STATE_UP && !t->is_connected) {
		t->is_connected = true;
		report(t, TUNNEL_REPORT_CONNECTED, NULL);
	} else if (state == LINK_STATE_UP && t->is_registered) {
		report(t, TUNNEL_REPORT_HEARD, NULL);
	} else if (state == LINK_STATE_SUSPECT) {
		log_notice(t->env->worker->log, "tunnel", "the edge doesn't answer",
			   KV_U64("index", t->dial.index), KV_ADDR("peer", &t->dial.peer));
		if (t->is_registered)
			report(t, TUNNEL_REPORT_SUSPECT, NULL);
		check_path(t);
	} else if (state == LINK_STATE_DRAINING && is_talking_to_itself(t)) {
		link_close(link, 0, "");
	} else if (state == LINK_STATE_CLOSED) {
		link_ended(t);
	}
}

/* Asks once after the last request: who answers nothing can't be told from who wants nothing. */
static void on_quiet(struct timer *timer)
{
	struct tunnel *t = CONTAINER_OF(timer, struct tunnel, quiet);
	struct loop *loop = t->env->worker->loop;
	struct link_stats stats = {};
	link_get_stats(t->link, &stats);
	nsec_t due = nsec_add(stats.heard, SILENT_SEC * NSEC_PER_SEC);
	if (loop_now(loop) < due)
		timer_start(loop, &t->quiet, due);
	else if (link_is_up(t->link))
		link_probe(t->link);
}

static void on_link_stream(struct link *link, struct stream *stream, uint64_t id, void *user)
{
	(void)id;
	struct tunnel *t = user;
	struct tunnel_env *env = t->env;
	struct loop *loop = env->worker->loop;
	if (!timer_is_armed(&t->quiet))
		timer_start(loop, &t->quiet, nsec_add(loop_now(loop), SILENT_SEC * NSEC_PER_SEC));
	bool is_ours = env->config.conf->edge.kind == CONF_EDGE_KIND_ADIT;
	demux_stream(env->demux, stream, is_ours || link->ops->has_trailers, t->dgram.port.serial);
}

static void on_link_datagram(struct link *link, struct span payload, void *user)
{
	(void)link;
	struct tunnel *t = user;
	demux_dgram_take(&t->dgram, t->env->flows, payload);
}

static void on_link_config(struct link *link, struct stream *stream, void *user)
{
	(void)link;
	demux_config_start(((struct tunnel *)user)->env->demux, stream);
}

static const struct link_sink sink = {
	.on_state = on_link_state,
	.on_stream = on_link_stream,
	.on_datagram = on_link_datagram,
	.on_config = on_link_config,
};

static int dial_http2(struct tunnel *t)
{
	struct tunnel_env *env = t->env;
	const struct conf_edge *edge = &env->config.conf->edge;
	const struct h2link_dial dial = {
		.settings = env->h2,
		.peer = t->dial.peer,
		.bind_interface = edge->bind_interface,
		.fwmark = edge->fwmark,
		.proxy = env->proxy,
		.tls = env->config.tls,
		.trust = env->config.trust,
		.server_name = env->server_names[LINK_PROTOCOL_HTTP2],
		.is_ours = edge->kind == CONF_EDGE_KIND_ADIT,
	};
	return h2link_dial(env->worker, &dial, &sink, t, &t->link);
}

static int dial_quic(struct tunnel *t)
{
	struct tunnel_env *env = t->env;
	struct quic_dial dial = {
		.peer = t->dial.peer,
		.local_port = t->dial.local_port,
		.bind_interface = env->config.conf->edge.bind_interface,
		.fwmark = env->config.conf->edge.fwmark,
		.tls = env->config.tls,
		.trust = env->config.trust,
		.server_name = env->server_names[LINK_PROTOCOL_QUIC],
	};
	return quic_dial(env->quic, &dial, &sink, t, &t->link);
}

static void start_dial(struct tunnel *t)
{
	int r = t->dial.protocol == LINK_PROTOCOL_QUIC ? dial_quic(t) : dial_http2(t);
	if (r >= 0) {
		t->env->links_dialled++;
		return;
	}
	t->close_info = (struct link_close_info){ .end = LINK_END_NETWORK, .error = r };
	if (r == -ECONNREFUSED)
		t->close_info.end = LINK_END_REFUSED;
	char text[160];
	(void)snprintf(text, sizeof(text), "no socket: %s", strerrordesc_np(-r));
	tunnel_end(t, text);
}

void tunnel_use_config(struct tunnel_env *env, const struct tunnel_config *config)
{
	env->config = *config;
	LIST_FOREACH(node, &env->tunnels)
	{
		struct tunnel *t = LIST_ENTRY(node, struct tunnel, node);
		if (!t->control)
			continue;
		control_set_local_config(t->control, config->local_json);
		snapshot_unref(t->held);
		t->held = snapshot_ref(config->snapshot);
	}
}

void tunnel_start(struct tunnel_env *env, const struct tunnel_dial *dial)
{
	struct tunnel *t = calloc(1, sizeof(*t));
	if (!t) {
		struct tunnel_report *rep = dial->reports[TUNNEL_REPORT_CLOSED];
		struct tunnel_dial rest = *dial;
		rest.reports[TUNNEL_REPORT_CLOSED] = NULL;
		tunnel_dial_done(&rest);
		rep->kind = TUNNEL_REPORT_CLOSED;
		rep->index = dial->index;
		rep->serial = dial->serial;
		rep->protocol = dial->protocol;
		rep->peer = dial->peer;
		rep->close = (struct link_close_info){ .end = LINK_END_NETWORK, .error = -ENOMEM };
		(void)snprintf(rep->text, sizeof(rep->text), "no memory");
		mailbox_post(env->main, &rep->message);
		return;
	}
	t->env = env;
	t->dial = *dial;
	t->grace.on_expire = on_grace_over;
	t->quiet.on_expire = on_quiet;
	t->path.on_expire = on_path;
	follow_suspects(env, dial->index);
	t->end.run = on_end_task;
	t->garbage.release = tunnel_release;
	list_append(&env->tunnels, &t->node);
	start_dial(t);
}

static struct tunnel *tunnel_find(struct tunnel_env *env, uint64_t serial)
{
	LIST_FOREACH(node, &env->tunnels)
	{
		struct tunnel *t = LIST_ENTRY(node, struct tunnel, node);
		if (t->dial.serial == serial && !t->is_ending)
			return t;
	}
	return NULL;
}

void tunnel_register(struct tunnel_env *env, uint64_t serial, unsigned int attempts)
{
	struct tunnel *t = tunnel_find(env, serial);
	if (t && t->is_connected && !t->control && link_is_up(t->link))
		start_registration(t, attempts);
}

static void drain_one(struct tunnel *t, nsec_t grace)
{
	struct loop *loop = t->env->worker->loop;
	if (!t->is_registered) {
		set_cause(t, "stopping");
		drain_over(t, "stopping");
		return;
	}
	t->is_draining = true;
	timer_start(loop, &t->grace, nsec_add(loop_now(loop), grace));
	if (t->control) /* gone when the edge went away first: then the link drains already */
		control_unregister(t->control, MIN(grace, GOODBYE));
}

void tunnel_drain(struct tunnel_env *env, uint64_t serial)
{
	struct tunnel *t = tunnel_find(env, serial);
	if (t && !t->is_draining)
		drain_one(t, env->config.conf->tunnel.grace_period);
}

static void close_one(struct tunnel *t, const char *reason)
{
	set_cause(t, reason);
	drain_over(t, reason);
}

void tunnel_close(struct tunnel_env *env, uint64_t serial, const char *reason)
{
	struct tunnel *t = tunnel_find(env, serial);
	if (t)
		close_one(t, reason);
}

void tunnel_stop_all(struct tunnel_env *env, nsec_t grace)
{
	LIST_FOREACH(node, &env->tunnels)
	{
		struct tunnel *t = LIST_ENTRY(node, struct tunnel, node);
		if (t->is_ending)
			continue;
		if (grace > 0)
			drain_one(t, grace);
		else
			close_one(t, "stopping");
	}
}

void tunnel_probe_all_but(struct tunnel_env *env, unsigned int index)
{
	nsec_t now = loop_now(env->worker->loop);
	LIST_FOREACH(node, &env->tunnels)
	{
		struct tunnel *t = LIST_ENTRY(node, struct tunnel, node);
		if (t->dial.index == index || !t->is_registered || t->is_ending)
			continue;
		struct link_stats stats = {};
		link_get_stats(t->link, &stats);
		if (nsec_sub(now, stats.heard) >= SILENT_SEC * NSEC_PER_SEC)
			link_probe(t->link);
	}
}

void tunnel_free_all(struct tunnel_env *env)
{
	LIST_FOREACH(node, &env->tunnels)
	tunnel_dispose(LIST_ENTRY(node, struct tunnel, node));
}

/* The one that serves an index; NULL: none. */
static struct tunnel *tunnel_serving(struct tunnel_env *env, unsigned int index)
{
	LIST_FOREACH(node, &env->tunnels)
	{
		struct tunnel *t = LIST_ENTRY(node, struct tunnel, node);
		if (t->dial.index == index && t->is_registered && !t->is_draining && !t->is_ending)
			return t;
	}
	return NULL;
}

bool tunnel_get_stats(struct tunnel_env *env, unsigned int index, struct link_stats *ret)
{
	struct tunnel *t = tunnel_serving(env, index);
	if (t)
		link_get_stats(t->link, ret);
	return t;
}

unsigned int tunnel_get_flows(struct tunnel_env *env, unsigned int index)
{
	struct tunnel *t = tunnel_serving(env, index);
	return t ? t->dgram.port.count : 0;
}

void tunnel_get_datagrams(struct tunnel_env *env, struct tunnel_datagrams *ret)
{
	*ret = env->datagrams_ended;
	LIST_FOREACH(node, &env->tunnels)
	{
		struct tunnel *t = LIST_ENTRY(node, struct tunnel, node);
		if (t->link)
			add_datagrams(ret, t->link);
	}
}
