/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per worker: private networks. Used by app and wiring only.
 */
#ifndef DAEMON_EDGE_WIRING_NET_H
#define DAEMON_EDGE_WIRING_NET_H

struct edge;
struct edge_worker;

/* Sets the host up and makes what each worker needs; after edge_wiring_open(). An exit code. */
int edge_networks_open(struct edge *e);
/* Undoes what the host was given; after the threads have ended, or when they never began. */
void edge_networks_close(struct edge *e);

/* On each worker's thread. */
void edge_networks_start(struct edge_worker *ew);
void edge_networks_use_roster(struct edge_worker *ew);
void edge_networks_stop(struct edge_worker *ew);

#endif
