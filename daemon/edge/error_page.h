/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a visitor sees when something failed: small, static, HTML or JSON, with the side and the
 * request id, never the origin's address (spec §9).
 */
#ifndef DAEMON_EDGE_ERROR_PAGE_H
#define DAEMON_EDGE_ERROR_PAGE_H

#include "daemon/http/http.h"
#include "daemon/proxy/reason.h"

/*
 * Answers x with the page (status, Adit-Error, Retry-After). status 0: the reason's own. ray may be
 * empty. The caller then frees x.
 */
void error_page_respond(struct http_exchange *x, enum proxy_reason reason, unsigned int status,
			struct span ray);

#endif
