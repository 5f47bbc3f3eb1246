/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to a public TCP port or into a private network, on its way to a destination behind
 * a tunnel and back (docs/protocol.md §10.5). Used by front_http only.
 */
#ifndef DAEMON_EDGE_VISIT_TCP_H
#define DAEMON_EDGE_VISIT_TCP_H

#include "daemon/edge/visit.h"

/* Where it goes: dest behind the tunnel of metrics, which belong to the roster in force. */
struct visit_tcp_to {
	struct ip_port dest;
	const struct front_host *metrics;
};

/* Serves a connection; takes the stream and a reference of its front_conn. */
void visit_tcp_start(struct visit_env *env, struct stream *stream, struct front_conn *visitor,
		     const struct visit_tcp_to *to);
/* Breaks all off. */
void visit_tcp_abort_all(struct visit_env *env);

#endif
