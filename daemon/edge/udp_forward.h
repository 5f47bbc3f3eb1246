/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients' datagrams on their way to the worker that has the link: many in one message, which comes
 * back empty, so that the sender knows how many are under way. Used by front_udp only.
 */
#ifndef DAEMON_EDGE_UDP_FORWARD_H
#define DAEMON_EDGE_UDP_FORWARD_H

#include "daemon/edge/front_udp.h"

struct udp_batch_message;

struct udp_forward {
	struct front_udp *front;
	struct worker_set *set;
	struct front_udp *const *fronts;
	struct udp_batch_message *building[WORKER_MAX]; /* by worker */
	unsigned int under_way;
	struct loop_task flush;
};

void udp_forward_init(struct udp_forward *u, struct front_udp *front, struct worker_set *set,
		      struct front_udp *const *fronts);
/* Drops what hasn't been sent. */
void udp_forward_done(struct udp_forward *u);
/* Copies it; it leaves at the end of the turn. False: too many are under way, or no memory. */
bool udp_forward_add(struct udp_forward *u, const struct udp_arrival *a, struct edge_link *el);

#endif
