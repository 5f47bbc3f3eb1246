/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where daemons come in over TCP: one worker's listeners of HTTP/2 links, beside those of QUIC
 * (link/quic.h), with which they share the limits of spec §13.
 */
#ifndef DAEMON_EDGE_FRONT_TUNNEL_H
#define DAEMON_EDGE_FRONT_TUNNEL_H

#include "daemon/edge/edge_conn.h"
#include "daemon/link/h2link.h"

struct front_tunnel;

struct front_tunnel_params {
	struct worker *worker;
	const struct h2link_settings *settings; /* outlives the links */
	SSL_CTX *tls;                           /* a reference is taken */
	struct edge_conn_env *conns;            /* whose the links will be; outlives this */
	nsec_t register_timeout;
	int *fds; /* taken, also on failure; what is taken is set to -EBADF */
	unsigned int fd_count;
};

/* Accepts from now on. On the worker's thread. 0, -ENOMEM, or what epoll said. */
[[nodiscard]] int front_tunnel_new(const struct front_tunnel_params *params,
				   struct front_tunnel **ret);
/* Closes the listeners; links stay. Idempotent. */
void front_tunnel_refuse_new(struct front_tunnel *f);
/* Links that come from now on use tls, of which a reference is taken. 0 or -ENOMEM. */
[[nodiscard]] int front_tunnel_use_tls(struct front_tunnel *f, SSL_CTX *tls);
/* Accepts NULL. */
void front_tunnel_free(struct front_tunnel *f);

/* Counted on the worker; see docs/limits.md. */
struct front_tunnel_stats {
	uint64_t accepted;
	uint64_t refused_limit; /* too many strangers */
	uint64_t refused_addr;  /* too many of this address */
	uint64_t refused_local; /* no memory or descriptor */
};
const struct front_tunnel_stats *front_tunnel_get_stats(const struct front_tunnel *f);

#endif
