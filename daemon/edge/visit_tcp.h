/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a public TCP port, on its way to a destination behind a tunnel and back
 * (docs/protocol.md §10.5). Used by front_http only.
 */
#ifndef DAEMON_EDGE_VISIT_TCP_H
#define DAEMON_EDGE_VISIT_TCP_H

#include "daemon/edge/visit.h"

/* Serves a connection to the port of this index in the configuration; takes the stream and a
 * reference of its front_conn. */
void visit_tcp_start(struct visit_env *env, struct stream *stream, struct front_conn *visitor,
		     size_t port);
/* Breaks all off. */
void visit_tcp_abort_all(struct visit_env *env);

#endif
