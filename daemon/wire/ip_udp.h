/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP datagrams with their IP headers, for where no socket makes them (docs/protocol.md §12.3; RFC
 * 768).
 */
#ifndef DAEMON_WIRE_IP_UDP_H
#define DAEMON_WIRE_IP_UDP_H

#include "daemon/wire/ip.h"

#define UDP_HEAD_LEN 8

/* A datagram that was read; payload is borrowed. The checksum isn't verified: it may not be there.
 */
struct ip_udp {
	uint16_t src_port;
	uint16_t dst_port;
	uint16_t checksum;
	struct span payload;
};

/*
 * Reads the datagram in a packet. One that is cut (a quote) has what there is of its payload.
 * 0, -ENODATA shorter than its header, -EBADMSG a fragment, another protocol, a bad length.
 */
[[nodiscard]] int ip_udp_read(const struct ip_packet *p, struct ip_udp *ret);
/* Whether a whole datagram's checksum is right, or absent as IPv4 allows. */
bool ip_udp_checksum_ok(const struct ip_packet *p);

/*
 * Append IP and UDP headers (h->protocol doesn't matter): 0, -ENOBUFS, -EMSGSIZE, -EINVAL as
 * ip_head_write().
 */
/* With the payload behind them and the checksum over all. */
[[nodiscard]] int ip_udp_write(struct packer *p, const struct ip_head *h, const struct ip_udp *u);
/*
 * For a payload of len bytes that follows elsewhere and a device that completes the checksum: in
 * its place is the sum of the pseudo-header, not inverted. u->payload doesn't matter.
 */
[[nodiscard]] int ip_udp_write_partial(struct packer *p, const struct ip_head *h,
				       const struct ip_udp *u, size_t len);

#endif
