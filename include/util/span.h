/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A span is a run of bytes that somebody else owns: pointer and length, no NUL at the end (style
 * T1).
 */
#ifndef INCLUDE_UTIL_SPAN_H
#define INCLUDE_UTIL_SPAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *ptr; /* borrowed; may be NULL when len is 0 */
	size_t len;         /* bytes */
};

/* A span over a string literal, without its NUL. */
#define SPAN_LIT(s) ((struct span){ .ptr = (const uint8_t *)("" s), .len = sizeof(s) - 1 })

static inline struct span span_of(const void *ptr, size_t len)
{
	return (struct span){ .ptr = ptr, .len = len };
}

/* Over a NUL-terminated string; NULL gives the empty span. */
static inline struct span span_str(const char *s)
{
	return (struct span){ .ptr = (const uint8_t *)s, .len = s ? strlen(s) : 0 };
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool span_eq_str(struct span a, const char *s)
{
	return span_eq(a, span_str(s));
}

static inline uint8_t span_lower_byte(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* Equal without regard to the case of ASCII letters. */
static inline bool span_eq_nocase(struct span a, struct span b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (span_lower_byte(a.ptr[i]) != span_lower_byte(b.ptr[i]))
			return false;
	return true;
}

static inline bool span_starts_with(struct span s, struct span prefix)
{
	return s.len >= prefix.len &&
	       (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool span_ends_with(struct span s, struct span suffix)
{
	return s.len >= suffix.len &&
	       (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

/* The part from offset from (clamped to the length). */
static inline struct span span_skip(struct span s, size_t from)
{
	size_t n = from < s.len ? from : s.len;
	return n ? (struct span){ .ptr = s.ptr + n, .len = s.len - n } : s; /* never NULL + 0 */
}

/* At most the first len bytes. */
static inline struct span span_first(struct span s, size_t len)
{
	return (struct span){ .ptr = s.ptr, .len = len < s.len ? len : s.len };
}

/* Index of the first byte c, or s.len when there is none. */
static inline size_t span_find(struct span s, uint8_t c)
{
	const uint8_t *p = s.len ? memchr(s.ptr, c, s.len) : NULL;
	return p ? (size_t)(p - s.ptr) : s.len;
}

/* Without blanks and tabs at both ends. */
static inline struct span span_trim(struct span s)
{
	while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
		s = span_skip(s, 1);
	while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
		s.len--;
	return s;
}

#endif
