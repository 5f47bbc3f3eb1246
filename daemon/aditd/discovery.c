/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the edge and goes on looking (supervisor specification §7, §15 rows 16 to 20 and 30).
 *
 * Two kinds of search, addresses and TXT records, are made by two paths. The system's resolver goes
 * first; DNS over TLS joins when that has failed or has been silent for 2 s, and the first answer
 * ends both. With `dns-over-tls` configured nobody else is asked; without it only the vendor's
 * names go to the default server, since those of one's own edge are nobody else's business. A
 * search that fails is repeated: fast while there is no answer at all, slowly while there is one.
 */
#include "daemon/aditd/discovery.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/aditd/discovery_agent.h"
#include "daemon/base/backoff.h"
#include "daemon/base/file.h"
#include "daemon/base/log.h"
#include "daemon/base/mainloop.h"
#include "daemon/base/random.h"
#include "daemon/conf/conf.h"
#include "daemon/net/tlsctx.h"
#include "daemon/wire/endpoint.h"
#include "util/cleanup.h"
#include "util/macro.h"

#define SERVICE   "v2-origintunneld._tcp.argotunnel.com"
#define PROTOCOLS "protocol-v2.argotunnel.com"
#define FEATURES  "cfd-features.argotunnel.com"

enum {
	SOURCE_MAX = 8192, /* bytes of the line that names what was looked for */
	TEXT_MAX = 2 * ROUND_TEXT_MAX,
};

static constexpr nsec_t cache_after = 1 * NSEC_PER_SEC;
static constexpr nsec_t over_tls_after = 2 * NSEC_PER_SEC;
static constexpr nsec_t refresh_min = 30 * NSEC_PER_SEC;
static constexpr nsec_t refresh_max = 3600 * NSEC_PER_SEC;
static constexpr nsec_t refresh_asked_min = 10 * NSEC_PER_SEC;
static constexpr nsec_t retry_min = 500 * NSEC_PER_MSEC;
static constexpr nsec_t retry_max = 2 * NSEC_PER_SEC;          /* without an answer */
static constexpr nsec_t retry_max_settled = 60 * NSEC_PER_SEC; /* with one */

struct path {
	struct search *search;
	struct mainloop_timer timer; /* the next try */
	struct backoff backoff;
	uint64_t serial; /* of the try that runs; 0: none */
	bool has_failed;
	char text[ROUND_TEXT_MAX];
};

struct search {
	struct discovery *discovery;
	enum round_kind kind;
	struct path paths[DISCOVERY_PATH_MAX_];
	struct mainloop_timer timer; /* the next one */
};

struct discovery {
	struct discovery_params params;
	struct discovery_agent *agent;
	SSL_CTX *tls; /* NULL: no DNS over TLS */
	struct dot_server server;
	bool is_tls_only;
	struct round_names names;
	char service[64];
	struct search searches[ROUND_KIND_MAX_];
	uint64_t last_serial;
	nsec_t last_start; /* of a search for addresses */

	struct mainloop_timer first; /* literals, then the cache */
	struct edge_set set;         /* what was delivered last */
	bool has_begun;
	bool has_dns; /* DNS has answered in this run */
	bool has_error;
	struct edge_set cached;
	char source[SOURCE_MAX];
	struct discovery_records records;
	bool is_closed;
};

static nsec_t now(void)
{
	return nsec_clock(CLOCK_MONOTONIC);
}

/* Without memory for a timer the search ends; what is known stays. */
static void arm(struct discovery *d, struct mainloop_timer *timer, nsec_t wait)
{
	if (mainloop_timer_start(d->params.loop, timer, nsec_add(now(), wait)) < 0)
		log_error(d->params.log, "discovery", "no memory for a timer", KV_ERR(-ENOMEM));
}

/* ---- cache --------------------------------------------------------------------------------- */

static bool cache_path(const struct discovery *d, char path[PATH_MAX])
{
	return d->params.state_dir &&
	       snprintf(path, PATH_MAX, "%s/" DISCOVERY_CACHE_FILE, d->params.state_dir) < PATH_MAX;
}

static void cache_load(struct discovery *d)
{
	char path[PATH_MAX];
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	if (!cache_path(d, path))
		return;
	int r = file_read(path, DISCOVERY_CACHE_MAX, &text, &len);
	if (r == 0)
		r = edge_set_parse(span_of(text, len), span_str(d->source), &d->cached);
	if (r < 0 && r != -ENOENT)
		log_notice(d->params.log, "discovery", "the addresses kept are of no use",
			   KV_STR("file", path), KV_ERR(r));
}

static void cache_save(struct discovery *d)
{
	char path[PATH_MAX];
	uint8_t text[DISCOVERY_CACHE_MAX];
	struct packer p = packer_over(text, sizeof(text));
	if (edge_set_eq(&d->set, &d->cached) || !cache_path(d, path))
		return;
	edge_set_print(&d->set, span_str(d->source), &p);
	int r = packer_finish(&p);
	if (r == 0)
		r = file_replace_fast(path, packer_span(&p), 0600);
	if (r < 0)
		log_warning(d->params.log, "discovery", "can't keep the edge's addresses",
			    KV_STR("file", path), KV_ERR(r));
	else
		d->cached = d->set;
}

/* ---- what was found ------------------------------------------------------------------------ */

static void deliver(struct discovery *d, const struct edge_set *set, enum discovery_source source)
{
	static const char *const names[DISCOVERY_SOURCE_MAX_] = { "configuration", "cache", "DNS" };
	if (set->count == 0 || edge_set_eq(set, &d->set))
		return;
	d->set = *set;
	log_info(d->params.log, "discovery", "addresses of the edge", KV_U64("count", set->count),
		 KV_STR("from", names[source]));
	d->params.events->on_set(d->set.addrs, d->set.count, source, d->params.user);
}

/* While DNS has none the ones of an earlier run are better than nothing. */
static void deliver_cache(struct discovery *d)
{
	if (!d->has_dns)
		deliver(d, &d->cached, DISCOVERY_SOURCE_CACHE);
}

static void tell_error(struct discovery *d, const char *text)
{
	bool had_error = d->has_error;
	d->has_error = text[0] != '\0';
	if (d->has_error && !had_error)
		log_warning(d->params.log, "discovery", "can't find the edge by DNS",
			    KV_STR("cause", text));
	if (d->has_error || had_error)
		d->params.events->on_error(text, d->params.user);
}

static void take_set(struct discovery *d, const struct round_result *result)
{
	struct edge_set set = result->set;
	if (result->is_early && d->has_dns)
		return; /* the whole is worth more than a part that is sooner */
	/* Where nobody answered, what was known goes on being true. */
	if (!result->is_early && d->has_dns)
		edge_set_keep(&set, &d->set, result->unsure);
	d->has_dns = true;
	deliver(d, &set, DISCOVERY_SOURCE_DNS);
	if (!result->is_early)
		cache_save(d);
	tell_error(d, "");
}

static void take_records(struct discovery *d, const struct discovery_records *found)
{
	struct discovery_records all = d->records;
	if (found->has_protocols) {
		all.has_protocols = true;
		all.quic_percent = found->quic_percent;
		all.http2_percent = found->http2_percent;
	}
	if (found->has_features) {
		all.has_features = true;
		all.dv3_2_percent = found->dv3_2_percent;
	}
	if (memcmp(&all, &d->records, sizeof(all)) == 0)
		return;
	d->records = all;
	if (d->params.events->on_records)
		d->params.events->on_records(&d->records, d->params.user);
}

/* ---- searches ------------------------------------------------------------------------------ */

static void path_failed(struct path *p);

static enum discovery_path path_index(const struct path *p)
{
	return (enum discovery_path)(p - p->search->paths);
}

static void path_try(struct path *p)
{
	struct discovery *d = p->search->discovery;
	p->serial = ++d->last_serial;
	int r = discovery_agent_ask(d->agent, p->search->kind, path_index(p), p->serial,
				    !d->has_dns);
	if (r == 0)
		return;
	(void)snprintf(p->text, sizeof(p->text), "out of memory");
	path_failed(p);
}

static void on_path_timer(struct mainloop_timer *timer)
{
	path_try(CONTAINER_OF(timer, struct path, timer));
}

static void path_stop(struct path *p)
{
	mainloop_timer_stop(&p->timer);
	if (p->serial)
		discovery_agent_cancel(p->search->discovery->agent, p->search->kind, path_index(p));
	p->serial = 0;
}

static bool path_is_used(const struct discovery *d, enum discovery_path i)
{
	return i == DISCOVERY_PATH_TLS ? d->tls != NULL : !d->is_tls_only;
}

/* Both are asked for from here on: at once, and DNS over TLS after a while if it isn't alone. */
static void search_start(struct search *s, nsec_t max_wait)
{
	struct discovery *d = s->discovery;
	mainloop_timer_stop(&s->timer);
	if (s->kind == ROUND_KIND_ADDRESSES)
		d->last_start = now();
	for (int i = 0; i < DISCOVERY_PATH_MAX_; i++) {
		struct path *p = &s->paths[i];
		path_stop(p);
		p->has_failed = false;
		backoff_init(&p->backoff, MIN(retry_min, max_wait), max_wait);
		if (!path_is_used(d, (enum discovery_path)i))
			continue;
		if (i == DISCOVERY_PATH_TLS && !d->is_tls_only)
			arm(d, &p->timer, over_tls_after);
		else
			path_try(p);
	}
}

static void on_search_timer(struct mainloop_timer *timer)
{
	struct search *s = CONTAINER_OF(timer, struct search, timer);
	search_start(s, s->discovery->has_dns ? retry_max_settled : retry_max);
}

static void search_done(struct search *s, unsigned int ttl_sec)
{
	for (int i = 0; i < DISCOVERY_PATH_MAX_; i++)
		path_stop(&s->paths[i]);
	nsec_t wait = refresh_max;
	if (s->kind == ROUND_KIND_ADDRESSES)
		wait = MAX(MIN(ttl_sec * NSEC_PER_SEC, refresh_max),
			   s->discovery->params.refresh_min);
	arm(s->discovery, &s->timer, wait);
}

/* Every path has been tried in vain. */
static void tell_failure(const struct search *s)
{
	struct discovery *d = s->discovery;
	char text[TEXT_MAX] = "";
	for (int i = 0; i < DISCOVERY_PATH_MAX_; i++) {
		const struct path *p = &s->paths[i];
		if (!path_is_used(d, (enum discovery_path)i))
			continue;
		if (!p->has_failed)
			return;
		size_t len = strlen(text);
		(void)snprintf(text + len, sizeof(text) - len, "%s%s", len ? "; " : "", p->text);
	}
	if (s->kind == ROUND_KIND_RECORDS) {
		log_debug(d->params.log, "discovery", "no TXT records", KV_STR("cause", text));
		return;
	}
	deliver_cache(d);
	tell_error(d, text);
}

/* TXT records are a help and no need: with them there is no hurry. */
static void path_failed(struct path *p)
{
	struct search *s = p->search;
	struct discovery *d = s->discovery;
	struct path *other = &s->paths[DISCOVERY_PATH_TLS];
	bool is_first = !p->has_failed;
	p->serial = 0;
	p->has_failed = true;
	nsec_t wait = backoff_next(&p->backoff, random_u64());
	arm(d, &p->timer, s->kind == ROUND_KIND_RECORDS ? retry_max_settled : wait);
	if (is_first && p != other && d->tls && !other->serial) {
		mainloop_timer_stop(&other->timer);
		path_try(other);
	}
	tell_failure(s);
}

static void on_report(struct discovery_report *report, bool is_discarded);

static void take_result(struct discovery *d, const struct discovery_report *report)
{
	const struct round_result *result = &report->result;
	struct search *s = &d->searches[report->kind];
	struct path *p = &s->paths[report->path];
	if (report->serial != p->serial)
		return;
	if (result->error) {
		(void)snprintf(p->text, sizeof(p->text), "%s", result->text);
		path_failed(p);
		return;
	}
	if (!result->is_early)
		p->serial = 0;
	if (s->kind == ROUND_KIND_ADDRESSES)
		take_set(d, result);
	else
		take_records(d, &result->records);
	/* The callback may have asked for another search. */
	if (!result->is_early && !d->is_closed && !p->serial)
		search_done(s, result->ttl_sec);
}

/* ---- start --------------------------------------------------------------------------------- */

static void deliver_literals(struct discovery *d)
{
	const struct conf_edge *e = &d->params.conf->edge;
	struct edge_set set = {};
	for (size_t i = 0; i < e->address_count; i++) {
		const struct ip_port *at = &e->addresses[i].addr;
		if (at->ip.family != IP_FAMILY_NONE &&
		    (!e->ip_version || e->ip_version == (uint8_t)at->ip.family))
			edge_set_add(&set, at, (uint8_t)(i % EDGE_REGIONS));
	}
	deliver(d, &set, DISCOVERY_SOURCE_CONFIG);
}

static bool needs_dns(const struct conf_edge *e)
{
	for (size_t i = 0; i < e->address_count; i++)
		if (e->addresses[i].addr.ip.family == IP_FAMILY_NONE)
			return true;
	return e->address_count == 0;
}

/* The first turn, and a second later: what there was the last time. */
static void on_first(struct mainloop_timer *timer)
{
	struct discovery *d = CONTAINER_OF(timer, struct discovery, first);
	if (d->has_begun) {
		deliver_cache(d);
		return;
	}
	d->has_begun = true;
	deliver_literals(d);
	if (d->is_closed || !needs_dns(&d->params.conf->edge))
		return;
	cache_load(d);
	arm(d, &d->first, cache_after);
	search_start(&d->searches[ROUND_KIND_ADDRESSES], retry_max);
	if (d->names.service)
		search_start(&d->searches[ROUND_KIND_RECORDS], retry_max);
}

void discovery_refresh(struct discovery *d)
{
	struct search *s = &d->searches[ROUND_KIND_ADDRESSES];
	if (d->has_begun && needs_dns(&d->params.conf->edge) &&
	    now() >= d->last_start + refresh_asked_min)
		search_start(s, retry_max);
}

/* ---- life cycle ---------------------------------------------------------------------------- */

static int parse_server(const char *text, struct dot_server *ret)
{
	struct span all = span_str(text);
	size_t at = span_find(all, '@');
	if (at == 0 || at == all.len || at > DNS_NAME_MAX)
		return -EINVAL;
	*ret = (struct dot_server){};
	memcpy(ret->name, text, at);
	return ip_port_parse(span_skip(all, at + 1), &ret->addr);
}

/* Without a trust store there is no DNS over TLS, and the system's resolver has to do. */
static int prepare_tls(struct discovery *d)
{
	const struct conf_edge *e = &d->params.conf->edge;
	if (!e->dns_over_tls && !d->names.service)
		return 0;
	const char *reason = "";
	const char *usual = d->params.over_tls ? d->params.over_tls : CONF_DNS_OVER_TLS;
	int r = parse_server(e->dns_over_tls ? e->dns_over_tls : usual, &d->server);
	if (r < 0)
		return r;
	r = tlsctx_new_origin_client(NULL, true, &d->tls, &reason);
	if (r < 0)
		log_warning(d->params.log, "discovery", "no DNS over TLS", KV_STR("cause", reason));
	d->is_tls_only = e->dns_over_tls && d->tls;
	return 0;
}

static void prepare_names(struct discovery *d)
{
	const struct conf_edge *e = &d->params.conf->edge;
	d->names = (struct round_names){
		.protocols = PROTOCOLS,
		.features = FEATURES,
		.addresses = e->addresses,
		.address_count = e->address_count,
		.ip_version = e->ip_version,
	};
	struct packer p = packer_over(d->source, sizeof(d->source) - 1);
	for (size_t i = 0; i < e->address_count; i++) {
		struct endpoint at = { .kind = ENDPOINT_KIND_NAME,
				       .addr.port = e->addresses[i].addr.port,
				       .name = span_str(e->addresses[i].host) };
		packer_u8(&p, ' ');
		endpoint_print(&p, &at);
	}
	if (e->address_count)
		return;
	(void)snprintf(d->service, sizeof(d->service), "_%.20s%s" SERVICE,
		       e->region ? e->region : "", e->region ? "-" : "");
	d->names.service = d->service;
	packer_str(&p, d->service);
}

static void prepare_searches(struct discovery *d)
{
	d->first.on_expire = on_first;
	for (int kind = 0; kind < ROUND_KIND_MAX_; kind++) {
		struct search *s = &d->searches[kind];
		s->discovery = d;
		s->kind = (enum round_kind)kind;
		s->timer.on_expire = on_search_timer;
		for (int i = 0; i < DISCOVERY_PATH_MAX_; i++) {
			s->paths[i].search = s;
			s->paths[i].timer.on_expire = on_path_timer;
		}
	}
}

static void destroy(struct discovery *d)
{
	tlsctx_free(d->tls);
	free(d);
}

/* The agent's last report is the last of all: then nobody knows d any more. */
static void on_report(struct discovery_report *report, bool is_discarded)
{
	struct discovery *d = report->owner;
	if (report->is_gone)
		destroy(d);
	else if (!is_discarded && !d->is_closed)
		take_result(d, report);
	free(report);
}

int discovery_new(const struct discovery_params *params, struct discovery **ret)
{
	struct discovery *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->params = *params;
	if (!d->params.refresh_min)
		d->params.refresh_min = refresh_min;
	prepare_names(d);
	prepare_searches(d);
	int r = prepare_tls(d);
	struct discovery_agent_params agent = {
		.worker = params->worker,
		.main = mainloop_mailbox(params->loop),
		.names = &d->names,
		.resolver = params->resolver,
		.tls = d->tls,
		.server = &d->server,
		.on_report = on_report,
		.owner = d,
	};
	if (r == 0)
		r = mainloop_timer_start(params->loop, &d->first, now());
	if (r == 0)
		r = discovery_agent_new(&agent, &d->agent);
	if (r < 0) {
		mainloop_timer_stop(&d->first);
		destroy(d);
		return r;
	}
	*ret = d;
	return 0;
}

void discovery_free(struct discovery *d)
{
	if (!d)
		return;
	d->is_closed = true;
	mainloop_timer_stop(&d->first);
	for (int kind = 0; kind < ROUND_KIND_MAX_; kind++) {
		struct search *s = &d->searches[kind];
		mainloop_timer_stop(&s->timer);
		for (int i = 0; i < DISCOVERY_PATH_MAX_; i++)
			mainloop_timer_stop(&s->paths[i].timer);
	}
	discovery_agent_end(TAKE_PTR(d->agent));
}
