/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP flow at the daemon: from a ConnectRequest that names an address to that address and back
 * (docs/protocol.md §10.5). [network] says which may be reached.
 */
#ifndef DAEMON_PROXY_PROXY_TCP_H
#define DAEMON_PROXY_PROXY_TCP_H

#include "daemon/proxy/proxy_http.h"

/* As proxy_http_start(), for a request of type TCP. */
void proxy_tcp_start(struct proxy_env *env, struct stream *stream, struct bufq *rest,
		     struct connect_request *req);

/* Breaks all running flows off. */
void proxy_tcp_abort_all(struct proxy_env *env);

#endif
