/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per worker: joins link, demux, proxy and origins. Everything is made before the threads start, so
 * that a lack of memory is an error of the start and not of a request.
 */
#include "daemon/aditd/wiring.h"

#include "daemon/admin/page.h"
#include "daemon/conf/pattern.h"
#include "util/cleanup.h"

enum { STOP_TURNS = 8 };

static void init_proxy(struct wiring *w)
{
	struct wiring_shared *sh = w->shared;
	w->proxy = (struct proxy_env){
		.worker = w->worker,
		.origins = w->origins,
		.rules = proxy_rules_ref(sh->rules),
		.scratch = w->scratch,
		.metrics = &sh->proxy_metrics,
		.limits = &sh->limits,
		.connector_id = span_str(sh->connector_text),
		.active_max = MAX(sh->conf->common.limits.streams / sh->worker_count, 1U),
	};
	list_init(&w->proxy.exchanges);
	demux_init(&w->demux, &w->proxy);
	w->demux.rpc_metrics = &sh->rpc_metrics;
}

static void init_tunnels(struct wiring *w)
{
	struct wiring_shared *sh = w->shared;
	*w->tunnels = (struct tunnel_env){
		.worker = w->worker,
		.quic = w->quic,
		.resolver = w->resolver,
		.demux = &w->demux,
		.conf = sh->conf,
		.tls = sh->tls,
		.trust = sh->trust,
		.server_name = sh->server_name,
		.connector_id = sh->connector_id,
		.local_config = sh->local_config,
		.rpc_metrics = &sh->rpc_metrics,
		.main = sh->main,
	};
	list_init(&w->tunnels->tunnels);
}

int wiring_init(struct wiring *w, struct wiring_shared *shared, struct worker *worker,
		struct tunnel_env *tunnels)
{
	*w = (struct wiring){ .shared = shared, .worker = worker, .tunnels = tunnels };
	int r = resolver_new(worker->loop, &w->resolver);
	if (r < 0)
		return r;
	struct origin_worker_params origins = {
		.loop = worker->loop,
		.slab = worker->slab,
		.resolver = w->resolver,
		.metrics = worker->metrics,
		.workers = shared->worker_count,
	};
	r = origin_worker_new(&origins, &w->origins);
	if (r == 0)
		r = quic_worker_new(worker, &shared->quic, &w->quic);
	if (r < 0)
		return r;
	w->scratch = pattern_scratch_new();
	if (!w->scratch)
		return -ENOMEM;
	init_proxy(w);
	init_tunnels(w);
	worker->app = w;
	return 0;
}

void wiring_stop(struct wiring *w)
{
	proxy_http_abort_all(&w->proxy);
	demux_done(&w->demux);
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
	resolver_free(TAKE_PTR(w->resolver));
	pattern_scratch_free(TAKE_PTR(w->scratch));
	proxy_rules_unref(TAKE_PTR(w->proxy.rules));
}
