/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What adit-edge says of itself: control interface and metrics page.
 */
#ifndef DAEMON_EDGE_STATUS_H
#define DAEMON_EDGE_STATUS_H

struct edge;
struct worker;

/* Exit code. Before the threads start and before privileges go. */
int edge_status_start(struct edge *e);
void edge_status_stop(struct edge *e);
/* On a worker's thread, when it stops. */
void edge_status_worker_stop(struct edge *e, struct worker *worker);

/* io.adit.Edge: 0 or a negative errno. */
[[nodiscard]] int edge_service_start(struct edge *e);
void edge_service_stop(struct edge *e);

#endif
