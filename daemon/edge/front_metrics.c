/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Series of requests by tunnel and public name (spec §12). They are looked up once per snapshot, so
 * that a request only adds to numbers that it already knows. Names that a family has no room for
 * share their tunnel's "other".
 */
#include "daemon/edge/front_metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/macro.h"

static const double seconds_buckets[] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
					  0.5,   1,      2.5,   5,    10,    30,   60 };
static const char *const classes[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
static const char *const dirs[] = { "in", "out" };

enum {
	F_REQUESTS,
	F_ERRORS,
	F_SECONDS,
	F_ACTIVE,
	F_BYTES,
	F_NAMED_,
	F_NO_ROUTE = F_NAMED_,
	F_MAX_
};

static const struct metric_family families[F_MAX_] = {
	[F_REQUESTS] = { .name = "adit_requests_total",
			 .help = "Finished requests by public name and class of the status.",
			 .type = METRIC_TYPE_COUNTER,
			 .labels = { "tunnel", "hostname", "code_class" } },
	[F_ERRORS] = { .name = "adit_request_errors_total",
		       .help = "Failed requests by public name and reason.",
		       .type = METRIC_TYPE_COUNTER,
		       .labels = { "tunnel", "hostname", "reason" } },
	[F_SECONDS] = { .name = "adit_request_seconds",
			.help = "Time from the request's head to the end of its answer.",
			.type = METRIC_TYPE_HISTOGRAM,
			.labels = { "tunnel", "hostname" },
			.buckets = seconds_buckets,
			.bucket_count = ARRAY_SIZE(seconds_buckets),
			.scale = 1e-9 },
	[F_ACTIVE] = { .name = "adit_requests_active",
		       .help = "Requests in progress.",
		       .type = METRIC_TYPE_GAUGE,
		       .labels = { "tunnel", "hostname" } },
	[F_BYTES] = { .name = "adit_body_bytes_total",
		      .help = "Body bytes from visitors (in) and to visitors (out).",
		      .type = METRIC_TYPE_COUNTER,
		      .labels = { "tunnel", "hostname", "dir" } },
	[F_NO_ROUTE] = { .name = "adit_edge_no_route_total",
			 .help = "Requests for a host that no tunnel has.",
			 .type = METRIC_TYPE_COUNTER },
};

/* Series of one name in each family. */
static const unsigned int series_each[F_NAMED_] = {
	[F_REQUESTS] = ARRAY_SIZE(classes),
	[F_ERRORS] = PROXY_REASON_MAX_ - 1,
	[F_SECONDS] = 1,
	[F_ACTIVE] = 1,
	[F_BYTES] = ARRAY_SIZE(dirs),
};

/* What a name is called in each family. */
struct names {
	const char *tunnel;
	const char *in[F_NAMED_];
};

static metric_id find(struct metric_registry *reg, const int *f, unsigned int family,
		      const struct names *n, const char *third)
{
	return metric_series(reg, f[family],
			     (const char *const[]){ n->tunnel, n->in[family], third });
}

static void host_init(struct front_host *h, struct metric_registry *reg, const int *f,
		      const struct names *n)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(classes); i++)
		h->requests[i] = find(reg, f, F_REQUESTS, n, classes[i]);
	for (unsigned int i = 1; i < PROXY_REASON_MAX_; i++)
		h->errors[i] =
			find(reg, f, F_ERRORS, n, proxy_reason_info((enum proxy_reason)i)->name);
	h->seconds = find(reg, f, F_SECONDS, n, NULL);
	h->active = find(reg, f, F_ACTIVE, n, NULL);
	h->bytes_in = find(reg, f, F_BYTES, n, dirs[0]);
	h->bytes_out = find(reg, f, F_BYTES, n, dirs[1]);
}

/* How many names a family can show; if not all, there must be room for every tunnel's "other". */
static size_t room_for_names(unsigned int family, size_t hosts, size_t tunnels)
{
	size_t room = METRIC_FAMILY_SERIES / series_each[family] - 1; /* 1: "none" */
	if (hosts <= room)
		return hosts;
	return room > tunnels ? room - tunnels : 0;
}

/* TCP that comes in at a port or goes to a network. */
struct way {
	const char *kind;
	const char *name;
	const char *tunnel;
};

struct ways {
	struct metric_registry *reg;
	const int *families;
	const struct edge_conf *conf;
	const size_t *named;
};

/* Ports and networks stay while the program runs, tunnels may go: then it is their count. */
static void way_init(struct front_host *h, const struct ways *w, struct way way, size_t number)
{
	char text[48];
	(void)snprintf(text, sizeof(text), "%s/%s", way.kind, way.name);
	struct names names = { .tunnel = way.tunnel };
	for (unsigned int i = 0; i < F_NAMED_; i++)
		names.in[i] = number < w->named[i] ? text : "other";
	h->tunnel = (uint32_t)edge_conf_find_tunnel(w->conf, way.tunnel);
	host_init(h, w->reg, w->families, &names);
}

/* Every name in the snapshot's order, behind them what is nobody's, then the ports and the
 * networks. */
static void hosts_init(struct front_metrics *m, struct metric_registry *reg, const int *f,
		       const struct edge_conf *conf)
{
	size_t n = 0, named[F_NAMED_];
	for (unsigned int i = 0; i < F_NAMED_; i++)
		named[i] = room_for_names(
			i, m->host_count + conf->tcp_port_count + conf->network_count,
			conf->tunnel_count);
	const struct ways w = { reg, f, conf, named };
	for (size_t t = 0; t < conf->tunnel_count; t++) {
		struct names names = { .tunnel = conf->tunnels[t].name };
		for (size_t j = 0; j < conf->tunnels[t].host_count; j++, n++) {
			for (unsigned int i = 0; i < F_NAMED_; i++)
				names.in[i] =
					n < named[i] ? conf->tunnels[t].hosts[j].text : "other";
			m->hosts[n].tunnel = (uint32_t)t;
			host_init(&m->hosts[n], reg, f, &names);
		}
	}
	struct names none = { .tunnel = "none" };
	for (unsigned int i = 0; i < F_NAMED_; i++)
		none.in[i] = "none";
	m->hosts[n].tunnel = (uint32_t)conf->tunnel_count;
	host_init(&m->hosts[n], reg, f, &none); /* it has room anyway */
	for (size_t p = 0; p < conf->tcp_port_count; p++, n++) {
		const struct conf_edge_port *port = &conf->tcp_ports[p];
		way_init(&m->ports[p], &w, (struct way){ "tcp", port->name, port->tunnel }, n);
	}
	for (size_t i = 0; i < conf->network_count; i++, n++) {
		const struct conf_edge_network *net = &conf->networks[i];
		way_init(&m->networks[i], &w, (struct way){ "network", net->name, net->tunnel }, n);
	}
}

int front_families_define(struct front_families *f, struct metric_registry *reg)
{
	static_assert((int)F_MAX_ == (int)FRONT_FAMILIES);
	f->reg = reg;
	for (unsigned int i = 0; i < F_MAX_; i++) {
		f->numbers[i] = metric_define(reg, &families[i]);
		if (f->numbers[i] < 0)
			return f->numbers[i];
	}
	f->no_route = metric_series(reg, f->numbers[F_NO_ROUTE], NULL);
	return 0;
}

int front_metrics_init(struct front_metrics *m, const struct front_families *f,
		       const struct edge_conf *conf)
{
	size_t count = 0;
	for (size_t i = 0; i < conf->tunnel_count; i++)
		count += conf->tunnels[i].host_count;
	struct front_host *hosts =
		calloc(count + 1 + conf->tcp_port_count + conf->network_count, sizeof(*hosts));
	if (!hosts)
		return -ENOMEM;
	*m = (struct front_metrics){
		.hosts = hosts,
		.host_count = count,
		.ports = &hosts[count + 1],
		.networks = &hosts[count + 1 + conf->tcp_port_count],
	};
	hosts_init(m, f->reg, f->numbers, conf);
	return 0;
}

void front_metrics_done(struct front_metrics *m)
{
	free(TAKE_PTR(m->hosts));
}
