/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP messages of both families: echo, and errors with the packet that they are about
 * (docs/protocol.md §12.2; RFC 792, RFC 1191, RFC 4443). Checksums of what is read aren't
 * verified (daemon/wire/ip.h).
 */
#ifndef DAEMON_WIRE_ICMP_H
#define DAEMON_WIRE_ICMP_H

#include "daemon/wire/ip.h"

#define ICMP_HEAD_LEN 8
/* Most of a packet that an error quotes: errors have at most 576 and 1280 bytes. */
#define ICMP_QUOTE_MAX_V4 548
#define ICMP_QUOTE_MAX_V6 1232
#define ICMP_ERROR_MAX    1280
#define ICMP_TTL          255 /* of what we make ourselves */

/* What a message is, whatever number its family has for it. */
enum icmp_kind : uint8_t {
	ICMP_KIND_OTHER, /* information, or unknown */
	ICMP_KIND_ECHO_REQUEST,
	ICMP_KIND_ECHO_REPLY,
	ICMP_KIND_UNREACHABLE,   /* code says what is */
	ICMP_KIND_TOO_BIG,       /* IPv4: unreachable, fragmentation needed */
	ICMP_KIND_TIME_EXCEEDED, /* code 0: TTL, 1: reassembly */
	ICMP_KIND_BAD_PARAMETER,
};

/* Codes of UNREACHABLE that we make; the numbers of the families differ. */
enum icmp_unreachable : uint8_t {
	ICMP_UNREACHABLE_NET,
	ICMP_UNREACHABLE_HOST,
	ICMP_UNREACHABLE_PORT,
	ICMP_UNREACHABLE_PROHIBITED, /* by policy */
};

/* A message that was read; spans are borrowed from the packet. */
struct icmp_message {
	enum icmp_kind kind;
	uint8_t type;
	uint8_t code;
	uint16_t checksum;
	uint16_t id;      /* echo */
	uint16_t seq;     /* echo */
	uint32_t mtu;     /* TOO_BIG: bytes; 0 from routers that don't say */
	struct span data; /* echo: its data; errors: the quote; OTHER: all behind the checksum */
};

/* An echo that we write. */
struct icmp_echo {
	struct ip_addr src;
	struct ip_addr dst;
	uint8_t ttl;
	bool is_reply;
	uint8_t code;
	uint16_t id;
	uint16_t seq;
	struct span data;
};

/* An error that we write. */
struct icmp_error {
	struct ip_addr src;  /* who says so */
	struct ip_addr dst;  /* source of the packet that is quoted */
	enum icmp_kind kind; /* UNREACHABLE to BAD_PARAMETER */
	uint8_t code;        /* of the family; not of TOO_BIG */
	uint32_t mtu;        /* TOO_BIG: bytes; BAD_PARAMETER: where, as the family has it */
	struct span quote;   /* the packet as it came; is cut to what an error may have */
};

/* The echo request that an error came back for, as its sender knows it. */
struct icmp_requote {
	struct ip_addr src; /* of the sender */
	struct ip_addr dst;
	uint16_t id;
	uint16_t seq;
	uint16_t checksum;
	uint8_t ttl;
	uint8_t tos;
	bool dont_fragment;
	uint16_t ip_id;      /* IPv4 */
	uint32_t flow_label; /* IPv6 */
	size_t len; /* of the whole message; 0: not known, then as long as what is quoted */
};

/*
 * Reads the message in a packet, whole or quoted. 0, -ENODATA shorter than 8 bytes (IPv6, OTHER:
 * than 4), -EBADMSG a fragment, another protocol, or ICMP of the other family.
 */
[[nodiscard]] int icmp_read(const struct ip_packet *p, struct icmp_message *ret);
/* The checksum of a whole message; not for quotes, which may be cut. */
bool icmp_checksum_ok(const struct ip_packet *p);
/* What a type (and code) of a family is, for what comes without a packet: error queues. */
enum icmp_kind icmp_kind_of(enum ip_family family, uint8_t type, uint8_t code);
static inline bool icmp_kind_is_error(enum icmp_kind kind)
{
	return kind >= ICMP_KIND_UNREACHABLE;
}
/* The code of a family for what can't be reached. */
uint8_t icmp_unreachable_code(enum ip_family family, enum icmp_unreachable what);
/*
 * The error about a packet for whose kind there is room of mtu bytes; its source and quote aren't
 * set. False: its sender lets it be cut, and isn't told, for nothing here could.
 */
[[nodiscard]] bool icmp_too_big(const struct ip_packet *p, size_t mtu, struct icmp_error *ret);

/*
 * Is it an answer to a question that can be asked of a host: an echo reply and its like? What isn't
 * an error and isn't that is a question, or speaks for a router.
 */
bool icmp_is_answer(enum ip_family family, uint8_t type);
/*
 * ip_readdress() for a whole ICMP packet: in what an error quotes, source and destination change
 * the other way round, where they are those that change outside. 0 or what ip_readdress() said.
 */
[[nodiscard]] int icmp_readdress(uint8_t *packet, size_t len, const struct ip_addr *src,
				 const struct ip_addr *dst);

/*
 * Writers append one packet: 0, -ENOBUFS, -EMSGSIZE over what IP can carry, -EINVAL addresses of
 * two families or none, or a kind that isn't an error.
 */
[[nodiscard]] int icmp_echo_write(struct packer *p, const struct icmp_echo *e);
/* The same without the IP header: what an ICMP socket takes. */
[[nodiscard]] int icmp_echo_write_message(struct packer *p, const struct icmp_echo *e);
[[nodiscard]] int icmp_error_write(struct packer *p, const struct icmp_error *e);
/*
 * The quote for such an error when we had sent the echo with another source, id and sequence
 * number: an IP header, then message, the beginning of what we sent (ICMP_HEAD_LEN bytes at least,
 * else -ENODATA), as its sender made it.
 */
[[nodiscard]] int icmp_requote_write(struct packer *p, const struct icmp_requote *q,
				     struct span message);

#endif
