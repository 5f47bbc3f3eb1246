/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to addresses with c-ares on a worker's loop. The cache is ours: c-ares bounds its own by
 * time only. An entry is a name and a family; while it is looked up it collects the queries that
 * wait for it, afterwards it answers until its time is over. Answers are handed out by a task,
 * since c-ares may call back from inside the call that asks.
 */
#include "daemon/net/resolve.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>

#include <ares.h>

#include "daemon/base/map.h"
#include "daemon/net/resolve_priv.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"
#include "util/list.h"
#include "util/macro.h"

enum { DELIVER_BUDGET = 64 }; /* answers of one task run (style L2) */

struct answer {
	int error;
	unsigned int count;
	struct ip_port addrs[RESOLVE_MAX_ADDRS];
};

/* The key in the map: family and name. */
struct key {
	uint8_t family;
	char name[DNS_NAME_MAX + 1];
};

struct entry {
	struct map_node node;
	struct list age;     /* on resolver.answered, the oldest use first, unless it is pending */
	struct list waiting; /* of queries */
	struct resolver *resolver;
	struct key key;
	struct answer answer;
	nsec_t expires;
	bool is_pending;
};

struct resolve_query {
	struct list node; /* on entry.waiting, then on resolver.ready */
	struct answer answer;
	uint16_t port;
	void (*on_done)(int error, const struct ip_port *addrs, unsigned int count, void *user);
	void *user;
};

/* A descriptor of c-ares. */
struct watch {
	struct loop_io io;
	struct list node;
	struct resolver *resolver;
	struct loop_garbage garbage;
};

/* ---- c-ares on the loop -------------------------------------------------------------------- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void init_library(void)
{
	library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

void resolver_arm_timer(struct resolver *r)
{
	struct timeval tv;
	if (!ares_timeout(r->channel, NULL, &tv)) {
		timer_stop(&r->timer);
		return;
	}
	nsec_t wait = (nsec_t)tv.tv_sec * NSEC_PER_SEC + (nsec_t)tv.tv_usec * NSEC_PER_USEC;
	timer_start(r->loop, &r->timer, nsec_add(loop_now(r->loop), wait));
}

static void on_timer(struct timer *timer)
{
	struct resolver *r = CONTAINER_OF(timer, struct resolver, timer);
	(void)ares_process_fds(r->channel, NULL, 0, ARES_PROCESS_FLAG_NONE);
	resolver_arm_timer(r);
}

static void on_socket(struct loop_io *io, uint32_t revents)
{
	struct resolver *r = CONTAINER_OF(io, struct watch, io)->resolver;
	ares_fd_events_t event = { .fd = io->fd };
	if (revents & (EPOLLIN | EPOLLERR | EPOLLHUP))
		event.events |= ARES_FD_EVENT_READ;
	if (revents & EPOLLOUT)
		event.events |= ARES_FD_EVENT_WRITE;
	(void)ares_process_fds(r->channel, &event, 1, ARES_PROCESS_FLAG_NONE);
	resolver_arm_timer(r);
}

static void watch_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct watch, garbage));
}

static void watch_stop(struct watch *w)
{
	loop_io_stop(&w->io);
	list_remove(&w->node);
	w->garbage.release = watch_release;
	loop_defer_free(w->resolver->loop, &w->garbage);
}

static struct watch *watch_find(struct resolver *r, int fd)
{
	LIST_FOREACH(node, &r->watches)
	{
		struct watch *w = LIST_ENTRY(node, struct watch, node);
		if (w->io.fd == fd)
			return w;
	}
	return NULL;
}

/* Out of memory: the socket isn't watched and its query times out. */
static void watch_start(struct resolver *r, int fd, uint32_t events)
{
	struct watch *w = calloc(1, sizeof(*w));
	if (!w)
		return;
	w->resolver = r;
	w->io.on_ready = on_socket;
	if (loop_io_start(r->loop, &w->io, fd, events) < 0)
		free(w);
	else
		list_append(&r->watches, &w->node);
}

/* Called by the library when it wants to know more or less about one of its sockets. */
static void on_sock_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = data;
	uint32_t events = (readable ? EPOLLIN : 0U) | (writable ? EPOLLOUT : 0U);
	struct watch *w = watch_find(r, fd);
	if (!events) {
		if (w)
			watch_stop(w);
	} else if (w) {
		(void)loop_io_update(&w->io, events);
	} else {
		watch_start(r, fd, events);
	}
}

/* ---- answers ------------------------------------------------------------------------------- */

static void make_ready(struct resolver *r, struct resolve_query *q, const struct answer *answer)
{
	q->answer = *answer;
	for (unsigned int i = 0; i < q->answer.count; i++)
		q->answer.addrs[i].port = q->port;
	list_remove(&q->node);
	list_append(&r->ready, &q->node);
	loop_task_post(r->loop, &r->deliver, LOOP_PHASE_WORK);
}

/* A callback may ask again and cancel others, but not free the resolver. */
static void on_deliver(struct loop_task *task)
{
	struct resolver *r = CONTAINER_OF(task, struct resolver, deliver);
	struct list *node = NULL;
	for (int i = 0; i < DELIVER_BUDGET && (node = list_pop(&r->ready)); i++) {
		struct resolve_query *q = LIST_ENTRY(node, struct resolve_query, node);
		q->on_done(q->answer.error, q->answer.error ? NULL : q->answer.addrs,
			   q->answer.count, q->user);
		free(q);
	}
	if (!list_is_empty(&r->ready))
		loop_task_post(r->loop, &r->deliver, LOOP_PHASE_WORK);
}

/* Reads addresses and the shortest time to live, in seconds. */
static int read_addrinfo(const struct ares_addrinfo *info, struct answer *ret)
{
	int ttl = RESOLVE_TTL_MAX;
	for (const struct ares_addrinfo_cname *c = info->cnames; c; c = c->next)
		ttl = MIN(ttl, c->ttl);
	for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
		if (ret->count == RESOLVE_MAX_ADDRS)
			break;
		if (sockaddr_to_ip_port(n->ai_addr, n->ai_addrlen, &ret->addrs[ret->count]) == 0)
			ret->count++;
		ttl = MIN(ttl, n->ai_ttl);
	}
	return MAX(ttl, 0);
}

static void entry_free(struct resolver *r, struct entry *e)
{
	map_remove(&r->entries, &e->node);
	list_remove(&e->age);
	free(e);
}

static void on_addrinfo(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	(void)timeouts;
	struct entry *e = arg;
	struct resolver *r = e->resolver;
	int ttl = 0;

	e->answer = (struct answer){ .error = dns_error_from_ares(status) };
	if (info) {
		ttl = read_addrinfo(info, &e->answer);
		ares_freeaddrinfo(info);
	}
	if (!e->answer.error && !e->answer.count)
		e->answer.error = -ENOENT;
	if (r->is_closing)
		return;
	if (e->answer.error)
		r->stats.failures++;

	struct list *node;
	while ((node = list_pop(&e->waiting)))
		make_ready(r, LIST_ENTRY(node, struct resolve_query, node), &e->answer);
	e->is_pending = false;
	if (e->answer.error || ttl == 0) {
		entry_free(r, e);
		return;
	}
	e->expires = loop_now(r->loop) + MIN((nsec_t)ttl * NSEC_PER_SEC, r->cache_max);
	list_append(&r->answered, &e->age);
}

/* ---- cache --------------------------------------------------------------------------------- */

/* Names are equal without regard to case and to a dot at the end. */
static int key_from(const char *name, enum ip_family family, struct key *ret)
{
	size_t len = strlen(name);
	if (len && name[len - 1] == '.')
		len--;
	if (len == 0 || len >= DNS_NAME_MAX)
		return -EINVAL;
	*ret = (struct key){ .family = family };
	for (size_t i = 0; i < len; i++)
		ret->name[i] = (char)span_lower_byte((uint8_t)name[i]);
	return 0;
}

static struct span key_span(const struct key *key)
{
	return span_of(key, offsetof(struct key, name) + strlen(key->name));
}

/* Room for one more: what was answered longest ago goes. */
static int make_room(struct resolver *r)
{
	if (r->entries.count < RESOLVE_CACHE_MAX)
		return 0;
	if (list_is_empty(&r->answered)) {
		r->stats.refused++;
		return -E2BIG;
	}
	entry_free(r, LIST_ENTRY(r->answered.next, struct entry, age));
	return 0;
}

/* The entry of a key that is pending or still good; NULL when it has to be looked up. */
static struct entry *cache_find(struct resolver *r, const struct key *key)
{
	struct map_node *node = map_find(&r->entries, key_span(key));
	if (!node)
		return NULL;
	struct entry *e = MAP_ENTRY(node, struct entry, node);
	if (e->is_pending || e->expires > loop_now(r->loop))
		return e;
	entry_free(r, e);
	return NULL;
}

static int entry_new(struct resolver *r, const struct key *key, struct entry **ret)
{
	int error = make_room(r);
	if (error < 0)
		return error;
	struct entry *e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->resolver = r;
	e->key = *key;
	e->is_pending = true;
	list_init(&e->waiting);
	error = map_insert(&r->entries, &e->node, key_span(&e->key));
	if (error < 0) {
		free(e);
		return error;
	}
	*ret = e;
	return 0;
}

static void look_up(struct resolver *r, struct entry *e, const char *name)
{
	struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT,
		.ai_family = e->key.family == IP_FAMILY_V4   ? AF_INET
			     : e->key.family == IP_FAMILY_V6 ? AF_INET6
							     : AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
	};
	r->stats.lookups++;
	resolver_follow_system(r);
	/* May call back at once, which may free e. */
	ares_getaddrinfo(r->channel, name, NULL, &hints, on_addrinfo, e);
	resolver_arm_timer(r);
}

/* ---- queries ------------------------------------------------------------------------------- */

/* False when name is no IP literal. */
static bool from_literal(const char *name, enum ip_family family, struct answer *ret)
{
	struct ip_port p = {};
	if (inet_pton(AF_INET, name, p.ip.bytes) == 1)
		p.ip.family = IP_FAMILY_V4;
	else if (inet_pton(AF_INET6, name, p.ip.bytes) == 1)
		p.ip.family = IP_FAMILY_V6;
	else
		return false;
	if (family != IP_FAMILY_NONE && family != p.ip.family)
		*ret = (struct answer){ .error = -ENOENT };
	else
		*ret = (struct answer){ .count = 1, .addrs = { p } };
	return true;
}

/* Has q answered now or later. */
static int query_start(struct resolver *r, struct resolve_query *q, const char *name,
		       enum ip_family family)
{
	struct answer literal;
	if (from_literal(name, family, &literal)) {
		make_ready(r, q, &literal);
		return 0;
	}
	struct key key;
	int error = key_from(name, family, &key);
	if (error < 0)
		return error;
	struct entry *e = cache_find(r, &key);
	if (e && !e->is_pending) {
		list_remove(&e->age);
		list_append(&r->answered, &e->age);
		make_ready(r, q, &e->answer);
		return 0;
	}
	if (e) {
		list_append(&e->waiting, &q->node);
		return 0;
	}
	error = entry_new(r, &key, &e);
	if (error < 0)
		return error;
	list_append(&e->waiting, &q->node);
	look_up(r, e, name);
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): a question and its callback */
int resolve_addr(struct resolver *r, const char *name, uint16_t port, enum ip_family family,
		 void (*on_done)(int error, const struct ip_port *addrs, unsigned int count,
				 void *user),
		 void *user, struct resolve_query **ret)
{
	struct resolve_query *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->port = port;
	q->on_done = on_done;
	q->user = user;
	int error = query_start(r, q, name, family);
	if (error < 0) {
		free(q);
		return error;
	}
	r->stats.queries++;
	*ret = q;
	return 0;
}

void resolve_cancel(struct resolve_query *q)
{
	if (!q)
		return;
	list_remove(&q->node);
	free(q);
}

void resolver_get_stats(const struct resolver *r, struct resolver_stats *ret)
{
	*ret = r->stats;
}

/* ---- life cycle ---------------------------------------------------------------------------- */

/* The library's own copies of paths are made from what the options hold. */
static int fill_paths(const struct resolver_params *p, struct ares_options *o, int *mask)
{
	if (p->hosts_file) {
		o->hosts_path = strdup(p->hosts_file);
		*mask |= ARES_OPT_HOSTS_FILE;
	}
	if (p->resolv_conf) {
		o->resolvconf_path = strdup(p->resolv_conf);
		*mask |= ARES_OPT_RESOLVCONF;
	}
	bool is_short =
		(p->hosts_file && !o->hosts_path) || (p->resolv_conf && !o->resolvconf_path);
	return is_short ? -ENOMEM : 0;
}

static int fill_options(struct resolver *r, struct ares_options *o, int *ret_mask)
{
	const struct resolver_params *p = &r->params;
	*o = (struct ares_options){
		.sock_state_cb = on_sock_state,
		.sock_state_cb_data = r,
		.qcache_max_ttl = 0,
	};
	static char lookups[] = "fb"; /* the hosts file, then DNS */
	o->lookups = lookups;
	*ret_mask = ARES_OPT_SOCK_STATE_CB | ARES_OPT_QUERY_CACHE | ARES_OPT_LOOKUPS;
	if (p->timeout_ms) {
		o->timeout = (int)MIN(p->timeout_ms, 60000U);
		*ret_mask |= ARES_OPT_TIMEOUTMS;
	}
	if (p->tries) {
		o->tries = (int)MIN(p->tries, 10U);
		*ret_mask |= ARES_OPT_TRIES;
	}
	return fill_paths(p, o, ret_mask);
}

/* What resolv.conf is now; zero when there is none. */
static struct stat system_state(const struct resolver *r)
{
	struct stat st = {};
	if (stat(r->params.resolv_conf ? r->params.resolv_conf : "/etc/resolv.conf", &st) < 0)
		st = (struct stat){};
	return st;
}

static int open_channel(struct resolver *r)
{
	(void)pthread_once(&library_once, init_library);
	if (library_status != ARES_SUCCESS)
		return -EAGAIN;
	struct ares_options options;
	int mask;
	r->configured = system_state(r);
	int error = fill_options(r, &options, &mask);
	int status = error ? ARES_ENOMEM : ares_init_options(&r->channel, &options, mask);
	free(options.hosts_path);
	free(options.resolvconf_path);
	if (status != ARES_SUCCESS)
		return status == ARES_ENOMEM ? -ENOMEM : -EAGAIN;
	if (r->params.servers &&
	    ares_set_servers_ports_csv(r->channel, r->params.servers) != ARES_SUCCESS)
		return -EINVAL;
	return 0;
}

/* A channel with questions on it can't be exchanged: the next lookup will find it idle. */
void resolver_follow_system(struct resolver *r)
{
	if (r->params.servers || ares_queue_active_queries(r->channel) > 0)
		return;
	struct stat now = system_state(r);
	if (now.st_ino == r->configured.st_ino && now.st_dev == r->configured.st_dev &&
	    now.st_size == r->configured.st_size &&
	    memcmp(&now.st_mtim, &r->configured.st_mtim, sizeof(now.st_mtim)) == 0)
		return;
	ares_channel_t *old = TAKE_PTR(r->channel);
	if (open_channel(r) < 0) {
		ares_destroy(r->channel);
		r->channel = old;
	} else {
		ares_destroy(old);
	}
}

int resolver_new_with(struct loop *loop, const struct resolver_params *params,
		      struct resolver **ret)
{
	static const struct resolver_params none;
	struct resolver *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->loop = loop;
	map_init(&r->entries, RESOLVE_CACHE_MAX);
	list_init(&r->answered);
	list_init(&r->ready);
	list_init(&r->watches);
	resolver_records_init(r);
	r->deliver.run = on_deliver;
	r->timer.on_expire = on_timer;
	r->params = params ? *params : none;
	r->cache_max = r->params.cache_ms ? r->params.cache_ms * NSEC_PER_MSEC : NSEC_NEVER;
	int error = open_channel(r);
	if (error < 0) {
		ares_destroy(r->channel);
		free(r);
		return error;
	}
	*ret = r;
	return 0;
}

int resolver_new(struct loop *loop, struct resolver **ret)
{
	return resolver_new_with(loop, NULL, ret);
}

static void free_queries(struct list *queries)
{
	LIST_FOREACH(node, queries)
	free(LIST_ENTRY(node, struct resolve_query, node));
	list_init(queries);
}

void resolver_free(struct resolver *r)
{
	if (!r)
		return;
	r->is_closing = true;
	ares_destroy(r->channel);
	resolver_records_done(r);
	MAP_FOREACH(node, &r->entries)
	{
		struct entry *e = MAP_ENTRY(node, struct entry, node);
		free_queries(&e->waiting);
		entry_free(r, e);
	}
	map_done(&r->entries);
	free_queries(&r->ready);
	loop_task_cancel(&r->deliver);
	timer_stop(&r->timer);
	free(r);
}
