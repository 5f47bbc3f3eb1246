/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local page. Metrics that only a worker knows (its links, its buffers) are asked for at the
 * scrape, by one message that visits all workers, so an idle daemon does nothing for them.
 */
#include "daemon/admin/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/admin/promtext.h"
#include "daemon/base/file.h"
#include "daemon/base/gather.h"
#include "daemon/flow/stream_io.h"
#include "daemon/http/serve.h"
#include "daemon/net/sockaddr.h"
#include "daemon/net/tcp.h"
#include "daemon/wire/endpoint.h"
#include "util/cleanup.h"

enum {
	HEAD_MAX = 16 * 1024,
	FIELDS_MAX = 64,
	TIMEOUT_SEC = 10,
	CONNS_MAX = 64,
	CHUNK = 16 * 1024,
	BACKLOG = 64,
};

struct page {
	struct page_params p;
	struct worker *worker;
	struct tcp_listener listener;
	struct ip_port address;
	char *address_file;
	struct http_limits limits;
	unsigned int conns;
	struct list open;
};

struct page_conn {
	struct serve serve; /* the handler's user: the page's routes */
	struct page *page;
	struct http_conn *http;
	struct list node;
	struct loop_garbage garbage;
};

/* An answer that may be longer than the connection takes at once. */
struct reply {
	struct page *page;
	struct http_exchange *x; /* NULL once the visitor has gone */
	bool is_gathering;       /* workers may be writing: the memory stays */
	char *text;
	size_t len;
	size_t sent; /* handed to out */
	struct bufq out;
	struct loop_garbage garbage;
};

static void reply_release(struct loop_garbage *garbage)
{
	struct reply *r = CONTAINER_OF(garbage, struct reply, garbage);
	bufq_clear(&r->out);
	free(r->text);
	free(r);
}

static void reply_end(struct reply *r)
{
	if (r->x)
		http_exchange_free(TAKE_PTR(r->x));
	if (!r->is_gathering)
		loop_defer_free(r->page->worker->loop, &r->garbage);
}

static void reply_run(struct reply *r)
{
	for (;;) {
		if (bufq_is_empty(&r->out) && r->sent < r->len) {
			size_t n = MIN(r->len - r->sent, (size_t)CHUNK);
			if (bufq_append_copy(&r->out, span_of(r->text + r->sent, n)) < 0) {
				reply_end(r);
				return;
			}
			r->sent += n;
		}
		if (bufq_is_empty(&r->out)) {
			stream_finish(r->x->body);
			reply_end(r);
			return;
		}
		ssize_t n = stream_write(r->x->body, &r->out, r->out.len);
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			reply_end(r);
			return;
		}
	}
}

static void on_reply_event(struct stream *s, void *user)
{
	(void)s;
	struct reply *r = user;
	if (r->x->is_gone)
		reply_end(r);
	else if (!r->is_gathering)
		reply_run(r);
}

static const struct stream_user reply_user = {
	.on_readable = on_reply_event,
	.on_writable = on_reply_event,
};

/* Metrics are complete: write the head and as much of the text as goes. */
static void on_gathered(void *arg)
{
	struct reply *r = arg;
	r->is_gathering = false;
	metric_scrape(r->page->p.metrics);
	struct http_field type = { .name = SPAN_LIT("Content-Type"),
				   .value = SPAN_LIT(PROMTEXT_TYPE) };
	if (!r->x || promtext_write(r->page->p.metrics, &r->text, &r->len) < 0) {
		reply_end(r);
		return;
	}
	bool is_head = span_eq_str(r->x->request.method, "HEAD");
	struct http_head head = {
		.status = 200,
		.body = is_head ? HTTP_BODY_NONE : HTTP_BODY_LENGTH,
		.has_length = true,
		.content_length = r->len,
		.fields = &type,
		.field_count = 1,
	};
	if (http_respond(r->x, &head) < 0 || is_head) {
		reply_end(r);
		return;
	}
	reply_run(r);
}

static void visit(struct worker *worker, void *arg)
{
	struct reply *r = arg;
	if (r->page->p.refresh)
		r->page->p.refresh(worker, r->page->p.arg);
}

static void on_canceled(void *arg)
{
	struct reply *r = arg;
	reply_release(&r->garbage);
}

static const struct gather_ops gather_ops = {
	.visit = visit,
	.on_done = on_gathered,
	.on_cancel = on_canceled,
};

static void serve_metrics(struct http_exchange *x, void *user)
{
	struct page *page = user;
	struct reply *r = calloc(1, sizeof(*r));
	if (!r) {
		http_exchange_free(x);
		return;
	}
	r->page = page;
	r->x = x;
	r->garbage.release = reply_release;
	bufq_init(&r->out, page->worker->pages);
	/* Until the answer is there only the visitor's leaving is news. */
	stream_set_user(x->body, &reply_user, r);
	r->is_gathering = gather_start(page->p.workers, page->worker->mailbox, &gather_ops, r) == 0;
	if (!r->is_gathering)
		reply_end(r);
}

static void serve_text(struct http_exchange *x, unsigned int status, const char *type,
		       const char *text)
{
	(void)http_respond_text(x, status, type, span_str(text));
	http_exchange_free(x);
}

static void serve_ready(struct http_exchange *x, void *user)
{
	struct page *page = user;
	char text[160];
	unsigned int n = page->p.ready_count(page->p.arg);
	unsigned int status = n > 0 ? 200 : 503;
	(void)snprintf(text, sizeof(text),
		       "{\"status\":%u,\"readyConnections\":%u,\"connectorId\":\"%s\"}", status, n,
		       page->p.connector_id ? page->p.connector_id : "");
	serve_text(x, status, "application/json", text);
}

static void serve_health(struct http_exchange *x, void *user)
{
	(void)user;
	serve_text(x, 200, "text/plain", "OK\n");
}

static const struct serve_route routes[] = {
	{ "/metrics", serve_metrics },
	{ "/ready", serve_ready },
	{ "/healthcheck", serve_health },
};

static void conn_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct page_conn, garbage));
}

static void on_closed(struct http_conn *http, void *user)
{
	(void)http;
	struct page_conn *c = CONTAINER_OF((struct serve *)user, struct page_conn, serve);
	c->page->conns--;
	list_remove(&c->node);
	loop_defer_free(c->page->worker->loop, &c->garbage);
}

static void on_accept(struct tcp_listener *l, int fd, const struct ip_port *peer,
		      const struct ip_port *local)
{
	(void)local;
	struct page *page = CONTAINER_OF(l, struct page, listener);
	struct worker *w = page->worker;
	struct page_conn *c = page->conns < CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;
	struct stream *stream = NULL;
	if (!c) {
		(void)fd_close(fd);
		return;
	}
	if (stream_io_new(w->loop, w->pages, fd, NULL, &stream) < 0) {
		free(c);
		return;
	}
	c->page = page;
	c->serve =
		(struct serve){ .routes = routes, .route_count = ARRAY_SIZE(routes), .user = page };
	c->garbage.release = conn_release;
	page->conns++;
	list_append(&page->open, &c->node);
	struct http_conn_params params = {
		.loop = w->loop,
		.slab = w->pages,
		.limits = &page->limits,
		.handler = &serve_handler,
		.user = &c->serve,
		.peer = *peer,
		.on_closed = on_closed,
	};
	if (http_conn_new(stream, &params, &c->http) < 0)
		on_closed(NULL, &c->serve);
}

/* The first candidate that is free, else any port of the first one's address. Descriptor or error.
 */
static int bind_first(const struct page_params *p)
{
	int fd = -EADDRINUSE;
	for (unsigned int i = 0; i < p->candidate_count; i++) {
		fd = tcp_listen(&p->candidates[i], false, BACKLOG);
		if (fd >= 0)
			return fd;
	}
	if (!p->any_port || p->candidate_count == 0)
		return fd;
	struct ip_port any = p->candidates[0];
	any.port = 0;
	return tcp_listen(&any, false, BACKLOG);
}

static int find_address(struct page *page)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	if (getsockname(page->listener.fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	return sockaddr_to_ip_port((struct sockaddr *)&sa, len, &page->address);
}

int page_new(const struct page_params *params, struct page **ret)
{
	int fd = bind_first(params);
	if (fd < 0)
		return fd;
	struct page *page = calloc(1, sizeof(*page));
	if (!page) {
		(void)fd_close(fd);
		return -ENOMEM;
	}
	page->p = *params;
	page->worker = worker_set_get(params->workers, 0);
	list_init(&page->open);
	page->limits = (struct http_limits){
		.head_max = HEAD_MAX,
		.field_max = FIELDS_MAX,
		.line_max = HEAD_MAX,
		.header_timeout = TIMEOUT_SEC * NSEC_PER_SEC,
		.idle_timeout = TIMEOUT_SEC * NSEC_PER_SEC * 6,
		.body_timeout = TIMEOUT_SEC * NSEC_PER_SEC,
	};
	page->listener.on_accept = on_accept;
	int r = tcp_listener_start(&page->listener, page->worker->loop, fd);
	if (r < 0) {
		free(page);
		return r;
	}
	r = find_address(page);
	if (r < 0) {
		page_free(page);
		return r;
	}
	*ret = page;
	return 0;
}

const struct ip_port *page_address(const struct page *page)
{
	return &page->address;
}

int page_publish(struct page *page, const char *file)
{
	char text[ENDPOINT_TEXT_MAX];
	struct packer p = packer_over(text, sizeof(text));
	ip_port_print(&p, &page->address);
	packer_str(&p, "\n");
	int r = file_replace(file, packer_span(&p), 0644);
	if (r < 0)
		return r;
	page->address_file = strdup(file);
	if (page->address_file)
		return 0;
	(void)unlink(file);
	return -ENOMEM;
}

void page_stop(struct page *page)
{
	if (page->address_file)
		(void)unlink(page->address_file);
	free(TAKE_PTR(page->address_file));
	tcp_listener_stop(&page->listener);
	LIST_FOREACH(node, &page->open)
	http_conn_close(LIST_ENTRY(node, struct page_conn, node)->http);
}

void page_free(struct page *page)
{
	if (!page)
		return;
	page_stop(page);
	free(page);
}
