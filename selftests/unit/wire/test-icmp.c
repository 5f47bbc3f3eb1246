/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP against the recorded packets (selftests/data/datagrams.json): what is read of them, and that
 * our answers are the same bytes. Overrides: ipdecode_v4_option_len_2 is read (row 18), a time
 * exceeded message isn't answered (row 15), names of decoder errors aren't asserted. What TTL the
 * echo of v*_icmp4_echo_reply_ttl_2 leaves with is for the tests of session/ (row 21).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "data/datagrams.h"

#include "daemon/wire/dgram_v2.h"
#include "daemon/wire/dgram_v3.h"
#include "daemon/wire/endpoint.h"
#include "selftests/lib/ip_exercise.h"

enum { ROOM = 2048 };

static bool is_named(const struct vector_case *c, const char *part)
{
	return strstr(c->name, part) != NULL;
}

static const struct vector_case *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++)
		if (strcmp(vector_cases[i].name, name) == 0)
			return &vector_cases[i];
	fail_msg("no vector %s", name);
	return NULL;
}

static void assert_addr(const struct ip_addr *a, const char *want)
{
	uint8_t text[ADDR_TEXT_MAX];
	struct packer p = packer_over(text, sizeof(text));
	ip_addr_print(&p, a);
	assert_true(span_eq_str(packer_span(&p), want));
}

/* The packet in a case: bare, or without what the versions put around it. */
static struct span packet_of(const struct vector_case *c)
{
	struct span packet = vector_span(c);
	struct dgram2 d = {};
	if (strncmp(c->name, "v3_", 3) == 0) {
		assert_int_equal(dgram3_icmp_read(vector_span(c), &packet), 0);
	} else if (strncmp(c->name, "v2_", 3) == 0) {
		assert_int_equal(dgram2_read(vector_span(c), &d), 0);
		packet = d.content;
	}
	return packet;
}

/* ---- reading ---- */

static void check_kind(const struct vector_case *c, const struct icmp_message *m)
{
	static const struct {
		const char *name;
		enum icmp_kind kind;
	} kinds[] = {
		{ "TimeExceeded", ICMP_KIND_TIME_EXCEEDED },
		{ "DstUnreach", ICMP_KIND_UNREACHABLE },
		{ "RawBody", ICMP_KIND_OTHER },
	};
	if (vector_is(c, "icmp_body_kind", "Echo")) {
		assert_true(m->kind == ICMP_KIND_ECHO_REQUEST || m->kind == ICMP_KIND_ECHO_REPLY);
		assert_int_equal(m->id, vector_number(c, "echo_id"));
		assert_int_equal(m->seq, vector_number(c, "echo_seq"));
		assert_int_equal(m->data.len, vector_number(c, "echo_data_len"));
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (vector_is(c, "icmp_body_kind", kinds[i].name))
			assert_int_equal(m->kind, kinds[i].kind);
	if (vector_get(c, "quoted_len"))
		assert_int_equal(m->data.len, vector_number(c, "quoted_len"));
}

static void check_fields(const struct vector_case *c, const struct ip_packet *p,
			 const struct icmp_message *m)
{
	assert_addr(&p->src, vector_get(c, "ip_src"));
	assert_addr(&p->dst, vector_get(c, "ip_dst"));
	assert_int_equal(p->ttl, vector_number(c, "ip_ttl"));
	/* Recorded is the number in the first header; ours is the payload's. */
	if (is_named(c, "hop_by_hop"))
		assert_int_equal(p->protocol, IP_PROTOCOL_ICMP6);
	else
		assert_int_equal(p->protocol, vector_number(c, "ip_protocol"));
	assert_int_equal(m->type, vector_number(c, "icmp_type"));
	assert_int_equal(m->code, vector_number(c, "icmp_code"));
	assert_int_equal(m->checksum, vector_number(c, "icmp_checksum"));
	check_kind(c, m);
}

static int read_both(struct span packet, struct ip_packet *ret_ip, struct icmp_message *ret)
{
	int r = ip_read(packet, ret_ip);
	return r < 0 ? r : icmp_read(ret_ip, ret);
}

static void test_recorded_packets(void **state)
{
	(void)state;
	unsigned int good = 0, bad = 0, overridden = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!vector_get(c, "icmp_decode"))
			continue;
		struct span in = vector_heap_copy(packet_of(c));
		struct ip_packet p = {};
		struct icmp_message m = {};
		int r = read_both(in, &p, &m);
		if (strcmp(c->name, "ipdecode_v4_option_len_2") == 0) {
			assert_int_equal(r, 0);
			assert_int_equal(m.kind, ICMP_KIND_ECHO_REQUEST);
			assert_int_equal(p.header.len, 24);
			overridden++;
		} else if (vector_is(c, "icmp_decode", "ok")) {
			assert_int_equal(r, 0);
			check_fields(c, &p, &m);
			good++;
		} else {
			assert_true(r == -EBADMSG || r == -ENODATA);
			bad++;
		}
		vector_heap_free(in);
	}
	assert_int_equal(good, 53);
	assert_int_equal(bad, 18);
	assert_int_equal(overridden, 1);
}

/* The choice of row 18: read whatever the checksums are; who wants to know asks. */
static void test_checksums(void **state)
{
	(void)state;
	unsigned int good = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!vector_is(c, "icmp_decode", "ok") || strncmp(c->name, "ipdecode", 8) == 0)
			continue;
		struct ip_packet p = {};
		struct icmp_message m = {};
		assert_int_equal(read_both(packet_of(c), &p, &m), 0);
		assert_true(ip_checksum_ok(&p));
		assert_true(icmp_checksum_ok(&p));
		good++;
	}
	assert_int_equal(good, 38);
	static const struct {
		const char *name;
		bool ip, icmp;
	} cases[] = {
		{ "ipdecode_v4_bad_ip_checksum", false, true },
		{ "ipdecode_v4_bad_icmp_checksum", true, false },
		{ "ipdecode_v6_bad_checksum", true, false },
		{ "ipdecode_v6_hop_by_hop", true, true },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ip_packet p = {};
		struct icmp_message m = {};
		assert_int_equal(read_both(packet_of(find(cases[i].name)), &p, &m), 0);
		assert_int_equal(ip_checksum_ok(&p), cases[i].ip);
		assert_int_equal(icmp_checksum_ok(&p), cases[i].icmp);
	}
}

/* ---- answers ---- */

/* The packet that an answer was recorded for. */
static struct span request_of(const struct vector_case *c, struct packer *room)
{
	const char *digits = vector_get(c, "request_hex");
	if (!digits)
		return packet_of(find(vector_get(c, "request")));
	assert_int_equal(hex_decode(span_str(digits), room), 0);
	return span_skip(packer_span(room), DGRAM3_ICMP_HEAD);
}

static void test_echo_replies(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!is_named(c, "_echo_reply") || strncmp(c->name, "v3_", 3) != 0)
			continue;
		uint8_t request[128], room[ROOM];
		struct packer q = packer_over(request, sizeof(request));
		struct packer p = packer_over(room, sizeof(room));
		struct ip_packet asked = {};
		struct icmp_message m = {};
		assert_int_equal(read_both(request_of(c, &q), &asked, &m), 0);
		struct icmp_echo reply = { .src = asked.dst,
					   .dst = asked.src,
					   .ttl = ICMP_TTL,
					   .is_reply = true,
					   .code = m.code,
					   .id = m.id,
					   .seq = m.seq,
					   .data = m.data };
		assert_int_equal(icmp_echo_write(&p, &reply), 0);
		assert_true(span_eq(packer_span(&p), packet_of(c)));
		/* The same in version 2. */
		char name[96];
		(void)snprintf(name, sizeof(name), "v2_%s", c->name + 3);
		assert_true(span_eq(packer_span(&p), packet_of(find(name))));
		count++;
	}
	assert_int_equal(count, 6);
}

static void test_time_exceeded(void **state)
{
	(void)state;
	unsigned int count = 0, unanswered = 0;
	struct ip_addr v4 = {}, v6 = {};
	assert_int_equal(ip_addr_parse(SPAN_LIT("10.77.0.1"), &v4), 0);
	assert_int_equal(ip_addr_parse(SPAN_LIT("fd77::1"), &v6), 0);
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!is_named(c, "_time_exceeded"))
			continue;
		uint8_t room[ICMP_ERROR_MAX];
		struct packer p = packer_over(room, sizeof(room));
		struct span request = packet_of(find(vector_get(c, "request")));
		struct ip_packet asked = {};
		assert_int_equal(ip_read(request, &asked), 0);
		bool is_error = is_named(c, "_error_time_exceeded");
		assert_int_equal(ip_may_report(&asked, false), !is_error);
		unanswered += is_error;
		struct icmp_error e = { .src = asked.src.family == IP_FAMILY_V4 ? v4 : v6,
					.dst = asked.src,
					.kind = ICMP_KIND_TIME_EXCEEDED,
					.quote = request };
		if (is_named(c, "_src_unspecified"))
			e.src = (struct ip_addr){ .family = IP_FAMILY_V4 };
		assert_int_equal(icmp_error_write(&p, &e), 0);
		assert_true(span_eq(packer_span(&p), packet_of(c)));
		count++;
	}
	assert_int_equal(count, 21);
	assert_int_equal(unanswered, 2);
}

/* ---- errors ---- */

static struct span some_packet(enum ip_family family)
{
	return packet_of(
		find(family == IP_FAMILY_V4 ? "v3_icmp4_echo_request" : "v3_icmp6_echo_request"));
}

static void test_types_and_codes(void **state)
{
	(void)state;
	static const struct {
		enum ip_family family;
		enum icmp_kind kind;
		uint8_t code, want_type, want_code;
		uint32_t mtu, want_mtu;
	} cases[] = {
		{ IP_FAMILY_V4, ICMP_KIND_UNREACHABLE, 13, 3, 13, 7, 0 },
		{ IP_FAMILY_V4, ICMP_KIND_TOO_BIG, 9, 3, 4, 1300, 1300 },
		{ IP_FAMILY_V4, ICMP_KIND_TOO_BIG, 0, 3, 4, 70000, 65535 },
		{ IP_FAMILY_V4, ICMP_KIND_TIME_EXCEEDED, 1, 11, 1, 7, 0 },
		{ IP_FAMILY_V4, ICMP_KIND_BAD_PARAMETER, 0, 12, 0, 7, 0 },
		{ IP_FAMILY_V6, ICMP_KIND_UNREACHABLE, 4, 1, 4, 7, 0 },
		{ IP_FAMILY_V6, ICMP_KIND_TOO_BIG, 9, 2, 0, 70000, 70000 },
		{ IP_FAMILY_V6, ICMP_KIND_TIME_EXCEEDED, 0, 3, 0, 7, 0 },
		{ IP_FAMILY_V6, ICMP_KIND_BAD_PARAMETER, 1, 4, 1, 7, 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t room[ICMP_ERROR_MAX];
		struct packer out = packer_over(room, sizeof(room));
		struct ip_packet about = {}, p = {};
		struct icmp_message m = {};
		assert_int_equal(ip_read(some_packet(cases[i].family), &about), 0);
		struct icmp_error e = { .src = about.dst,
					.dst = about.src,
					.kind = cases[i].kind,
					.code = cases[i].code,
					.mtu = cases[i].mtu,
					.quote = about.whole };
		assert_int_equal(icmp_error_write(&out, &e), 0);
		assert_int_equal(read_both(packer_span(&out), &p, &m), 0);
		assert_int_equal(m.kind, cases[i].kind);
		assert_int_equal(m.type, cases[i].want_type);
		assert_int_equal(m.code, cases[i].want_code);
		assert_int_equal(m.mtu, cases[i].want_mtu);
		assert_true(icmp_checksum_ok(&p) && ip_checksum_ok(&p));
		assert_int_equal(p.ttl, 255);
		assert_int_equal(icmp_kind_of(cases[i].family, m.type, m.code), m.kind);
	}
	assert_int_equal(icmp_unreachable_code(IP_FAMILY_V4, ICMP_UNREACHABLE_PORT), 3);
	assert_int_equal(icmp_unreachable_code(IP_FAMILY_V6, ICMP_UNREACHABLE_PORT), 4);
	assert_int_equal(icmp_unreachable_code(IP_FAMILY_V4, ICMP_UNREACHABLE_HOST), 1);
	assert_int_equal(icmp_unreachable_code(IP_FAMILY_V6, ICMP_UNREACHABLE_PROHIBITED), 1);
	assert_int_equal(icmp_kind_of(IP_FAMILY_V6, 8, 0), ICMP_KIND_OTHER);
	assert_int_equal(icmp_kind_of(IP_FAMILY_V4, 128, 0), ICMP_KIND_OTHER);
	assert_int_equal(icmp_kind_of(IP_FAMILY_V4, 3, 3), ICMP_KIND_UNREACHABLE);
}

static void test_refused(void **state)
{
	(void)state;
	uint8_t room[ROOM];
	static const uint8_t zeros[65536];
	struct packer p = packer_over(room, sizeof(room));
	struct ip_addr v4 = { IP_FAMILY_V4, { 1 } }, v6 = { IP_FAMILY_V6, { 1 } };
	struct icmp_echo echo = { .src = v4, .dst = v6 };
	struct icmp_error error = { .src = v4, .dst = v6, .kind = ICMP_KIND_UNREACHABLE };
	assert_int_equal(icmp_echo_write(&p, &echo), -EINVAL);
	assert_int_equal(icmp_echo_write_message(&p, &echo), -EINVAL);
	assert_int_equal(icmp_error_write(&p, &error), -EINVAL);
	error = (struct icmp_error){ .src = v4, .dst = v4, .kind = ICMP_KIND_ECHO_REPLY };
	assert_int_equal(icmp_error_write(&p, &error), -EINVAL);
	echo = (struct icmp_echo){ .src = v4, .dst = v4, .data = span_of(zeros, 65508) };
	assert_int_equal(icmp_echo_write(&p, &echo), -EMSGSIZE);
	assert_int_equal(icmp_echo_write_message(&p, &echo), -EMSGSIZE);
	assert_int_equal(p.len, 0);
	echo.data.len--;
	assert_int_equal(icmp_echo_write(&p, &echo), -ENOBUFS);
	p = packer_over(room, IP4_HEAD_LEN + ICMP_HEAD_LEN - 1);
	error = (struct icmp_error){ .src = v4, .dst = v4, .kind = ICMP_KIND_UNREACHABLE };
	assert_int_equal(icmp_error_write(&p, &error), -ENOBUFS);
}

/* An echo goes out with another source, id and sequence; its error quotes it as it was asked. */
static void check_requote(const char *name, size_t cut, size_t known_len)
{
	struct ip_packet asked = {};
	struct icmp_message m = {};
	assert_int_equal(read_both(packet_of(find(name)), &asked, &m), 0);
	struct icmp_echo sent = {
		.src = asked.src, .dst = asked.dst, .id = 0xbeef, .seq = 0xffff, .data = m.data
	};
	sent.src.bytes[3] ^= 0x77;
	uint8_t room[ROOM], out[ROOM];
	struct packer p = packer_over(room, sizeof(room));
	assert_int_equal(icmp_echo_write_message(&p, &sent), 0);

	struct icmp_requote q = { .src = asked.src,
				  .dst = asked.dst,
				  .id = m.id,
				  .seq = m.seq,
				  .checksum = m.checksum,
				  .ttl = asked.ttl,
				  .len = known_len };
	struct packer r = packer_over(out, sizeof(out));
	struct span message = vector_heap_copy(span_first(packer_span(&p), cut));
	assert_int_equal(icmp_requote_write(&r, &q, message), 0);
	vector_heap_free(message);
	assert_int_equal(r.len, asked.header.len + cut);
	if (known_len)
		assert_true(span_starts_with(asked.whole, packer_span(&r)));
	struct ip_packet back = {};
	struct icmp_message n = {};
	assert_int_equal(read_both(packer_span(&r), &back, &n), 0);
	assert_true(n.id == m.id && n.seq == m.seq && n.checksum == m.checksum);
	assert_true(ip_checksum_ok(&back));
}

static void test_requotes(void **state)
{
	(void)state;
	check_requote("v3_icmp4_echo_request", 17, 17);
	check_requote("v3_icmp4_echo_request", 8, 17);
	check_requote("v3_icmp4_echo_request", 11, 0);
	check_requote("v3_icmp4_max", 548, 1260);
	check_requote("v3_icmp6_echo_request", 17, 17);
	check_requote("v3_icmp6_echo_request", 8, 17);
	check_requote("v3_icmp6_max", 1192, 1240);

	uint8_t room[64];
	struct packer p = packer_over(room, sizeof(room));
	struct icmp_requote q = { .src.family = IP_FAMILY_V4, .dst.family = IP_FAMILY_V4 };
	assert_int_equal(icmp_requote_write(&p, &q, span_of(room, 7)), -ENODATA);
	q.src.family = IP_FAMILY_NONE;
	assert_int_equal(icmp_requote_write(&p, &q, span_of(room, 8)), -EINVAL);
	q.src.family = IP_FAMILY_V4;
	p = packer_over(room, 27);
	assert_int_equal(icmp_requote_write(&p, &q, SPAN_LIT("12345678")), -ENOBUFS);
}

/* What an error quotes can be read like any packet, cut or not. */
static void test_quotes_are_read(void **state)
{
	(void)state;
	struct ip_packet p = {}, quoted = {};
	struct icmp_message m = {}, inner = {};
	assert_int_equal(read_both(packet_of(find("v3_ttl4_1_echo_1028_time_exceeded")), &p, &m),
			 0);
	assert_int_equal(m.data.len, ICMP_QUOTE_MAX_V4);
	assert_int_equal(read_both(m.data, &quoted, &inner), 0);
	assert_true(inner.kind == ICMP_KIND_ECHO_REQUEST && inner.id == 258 && inner.seq == 9);
	assert_int_equal(inner.data.len, ICMP_QUOTE_MAX_V4 - 28);
}

/* ---- other addresses ---- */

static struct ip_addr numbered(enum ip_family family, uint8_t first, uint8_t last)
{
	struct ip_addr a = { .family = family, .bytes = { first } };
	a.bytes[ip_family_len(family) - 1] = last;
	return a;
}

/* A router's error about an echo, as its sender has it, after one end has another address. */
static void check_readdressed(enum ip_family family, size_t data_len, bool is_back)
{
	static const uint8_t data[ICMP_QUOTE_MAX_V6];
	struct ip_addr us = numbered(family, 10, 1), them = numbered(family, 10, 2);
	struct ip_addr hop = numbered(family, 11, 3), other = numbered(family, 12, 0xfe);
	uint8_t echo[2048], room[2048];
	struct packer p = packer_over(echo, sizeof(echo)), q = packer_over(room, sizeof(room));
	const struct icmp_echo e = {
		.src = us, .dst = them, .ttl = 9, .id = 7, .seq = 8, .data = span_of(data, data_len)
	};
	assert_int_equal(icmp_echo_write(&p, &e), 0);
	struct icmp_error error = { .src = is_back ? hop : them,
				    .dst = us,
				    .kind = ICMP_KIND_TIME_EXCEEDED,
				    .quote = packer_span(&p) };
	assert_int_equal(icmp_error_write(&q, &error), 0);
	size_t len = packer_span(&q).len;
	const struct ip_addr *src = is_back ? NULL : &other, *dst = is_back ? &other : NULL;
	assert_int_equal(icmp_readdress(room, len, src, dst), 0);

	struct ip_packet ip, quote;
	struct icmp_message m;
	assert_int_equal(ip_read(span_of(room, len), &ip) || icmp_read(&ip, &m), 0);
	assert_true(ip_checksum_ok(&ip) && icmp_checksum_ok(&ip));
	assert_int_equal(ip_read(m.data, &quote), 0);
	assert_true(ip_checksum_ok(&quote));
	assert_true(ip_addr_eq(&ip.src, src ? src : &error.src));
	assert_true(ip_addr_eq(&ip.dst, dst ? dst : &us));
	assert_true(ip_addr_eq(&quote.src, dst ? dst : &us));
	assert_true(ip_addr_eq(&quote.dst, src ? src : &them));
	/* What was quoted whole is as if it had been sent so. */
	if (quote.payload.len == ICMP_HEAD_LEN + data_len)
		assert_true(icmp_checksum_ok(&quote));
}

static void test_readdress(void **state)
{
	(void)state;
	static const size_t lens[] = { 0, 1, 2, 55, 500, 540, 1000, 1232 };
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++)
		for (unsigned int k = 0; k < 4; k++)
			check_readdressed(k & 1 ? IP_FAMILY_V6 : IP_FAMILY_V4, lens[i], k & 2);

	uint8_t room[100];
	struct packer p = packer_over(room, sizeof(room));
	struct ip_addr us = numbered(IP_FAMILY_V4, 10, 1), them = numbered(IP_FAMILY_V4, 10, 2);
	struct ip_addr six = numbered(IP_FAMILY_V6, 10, 2);
	const struct icmp_echo e = { .src = us, .dst = them, .data = SPAN_LIT("odd") };
	assert_int_equal(icmp_echo_write(&p, &e), 0);
	size_t len = packer_span(&p).len;
	assert_int_equal(icmp_readdress(room, len, &six, NULL), -EINVAL);
	assert_true(icmp_readdress(room, 27, &them, NULL) < 0);
	assert_int_equal(icmp_readdress(room, len, &them, &us), 0);
	struct ip_packet ip;
	assert_int_equal(ip_read(span_of(room, len), &ip), 0);
	assert_true(ip_addr_eq(&ip.src, &them) && ip_addr_eq(&ip.dst, &us));
	assert_true(ip_checksum_ok(&ip) && icmp_checksum_ok(&ip));
}

static void test_answers(void **state)
{
	(void)state;
	static const uint8_t v4[] = { 0, 14, 16, 18 }, v6[] = { 129, 140 };
	unsigned int count = 0;
	for (unsigned int type = 0; type < 256; type++)
		count += icmp_is_answer(IP_FAMILY_V4, (uint8_t)type) +
			 icmp_is_answer(IP_FAMILY_V6, (uint8_t)type);
	assert_int_equal(count, ARRAY_SIZE(v4) + ARRAY_SIZE(v6));
	for (size_t i = 0; i < ARRAY_SIZE(v4); i++)
		assert_true(icmp_is_answer(IP_FAMILY_V4, v4[i]));
	for (size_t i = 0; i < ARRAY_SIZE(v6); i++)
		assert_true(icmp_is_answer(IP_FAMILY_V6, v6[i]));
}

static void test_too_big(void **state)
{
	(void)state;
	static const struct {
		struct ip_packet packet;
		size_t room;
		uint32_t mtu; /* 0: nothing is said */
	} rows[] = {
		{ { .src.family = IP_FAMILY_V4, .dont_fragment = true }, 600, 600 },
		{ { .src.family = IP_FAMILY_V4 }, 600, 0 },
		{ { .src.family = IP_FAMILY_V6, .dont_fragment = true }, 1400, 1400 },
		{ { .src.family = IP_FAMILY_V6, .dont_fragment = true }, 600, 1280 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct icmp_error e = {};
		assert_int_equal(icmp_too_big(&rows[i].packet, rows[i].room, &e), rows[i].mtu > 0);
		assert_int_equal(e.mtu, rows[i].mtu);
		assert_true(!e.mtu || e.kind == ICMP_KIND_TOO_BIG);
	}
}

static void test_mutations(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!vector_get(c, "icmp_decode") || c->len > 128)
			continue;
		struct span whole = packet_of(c);
		for (size_t len = 0; len <= whole.len; len++) {
			struct span cut = vector_heap_copy(span_first(whole, len));
			(void)exercise_ip(cut);
			vector_heap_free(cut);
		}
		count += vector_flip_bits(whole, exercise_ip);
	}
	print_message("%u bit flips\n", count);
	assert_true(count > 10000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded_packets), cmocka_unit_test(test_checksums),
		cmocka_unit_test(test_echo_replies),     cmocka_unit_test(test_time_exceeded),
		cmocka_unit_test(test_types_and_codes),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_requotes),         cmocka_unit_test(test_quotes_are_read),
		cmocka_unit_test(test_readdress),        cmocka_unit_test(test_answers),
		cmocka_unit_test(test_mutations),        cmocka_unit_test(test_too_big),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
