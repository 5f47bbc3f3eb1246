/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP and ICMP into private networks, [network NAME]: packets of a TUN device, and whose flows they
 * are (docs/operations.md).
 *
 * Every worker has a queue. A flow's packets come to that of the worker that has its link: what was
 * read elsewhere goes there by udp_clients, and a program in the kernel is told (net/tun_steer).
 * Without one the kernel takes the queue on which the last answer was written. What can't be sent
 * on is answered with an ICMP error: the edge is a router.
 */
#ifndef DAEMON_EDGE_FRONT_NET_H
#define DAEMON_EDGE_FRONT_NET_H

#include "daemon/edge/udp_clients.h"

struct front_net;
struct tun_steer;

struct front_net_params {
	struct worker *worker;
	struct roster *roster; /* in force; the wiring's reference */
	struct directory *directory;
	struct flow_caller *flows;
	struct udp_clients *const *peers; /* of all workers, in order, before the first starts */
	int fd;                           /* queue of the device; taken */
	bool has_bursts;                  /* it takes bursts */
	const struct tun_steer *steer;    /* of its queues; NULL: the kernel learns from answers */
};

/* Why a packet went no further, besides what udp_clients_stats has. */
enum net_drop : uint8_t {
	NET_DROP_MALFORMED,
	NET_DROP_STRAY, /* to an address of no private network */
	NET_DROP_FRAGMENT,
	NET_DROP_PROTOCOL,  /* neither UDP nor ICMP; also TCP that no listener took */
	NET_DROP_ICMP_KIND, /* ICMP other than echo requests */
	NET_DROP_TOO_BIG,   /* for the connection; its sender is told where it can be */
	NET_DROP_LINK,      /* ICMP: the connection's queue is full */
	NET_DROP_FOREIGN,   /* from the daemon: ICMP that nobody has asked for */
	NET_DROP_FULL,      /* the device takes no more */
	NET_DROP_ERRORS,    /* errors of our own over their rate */
	NET_DROP_MAX_,
};
const char *net_drop_name(enum net_drop reason);

struct front_net_stats {
	uint64_t rx_datagrams; /* UDP, from clients */
	uint64_t tx_datagrams; /* to clients */
	uint64_t rx_echoes;    /* ICMP, to the daemon */
	uint64_t tx_packets;   /* ICMP, from it */
	uint64_t rx_bursts;    /* packets that held several datagrams */
	uint64_t tx_bursts;
	uint64_t errors; /* ICMP errors that we made */
	uint64_t drops[NET_DROP_MAX_];
};

/* One per worker, before it starts. 0 or -ENOMEM (then fd stays the caller's). */
[[nodiscard]] int front_net_new(const struct front_net_params *params, struct front_net **ret);
/* On the worker's thread. 0 or a negative errno. */
[[nodiscard]] int front_net_start(struct front_net *f);
/* Another configuration is in force: which tunnels there are, limits. */
void front_net_use_roster(struct front_net *f, struct roster *roster);
struct udp_clients *front_net_clients(struct front_net *f);
const struct front_net_stats *front_net_get_stats(const struct front_net *f);
/* Closes the queue and forgets all clients. */
void front_net_stop(struct front_net *f);
/* Once no worker runs any more. Accepts NULL. */
void front_net_free(struct front_net *f);

#endif
