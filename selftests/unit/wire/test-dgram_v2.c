/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session datagrams of version 2 against the recorded ones (selftests/data/datagrams.json), their
 * limits, truncations and bit flips. Type 3 sent to a daemon (v2_tracing_span, behaviour) is read
 * here as recorded; that it is dropped there is for the tests of session/.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "data/datagrams.h"

#include "daemon/wire/uuid.h"
#include "selftests/lib/dgram_exercise.h"
#include "util/macro.h"

enum { ROOM = 2048 };

static uint8_t pattern[ROOM];

static bool is_datagram(const struct vector_case *c)
{
	return strncmp(c->name, "v2_", 3) == 0 && vector_is(c, "channel", "quic datagram") &&
	       !vector_get(c, "encode");
}

static void check_session(const struct vector_case *c, const struct dgram2 *d)
{
	char text[UUID_TEXT_LEN + 1];
	struct uuid u;
	assert_int_equal(d->type, DGRAM2_TYPE_PAYLOAD);
	assert_int_equal(uuid_from_span(dgram_id_span(&d->id), &u), 0);
	uuid_format(&u, text);
	assert_string_equal(text, vector_get(c, "demux_session_id"));
	assert_int_equal(d->content.len, vector_number(c, "demux_payload_len"));
	assert_int_equal(d->content.len, vector_number(c, "session_id_offset"));
	assert_int_equal(c->len - 1, vector_number(c, "type_offset"));

	uint8_t tail[DGRAM2_PAYLOAD_TAIL];
	dgram2_payload_tail(&d->id, tail);
	assert_true(span_ends_with(vector_span(c), span_of(tail, sizeof(tail))));
}

static void check_packet(const struct vector_case *c, const struct dgram2 *d)
{
	uint8_t digits[2 * TRACE_LEN], bytes[TRACE_LEN];
	struct packer p = packer_over(bytes, sizeof(bytes));
	struct packer q = packer_over(digits, sizeof(digits));
	assert_true(d->type != DGRAM2_TYPE_PAYLOAD);
	assert_int_equal(d->content.len, vector_number(c, "demux_packet_len"));
	if (d->type != DGRAM2_TYPE_PACKET) {
		trace_write(&p, &d->trace);
		hex_encode(&q, packer_span(&p));
	}
	assert_true(span_eq_str(packer_span(&q), vector_get(c, "demux_metadata_hex")));
}

/* Those without "demux" are answers of the daemon: packets, type 1. */
static void test_recorded(void **state)
{
	(void)state;
	unsigned int sessions = 0, packets = 0, answers = 0, refused = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!is_datagram(c))
			continue;
		uint8_t room[ROOM];
		struct packer p = packer_over(room, sizeof(room));
		struct span in = vector_heap_copy(vector_span(c));
		struct dgram2 d = {};
		int r = dgram2_read(in, &d);
		if (vector_is(c, "demux", "error")) {
			assert_true(r == -ENODATA || r == -EBADMSG);
			vector_heap_free(in);
			refused++;
			continue;
		}
		assert_int_equal(r, 0);
		if (vector_get(c, "datagram_type"))
			assert_int_equal(d.type, vector_number(c, "datagram_type"));
		if (vector_is(c, "demux", "session")) {
			check_session(c, &d);
			sessions++;
		} else if (vector_is(c, "demux", "packet")) {
			check_packet(c, &d);
			packets++;
		} else {
			assert_int_equal(d.type, DGRAM2_TYPE_PACKET);
			answers++;
		}
		assert_int_equal(dgram2_write(&p, &d), 0);
		assert_true(span_eq(packer_span(&p), in));
		vector_heap_free(in);
	}
	assert_int_equal(sessions, 3);
	assert_int_equal(packets, 9);
	assert_int_equal(answers, 16);
	assert_int_equal(refused, 7);
}

/* v2_udp_send_too_large, v2_ip_send_too_large*: what the sender refuses. */
static void test_limits(void **state)
{
	(void)state;
	static const struct {
		enum dgram2_type type;
		size_t max, whole, recorded;
	} cases[] = {
		{ DGRAM2_TYPE_PAYLOAD, 1280, 1297, 1281 }, { DGRAM2_TYPE_PACKET, 1349, 1350, 1350 },
		{ DGRAM2_TYPE_PACKET, 1349, 1350, 1351 },  { DGRAM2_TYPE_TRACED, 1324, 1350, 1325 },
		{ DGRAM2_TYPE_SPANS, 1324, 1350, 1325 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t room[ROOM];
		struct dgram2 d = { .type = cases[i].type,
				    .content = span_of(pattern, cases[i].max) };
		struct packer p = packer_over(room, sizeof(room));
		assert_int_equal(dgram2_content_max(d.type), cases[i].max);
		assert_int_equal(dgram2_write(&p, &d), 0);
		assert_int_equal(p.len, cases[i].whole);
		p = packer_over(room, cases[i].whole - 1);
		assert_int_equal(dgram2_write(&p, &d), -ENOBUFS);
		p = packer_over(room, sizeof(room));
		d.content.len = cases[i].recorded;
		assert_int_equal(dgram2_write(&p, &d), -EMSGSIZE);
		assert_int_equal(p.len, 0);
	}
	/* Received payloads have no limit of their own: 1281 and 1400 were relayed. */
	struct dgram2 d = {};
	pattern[1400 + DGRAM2_PAYLOAD_TAIL - 1] = DGRAM2_TYPE_PAYLOAD;
	assert_int_equal(dgram2_read(span_of(pattern, 1400 + DGRAM2_PAYLOAD_TAIL), &d), 0);
	assert_int_equal(d.content.len, 1400);
}

/* A piece from the end is a datagram as long as the tail is whole; nothing is read too far. */
static void test_truncations(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		struct dgram2 d = {};
		if (!is_datagram(c) || c->len > 128 || dgram2_read(vector_span(c), &d) < 0)
			continue;
		size_t tail = c->len - d.content.len;
		for (size_t len = 0; len < c->len; len++) {
			struct span front = vector_heap_copy(span_first(vector_span(c), len));
			struct span back =
				vector_heap_copy(span_skip(vector_span(c), c->len - len));
			(void)exercise_dgram2(front);
			assert_int_equal(exercise_dgram2(back), len < tail ? -ENODATA : 0);
			vector_heap_free(front);
			vector_heap_free(back);
			count++;
		}
	}
	print_message("%u truncations at each end\n", count);
	assert_true(count > 800);
}

static void test_bit_flips(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!is_datagram(c) || c->len > 128)
			continue;
		count += vector_flip_bits(vector_span(c), exercise_dgram2);
	}
	print_message("%u bit flips\n", count);
	assert_true(count > 5000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_bit_flips),
	};
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)i;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
