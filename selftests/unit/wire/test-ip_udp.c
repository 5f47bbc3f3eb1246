/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP with IP headers: reading, lengths, both kinds of checksum.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/wire/endpoint.h"
#include "selftests/lib/ip_exercise.h"
#include "selftests/lib/vectors.h"

enum { ROOM = 2048 };

static const char *const pairs[][2] = { { "192.0.2.1", "192.0.2.99" },
					{ "2001:db8::1", "2001:db8::99" } };

static struct ip_head head(size_t pair)
{
	struct ip_head h = { .ttl = 64, .dont_fragment = true };
	assert_int_equal(ip_addr_parse(span_str(pairs[pair][0]), &h.src), 0);
	assert_int_equal(ip_addr_parse(span_str(pairs[pair][1]), &h.dst), 0);
	return h;
}

/* The checksums were worked out by another program. */
static void test_known(void **state)
{
	(void)state;
	/* clang-format off */
	static const uint8_t packet[] = {
		0x45, 0x00, 0x00, 0x21, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x3c, 0xca,
		0x7f, 0x00, 0x00, 0x01, 0x7f, 0x00, 0x00, 0x01,
		0x30, 0x39, 0x00, 0x35, 0x00, 0x0d, 0x8d, 0x91, 'h', 'e', 'l', 'l', 'o',
	};
	/* clang-format on */
	struct ip_packet p = {};
	struct ip_udp u = {};
	assert_int_equal(ip_read(span_of(packet, sizeof(packet)), &p), 0);
	assert_int_equal(ip_udp_read(&p, &u), 0);
	assert_true(u.src_port == 12345 && u.dst_port == 53 && span_eq_str(u.payload, "hello"));
	assert_true(ip_checksum_ok(&p));
	assert_true(ip_udp_checksum_ok(&p));
	struct ip_head h = { .src = p.src, .dst = p.dst, .ttl = 64, .dont_fragment = true };
	uint8_t room[64];
	struct packer out = packer_over(room, sizeof(room));
	assert_int_equal(ip_udp_write(&out, &h, &u), 0);
	assert_true(span_eq(packer_span(&out), p.whole));
}

static void test_round_trips(void **state)
{
	(void)state;
	uint8_t payload[1500];
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		for (size_t len = 0; len <= sizeof(payload); len += len < 40 ? 1 : 137) {
			uint8_t room[ROOM], partial[64];
			struct packer p = packer_over(room, sizeof(room));
			struct packer q = packer_over(partial, sizeof(partial));
			struct ip_head h = head(i);
			struct ip_udp u = { .src_port = 1000,
					    .dst_port = 53,
					    .payload = span_of(payload, len) };
			assert_int_equal(ip_udp_write(&p, &h, &u), 0);
			struct span in = vector_heap_copy(packer_span(&p));
			struct ip_packet packet = {};
			struct ip_udp v = {};
			assert_int_equal(ip_read(in, &packet), 0);
			assert_int_equal(ip_udp_read(&packet, &v), 0);
			assert_true(v.src_port == 1000 && v.dst_port == 53);
			assert_true(span_eq(v.payload, u.payload));
			assert_true(ip_udp_checksum_ok(&packet));
			vector_heap_free(in);

			/* What a device does with the partial one makes the same checksum. */
			assert_int_equal(ip_udp_write_partial(&q, &h, &u, len), 0);
			uint64_t sum = ip_sum(0, span_skip(packer_span(&q), q.len - UDP_HEAD_LEN));
			uint16_t check = (uint16_t)~ip_sum_fold(ip_sum(sum, u.payload));
			assert_int_equal(check ? check : 0xffff, v.checksum);
			assert_memory_equal(room, partial, q.len - 2);
		}
	}
}

static void test_lengths(void **state)
{
	(void)state;
	static const struct {
		size_t have;
		uint16_t field;
		int want;
		size_t payload;
	} cases[] = {
		{ 7, 8, -ENODATA, 0 }, { 8, 8, 0, 0 },   { 8, 7, -EBADMSG, 0 },
		{ 8, 0, -EBADMSG, 0 }, { 12, 10, 0, 2 }, { 12, 12, 0, 4 },
		{ 12, 1000, 0, 4 }, /* a quote */
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t room[64];
		struct packer p = packer_over(room, sizeof(room));
		struct ip_head h = head(0);
		struct ip_packet packet = {};
		struct ip_udp u = { .src_port = 7 };
		h.protocol = IP_PROTOCOL_UDP;
		assert_int_equal(ip_head_write(&p, &h, cases[i].have), 0);
		packer_be32(&p, 0);
		packer_be16(&p, cases[i].field);
		packer_zero(&p, 6);
		struct span in =
			vector_heap_copy(span_first(packer_span(&p), IP4_HEAD_LEN + cases[i].have));
		assert_int_equal(ip_read(in, &packet), 0);
		assert_int_equal(ip_udp_read(&packet, &u), cases[i].want);
		if (cases[i].want == 0)
			assert_int_equal(u.payload.len, cases[i].payload);
		else
			assert_false(ip_udp_checksum_ok(&packet));
		vector_heap_free(in);
	}
}

static void test_refused(void **state)
{
	(void)state;
	uint8_t room[ROOM];
	struct packer p = packer_over(room, sizeof(room));
	struct ip_udp u = { .payload = SPAN_LIT("12345") };
	struct ip_head h = head(0);
	struct ip_packet packet = {};
	assert_int_equal(ip_udp_write(&p, &h, &u), 0);
	assert_int_equal(ip_read(packer_span(&p), &packet), 0);
	packet.protocol = IP_PROTOCOL_TCP;
	assert_int_equal(ip_udp_read(&packet, &u), -EBADMSG);
	packet.protocol = IP_PROTOCOL_UDP;
	packet.is_fragment = true;
	assert_int_equal(ip_udp_read(&packet, &u), -EBADMSG);

	/* Without a checksum: right in IPv4 only. */
	packet.is_fragment = false;
	store_be16(room + 26, 0);
	assert_true(ip_udp_checksum_ok(&packet));
	packet.src.family = IP_FAMILY_V6;
	assert_false(ip_udp_checksum_ok(&packet));

	p = packer_over(room, sizeof(room));
	assert_int_equal(ip_udp_write_partial(&p, &h, &u, 65508), -EMSGSIZE);
	assert_int_equal(ip_udp_write_partial(&p, &h, &u, SIZE_MAX), -EMSGSIZE);
	assert_int_equal(p.len, 0);
	assert_int_equal(ip_udp_write_partial(&p, &h, &u, 65507), 0);
	h = head(1);
	assert_int_equal(ip_udp_write_partial(&p, &h, &u, 65528), -EMSGSIZE);
	assert_int_equal(ip_udp_write_partial(&p, &h, &u, 65527), 0);
	p = packer_over(room, 48);
	assert_int_equal(ip_udp_write(&p, &h, &u), -ENOBUFS);
	p = packer_over(room, 47);
	assert_int_equal(ip_udp_write(&p, &h, &u), -ENOBUFS);
	h.src = h.dst = (struct ip_addr){};
	p = packer_over(room, sizeof(room));
	assert_int_equal(ip_udp_write(&p, &h, &u), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
