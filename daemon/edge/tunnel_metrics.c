/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is shown of the links of each tunnel. Scrapes may overtake one another between workers, so
 * what a worker has noted is read by relaxed loads: a gauge may be a scrape old, never torn.
 */
#include "daemon/edge/tunnel_metrics.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/macro.h"

enum { INDEXES = TUNNEL_METRICS_INDEXES + 1 }; /* the last: "other" */

struct tunnel_worst {
	_Atomic int mtu; /* 0: no link */
	_Atomic int ecn;
	_Atomic uint32_t rtt_usec[INDEXES];
};

struct tunnel_series {
	metric_id links; /* the first worker's */
	metric_id mtu, ecn;
	metric_id rtt[INDEXES]; /* the last worker's; made when there is something to show */
};

static const struct metric_family links_family = {
	.name = "adit_edge_links",
	.help = "Registered connections by tunnel.",
	.type = METRIC_TYPE_GAUGE,
	.labels = { "tunnel" },
};
static const struct metric_family mtu_family = {
	.name = "adit_link_mtu_bytes",
	.help = "Smallest UDP payload that the path of a link takes.",
	.type = METRIC_TYPE_GAUGE,
	.labels = { "tunnel" },
};
static const struct metric_family ecn_family = {
	.name = "adit_link_ecn",
	.help = "1: validated, 0: off or testing, -1: the path of a link clears the bits.",
	.type = METRIC_TYPE_GAUGE,
	.labels = { "tunnel" },
};
static const struct metric_family rtt_family = {
	.name = "adit_link_rtt_seconds",
	.help = "Smoothed round trip time; of several connectors the longest.",
	.type = METRIC_TYPE_GAUGE,
	.labels = { "tunnel", "index" },
	.scale = 1e-6,
};
static const struct metric_family lost_family = {
	.name = "adit_link_lost_packets_total",
	.help = "Packets declared lost.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "tunnel", "index" },
};

static const struct metric_family stalls_family = {
	.name = "adit_link_credit_stalls_total",
	.help = "Times the link's send credit was 0 with data waiting.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "tunnel", "index" },
};

int tunnel_families_define(struct tunnel_families *f, struct metric_registry *reg)
{
	*f = (struct tunnel_families){
		.reg = reg,
		.links = metric_define(reg, &links_family),
		.mtu = metric_define(reg, &mtu_family),
		.ecn = metric_define(reg, &ecn_family),
		.rtt = metric_define(reg, &rtt_family),
		.lost = metric_define(reg, &lost_family),
		.stalls = metric_define(reg, &stalls_family),
	};
	bool is_whole = f->links >= 0 && f->mtu >= 0 && f->ecn >= 0 && f->rtt >= 0 &&
			f->lost >= 0 && f->stalls >= 0;
	return is_whole ? 0 : -E2BIG;
}

int tunnel_metrics_init(struct tunnel_metrics *m, const struct tunnel_families *families,
			const struct edge_conf *conf, unsigned int workers)
{
	size_t tunnels = conf->tunnel_count;
	*m = (struct tunnel_metrics){
		.families = families,
		.conf = conf,
		.workers = workers,
		.series = calloc(tunnels + 1, sizeof(*m->series)),
		.worst = calloc((tunnels + 1) * workers, sizeof(*m->worst)),
	};
	if (!m->series || !m->worst)
		return -ENOMEM;
	for (size_t i = 0; i < tunnels; i++) {
		const char *const *name = &conf->tunnels[i].name;
		m->series[i].links = metric_series(families->reg, families->links, name);
		m->series[i].mtu = metric_series(families->reg, families->mtu, name);
		m->series[i].ecn = metric_series(families->reg, families->ecn, name);
	}
	return 0;
}

void tunnel_metrics_done(struct tunnel_metrics *m)
{
	free(m->series);
	free(m->worst);
	*m = (struct tunnel_metrics){};
}

static metric_id find(const struct tunnel_metrics *m, int family, size_t tunnel, unsigned int index)
{
	char text[12] = "other";
	if (index < TUNNEL_METRICS_INDEXES)
		(void)snprintf(text, sizeof(text), "%u", index);
	return metric_series(m->families->reg, family,
			     (const char *const[]){ m->conf->tunnels[tunnel].name, text });
}

struct tunnel_counters tunnel_metrics_counters(const struct tunnel_metrics *m, uint32_t tunnel,
					       unsigned int index)
{
	return (struct tunnel_counters){
		.lost = find(m, m->families->lost, tunnel, index),
		.stalls = find(m, m->families->stalls, tunnel, index),
	};
}

static struct tunnel_worst *worst_of(const struct tunnel_metrics *m, unsigned int worker,
				     size_t tunnel)
{
	return &m->worst[worker * m->conf->tunnel_count + tunnel];
}

static int load(const _Atomic int *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static void store(_Atomic int *v, int value)
{
	atomic_store_explicit(v, value, memory_order_relaxed);
}

static uint32_t load_rtt(const struct tunnel_worst *w, unsigned int index)
{
	return atomic_load_explicit(&w->rtt_usec[index], memory_order_relaxed);
}

static void store_rtt(struct tunnel_worst *w, unsigned int index, uint32_t usec)
{
	atomic_store_explicit(&w->rtt_usec[index], usec, memory_order_relaxed);
}

void tunnel_metrics_forget(struct tunnel_metrics *m, const struct worker *worker)
{
	for (size_t t = 0; t < m->conf->tunnel_count; t++) {
		struct tunnel_worst *w = worst_of(m, worker->index, t);
		store(&w->mtu, 0);
		store(&w->ecn, 0);
		for (unsigned int i = 0; i < INDEXES; i++)
			store_rtt(w, i, 0);
	}
}

void tunnel_metrics_note(struct tunnel_metrics *m, const struct worker *worker, uint32_t tunnel,
			 unsigned int index, const struct link_stats *stats)
{
	struct tunnel_worst *w = worst_of(m, worker->index, tunnel);
	bool is_first = load(&w->mtu) == 0;
	uint32_t usec = (uint32_t)MIN(stats->rtt_nsec / NSEC_PER_USEC, (uint64_t)UINT32_MAX);
	unsigned int i = MIN(index, (unsigned int)TUNNEL_METRICS_INDEXES);
	store(&w->ecn, is_first ? stats->ecn : MIN(load(&w->ecn), (int)stats->ecn));
	store(&w->mtu, is_first ? (int)stats->mtu : MIN(load(&w->mtu), (int)stats->mtu));
	store_rtt(w, i, MAX(load_rtt(w, i), usec));
}

static void tell_rtt(struct tunnel_metrics *m, struct metric_shard *shard, size_t tunnel)
{
	metric_id *ids = m->series[tunnel].rtt;
	for (unsigned int i = 0; i < INDEXES; i++) {
		uint32_t usec = 0;
		for (unsigned int w = 0; w < m->workers; w++)
			usec = MAX(usec, load_rtt(worst_of(m, w, tunnel), i));
		if (usec > 0 && ids[i] == 0)
			ids[i] = find(m, m->families->rtt, tunnel, i);
		metric_set(shard, ids[i], usec);
	}
}

void tunnel_metrics_tell(struct tunnel_metrics *m, const struct worker *worker)
{
	if (worker->index + 1 < m->workers)
		return;
	for (size_t t = 0; t < m->conf->tunnel_count; t++) {
		int mtu = 0, ecn = 0;
		for (unsigned int w = 0; w < m->workers; w++) {
			const struct tunnel_worst *worst = worst_of(m, w, t);
			if (load(&worst->mtu) == 0)
				continue;
			ecn = mtu == 0 ? load(&worst->ecn) : MIN(ecn, load(&worst->ecn));
			mtu = mtu == 0 ? load(&worst->mtu) : MIN(mtu, load(&worst->mtu));
		}
		metric_set(worker->metrics, m->series[t].mtu, mtu);
		metric_set(worker->metrics, m->series[t].ecn, ecn);
		tell_rtt(m, worker->metrics, t);
	}
}

void tunnel_metrics_tell_links(const struct tunnel_metrics *m, const struct worker *worker,
			       uint32_t tunnel, unsigned int count)
{
	metric_set(worker->metrics, m->series[tunnel].links, count);
}

void tunnel_metrics_zero(const struct tunnel_metrics *m, const struct worker *worker)
{
	bool is_first = worker->index == 0, is_last = worker->index + 1 == m->workers;
	for (size_t t = 0; t < m->conf->tunnel_count; t++) {
		const struct tunnel_series *s = &m->series[t];
		if (is_first)
			metric_set(worker->metrics, s->links, 0);
		if (!is_last)
			continue;
		metric_set(worker->metrics, s->mtu, 0);
		metric_set(worker->metrics, s->ecn, 0);
		for (unsigned int i = 0; i < INDEXES; i++)
			metric_set(worker->metrics, s->rtt[i], 0);
	}
}
