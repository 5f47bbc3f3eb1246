/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session datagrams of version 3: a type, then fixed fields, then what they carry
 * (docs/protocol.md §11.2).
 *
 * X_read() reads one whole datagram of type X; spans are borrowed from it. X_write() appends one.
 * Errors of all: -ENODATA cut short, -EBADMSG another type, -EMSGSIZE more than may be carried,
 * -ENOBUFS no room in the packer.
 */
#ifndef DAEMON_WIRE_DGRAM_V3_H
#define DAEMON_WIRE_DGRAM_V3_H

#include "daemon/wire/dgram.h"
#include "util/addr.h"

/* Bytes before the payload, before a packet, before the text of a response. */
#define DGRAM3_PAYLOAD_HEAD  (1 + DGRAM_ID_LEN)
#define DGRAM3_ICMP_HEAD     1
#define DGRAM3_RESPONSE_HEAD (2 + DGRAM_ID_LEN + 2)
/* A registration without payload and without address. */
#define DGRAM3_REGISTER_HEAD (6 + DGRAM_ID_LEN)
/* The longest IP packet, response text and registration that we send. */
#define DGRAM3_PACKET_MAX   1280
#define DGRAM3_TEXT_MAX     1260
#define DGRAM3_REGISTER_MAX 1280
/* The longest datagram of any type between our own ends. */
#define DGRAM3_MAX (DGRAM3_PAYLOAD_HEAD + DGRAM_PAYLOAD_MAX_ADIT)

enum dgram3_type : uint8_t {
	DGRAM3_TYPE_REGISTER = 0x00, /* edge to daemon */
	DGRAM3_TYPE_PAYLOAD = 0x01,  /* both ways */
	DGRAM3_TYPE_ICMP = 0x02,     /* both ways */
	DGRAM3_TYPE_RESPONSE = 0x03, /* daemon to edge */
};

/* Any other value is a failure as well. */
enum dgram3_code : uint8_t {
	DGRAM3_CODE_OK = 0x00, /* created, there already, or moved to this connection */
	DGRAM3_CODE_UNREACHABLE = 0x01,
	DGRAM3_CODE_NO_SOCKET = 0x02, /* the socket to the destination could not be opened */
	DGRAM3_CODE_TOO_MANY = 0x03,
	DGRAM3_CODE_OTHER = 0xff, /* see the text */
};

struct dgram3_register {
	struct dgram_id id;
	struct ip_port dest; /* an IPv4-mapped address stays as it came: ip_addr_unmap() */
	uint16_t idle_sec;   /* see dgram3_idle(); 0 = the daemon's default */
	bool is_traced;
	struct span payload; /* the flow's first datagram; len 0: there is none */
};

struct dgram3_payload {
	struct dgram_id id;
	struct span payload; /* empty is legal: an empty UDP datagram */
};

struct dgram3_response {
	struct dgram_id id;
	enum dgram3_code code;
	struct span text; /* any bytes */
};

/* What is it? 0; -ENODATA for no bytes at all, -EBADMSG for a type that does not exist. */
[[nodiscard]] int dgram3_type(struct span in, enum dgram3_type *ret);

/*
 * Undefined flags and bytes behind the address that no flag announces are ignored; the payload has
 * no upper bound of its own. Anything shorter than its header is -ENODATA.
 */
[[nodiscard]] int dgram3_register_read(struct span in, struct dgram3_register *ret);
/* The whole datagram stays within DGRAM3_REGISTER_MAX, else -EMSGSIZE. -EINVAL: no address. */
[[nodiscard]] int dgram3_register_write(struct packer *p, const struct dgram3_register *r);
/* Longest payload that a registration towards this kind of address takes. */
size_t dgram3_bundle_max(enum ip_family family);
/* The hint on the wire: whole seconds, at least 1 and at most 65535; 0 stays 0. */
uint16_t dgram3_idle_sec(nsec_t idle);
/* What a hint means: seconds, or the default. */
nsec_t dgram3_idle(uint16_t idle_sec);

/* The longest payload that may be exchanged with a peer; what fits, its connection knows. */
static inline size_t dgram3_payload_max(bool is_ours)
{
	return is_ours ? DGRAM_PAYLOAD_MAX_ADIT : DGRAM_PAYLOAD_MAX;
}
/* max: dgram3_payload_max() of this peer. */
[[nodiscard]] int dgram3_payload_read(struct span in, size_t max, struct dgram3_payload *ret);
[[nodiscard]] int dgram3_payload_write(struct packer *p, const struct dgram3_payload *d,
				       size_t max);
/* Only what stands before the payload, for a buffer that holds it already. */
void dgram3_payload_head(const struct dgram_id *id, uint8_t ret[DGRAM3_PAYLOAD_HEAD]);

/* One IP packet, 1 to DGRAM3_PACKET_MAX bytes; its content isn't looked at. */
[[nodiscard]] int dgram3_icmp_read(struct span in, struct span *ret_packet);
[[nodiscard]] int dgram3_icmp_write(struct packer *p, struct span packet);

/* The text ends where its length says; what is behind it is ignored. */
[[nodiscard]] int dgram3_response_read(struct span in, struct dgram3_response *ret);
[[nodiscard]] int dgram3_response_write(struct packer *p, const struct dgram3_response *r);

#endif
