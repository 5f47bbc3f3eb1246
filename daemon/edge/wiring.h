/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per worker: the public side and the tunnel side joined. The only file of adit-edge that knows
 * both.
 */
#ifndef DAEMON_EDGE_WIRING_H
#define DAEMON_EDGE_WIRING_H

#include <sys/types.h>

struct edge;
struct worker;

/*
 * Opens all sockets (they belong to uid, gid afterwards; -1: unchanged) and makes what each worker
 * needs. Control thread, before threads and before privileges go. Returns an exit code.
 */
int edge_wiring_open(struct edge *e, uid_t uid, gid_t gid);
/* After the threads have ended, or when they never began. */
void edge_wiring_close(struct edge *e);

/* On each worker's thread. */
void edge_wiring_start(struct worker *worker);
void edge_wiring_stop(struct worker *worker);

/* Control thread: no new visitors and daemons; the process ends when everything running has. */
void edge_wiring_drain(struct edge *e);

#endif
