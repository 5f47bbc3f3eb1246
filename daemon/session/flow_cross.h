/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of edges on their way to the worker that has their flow: in batches, in the order in
 * which they came, at most so many under way. Private to session/.
 */
#ifndef DAEMON_SESSION_FLOW_CROSS_H
#define DAEMON_SESSION_FLOW_CROSS_H

#include "daemon/base/worker.h"
#include "util/span.h"

struct flow_table;
struct flow_batch;

enum crossing_kind : uint8_t {
	CROSSING_PAYLOAD,
	CROSSING_SEEK, /* a registration: the flow is wanted where it came from */
	CROSSING_ANEW, /* … back again: there is no such flow any more */
};

/* One datagram. */
struct crossing {
	enum crossing_kind kind;
	uint8_t hops;        /* workers that it has left */
	unsigned int worker; /* on which it came from an edge */
	unsigned int index;  /* … of that connection */
	uint64_t port;       /* … by serial */
	struct span datagram;
};

struct flow_cross {
	struct flow_table *table; /* whose they are */
	struct worker *worker;
	struct flow_table *const *tables;        /* of all workers */
	struct flow_batch *building[WORKER_MAX]; /* by worker */
	struct flow_batch *spare;                /* one that has come back */
	unsigned int under_way;
	struct loop_task flush;
};

void flow_cross_init(struct flow_cross *x, struct flow_table *table, struct worker *worker,
		     struct flow_table *const *tables);
/* Drops what hasn't been sent. */
void flow_cross_done(struct flow_cross *x);
/* Copies it; it leaves at the end of the turn. False: too many are under way, or no memory. */
bool flow_cross_add(struct flow_cross *x, unsigned int to, const struct crossing *c);

#endif
