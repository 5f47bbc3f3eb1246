/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hexadecimal digits.
 */
#include "daemon/wire/hex.h"

void hex_encode(struct packer *p, struct span bytes)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < bytes.len; i++) {
		packer_u8(p, (uint8_t)digits[bytes.ptr[i] >> 4]);
		packer_u8(p, (uint8_t)digits[bytes.ptr[i] & 15]);
	}
}

int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = span_lower_byte(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -EBADMSG;
}

int hex_decode(struct span text, struct packer *p)
{
	if (text.len % 2 != 0)
		return -EBADMSG;

	struct packer out = *p;
	for (size_t i = 0; i < text.len; i += 2) {
		int high = hex_digit(text.ptr[i]);
		int low = hex_digit(text.ptr[i + 1]);
		if (high < 0 || low < 0)
			return -EBADMSG;
		packer_u8(&out, (uint8_t)(high << 4 | low));
	}

	int r = packer_finish(&out);
	if (r < 0)
		return r;
	*p = out;
	return 0;
}
