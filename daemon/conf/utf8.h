/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 as RFC 3629 §4 has it: no overlong forms, no surrogates, nothing over U+10FFFF.
 */
#ifndef DAEMON_CONF_UTF8_H
#define DAEMON_CONF_UTF8_H

#include "util/span.h"

constexpr uint32_t UTF8_MAX = 0x10ffff;

/* Length of the character at the front of s, 1 to 4; 0: there is none. *ret_code may be NULL. */
static inline size_t utf8_next(struct span s, uint32_t *ret_code)
{
	static const uint8_t first_bits[5] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	static const uint32_t smallest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	if (s.len == 0)
		return 0;
	uint8_t c = s.ptr[0];
	size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
	if (len == 0 || len > s.len)
		return 0;

	uint32_t code = c & first_bits[len];
	for (size_t i = 1; i < len; i++) {
		if ((s.ptr[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s.ptr[i] & 0x3f);
	}
	if (code < smallest[len] || code > UTF8_MAX || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	if (ret_code)
		*ret_code = code;
	return len;
}

/* Bytes at the front that are UTF-8; s.len when all are. */
static inline size_t utf8_valid_len(struct span s)
{
	size_t at = 0;
	for (size_t n = 1; at < s.len && n > 0; at += n)
		n = utf8_next(span_skip(s, at), NULL);
	return at;
}

#endif
