/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cap'n Proto framing, reader and its limits, on messages written word by word.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/wire/capnp_build.h"
#include "selftests/lib/vectors.h"
#include "util/macro.h"
#include "util/packer.h"

/* A frame with these segments, words of all segments one after the other; on the heap. */
static struct span frame_of(const uint32_t *segment_words, uint32_t segments, const uint64_t *words)
{
	size_t table = (4 + 4 * (size_t)segments + 7) & ~(size_t)7;
	size_t total = table;
	for (uint32_t i = 0; i < segments; i++)
		total += 8 * (size_t)segment_words[i];
	uint8_t *buf = malloc(total);
	assert_non_null(buf);
	struct packer p = packer_over(buf, total);
	packer_le32(&p, segments - 1);
	for (uint32_t i = 0; i < segments; i++)
		packer_le32(&p, segment_words[i]);
	if (p.len < table)
		packer_le32(&p, 0); /* padding */
	for (size_t i = 0; p.len < total; i++)
		packer_le64(&p, words[i]);
	assert_int_equal(packer_finish(&p), 0);
	return span_of(buf, total);
}

static uint64_t struct_ptr(int32_t offset, uint16_t data, uint16_t ptrs)
{
	return (uint64_t)ptrs << 48 | (uint64_t)data << 32 | ((uint32_t)offset << 2);
}

static uint64_t list_ptr(int32_t offset, unsigned int kind, uint32_t count)
{
	return (uint64_t)count << 35 | (uint64_t)kind << 32 | ((uint32_t)offset << 2) | 1;
}

static uint64_t far_ptr(uint32_t segment, uint32_t offset, bool is_double)
{
	return (uint64_t)segment << 32 | offset << 3 | (is_double ? 4U : 0) | 2;
}

/* ---- framing ---- */

static void test_frame_need(void **state)
{
	(void)state;
	static const uint8_t one[] = { 0, 0, 0, 0, 2, 0, 0, 0 };
	size_t need = 0;
	for (size_t len = 0; len < sizeof(one); len++) {
		assert_int_equal(capnp_frame_need(span_of(one, len), 1024, &need), 0);
		assert_int_equal(need, 8);
	}
	assert_int_equal(capnp_frame_need(span_of(one, 8), 24, &need), 0);
	assert_int_equal(need, 24);
	assert_int_equal(capnp_frame_need(span_of(one, 8), 23, &need), -EMSGSIZE);
	assert_int_equal(capnp_frame_need(span_of(one, 8), 7, &need), -EMSGSIZE);

	static const uint8_t three[] = { 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0 };
	assert_int_equal(capnp_frame_need(span_of(three, 8), 1024, &need), 0);
	assert_int_equal(need, 16);
	assert_int_equal(capnp_frame_need(span_of(three, 16), 1024, &need), 0);
	assert_int_equal(need, 32); /* an empty segment that isn't the first is fine */

	static const uint8_t none[] = { 0, 0, 0, 0, 0, 0, 0, 0 };
	assert_int_equal(capnp_frame_need(span_of(none, 8), 1024, &need), -EBADMSG);
	static const uint8_t huge[] = { 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };
	assert_int_equal(capnp_frame_need(span_of(huge, 8), SIZE_MAX, &need), -EMSGSIZE);
}

static void test_segment_limit(void **state)
{
	(void)state;
	uint32_t sizes[CAPNP_SEGMENTS_MAX + 1];
	uint64_t words[CAPNP_SEGMENTS_MAX + 1] = {};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		sizes[i] = 1;

	struct capnp_msg m;
	struct span f = frame_of(sizes, CAPNP_SEGMENTS_MAX, words);
	assert_int_equal(capnp_msg_open(f, &m), 0);
	assert_int_equal(m.segment_count, CAPNP_SEGMENTS_MAX);
	free((void *)(uintptr_t)f.ptr);
	f = frame_of(sizes, CAPNP_SEGMENTS_MAX + 1, words);
	assert_int_equal(capnp_msg_open(f, &m), -EBADMSG);
	free((void *)(uintptr_t)f.ptr);
}

static void test_open_is_exact(void **state)
{
	(void)state;
	struct capnp_msg m;
	uint64_t words[3] = {};
	struct span f = frame_of((uint32_t[]){ 2 }, 1, words);
	assert_int_equal(capnp_msg_open(f, &m), 0);
	assert_int_equal(capnp_msg_open(span_first(f, f.len - 1), &m), -ENODATA);
	assert_int_equal(capnp_msg_open(span_first(f, 0), &m), -ENODATA);
	uint8_t longer[32] = {};
	memcpy(longer, f.ptr, f.len);
	assert_int_equal(capnp_msg_open(span_of(longer, f.len + 1), &m), -EBADMSG);
	free((void *)(uintptr_t)f.ptr);
}

/* ---- pointers ---- */

struct pointer_case {
	const char *what;
	uint32_t sizes[3];
	uint32_t segments;
	uint64_t words[8];
	int error;
	uint64_t value; /* of the root's first data word */
};

static void test_root_pointers(void **state)
{
	(void)state;
	const struct pointer_case cases[] = {
		{ "near", { 2 }, 1, { struct_ptr(0, 1, 0), 42 }, 0, 42 },
		{ "null", { 1 }, 1, { 0 }, 0, 0 },
		{ "list", { 2 }, 1, { list_ptr(0, 5, 1), 42 }, 0, 0 },
		{ "empty struct", { 1 }, 1, { struct_ptr(-1, 0, 0) }, 0, 0 },
		{ "capability", { 1 }, 1, { UINT64_C(7) << 32 | 3 }, 0, 0 },
		{ "other kind", { 1 }, 1, { UINT64_C(7) << 32 | 7 }, -EBADMSG, 0 },
		{ "behind the end", { 2 }, 1, { struct_ptr(1, 1, 0), 42 }, -EBADMSG, 0 },
		{ "last word", { 3 }, 1, { struct_ptr(1, 1, 0), 0, 42 }, 0, 42 },
		{ "one too long", { 3 }, 1, { struct_ptr(1, 2, 0), 0, 42 }, -EBADMSG, 0 },
		{ "before the start", { 2 }, 1, { struct_ptr(-2, 1, 0), 42 }, -EBADMSG, 0 },
		{ "itself", { 2 }, 1, { struct_ptr(-1, 1, 0), 42 }, 0, 0x1fffffffc },
		{ "far", { 1, 2 }, 2, { far_ptr(1, 0, false), struct_ptr(0, 1, 0), 42 }, 0, 42 },
		{ "far to itself", { 1 }, 1, { far_ptr(0, 0, false) }, -EBADMSG, 0 },
		{ "far to null", { 1, 1 }, 2, { far_ptr(1, 0, false), 0 }, 0, 0 },
		{ "no such segment", { 1, 1 }, 2, { far_ptr(2, 0, false), 0 }, -EBADMSG, 0 },
		{ "pad behind the end", { 1, 1 }, 2, { far_ptr(1, 1, false), 0 }, -EBADMSG, 0 },
		{ "out of its segment",
		  { 1, 1, 1 },
		  3,
		  { far_ptr(1, 0, false), struct_ptr(0, 1, 0), 42 },
		  -EBADMSG,
		  0 },
		{ "double far",
		  { 1, 2, 1 },
		  3,
		  { far_ptr(1, 0, true), far_ptr(2, 0, false), struct_ptr(0, 1, 0), 42 },
		  0,
		  42 },
		{ "double far, short pad",
		  { 1, 1, 1 },
		  3,
		  { far_ptr(1, 0, true), far_ptr(2, 0, false), 42 },
		  -EBADMSG,
		  0 },
		{ "double far, pad not far",
		  { 1, 2, 1 },
		  3,
		  { far_ptr(1, 0, true), struct_ptr(0, 1, 0), struct_ptr(0, 1, 0), 42 },
		  -EBADMSG,
		  0 },
		{ "double far, tag far",
		  { 1, 2, 1 },
		  3,
		  { far_ptr(1, 0, true), far_ptr(2, 0, false), far_ptr(2, 0, false), 42 },
		  -EBADMSG,
		  0 },
		{ "double far, object behind the end",
		  { 1, 2, 1 },
		  3,
		  { far_ptr(1, 0, true), far_ptr(2, 1, false), struct_ptr(0, 1, 0), 42 },
		  -EBADMSG,
		  0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct pointer_case *c = &cases[i];
		struct span f = frame_of(c->sizes, c->segments, c->words);
		struct capnp_msg m;
		assert_int_equal(capnp_msg_open(f, &m), 0);
		struct capnp_struct root = capnp_root(&m);
		uint64_t value = capnp_u64(&root, 0);
		if (capnp_msg_finish(&m) != c->error || value != c->value)
			fail_msg("%s: error %d, value %#llx", c->what, m.error,
				 (unsigned long long)value);
		free((void *)(uintptr_t)f.ptr);
	}
}

/* The root has one pointer slot with this word; two words follow. */
static void test_slots(void **state)
{
	(void)state;
	const struct {
		uint64_t ptr;
		uint64_t word[2];
		int error;
		size_t text_len;
		size_t data_len;
		uint32_t count;
		enum capnp_kind kind;
	} cases[] = {
		{ 0, {}, 0, 0, 0, 0, CAPNP_KIND_NULL },
		{ list_ptr(0, 2, 3), { 0x006261 }, 0, 2, 3, 3, CAPNP_KIND_LIST },
		{ list_ptr(0, 2, 3), { 0x636261 }, 0, 0, 3, 3, CAPNP_KIND_LIST },
		{ list_ptr(0, 2, 16), { 1, 1 }, 0, 15, 16, 16, CAPNP_KIND_LIST },
		{ list_ptr(0, 2, 17), { 1, 1 }, -EBADMSG, 0, 0, 0, CAPNP_KIND_BAD },
		{ list_ptr(0, 2, 0), {}, 0, 0, 0, 0, CAPNP_KIND_LIST },
		{ list_ptr(0, 3, 2), { 0x006261 }, 0, 0, 0, 2, CAPNP_KIND_LIST },
		{ list_ptr(0, 1, 128), {}, 0, 0, 0, 128, CAPNP_KIND_LIST },
		{ list_ptr(0, 1, 129), {}, -EBADMSG, 0, 0, 0, CAPNP_KIND_BAD },
		{ list_ptr(0, 0, 29), {}, 0, 0, 0, 29, CAPNP_KIND_LIST },
		{ list_ptr(0, 0, 30), {}, -EBADMSG, 0, 0, 0, CAPNP_KIND_BAD }, /* budget */
		{ list_ptr(0, 7, 1), { struct_ptr(1, 1, 0), 5 }, 0, 0, 0, 1, CAPNP_KIND_LIST },
		{ list_ptr(0, 7, 2),
		  { struct_ptr(1, 1, 0), 5 },
		  -EBADMSG,
		  0,
		  0,
		  0,
		  CAPNP_KIND_BAD },
		{ list_ptr(0, 7, 1),
		  { struct_ptr(2, 1, 0), 5 },
		  -EBADMSG,
		  0,
		  0,
		  0,
		  CAPNP_KIND_BAD },
		{ list_ptr(0, 7, 1), { list_ptr(1, 2, 0), 5 }, -EBADMSG, 0, 0, 0, CAPNP_KIND_BAD },
		/* Elements of no size must not make a long loop. */
		{ list_ptr(0, 7, 0),
		  { struct_ptr(0x1fffffff, 0, 0) },
		  -EBADMSG,
		  0,
		  0,
		  0,
		  CAPNP_KIND_BAD },
		{ list_ptr(0, 7, 0), { struct_ptr(3, 0, 0) }, 0, 0, 0, 3, CAPNP_KIND_LIST },
		{ UINT64_C(9) << 32 | 3, {}, 0, 0, 0, 0, CAPNP_KIND_CAP },
		{ struct_ptr(0, 1, 1), {}, 0, 0, 0, 0, CAPNP_KIND_STRUCT },
		{ struct_ptr(0, 2, 1), {}, -EBADMSG, 0, 0, 0, CAPNP_KIND_BAD },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t words[4] = { struct_ptr(0, 0, 1), cases[i].ptr, cases[i].word[0],
				      cases[i].word[1] };
		struct span f = frame_of((uint32_t[]){ 4 }, 1, words);
		struct capnp_msg m;
		assert_int_equal(capnp_msg_open(f, &m), 0);
		struct capnp_struct root = capnp_root(&m);
		struct capnp_list list = capnp_get_list(&root, 0);
		assert_int_equal(list.count, cases[i].count);
		assert_int_equal(m.error, cases[i].error);
		capnp_msg_rewind(&m);
		assert_int_equal(capnp_kind(&root, 0), cases[i].kind);
		capnp_msg_rewind(&m);
		assert_int_equal(capnp_get_text(&root, 0).len, cases[i].text_len);
		capnp_msg_rewind(&m);
		assert_int_equal(capnp_get_data(&root, 0).len, cases[i].data_len);
		assert_int_equal(capnp_get_cap(&root, 0),
				 cases[i].kind == CAPNP_KIND_CAP ? 9 : UINT32_MAX);
		assert_int_equal(capnp_kind(&root, 1), m.error ? CAPNP_KIND_BAD : CAPNP_KIND_NULL);
		free((void *)(uintptr_t)f.ptr);
	}
}

/* ---- limits ---- */

static void test_depth(void **state)
{
	(void)state;
	uint8_t buf[4096];
	for (int depth = CAPNP_DEPTH_MAX - 1; depth <= CAPNP_DEPTH_MAX + 1; depth++) {
		struct capnp_builder b;
		struct span frame;
		struct capnp_msg m;
		capnp_build_init(&b, buf, sizeof(buf));
		struct capnp_ref at = capnp_build_root(&b, 1, 1);
		for (int i = 1; i < depth; i++)
			at = capnp_put_struct(&b, at, 0, 1, 1);
		capnp_set_u64(&b, at, 0, 42);
		assert_int_equal(capnp_build_finish(&b, &frame), 0);

		assert_int_equal(capnp_msg_open(frame, &m), 0);
		struct capnp_struct s = capnp_root(&m);
		for (int i = 1; i < depth; i++)
			s = capnp_get_struct(&s, 0);
		bool is_fine = depth <= CAPNP_DEPTH_MAX;
		assert_int_equal(capnp_msg_finish(&m), is_fine ? 0 : -EBADMSG);
		assert_int_equal(capnp_u64(&s, 0), is_fine ? 42 : 0);
	}
}

/* Two pointers to the same three words of data: traversal is charged by what is read. */
static void test_traversal(void **state)
{
	(void)state;
	uint64_t words[] = {
		struct_ptr(0, 0, 2), struct_ptr(1, 3, 0), struct_ptr(0, 3, 0), 1, 2, 3
	};
	struct span f = frame_of((uint32_t[]){ 6 }, 1, words);
	struct capnp_msg m;
	assert_int_equal(capnp_msg_open(f, &m), 0);
	struct capnp_struct root = capnp_root(&m);
	assert_int_equal(m.budget, 48 - 3);
	for (int i = 0; i < 11; i++) {
		struct capnp_struct s = capnp_get_struct(&root, i % 2);
		assert_int_equal(capnp_u64(&s, 16), 3);
	}
	assert_int_equal(m.budget, 1);
	assert_int_equal(capnp_msg_finish(&m), 0);
	struct capnp_struct s = capnp_get_struct(&root, 0);
	assert_int_equal(capnp_u64(&s, 16), 0);
	assert_int_equal(capnp_msg_finish(&m), -EBADMSG);
	free((void *)(uintptr_t)f.ptr);
}

static void test_data_fields(void **state)
{
	(void)state;
	uint64_t words[] = { struct_ptr(0, 1, 0), UINT64_C(0x8877665544332211) };
	struct span f = frame_of((uint32_t[]){ 2 }, 1, words);
	struct capnp_msg m;
	assert_int_equal(capnp_msg_open(f, &m), 0);
	struct capnp_struct s = capnp_root(&m);
	assert_int_equal(capnp_u8(&s, 7), 0x88);
	assert_int_equal(capnp_u8(&s, 8), 0);
	assert_int_equal(capnp_u16(&s, 6), 0x8877);
	assert_int_equal(capnp_u16(&s, 7), 0);
	assert_int_equal(capnp_u32(&s, 4), 0x88776655);
	assert_int_equal(capnp_u32(&s, 5), 0);
	assert_true(capnp_u64(&s, 0) == words[1]);
	assert_int_equal(capnp_u64(&s, 1), 0);
	assert_true(capnp_bit(&s, 0));
	assert_false(capnp_bit(&s, 1));
	assert_true(capnp_bit(&s, 63));
	assert_false(capnp_bit(&s, 64));
	free((void *)(uintptr_t)f.ptr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_need),    cmocka_unit_test(test_segment_limit),
		cmocka_unit_test(test_open_is_exact), cmocka_unit_test(test_root_pointers),
		cmocka_unit_test(test_slots),         cmocka_unit_test(test_depth),
		cmocka_unit_test(test_traversal),     cmocka_unit_test(test_data_fields),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
