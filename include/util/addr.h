/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses and ports as plain values; no names, no sockets.
 */
#ifndef INCLUDE_UTIL_ADDR_H
#define INCLUDE_UTIL_ADDR_H

#include <stdint.h>
#include <string.h>

#include "util/span.h"

enum ip_family : uint8_t {
	IP_FAMILY_NONE = 0,
	IP_FAMILY_V4 = 4,
	IP_FAMILY_V6 = 6,
};

/* One address, network byte order. IPv4 uses the first four bytes, the others are zero. */
struct ip_addr {
	enum ip_family family;
	uint8_t bytes[16];
};

/* An address with a UDP or TCP port. scope is the interface index of a link-local IPv6 address. */
struct ip_port {
	struct ip_addr ip;
	uint16_t port;
	uint32_t scope;
};

/* Bytes of an address of this family: 4, 16 or 0. */
static inline size_t ip_family_len(enum ip_family family)
{
	return family == IP_FAMILY_V4 ? 4 : family == IP_FAMILY_V6 ? 16 : 0;
}

static inline bool ip_addr_eq(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static inline bool ip_port_eq(const struct ip_port *a, const struct ip_port *b)
{
	return a->port == b->port && a->scope == b->scope && ip_addr_eq(&a->ip, &b->ip);
}

/* From its bytes in network order, as many as the family has. */
static inline struct ip_addr ip_addr_from(enum ip_family family, const void *bytes)
{
	struct ip_addr a = { .family = family };
	memcpy(a.bytes, bytes, ip_family_len(family));
	return a;
}

/* 127.0.0.0/8 or ::1. */
static inline bool ip_addr_is_loopback(const struct ip_addr *a)
{
	static const uint8_t v6[16] = { [15] = 1 };
	return a->family == IP_FAMILY_V4
		       ? a->bytes[0] == 127
		       : a->family == IP_FAMILY_V6 && memcmp(a->bytes, v6, 16) == 0;
}

static inline bool ip_addr_is_any(const struct ip_addr *a)
{
	static const uint8_t zero[16] = {};
	return memcmp(a->bytes, zero, 16) == 0;
}

/* Are the first bits of an address those of net? Of its family. */
static inline bool ip_addr_is_in(const struct ip_addr *a, const struct ip_addr *net,
				 unsigned int bits)
{
	size_t whole = bits / 8;
	uint8_t mask = (uint8_t)(0xff00U >> bits % 8);
	return a->family == net->family && memcmp(a->bytes, net->bytes, whole) == 0 &&
	       (mask == 0 || ((a->bytes[whole] ^ net->bytes[whole]) & mask) == 0);
}

/* The 16-byte form: IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2). */
static inline void ip_addr_to_mapped(const struct ip_addr *a, uint8_t ret[16])
{
	memset(ret, 0, 16);
	if (a->family == IP_FAMILY_V4) {
		ret[10] = ret[11] = 0xff;
		memcpy(ret + 12, a->bytes, 4);
	} else {
		memcpy(ret, a->bytes, 16);
	}
}

/* IPv4-mapped IPv6 as the IPv4 address that it means; everything else unchanged. */
static inline struct ip_addr ip_addr_unmap(struct ip_addr a)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };
	if (a.family != IP_FAMILY_V6 || memcmp(a.bytes, prefix, 12) != 0)
		return a;
	return ip_addr_from(IP_FAMILY_V4, a.bytes + 12);
}

#endif
