/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers by path for what a program serves itself: metrics, readiness, status pages.
 */
#ifndef DAEMON_HTTP_SERVE_H
#define DAEMON_HTTP_SERVE_H

#include "daemon/http/http.h"

/* A resource that can be fetched. */
struct serve_route {
	const char *path; /* exact, without query */
	/* GET or HEAD: answers (for HEAD the body is dropped by itself) and frees the exchange, now
	 * or later. */
	void (*on_get)(struct http_exchange *x, void *user);
};

struct serve {
	const struct serve_route *routes; /* borrowed */
	unsigned int route_count;
	void *user;
};

/* For http_conn_params: user is the struct serve. 404 for other paths, 405 for other methods. */
extern const struct http_handler serve_handler;

#endif
