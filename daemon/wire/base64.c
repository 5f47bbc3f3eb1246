/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64, strict: one text for one run of bytes and nothing else, so that a token can't be written
 * in two ways. The raw form is as strict as its peers allow.
 */
#include "daemon/wire/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Up to three bytes to as many characters as they need. Returns how many those are. */
static size_t encode_group(struct packer *p, struct span bytes)
{
	size_t count = bytes.len < 3 ? bytes.len + 1 : 4;
	uint32_t v = 0;
	for (size_t i = 0; i < 3; i++)
		v = v << 8 | (i < bytes.len ? bytes.ptr[i] : 0);
	for (size_t i = 0; i < count; i++)
		packer_u8(p, (uint8_t)alphabet[v >> (18 - 6 * i) & 63]);
	return count;
}

void base64_encode(struct packer *p, struct span bytes)
{
	for (; bytes.len > 0; bytes = span_skip(bytes, 3))
		for (size_t n = encode_group(p, bytes); n < 4; n++)
			packer_u8(p, '=');
}

void base64_raw_encode(struct packer *p, struct span bytes)
{
	for (; bytes.len > 0; bytes = span_skip(bytes, 3))
		encode_group(p, bytes);
}

static int value_of(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -EBADMSG;
}

/* Four characters, the last ones perhaps padding, to 24 bits. Returns the count of bytes in them.
 */
static int decode_group(const uint8_t *text, bool is_last, uint32_t *ret)
{
	int padding = is_last && text[3] == '=' ? 1 + (text[2] == '=') : 0;
	uint32_t v = 0;
	for (int i = 0; i < 4; i++) {
		int c = i < 4 - padding ? value_of(text[i]) : 0;
		if (c < 0)
			return c;
		v = v << 6 | (uint32_t)c;
	}
	/* Bits of the last character that belong to no byte. */
	if (v & ((UINT32_C(1) << (8 * padding)) - 1))
		return -EBADMSG;
	*ret = v;
	return 3 - padding;
}

int base64_decode(struct span text, struct packer *p)
{
	if (text.len % 4 != 0)
		return -EBADMSG;

	struct packer out = *p;
	for (size_t i = 0; i < text.len; i += 4) {
		uint32_t v = 0;
		int len = decode_group(text.ptr + i, i + 4 == text.len, &v);
		if (len < 0)
			return len;
		for (int k = 0; k < len && k < 3; k++)
			packer_u8(&out, (uint8_t)(v >> (16 - 8 * k)));
	}

	int r = packer_finish(&out);
	if (r < 0)
		return r;
	*p = out;
	return 0;
}

int base64_raw_decode(struct span text, struct packer *p)
{
	if (text.len % 4 == 1)
		return -EBADMSG;

	struct packer out = *p;
	for (; text.len > 0; text = span_skip(text, 4)) {
		size_t count = text.len < 4 ? text.len : 4;
		uint32_t v = 0;
		for (size_t i = 0; i < 4; i++) {
			int c = i < count ? value_of(text.ptr[i]) : 0;
			if (c < 0)
				return c;
			v = v << 6 | (uint32_t)c;
		}
		for (size_t i = 0; i + 1 < count; i++)
			packer_u8(&out, (uint8_t)(v >> (16 - 8 * i)));
	}

	int r = packer_finish(&out);
	if (r < 0)
		return r;
	*p = out;
	return 0;
}
