/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DATAGRAM frames (RFC 9221): a bounded queue of what is to be sent. Private to the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_DGRAM_H
#define DAEMON_LINK_QUIC_DGRAM_H

#include "daemon/link/quic_priv.h"

void quic_dgram_init(struct quic_link *link);
void quic_dgram_clear(struct quic_link *link);

/* Largest payload that fits into one packet of the current path; 0 before the handshake. */
size_t quic_dgram_max(const struct quic_link *link);
/* Copies into the queue: 0, -EMSGSIZE, -ENOBUFS (both counted), -EPROTO when the link isn't up. */
[[nodiscard]] int quic_dgram_send(struct quic_link *link, enum datagram_kind kind,
				  struct span payload);

/* True when there is one to write into a packet of at most len bytes; larger ones are dropped. */
bool quic_dgram_is_waiting(struct quic_link *link, size_t len);
/* The first one as at most 2 runs of bytes, and its number. */
unsigned int quic_dgram_peek(struct quic_link *link, ngtcp2_vec ret_vec[2], uint64_t *ret_id);
/* It went into a packet. */
void quic_dgram_sent(struct quic_link *link);

#endif
