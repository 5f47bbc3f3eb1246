/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing bytes: cursor, packer, byte order, QUIC integers, spans.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/macro.h"
#include "util/varint.h"

static void test_cursor_reads(void **state)
{
	(void)state;
	static const uint8_t in[] = { 1,    2,  3,  4,  5,  6,    7,    8,    9,    10,
				      11,   12, 13, 14, 15, 0x34, 0x12, 0x78, 0x56, 0x34,
				      0x12, 1,  0,  0,  0,  0,    0,    0,    0,    0xaa };
	struct cursor c = cursor_over(span_of(in, sizeof(in)));
	assert_int_equal(cursor_u8(&c), 1);
	assert_int_equal(cursor_be16(&c), 0x0203);
	assert_int_equal(cursor_be32(&c), 0x04050607);
	assert_true(cursor_be64(&c) == UINT64_C(0x08090a0b0c0d0e0f));
	assert_int_equal(cursor_le16(&c), 0x1234);
	assert_int_equal(cursor_le32(&c), 0x12345678);
	assert_true(cursor_le64(&c) == 1);
	assert_int_equal(cursor_left(&c), 1);
	assert_int_equal(cursor_finish(&c), -EBADMSG);
	assert_int_equal(cursor_rest(&c).len, 1);
	assert_int_equal(cursor_finish(&c), 0);
	assert_int_equal(cursor_bytes(&c, 0).len, 0);
	assert_int_equal(cursor_finish(&c), 0);
}

static void test_cursor_error_sticks(void **state)
{
	(void)state;
	uint8_t *three = malloc(3);
	assert_non_null(three);
	memset(three, 0xff, 3);
	struct cursor c = cursor_over(span_of(three, 3));
	assert_int_equal(cursor_be32(&c), 0);
	assert_int_equal(cursor_u8(&c), 0); /* there would be bytes, but the error came first */
	assert_int_equal(cursor_left(&c), 0);
	assert_int_equal(cursor_bytes(&c, 1).len, 0);
	assert_int_equal(cursor_rest(&c).len, 0);
	assert_int_equal(cursor_finish(&c), -ENODATA);
	cursor_fail(&c, -EBADMSG); /* the first one stays */
	assert_int_equal(cursor_finish(&c), -ENODATA);

	c = cursor_over(span_of(three, 3));
	assert_null(cursor_take(&c, SIZE_MAX));
	c = cursor_over(span_of(three, 3));
	cursor_fail(&c, -EBADMSG);
	assert_int_equal(cursor_finish(&c), -EBADMSG);
	c = cursor_over((struct span){});
	assert_int_equal(cursor_finish(&c), 0);
	assert_int_equal(cursor_u8(&c), 0);
	assert_int_equal(cursor_finish(&c), -ENODATA);
	free(three);
}

static void test_packer(void **state)
{
	(void)state;
	uint8_t buf[40];
	struct packer p = packer_over(buf, sizeof(buf));
	packer_u8(&p, 1);
	packer_be16(&p, 0x0203);
	packer_be32(&p, 0x04050607);
	packer_be64(&p, 0x08090a0b0c0d0e0f);
	packer_le16(&p, 0x1110);
	packer_le32(&p, 0x15141312);
	packer_le64(&p, 0x1d1c1b1a19181716);
	packer_str(&p, "ab");
	packer_zero(&p, 2);
	packer_zero(&p, 0);
	packer_bytes(&p, (struct span){});
	assert_int_equal(packer_finish(&p), 0);
	assert_int_equal(p.len, 33);
	for (uint8_t i = 0; i < 29; i++)
		assert_int_equal(buf[i], i + 1);
	assert_memory_equal(buf + 29, "ab\0\0", 4);

	/* What doesn't fit changes nothing, and nothing fits any more. */
	assert_null(packer_room(&p, 8));
	packer_u8(&p, 9);
	packer_str(&p, "x");
	packer_be32(&p, 9);
	assert_int_equal(p.len, 33);
	assert_int_equal(packer_finish(&p), -ENOBUFS);
	assert_int_equal(packer_span(&p).len, 33);
	p = packer_over(NULL, 0);
	assert_null(packer_room(&p, 1));
	p = packer_over(buf, 4);
	assert_null(packer_room(&p, SIZE_MAX));
}

static void test_varints(void **state)
{
	(void)state;
	/* RFC 9000 §A.1, and the borders. */
	const struct {
		uint64_t value;
		size_t len;
	} cases[] = {
		{ 0, 1 },
		{ 37, 1 },
		{ 63, 1 },
		{ 64, 2 },
		{ 15293, 2 },
		{ 16383, 2 },
		{ 16384, 4 },
		{ 494878333, 4 },
		{ (1 << 30) - 1, 4 },
		{ 1 << 30, 8 },
		{ UINT64_C(151288809941952652), 8 },
		{ VARINT_MAX, 8 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t buf[8];
		struct packer p = packer_over(buf, sizeof(buf));
		packer_varint(&p, cases[i].value);
		assert_int_equal(p.len, cases[i].len);
		assert_int_equal(varint_len(cases[i].value), cases[i].len);
		struct cursor c = cursor_over(packer_span(&p));
		assert_true(cursor_varint(&c) == cases[i].value);
		assert_int_equal(cursor_finish(&c), 0);
		for (size_t len = 0; len < p.len; len++) {
			c = cursor_over(span_of(buf, len));
			assert_int_equal(cursor_varint(&c), 0);
			assert_int_equal(cursor_finish(&c), -ENODATA);
			struct packer q = packer_over(buf, len);
			packer_varint(&q, cases[i].value);
			assert_int_equal(packer_finish(&q), -ENOBUFS);
			assert_int_equal(q.len, 0);
		}
	}
	uint8_t buf[16];
	struct packer p = packer_over(buf, sizeof(buf));
	packer_varint(&p, VARINT_MAX + 1);
	assert_int_equal(packer_finish(&p), -ENOBUFS);
	static const uint8_t long_form[] = { 0x40, 0x25 };
	struct cursor c = cursor_over(span_of(long_form, 2));
	assert_int_equal(cursor_varint(&c), 37);
}

static void test_spans(void **state)
{
	(void)state;
	struct span s = SPAN_LIT("Hello");
	assert_int_equal(s.len, 5);
	assert_true(span_eq_str(s, "Hello"));
	assert_false(span_eq_str(s, "Hell"));
	assert_true(span_eq_nocase(s, SPAN_LIT("hELLO")));
	assert_false(span_eq_nocase(s, SPAN_LIT("hELL")));
	assert_false(span_eq_nocase(SPAN_LIT("@"), SPAN_LIT("`"))); /* differ in bit 0x20 only */
	assert_true(span_starts_with(s, SPAN_LIT("He")));
	assert_true(span_starts_with(s, (struct span){}));
	assert_false(span_starts_with(s, SPAN_LIT("Hello!")));
	assert_true(span_ends_with(s, SPAN_LIT("lo")));
	assert_false(span_ends_with(s, SPAN_LIT("xHello")));
	assert_true(span_eq_str(span_skip(s, 2), "llo"));
	assert_int_equal(span_skip(s, 9).len, 0);
	assert_int_equal(span_skip((struct span){}, 3).len, 0);
	assert_true(span_eq_str(span_first(s, 2), "He"));
	assert_int_equal(span_first(s, 99).len, 5);
	assert_int_equal(span_find(s, 'l'), 2);
	assert_int_equal(span_find(s, 'x'), 5);
	assert_int_equal(span_find((struct span){}, 'x'), 0);
	assert_true(span_eq_str(span_trim(SPAN_LIT(" \ta b\t ")), "a b"));
	assert_int_equal(span_trim(SPAN_LIT(" \t ")).len, 0);
	assert_int_equal(span_trim((struct span){}).len, 0);
	assert_true(span_eq((struct span){}, SPAN_LIT("")));
	assert_int_equal(span_str(NULL).len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cursor_reads), cmocka_unit_test(test_cursor_error_sticks),
		cmocka_unit_test(test_packer),       cmocka_unit_test(test_varints),
		cmocka_unit_test(test_spans),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
