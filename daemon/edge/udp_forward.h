/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients' datagrams on their way to the worker that has the link: many in one message, which comes
 * back empty, so that the sender knows how many are under way. Used by udp_clients only.
 */
#ifndef DAEMON_EDGE_UDP_FORWARD_H
#define DAEMON_EDGE_UDP_FORWARD_H

#include "daemon/edge/edge_link.h"

struct udp_arrival;
struct udp_batch_message;
struct udp_clients;

struct udp_forward {
	struct udp_clients *clients;
	struct udp_batch_message *building[WORKER_MAX]; /* by worker */
	unsigned int under_way;
	struct loop_task flush;
};

/* clients: whose it is; its parameters are set. */
void udp_forward_init(struct udp_forward *u, struct udp_clients *clients);
/* Drops what hasn't been sent. */
void udp_forward_done(struct udp_forward *u);
/* Copies it; it leaves at the end of the turn. False: too many are under way, or no memory. */
bool udp_forward_add(struct udp_forward *u, const struct udp_arrival *a, struct edge_link *el);

#endif
