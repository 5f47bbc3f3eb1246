/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QUIC variable-length integers (RFC 9000 §16).
 */
#ifndef INCLUDE_UTIL_VARINT_H
#define INCLUDE_UTIL_VARINT_H

#include "util/cursor.h"
#include "util/packer.h"

#define VARINT_MAX ((UINT64_C(1) << 62) - 1)

static inline uint64_t cursor_varint(struct cursor *c)
{
	uint8_t first = cursor_u8(c);
	uint64_t v = first & 0x3f;
	for (unsigned int more = (1U << (first >> 6)) - 1; more > 0; more--)
		v = v << 8 | cursor_u8(c);
	return c->error ? 0 : v;
}

/* Length in bytes of v as a varint; v must not exceed VARINT_MAX. */
static inline size_t varint_len(uint64_t v)
{
	return v < 0x40 ? 1 : v < 0x4000 ? 2 : v < 0x40000000 ? 4 : 8;
}

static inline void packer_varint(struct packer *p, uint64_t v)
{
	switch (v > VARINT_MAX ? 0 : varint_len(v)) {
	case 1:
		packer_u8(p, (uint8_t)v);
		break;
	case 2:
		packer_be16(p, (uint16_t)(v | 0x4000));
		break;
	case 4:
		packer_be32(p, (uint32_t)(v | 0x80000000));
		break;
	case 8:
		packer_be64(p, v | UINT64_C(0xc000000000000000));
		break;
	default:
		p->error = -ENOBUFS;
	}
}

#endif
