/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded writer with a sticky error, the twin of the cursor: writes past the end change nothing
 * and set -ENOBUFS, which packer_finish() reports once.
 */
#ifndef INCLUDE_UTIL_PACKER_H
#define INCLUDE_UTIL_PACKER_H

#include <errno.h>

#include "util/endian.h"
#include "util/span.h"

struct packer {
	uint8_t *buf;
	size_t cap; /* bytes that buf can hold */
	size_t len; /* bytes written */
	int error;  /* 0 or -ENOBUFS */
};

static inline struct packer packer_over(void *buf, size_t cap)
{
	return (struct packer){ .buf = buf, .cap = cap };
}

/* Room for len more bytes, to be filled by the caller; NULL (and -ENOBUFS) when it doesn't fit. */
static inline uint8_t *packer_room(struct packer *p, size_t len)
{
	if (p->error || len > p->cap - p->len) {
		p->error = -ENOBUFS;
		return NULL;
	}
	uint8_t *at = p->buf + p->len;
	p->len += len;
	return at;
}

static inline void packer_bytes(struct packer *p, struct span s)
{
	uint8_t *at = packer_room(p, s.len);
	if (at && s.len)
		memcpy(at, s.ptr, s.len);
}

static inline void packer_str(struct packer *p, const char *s)
{
	packer_bytes(p, span_str(s));
}

static inline void packer_zero(struct packer *p, size_t len)
{
	uint8_t *at = packer_room(p, len);
	if (at && len)
		memset(at, 0, len);
}

static inline void packer_u8(struct packer *p, uint8_t v)
{
	uint8_t *at = packer_room(p, 1);
	if (at)
		*at = v;
}

#define PACKER_WRITE(name, type, size)                             \
	static inline void packer_##name(struct packer *p, type v) \
	{                                                          \
		uint8_t *at = packer_room(p, size);                \
		if (at)                                            \
			store_##name(at, v);                       \
	}
PACKER_WRITE(be16, uint16_t, 2)
PACKER_WRITE(be32, uint32_t, 4)
PACKER_WRITE(be64, uint64_t, 8)
PACKER_WRITE(le16, uint16_t, 2)
PACKER_WRITE(le32, uint32_t, 4)
PACKER_WRITE(le64, uint64_t, 8)
#undef PACKER_WRITE

static inline struct span packer_span(const struct packer *p)
{
	return span_of(p->buf, p->len);
}

/* 0, or -ENOBUFS when something didn't fit. */
[[nodiscard]] static inline int packer_finish(const struct packer *p)
{
	return p->error;
}

#endif
