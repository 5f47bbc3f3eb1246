/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64, strict: one text for one run of bytes and nothing else, so that a token can't be written
 * in two ways.
 */
#include "daemon/wire/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct packer *p, struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
		uint32_t v = (uint32_t)bytes.ptr[i] << 16;
		if (have > 1)
			v |= (uint32_t)bytes.ptr[i + 1] << 8;
		if (have > 2)
			v |= bytes.ptr[i + 2];
		packer_u8(p, (uint8_t)alphabet[v >> 18]);
		packer_u8(p, (uint8_t)alphabet[v >> 12 & 63]);
		packer_u8(p, have > 1 ? (uint8_t)alphabet[v >> 6 & 63] : '=');
		packer_u8(p, have > 2 ? (uint8_t)alphabet[v & 63] : '=');
	}
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
