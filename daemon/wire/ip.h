/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv4 and IPv6 packets: headers, checksums, and the few changes that a router makes
 * (docs/protocol.md §12.1; RFC 791, RFC 8200, RFC 1071, RFC 1624).
 *
 * Checksums of what is read aren't verified: what comes through the tunnel was protected there, and
 * what comes from a device may not have them yet. Whoever wants to asks ip_checksum_ok().
 */
#ifndef DAEMON_WIRE_IP_H
#define DAEMON_WIRE_IP_H

#include "util/addr.h"
#include "util/packer.h"

#define IP4_HEAD_LEN 20
#define IP6_HEAD_LEN 40
#define IP_HEAD_MAX  IP6_HEAD_LEN /* that we write */
#define IP6_MTU_MIN  1280         /* RFC 8200 §5 */

enum ip_protocol : uint8_t {
	IP_PROTOCOL_HOP_BY_HOP = 0, /* IPv6 */
	IP_PROTOCOL_ICMP4 = 1,
	IP_PROTOCOL_TCP = 6,
	IP_PROTOCOL_UDP = 17,
	IP_PROTOCOL_FRAGMENT = 44, /* IPv6: the payload begins with a fragment header */
	IP_PROTOCOL_ICMP6 = 58,
};

/* A packet that was read; spans are borrowed from it. */
struct ip_packet {
	struct ip_addr src;
	struct ip_addr dst;
	enum ip_protocol protocol; /* of the payload; any value can arrive */
	uint8_t ttl;               /* IPv6: hop limit */
	uint8_t tos;               /* IPv6: traffic class */
	bool dont_fragment;        /* IPv6: always */
	uint16_t id;               /* IPv4 */
	uint32_t flow_label;       /* IPv6 */
	bool is_fragment;          /* the payload is a piece */
	uint16_t fragment_offset;  /* bytes; 0 in the first piece */
	struct span header;        /* with options; IPv6: with hop-by-hop options */
	struct span payload;       /* as long as the header says, or as there are bytes */
	struct span whole;         /* as it came, bytes behind its end included */
};

/* What a header that we write says besides its lengths. Both addresses are of one family. */
struct ip_head {
	struct ip_addr src;
	struct ip_addr dst;
	enum ip_protocol protocol;
	uint8_t ttl;
	uint8_t tos;
	bool dont_fragment;
	uint16_t id;         /* IPv4 */
	uint32_t flow_label; /* IPv6; 20 bits */
};

/*
 * Reads one packet. Its length field may promise more than there is (a quoted packet), and 0 in
 * IPv4 means all there is. Options have to be well formed. Of IPv6 extension headers one of
 * hop-by-hop options is skipped; any other is the payload.
 *
 * Returns 0, -ENODATA cut short within a header, -EBADMSG malformed.
 */
[[nodiscard]] int ip_read(struct span in, struct ip_packet *ret);
/* The checksum of the header: always true in IPv6, which has none. */
bool ip_checksum_ok(const struct ip_packet *p);
/*
 * May this packet be answered with an ICMP error? No error about an ICMP error, to or about several
 * hosts, to a loopback address, or about later fragments (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e).
 * is_too_big: with the error "packet too big", which IPv6 allows for multicast too.
 */
bool ip_may_report(const struct ip_packet *p, bool is_too_big);

/*
 * Appends a header without options for a payload of this many bytes. 0, -ENOBUFS, -EMSGSIZE over
 * 65535 bytes (IPv6: of payload), -EINVAL other than two addresses of one family.
 */
[[nodiscard]] int ip_head_write(struct packer *p, const struct ip_head *h, size_t payload_len);
/* Length of that header: 20, 40, or 0 without a family. */
size_t ip_head_len(enum ip_family family);

/*
 * Changes a packet that ip_read() has accepted, in place; checksums follow by difference, so that a
 * wrong one stays wrong. Not for a packet whose checksum a device was to complete.
 */
/* One hop less; the packet must have a TTL over 0. */
void ip_decrement_ttl(uint8_t *packet);
/*
 * Other addresses (NULL: as it is); UDP, TCP and ICMPv6 know them too. 0, -EINVAL another family,
 * -EBADMSG also behind IPv6 extension headers, fragments among them.
 */
[[nodiscard]] int ip_readdress(uint8_t *packet, size_t len, const struct ip_addr *src,
			       const struct ip_addr *dst);

/*
 * Sums of 16-bit big-endian words (RFC 1071), to be folded at the end. Every span but the last has
 * an even length.
 */
uint64_t ip_sum(uint64_t sum, struct span s);
/* The pseudo-header: addresses, protocol, length of what follows (RFC 9293 §3.1, RFC 8200 §8.1). */
uint64_t ip_sum_pseudo(const struct ip_addr *src, const struct ip_addr *dst,
		       enum ip_protocol protocol, size_t len);
/* The 16-bit sum, which isn't a checksum before it is inverted. */
uint16_t ip_sum_fold(uint64_t sum);
/* A checksum after bytes under it changed; both spans of the same, even length (RFC 1624). */
uint16_t ip_checksum_update(uint16_t checksum, struct span before, struct span after);

#endif
