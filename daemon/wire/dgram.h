/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both versions of session datagrams share: ids and sizes (docs/protocol.md §11).
 */
#ifndef DAEMON_WIRE_DGRAM_H
#define DAEMON_WIRE_DGRAM_H

#include <errno.h>

#include "daemon/wire/hex.h"
#include "util/time.h"

#define DGRAM_ID_LEN      16
#define DGRAM_ID_TEXT_LEN 32
/* UDP payload of one datagram, towards every peer and between our own ends. */
#define DGRAM_PAYLOAD_MAX      1280
#define DGRAM_PAYLOAD_MAX_ADIT 1380
/* How long a flow may be silent when the edge names no time. */
#define DGRAM_IDLE_DEFAULT (210 * NSEC_PER_SEC)

/* Request id of a v3 flow or session id of v2: opaque, chosen by the edge. */
struct dgram_id {
	uint8_t bytes[DGRAM_ID_LEN];
};

static_assert(sizeof(struct dgram_id) == DGRAM_ID_LEN);

static inline bool dgram_id_eq(const struct dgram_id *a, const struct dgram_id *b)
{
	return memcmp(a->bytes, b->bytes, DGRAM_ID_LEN) == 0;
}

static inline struct span dgram_id_span(const struct dgram_id *id)
{
	return span_of(id->bytes, DGRAM_ID_LEN);
}

/* From exactly 16 bytes. 0 or -EBADMSG. */
[[nodiscard]] static inline int dgram_id_read(struct span in, struct dgram_id *ret)
{
	if (in.len != DGRAM_ID_LEN)
		return -EBADMSG;
	memcpy(ret->bytes, in.ptr, DGRAM_ID_LEN);
	return 0;
}

/* As logs show it: lower-case digits without dashes, and a NUL. */
static inline void dgram_id_format(const struct dgram_id *id, char ret[DGRAM_ID_TEXT_LEN + 1])
{
	struct packer p = packer_over(ret, DGRAM_ID_TEXT_LEN);
	hex_encode(&p, dgram_id_span(id));
	ret[DGRAM_ID_TEXT_LEN] = '\0';
}

#endif
