/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public side of the edge: listeners for HTTP in clear and with TLS and for TCP, to ports and
 * into private networks, and the exchange of each visitor with a tunnel (design §8, spec §7, §9).
 */
#ifndef DAEMON_EDGE_FRONT_HTTP_H
#define DAEMON_EDGE_FRONT_HTTP_H

#include "daemon/edge/directory.h"
#include "daemon/edge/roster.h"
#include "daemon/flow/bridge.h"
#include "daemon/http/http.h"
#include "daemon/net/tcp.h"
#include "daemon/net/tlscerts.h"

enum {
	FRONT_LISTENERS_MAX = 16,
	FRONT_NETWORK_FDS = 2, /* IPv4, IPv6: what the kernel's TPROXY sends here */
};

struct front;

struct front_params {
	struct worker *worker;
	struct roster *roster; /* in force; the wiring's reference */
	struct directory *directory;
	const struct bridge_metrics *bridge_metrics;
	metric_id no_route;      /* requests for a host that no tunnel has */
	struct tls_certs *certs; /* NULL: no TLS */
	/* Listening sockets of this worker, taken. */
	const int *http_fds;
	unsigned int http_count;
	const int *https_fds;
	unsigned int https_count;
	const int *tcp_fds; /* one for each address of each [tcp NAME], in order */
	const int *net_fds; /* FRONT_NETWORK_FDS; -EBADF: none */
};

/* One per worker, on its thread. 0 or -ENOMEM (descriptors stay the caller's then). */
[[nodiscard]] int front_new(const struct front_params *params, struct front **ret);
/* Another configuration is in force: for requests that begin from now on. */
void front_use_roster(struct front *front, struct roster *roster);
/* No new visitors; running requests go on, and who has just come may ask once. */
void front_drain(struct front *front);
/* … and this is the end of those whose handshake with the kernel had begun by then. */
void front_close(struct front *front);
/* Whether somebody who has come has still to ask for the first time. */
bool front_awaits(const struct front *front);
unsigned int front_active(const struct front *front);
/* What was refused or left out. */
struct front_drops {
	uint64_t clients;          /* connections over client-concurrency (spec §2.3) */
	uint64_t no_network;       /* TCP to an address that is in no private network */
	uint64_t trailers_raw;     /* bodies whose trailers had no place */
	uint64_t trailers_refused; /* trailers that may not pass */
	uint64_t frames_malformed; /* framed bodies of daemons */
};
const struct front_drops *front_get_drops(const struct front *front);
/* Breaks everything off; connections are gone when front_is_empty(), a turn or two later. */
void front_stop(struct front *front);
bool front_is_empty(const struct front *front);
/* Once it is empty. Accepts NULL. */
void front_free(struct front *front);

#endif
