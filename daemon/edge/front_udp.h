/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public UDP ports, [udp NAME]: clients, and the flow of each through a tunnel (spec §2.3, §5).
 *
 * Every worker has a socket for each address (SO_REUSEPORT); the kernel sends a client's datagrams
 * to one of them. Where the tunnel's link is another worker's, they are handed on in batches
 * (udp_forward.h), and the flow lives there; answers leave from that worker's own socket of the
 * same address.
 */
#ifndef DAEMON_EDGE_FRONT_UDP_H
#define DAEMON_EDGE_FRONT_UDP_H

#include "daemon/edge/directory.h"
#include "daemon/edge/roster.h"
#include "daemon/net/udp.h"
#include "daemon/session/flow_caller.h"

struct front_udp;

struct front_udp_params {
	struct worker *worker;
	struct roster *roster; /* in force; the wiring's reference */
	struct directory *directory;
	struct flow_caller *flows;
	struct front_udp *const *fronts; /* of all workers, in order, before the first starts */
};

struct front_udp_stats {
	struct udp_stats udp;
	uint64_t rx_datagrams; /* from clients, on this worker's sockets */
	uint64_t tx_datagrams; /* to clients */
	uint64_t too_many;     /* dropped: as many clients as there may be */
	uint64_t rate;         /* dropped: too many new ones in this second */
	uint64_t no_link;      /* dropped: no daemon that carries flows is connected */
	uint64_t forwarded;    /* handed to another worker */
	uint64_t forward_full; /* dropped: too many are on their way there */
	uint64_t client_full;  /* dropped: the kernel takes no more towards the client */
	uint64_t client_error; /* dropped: it refused to send */
};

/* One datagram of a client. */
struct udp_arrival {
	unsigned int listen; /* index of the socket */
	struct ip_port client;
	struct ip_addr local; /* where the client sent it */
	struct span bytes;
};

/*
 * One per worker: opens a socket for each address of each [udp NAME]. Control thread, before the
 * workers start. 0 or a negative errno, and *ret_at the address that can't be had.
 */
[[nodiscard]] int front_udp_new(const struct front_udp_params *params, struct front_udp **ret,
				struct ip_port *ret_at);
/* On the worker's thread: takes clients from now on. 0 or a negative errno. */
[[nodiscard]] int front_udp_start(struct front_udp *f);
/* Another configuration is in force: which tunnels there are, limits. */
void front_udp_use_roster(struct front_udp *f, struct roster *roster);
struct worker *front_udp_worker(const struct front_udp *f);
const struct front_udp_stats *front_udp_get_stats(const struct front_udp *f);
/* Closes the sockets and forgets all clients; what other workers hand on is dropped from now on. */
void front_udp_stop(struct front_udp *f);
/* Once no worker runs any more. Accepts NULL. */
void front_udp_free(struct front_udp *f);

/* Another worker has read it, and this link, one of this worker, was chosen for it. */
void front_udp_take(struct front_udp *f, const struct udp_arrival *a, struct edge_link *el);

#endif
