/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public side of the edge. Every worker accepts on its own sockets of each address
 * (SO_REUSEPORT); a connection stays on the worker that took it.
 */
#include "daemon/edge/front_http.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/base/random.h"
#include "daemon/edge/error_page.h"
#include "daemon/edge/visit_tcp.h"
#include "daemon/flow/stream_io.h"
#include "daemon/proxy/access_log.h"
#include "util/cleanup.h"

/* Visitors' connections of one client address (/64 for IPv6). */
struct client {
	struct list node; /* in its bucket */
	uint8_t key[16];
	unsigned int count;
};

enum {
	CLIENT_BUCKETS = 1024,
	HTTPS_PORT = 443,
};

struct front;

enum listener_kind : uint8_t {
	LISTENER_KIND_HTTP,
	LISTENER_KIND_HTTPS,
	LISTENER_KIND_PORT,
	LISTENER_KIND_NETWORK, /* local addresses are those that visitors want */
};

/* One listening socket. */
struct front_listener {
	struct tcp_listener tcp;
	struct front *front;
	enum listener_kind kind;
	size_t port; /* PORT: index of [tcp NAME] */
};

struct front_conn {
	unsigned int refs; /* of its HTTP, and of what it became */
	struct front *front;
	struct http_conn *http; /* NULL once it has left HTTP */
	struct client *client;
	bool is_handshaking;
	bool has_asked; /* for anything yet */
	struct list node;
	struct loop_garbage garbage;
};

struct front {
	struct visit_env visits;
	struct http_limits limits; /* of all connections; changes with the configuration */
	struct front_listener *listeners;
	unsigned int listener_count;
	bool is_draining;
	struct list conns;
	unsigned int conn_count;
	unsigned int conn_max;
	unsigned int handshakes; /* TLS, running */
	unsigned int handshake_max;
	struct list clients[CLIENT_BUCKETS];
	uint64_t client_seed;
};

static void conn_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct front_conn, garbage));
}

static void client_key(const struct ip_addr *addr, uint8_t ret[16])
{
	struct ip_addr a = ip_addr_unmap(*addr);
	memset(ret, 0, 16);
	memcpy(ret, a.bytes, a.family == IP_FAMILY_V6 ? 8 : 4);
	ret[15] = (uint8_t)a.family;
}

static struct list *client_bucket(struct front *f, const uint8_t key[16])
{
	uint64_t a, b;
	memcpy(&a, key, 8);
	memcpy(&b, key + 8, 8);
	uint64_t h = (a ^ f->client_seed) * UINT64_C(0x9e3779b97f4a7c15) ^ b;
	return &f->clients[(h ^ (h >> 32)) % CLIENT_BUCKETS];
}

/* Counts one more connection of an address; NULL when it has too many (or there is no memory). */
static struct client *client_take(struct front *f, const struct ip_addr *addr)
{
	uint8_t key[16];
	client_key(addr, key);
	struct list *bucket = client_bucket(f, key);
	struct client *c = NULL;
	LIST_FOREACH(node, bucket)
	{
		struct client *other = LIST_ENTRY(node, struct client, node);
		if (memcmp(other->key, key, sizeof(key)) == 0)
			c = other;
	}
	if (!c) {
		c = calloc(1, sizeof(*c));
		if (!c)
			return NULL;
		memcpy(c->key, key, sizeof(key));
		list_append(bucket, &c->node);
	}
	if (c->count >= f->visits.p.roster->conf->front.client_concurrency)
		return NULL;
	c->count++;
	return c;
}

static void client_give(struct client *c)
{
	if (--c->count > 0)
		return;
	list_remove(&c->node);
	free(c);
}

/* At the limits of connections and of TLS handshakes the listeners wait (spec §13). */
static void update_listeners(struct front *f)
{
	for (unsigned int i = 0; i < f->listener_count; i++) {
		struct front_listener *l = &f->listeners[i];
		bool is_full = f->conn_count >= f->conn_max || (l->kind == LISTENER_KIND_HTTPS &&
								f->handshakes >= f->handshake_max);
		if (is_full != l->tcp.is_paused)
			tcp_listener_pause(&l->tcp, is_full);
	}
}

static void handshake_over(struct front_conn *c)
{
	struct front *f = c->front;
	if (!c->is_handshaking)
		return;
	c->is_handshaking = false;
	f->handshakes--;
	update_listeners(f);
}

static void on_open(struct stream *s, int error, void *user)
{
	(void)s;
	(void)error; /* the connection learns of it by itself */
	handshake_over(user);
}

struct front_conn *front_conn_ref(struct front_conn *c)
{
	c->refs++;
	return c;
}

void front_conn_unref(struct front_conn *c)
{
	struct front *f = c->front;
	if (--c->refs > 0)
		return;
	client_give(c->client);
	list_remove(&c->node);
	f->conn_count--;
	update_listeners(f);
	loop_defer_free(f->visits.p.worker->loop, &c->garbage);
}

static void on_conn_closed(struct http_conn *http, void *user)
{
	(void)http;
	struct front_conn *c = user;
	c->http = NULL;
	handshake_over(c);
	front_conn_unref(c);
}

/* Without the port; the colons of an IPv6 address stay. */
static struct span host_of(struct span authority)
{
	size_t literal = 0;
	if (authority.len > 0 && authority.ptr[0] == '[')
		literal = span_find(authority, ']');
	return span_first(authority, literal + span_find(span_skip(authority, literal), ':'));
}

/* Counts and logs what is answered here, as a visit does with what goes to a tunnel. */
static void note_answer(struct front *f, const struct http_exchange *x, struct span ray,
			unsigned int status, enum proxy_reason reason)
{
	const struct front_params *p = &f->visits.p;
	const struct front_host *m = roster_nobody(p->roster);
	metric_add(p->worker->metrics, m->requests[MIN(status / 100, 5U)], 1);
	if (reason)
		metric_add(p->worker->metrics, m->errors[reason], 1);
	access_log_write(p->worker->log, p->roster->conf->common.log.access,
			 &(struct access_record){
				 .rule = "none",
				 .method = x->request.method,
				 .host = x->request.authority,
				 .target = x->request.target,
				 .ray = ray,
				 .status = status,
				 .reason = reason,
			 });
}

/*
 * Clear text is sent to TLS where there is TLS: to the first port of [https]. Returns the status, 0
 * when there is no memory for an answer.
 */
static unsigned int redirect(struct http_exchange *x, uint16_t https_port)
{
	static const char scheme[] = "https://";
	struct span host = host_of(x->request.authority), target = x->request.target;
	char port[8] = "";
	if (https_port != HTTPS_PORT)
		(void)snprintf(port, sizeof(port), ":%u", (unsigned int)https_port);
	size_t len = sizeof(scheme) - 1 + host.len + sizeof(port) + target.len;
	uint8_t *text = arena_alloc(x->arena, len);
	if (!text)
		return 0;
	struct packer p = packer_over(text, len);
	packer_str(&p, scheme);
	packer_bytes(&p, host);
	packer_str(&p, port);
	if (!span_eq(target, SPAN_LIT("*")))
		packer_bytes(&p, target);
	struct http_field field = { .name = SPAN_LIT("Location"), .value = packer_span(&p) };
	struct http_head head = {
		.status = 308, .has_length = true, .fields = &field, .field_count = 1
	};
	return http_respond(x, &head) < 0 ? 0 : head.status;
}

static void on_request(struct http_exchange *x, void *user)
{
	struct front_conn *c = user;
	struct front *f = c->front;
	const struct edge_conf *conf = f->visits.p.roster->conf;
	x->user = c;
	c->has_asked = true;
	/* Without a Host there is no address to send it to; it is refused as unknown. */
	if (x->is_tls || !conf->front.redirect_http || !f->visits.p.certs ||
	    x->request.authority.len == 0) {
		visit_start(&f->visits, x);
		return;
	}
	char text[VISIT_RAY_MAX];
	unsigned int status = redirect(x, conf->front.https.listens[0].addr.port);
	note_answer(f, x, visit_make_ray(&f->visits, text, sizeof(text)), status,
		    PROXY_REASON_NONE);
	http_exchange_free(x);
}

/* What came wasn't a request: the page is ours, the status the parser's. */
static void on_reject(struct http_exchange *x, unsigned int status, void *user)
{
	struct front_conn *c = user;
	c->has_asked = true;
	char text[VISIT_RAY_MAX];
	enum proxy_reason reason = status == 431   ? PROXY_REASON_HEADER_TOO_LARGE
				   : status == 413 ? PROXY_REASON_BODY_TOO_LARGE
				   : status == 408 ? PROXY_REASON_HEADER_TIMEOUT
						   : PROXY_REASON_BAD_REQUEST;
	struct span ray = visit_make_ray(&c->front->visits, text, sizeof(text));
	error_page_respond(x, reason, status, ray);
	note_answer(c->front, x, ray, status, reason);
	http_exchange_free(x);
}

static const struct http_handler handler = {
	.on_request = on_request,
	.on_reject = on_reject,
};

static void serve_http(struct front_conn *c, struct stream *stream, const struct ip_port *peer,
		       bool is_tls)
{
	struct front *f = c->front;
	struct http_conn_params params = {
		.loop = f->visits.p.worker->loop,
		.slab = f->visits.p.worker->slab,
		.limits = &f->limits,
		.handler = &handler,
		.user = c,
		.peer = *peer,
		.is_tls = is_tls,
		.on_closed = on_conn_closed,
	};
	if (http_conn_new(stream, &params, &c->http) < 0)
		on_conn_closed(NULL, c);
	else if (f->is_draining)
		http_conn_drain(c->http);
}

/* Where a TCP connection is to go; false: nowhere, also when it was made to our own socket. */
static bool find_way(const struct front_listener *fl, const struct ip_port *local,
		     struct visit_tcp_to *ret)
{
	const struct roster *roster = fl->front->visits.p.roster;
	if (fl->kind == LISTENER_KIND_PORT) {
		*ret = (struct visit_tcp_to){ roster->conf->tcp_ports[fl->port].dest->addr,
					      &roster->front.ports[fl->port] };
		return true;
	}
	size_t i = edge_conf_find_network(roster->conf, &local->ip);
	if (i == roster->conf->network_count)
		return false;
	*ret = (struct visit_tcp_to){ *local, &roster->front.networks[i] };
	return true;
}

/* The connection of a new visitor, with its stream; NULL when there is no room for it. Takes fd. */
static struct front_conn *conn_new(struct front *f, int fd, const struct ip_port *peer, bool is_tls,
				   struct stream **ret_stream)
{
	struct worker *w = f->visits.p.worker;
	struct client *client = client_take(f, &peer->ip);
	struct front_conn *c = client ? calloc(1, sizeof(*c)) : NULL;
	SSL *ssl = c && is_tls ? tls_certs_accept(f->visits.p.certs) : NULL;
	int r = c && (ssl || !is_tls) ? 0 : -ENOMEM;
	if (r == 0)
		r = stream_io_new(w->loop, w->slab, TAKE_FD(fd), ssl, ret_stream);
	if (r < 0) {
		f->visits.drops.clients++;
		if (client)
			client_give(client);
		free(c);
		(void)fd_close(fd);
		return NULL;
	}
	c->refs = 1;
	c->front = f;
	c->client = client;
	c->garbage.release = conn_release;
	list_append(&f->conns, &c->node);
	c->is_handshaking = is_tls;
	f->handshakes += is_tls;
	f->conn_count++;
	return c;
}

static void on_accept(struct tcp_listener *l, int fd, const struct ip_port *peer,
		      const struct ip_port *local)
{
	struct front_listener *fl = CONTAINER_OF(l, struct front_listener, tcp);
	struct front *f = fl->front;
	bool is_tls = fl->kind == LISTENER_KIND_HTTPS;
	bool is_http = is_tls || fl->kind == LISTENER_KIND_HTTP;
	struct visit_tcp_to to = {};
	if (!is_http && !find_way(fl, local, &to)) {
		f->visits.drops.no_network++;
		(void)fd_close(fd);
		return;
	}
	struct stream *stream = NULL;
	struct front_conn *c = conn_new(f, fd, peer, is_tls, &stream);
	if (!c)
		return;
	if (is_tls)
		stream_io_on_open(stream, on_open, c);
	update_listeners(f);
	if (is_http)
		serve_http(c, stream, peer, is_tls);
	else
		visit_tcp_start(&f->visits, stream, c, &to);
}

void front_use_roster(struct front *f, struct roster *roster)
{
	const struct conf_limits *l = &roster->conf->common.limits;
	unsigned int workers = worker_set_count(f->visits.p.worker->set);
	f->visits.p.roster = roster;
	f->limits = roster->limits;
	f->conn_max = MAX(l->visitors / workers, 1U);
	f->handshake_max = MAX(l->handshakes / workers, 1U);
	update_listeners(f);
}

static void front_init(struct front *f, const struct front_params *params)
{
	f->visits.p = *params;
	f->visits.next_ray = random_u64();
	f->client_seed = random_u64();
	front_use_roster(f, params->roster);
	list_init(&f->visits.visits);
	list_init(&f->visits.flows);
	directory_watch(params->directory, visit_on_doubt, &f->visits);
	list_init(&f->conns);
	for (unsigned int i = 0; i < CLIENT_BUCKETS; i++)
		list_init(&f->clients[i]);
}

/* Starts the next listener; takes fd. port: index of [tcp NAME]. */
static int listen_at(struct front *f, int fd, enum listener_kind kind, size_t port)
{
	struct front_listener *l = &f->listeners[f->listener_count];
	l->front = f;
	l->kind = kind;
	l->port = port;
	l->tcp.on_accept = on_accept;
	int r = tcp_listener_start(&l->tcp, f->visits.p.worker->loop, fd);
	if (r == 0)
		f->listener_count++;
	return r;
}

static int listen_everywhere(struct front *f, const struct front_params *p)
{
	const struct edge_conf *conf = p->roster->conf;
	const int *tcp_fd = p->tcp_fds;
	int r = 0;
	for (unsigned int i = 0; i < p->http_count && r == 0; i++)
		r = listen_at(f, p->http_fds[i], LISTENER_KIND_HTTP, 0);
	for (unsigned int i = 0; i < p->https_count && r == 0; i++)
		r = listen_at(f, p->https_fds[i], LISTENER_KIND_HTTPS, 0);
	for (size_t i = 0; i < conf->tcp_port_count; i++)
		for (size_t k = 0; k < conf->tcp_ports[i].listen_count && r == 0; k++)
			r = listen_at(f, *tcp_fd++, LISTENER_KIND_PORT, i);
	for (unsigned int i = 0; i < FRONT_NETWORK_FDS && r == 0; i++)
		if (p->net_fds[i] >= 0)
			r = listen_at(f, p->net_fds[i], LISTENER_KIND_NETWORK, 0);
	return r;
}

int front_new(const struct front_params *params, struct front **ret)
{
	size_t count = params->http_count + params->https_count + FRONT_NETWORK_FDS +
		       edge_conf_tcp_listeners(params->roster->conf);
	struct front *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->listeners = calloc(count ? count : 1, sizeof(*f->listeners));
	if (!f->listeners) {
		free(f);
		return -ENOMEM;
	}
	front_init(f, params);
	int r = listen_everywhere(f, params);
	if (r < 0) {
		front_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

void front_drain(struct front *f)
{
	f->is_draining = true;
	for (unsigned int i = 0; i < f->listener_count; i++)
		tcp_listener_take_waiting(&f->listeners[i].tcp); /* or they get a reset */
	LIST_FOREACH(node, &f->conns)
	{
		struct front_conn *c = LIST_ENTRY(node, struct front_conn, node);
		if (c->http)
			http_conn_drain(c->http);
	}
}

void front_close(struct front *f)
{
	for (unsigned int i = 0; i < f->listener_count; i++) {
		tcp_listener_take_waiting(&f->listeners[i].tcp);
		tcp_listener_stop(&f->listeners[i].tcp);
	}
	f->listener_count = 0;
}

bool front_awaits(const struct front *f)
{
	LIST_FOREACH(node, &f->conns)
	{
		const struct front_conn *c = LIST_ENTRY(node, struct front_conn, node);
		if (c->http && !c->has_asked)
			return true;
	}
	return false;
}

unsigned int front_active(const struct front *f)
{
	return f->visits.active;
}

const struct front_drops *front_get_drops(const struct front *f)
{
	return &f->visits.drops;
}

void front_stop(struct front *f)
{
	for (unsigned int i = 0; i < f->listener_count; i++)
		tcp_listener_stop(&f->listeners[i].tcp);
	f->listener_count = 0;
	visit_abort_all(&f->visits);
	LIST_FOREACH(node, &f->conns)
	{
		struct front_conn *c = LIST_ENTRY(node, struct front_conn, node);
		if (c->http)
			http_conn_close(c->http);
	}
}

bool front_is_empty(const struct front *f)
{
	return list_is_empty(&f->conns);
}

void front_free(struct front *f)
{
	if (!f)
		return;
	front_stop(f);
	directory_watch(f->visits.p.directory, NULL, NULL);
	free(f->listeners);
	free(f);
}
