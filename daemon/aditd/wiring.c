/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per worker: joins link, demux, proxy and origins. Everything is made before the threads start, so
 * that a lack of memory is an error of the start and not of a request.
 */
#include "daemon/aditd/wiring.h"

#include "daemon/aditd/tun_host.h"
#include "daemon/admin/page.h"
#include "daemon/base/secret.h"
#include "daemon/conf/pattern.h"
#include "daemon/datapath/tun_ground.h"
#include "daemon/net/resolve.h"
#include "daemon/net/tcp.h"
#include "daemon/proxy/destination.h"
#include "daemon/proxy/proxy_tcp.h"
#include "util/cleanup.h"

enum { STOP_TURNS = 8 };

/* What of a configuration is a number; streams and links that begin from now on go by it. */
static void use_limits(struct wiring *w, const struct conf_limits *l)
{
	w->limits = (struct http_limits){ .head_max = l->head_size,
					  .field_max = l->head_fields,
					  .line_max = l->head_line,
					  .trailer_max = l->trailers_size,
					  .trailer_field_max = l->trailers_fields };
	w->quic_settings.max_streams = l->streams_per_link;
	w->quic_settings.stream_window = l->stream_window;
	w->quic_settings.stream_window_max = l->stream_window_max;
	w->quic_settings.link_window_max = l->link_window_max;
	w->quic_settings.send_queue_max = l->send_queue;
	struct h2_settings *h2 = &w->h2_settings.h2;
	h2->max_streams = (uint32_t)l->streams_per_link;
	h2->stream_window = (uint32_t)l->stream_window;
	h2->stream_window_max = (uint32_t)l->stream_window_max;
	h2->conn_window_max = (uint32_t)l->link_window_max;
	h2->send_queue_max = l->send_queue;
	h2->head_max = l->head_size;
	h2->field_max = l->head_fields;
	h2->line_max = l->head_line;
	h2->trailer_max = l->trailers_size;
	h2->trailer_field_max = l->trailers_fields;
	w->proxy.active_max = MAX(l->streams / w->shared->worker_count, 1U);
	w->proxy.flow_max = MAX(l->flows / w->shared->worker_count, 1U);
	flow_table_set_limits(&w->flows, w->proxy.flow_max,
			      MAX(l->flow_registrations / w->shared->worker_count, 1U));
	unsigned int answers =
		l->icmp_answers ? MAX(l->icmp_answers / w->shared->worker_count, 1U) : 0;
	icmp_session_set_limits(&w->icmp, answers);
	if (w->tun)
		tun_ground_set_limits(w->tun, answers);
}

/* Exchanges that run have their own reference of the rules before. */
static void use_config(struct wiring *w, struct config *c)
{
	proxy_rules_unref(w->proxy.rules);
	w->proxy.rules = proxy_rules_ref(c->rules);
	use_limits(w, &c->conf->common.limits);
	const struct tunnel_config now = {
		.snapshot = &c->snapshot,
		.conf = c->conf,
		.tls = c->tls,
		.trust = &c->trust,
		.local_json = span_of(c->local_json, c->local_len),
	};
	tunnel_use_config(w->tunnels, &now);
}

static void on_swap(struct snapshot_slot *slot, struct snapshot *old)
{
	(void)old;
	struct wiring *w = CONTAINER_OF(slot, struct wiring, config);
	use_config(w, CONTAINER_OF(slot->current, struct config, snapshot));
	origin_worker_drain(w->origins);
}

static void init_proxy(struct wiring *w)
{
	struct wiring_shared *sh = w->shared;
	w->proxy = (struct proxy_env){
		.worker = w->worker,
		.origins = w->origins,
		.scratch = w->scratch,
		.metrics = &sh->proxy_metrics,
		.limits = &w->limits,
		.connector_id = span_str(sh->connector_text),
	};
	list_init(&w->proxy.exchanges);
	list_init(&w->proxy.flows);
	demux_init(&w->demux, &w->proxy);
	w->demux.rpc_metrics = &sh->rpc_metrics;
	w->demux.flows = &w->flows;
}

static bool may_reach(void *arg, const struct ip_addr *addr)
{
	const struct wiring *w = arg;
	return destination_is_allowed(w->proxy.rules->conf, addr, tcp_is_own_address(addr));
}

static int init_tun(struct wiring *w)
{
	struct wiring_shared *sh = w->shared;
	unsigned int index = w->worker->index;
	if (!sh->tun)
		return 0;
	struct tun_ground_params params = {
		.worker = w->worker,
		.plan = tun_host_plan(sh->tun),
		.fd = tun_host_take_queue(sh->tun, index),
		.has_bursts = tun_host_has_bursts(sh->tun),
		.steer = tun_host_steer(sh->tun),
		.owners = sh->tun_owners,
		.grounds = sh->tun_grounds,
	};
	int r = tun_ground_new(&params, &w->tun);
	if (r < 0) {
		(void)fd_close(params.fd);
		return r;
	}
	sh->tun_grounds[index] = w->tun;
	datapath_use_tun(w->datapath, w->tun);
	return 0;
}

static int init_flows(struct wiring *w)
{
	int r = datapath_new(w->worker, &w->datapath);
	if (r == 0)
		r = init_tun(w);
	if (r == 0 && w->shared->shortcut)
		r = datapath_use_shortcut(w->datapath, w->shared->shortcut);
	if (r < 0)
		return r;
	flow_table_init(&w->flows, &(struct flow_table_params){ .worker = w->worker,
								.datapath = w->datapath,
								.may_reach = may_reach,
								.arg = w,
								.owners = w->shared->flow_owners,
								.tables = w->shared->flow_tables });
	w->shared->flow_tables[w->worker->index] = &w->flows;
	return 0;
}

/* Said once, of what is the same for all workers. */
static int init_icmp(struct wiring *w)
{
	int r = icmp_session_init(&w->icmp, &(struct icmp_session_params){ .worker = w->worker,
									   .may_reach = may_reach,
									   .arg = w });
	if (r == 0 && w->tun)
		icmp_routed_init(&w->icmp_routed, &w->icmp, w->tun, w->shared->tun_owners);
	if (r < 0 || w->worker->index > 0)
		return r;
	static const enum ip_family families[] = { IP_FAMILY_V4, IP_FAMILY_V6 };
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		if (icmp_path_kind(w->icmp.path, families[i]) == ICMP_PATH_KIND_NONE)
			log_notice(
				w->worker->log, "start",
				"ICMP isn't served: net.ipv4.ping_group_range doesn't have our group, "
				"and raw sockets aren't allowed",
				KV_U64("family", families[i]));
	return 0;
}

static struct span text_of(const struct secret *s)
{
	return s ? secret_span(s) : span_of(NULL, 0);
}

/* Of the start's configuration, which lives as long as the workers. */
static void init_proxy_out(struct wiring *w)
{
	const struct conf_proxy *p = w->shared->config->conf->edge.proxy;
	if (!p)
		return;
	w->proxy_out = (struct outproxy_params){
		.kind = p->is_socks5 ? OUTPROXY_KIND_SOCKS5 : OUTPROXY_KIND_HTTP,
		.host = p->host,
		.port = p->port,
		.user = text_of(p->user),
		.password = text_of(p->password),
		.resolver = w->resolver,
	};
	w->tunnels->proxy = &w->proxy_out;
}

static void init_tunnels(struct wiring *w)
{
	struct wiring_shared *sh = w->shared;
	*w->tunnels = (struct tunnel_env){
		.worker = w->worker,
		.quic = w->quic,
		.demux = &w->demux,
		.flows = &w->flows,
		.icmp = &w->icmp,
		.h2 = &w->h2_settings,
		.connector_id = sh->connector_id,
		.rpc_metrics = &sh->rpc_metrics,
		.main = sh->main,
	};
	for (unsigned int i = 0; i < LINK_PROTOCOL_MAX_; i++)
		w->tunnels->server_names[i] = sh->server_names[i];
	list_init(&w->tunnels->tunnels);
	init_proxy_out(w);
}

int wiring_init(struct wiring *w, struct wiring_shared *shared, struct worker *worker,
		struct tunnel_env *tunnels)
{
	*w = (struct wiring){
		.shared = shared,
		.worker = worker,
		.tunnels = tunnels,
		.quic_settings = shared->quic,
		.h2_settings = h2link_settings_default,
		.config.on_swap = on_swap,
	};
	int r = resolver_new(worker->loop, &w->resolver);
	if (r < 0)
		return r;
	struct origin_worker_params origins = {
		.loop = worker->loop,
		.slab = worker->slab,
		.resolver = w->resolver,
		.metrics = worker->metrics,
		.limits = &w->limits,
		.workers = shared->worker_count,
	};
	r = origin_worker_new(&origins, &w->origins);
	if (r == 0)
		r = quic_worker_new(worker, &w->quic_settings, &w->quic);
	if (r == 0)
		r = init_flows(w);
	if (r == 0)
		r = init_icmp(w);
	if (r < 0)
		return r;
	w->scratch = pattern_scratch_new();
	if (!w->scratch)
		return -ENOMEM;
	init_proxy(w);
	init_tunnels(w);
	w->config.current = snapshot_ref(&shared->config->snapshot);
	use_config(w, shared->config);
	worker->app = w;
	return 0;
}

void wiring_stop(struct wiring *w)
{
	proxy_http_abort_all(&w->proxy);
	proxy_tcp_abort_all(&w->proxy);
	demux_done(&w->demux);
	flow_table_done(&w->flows);
	tunnel_free_all(w->tunnels);
	if (w->worker->index == 0 && w->shared->page)
		page_stop(w->shared->page);
	/* What was closed says goodbye and lets go of its memory in the turns after. */
	for (unsigned int i = 0; i < STOP_TURNS; i++)
		(void)loop_turn(w->worker->loop, 0);
}

void wiring_done(struct wiring *w)
{
	origin_worker_free(TAKE_PTR(w->origins));
	quic_worker_free(TAKE_PTR(w->quic));
	icmp_routed_done(&w->icmp_routed);
	icmp_session_done(&w->icmp);
	datapath_free(TAKE_PTR(w->datapath));
	tun_ground_free(TAKE_PTR(w->tun));
	resolver_free(TAKE_PTR(w->resolver));
	pattern_scratch_free(TAKE_PTR(w->scratch));
	proxy_rules_unref(TAKE_PTR(w->proxy.rules));
	snapshot_slot_done(&w->config);
}
