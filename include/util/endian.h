/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unaligned loads and stores in a stated byte order.
 */
#ifndef INCLUDE_UTIL_ENDIAN_H
#define INCLUDE_UTIL_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define ENDIAN_LOAD(name, type, conv)                    \
	static inline type load_##name(const uint8_t *p) \
	{                                                \
		type v;                                  \
		memcpy(&v, p, sizeof(v));                \
		return conv(v);                          \
	}
#define ENDIAN_STORE(name, type, conv)                      \
	static inline void store_##name(uint8_t *p, type v) \
	{                                                   \
		v = conv(v);                                \
		memcpy(p, &v, sizeof(v));                   \
	}

ENDIAN_LOAD(be16, uint16_t, be16toh)
ENDIAN_LOAD(be32, uint32_t, be32toh)
ENDIAN_LOAD(be64, uint64_t, be64toh)
ENDIAN_LOAD(le16, uint16_t, le16toh)
ENDIAN_LOAD(le32, uint32_t, le32toh)
ENDIAN_LOAD(le64, uint64_t, le64toh)
ENDIAN_STORE(be16, uint16_t, htobe16)
ENDIAN_STORE(be32, uint32_t, htobe32)
ENDIAN_STORE(be64, uint64_t, htobe64)
ENDIAN_STORE(le16, uint16_t, htole16)
ENDIAN_STORE(le32, uint32_t, htole32)
ENDIAN_STORE(le64, uint64_t, htole64)

#undef ENDIAN_LOAD
#undef ENDIAN_STORE

#endif
