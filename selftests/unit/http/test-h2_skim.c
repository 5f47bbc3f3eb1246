/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks put together: a library's decoder reads the same fields as before, whatever the pieces
 * were, and goes on in step after a string that it would not have survived.
 */
#include "daemon/http/h2_skim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>

#include "util/macro.h"

enum { OUT_MAX = 1024 * 1024, HUGE = 400 * 1000 };

static uint8_t out[OUT_MAX];
static size_t out_len;

static int emit(void *user, struct span bytes)
{
	(void)user;
	assert_true(bytes.len <= OUT_MAX - out_len);
	memcpy(out + out_len, bytes.ptr, bytes.len);
	out_len += bytes.len;
	return 0;
}

struct wire {
	uint8_t *bytes;
	size_t len;
};

static struct wire wire_new(void)
{
	struct wire w = { .bytes = malloc(OUT_MAX) };
	assert_non_null(w.bytes);
	return w;
}

static void add_frame(struct wire *w, uint8_t type, uint8_t flags, uint32_t stream,
		      struct span payload)
{
	const uint8_t head[] = { (uint8_t)(payload.len >> 16),
				 (uint8_t)(payload.len >> 8),
				 (uint8_t)payload.len,
				 type,
				 flags,
				 0,
				 0,
				 (uint8_t)(stream >> 8),
				 (uint8_t)stream };
	memcpy(w->bytes + w->len, head, sizeof(head));
	w->len += sizeof(head);
	if (payload.len)
		memcpy(w->bytes + w->len, payload.ptr, payload.len);
	w->len += payload.len;
}

/* HEADERS and as many CONTINUATIONs as it takes. */
static void add_block(struct wire *w, uint8_t flags, uint32_t stream, struct span block,
		      size_t piece)
{
	uint8_t type = 1;
	do {
		struct span part = span_first(block, MIN(block.len, piece));
		block = span_skip(block, part.len);
		add_frame(w, type, flags | (block.len ? 0 : 4), stream, part);
		type = 9;
		flags = 0;
	} while (block.len);
}

/* Feeds in pieces of step bytes. */
static int feed(struct h2_skim *s, const struct wire *w, size_t step)
{
	out_len = 0;
	int r = 0;
	for (size_t pos = 0; r == 0 && pos < w->len; pos += step)
		r = h2_skim_feed(s, span_of(w->bytes + pos, MIN(step, w->len - pos)));
	return r;
}

/* What the library reads of all header blocks that came out. */
struct fields {
	char text[8192];
	size_t len;
	unsigned int blocks;
	size_t longest;
};

static void inflate(nghttp2_hd_inflater *hd, struct fields *f, const uint8_t *at, size_t len,
		    bool is_last)
{
	for (;;) {
		nghttp2_nv nv;
		int flags = 0;
		nghttp2_ssize n = nghttp2_hd_inflate_hd3(hd, &nv, &flags, at, len, is_last);
		assert_true(n >= 0);
		at += n;
		len -= (size_t)n;
		if (flags & NGHTTP2_HD_INFLATE_EMIT) {
			int put = snprintf(f->text + f->len, sizeof(f->text) - f->len,
					   "%.40s=%.40s;", nv.name, nv.value);
			f->len += (size_t)put;
			f->longest = MAX(f->longest, nv.valuelen);
		}
		if (flags & NGHTTP2_HD_INFLATE_FINAL) {
			f->blocks++;
			nghttp2_hd_inflate_end_headers(hd);
			return;
		}
		if (!(flags & NGHTTP2_HD_INFLATE_EMIT) && len == 0)
			return;
	}
}

static void read_out(nghttp2_hd_inflater *hd, struct fields *f)
{
	*f = (struct fields){};
	for (size_t pos = 0; pos < out_len;) {
		assert_true(out_len - pos >= 9);
		const uint8_t *h = out + pos;
		size_t len = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
		assert_true(len <= 16384);
		if (h[3] == 1 || h[3] == 9)
			inflate(hd, f, h + 9, len, h[4] & 4);
		pos += 9 + len;
	}
}

static struct span deflate(nghttp2_hd_deflater *hd, const char *const *texts, size_t count,
			   uint8_t *buf, size_t cap)
{
	nghttp2_nv nva[16];
	assert_true(count <= ARRAY_SIZE(nva));
	for (size_t i = 0; i < count; i++) {
		/* The library doesn't write there; its type just isn't const. */
		uint8_t *name = (uint8_t *)(uintptr_t)texts[2 * i];
		uint8_t *value = (uint8_t *)(uintptr_t)texts[2 * i + 1];
		nva[i] = (nghttp2_nv){ name, value, strlen(texts[2 * i]), strlen(texts[2 * i + 1]),
				       0 };
	}
	nghttp2_ssize n = nghttp2_hd_deflate_hd2(hd, buf, cap, nva, count);
	assert_true(n > 0);
	return span_of(buf, (size_t)n);
}

static void test_same_fields(void **state)
{
	(void)state;
	static const char *const texts[] = {
		":method", "GET",          ":path",         "/a/long/path?with=query",
		"x-one",   "value of one", "x-empty",       "",
		"cookie",  "a=b",          "authorization", "secret of somebody",
		"x-one",   "value of one"
	};
	static const size_t pieces[] = { 1, 2, 7, 16384 }, steps[] = { 1, 3, 10, OUT_MAX };
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++)
		for (size_t k = 0; k < ARRAY_SIZE(steps); k++) {
			nghttp2_hd_deflater *de;
			nghttp2_hd_inflater *in;
			assert_int_equal(nghttp2_hd_deflate_new(&de, 4096), 0);
			assert_int_equal(nghttp2_hd_inflate_new(&in), 0);
			struct h2_skim s;
			h2_skim_init(&s, false, emit, NULL);
			/* Twice: the second block leans on the table that the first has filled. */
			for (uint32_t stream = 1; stream <= 3; stream += 2) {
				uint8_t buf[4096];
				struct wire w = wire_new();
				add_frame(&w, 4, 0, 0, span_of(NULL, 0));
				struct span b =
					deflate(de, texts, ARRAY_SIZE(texts) / 2, buf, sizeof(buf));
				add_block(&w, 1, stream, b, pieces[i]);
				add_frame(&w, 0, 1, stream, SPAN_LIT("body"));
				assert_int_equal(feed(&s, &w, steps[k]), 0);
				struct fields f;
				read_out(in, &f);
				assert_int_equal(f.blocks, 1);
				assert_string_equal(
					f.text,
					":method=GET;:path=/a/long/path?with=query;x-one=value of one;"
					"x-empty=;cookie=a=b;authorization=secret of somebody;"
					"x-one=value of one;");
				assert_memory_equal(out + out_len - 4, "body", 4);
				assert_false(s.is_oversize);
				free(w.bytes);
			}
			h2_skim_done(&s);
			nghttp2_hd_deflate_del(de);
			nghttp2_hd_inflate_del(in);
		}
}

/* A literal whose name is new: kind is the first byte. */
static size_t put_literal(uint8_t *at, uint8_t kind, const char *name, size_t value_len)
{
	size_t n = 0;
	at[n++] = kind;
	at[n++] = (uint8_t)strlen(name);
	for (const char *c = name; *c; c++)
		at[n++] = (uint8_t)*c;
	size_t rest = value_len;
	at[n++] = (uint8_t)MIN(rest, (size_t)127);
	if (rest >= 127) {
		for (rest -= 127; rest >= 128; rest /= 128)
			at[n++] = (uint8_t)(rest % 128) | 0x80;
		at[n++] = (uint8_t)rest;
	}
	memset(at + n, 'v', value_len);
	return n + value_len;
}

/* Three strings of 400 000 bytes in 75 frames; the table is as the peer thinks it is after. */
static void test_long_strings(void **state)
{
	(void)state;
	static const uint8_t kinds[] = { 0x40, 0x00, 0x10 };
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		uint8_t *block = malloc(4 * HUGE);
		nghttp2_hd_inflater *in;
		assert_non_null(block);
		assert_int_equal(nghttp2_hd_inflate_new(&in), 0);
		struct h2_skim s;
		h2_skim_init(&s, false, emit, NULL);
		struct wire w = { .bytes = malloc(4 * HUGE) };
		size_t len = put_literal(block, 0x40, "kept", 5); /* goes into the table */
		add_block(&w, 1, 1, span_of(block, len), 16384);
		len = 0;
		for (int k = 0; k < 3; k++)
			len += put_literal(block + len, kinds[i], "long", HUGE);
		len += put_literal(block + len, 0x40, "next", 3);
		add_block(&w, 1, 3, span_of(block, len), 16384);
		uint8_t again = 0x80 | 62; /* the newest entry: next */
		add_block(&w, 1, 5, span_of(&again, 1), 16384);
		assert_int_equal(feed(&s, &w, 5000), 0);
		struct fields f;
		read_out(in, &f);
		assert_int_equal(f.blocks, 3);
		assert_int_equal(f.longest, H2_SKIM_STAND_IN);
		assert_non_null(strstr(f.text, "kept=vvvvv;"));
		assert_string_equal(f.text + f.len - strlen("next=vvv;next=vvv;"),
				    "next=vvv;next=vvv;");
		assert_false(s.is_oversize); /* that was the block before the last */
		h2_skim_done(&s);
		nghttp2_hd_inflate_del(in);
		free(w.bytes);
		free(block);
	}
}

static void test_oversize_is_told(void **state)
{
	(void)state;
	uint8_t *block = malloc(HUGE + 64);
	struct wire w = { .bytes = malloc(2 * HUGE) };
	struct h2_skim s;
	h2_skim_init(&s, false, emit, NULL);
	add_block(&w, 1, 1, span_of(block, put_literal(block, 0x40, "a", H2_SKIM_STRING_MAX)),
		  16384);
	assert_int_equal(feed(&s, &w, OUT_MAX), 0);
	assert_false(s.is_oversize);
	w.len = 0;
	add_block(&w, 1, 3, span_of(block, put_literal(block, 0x40, "a", H2_SKIM_STRING_MAX + 1)),
		  16384);
	assert_int_equal(feed(&s, &w, OUT_MAX), 0);
	assert_true(s.is_oversize);
	h2_skim_done(&s);
	free(w.bytes);
	free(block);
}

/* Padding and priority go; what is left is the fragment. */
static void test_padding_and_priority(void **state)
{
	(void)state;
	struct wire w = wire_new();
	struct h2_skim s;
	nghttp2_hd_inflater *in;
	struct fields f;
	assert_int_equal(nghttp2_hd_inflate_new(&in), 0);
	h2_skim_init(&s, false, emit, NULL);
	static const char payload[] = "\x03"
				      "prior"
				      "\x82\x84"
				      "pad";
	add_frame(&w, 1, 0x2d, 1, span_of(payload, sizeof(payload) - 1));
	for (size_t step = 1; step < 20; step++) {
		assert_int_equal(feed(&s, &w, step), 0);
		assert_int_equal(out_len, 9 + 2);
		assert_int_equal(out[4], 5); /* END_STREAM, END_HEADERS */
		read_out(in, &f);
		assert_string_equal(f.text, ":method=GET;:path=/;");
	}
	w.len = 0;
	add_frame(&w, 1, 0x0c, 1, SPAN_LIT("\x09short"));
	assert_int_equal(feed(&s, &w, 100), -EBADMSG);
	h2_skim_done(&s);
	nghttp2_hd_inflate_del(in);
	free(w.bytes);
}

static void test_preface_passes(void **state)
{
	(void)state;
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	struct wire w = wire_new();
	struct h2_skim s;
	memcpy(w.bytes, preface, sizeof(preface) - 1);
	w.len = sizeof(preface) - 1;
	add_frame(&w, 4, 0, 0, SPAN_LIT("settings"));
	for (size_t step = 1; step < 40; step += 3) {
		h2_skim_init(&s, true, emit, NULL);
		assert_int_equal(feed(&s, &w, step), 0);
		assert_int_equal(out_len, w.len);
		assert_memory_equal(out, w.bytes, w.len);
		h2_skim_done(&s);
	}
	free(w.bytes);
}

static void test_floods(void **state)
{
	(void)state;
	struct wire w = wire_new();
	struct h2_skim s;
	h2_skim_init(&s, false, emit, NULL);
	add_frame(&w, 1, 0, 1, span_of(NULL, 0));
	for (int i = 0; i < H2_SKIM_FRAMES_MAX; i++)
		add_frame(&w, 9, 0, 1, span_of(NULL, 0));
	assert_int_equal(feed(&s, &w, 4096), -E2BIG);
	h2_skim_done(&s);
	/* Many short fields: more than a block may have. */
	uint8_t *block = malloc(H2_SKIM_BLOCK_MAX + 100);
	memset(block, 0x82, H2_SKIM_BLOCK_MAX + 1);
	h2_skim_init(&s, false, emit, NULL);
	w.len = 0;
	add_block(&w, 0, 1, span_of(block, H2_SKIM_BLOCK_MAX), 16384);
	assert_int_equal(feed(&s, &w, 4096), 0);
	w.len = 0;
	add_block(&w, 0, 3, span_of(block, H2_SKIM_BLOCK_MAX + 1), 16384);
	assert_int_equal(feed(&s, &w, 4096), -E2BIG);
	h2_skim_done(&s);
	free(block);
	free(w.bytes);
}

static void test_malformed(void **state)
{
	(void)state;
	static const struct {
		struct span block;
		int error;
	} cases[] = {
		{ SPAN_LIT("\x7f\xff\xff\xff\xff\xff\xff"), -EBADMSG }, /* an endless index */
		{ SPAN_LIT("\x40\x7f\xff\xff\xff\xff\xff\xff"), -EBADMSG },
		{ SPAN_LIT("\x40\x05"
			   "ab"),
		  -EBADMSG }, /* cut in a name */
		{ SPAN_LIT("\x40\x01"
			   "a"),
		  -EBADMSG }, /* before the value */
		{ SPAN_LIT("\x40\x01"
			   "a\x7f\xff\xff\x7f"),
		  -EBADMSG }, /* in a long one */
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct wire w = wire_new();
		struct h2_skim s;
		h2_skim_init(&s, false, emit, NULL);
		add_block(&w, 0, 1, cases[i].block, 16384);
		assert_int_equal(feed(&s, &w, 1), cases[i].error);
		h2_skim_done(&s);
		free(w.bytes);
	}
	/* A frame that has no business inside a block is for the library to refuse. */
	struct wire w = wire_new();
	struct h2_skim s;
	h2_skim_init(&s, false, emit, NULL);
	add_frame(&w, 1, 0, 1, SPAN_LIT("\x82"));
	add_frame(&w, 6, 0, 0, SPAN_LIT("pingping"));
	assert_int_equal(feed(&s, &w, 1), 0);
	assert_int_equal(out_len, 9 + 1 + 9 + 8);
	assert_int_equal(out[4], 0); /* no END_HEADERS */
	h2_skim_done(&s);
	free(w.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_fields),
		cmocka_unit_test(test_long_strings),
		cmocka_unit_test(test_oversize_is_told),
		cmocka_unit_test(test_padding_and_priority),
		cmocka_unit_test(test_preface_passes),
		cmocka_unit_test(test_floods),
		cmocka_unit_test(test_malformed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
