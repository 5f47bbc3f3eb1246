/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Cap'n Proto writer: what it writes reads back, at every size of the buffer, and the deep
 * copy.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/wire/capnp_build.h"
#include "selftests/lib/vectors.h"
#include "util/macro.h"

/* One of everything. */
static void build_all(struct capnp_builder *b)
{
	struct capnp_ref root = capnp_build_root(b, 2, 8);
	capnp_set_u8(b, root, 0, 0x11);
	capnp_set_u16(b, root, 2, 0x2222);
	capnp_set_u32(b, root, 4, 0x33333333);
	capnp_set_u64(b, root, 8, 0x4444444444444444);
	capnp_set_bit(b, root, 8, true);
	capnp_set_bit(b, root, 9, true);
	capnp_set_bit(b, root, 8, false);
	capnp_put_text(b, root, 0, SPAN_LIT("text"));
	capnp_put_text2(b, root, 1, SPAN_LIT("two "), SPAN_LIT("parts"));
	capnp_put_text(b, root, 2, (struct span){});
	capnp_put_data(b, root, 3, SPAN_LIT("\1\2\3"));
	capnp_put_data(b, root, 4, SPAN_LIT("")); /* empty, not null */
	struct capnp_ref item = { .data_words = 1, .ptr_count = 1, .count = 3 };
	struct capnp_ref list = capnp_put_list(b, root, 5, item);
	for (uint32_t i = 0; i < 3; i++) {
		capnp_set_u32(b, capnp_ref_at(list, i), 0, i);
		capnp_put_text(b, capnp_ref_at(list, i), 0, SPAN_LIT("item"));
	}
	struct capnp_ref names = capnp_put_ptr_list(b, root, 6, 2);
	capnp_put_text(b, names, 1, SPAN_LIT("second"));
	struct capnp_ref empty = capnp_put_struct(b, root, 7, 0, 1);
	capnp_put_cap(b, empty, 0, 5);
}

static void check_all(const struct capnp_struct *root)
{
	assert_int_equal(capnp_u8(root, 0), 0x11);
	assert_int_equal(capnp_u8(root, 1), 2);
	assert_int_equal(capnp_u16(root, 2), 0x2222);
	assert_int_equal(capnp_u32(root, 4), 0x33333333);
	assert_true(capnp_u64(root, 8) == 0x4444444444444444);
	assert_true(span_eq_str(capnp_get_text(root, 0), "text"));
	assert_true(span_eq_str(capnp_get_text(root, 1), "two parts"));
	assert_int_equal(capnp_kind(root, 2), CAPNP_KIND_NULL);
	assert_true(span_eq(capnp_get_data(root, 3), SPAN_LIT("\1\2\3")));
	assert_non_null(capnp_get_data(root, 4).ptr);
	assert_int_equal(capnp_get_data(root, 4).len, 0);
	struct capnp_list list = capnp_get_list(root, 5);
	assert_int_equal(list.count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		struct capnp_struct s = capnp_list_at(&list, i);
		assert_int_equal(capnp_u32(&s, 0), i);
		assert_true(span_eq_str(capnp_list_text(&list, i), "item"));
	}
	list = capnp_get_list(root, 6);
	assert_int_equal(list.count, 2);
	assert_int_equal(capnp_list_text(&list, 0).len, 0);
	assert_true(span_eq_str(capnp_list_text(&list, 1), "second"));
	assert_int_equal(capnp_list_text(&list, 2).len, 0);
	struct capnp_struct empty = capnp_get_struct(root, 7);
	assert_int_equal(capnp_get_cap(&empty, 0), 5);
	assert_int_equal(capnp_msg_finish(root->msg), 0);
}

static void test_round_trip_at_every_size(void **state)
{
	(void)state;
	size_t full = 0;
	for (size_t cap = 0; full == 0; cap++) {
		uint8_t *buf = malloc(cap ? cap : 1);
		assert_non_null(buf);
		struct capnp_builder b;
		struct span frame;
		capnp_build_init(&b, buf, cap);
		build_all(&b);
		int r = capnp_build_finish(&b, &frame);
		if (r == 0) {
			struct capnp_msg m;
			assert_int_equal(capnp_msg_open(frame, &m), 0);
			struct capnp_struct root = capnp_root(&m);
			check_all(&root);
			full = frame.len;
			assert_int_equal(full, cap);
		} else {
			assert_int_equal(r, -ENOBUFS);
		}
		free(buf);
	}
	assert_true(full > 200 && full < 1000);
}

static void test_copy_is_the_same(void **state)
{
	(void)state;
	uint8_t buf[1024];
	uint8_t copy_buf[1024];
	struct capnp_builder b;
	struct capnp_builder to;
	struct span frame;
	struct span copy;
	struct capnp_msg m;
	capnp_build_init(&b, buf, sizeof(buf));
	build_all(&b);
	assert_int_equal(capnp_build_finish(&b, &frame), 0);

	assert_int_equal(capnp_msg_open(frame, &m), 0);
	struct capnp_struct root = capnp_root(&m);
	capnp_build_init(&to, copy_buf, sizeof(copy_buf));
	struct capnp_ref top = capnp_build_root(&to, 0, 1);
	capnp_put_copy(&to, top, 0, &root);
	assert_int_equal(capnp_build_finish(&to, &copy), 0);
	assert_int_equal(capnp_msg_finish(&m), 0);
	assert_int_equal(copy.len, frame.len + 8);

	assert_int_equal(capnp_msg_open(copy, &m), 0);
	root = capnp_root(&m);
	root = capnp_get_struct(&root, 0);
	check_all(&root);
	for (size_t cap = 0; cap < copy.len; cap += 8) {
		capnp_build_init(&to, buf, cap);
		capnp_msg_rewind(&m);
		top = capnp_build_root(&to, 0, 1);
		capnp_put_copy(&to, top, 0, &root);
		assert_int_equal(capnp_build_finish(&to, &frame), -ENOBUFS);
		assert_int_equal(capnp_msg_finish(&m), 0);
	}
}

/* Lists of plain elements, which we copy but never make. */
static void test_copy_plain_lists(void **state)
{
	(void)state;
	static const uint8_t frame[] = {
		0,    0, 0, 0, 8,    0, 0, 0, /* 8 words */
		0,    0, 0, 0, 0,    0, 4, 0, /* root: 4 pointers */
		0x0d, 0, 0, 0, 0x49, 0, 0, 0, /* 9 bits, 3 words further */
		0x0d, 0, 0, 0, 0x1b, 0, 0, 0, /* 3 of two bytes */
		0x0d, 0, 0, 0, 0x0d, 0, 0, 0, /* 1 of eight bytes */
		0x01, 0, 0, 0, 0x20, 0, 0, 0, /* 4 of nothing */
		0xaa, 1, 0, 0, 0,    0, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1,
	};
	uint8_t buf[256];
	struct capnp_builder b;
	struct span copy;
	struct capnp_msg m;
	assert_int_equal(capnp_msg_open(span_of(frame, sizeof(frame)), &m), 0);
	struct capnp_struct root = capnp_root(&m);
	struct capnp_list bits = capnp_get_list(&root, 0);
	assert_int_equal(bits.count, 9);
	struct capnp_struct none = capnp_list_at(&bits, 0); /* bits are no structs */
	assert_int_equal(none.data_len, 0);

	capnp_build_init(&b, buf, sizeof(buf));
	capnp_put_copy(&b, (struct capnp_ref){ .at = 8, .ptr_count = 1 }, 0, &root);
	assert_int_equal(capnp_build_finish(&b, &copy), 0);
	assert_int_equal(capnp_msg_finish(&m), 0);
	assert_int_equal(copy.len, sizeof(frame));

	assert_int_equal(capnp_msg_open(copy, &m), 0);
	root = capnp_root(&m);
	struct capnp_list pairs = capnp_get_list(&root, 1);
	struct capnp_struct s = capnp_list_at(&pairs, 2);
	assert_int_equal(capnp_u16(&s, 0), 3);
	assert_int_equal(capnp_u16(&s, 2), 0);
	pairs = capnp_get_list(&root, 2);
	s = capnp_list_at(&pairs, 0);
	assert_true(capnp_u64(&s, 0) == 0x0102030405060708);
	assert_int_equal(capnp_get_list(&root, 3).count, 4);
	assert_int_equal(capnp_msg_finish(&m), 0);
}

/* A call that didn't fit leaves references that do nothing. */
static void test_overflow_is_sticky(void **state)
{
	(void)state;
	uint8_t buf[32] = {};
	struct capnp_builder b;
	struct span frame;
	capnp_build_init(&b, buf, sizeof(buf));
	struct capnp_ref root = capnp_build_root(&b, 1, 1);
	struct capnp_ref big = capnp_put_struct(&b, root, 0, 9, 9);
	assert_int_equal(big.at, 0);
	capnp_set_u64(&b, big, 0, 1);
	capnp_put_cap(&b, big, 0, 1);
	capnp_put_text(&b, big, 0, SPAN_LIT("x"));
	capnp_put_data(&b, root, 0, span_of(buf, (size_t)1 << 30));
	capnp_put_text(&b, root, 0, span_of(buf, (size_t)1 << 30));
	capnp_set_u64(&b, root, 0, 1);
	struct capnp_ref item = { .data_words = 0xffff, .ptr_count = 0xffff, .count = UINT32_MAX };
	struct capnp_ref list = capnp_put_list(&b, root, 0, item);
	assert_int_equal(capnp_ref_at(list, 3).at, 0);
	assert_int_equal(capnp_build_finish(&b, &frame), -ENOBUFS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip_at_every_size),
		cmocka_unit_test(test_copy_is_the_same),
		cmocka_unit_test(test_copy_plain_lists),
		cmocka_unit_test(test_overflow_is_sticky),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
