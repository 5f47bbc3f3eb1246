/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP headers: options, fragments, extension headers, lengths; sums; what a router changes. Recorded
 * packets are in test-icmp.
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

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {};
	assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
	return a;
}

static struct ip_head head(const char *src, const char *dst, enum ip_protocol protocol)
{
	return (struct ip_head){
		.src = addr(src), .dst = addr(dst), .protocol = protocol, .ttl = 64
	};
}

/* ---- sums ---- */

/* The example of RFC 1071 §3, and a header whose checksum is in many books. */
static void test_sums(void **state)
{
	(void)state;
	static const uint8_t example[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	static const uint8_t ipv4[] = {
		0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
		0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7
	};
	assert_int_equal(ip_sum_fold(ip_sum(0, span_of(example, sizeof(example)))), 0xddf2);
	assert_int_equal(ip_sum_fold(ip_sum(0, span_of(ipv4, sizeof(ipv4)))), 0xffff);
	assert_int_equal(ip_sum_fold(ip_sum(0, (struct span){})), 0);
	assert_int_equal(ip_sum_fold(0x1ffff), 1);
	assert_int_equal(ip_sum_fold(UINT64_C(0xffffffffffff)), 0xffff);

	/* In pieces, of every length: like one 16-bit word after the other. */
	uint8_t bytes[67];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 11);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		uint32_t want = 0;
		for (size_t i = 0; i < len; i++) {
			want += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
			want = (want & 0xffff) + (want >> 16);
		}
		struct span s = vector_heap_copy(span_of(bytes, len));
		for (size_t cut = 0; cut <= len; cut += 2) {
			uint64_t sum = ip_sum(ip_sum(0, span_first(s, cut)), span_skip(s, cut));
			assert_int_equal(ip_sum_fold(sum), want);
		}
		vector_heap_free(s);
	}
}

static void test_checksum_update(void **state)
{
	(void)state;
	uint8_t bytes[20];
	for (unsigned int round = 0; round < 1000; round++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)(round * 31 + i * i * 7);
		uint16_t check = (uint16_t)~ip_sum_fold(ip_sum(0, span_of(bytes, 20)));
		uint8_t before[4];
		memcpy(before, bytes + 8, 4);
		bytes[8 + round % 4] = (uint8_t)(round >> 2);
		check = ip_checksum_update(check, span_of(before, 4), span_of(bytes + 8, 4));
		uint64_t sum = ip_sum(check, span_of(bytes, 20));
		assert_int_equal(ip_sum_fold(sum), 0xffff);
	}
	/* RFC 1624 §4: the form of RFC 1141 gave 0xffff here. */
	static const uint8_t m[] = { 0x55, 0x55 }, m2[] = { 0x32, 0x85 };
	assert_int_equal(ip_checksum_update(0xdd2f, span_of(m, 2), span_of(m2, 2)), 0x0000);
}

/* ---- reading ---- */

static int read_copy(struct span in, struct ip_packet *ret)
{
	struct span copy = vector_heap_copy(in);
	int r = ip_read(copy, ret);
	vector_heap_free(copy);
	return r;
}

static void test_v4_options(void **state)
{
	(void)state;
	static const struct {
		uint8_t ihl;
		uint8_t options[12];
		int want;
	} cases[] = {
		{ 5, {}, 0 },
		{ 6, { 0x94, 4, 0, 0 }, 0 },
		{ 6, { 0x94, 2, 0, 0 }, 0 },
		{ 6, { 1, 1, 0x94, 2 }, 0 },
		{ 6, { 0, 0x94, 99, 0 }, 0 }, /* nothing counts behind the end */
		{ 6, { 0x94, 1, 0, 0 }, -EBADMSG },
		{ 6, { 0x94, 0, 0, 0 }, -EBADMSG },
		{ 6, { 0x94, 5, 0, 0 }, -EBADMSG },
		{ 6, { 1, 1, 1, 0x94 }, -EBADMSG },
		{ 8, { 0x94, 12 }, 0 },
		{ 8, { 0x94, 11, [11] = 1 }, 0 },
		{ 8, { 0x94, 11, [11] = 7 }, -EBADMSG },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[40] = { (uint8_t)(0x40 | cases[i].ihl), 0, 0, 40, [8] = 9, [9] = 17 };
		struct ip_packet p = { .ttl = 77 };
		memcpy(bytes + 20, cases[i].options, sizeof(cases[i].options));
		assert_int_equal(read_copy(span_of(bytes, sizeof(bytes)), &p), cases[i].want);
		if (cases[i].want < 0) {
			assert_int_equal(p.ttl, 77);
			continue;
		}
		assert_int_equal(p.header.len, cases[i].ihl * 4);
		assert_int_equal(p.payload.len, 40 - p.header.len);
		assert_int_equal(p.ttl, 9);
		assert_int_equal(p.protocol, IP_PROTOCOL_UDP);
	}
}

static void test_v4_lengths(void **state)
{
	(void)state;
	static const struct {
		size_t len;
		uint8_t ihl;
		uint16_t total;
		int want;
		size_t payload;
	} cases[] = {
		{ 0, 5, 0, -ENODATA, 0 },    { 1, 5, 20, -ENODATA, 0 },
		{ 19, 5, 20, -ENODATA, 0 },  { 20, 5, 20, 0, 0 },
		{ 20, 5, 0, 0, 0 },          { 30, 5, 0, 0, 10 },
		{ 30, 5, 25, 0, 5 },         { 30, 5, 60000, 0, 10 },
		{ 30, 5, 19, -EBADMSG, 0 },  { 30, 4, 30, -EBADMSG, 0 },
		{ 30, 6, 24, 0, 0 },         { 30, 6, 23, -EBADMSG, 0 },
		{ 20, 6, 100, -ENODATA, 0 }, { 23, 6, 24, -ENODATA, 0 },
		{ 23, 6, 0, -EBADMSG, 0 },   { 30, 15, 100, -ENODATA, 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[30] = { (uint8_t)(0x40 | cases[i].ihl) };
		struct ip_packet p = {};
		store_be16(bytes + 2, cases[i].total);
		struct span in = span_of(bytes, cases[i].len);
		assert_int_equal(read_copy(in, &p), cases[i].want);
		if (cases[i].want < 0)
			continue;
		assert_int_equal(p.payload.len, cases[i].payload);
		assert_int_equal(p.whole.len, cases[i].len);
	}
	for (unsigned int version = 0; version < 16; version++) {
		uint8_t bytes[40] = { (uint8_t)(version << 4 | 5), [5] = 1, [6] = 17 };
		struct ip_packet p = {};
		assert_int_equal(read_copy(span_of(bytes, 40), &p),
				 version == 4 || version == 6 ? 0 : -EBADMSG);
	}
}

static void test_v4_fragments(void **state)
{
	(void)state;
	static const struct {
		uint16_t field;
		bool is_fragment, dont;
		uint16_t offset;
	} cases[] = {
		{ 0x0000, false, false, 0 }, { 0x4000, false, true, 0 },
		{ 0x8000, false, false, 0 }, { 0x2000, true, false, 0 },
		{ 0x0001, true, false, 8 },  { 0x3fff, true, false, 65528 },
		{ 0x6000, true, true, 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[28] = { 0x45, 0, 0, 28, [9] = 1, [12] = 10, [16] = 10, [20] = 8 };
		struct ip_packet p = {};
		struct icmp_message m = {};
		store_be16(bytes + 6, cases[i].field);
		assert_int_equal(ip_read(span_of(bytes, sizeof(bytes)), &p), 0);
		assert_int_equal(p.is_fragment, cases[i].is_fragment);
		assert_int_equal(p.dont_fragment, cases[i].dont);
		assert_int_equal(p.fragment_offset, cases[i].offset);
		assert_int_equal(icmp_read(&p, &m), p.is_fragment ? -EBADMSG : 0);
		assert_int_equal(ip_may_report(&p, false), p.fragment_offset == 0);
	}
}

static void test_v6_headers(void **state)
{
	(void)state;
	static const struct {
		uint8_t next;      /* in the first header */
		uint8_t inner[16]; /* what follows */
		int want;
		enum ip_protocol protocol;
		size_t header;
	} cases[] = {
		{ 17, {}, 0, IP_PROTOCOL_UDP, 40 },
		{ 0, { 58, 0 }, 0, IP_PROTOCOL_ICMP6, 48 },
		{ 0, { 58, 1 }, 0, IP_PROTOCOL_ICMP6, 56 },
		{ 0, { 58, 2 }, -ENODATA, 0, 0 },
		{ 0, { 58, 255 }, -ENODATA, 0, 0 },
		{ 0, { 0, 0, [8] = 58 }, 0, IP_PROTOCOL_HOP_BY_HOP, 48 }, /* only one is skipped */
		{ 60, { 58, 0 }, 0, (enum ip_protocol)60, 40 },
		{ 43, { 58, 0 }, 0, (enum ip_protocol)43, 40 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[56] = { 0x6a, 0xb0, [5] = 16, [6] = cases[i].next, [7] = 3 };
		struct ip_packet p = {};
		memcpy(bytes + 40, cases[i].inner, 16);
		assert_int_equal(read_copy(span_of(bytes, sizeof(bytes)), &p), cases[i].want);
		if (cases[i].want < 0)
			continue;
		assert_int_equal(p.protocol, cases[i].protocol);
		assert_int_equal(p.header.len, cases[i].header);
		assert_int_equal(p.payload.len, 56 - cases[i].header);
		assert_int_equal(p.tos, 0xab);
		assert_int_equal(p.ttl, 3);
		assert_true(p.dont_fragment && !p.is_fragment);
	}
	uint8_t cut[] = { 0x60, 0, 0, 0, 0, 16, 0, [40] = 58 };
	struct ip_packet p = {};
	assert_int_equal(read_copy(span_of(cut, sizeof(cut)), &p), -ENODATA);
}

static void test_v6_fragments_and_lengths(void **state)
{
	(void)state;
	uint8_t bytes[56] = {
		0x60, 0,          0,           0,         0, 16,   IP_PROTOCOL_FRAGMENT,
		64,   [8] = 0x20, [24] = 0x20, [40] = 17, 0, 0x04, 0xd1
	};
	struct ip_packet p = {};
	assert_int_equal(read_copy(span_of(bytes, sizeof(bytes)), &p), 0);
	assert_true(p.is_fragment && p.fragment_offset == 0x4d0);
	assert_false(ip_may_report(&p, true));
	store_be16(bytes + 42, 1); /* the first piece */
	assert_int_equal(read_copy(span_of(bytes, sizeof(bytes)), &p), 0);
	assert_true(p.is_fragment && p.fragment_offset == 0);
	assert_true(ip_may_report(&p, false));
	assert_int_equal(read_copy(span_of(bytes, 43), &p), 0); /* cut: still one */
	assert_true(p.is_fragment && p.fragment_offset == 0);

	bytes[6] = 17;
	static const struct {
		size_t len;
		uint16_t field;
		int want;
		size_t payload;
	} cases[] = { { 39, 16, -ENODATA, 0 }, { 40, 16, 0, 0 },      { 56, 0, -EBADMSG, 0 },
		      { 56, 8, 0, 8 },         { 56, 0xffff, 0, 16 }, { 56, 16, 0, 16 } };
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		store_be16(bytes + 4, cases[i].field);
		assert_int_equal(read_copy(span_of(bytes, cases[i].len), &p), cases[i].want);
		if (cases[i].want == 0)
			assert_int_equal(p.payload.len, cases[i].payload);
	}
}

/* ---- errors about it? ---- */

static void test_may_report(void **state)
{
	(void)state;
	static const struct {
		const char *src, *dst;
		enum ip_protocol protocol;
		uint8_t type;
		bool want, want_too_big;
	} cases[] = {
		{ "10.0.0.1", "10.0.0.2", IP_PROTOCOL_UDP, 3, true, true },
		{ "10.0.0.1", "10.0.0.2", IP_PROTOCOL_ICMP4, 8, true, true },
		{ "10.0.0.1", "10.0.0.2", IP_PROTOCOL_ICMP4, 0, true, true },
		{ "10.0.0.1", "10.0.0.2", IP_PROTOCOL_ICMP4, 13, true, true },
		{ "10.0.0.1", "10.0.0.2", IP_PROTOCOL_ICMP4, 3, false, false },
		{ "10.0.0.1", "10.0.0.2", IP_PROTOCOL_ICMP4, 4, false, false },
		{ "10.0.0.1", "10.0.0.2", IP_PROTOCOL_ICMP4, 5, false, false },
		{ "10.0.0.1", "10.0.0.2", IP_PROTOCOL_ICMP4, 11, false, false },
		{ "10.0.0.1", "10.0.0.2", IP_PROTOCOL_ICMP4, 12, false, false },
		{ "0.0.0.0", "10.0.0.2", IP_PROTOCOL_UDP, 0, false, false },
		{ "127.0.0.1", "10.0.0.2", IP_PROTOCOL_UDP, 0, false, false },
		{ "224.0.0.1", "10.0.0.2", IP_PROTOCOL_UDP, 0, false, false },
		{ "255.255.255.255", "10.0.0.2", IP_PROTOCOL_UDP, 0, false, false },
		{ "10.0.0.1", "224.0.0.5", IP_PROTOCOL_UDP, 0, false, false },
		{ "10.0.0.1", "255.255.255.255", IP_PROTOCOL_UDP, 0, false, false },
		{ "2001:db8::1", "2001:db8::2", IP_PROTOCOL_UDP, 0, true, true },
		{ "2001:db8::1", "2001:db8::2", IP_PROTOCOL_ICMP6, 128, true, true },
		{ "2001:db8::1", "2001:db8::2", IP_PROTOCOL_ICMP6, 1, false, false },
		{ "2001:db8::1", "2001:db8::2", IP_PROTOCOL_ICMP6, 127, false, false },
		{ "2001:db8::1", "2001:db8::2", IP_PROTOCOL_ICMP6, 137, false, false },
		{ "::", "2001:db8::2", IP_PROTOCOL_UDP, 0, false, false },
		{ "::1", "2001:db8::2", IP_PROTOCOL_UDP, 0, false, false },
		{ "ff02::1", "2001:db8::2", IP_PROTOCOL_UDP, 0, false, false },
		{ "2001:db8::1", "ff02::1", IP_PROTOCOL_UDP, 0, false, true },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t room[64];
		struct packer p = packer_over(room, sizeof(room));
		struct ip_head h = head(cases[i].src, cases[i].dst, cases[i].protocol);
		struct ip_packet q = {};
		assert_int_equal(ip_head_write(&p, &h, 8), 0);
		packer_u8(&p, cases[i].type);
		packer_zero(&p, 7);
		assert_int_equal(ip_read(packer_span(&p), &q), 0);
		assert_int_equal(ip_may_report(&q, false), cases[i].want);
		assert_int_equal(ip_may_report(&q, true), cases[i].want_too_big);
		/* Without its type an ICMP message could be an error. */
		q.payload.len = 0;
		if (cases[i].protocol != IP_PROTOCOL_UDP)
			assert_false(ip_may_report(&q, true));
	}
}

/* ---- writing ---- */

static void test_heads(void **state)
{
	(void)state;
	uint8_t room[IP_HEAD_MAX];
	struct ip_packet p = {};
	struct ip_head h = head("192.0.2.1", "198.51.100.2", IP_PROTOCOL_UDP);
	h.tos = 0xb8;
	h.id = 0x1234;
	h.dont_fragment = true;
	struct packer out = packer_over(room, sizeof(room));
	assert_int_equal(ip_head_write(&out, &h, 100), 0);
	assert_int_equal(ip_read(packer_span(&out), &p), 0);
	assert_true(ip_checksum_ok(&p) && p.dont_fragment && !p.is_fragment);
	assert_true(p.tos == 0xb8 && p.ttl == 64 && p.protocol == IP_PROTOCOL_UDP);
	assert_true(ip_addr_eq(&p.src, &h.src) && ip_addr_eq(&p.dst, &h.dst));
	assert_int_equal(load_be16(room + 2), 120);
	assert_true(load_be16(room + 4) == 0x1234 && p.id == 0x1234 && p.flow_label == 0);

	h = head("2001:db8::1", "2001:db8::2", IP_PROTOCOL_ICMP6);
	h.tos = 0xb8;
	h.flow_label = 0xfabcde;
	out = packer_over(room, sizeof(room));
	assert_int_equal(ip_head_write(&out, &h, 65535), 0);
	assert_int_equal(ip_read(packer_span(&out), &p), 0);
	assert_true(p.tos == 0xb8 && p.ttl == 64 && p.protocol == IP_PROTOCOL_ICMP6);
	assert_int_equal(load_be16(room + 4), 65535);
	assert_true(p.flow_label == 0xabcde && p.id == 0);
	out = packer_over(room, sizeof(room));
	assert_int_equal(ip_head_write(&out, &h, 65536), -EMSGSIZE);
	h.dst = addr("10.0.0.1");
	assert_int_equal(ip_head_write(&out, &h, 1), -EINVAL);
	h = (struct ip_head){};
	assert_int_equal(ip_head_write(&out, &h, 1), -EINVAL);
	h = head("10.0.0.1", "10.0.0.2", IP_PROTOCOL_UDP);
	assert_int_equal(ip_head_write(&out, &h, 65516), -EMSGSIZE);
	assert_int_equal(ip_head_write(&out, &h, 65515), 0);
	assert_int_equal(ip_head_write(&out, &h, 1), 0);
	assert_int_equal(ip_head_write(&out, &h, 1), -ENOBUFS);
	assert_int_equal(ip_head_len(IP_FAMILY_V4), 20);
	assert_int_equal(ip_head_len(IP_FAMILY_V6), 40);
	assert_int_equal(ip_head_len(IP_FAMILY_NONE), 0);
}

/* ---- changing ---- */

static void test_decrement(void **state)
{
	(void)state;
	static const char *const pairs[][2] = { { "10.0.0.1", "10.0.0.2" },
						{ "2001:db8::1", "2001:db8::2" } };
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		for (unsigned int ttl = 1; ttl < 256; ttl++) {
			uint8_t room[IP_HEAD_MAX], want[IP_HEAD_MAX];
			struct ip_head h = head(pairs[i][0], pairs[i][1], IP_PROTOCOL_UDP);
			struct packer a = packer_over(room, sizeof(room));
			struct packer b = packer_over(want, sizeof(want));
			h.ttl = (uint8_t)ttl;
			assert_int_equal(ip_head_write(&a, &h, 8), 0);
			h.ttl--;
			assert_int_equal(ip_head_write(&b, &h, 8), 0);
			ip_decrement_ttl(room);
			assert_true(span_eq(packer_span(&a), packer_span(&b)));
		}
	}
}

/* A packet of every kind that knows its addresses, made with these. */
static struct span build(uint8_t room[ROOM], enum ip_protocol protocol, const struct ip_addr *src,
			 const struct ip_addr *dst)
{
	struct packer p = packer_over(room, ROOM);
	struct ip_head h = { .src = *src, .dst = *dst, .protocol = protocol, .ttl = 9 };
	struct icmp_echo e = { .src = *src, .dst = *dst, .ttl = 9, .data = SPAN_LIT("12345") };
	struct ip_udp u = { .src_port = 1, .dst_port = 2, .payload = SPAN_LIT("123") };
	if (protocol == IP_PROTOCOL_ICMP4 || protocol == IP_PROTOCOL_ICMP6) {
		assert_int_equal(icmp_echo_write(&p, &e), 0);
	} else if (protocol == IP_PROTOCOL_UDP) {
		assert_int_equal(ip_udp_write(&p, &h, &u), 0);
	} else {
		uint8_t tcp[21] = { [3] = 80, [12] = 0x50, [20] = 'x' };
		uint64_t sum = ip_sum_pseudo(src, dst, IP_PROTOCOL_TCP, sizeof(tcp));
		sum = ip_sum(sum, span_of(tcp, sizeof(tcp)));
		store_be16(tcp + 16, (uint16_t)~ip_sum_fold(sum));
		assert_int_equal(ip_head_write(&p, &h, sizeof(tcp)), 0);
		packer_bytes(&p, span_of(tcp, sizeof(tcp)));
	}
	return packer_span(&p);
}

static void check_readdress(enum ip_protocol protocol, const char *const names[4])
{
	uint8_t a[ROOM], b[ROOM];
	struct ip_addr src = addr(names[0]), dst = addr(names[1]);
	struct ip_addr src2 = addr(names[2]), dst2 = addr(names[3]);
	struct span s = build(a, protocol, &src, &dst);
	assert_int_equal(ip_readdress(a, s.len, &src2, NULL), 0);
	assert_true(span_eq(s, build(b, protocol, &src2, &dst)));
	assert_int_equal(ip_readdress(a, s.len, NULL, &dst2), 0);
	assert_true(span_eq(s, build(b, protocol, &src2, &dst2)));
	assert_int_equal(ip_readdress(a, s.len, &src, &dst), 0);
	assert_true(span_eq(s, build(b, protocol, &src, &dst)));
	assert_int_equal(ip_readdress(a, s.len, NULL, NULL), 0);
	struct ip_addr none = {};
	assert_int_equal(ip_readdress(a, s.len, &none, NULL), -EINVAL);
	assert_int_equal(ip_readdress(a, s.len, NULL, &none), -EINVAL);
	assert_true(span_eq(s, build(b, protocol, &src, &dst)));
	assert_int_equal(ip_readdress(a, 19, &src, NULL), -ENODATA);
}

static void test_readdress(void **state)
{
	(void)state;
	static const char *const v4[] = { "10.0.0.1", "10.0.0.2", "192.0.2.77", "203.0.113.200" };
	static const char *const v6[] = { "2001:db8::1", "fd00::2", "fd77:1:2:3:4:5:6:7", "::1" };
	check_readdress(IP_PROTOCOL_ICMP4, v4);
	check_readdress(IP_PROTOCOL_UDP, v4);
	check_readdress(IP_PROTOCOL_TCP, v4);
	check_readdress(IP_PROTOCOL_ICMP6, v6);
	check_readdress(IP_PROTOCOL_UDP, v6);
	check_readdress(IP_PROTOCOL_TCP, v6);
}

static void test_readdress_without_checksum(void **state)
{
	(void)state;
	uint8_t a[ROOM], before[ROOM];
	struct ip_addr src = addr("10.0.0.1"), to = addr("10.9.9.9");
	struct ip_packet p = {};

	/* UDP that has none keeps none. */
	struct span s = build(a, IP_PROTOCOL_UDP, &src, &src);
	store_be16(a + 26, 0);
	assert_int_equal(ip_readdress(a, s.len, &to, NULL), 0);
	assert_int_equal(load_be16(a + 26), 0);

	/* One that becomes 0 is sent as 0xffff. */
	s = build(a, IP_PROTOCOL_UDP, &src, &src);
	uint16_t check = load_be16(a + 26);
	struct ip_addr zero = src;
	store_be16(zero.bytes + 2, ip_sum_fold((uint64_t)load_be16(src.bytes + 2) + check));
	assert_int_equal(ip_readdress(a, s.len, &zero, NULL), 0);
	assert_int_equal(load_be16(a + 26), 0xffff);
	assert_int_equal(ip_read(s, &p), 0);
	assert_true(ip_udp_checksum_ok(&p));

	/* Later pieces have none where it would be. */
	s = build(a, IP_PROTOCOL_UDP, &src, &src);
	store_be16(a + 6, 1);
	memcpy(before, a, s.len);
	assert_int_equal(ip_readdress(a, s.len, &to, NULL), 0);
	assert_memory_equal(a + 20, before + 20, s.len - 20);

	/* Where it is cut off nothing is written. */
	for (size_t len = 20; len < 28; len++) {
		(void)build(a, IP_PROTOCOL_UDP, &src, &src);
		struct span cut = vector_heap_copy(span_of(a, len));
		assert_int_equal(ip_readdress((uint8_t *)(uintptr_t)cut.ptr, len, &to, &to), 0);
		vector_heap_free(cut);
	}

	/* Behind IPv6 extension headers it can't be found. */
	struct ip_addr six = addr("2001:db8::1");
	s = build(a, IP_PROTOCOL_UDP, &six, &six);
	memcpy(before, a, s.len);
	static const uint8_t extensions[] = { 43, 44, 51, 60, 135, 139, 140 };
	for (size_t i = 0; i < ARRAY_SIZE(extensions); i++) {
		a[6] = before[6] = extensions[i];
		assert_int_equal(ip_readdress(a, s.len, &six, &six), -EBADMSG);
		assert_memory_equal(a, before, s.len);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sums),
		cmocka_unit_test(test_checksum_update),
		cmocka_unit_test(test_v4_options),
		cmocka_unit_test(test_v4_lengths),
		cmocka_unit_test(test_v4_fragments),
		cmocka_unit_test(test_v6_headers),
		cmocka_unit_test(test_v6_fragments_and_lengths),
		cmocka_unit_test(test_may_report),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_decrement),
		cmocka_unit_test(test_readdress),
		cmocka_unit_test(test_readdress_without_checksum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
