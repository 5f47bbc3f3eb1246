/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDs: text to bytes and back. Only the canonical form is read, no braces, no "urn:uuid:".
 */
#include "daemon/wire/uuid.h"

#include "daemon/wire/hex.h"

/* Hyphens stand before these bytes. */
static bool has_hyphen_before(size_t byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

int uuid_parse(struct span text, struct uuid *ret)
{
	if (text.len != UUID_TEXT_LEN)
		return -EBADMSG;

	struct uuid u;
	const uint8_t *t = text.ptr;
	for (size_t i = 0; i < UUID_LEN; i++) {
		if (has_hyphen_before(i) && *t++ != '-')
			return -EBADMSG;
		int high = hex_digit(*t++);
		int low = hex_digit(*t++);
		if (high < 0 || low < 0)
			return -EBADMSG;
		u.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*ret = u;
	return 0;
}

int uuid_from_span(struct span bytes, struct uuid *ret)
{
	if (bytes.len != UUID_LEN)
		return -EBADMSG;
	memcpy(ret->bytes, bytes.ptr, UUID_LEN);
	return 0;
}

void uuid_format(const struct uuid *u, char ret[UUID_TEXT_LEN + 1])
{
	struct packer p = packer_over(ret, UUID_TEXT_LEN + 1);
	for (size_t i = 0; i < UUID_LEN; i++) {
		if (has_hyphen_before(i))
			packer_u8(&p, '-');
		hex_encode(&p, span_of(u->bytes + i, 1));
	}
	packer_u8(&p, 0);
}

void uuid_make_v4(struct uuid *u)
{
	u->bytes[6] = (uint8_t)((u->bytes[6] & 0x0f) | 0x40);
	u->bytes[8] = (uint8_t)((u->bytes[8] & 0x3f) | 0x80);
}
