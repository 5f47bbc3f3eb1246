/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of a link of either version: recorded ICMP in, what the link would carry back out.
 */
#include "daemon/demux/demux_dgram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "data/datagrams.h"
#include "selftests/lib/icmp_world.h"
#include "selftests/lib/vectors.h"
#include "util/macro.h"

enum { MAX = 1420 };

static struct {
	struct link link;
	struct flow_table flows;
	struct demux_dgram dg;
	unsigned int count;
	struct icmp_kept sent; /* the latest */
} fx;

static int send_datagram(struct link *link, enum datagram_kind kind, struct span payload)
{
	assert_int_equal(kind, DATAGRAM_KIND_PACKET);
	assert_ptr_equal(link, &fx.link);
	assert_true(payload.len <= sizeof(fx.sent.bytes));
	if (payload.len > MAX)
		return -EMSGSIZE;
	memcpy(fx.sent.bytes, payload.ptr, payload.len);
	fx.sent.len = payload.len;
	fx.count++;
	return 0;
}

static size_t max_datagram(const struct link *link)
{
	(void)link;
	return MAX;
}

static const struct link_ops link_ops = { .send_datagram = send_datagram,
					  .max_datagram = max_datagram };

static void open_as(bool is_v3)
{
	demux_dgram_close(&fx.dg);
	demux_dgram_open(&fx.dg, &(struct demux_dgram_params){ .link = &fx.link,
							       .flows = &fx.flows,
							       .icmp = &icmp_world.session,
							       .index = 3,
							       .is_v3 = is_v3 });
}

static int start(void **state)
{
	(void)state;
	icmp_world_start();
	memset(&fx, 0, sizeof(fx));
	fx.link = (struct link){ .ops = &link_ops, .state = LINK_STATE_UP };
	flow_table_init(&fx.flows, &(struct flow_table_params){ .worker = &icmp_world.worker });
	return 0;
}

static int end(void **state)
{
	(void)state;
	demux_dgram_close(&fx.dg);
	demux_dgram_close(&fx.dg);
	flow_table_done(&fx.flows);
	icmp_world_end();
	return 0;
}

static const struct vector_case *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++)
		if (strcmp(vector_cases[i].name, name) == 0)
			return &vector_cases[i];
	fail_msg("no vector %s", name);
	return NULL;
}

static void take(struct span datagram)
{
	struct span copy = vector_heap_copy(datagram);
	demux_dgram_take(&fx.dg, &fx.flows, copy);
	vector_heap_free(copy);
}

static void expect(const char *name)
{
	const struct vector_case *c = find(name);
	assert_int_equal(fx.sent.len, c->len);
	assert_memory_equal(fx.sent.bytes, c->octets, c->len);
}

static uint64_t drops(enum icmp_drop reason)
{
	return icmp_world.session.drops[3][reason];
}

/* A ping of either version, traced or not, is answered in its version. */
static void test_echoes(void **state)
{
	(void)state;
	static const struct {
		bool is_v3;
		const char *asked, *answer;
	} rows[] = {
		{ true, "v3_icmp4_echo_request", "v3_icmp4_echo_reply" },
		{ true, "v3_icmp6_max", "v3_icmp6_echo_reply_max" },
		{ false, "v2_ip_icmp4_echo", "v2_icmp4_echo_reply" },
		{ false, "v2_ip_icmp6_echo", "v2_icmp6_echo_reply" },
		{ false, "v2_ip_traced_icmp4_echo", "v2_icmp4_echo_reply" },
		{ false, "v2_ip_traced_icmp6_echo", "v2_icmp6_echo_reply" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		open_as(rows[i].is_v3);
		take(vector_span(find(rows[i].asked)));
		icmp_world_reply(i);
		assert_int_equal(fx.count, i + 1);
		expect(rows[i].answer);
	}
}

/* The same packet gets the same time exceeded in both. */
static void test_time_exceeded(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		size_t len = strlen(c->name);
		if (strncmp(c->name, "v3_ttl", 6) != 0 || len < 8 ||
		    strcmp(c->name + len - 8, "_request") != 0 || strstr(c->name, "_error_"))
			continue;
		char v2[80], v3[80];
		(void)snprintf(v3, sizeof(v3), "%.*s_time_exceeded", (int)(len - 8), c->name);
		(void)snprintf(v2, sizeof(v2), "v2%s", v3 + 2);
		open_as(true);
		take(vector_span(c));
		expect(v3);
		open_as(false);
		uint8_t room[ICMP_WORLD_ROOM];
		struct packer p = packer_over(room, sizeof(room));
		packer_bytes(&p, span_skip(vector_span(c), 1));
		packer_u8(&p, 0x01);
		take(packer_span(&p));
		expect(v2);
		count++;
	}
	assert_int_equal(count, 9);
	assert_int_equal(fx.count, 2 * count);
}

static void test_malformed(void **state)
{
	(void)state;
	static const struct {
		bool is_v3;
		const char *name;
	} rows[] = {
		{ true, "v3_icmp_decode_too_large" },
		{ true, "v3_icmp_decode_missing" },
		{ true, "v3_mux_icmp_missing" },
		{ false, "v2_demux_traced_empty_packet" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		open_as(rows[i].is_v3);
		take(vector_span(find(rows[i].name)));
		assert_int_equal(drops(ICMP_DROP_MALFORMED), i + 1);
	}
	/* No ICMP at all is no business of ours. */
	take(vector_span(find("v3_icmp_decode_empty")));
	open_as(true);
	take(vector_span(find("v3_icmp_decode_empty")));
	assert_int_equal(drops(ICMP_DROP_MALFORMED), ARRAY_SIZE(rows));
	assert_int_equal(fx.flows.by_index[3].drops[FLOW_DROP_MALFORMED], 2);
	assert_true(fx.count == 0 && icmp_world.sends == 0);
}

/* What a version can't carry is counted, and the next one gets through. */
static void test_sizes(void **state)
{
	(void)state;
	static const struct {
		bool is_v3;
		size_t max; /* of a packet */
	} rows[] = { { true, 1280 }, { false, 1349 } };
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		open_as(rows[i].is_v3);
		take(vector_span(
			find(rows[i].is_v3 ? "v3_icmp4_echo_request" : "v2_ip_icmp4_echo")));
		take(vector_span(
			find(rows[i].is_v3 ? "v3_icmp4_echo_request" : "v2_ip_icmp4_echo")));
		icmp_world.data[2 * i].len = rows[i].max - 28 + 1;
		icmp_world.data[2 * i + 1].len = rows[i].max - 28;
		icmp_world_reply(2 * i);
		assert_true(drops(ICMP_DROP_REPLY_BIG) == i + 1 && fx.count == i);
		icmp_world_reply(2 * i + 1);
		assert_true(drops(ICMP_DROP_REPLY_BIG) == i + 1 && fx.count == i + 1);
		assert_int_equal(fx.sent.len, rows[i].max + 1);
	}
}

/* Before a link is open and after it has ended nothing is served, and nobody waits there. */
static void test_life(void **state)
{
	(void)state;
	struct span asked = vector_span(find("v3_icmp4_echo_request"));
	take(asked);
	assert_int_equal(fx.flows.by_index[0].drops[FLOW_DROP_VERSION], 1);
	open_as(true);
	take(asked);
	assert_int_equal(icmp_session_count(&icmp_world.session, IP_FAMILY_V4), 1);
	demux_dgram_close(&fx.dg);
	assert_int_equal(icmp_session_count(&icmp_world.session, IP_FAMILY_V4), 0);
	icmp_world_reply(0);
	take(asked);
	assert_int_equal(fx.flows.by_index[3].drops[FLOW_DROP_VERSION], 1);
	assert_true(fx.count == 0 && icmp_world.sends == 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_echoes), TEST(test_time_exceeded), TEST(test_malformed),
		TEST(test_sizes),  TEST(test_life),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
