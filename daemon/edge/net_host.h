/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What private networks, [network NAME], need of this host: a TUN device with routes to it; a rule
 * and a route that bring marked packets to a socket of ours, the nft table that marks TCP, the
 * listeners that it goes to (spec §14, docs/operations.md).
 *
 * All of it is made before privileges go. What the kernel doesn't tie to a descriptor of ours is
 * written to RUN/state before it is made; who starts next, or `adit-edge --clean-up`, undoes it.
 */
#ifndef DAEMON_EDGE_NET_HOST_H
#define DAEMON_EDGE_NET_HOST_H

#include "daemon/base/log.h"
#include "daemon/base/paths.h"
#include "daemon/conf/edge_conf.h"
#include "daemon/edge/front_http.h"

/* What is ours on the host is known by these. */
#define NET_HOST_DEVICE   "adit%d"
#define NET_HOST_TABLE    "adit-edge" /* of nft, family inet */
#define NET_HOST_MARK     0xad17
#define NET_HOST_ROUTES   7844 /* routing table */
#define NET_HOST_PRIORITY 7844 /* of the rules */

struct net_host;
struct tun_steer;

struct net_host_params {
	const struct edge_conf *conf;
	const struct paths *paths;
	struct log *log;
	unsigned int worker_count;
};

/*
 * Undoes what a crashed one has left, then sets up; *ret is NULL without private networks. Control
 * thread. Returns an exit code, and has logged why.
 */
int net_host_open(const struct net_host_params *params, struct net_host **ret);
/* Undoes what it may; the rest stays written down. Accepts NULL. */
void net_host_close(struct net_host *h);
/* The listeners of a worker: FRONT_NETWORK_FDS, -EBADF where there is none; the taker owns them. */
void net_host_take_listeners(struct net_host *h, unsigned int worker, int *ret_fds);

/* The queue of a worker, which the taker owns. */
int net_host_take_queue(struct net_host *h, unsigned int worker);
/* What steers its queues; NULL: the kernel does by itself. */
const struct tun_steer *net_host_steer(const struct net_host *h);
/* Whether the device takes bursts. */
bool net_host_has_bursts(const struct net_host *h);

/* For `adit-edge --clean-up`: undoes what is written down, if no edge runs there. An exit code. */
int net_host_clean_up(const struct paths *paths);

#endif
