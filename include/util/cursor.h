/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded reader with a sticky error: decoders are straight-line code and check once at the end
 * (style T4). After the first read past the end every read gives zero.
 */
#ifndef INCLUDE_UTIL_CURSOR_H
#define INCLUDE_UTIL_CURSOR_H

#include <errno.h>

#include "util/endian.h"
#include "util/span.h"

struct cursor {
	const uint8_t *pos;
	const uint8_t *end;
	int error; /* 0 or -ENODATA, -EBADMSG */
};

static inline struct cursor cursor_over(struct span in)
{
	return (struct cursor){ .pos = in.ptr, .end = in.ptr ? in.ptr + in.len : in.ptr };
}

static inline size_t cursor_left(const struct cursor *c)
{
	return c->error ? 0 : (size_t)(c->end - c->pos);
}

static inline void cursor_fail(struct cursor *c, int error)
{
	if (!c->error)
		c->error = error;
}

/* The next len bytes, borrowed from the input; NULL (and -ENODATA) when fewer are left. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t len)
{
	if (c->error || len > (size_t)(c->end - c->pos)) {
		cursor_fail(c, -ENODATA);
		return NULL;
	}
	const uint8_t *p = c->pos;
	if (len)
		c->pos += len;
	return p;
}

static inline struct span cursor_bytes(struct cursor *c, size_t len)
{
	const uint8_t *p = cursor_take(c, len);
	return span_of(p, p ? len : 0);
}

static inline struct span cursor_rest(struct cursor *c)
{
	return cursor_bytes(c, cursor_left(c));
}

static inline uint8_t cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 1);
	return p ? *p : 0;
}

#define CURSOR_READ(name, type, size)                      \
	static inline type cursor_##name(struct cursor *c) \
	{                                                  \
		const uint8_t *p = cursor_take(c, size);   \
		return p ? load_##name(p) : 0;             \
	}
CURSOR_READ(be16, uint16_t, 2)
CURSOR_READ(be32, uint32_t, 4)
CURSOR_READ(be64, uint64_t, 8)
CURSOR_READ(le16, uint16_t, 2)
CURSOR_READ(le32, uint32_t, 4)
CURSOR_READ(le64, uint64_t, 8)
#undef CURSOR_READ

/* 0 when everything was read, -ENODATA when it was cut short, -EBADMSG when bytes are left over. */
[[nodiscard]] static inline int cursor_finish(const struct cursor *c)
{
	if (c->error)
		return c->error;
	return c->pos == c->end ? 0 : -EBADMSG;
}

#endif
