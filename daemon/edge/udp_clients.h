/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients that send UDP datagrams to the edge, and the flow of each through a tunnel (spec §2.3,
 * §5); how datagrams come in and go out is the front's.
 *
 * Every worker has its own. Where the tunnel's link is another worker's, datagrams are handed on in
 * batches (base/ferry), and the flow lives there; its answers leave by that worker's front.
 */
#ifndef DAEMON_EDGE_UDP_CLIENTS_H
#define DAEMON_EDGE_UDP_CLIENTS_H

#include "daemon/base/ferry.h"
#include "daemon/base/ratelimit.h"
#include "daemon/edge/directory.h"
#include "daemon/edge/edge_link.h"
#include "daemon/edge/roster.h"
#include "daemon/session/flow_caller.h"

enum { UDP_CLIENT_KEY_LEN = 3 + 19 + 19 }; /* way, client, where it sent to */

/* One datagram of a client; or a packet of one that has no flow (ICMP). */
struct udp_arrival {
	unsigned int way;      /* the front's number for where it came in */
	bool is_packet;        /* ports are 0 */
	bool dont_fragment;    /* its sender wants to be told of what is too big */
	struct ip_port client; /* that sent it */
	struct ip_port local;  /* where to; port 0 where that says nothing */
	struct span bytes;
	/* Of the worker that read it, for the one that has the link: */
	struct dgram_id id; /* of the client's flow, on whatever worker's link */
	bool has_moved;     /* it had another link before: a daemon may know the id */
	bool is_claim;      /* no datagram: its flow has lost its link and takes this one */
};

struct udp_client {
	struct udp_clients *clients;
	unsigned int way;
	bool is_packet; /* it has no flow */
	struct ip_port addr;
	struct ip_port local;
	struct edge_link *el;  /* referenced */
	uint8_t crossed;       /* datagrams handed on since it has this link, wrapping */
	struct dgram_id id;    /* of its flow, on whatever worker's link */
	bool has_moved;        /* it has had another link */
	struct flow_call call; /* open where the link is this worker's */
	nsec_t active;         /* else: when it sent last */
	struct timer timer;    /* … and when it is forgotten */
	struct map_node node;
	uint8_t key[UDP_CLIENT_KEY_LEN];
	struct loop_garbage garbage;
};

/* Where the datagrams of a way lead. */
struct udp_route {
	const struct edge_tunnel *tunnel; /* NULL: there is none of this name */
	const struct ip_port *dest;       /* NULL: where the client sent it to */
	nsec_t idle;                      /* silence after which a client is forgotten */
};

/* What the front does. user: see udp_clients_params. */
struct udp_clients_ops {
	struct udp_route (*route)(void *user, unsigned int way);
	/* A payload for a client; borrowed for the call. */
	void (*answer)(void *user, struct udp_client *c, struct span payload);
	/* The rest: NULL where there are no packets and nobody is told of errors. */
	/* A packet of a client, to the link of this worker. */
	void (*packet)(void *user, struct udp_client *c, struct call_port *port,
		       struct span packet);
	/* What is read of it here goes to another worker; said again now and then while it does. */
	void (*elsewhere)(void *user, const struct udp_client *c, const struct worker *worker);
	/* One whose flow was this worker's has ended. */
	void (*ended)(void *user, const struct udp_client *c);
	/* Its daemon refuses the flow. */
	void (*refused)(void *user, struct udp_client *c);
	/* A datagram is too long for the link, which takes max bytes of payload; it is dropped. */
	void (*too_big)(void *user, struct udp_client *c, const struct udp_arrival *a, size_t max);
};

struct udp_clients_stats {
	uint64_t too_many;     /* dropped: as many clients as there may be */
	uint64_t rate;         /* dropped: too many new ones in this second */
	uint64_t no_link;      /* dropped: no daemon that carries flows is connected */
	uint64_t forwarded;    /* handed to another worker */
	uint64_t forward_full; /* dropped: too many are on their way there */
};

struct udp_clients_params {
	struct worker *worker;
	struct directory *directory;
	struct flow_caller *flows;
	struct udp_clients *const *peers; /* of all workers, in order, before the first starts */
	const struct udp_clients_ops *ops;
	void *user;
};

/* Embedded in its front. */
struct udp_clients {
	struct udp_clients_params p;
	struct map map;
	struct ratelimit rate; /* of new ones */
	struct ferry ferry;    /* what goes to other workers */
	struct udp_clients_stats stats;
	size_t flows; /* that live on this worker */
	bool is_running;
};

/* Control thread, before the workers start. */
void udp_clients_init(struct udp_clients *u, const struct udp_clients_params *params);
/* Once no worker runs any more. Harmless on a zeroed one. */
void udp_clients_done(struct udp_clients *u);

/* On the worker's thread: takes clients from now on. */
void udp_clients_start(struct udp_clients *u);
/* Forgets all; what other workers hand on is dropped from now on. */
void udp_clients_stop(struct udp_clients *u);
/* Limits of a configuration. */
void udp_clients_use_limits(struct udp_clients *u, const struct conf_limits *l);

/* The front has read it. 0 when it goes its way or is dropped over a limit; -ENETUNREACH: there is
 * no daemon that carries it. */
int udp_clients_take(struct udp_clients *u, const struct udp_arrival *a);

/* The client of an arrival (its bytes don't matter), or NULL. */
struct udp_client *udp_clients_find(const struct udp_clients *u, const struct udp_arrival *a);

#endif
