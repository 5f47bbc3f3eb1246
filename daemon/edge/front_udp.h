/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public UDP ports, [udp NAME] (spec §2.3, §5).
 *
 * Every worker has a socket for each address (SO_REUSEPORT); the kernel sends a client's datagrams
 * to one of them. Whose flow they are, on whatever worker, is udp_clients' business; answers leave
 * from the own socket of the same address of that worker.
 */
#ifndef DAEMON_EDGE_FRONT_UDP_H
#define DAEMON_EDGE_FRONT_UDP_H

#include "daemon/edge/udp_clients.h"
#include "daemon/net/udp.h"

struct front_udp;

struct front_udp_params {
	struct worker *worker;
	struct roster *roster; /* in force; the wiring's reference */
	struct directory *directory;
	struct flow_caller *flows;
	struct udp_clients *const *peers; /* of all workers, in order, before the first starts */
};

struct front_udp_stats {
	struct udp_stats udp;
	uint64_t rx_datagrams; /* from clients, on this worker's sockets */
	uint64_t tx_datagrams; /* to clients */
	uint64_t client_full;  /* dropped: the kernel takes no more towards the client */
	uint64_t client_error; /* dropped: it refused to send */
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
/* Those of this worker. */
struct udp_clients *front_udp_clients(struct front_udp *f);
const struct front_udp_stats *front_udp_get_stats(const struct front_udp *f);
/* Closes the sockets and forgets all clients; what other workers hand on is dropped from now on. */
void front_udp_stop(struct front_udp *f);
/* Once no worker runs any more. Accepts NULL. */
void front_udp_free(struct front_udp *f);

#endif
