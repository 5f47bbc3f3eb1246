/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDs: 16 bytes in the order of their text (RFC 9562 §4).
 */
#ifndef DAEMON_WIRE_UUID_H
#define DAEMON_WIRE_UUID_H

#include "util/span.h"

#define UUID_LEN      16
#define UUID_TEXT_LEN 36

struct uuid {
	uint8_t bytes[UUID_LEN];
};

/* Reads 8-4-4-4-12 hexadecimal digits of either case. 0 or -EBADMSG. */
[[nodiscard]] int uuid_parse(struct span text, struct uuid *ret);
/* From exactly 16 raw bytes. 0 or -EBADMSG. */
[[nodiscard]] int uuid_from_span(struct span bytes, struct uuid *ret);
/* Lower-case text with a NUL. */
void uuid_format(const struct uuid *u, char ret[UUID_TEXT_LEN + 1]);
/* Turns 16 random bytes into a version 4 UUID. */
void uuid_make_v4(struct uuid *u);

static inline struct span uuid_span(const struct uuid *u)
{
	return span_of(u->bytes, UUID_LEN);
}

static inline bool uuid_eq(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->bytes, b->bytes, UUID_LEN) == 0;
}

#endif
