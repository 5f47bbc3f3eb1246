/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP of the edge's users: recorded packets in, what would go to the network and to the edge out.
 * The sockets, the kernel's routes and the clock are the test's.
 */
#include "daemon/session/icmp_session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/wire/dgram_v3.h"
#include "data/datagrams.h"
#include "selftests/lib/icmp_world.h"
#include "selftests/lib/vectors.h"
#include "util/endian.h"
#include "util/macro.h"

enum {
	KEPT = ICMP_WORLD_KEPT,
	ROOM = ICMP_WORLD_ROOM,
	BEHIND = 12, /* bytes that a router has put behind what it quotes */
};

struct link {
	struct icmp_port port;
	int error;
	unsigned int count;
	struct icmp_kept sent[KEPT];
};

static struct icmp_world *const world = &icmp_world;
static struct icmp_session *const session = &icmp_world.session;
static struct link here, there;

static int link_send(struct icmp_port *port, struct span packet)
{
	struct link *l = CONTAINER_OF(port, struct link, port);
	if (l->error)
		return l->error;
	assert_true(l->count < KEPT && packet.len <= ROOM);
	memcpy(l->sent[l->count].bytes, packet.ptr, packet.len);
	l->sent[l->count++].len = packet.len;
	return 0;
}

static int start(void **state)
{
	(void)state;
	here = (struct link){ .port = { .send = link_send, .index = 0 } };
	there = (struct link){ .port = { .send = link_send, .index = 70 } };
	icmp_world_start();
	return 0;
}

static int end(void **state)
{
	(void)state;
	icmp_world_end();
	icmp_session_remove_port(session, &here.port);
	return 0;
}

static uint64_t drops(unsigned int index, enum icmp_drop reason)
{
	return session->drops[index][reason];
}

static uint64_t all_drops(void)
{
	uint64_t sum = 0;
	for (unsigned int i = 0; i < ICMP_INDEX_MAX; i++)
		for (unsigned int k = 0; k < ICMP_DROP_MAX_; k++)
			sum += session->drops[i][k];
	return sum;
}

static const struct vector_case *find_case(const char *name)
{
	for (const struct vector_case *c = vector_cases;
	     c < vector_cases + ARRAY_SIZE(vector_cases); c++)
		if (strcmp(c->name, name) == 0)
			return c;
	fail_msg("no vector %s", name);
	return NULL;
}

/* The IP packet of a datagram of version 3, or of a bare packet. */
static struct span packet_of(const struct vector_case *c)
{
	struct span s = vector_span(c);
	return strncmp(c->name, "v3_", 3) == 0 ? span_skip(s, DGRAM3_ICMP_HEAD) : s;
}

static void give_packet(struct span packet)
{
	struct span copy = vector_heap_copy(packet);
	icmp_session_packet(session, &here.port, copy);
	vector_heap_free(copy);
}

static void give(const char *name)
{
	give_packet(packet_of(find_case(name)));
}

static void expect_sent(const struct link *l, unsigned int at, struct span packet)
{
	assert_true(at < l->count);
	assert_int_equal(l->sent[at].len, packet.len);
	assert_memory_equal(l->sent[at].bytes, packet.ptr, packet.len);
}

static struct icmp_path_reply reply_to(unsigned int at)
{
	return (struct icmp_path_reply){ .src = world->sent[at].dst,
					 .seq = world->sent[at].seq,
					 .data = span_of(world->data[at].bytes,
							 world->data[at].len) };
}

/* ---- echoes ---- */

static void test_recorded_echoes(void **state)
{
	(void)state;
	static const struct {
		const char *asked, *answer;
		uint8_t ttl;
	} rows[] = {
		{ "v3_icmp4_echo_request", "v3_icmp4_echo_reply", 63 },
		{ "v3_icmp4_echo_request_no_data", "v3_icmp4_echo_reply_no_data", 63 },
		{ "v3_icmp6_echo_request", "v3_icmp6_echo_reply", 63 },
		{ "v3_icmp4_max", "v3_icmp4_echo_reply_max", 63 },
		{ "v3_icmp6_max", "v3_icmp6_echo_reply_max", 63 },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_packet p;
		assert_int_equal(ip_read(packet_of(find_case(rows[i].asked)), &p), 0);
		give(rows[i].asked);
		assert_int_equal(world->sends, i + 1);
		assert_true(ip_addr_eq(&world->sent[i].dst, &p.dst));
		assert_int_equal(world->sent[i].ttl, rows[i].ttl);
		assert_int_equal(world->sent[i].dont_fragment, p.dst.family == IP_FAMILY_V6);
		assert_int_equal(icmp_session_count(session, p.dst.family), 1);
		const struct icmp_path_reply reply = reply_to(i);
		world->user.on_reply(world->user.arg, &reply);
		expect_sent(&here, i, packet_of(find_case(rows[i].answer)));
		assert_int_equal(icmp_session_count(session, p.dst.family), 0);
		/* A second one has nobody to go to. */
		world->user.on_reply(world->user.arg, &reply);
		assert_int_equal(drops(0, ICMP_DROP_STRANGER), i + 1);
		assert_int_equal(here.count, i + 1);
	}
	assert_true(session->stats.requests == 5 && session->stats.replies == 5);
	give("ipdecode_v4_dont_fragment");
	assert_true(world->sent[5].dont_fragment);
	assert_int_equal(all_drops(), 5);
}

/* Two that ask the same with the same id and number, by two links: each gets its own. */
static void test_same_numbers(void **state)
{
	(void)state;
	struct span asked = packet_of(find_case("v3_icmp4_echo_request"));
	icmp_session_packet(session, &here.port, asked);
	icmp_session_packet(session, &there.port, asked);
	assert_int_not_equal(world->sent[0].seq, world->sent[1].seq);
	struct icmp_path_reply reply = reply_to(1);
	world->user.on_reply(world->user.arg, &reply);
	assert_true(here.count == 0 && there.count == 1);
	reply = reply_to(0);
	world->user.on_reply(world->user.arg, &reply);
	assert_true(here.count == 1 && there.count == 1);
	expect_sent(&here, 0, span_of(there.sent[0].bytes, there.sent[0].len));
}

static void test_strangers(void **state)
{
	(void)state;
	give("v3_icmp4_echo_request");
	struct icmp_path_reply reply = reply_to(0);
	reply.src.bytes[3]++; /* somebody else answers */
	world->user.on_reply(world->user.arg, &reply);
	reply = reply_to(0);
	reply.seq++;
	world->user.on_reply(world->user.arg, &reply);
	reply = reply_to(0);
	reply.src = world->own_v6; /* by the other family's socket */
	world->user.on_reply(world->user.arg, &reply);
	struct icmp_path_error error = { .src = world->own_v4,
					 .dst = world->own_v4,
					 .kind = ICMP_KIND_TIME_EXCEEDED,
					 .message = SPAN_LIT("12345678") };
	world->user.on_error(world->user.arg, &error);
	assert_true(drops(0, ICMP_DROP_STRANGER) == 4 && here.count == 0);
	/* In time, and too late. */
	world->now += ECHO_LIFE_SEC * NSEC_PER_SEC - 1;
	reply = reply_to(0);
	world->user.on_reply(world->user.arg, &reply);
	assert_int_equal(here.count, 1);
	give("v3_icmp4_echo_request");
	world->now += ECHO_LIFE_SEC * NSEC_PER_SEC;
	reply = reply_to(1);
	world->user.on_reply(world->user.arg, &reply);
	assert_int_equal(here.count, 1);
	session->sweep.on_expire(&session->sweep);
	assert_null(session->v4.ring);
}

static void test_links_end(void **state)
{
	(void)state;
	struct span asked = packet_of(find_case("v3_icmp6_echo_request"));
	icmp_session_packet(session, &here.port, asked);
	icmp_session_packet(session, &there.port, asked);
	icmp_session_remove_port(session, &here.port);
	struct icmp_path_reply reply = reply_to(0);
	world->user.on_reply(world->user.arg, &reply);
	assert_int_equal(here.count, 0);
	reply = reply_to(1);
	world->user.on_reply(world->user.arg, &reply);
	assert_int_equal(there.count, 1);
}

static void test_links_refuse(void **state)
{
	(void)state;
	static const struct {
		int error;
		enum icmp_drop drop;
	} rows[] = { { -EMSGSIZE, ICMP_DROP_REPLY_BIG },
		     { -ENOBUFS, ICMP_DROP_LINK_FULL },
		     { -EPROTO, ICMP_DROP_LINK_DOWN } };
	struct span asked = packet_of(find_case("v3_icmp4_echo_request"));
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		there.error = rows[i].error;
		icmp_session_packet(session, &there.port, asked);
		struct icmp_path_reply reply = reply_to(i);
		world->user.on_reply(world->user.arg, &reply);
		assert_int_equal(drops(ICMP_INDEX_MAX - 1, rows[i].drop), 1);
	}
	assert_int_equal(session->stats.replies, 0);
	assert_int_equal(icmp_session_count(session, IP_FAMILY_V4), 0);
}

static void test_too_many(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ECHO_MAP_MAX + 10; i++)
		icmp_session_packet(session, &here.port,
				    packet_of(find_case("v3_icmp4_echo_request")));
	assert_int_equal(drops(0, ICMP_DROP_FORGOTTEN), 10);
	assert_int_equal(icmp_session_count(session, IP_FAMILY_V4), ECHO_MAP_MAX);
	assert_int_equal(icmp_session_count(session, IP_FAMILY_V6), 0);
}

/* ---- what goes no further ---- */

/* Everything recorded that can't be read, or is no echo request, is counted and no more. */
static void test_recorded_nonsense(void **state)
{
	(void)state;
	static const char *const kinds[] = { "ipdecode_v4_echo_reply", "ipdecode_v4_echo_code_1",
					     "ipdecode_v4_timestamp",
					     "ipdecode_v4_dest_unreachable",
					     "ipdecode_v6_neighbor_solicitation" };
	unsigned int malformed = 0, passed = 0;
	for (const struct vector_case *c = vector_cases;
	     c < vector_cases + ARRAY_SIZE(vector_cases); c++) {
		if (strncmp(c->name, "ipdecode_", 9) != 0)
			continue;
		/* Ours reads what the reference doesn't (docs/protocol.md §12.1). */
		bool is_read = vector_is(c, "icmp_decode", "ok") ||
			       strcmp(c->name, "ipdecode_v4_option_len_2") == 0;
		bool is_echo = is_read;
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
			if (strcmp(c->name, kinds[i]) == 0)
				is_echo = false;
		malformed += !is_read;
		passed += is_echo;
		give_packet(vector_span(c));
	}
	assert_int_equal(drops(0, ICMP_DROP_MALFORMED), malformed);
	assert_int_equal(drops(0, ICMP_DROP_KIND), ARRAY_SIZE(kinds));
	assert_true(world->sends == passed && malformed > 15 && passed > 8);
	assert_int_equal(here.count, 0);
}

static void test_not_served(void **state)
{
	(void)state;
	world->kind = ICMP_PATH_KIND_NONE;
	give("v3_icmp4_echo_request");
	give("v3_ttl6_1_echo_request");
	assert_int_equal(drops(0, ICMP_DROP_NOT_SERVED), 2);
	assert_true(here.count == 0 && world->sends == 0);
}

/* ---- answers of ours ---- */

static void test_recorded_answers(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (const struct vector_case *c = vector_cases;
	     c < vector_cases + ARRAY_SIZE(vector_cases); c++) {
		char name[80];
		size_t len = strlen(c->name);
		if (strncmp(c->name, "v3_ttl", 6) != 0 || len < 8 ||
		    strcmp(c->name + len - 8, "_request") != 0)
			continue;
		give_packet(packet_of(c));
		if (strstr(c->name, "_error_")) /* §14 row 15: none about an error */
			continue;
		(void)snprintf(name, sizeof(name), "%.*s_time_exceeded", (int)(len - 8), c->name);
		expect_sent(&here, count++, packet_of(find_case(name)));
	}
	assert_int_equal(count, 9);
	assert_int_equal(here.count, count);
	assert_int_equal(drops(0, ICMP_DROP_KIND), 1);
	assert_int_equal(drops(0, ICMP_DROP_TTL), count);
	assert_int_equal(session->stats.made[ICMP_KIND_TIME_EXCEEDED], count);
	assert_int_equal(world->sends, 0);
}

/* An address that means this host nowhere else is no source, unless there is none. */
static void test_own_address(void **state)
{
	(void)state;
	struct span want = packet_of(find_case("v3_ttl4_1_echo_time_exceeded_src_unspecified"));
	static const uint8_t useless[][4] = { { 127, 0, 0, 1 },
					      { 169, 254, 1, 1 },
					      { 0, 0, 0, 0 } };
	for (unsigned int i = 0; i < ARRAY_SIZE(useless); i++) {
		memcpy(world->own_v4.bytes, useless[i], 4);
		give("v3_ttl4_1_echo_request");
		expect_sent(&here, i, want);
	}
	world->way_error = -ENETUNREACH;
	give("v3_ttl4_1_echo_request");
	expect_sent(&here, 3, want);
	give("v3_ttl6_1_echo_request");
	static const uint8_t any[16] = {};
	assert_memory_equal(here.sent[4].bytes + 8, any, 16);
}

static void read_answer(unsigned int at, struct ip_packet *ret_p, struct icmp_message *ret)
{
	assert_true(at < here.count);
	assert_int_equal(ip_read(span_of(here.sent[at].bytes, here.sent[at].len), ret_p), 0);
	assert_int_equal(icmp_read(ret_p, ret), 0);
	assert_true(icmp_checksum_ok(ret_p) && ip_checksum_ok(ret_p));
}

static void test_not_sent(void **state)
{
	(void)state;
	static const struct {
		const char *asked;
		int error;
		enum icmp_drop drop;
		enum icmp_kind kind; /* OTHER: silence */
		uint8_t code;
	} rows[] = {
		{ "v3_icmp4_max", -EMSGSIZE, ICMP_DROP_TOO_BIG, ICMP_KIND_TOO_BIG, 4 },
		{ "v3_icmp6_max", -EMSGSIZE, ICMP_DROP_TOO_BIG, ICMP_KIND_TOO_BIG, 0 },
		{ "v3_icmp4_max", -ENETUNREACH, ICMP_DROP_UNREACHABLE, ICMP_KIND_UNREACHABLE, 0 },
		{ "v3_icmp6_max", -ENETUNREACH, ICMP_DROP_UNREACHABLE, ICMP_KIND_UNREACHABLE, 0 },
		{ "v3_icmp4_max", -EHOSTUNREACH, ICMP_DROP_UNREACHABLE, ICMP_KIND_UNREACHABLE, 1 },
		{ "v3_icmp6_max", -EHOSTUNREACH, ICMP_DROP_UNREACHABLE, ICMP_KIND_UNREACHABLE, 3 },
		{ "v3_icmp4_max", -EPERM, ICMP_DROP_DENIED, ICMP_KIND_UNREACHABLE, 13 },
		{ "v3_icmp6_max", -EACCES, ICMP_DROP_DENIED, ICMP_KIND_UNREACHABLE, 1 },
		{ "v3_icmp4_max", -EAGAIN, ICMP_DROP_ORIGIN_FULL, ICMP_KIND_OTHER, 0 },
		{ "v3_icmp6_max", -EINVAL, ICMP_DROP_ORIGIN, ICMP_KIND_OTHER, 0 },
	};
	unsigned int answers = 0;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t before = drops(0, rows[i].drop);
		world->send_error = rows[i].error;
		give(rows[i].asked);
		assert_int_equal(drops(0, rows[i].drop), before + 1);
		assert_true(session->v4.count == 0 && session->v6.count == 0);
		if (rows[i].kind == ICMP_KIND_OTHER)
			continue;
		struct ip_packet p;
		struct icmp_message m;
		read_answer(answers++, &p, &m);
		assert_true(m.kind == rows[i].kind && m.code == rows[i].code);
		assert_int_equal(m.mtu, m.kind == ICMP_KIND_TOO_BIG ? 900 : 0);
		assert_true(span_starts_with(packet_of(find_case(rows[i].asked)), m.data));
	}
	assert_int_equal(here.count, answers);
	assert_int_equal(session->stats.requests, 0);
}

static void test_denied(void **state)
{
	(void)state;
	struct ip_packet p;
	struct icmp_message m;
	world->is_allowed = false;
	give("v3_icmp4_echo_request");
	read_answer(0, &p, &m);
	assert_true(m.kind == ICMP_KIND_UNREACHABLE && m.code == 13);
	give("v3_ttl6_1_echo_request"); /* denied before its hops are counted */
	read_answer(1, &p, &m);
	assert_true(m.kind == ICMP_KIND_UNREACHABLE && m.code == 1);
	assert_true(world->asked == 2 && world->sends == 0);
	assert_int_equal(drops(0, ICMP_DROP_DENIED), 2);
	/* What was asked holds for a second, or until the configuration changes. */
	world->is_allowed = true;
	world->now += NSEC_PER_SEC - 1;
	give("v3_icmp4_echo_request");
	assert_true(world->asked == 2 && world->sends == 0);
	icmp_session_set_limits(session, 1000);
	give("v3_icmp4_echo_request");
	assert_true(world->asked == 3 && world->sends == 1);
	world->is_allowed = false;
	world->now += NSEC_PER_SEC;
	give("v3_icmp4_echo_request");
	assert_true(world->asked == 4 && world->sends == 1);
}

static void test_rate(void **state)
{
	(void)state;
	icmp_session_set_limits(session, 5);
	for (unsigned int i = 0; i < 20; i++)
		give("v3_ttl4_1_echo_request");
	assert_int_equal(here.count, 5);
	assert_int_equal(drops(0, ICMP_DROP_ANSWER_RATE), 15);
	world->now += NSEC_PER_SEC / 5;
	give("v3_ttl4_1_echo_request");
	give("v3_ttl4_1_echo_request");
	assert_int_equal(here.count, 6);
	icmp_session_set_limits(session, 0);
	world->now += 10 * NSEC_PER_SEC;
	give("v3_ttl4_1_echo_request");
	assert_int_equal(here.count, 6);
	give("v3_icmp4_echo_request"); /* echoes aren't answers of ours */
	assert_int_equal(world->sends, 1);
	icmp_session_set_limits(session, 5);
	give("v3_ttl4_1_echo_request");
	assert_int_equal(here.count, 7);
	assert_int_equal(drops(0, ICMP_DROP_ANSWER_RATE), 17);
}

/* RFC 1812 §4.3.2.7: nobody is there who could be told. */
static void test_sources(void **state)
{
	(void)state;
	static const struct ip_addr sources[] = {
		{ IP_FAMILY_V4, { 127, 0, 0, 1 } },
		{ IP_FAMILY_V4, { 224, 0, 0, 1 } },
		{ IP_FAMILY_V4, { 0 } },
	};
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		uint8_t room[64];
		struct packer p = packer_over(room, sizeof(room));
		const struct icmp_echo e = { .src = sources[i],
					     .dst = { IP_FAMILY_V4, { 10, 77, 0, 2 } },
					     .ttl = 1 };
		assert_int_equal(icmp_echo_write(&p, &e), 0);
		give_packet(packer_span(&p));
	}
	assert_int_equal(drops(0, ICMP_DROP_TTL), ARRAY_SIZE(sources));
	assert_int_equal(here.count, 0);
}

/* ---- errors of the network ---- */

/* What comes back for an echo as it left here: with our identifier and number. */
static void fail_echo(unsigned int at, enum icmp_kind kind, uint8_t code, size_t cut)
{
	static const struct ip_addr v4 = { IP_FAMILY_V4, { 10, 9, 9, 9 } };
	static const struct ip_addr v6 = { IP_FAMILY_V6, { 0xfd, 9, [15] = 9 } };
	uint8_t room[ROOM] = {};
	struct packer p = packer_over(room, sizeof(room) - BEHIND);
	const struct icmp_path_send *sent = &world->sent[at];
	const struct icmp_echo e = { .src = sent->dst,
				     .dst = sent->dst,
				     .id = 0xbeef,
				     .seq = sent->seq,
				     .data = span_of(world->data[at].bytes, world->data[at].len) };
	assert_int_equal(icmp_echo_write_message(&p, &e), 0);
	const struct icmp_path_error error = {
		.src = sent->dst.family == IP_FAMILY_V4 ? v4 : v6,
		.dst = sent->dst,
		.kind = kind,
		.code = code,
		.mtu = kind == ICMP_KIND_TOO_BIG ? 1300 : 0,
		.seq = sent->seq,
		.message = span_first(span_of(room, p.len + BEHIND), cut),
	};
	world->user.on_error(world->user.arg, &error);
}

/* A packet of the edge's with a header that says more than recorded ones. */
static struct span with_marks(const char *name, uint8_t room[ROOM])
{
	struct span packet = packet_of(find_case(name));
	assert_true(packet.len <= ROOM);
	memcpy(room, packet.ptr, packet.len);
	if (room[0] >> 4 == 4) {
		room[1] = 0xb9;               /* TOS */
		store_be16(room + 4, 0xbead); /* id */
		store_be16(room + 6, 0x4000); /* DF */
	} else {
		store_be32(room, 0x6b9abcde); /* class, flow label */
	}
	return span_of(room, packet.len);
}

static void test_errors(void **state)
{
	(void)state;
	static const struct {
		const char *asked;
		enum icmp_kind kind;
		uint8_t code;
		size_t cut;
	} rows[] = {
		{ "v3_icmp4_echo_request", ICMP_KIND_TIME_EXCEEDED, 0, 8 },
		{ "v3_icmp4_echo_request", ICMP_KIND_UNREACHABLE, 13, 17 },
		{ "v3_icmp4_max", ICMP_KIND_TOO_BIG, 4, ROOM },
		{ "v3_icmp6_echo_request", ICMP_KIND_TIME_EXCEEDED, 0, ROOM },
		{ "v3_icmp6_echo_request", ICMP_KIND_UNREACHABLE, 4, ROOM },
		{ "v3_icmp6_max", ICMP_KIND_TOO_BIG, 0, 1192 },
		{ "v3_icmp6_max", ICMP_KIND_BAD_PARAMETER, 1, ROOM },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t bytes[ROOM];
		struct span asked = with_marks(rows[i].asked, bytes);
		struct ip_packet p, about, quoted;
		struct icmp_message m;
		assert_int_equal(ip_read(asked, &about), 0);
		give_packet(asked);
		fail_echo(i, rows[i].kind, rows[i].code, rows[i].cut);
		read_answer(i, &p, &m);
		assert_true(m.kind == rows[i].kind && m.code == rows[i].code);
		assert_int_equal(m.mtu, m.kind == ICMP_KIND_TOO_BIG ? 1300 : 0);
		assert_true(p.src.bytes[1] == 9 && ip_addr_eq(&p.dst, &about.src));
		assert_int_equal(ip_read(m.data, &quoted), 0);
		assert_true(ip_addr_eq(&quoted.src, &about.src));
		assert_true(ip_addr_eq(&quoted.dst, &about.dst));
		assert_int_equal(quoted.ttl, m.kind == ICMP_KIND_TIME_EXCEEDED ? 1 : 63);
		assert_true(quoted.tos == about.tos && quoted.id == about.id);
		assert_true(quoted.dont_fragment && quoted.flow_label == about.flow_label);
		assert_true(about.tos == 0xb9 && (about.id | about.flow_label) != 0);
		assert_true(ip_checksum_ok(&quoted));
		assert_true(span_starts_with(about.payload, quoted.payload));
		assert_true(quoted.payload.len >= MIN(rows[i].cut, (size_t)17));
		assert_int_equal(session->v4.count + session->v6.count, 0);
		assert_int_equal(session->stats.passed[m.kind],
				 m.kind == ICMP_KIND_BAD_PARAMETER ? 1 : 1 + (i > 2));
	}
	assert_int_equal(all_drops(), 0);
	/* It was told once. */
	fail_echo(0, ICMP_KIND_TIME_EXCEEDED, 0, 8);
	assert_int_equal(drops(0, ICMP_DROP_STRANGER), 1);
}

static void test_names(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ICMP_DROP_MAX_; i++)
		for (unsigned int k = 0; k < i; k++)
			assert_string_not_equal(icmp_drop_name((enum icmp_drop)i),
						icmp_drop_name((enum icmp_drop)k));
	assert_string_equal(icmp_drop_name(ICMP_DROP_MAX_), "unknown");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_recorded_echoes),
		TEST(test_same_numbers),
		TEST(test_strangers),
		TEST(test_links_end),
		TEST(test_links_refuse),
		TEST(test_too_many),
		TEST(test_recorded_nonsense),
		TEST(test_not_served),
		TEST(test_recorded_answers),
		TEST(test_own_address),
		TEST(test_not_sent),
		TEST(test_denied),
		TEST(test_rate),
		TEST(test_sources),
		TEST(test_errors),
		TEST(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
