/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP/2 listeners of tunnels in the process: opened while any port may be, handed to workers,
 * given another certificate.
 */
#ifndef DAEMON_EDGE_WIRING_TUNNELS_H
#define DAEMON_EDGE_WIRING_TUNNELS_H

#include "daemon/net/tlsctx.h"

struct edge;
struct edge_worker;

/* Opens a worker's listeners. Exit code; what was opened is closed by edge_tunnels_close(). */
int edge_tunnels_open(struct edge *e, struct edge_worker *ew);
void edge_tunnels_close(struct edge *e, struct edge_worker *ew);
/* Links and streams that begin from now on go by the limits in force on this worker. */
void edge_tunnels_use_limits(struct edge_worker *ew);
/* On the worker's thread. */
void edge_tunnels_start(struct edge_worker *ew);
/* Control thread: new links use tls, which is taken. 0 or -ENOMEM (then they don't). */
[[nodiscard]] int edge_tunnels_use_tls(struct edge *e, SSL_CTX *tls_take);

#endif
