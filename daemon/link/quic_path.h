/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of QUIC links (RFC 9000 §9; spec §5, §6). Private to the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_PATH_H
#define DAEMON_LINK_QUIC_PATH_H

#include "daemon/link/quic_priv.h"

/* An ngtcp2 path over storage of ours. */
struct quic_path {
	ngtcp2_path path;
	ngtcp2_sockaddr_union local, remote;
};
void quic_path_make(const struct ip_port *local, const struct ip_port *remote,
		    struct quic_path *ret);

/*
 * Client: a fresh local socket and an immediate migration to it. 0, -EPROTO before the handshake's
 * end, -EAGAIN while the peer has given no spare id, or what the socket said.
 */
[[nodiscard]] int quic_path_migrate(struct quic_link *link);
/* Server: the peer's address changed for good: its own socket follows. */
void quic_path_follow_peer(struct quic_link *link);
/* The path MTU has shrunk: client migrates, server drains. */
void quic_path_on_shrunk(struct quic_link *link);
/*
 * The kernel says that nobody listens there (error: which way). The link is suspect and the peer
 * asked for a sign of life. A client asks for a stateless reset a few times a second; a draining
 * link whose peer has been silent for long enough ends.
 */
void quic_path_refused(struct quic_link *link, int error);
/* Asks the peer for a sign of life, once until one comes. */
void quic_path_probe(struct quic_link *link);
/* A packet came; packets left (which may be answers only). */
void quic_path_heard(struct quic_link *link);
void quic_path_sent(struct quic_link *link, nsec_t now);
void quic_path_on_silence(struct timer *timer);
void quic_path_on_tickle(struct timer *timer);

#endif
