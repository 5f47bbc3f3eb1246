/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads, trailers and reasons of body frames: every truncation, every limit, and a round trip.
 */
#include "daemon/wire/body_frame.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/macro.h"
#include "util/varint.h"

/* An exact copy on the heap, so that a byte read too far is seen. */
static struct span copy(struct span s)
{
	uint8_t *p = malloc(s.len ? s.len : 1);
	assert_non_null(p);
	if (s.len)
		memcpy(p, s.ptr, s.len);
	return span_of(p, s.len);
}

static void drop(struct span s)
{
	free((void *)(uintptr_t)s.ptr);
}

static void test_heads(void **state)
{
	(void)state;
	static const uint64_t values[] = { 0, 1, 2, 63, 64, 16383, 16384, 1 << 30, VARINT_MAX };
	for (size_t i = 0; i < ARRAY_SIZE(values) * ARRAY_SIZE(values); i++) {
		uint64_t type = values[i % ARRAY_SIZE(values)],
			 len = values[i / ARRAY_SIZE(values)];
		uint8_t bytes[BODY_FRAME_HEAD_MAX];
		struct packer p = packer_over(bytes, sizeof(bytes));
		body_frame_head_encode(&p, (enum body_frame_type)type, len);
		assert_int_equal(packer_finish(&p), 0);
		for (size_t cut = 0; cut <= p.len; cut++) {
			struct span in = copy(span_of(bytes, cut));
			uint64_t got_type = 7, got_len = 7;
			int r = body_frame_head_decode(in, &got_type, &got_len);
			assert_int_equal(r, cut == p.len ? (int)p.len : -ENODATA);
			assert_true(got_type == (cut == p.len ? type : 7));
			assert_true(got_len == (cut == p.len ? len : 7));
			drop(in);
		}
	}
	/* What follows isn't looked at, and a varint may be longer than it has to be. */
	static const uint8_t longer[] = { 0x40, 0x01, 0x80, 0, 0, 5, 'x' };
	uint64_t type, len;
	assert_int_equal(body_frame_head_decode(span_of(longer, sizeof(longer)), &type, &len), 6);
	assert_true(type == 1 && len == 5);
}

static void test_trailers(void **state)
{
	(void)state;
	static const struct http_field fields[] = {
		{ SPAN_LIT("X-A"), SPAN_LIT("1") },
		{ SPAN_LIT("grpc-status"), SPAN_LIT("0") },
		{ SPAN_LIT("x-empty"), SPAN_LIT("") },
	};
	uint8_t bytes[64];
	size_t len = body_trailers_len(fields, ARRAY_SIZE(fields));
	struct packer p = packer_over(bytes, len);
	body_trailers_encode(&p, fields, ARRAY_SIZE(fields));
	assert_int_equal(packer_finish(&p), 0);
	assert_int_equal(p.len, len);

	for (size_t cut = 0; cut <= len; cut++) {
		struct span in = copy(span_of(bytes, cut));
		struct http_field got[3];
		unsigned int count = 99;
		int r = body_trailers_decode(in, got, ARRAY_SIZE(got), &count);
		/* Whole fields are trailers, too. */
		bool is_whole = cut == 0 || cut == 6 || cut == 20 || cut == len;
		assert_int_equal(r, is_whole ? 0 : -EBADMSG);
		if (r == 0 && cut) {
			assert_true(span_eq_str(got[0].name, "x-a"));
			assert_true(span_eq_str(got[0].value, "1"));
			assert_int_equal(count, cut == 6 ? 1 : cut == 20 ? 2 : 3);
		}
		drop(in);
	}
	struct http_field room[2];
	unsigned int count = 99;
	assert_int_equal(body_trailers_decode(span_of(bytes, len), room, 2, &count), -E2BIG);
	assert_int_equal(count, 99);
	assert_int_equal(body_trailers_decode(span_of(bytes, len), room, 0, &count), -E2BIG);
}

static void test_bad_trailers(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"\x01X\x01y",  "\x01 \x01y",  "\x00\x01y",     "\x02x:\x01y",
		"\x01x\x02 y", "\x01x\x02y ", "\x01x\x03.\nb", "\x01x\x03.\rb",
		"\x01x\x7fy",  "\x01x\x41",   "\x01x",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct http_field got[2];
		unsigned int count = 99;
		struct span in = copy(i == 2 ? span_of(bad[i], 3) : span_str(bad[i]));
		assert_int_equal(body_trailers_decode(in, got, 2, &count), -EBADMSG);
		assert_int_equal(count, 99);
		drop(in);
	}
}

static void test_aborts(void **state)
{
	(void)state;
	static const uint8_t two[] = { 9, 9 };
	uint64_t reason = 7;
	assert_int_equal(body_abort_decode(span_of(two, 1), &reason), 0);
	assert_true(reason == 9);
	assert_int_equal(body_abort_decode(span_of(two, 2), &reason), -EBADMSG);
	assert_int_equal(body_abort_decode(span_of(two, 0), &reason), -EBADMSG);
	static const uint8_t cut[] = { 0xc0, 0, 0 };
	assert_int_equal(body_abort_decode(span_of(cut, sizeof(cut)), &reason), -EBADMSG);
	assert_true(reason == 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_trailers),
		cmocka_unit_test(test_bad_trailers),
		cmocka_unit_test(test_aborts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
