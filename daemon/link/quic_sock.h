/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP sockets of QUIC links, listening, connected or dialled. Private to the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_SOCK_H
#define DAEMON_LINK_QUIC_SOCK_H

#include "daemon/link/quic_priv.h"

/* Opens a socket and watches it. 0 or a negative errno; *ret belongs to quic_sock_close(). */
[[nodiscard]] int quic_sock_open(struct quic_worker *qw, const struct udp_params *params,
				 struct quic_sock **ret);
/* The same over a socket that is open already (taken on success). */
[[nodiscard]] int quic_sock_adopt(struct quic_worker *qw, struct udp_socket *udp,
				  struct quic_sock **ret);
/* Stops and closes; memory goes at the end of the turn. Accepts NULL. */
void quic_sock_close(struct quic_sock *sock);

/*
 * Sends packets of segment_len bytes (the last may be shorter) on the socket of a path. What there
 * is no room for is held in the link until there is; errors are lost packets or end the link.
 */
void quic_sock_send(struct quic_link *link, const ngtcp2_path *path, enum udp_ecn ecn,
		    struct span data, size_t segment_len);
/* Drops packets that waited for room. */
void quic_sock_drop_held(struct quic_link *link);

#endif
