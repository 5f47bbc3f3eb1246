/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every truncation and every single-bit flip of every recorded message that decodes: an error or a
 * valid decode, never a crash (style U2). The bytes lie in heap blocks of exactly their size.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "data/edge-protocol.h"

#include "selftests/lib/connect_exercise.h"
#include "selftests/lib/rpc_exercise.h"
#include "util/macro.h"

static bool is_data_stream(const struct vector_case *c)
{
	return c->len > PREAMBLE_MAX && c->octets[0] == 0x0a && c->octets[1] == 0x36;
}

/* The message of a case that reads from its first byte to its last, or nothing. */
static struct span message_of(const struct vector_case *c)
{
	struct span in = vector_span(c);
	size_t need = 0;
	if (is_data_stream(c))
		in = span_skip(in, PREAMBLE_MAX);
	if (capnp_frame_need(in, CAPNP_CONNECT_MAX, &need) < 0 || need > in.len)
		return (struct span){};
	return span_first(in, need);
}

static int decode(const struct vector_case *c, struct span frame)
{
	if (!is_data_stream(c) && vector_get(c, "session"))
		return exercise_rpc(frame);
	if (strcmp(c->direction, "daemon->edge") == 0)
		return exercise_response(frame);
	return exercise_request(frame);
}

/* Whole streams repeat the messages that are cases of their own. */
static bool is_repeated(size_t i)
{
	const char *last = strrchr(vector_cases[i].name, '/') + 1;
	if (strncmp(last, "full-", 5) == 0)
		return true;
	for (size_t k = 0; k < i; k++)
		if (span_eq(vector_span(&vector_cases[k]), vector_span(&vector_cases[i])))
			return true;
	return false;
}

static void test_truncations(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		struct span frame = message_of(c);
		if (frame.len == 0 || is_repeated(i) || decode(c, frame) < 0)
			continue;
		for (size_t len = 0; len < frame.len; len++) {
			struct span cut = vector_heap_copy(span_first(frame, len));
			size_t need = 0;
			assert_int_equal(capnp_frame_need(cut, CAPNP_CONNECT_MAX, &need), 0);
			assert_true(need > len && need <= frame.len);
			assert_true(decode(c, cut) < 0);
			vector_heap_free(cut);
			count++;
		}
	}
	print_message("%u truncations\n", count);
	assert_true(count > 10000);
}

static void test_bit_flips(void **state)
{
	(void)state;
	unsigned int count = 0;
	unsigned int valid = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		struct span frame = message_of(c);
		if (frame.len == 0 || is_repeated(i) || decode(c, frame) < 0)
			continue;
		struct span copy = vector_heap_copy(frame);
		uint8_t *bytes = (uint8_t *)(uintptr_t)copy.ptr;
		for (size_t bit = 0; bit < 8 * frame.len; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
			valid += decode(c, copy) == 0;
			(void)exercise_copy(copy);
			bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
			count++;
		}
		vector_heap_free(copy);
	}
	print_message("%u bit flips, %u of them still decode\n", count, valid);
	assert_true(count > 100000);
}

static void test_preambles(void **state)
{
	(void)state;
	static const uint8_t data[] = { 0x0a, 0x36, 0xcd, 0x12, 0xa1, 0x3e, '0', '1' };
	for (size_t len = 0; len <= sizeof(data); len++) {
		struct span cut = vector_heap_copy(span_of(data, len));
		assert_int_equal(exercise_preamble(cut), len == sizeof(data) ? 0 : -EAGAIN);
		vector_heap_free(cut);
	}
	for (size_t bit = 0; bit < 8 * sizeof(data); bit++) {
		uint8_t flipped[sizeof(data)];
		memcpy(flipped, data, sizeof(data));
		flipped[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(exercise_preamble(span_of(flipped, sizeof(flipped))),
				 bit / 8 >= PREAMBLE_SIGNATURE_LEN ? 0 : -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_bit_flips),
		cmocka_unit_test(test_preambles),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
