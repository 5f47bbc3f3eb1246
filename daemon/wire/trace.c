/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose trace something belongs to, in bytes and in text.
 */
#include "daemon/wire/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "daemon/wire/hex.h"
#include "util/endian.h"

enum { ID, SPAN, PARENT, FLAGS, PARTS };

static_assert(sizeof(struct trace) == TRACE_LEN);

int trace_read(struct span in, struct trace *ret)
{
	if (in.len != TRACE_LEN)
		return -EBADMSG;
	memcpy(ret, in.ptr, TRACE_LEN);
	return 0;
}

void trace_write(struct packer *p, const struct trace *t)
{
	packer_bytes(p, span_of(t, TRACE_LEN));
}

/* Digits as a big-endian number of len bytes. */
static int read_number(struct span digits, uint8_t *ret, size_t len)
{
	uint8_t bytes[TRACE_ID_LEN] = {};
	if (digits.len == 0 || digits.len > 2 * len)
		return -EBADMSG;
	for (size_t i = 0; i < digits.len; i++) {
		int v = hex_digit(digits.ptr[digits.len - 1 - i]);
		if (v < 0)
			return v;
		bytes[len - 1 - i / 2] |= (uint8_t)(i % 2 ? v << 4 : v);
	}
	memcpy(ret, bytes, len);
	return 0;
}

int trace_parse(struct span text, struct trace *ret)
{
	struct span parts[PARTS];
	struct trace t = {};
	for (unsigned int i = 0; i < PARTS; i++) {
		size_t len = span_find(text, ':');
		if ((len == text.len) != (i == PARTS - 1))
			return -EBADMSG;
		parts[i] = span_first(text, len);
		text = span_skip(text, len + 1);
	}
	if (read_number(parts[ID], t.id, sizeof(t.id)) < 0 ||
	    read_number(parts[SPAN], t.span_id, sizeof(t.span_id)) < 0 ||
	    read_number(parts[FLAGS], &t.flags, sizeof(t.flags)) < 0)
		return -EBADMSG;
	*ret = t;
	return 0;
}

void trace_print(struct packer *p, const struct trace *t)
{
	char rest[TRACE_TEXT_MAX];
	hex_encode(p, span_of(t->id, sizeof(t->id)));
	int len = snprintf(rest, sizeof(rest), ":%" PRIx64 ":0:%x", load_be64(t->span_id),
			   (unsigned int)t->flags);
	packer_bytes(p, span_of(rest, (size_t)len));
}
