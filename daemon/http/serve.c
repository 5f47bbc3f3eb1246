/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers by path for what a program serves itself. A handful of routes: a list is searched.
 */
#include "daemon/http/serve.h"

#include "util/macro.h"

static void refuse(struct http_exchange *x, unsigned int status)
{
	(void)http_respond_text(x, status, "text/plain", span_str(http_status_text(status)));
	http_exchange_free(x);
}

static void refuse_method(struct http_exchange *x)
{
	static struct http_field allow = { .name = SPAN_LIT("Allow"),
					   .value = SPAN_LIT("GET, HEAD") };
	const struct http_head head = { .status = 405, .fields = &allow, .field_count = 1 };
	(void)http_respond(x, &head);
	http_exchange_free(x);
}

static void on_request(struct http_exchange *x, void *user)
{
	const struct serve *serve = user;
	struct span target = x->request.target;
	struct span path = span_first(target, span_find(target, '?'));
	for (unsigned int i = 0; i < serve->route_count; i++) {
		if (!span_eq_str(path, serve->routes[i].path))
			continue;
		if (span_eq_str(x->request.method, "GET") || span_eq_str(x->request.method, "HEAD"))
			serve->routes[i].on_get(x, serve->user);
		else
			refuse_method(x);
		return;
	}
	refuse(x, 404);
}

static void on_reject(struct http_exchange *x, unsigned int status, void *user)
{
	(void)user;
	refuse(x, status);
}

const struct http_handler serve_handler = { .on_request = on_request, .on_reject = on_reject };
