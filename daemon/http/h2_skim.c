/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Only lengths are read: which representation it is, where its strings end. A replaced string keeps
 * the effect on the decoder's table, because what doesn't fit in empties it, whatever it is.
 */
#include "daemon/http/h2_skim.h"

#include <errno.h>
#include <stdlib.h>

#include "util/macro.h"

enum {
	TYPE_HEADERS = 1, /* RFC 9113 §6 */
	TYPE_CONTINUATION = 9,
	FLAG_END_STREAM = 0x1,
	FLAG_END_HEADERS = 0x4,
	FLAG_PADDED = 0x8,
	FLAG_PRIORITY = 0x20,
	PRIORITY_LEN = 5,
	FRAME_MAX = 16384,
	HUFFMAN = 0x80,
	PREFACE_LEN = 24,
};

void h2_skim_init(struct h2_skim *s, bool is_server, int (*emit)(void *user, struct span bytes),
		  void *user)
{
	*s = (struct h2_skim){ .emit = emit, .user = user, .preface = is_server ? PREFACE_LEN : 0 };
}

void h2_skim_done(struct h2_skim *s)
{
	free(s->block);
	s->block = NULL;
	s->block_room = 0;
}

/* ---- the block ----------------------------------------------------------------------------- */

static int make_room(struct h2_skim *s, size_t len)
{
	if (len > H2_SKIM_BLOCK_MAX - s->block_len)
		return -E2BIG;
	if (s->block && len <= s->block_room - s->block_len)
		return 0;
	size_t room = MAX(2 * s->block_room, (size_t)H2_SKIM_BLOCK_KEPT);
	room = MAX(room, s->block_len + len);
	uint8_t *block = realloc(s->block, room + H2_SKIM_FRAME_HEAD);
	if (!block)
		return -ENOMEM;
	s->block = block;
	s->block_room = room;
	return 0;
}

static int put(struct h2_skim *s, const void *bytes, size_t len)
{
	int r = make_room(s, len);
	if (r < 0)
		return r;
	memcpy(s->block + H2_SKIM_FRAME_HEAD + s->block_len, bytes, len);
	s->block_len += len;
	return 0;
}

/* A string literal of H2_SKIM_STAND_IN bytes: legal in a name and in a value. */
static int put_stand_in(struct h2_skim *s)
{
	static const uint8_t length[] = { 0x7f, (H2_SKIM_STAND_IN - 127) % 128 | 0x80,
					  (H2_SKIM_STAND_IN - 127) / 128 };
	static_assert((H2_SKIM_STAND_IN - 127) / 128 < 128);
	uint8_t text[256];
	int r = put(s, length, sizeof(length));
	memset(text, 'x', sizeof(text));
	for (size_t n = 0; r == 0 && n < H2_SKIM_STAND_IN; n += sizeof(text))
		r = put(s, text, sizeof(text));
	return r;
}

/* One more byte of an integer (RFC 7541 §5.1): 1 when it is the last. */
static int more_number(struct h2_skim *s, uint8_t byte)
{
	if (s->shift > 28)
		return -EBADMSG;
	s->number += (uint64_t)(byte & 0x7f) << s->shift;
	s->shift += 7;
	return !(byte & 0x80);
}

/* The length of a string is known. */
static int begin_string(struct h2_skim *s)
{
	s->is_replaced = s->number > H2_SKIM_STRING_MAX;
	if (s->is_replaced) {
		s->is_oversize = true;
		int r = put_stand_in(s);
		if (r < 0)
			return r;
	} else {
		/* The length again, as it was or shorter. */
		uint8_t bytes[8];
		size_t n = 0;
		uint64_t rest = s->number;
		uint8_t huffman = s->first & HUFFMAN;
		bytes[n++] = huffman | (uint8_t)MIN(rest, (uint64_t)127);
		if (rest >= 127) {
			for (rest -= 127; rest >= 128; rest /= 128)
				bytes[n++] = (uint8_t)(rest % 128) | 0x80;
			bytes[n++] = (uint8_t)rest;
		}
		int r = put(s, bytes, n);
		if (r < 0)
			return r;
	}
	s->at = H2_SKIM_AT_STRING;
	return 0;
}

static void end_string(struct h2_skim *s)
{
	s->at = s->is_value_next ? H2_SKIM_AT_LENGTH : H2_SKIM_AT_START;
	s->is_value_next = false;
}

/* The first byte of a representation: prefix bits of its integer, and whether strings follow. */
static int begin(struct h2_skim *s, uint8_t byte)
{
	unsigned int bits = 4; /* literal without indexing, never indexed */
	bool has_strings = true;
	if (byte & 0x80) { /* indexed field */
		bits = 7;
		has_strings = false;
	} else if (byte & 0x40) { /* literal with incremental indexing */
		bits = 6;
	} else if (byte & 0x20) { /* size of the table */
		bits = 5;
		has_strings = false;
	}
	uint8_t mask = (uint8_t)((1U << bits) - 1);
	s->number = byte & mask;
	s->shift = 0;
	if (s->number == mask) {
		s->at = has_strings ? H2_SKIM_AT_NAME_INDEX : H2_SKIM_AT_INDEX;
	} else if (has_strings) {
		s->is_value_next = s->number == 0;
		s->at = H2_SKIM_AT_LENGTH;
	}
	return put(s, &byte, 1);
}

static int step(struct h2_skim *s, uint8_t byte)
{
	int r = 0;
	switch (s->at) {
	case H2_SKIM_AT_START:
		return begin(s, byte);
	case H2_SKIM_AT_INDEX:
	case H2_SKIM_AT_NAME_INDEX:
		r = more_number(s, byte);
		if (r == 1) {
			s->is_value_next = false; /* the name is in the table */
			s->at = s->at == H2_SKIM_AT_INDEX ? H2_SKIM_AT_START : H2_SKIM_AT_LENGTH;
		}
		return r < 0 ? r : put(s, &byte, 1);
	case H2_SKIM_AT_LENGTH:
		s->first = byte;
		s->number = byte & 0x7f;
		s->shift = 0;
		if (s->number == 0x7f)
			s->at = H2_SKIM_AT_LENGTH_MORE;
		else
			r = begin_string(s);
		break;
	case H2_SKIM_AT_LENGTH_MORE:
		r = more_number(s, byte);
		if (r == 1)
			r = begin_string(s);
		break;
	case H2_SKIM_AT_STRING:
		break;
	}
	if (r == 0 && s->at == H2_SKIM_AT_STRING && s->number == 0)
		end_string(s);
	return r;
}

/* Bytes of the block's fragment. */
static int take_fragment(struct h2_skim *s, struct span in)
{
	int r = 0;
	while (in.len && r == 0) {
		if (s->at != H2_SKIM_AT_STRING) {
			r = step(s, in.ptr[0]);
			in = span_skip(in, 1);
			continue;
		}
		size_t n = MIN((uint64_t)in.len, s->number);
		if (!s->is_replaced)
			r = put(s, in.ptr, n);
		in = span_skip(in, n);
		s->number -= n;
		if (s->number == 0)
			end_string(s);
	}
	return r;
}

/* ---- frames -------------------------------------------------------------------------------- */

static void write_head(uint8_t *at, size_t len, uint8_t type, uint8_t flags, uint32_t stream)
{
	at[0] = (uint8_t)(len >> 16);
	at[1] = (uint8_t)(len >> 8);
	at[2] = (uint8_t)len;
	at[3] = type;
	at[4] = flags;
	for (int i = 0; i < 4; i++)
		at[5 + i] = (uint8_t)(stream >> (24 - 8 * i));
}

/* Gives the library what is there of the block; is_end: that is all. */
static int emit_block(struct h2_skim *s, bool is_end)
{
	uint8_t type = TYPE_HEADERS;
	uint8_t flags = s->flags & FLAG_END_STREAM;
	size_t pos = 0;
	int r;
	do {
		size_t n = MIN(s->block_len - pos, (size_t)FRAME_MAX);
		bool is_last = pos + n == s->block_len;
		if (is_last && is_end)
			flags |= FLAG_END_HEADERS;
		/* The head stands where bytes were that have gone. */
		uint8_t *at = s->block + pos;
		write_head(at, n, type, flags, s->stream);
		r = s->emit(s->user, span_of(at, H2_SKIM_FRAME_HEAD + n));
		type = TYPE_CONTINUATION;
		flags = 0;
		pos += n;
	} while (r == 0 && pos < s->block_len);
	s->stream = 0;
	if (s->block_room > H2_SKIM_BLOCK_KEPT)
		h2_skim_done(s);
	return r;
}

static uint32_t read_stream(const uint8_t *head)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++)
		v = v << 8 | head[5 + i];
	return v & 0x7fffffff;
}

static int begin_block(struct h2_skim *s)
{
	s->stream = read_stream(s->head);
	s->flags = s->head[4];
	s->block_len = s->raw = 0;
	s->frames = 0;
	s->at = H2_SKIM_AT_START;
	s->is_value_next = s->is_oversize = false;
	s->has_padding = s->flags & FLAG_PADDED;
	s->skip = (uint8_t)(s->has_padding + (s->flags & FLAG_PRIORITY ? PRIORITY_LEN : 0));
	return make_room(s, 0);
}

/* A frame's head is whole. */
static int begin_frame(struct h2_skim *s)
{
	uint8_t type = s->head[3];
	s->left = (uint32_t)s->head[0] << 16 | (uint32_t)s->head[1] << 8 | s->head[2];
	bool is_first = type == TYPE_HEADERS && !s->stream && read_stream(s->head);
	bool is_more = type == TYPE_CONTINUATION && s->stream && s->stream == read_stream(s->head);
	s->is_in_block = (is_first || is_more) && s->left <= FRAME_MAX;
	s->padding = 0;
	s->skip = 0;
	int r = is_first && s->is_in_block ? begin_block(s) : 0;
	if (r == 0 && s->is_in_block) {
		s->raw += s->left;
		if (++s->frames > H2_SKIM_FRAMES_MAX || s->raw > H2_SKIM_RAW_MAX)
			return -E2BIG;
		return s->left < s->skip ? -EBADMSG : 0;
	}
	/* What doesn't belong here is for the library to complain about. */
	if (r == 0 && s->stream)
		r = emit_block(s, false);
	return r < 0 ? r : s->emit(s->user, span_of(s->head, H2_SKIM_FRAME_HEAD));
}

static int end_frame(struct h2_skim *s)
{
	s->head_len = 0;
	if (!s->is_in_block || !(s->head[4] & FLAG_END_HEADERS))
		return 0;
	return s->at == H2_SKIM_AT_START ? emit_block(s, true) : -EBADMSG;
}

/* Payload of a frame of the block. */
static int take_block_bytes(struct h2_skim *s, struct span in)
{
	while (in.len && s->skip) {
		if (s->has_padding) {
			s->has_padding = false;
			s->padding = in.ptr[0];
			if (s->padding > s->left - s->skip)
				return -EBADMSG;
		}
		in = span_skip(in, 1);
		s->skip--;
		s->left--;
	}
	size_t fragment = s->left - s->padding;
	int r = take_fragment(s, span_first(in, MIN(in.len, fragment)));
	s->left -= (uint32_t)in.len;
	s->padding = MIN(s->padding, s->left);
	return r;
}

int h2_skim_feed(struct h2_skim *s, struct span in)
{
	int r = 0;
	if (s->preface) {
		struct span part = span_first(in, MIN(in.len, (size_t)s->preface));
		s->preface -= (unsigned int)part.len;
		in = span_skip(in, part.len);
		r = s->emit(s->user, part);
	}
	while (in.len && r == 0) {
		if (s->head_len < H2_SKIM_FRAME_HEAD) {
			s->head[s->head_len++] = in.ptr[0];
			in = span_skip(in, 1);
			if (s->head_len < H2_SKIM_FRAME_HEAD)
				continue;
			r = begin_frame(s);
			if (r == 0 && s->left == 0)
				r = end_frame(s);
			continue;
		}
		struct span part = span_first(in, MIN(in.len, (size_t)s->left));
		in = span_skip(in, part.len);
		if (s->is_in_block) {
			r = take_block_bytes(s, part);
		} else {
			s->left -= (uint32_t)part.len;
			r = s->emit(s->user, part);
		}
		if (r == 0 && s->left == 0)
			r = end_frame(s);
	}
	return r;
}
