/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a visitor sees when something failed: small, static, HTML or JSON, with the side and the
 * request id, never the origin's address (spec §9).
 */
#ifndef DAEMON_EDGE_ERROR_PAGE_H
#define DAEMON_EDGE_ERROR_PAGE_H

#include "daemon/http/http.h"
#include "daemon/proxy/reason.h"

/* Longest body, bytes. */
enum { ERROR_PAGE_MAX = 1536 };

/*
 * Writes the body for a reason into buf. ray may be empty. Returns its length.
 */
size_t error_page_write(enum proxy_reason reason, struct span ray, bool as_json,
			char buf[ERROR_PAGE_MAX]);

/* Answers x with the page (status, Adit-Error, Retry-After). The caller then frees x. */
void error_page_respond(struct http_exchange *x, enum proxy_reason reason, struct span ray);

#endif
