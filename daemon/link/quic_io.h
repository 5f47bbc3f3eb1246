/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of a QUIC link between the library and its sockets: one flush a turn, timers. Private to
 * the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_IO_H
#define DAEMON_LINK_QUIC_IO_H

#include "daemon/link/quic_priv.h"

/* One datagram for a link; the link may be over afterwards. */
void quic_io_feed(struct quic_link *link, const ngtcp2_path *path, struct span packet,
		  enum udp_ecn ecn);
/* Writes packets at the end of this turn. */
void quic_io_mark_dirty(struct quic_link *link);
/* Writes what it can now, for the turn has more than may wait; not from inside a callback of the
 * library, where it does nothing. The link may be over afterwards. */
void quic_io_write_early(struct quic_link *link);
/* Task and timer of a link. */
void quic_io_on_flush(struct loop_task *task);
void quic_io_on_timer(struct timer *timer);
/* Sends one packet outside of the order of things: a close, a probe. */
void quic_io_send_now(struct quic_link *link, const ngtcp2_path *path, enum udp_ecn ecn,
		      struct span packet);

#endif
