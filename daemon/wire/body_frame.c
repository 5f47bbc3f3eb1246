/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of a body between our own ends. A name in upper case is malformed, so that there is one
 * spelling of each message.
 */
#include "daemon/wire/body_frame.h"

#include <errno.h>

#include "util/cursor.h"
#include "util/varint.h"

int body_frame_head_decode(struct span in, uint64_t *ret_type, uint64_t *ret_len)
{
	struct cursor c = cursor_over(in);
	uint64_t type = cursor_varint(&c);
	uint64_t len = cursor_varint(&c);
	if (c.error)
		return -ENODATA;
	*ret_type = type;
	*ret_len = len;
	return (int)(in.len - cursor_left(&c));
}

void body_frame_head_encode(struct packer *p, enum body_frame_type type, uint64_t len)
{
	packer_varint(p, type);
	packer_varint(p, len);
}

static struct span text(struct cursor *c)
{
	uint64_t len = cursor_varint(c);
	if (len > cursor_left(c)) {
		cursor_fail(c, -ENODATA);
		return span_of(NULL, 0);
	}
	return cursor_bytes(c, (size_t)len);
}

static bool is_lower(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		if (span_lower_byte(name.ptr[i]) != name.ptr[i])
			return false;
	return true;
}

int body_trailers_decode(struct span payload, struct http_field *fields, unsigned int max,
			 unsigned int *ret_count)
{
	struct cursor c = cursor_over(payload);
	unsigned int count = 0;
	while (!c.error && cursor_left(&c)) {
		struct http_field f = { .name = text(&c) };
		f.value = text(&c);
		if (c.error || !http_token_is_valid(f.name) || !is_lower(f.name) ||
		    !http_value_is_valid(f.value))
			return -EBADMSG;
		if (count == max)
			return -E2BIG;
		fields[count++] = f;
	}
	if (c.error)
		return -EBADMSG;
	*ret_count = count;
	return 0;
}

size_t body_trailers_len(const struct http_field *fields, unsigned int count)
{
	size_t len = 0;
	for (unsigned int i = 0; i < count; i++) {
		len += varint_len(fields[i].name.len) + fields[i].name.len;
		len += varint_len(fields[i].value.len) + fields[i].value.len;
	}
	return len;
}

void body_trailers_encode(struct packer *p, const struct http_field *fields, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		packer_varint(p, fields[i].name.len);
		http_name_lower(p, fields[i].name);
		packer_varint(p, fields[i].value.len);
		packer_bytes(p, fields[i].value);
	}
}

int body_abort_decode(struct span payload, uint64_t *ret_reason)
{
	struct cursor c = cursor_over(payload);
	uint64_t reason = cursor_varint(&c);
	if (cursor_finish(&c) < 0)
		return -EBADMSG;
	*ret_reason = reason;
	return 0;
}
