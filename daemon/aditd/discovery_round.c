/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One search for the edge by DNS. Both families of all names are asked for at once; the set is made
 * of what has come when the last answer is there, or the time is over. A name that fails costs only
 * its own addresses.
 *
 * The resolver is opened anew for each search, so that a changed resolv.conf counts.
 */
#include "daemon/aditd/discovery_round.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/conf/value.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	LOOKUPS_MAX = 1 + 2 * ROUND_NAMES_MAX,
	RESOLVER_TIMEOUT_MSEC = 1000,
	RESOLVER_TRIES = 2,
};

/* One question. */
struct lookup {
	struct discovery_round *round;
	union {
		struct resolve_record *record;
		struct dot_query *query;
	};
	bool is_pending;
	enum dns_type type;
	uint8_t region;
	uint16_t port;
	int error;
	unsigned int count;
	struct ip_addr addrs[DNS_ADDRS_MAX];
	char name[DNS_NAME_MAX + 1];
};

struct discovery_round {
	struct round_params params;
	struct resolver *resolver; /* or */
	struct dot *dot;
	struct lookup lookups[LOOKUPS_MAX];
	unsigned int count;
	unsigned int pending;
	bool has_addrs; /* from DNS */
	bool is_over;
	struct round_result result;
	struct timer early;
	struct timer limit;
	struct loop_task end;
};

/* ---- the set ------------------------------------------------------------------------------- */

/*
 * Whether this host would reach the address from a global one of its own: then IPv6 goes first (RFC
 * 6724). Connecting a UDP socket sends nothing.
 */
static bool has_route(const struct ip_addr *to)
{
	struct ip_port at = { .ip = *to, .port = 53 };
	struct sockaddr_storage sa;
	struct sockaddr_in6 own = {};
	socklen_t len = sockaddr_from_ip_port(&at, &sa), own_len = sizeof(own);
	_cleanup_(fd_closep) int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&own, &own_len) < 0)
		return false;
	bool is_global = (to->bytes[0] & 0xe0) == 0x20;
	return !is_global || (own.sin6_addr.s6_addr[0] & 0xe0) == 0x20;
}

static bool prefers_v6(const struct discovery_round *r)
{
	for (unsigned int i = 0; i < r->count; i++)
		if (r->lookups[i].type == DNS_TYPE_AAAA && r->lookups[i].count)
			return has_route(&r->lookups[i].addrs[0]);
	return false;
}

static void add_answers(struct discovery_round *r, enum dns_type type)
{
	for (unsigned int i = 0; i < r->count; i++) {
		const struct lookup *l = &r->lookups[i];
		for (unsigned int k = 0; l->type == type && k < l->count; k++) {
			struct ip_port at = { .ip = l->addrs[k], .port = l->port };
			edge_set_add(&r->result.set, &at, l->region);
		}
	}
}

static bool is_wanted(const struct round_names *names, enum ip_family family)
{
	return names->ip_version == 0 || names->ip_version == (uint8_t)family;
}

static void add_literals(struct discovery_round *r)
{
	const struct round_names *n = r->params.names;
	for (size_t i = 0; !n->service && i < n->address_count; i++) {
		const struct ip_port *at = &n->addresses[i].addr;
		if (at->ip.family != IP_FAMILY_NONE && is_wanted(n, at->ip.family))
			edge_set_add(&r->result.set, at, (uint8_t)(i % EDGE_REGIONS));
	}
}

static void build_set(struct discovery_round *r)
{
	bool v6_first = prefers_v6(r);
	r->result.set.count = 0;
	add_literals(r);
	add_answers(r, v6_first ? DNS_TYPE_AAAA : DNS_TYPE_A);
	add_answers(r, v6_first ? DNS_TYPE_A : DNS_TYPE_AAAA);
}

/* ---- results ------------------------------------------------------------------------------- */

static const char *error_text(int error)
{
	switch (error) {
	case -ENOENT:
		return "no such name";
	case -ETIMEDOUT:
		return "no answer";
	case -EAGAIN:
		return "the name server failed";
	case -EPERM:
		return "the name server's certificate was refused";
	default:
		return strerrordesc_np(-error);
	}
}

/* The first cause is the one that is told; a family without addresses is none. */
static void note_error(struct discovery_round *r, const struct lookup *l)
{
	struct round_result *to = &r->result;
	if (to->error && !(to->error == -ENOENT && l->error != -ENOENT))
		return;
	to->error = l->error;
	const char *reason = r->dot ? dot_reason(r->dot) : "";
	(void)snprintf(to->text, sizeof(to->text), "%.80s%s: %s%s%s", l->name,
		       r->dot ? " over TLS" : "", error_text(l->error), reason[0] ? ": " : "",
		       reason);
}

/* All names of a region and family that weren't answered for. */
static uint8_t unsure_bits(const struct discovery_round *r)
{
	uint8_t bits = 0;
	for (unsigned int i = 0; i < r->count; i++) {
		const struct lookup *l = &r->lookups[i];
		if (l->error && l->error != -ENOENT)
			bits |= edge_set_bit(l->region, l->type == DNS_TYPE_AAAA ? IP_FAMILY_V6
										 : IP_FAMILY_V4);
	}
	return bits;
}

static void finish(struct discovery_round *r)
{
	struct round_result *to = &r->result;
	r->is_over = true;
	timer_stop(&r->early);
	timer_stop(&r->limit);
	if (r->params.kind == ROUND_KIND_ADDRESSES) {
		build_set(r);
		to->unsure = unsure_bits(r);
		if (r->has_addrs)
			to->error = 0;
		else if (!to->error)
			to->error = -ENOENT;
	} else if (to->records.has_protocols || to->records.has_features) {
		to->error = 0;
	}
	to->is_early = false;
	r->params.on_result(to, r->params.user);
}

static void on_end(struct loop_task *task)
{
	finish(CONTAINER_OF(task, struct discovery_round, end));
}

static void cancel(struct lookup *l)
{
	if (!l->is_pending)
		return;
	l->is_pending = false;
	l->round->pending--;
	if (l->round->dot)
		dot_cancel(l->query);
	else
		resolve_record_cancel(l->record);
}

/* Time is over: what hasn't come counts as unanswered. */
static void on_limit(struct timer *timer)
{
	struct discovery_round *r = CONTAINER_OF(timer, struct discovery_round, limit);
	for (unsigned int i = 0; i < r->count; i++) {
		struct lookup *l = &r->lookups[i];
		if (!l->is_pending)
			continue;
		cancel(l);
		l->error = -ETIMEDOUT;
		note_error(r, l);
	}
	finish(r);
}

static void on_early(struct timer *timer)
{
	struct discovery_round *r = CONTAINER_OF(timer, struct discovery_round, early);
	build_set(r);
	struct round_result part = r->result;
	part.is_early = true;
	part.error = 0;
	r->params.on_result(&part, r->params.user);
}

/* ---- questions ----------------------------------------------------------------------------- */

static void on_answer(int error, const struct dns_answer *answer, void *user);

/* A question that can't be asked is one that fails. */
static void ask(struct lookup *l)
{
	struct discovery_round *r = l->round;
	struct dns_question question = {
		.name = l->name,
		.type = l->type,
		.on_done = on_answer,
		.user = l,
	};
	int error = r->dot ? dot_ask(r->dot, &question, &l->query)
			   : resolve_record(r->resolver, &question, &l->record);
	if (error < 0) {
		l->error = error == -EINVAL ? -ENOENT : error;
		note_error(r, l);
		return;
	}
	l->is_pending = true;
	r->pending++;
}

static struct lookup *lookup_add(struct discovery_round *r, const char *name, enum dns_type type)
{
	if (r->count == LOOKUPS_MAX)
		return NULL;
	struct lookup *l = &r->lookups[r->count++];
	*l = (struct lookup){ .round = r, .type = type };
	(void)snprintf(l->name, sizeof(l->name), "%s", name);
	return l;
}

/* Both families of a host. */
static void ask_host(struct discovery_round *r, const char *name, uint16_t port, uint8_t region)
{
	static const enum ip_family families[] = { IP_FAMILY_V4, IP_FAMILY_V6 };
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		bool is_v6 = families[i] == IP_FAMILY_V6;
		struct lookup *l = NULL;
		if (is_wanted(r->params.names, families[i]))
			l = lookup_add(r, name, is_v6 ? DNS_TYPE_AAAA : DNS_TYPE_A);
		if (!l)
			continue;
		l->port = port;
		l->region = region;
		ask(l);
	}
}

/* ---- answers ------------------------------------------------------------------------------- */

/* The first targets; their regions by name, so that they stay the same from search to search. */
static void take_services(struct discovery_round *r, const struct dns_answer *answer)
{
	struct dns_srv srv[DNS_SRV_MAX];
	unsigned int count = MIN(answer->count, (unsigned int)DNS_SRV_MAX);
	memcpy(srv, answer->srv, count * sizeof(*srv));
	dns_srv_sort(srv, count, r->params.seed);
	count = MIN(count, (unsigned int)ROUND_TARGETS_MAX);
	bool is_turned = count == 2 && strcasecmp(srv[0].target, srv[1].target) > 0;
	for (unsigned int i = 0; i < count; i++)
		ask_host(r, srv[i].target, srv[i].port, (uint8_t)(is_turned ? 1 - i : i));
}

static void take_addrs(struct discovery_round *r, struct lookup *l, const struct dns_answer *answer)
{
	l->count = MIN(answer->count, (unsigned int)DNS_ADDRS_MAX);
	memcpy(l->addrs, answer->addrs, l->count * sizeof(*l->addrs));
	if (r->has_addrs)
		return;
	r->has_addrs = true;
	if (r->params.wants_early)
		timer_start(r->params.loop, &r->early,
			    loop_now(r->params.loop) + ROUND_EARLY_MSEC * NSEC_PER_MSEC);
}

static void take_text(struct discovery_round *r, struct lookup *l, const struct dns_answer *answer)
{
	struct span text = span_of(answer->text.bytes, answer->text.len);
	bool is_protocols = l->name[0] && strcmp(l->name, r->params.names->protocols) == 0;
	l->error = is_protocols ? discovery_read_protocols(text, &r->result.records)
				: discovery_read_features(text, &r->result.records);
	if (l->error)
		note_error(r, l);
}

static void take_answer(struct discovery_round *r, struct lookup *l,
			const struct dns_answer *answer)
{
	r->result.ttl_sec = MIN(r->result.ttl_sec, answer->ttl_sec);
	switch (l->type) {
	case DNS_TYPE_A:
	case DNS_TYPE_AAAA:
		take_addrs(r, l, answer);
		break;
	case DNS_TYPE_SRV:
		take_services(r, answer);
		break;
	case DNS_TYPE_TXT:
		take_text(r, l, answer);
		break;
	case DNS_TYPE_MAX_:
		break;
	}
}

/* The end comes by a task: the resolver isn't to be freed in its own callback. */
static void on_answer(int error, const struct dns_answer *answer, void *user)
{
	struct lookup *l = user;
	struct discovery_round *r = l->round;
	l->is_pending = false;
	r->pending--;
	l->error = error;
	if (error)
		note_error(r, l);
	else
		take_answer(r, l, answer);
	if (r->pending == 0)
		loop_task_post(r->params.loop, &r->end, LOOP_PHASE_WORK);
}

/* ---- life cycle ---------------------------------------------------------------------------- */

static void ask_names(struct discovery_round *r)
{
	const struct round_names *n = r->params.names;
	unsigned int names = 0;
	for (size_t i = 0; i < n->address_count; i++) {
		const struct conf_addr *a = &n->addresses[i];
		if (a->addr.ip.family == IP_FAMILY_NONE && names++ < ROUND_NAMES_MAX)
			ask_host(r, a->host, a->addr.port, (uint8_t)(i % EDGE_REGIONS));
	}
}

static void ask_one(struct discovery_round *r, const char *name, enum dns_type type)
{
	struct lookup *l = lookup_add(r, name, type);
	if (l)
		ask(l);
}

static void begin(struct discovery_round *r)
{
	const struct round_names *n = r->params.names;
	if (r->params.kind == ROUND_KIND_RECORDS) {
		ask_one(r, n->protocols, DNS_TYPE_TXT);
		ask_one(r, n->features, DNS_TYPE_TXT);
	} else if (n->service) {
		ask_one(r, n->service, DNS_TYPE_SRV);
	} else {
		ask_names(r);
	}
	timer_start(r->params.loop, &r->limit,
		    loop_now(r->params.loop) + ROUND_LIMIT_SEC * NSEC_PER_SEC);
	if (r->pending == 0)
		loop_task_post(r->params.loop, &r->end, LOOP_PHASE_WORK);
}

int discovery_round_new(const struct round_params *params, struct discovery_round **ret)
{
	static const struct resolver_params quick = {
		.timeout_ms = RESOLVER_TIMEOUT_MSEC,
		.tries = RESOLVER_TRIES,
	};
	struct discovery_round *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->params = *params;
	r->result.ttl_sec = UINT32_MAX;
	r->early.on_expire = on_early;
	r->limit.on_expire = on_limit;
	r->end.run = on_end;
	int error = params->tls ? dot_new(params->loop, params->slab, params->tls, params->server,
					  &r->dot)
				: resolver_new_with(params->loop,
						    params->resolver ? params->resolver : &quick,
						    &r->resolver);
	if (error < 0) {
		free(r);
		return error;
	}
	begin(r);
	*ret = r;
	return 0;
}

void discovery_round_free(struct discovery_round *r)
{
	if (!r)
		return;
	dot_free(r->dot);
	resolver_free(r->resolver);
	timer_stop(&r->early);
	timer_stop(&r->limit);
	loop_task_cancel(&r->end);
	free(r);
}
