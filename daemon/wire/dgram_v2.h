/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session datagrams of version 2: content first, what it belongs to behind it, the type as the last
 * byte (docs/protocol.md §11.3). Sessions are made and ended by calls: dgram_v2_call.h.
 */
#ifndef DAEMON_WIRE_DGRAM_V2_H
#define DAEMON_WIRE_DGRAM_V2_H

#include "daemon/wire/dgram.h"
#include "daemon/wire/trace.h"

/* Bytes behind a UDP payload, behind an IP packet, behind what is traced. */
#define DGRAM2_PAYLOAD_TAIL (DGRAM_ID_LEN + 1)
#define DGRAM2_PACKET_TAIL  1
#define DGRAM2_TRACE_TAIL   (TRACE_LEN + 1)
/* The longest datagram with a packet or spans that we send. */
#define DGRAM2_PACKET_MAX 1350

enum dgram2_type : uint8_t {
	DGRAM2_TYPE_PAYLOAD = 0x00, /* both ways */
	DGRAM2_TYPE_PACKET = 0x01,  /* both ways */
	DGRAM2_TYPE_TRACED = 0x02,  /* edge to daemon: a packet with its trace */
	DGRAM2_TYPE_SPANS = 0x03,   /* daemon to edge: OTLP; never to a daemon */
};

struct dgram2 {
	enum dgram2_type type;
	struct span content; /* UDP payload, IP packet or spans; any of them may be empty */
	struct dgram_id id;  /* PAYLOAD */
	struct trace trace;  /* TRACED, SPANS */
};

/*
 * Reads one whole datagram; content is borrowed from it and has no upper bound of its own.
 * 0, -ENODATA cut short, -EBADMSG no such type.
 */
[[nodiscard]] int dgram2_read(struct span in, struct dgram2 *ret);
/*
 * Appends one. 0, -ENOBUFS, or -EMSGSIZE: a payload over DGRAM_PAYLOAD_MAX, anything else that
 * makes more than DGRAM2_PACKET_MAX bytes.
 */
[[nodiscard]] int dgram2_write(struct packer *p, const struct dgram2 *d);
/* Only what stands behind a payload, for a buffer that holds it already. */
void dgram2_payload_tail(const struct dgram_id *id, uint8_t ret[DGRAM2_PAYLOAD_TAIL]);
/* Longest content of this type that dgram2_write() takes. */
size_t dgram2_content_max(enum dgram2_type type);

#endif
