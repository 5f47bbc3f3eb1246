/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP of the edge's users in the routed mode. What belongs together is known by its addresses
 * alone, so nothing of a message is looked at or changed but those, and what an error quotes.
 */
#include "daemon/session/icmp_routed.h"

#include <errno.h>
#include <stdlib.h>

#include "util/cleanup.h"

enum {
	SWEEP_SEC = 5,
	TRIES = 16,   /* addresses of ours that are looked at for one user */
	KEY_ICMP = 2, /* first byte of what is told to all (tun_path.c has another) */
	OUTSIDE_LEN = 2 + 16 + 16,
	ASKED_LEN = 8 + 16 + 16,
	PACKET_MAX = 2048, /* of the edge: larger than any datagram */
};

/* A user and a host. */
struct pair {
	struct icmp_port *port; /* where answers go */
	struct ip_addr user;
	struct ip_addr outside; /* that he has towards the host */
	nsec_t active;
	struct map_node by_asked, by_outside;
	struct list node;
	uint8_t asked[ASKED_LEN];
	uint8_t key[OUTSIDE_LEN];
};

static void make_outside(const struct ip_addr *outside, const struct ip_addr *host,
			 uint8_t ret[OUTSIDE_LEN])
{
	ret[0] = KEY_ICMP;
	ret[1] = (uint8_t)host->family;
	memcpy(ret + 2, outside->bytes, sizeof(outside->bytes));
	memcpy(ret + 18, host->bytes, sizeof(host->bytes));
}

static void make_asked(const struct icmp_port *port, const struct ip_addr *user,
		       const struct ip_addr *host, uint8_t ret[ASKED_LEN])
{
	uintptr_t link = (uintptr_t)port;
	static_assert(sizeof(link) == 8);
	memcpy(ret, &link, sizeof(link));
	memcpy(ret + 8, user->bytes, sizeof(user->bytes));
	memcpy(ret + 24, host->bytes, sizeof(host->bytes));
}

static nsec_t now_of(const struct icmp_routed *r)
{
	return loop_now(r->worker->loop);
}

/* ---- pairs ---- */

static struct span outside_of(const struct pair *pair)
{
	return span_of(pair->key, sizeof(pair->key));
}

static struct pair *find_outside(const struct icmp_routed *r, const uint8_t key[OUTSIDE_LEN])
{
	struct map_node *node = map_find(&r->outside, span_of(key, OUTSIDE_LEN));
	return node ? MAP_ENTRY(node, struct pair, by_outside) : NULL;
}

static void forget(struct icmp_routed *r, struct pair *pair)
{
	map_remove(&r->asked, &pair->by_asked);
	map_remove(&r->outside, &pair->by_outside);
	list_remove(&pair->node);
	owners_clear(r->owners, outside_of(pair), r->worker->index);
	free(pair);
}

static void touch(struct icmp_routed *r, struct pair *pair)
{
	pair->active = now_of(r);
	list_remove(&pair->node);
	list_append(&r->by_age, &pair->node);
}

static struct pair *oldest(const struct icmp_routed *r)
{
	return list_is_empty(&r->by_age) ? NULL : LIST_ENTRY(r->by_age.next, struct pair, node);
}

static void on_sweep(struct timer *timer)
{
	struct icmp_routed *r = CONTAINER_OF(timer, struct icmp_routed, sweep);
	nsec_t now = now_of(r);
	struct pair *pair;
	while ((pair = oldest(r)) &&
	       now >= nsec_add(pair->active, ICMP_ROUTED_IDLE_SEC * NSEC_PER_SEC))
		forget(r, pair);
	if (pair)
		timer_start(r->worker->loop, timer, nsec_add(now, SWEEP_SEC * NSEC_PER_SEC));
}

/* 0, -EEXIST: somebody has this address towards the host; -ENOMEM. */
static int try_outside(struct icmp_routed *r, struct pair *pair, const struct ip_addr *host)
{
	make_outside(&pair->outside, host, pair->key);
	return map_insert(&r->outside, &pair->by_outside, outside_of(pair));
}

/* His own address: who asked last has it, whatever link he came by before. */
static int keep_outside(struct icmp_routed *r, struct pair *pair, const struct ip_addr *host)
{
	pair->outside = pair->user;
	int e = try_outside(r, pair, host);
	if (e != -EEXIST)
		return e;
	forget(r, find_outside(r, pair->key));
	return try_outside(r, pair, host);
}

static int choose_outside(struct icmp_routed *r, struct pair *pair, const struct ip_addr *host)
{
	const struct tun_plan *plan = tun_ground_plan(r->tun);
	unsigned int count = tun_plan_count(plan, host->family);
	if (tun_plan_may_keep(plan, &pair->user))
		return keep_outside(r, pair, host);
	/* The same user begins at the same one, so that he looks like one. */
	unsigned int at = 0;
	for (size_t i = 0; i < sizeof(pair->user.bytes); i++)
		at = at * 31 + pair->user.bytes[i];
	int e = -EEXIST;
	for (unsigned int i = 0; i < MIN(count, (unsigned int)TRIES) && e == -EEXIST; i++) {
		pair->outside =
			tun_plan_address(plan, host->family, r->worker->index, (at + i) % count);
		e = try_outside(r, pair, host);
	}
	return e;
}

static int add_pair(struct icmp_routed *r, struct icmp_port *port, const struct ip_packet *p,
		    struct pair **ret)
{
	if (r->asked.count >= ICMP_ROUTED_MAX) {
		forget(r, oldest(r));
		icmp_session_drop(r->session, port->index, ICMP_DROP_FORGOTTEN);
	}
	_cleanup_(freep) struct pair *pair = calloc(1, sizeof(*pair));
	if (!pair)
		return -ENOMEM;
	pair->port = port;
	pair->user = p->src;
	make_asked(port, &p->src, &p->dst, pair->asked);
	int e = choose_outside(r, pair, &p->dst);
	if (e < 0)
		return e;
	e = map_insert(&r->asked, &pair->by_asked, span_of(pair->asked, sizeof(pair->asked)));
	if (e < 0) {
		map_remove(&r->outside, &pair->by_outside);
		return e;
	}
	(void)owners_set(r->owners, outside_of(pair), r->worker->index);
	list_append(&r->by_age, &pair->node);
	if (!timer_is_armed(&r->sweep))
		timer_start(r->worker->loop, &r->sweep,
			    nsec_add(now_of(r), SWEEP_SEC * NSEC_PER_SEC));
	*ret = TAKE_PTR(pair);
	return 0;
}

/* ---- to the network ---- */

static bool reaches(struct icmp_ground *g, const struct ip_addr *dst)
{
	return tun_ground_reaches(CONTAINER_OF(g, struct icmp_routed, ground)->tun, dst);
}

static void forward(struct icmp_ground *g, struct icmp_port *port, const struct ip_packet *p)
{
	struct icmp_routed *r = CONTAINER_OF(g, struct icmp_routed, ground);
	uint8_t key[ASKED_LEN], packet[PACKET_MAX];
	make_asked(port, &p->src, &p->dst, key);
	struct map_node *node = map_find(&r->asked, span_of(key, sizeof(key)));
	struct pair *pair = node ? MAP_ENTRY(node, struct pair, by_asked) : NULL;
	size_t len = p->header.len + p->payload.len;
	if (len > sizeof(packet)) {
		icmp_session_drop(r->session, port->index, ICMP_DROP_MALFORMED);
		return;
	}
	int e = pair ? 0 : add_pair(r, port, p, &pair);
	if (e < 0) {
		icmp_session_drop(r->session, port->index,
				  e == -EEXIST ? ICMP_DROP_NO_ADDRESS : ICMP_DROP_ORIGIN_FULL);
		return;
	}
	touch(r, pair);
	memcpy(packet, p->whole.ptr, len);
	ip_decrement_ttl(packet);
	if (!ip_addr_eq(&pair->outside, &p->src))
		e = icmp_readdress(packet, len, &pair->outside, NULL);
	if (e < 0)
		icmp_session_drop(r->session, port->index, ICMP_DROP_MALFORMED);
	else if (tun_ground_write(r->tun, span_of(packet, len)) < 0)
		icmp_session_drop(r->session, port->index, ICMP_DROP_ORIGIN_FULL);
	else
		r->session->stats.requests++;
}

/* ---- from the network ---- */

static void give(struct icmp_routed *r, struct pair *pair, const struct tun_icmp *icmp)
{
	const struct icmp_message *m = icmp->message;
	const struct ip_packet *p = icmp->ip;
	size_t len = p->header.len + p->payload.len;
	bool is_error = icmp_kind_is_error(m->kind);
	struct icmp_error e = { .kind = ICMP_KIND_TIME_EXCEEDED };
	if (p->ttl <= 1) {
		tun_ground_report(r->tun, p->whole, &e);
		return;
	}
	size_t max = pair->port->max ? pair->port->max(pair->port) : SIZE_MAX;
	if (len > max) {
		icmp_session_drop(r->session, pair->port->index, ICMP_DROP_REPLY_BIG);
		if (icmp_too_big(p, max, &e))
			tun_ground_report(r->tun, p->whole, &e);
		return;
	}
	ip_decrement_ttl(icmp->packet);
	if (!ip_addr_eq(&pair->outside, &pair->user) &&
	    icmp_readdress(icmp->packet, len, NULL, &pair->user) < 0) {
		tun_ground_drop(r->tun, TUN_DROP_MALFORMED);
		return;
	}
	if (icmp_session_give(r->session, pair->port, span_of(icmp->packet, len)) < 0)
		return;
	if (is_error)
		r->session->stats.passed[m->kind]++;
	else
		r->session->stats.replies++;
}

static void on_icmp(void *arg, const struct tun_icmp *icmp)
{
	struct icmp_routed *r = arg;
	const struct icmp_message *m = icmp->message;
	struct ip_packet quote;
	const struct ip_addr *host = &icmp->ip->src;
	uint8_t key[OUTSIDE_LEN];
	if (icmp_kind_is_error(m->kind)) {
		if (ip_read(m->data, &quote) < 0)
			return; /* it was read before */
		host = &quote.dst;
	} else if (!icmp_is_answer(icmp->ip->src.family, m->type)) {
		tun_ground_drop(r->tun, TUN_DROP_ICMP_KIND);
		return;
	}
	make_outside(&icmp->ip->dst, host, key);
	struct pair *pair = find_outside(r, key);
	if (pair) {
		tun_ground_note(r->tun, host->family);
		give(r, pair, icmp);
		return;
	}
	int owner = owners_find(r->owners, span_of(key, sizeof(key)));
	if (owner < 0 || owner == (int)r->worker->index || icmp->is_last)
		tun_ground_drop(r->tun, TUN_DROP_FOREIGN);
	else
		tun_ground_hand_on(r->tun, icmp, (unsigned int)owner);
}

/* ---- life ---- */

static void remove_port(struct icmp_ground *g, struct icmp_port *port)
{
	struct icmp_routed *r = CONTAINER_OF(g, struct icmp_routed, ground);
	LIST_FOREACH(node, &r->by_age)
	{
		struct pair *pair = LIST_ENTRY(node, struct pair, node);
		if (pair->port == port)
			forget(r, pair);
	}
}

void icmp_routed_init(struct icmp_routed *r, struct icmp_session *session, struct tun_ground *tun,
		      struct owners *owners)
{
	*r = (struct icmp_routed){
		.ground = { .reaches = reaches, .forward = forward, .remove_port = remove_port },
		.session = session,
		.tun = tun,
		.worker = session->p.worker,
		.owners = owners,
		.sweep.on_expire = on_sweep,
	};
	map_init(&r->asked, ICMP_ROUTED_MAX);
	map_init(&r->outside, ICMP_ROUTED_MAX);
	list_init(&r->by_age);
	session->ground = &r->ground;
	tun_ground_set_icmp(tun, on_icmp, r);
}

void icmp_routed_done(struct icmp_routed *r)
{
	struct pair *pair;
	if (!r->session)
		return;
	timer_stop(&r->sweep);
	while ((pair = oldest(r)))
		forget(r, pair);
	map_done(&r->asked);
	map_done(&r->outside);
	r->session->ground = NULL;
	tun_ground_set_icmp(r->tun, NULL, NULL);
}

size_t icmp_routed_count(const struct icmp_routed *r)
{
	return r->asked.count;
}
