/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets in and out of the sockets of QUIC links: batches, paths, pacing, migration. Private to
 * the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_IO_H
#define DAEMON_LINK_QUIC_IO_H

#include "daemon/link/quic_priv.h"

/* Opens a socket and watches it. 0 or a negative errno; *ret belongs to quic_io_close_sock(). */
[[nodiscard]] int quic_io_open_sock(struct quic_worker *qw, const struct udp_params *params,
				    struct quic_sock **ret);
/* The same over a socket that is open already (taken on success). */
[[nodiscard]] int quic_io_adopt_sock(struct quic_worker *qw, struct udp_socket *udp,
				     struct quic_sock **ret);
/* Stops and closes; memory goes at the end of the turn. Accepts NULL. */
void quic_io_close_sock(struct quic_sock *sock);

/* An ngtcp2 path over storage of ours. */
struct quic_path {
	ngtcp2_path path;
	ngtcp2_sockaddr_union local, remote;
};
void quic_io_path(const struct ip_port *local, const struct ip_port *remote, struct quic_path *ret);

/* One datagram for a link; the link may be over afterwards. */
void quic_io_feed(struct quic_link *link, const ngtcp2_path *path, struct span packet,
		  enum udp_ecn ecn);
/* Writes packets at the end of this turn. */
void quic_io_mark_dirty(struct quic_link *link);
/* Task and timer of a link. */
void quic_io_on_flush(struct loop_task *task);
void quic_io_on_timer(struct timer *timer);
/* Sends one packet outside of the order of things: a close, a probe. */
void quic_io_send_now(struct quic_link *link, const ngtcp2_path *path, enum udp_ecn ecn,
		      struct span packet);
/* Drops packets that waited for room in the socket. */
void quic_io_drop_held(struct quic_link *link);

/* Client: a fresh local socket and an immediate migration to it. 0 or a negative errno. */
[[nodiscard]] int quic_io_migrate(struct quic_link *link);
/* Server: the peer's address changed for good: its own socket follows. */
void quic_io_follow_peer(struct quic_link *link);
/* The path MTU has shrunk: client migrates, server drains. */
void quic_io_on_shrunk(struct quic_link *link);
/* The kernel says that nobody listens: ask for a stateless reset a few times a second. */
void quic_io_suspect(struct quic_link *link);
void quic_io_on_tickle(struct timer *timer);

#endif
