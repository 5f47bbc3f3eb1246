/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP flows at the daemon. What is expected of both ends is in docs/protocol.md §11.
 */
#include "daemon/session/flow_table.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/session/udp_session.h"
#include "selftests/lib/flow_world.h"
#include "util/cleanup.h"

/* ---- tests ---- */

/* The bytes of a recorded sequence, registration to answer. */
static void test_recorded_bytes(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	uint8_t reg[] = { 0x00, 0x00, 0,    0,    0x00, 0x05, 0x00, 0x11, 0x22,
			  0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb,
			  0xcc, 0xdd, 0xee, 0x01, 0x7f, 0x00, 0x00, 0x01 };
	static const uint8_t ok[] = { 0x03, 0x00, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
				      0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x01, 0x00, 0x00 };
	static const uint8_t hello[] = { 0x01, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
					 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x01, 'h',  'i' };
	reg[2] = (uint8_t)(fx->origin_at.port >> 8);
	reg[3] = (uint8_t)fx->origin_at.port;
	world_give(fx, &fx->edge, reg, sizeof(reg));
	world_give(fx, &fx->edge, hello, sizeof(hello)); /* without waiting for the answer */
	assert_int_equal(fx->edge.sent[0].len, sizeof(ok));
	assert_memory_equal(fx->edge.sent[0].bytes, ok, sizeof(ok));
	world_assert_received(fx->origin, SPAN_LIT("hi"), &from);
	world_answer(fx->origin, &from, SPAN_LIT("hi"));
	world_turn_until(fx, &fx->edge, 2);
	assert_int_equal(fx->edge.sent[1].len, sizeof(hello));
	assert_memory_equal(fx->edge.sent[1].bytes, hello, sizeof(hello));
	assert_int_equal(fx->table.by_index[0].total, 1);
	assert_int_equal(fx->table.by_index[0].active, 1);
}

static void test_ipv6_and_mapped(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	struct ip_port at,
		mapped = { .ip = { .family = IP_FAMILY_V6 }, .port = fx->origin_at.port };
	int fd = world_open_origin(IP_FAMILY_V6, &at);
	world_register_to(fx, &fx->edge, 1, &at);
	world_payload(fx, &fx->edge, 1, SPAN_LIT("six"));
	world_assert_received(fd, SPAN_LIT("six"), &from);
	world_answer(fd, &from, SPAN_LIT("back"));
	world_turn_until(fx, &fx->edge, 2);
	world_assert_payload(&fx->edge, 1, 1, SPAN_LIT("back"));
	(void)fd_close(fd);
	ip_addr_to_mapped(&fx->origin_at.ip, mapped.ip.bytes);
	world_register_to(fx, &fx->edge, 2, &mapped);
	world_payload(fx, &fx->edge, 2, SPAN_LIT("four"));
	world_assert_received(fx->origin, SPAN_LIT("four"), &from);
	assert_int_equal(from.ss_family, AF_INET);
}

/* The first payload may come with the registration; a repeat brings it again and isn't believed. */
static void test_bundled_payload(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	struct dgram3_register reg = { .id = world_id_of(1),
				       .dest = fx->origin_at,
				       .payload = SPAN_LIT("first") };
	world_register_as(fx, &fx->edge, &reg);
	world_register_as(fx, &fx->edge, &reg);
	world_payload(fx, &fx->edge, 1, SPAN_LIT("second"));
	world_assert_received(fx->origin, SPAN_LIT("first"), &from);
	world_assert_received(fx->origin, SPAN_LIT("second"), &from);
	world_assert_silent(fx->origin);
	world_assert_response(&fx->edge, 0, 1, DGRAM3_CODE_OK);
	world_assert_response(&fx->edge, 1, 1, DGRAM3_CODE_OK);
	assert_int_equal(fx->table.by_index[0].repeated, 1);
	assert_int_equal(fx->table.by_index[0].total, 1);
}

/* Payloads are taken from everywhere; answers go where the flow was registered last. */
static void test_moves(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from, again;
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	world_payload(fx, &fx->other, 1, SPAN_LIT("one"));
	world_assert_received(fx->origin, SPAN_LIT("one"), &from);
	world_answer(fx->origin, &from, SPAN_LIT("1"));
	world_turn_until(fx, &fx->edge, 2);
	world_register_to(fx, &fx->other, 1, &fx->origin_at);
	world_assert_response(&fx->other, 0, 1, DGRAM3_CODE_OK);
	world_payload(fx, &fx->edge, 1, SPAN_LIT("two"));
	world_assert_received(fx->origin, SPAN_LIT("two"), &again);
	assert_true(world_same_port(&from, &again));
	world_answer(fx->origin, &again, SPAN_LIT("2"));
	world_turn_until(fx, &fx->other, 2);
	world_assert_payload(&fx->other, 1, 1, SPAN_LIT("2"));
	assert_int_equal(fx->edge.count, 2);
	assert_int_equal(fx->table.by_index[1].moved, 1);
	flow_port_close(&fx->edge.port); /* the link that it came on first */
	world_payload(fx, &fx->other, 1, SPAN_LIT("three"));
	world_assert_received(fx->origin, SPAN_LIT("three"), &again);
}

/* The first destination stays, whatever a repeat says. */
static void test_repeat_keeps_destination(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	struct ip_port elsewhere;
	int fd = world_open_origin(IP_FAMILY_V4, &elsewhere);
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	world_register_to(fx, &fx->edge, 1, &elsewhere);
	world_payload(fx, &fx->edge, 1, SPAN_LIT("where to"));
	world_assert_received(fx->origin, SPAN_LIT("where to"), &from);
	world_assert_silent(fd);
	(void)fd_close(fd);
}

static void test_limit(void **state)
{
	struct flow_world *fx = *state;
	flow_table_set_limits(&fx->table, 2, 1000);
	for (unsigned int n = 1; n <= 3; n++)
		world_register_to(fx, &fx->edge, n, &fx->origin_at);
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	world_assert_response(&fx->edge, 0, 1, DGRAM3_CODE_OK);
	world_assert_response(&fx->edge, 1, 2, DGRAM3_CODE_OK);
	world_assert_response(&fx->edge, 2, 3, DGRAM3_CODE_TOO_MANY);
	world_assert_response(&fx->edge, 3, 1, DGRAM3_CODE_OK);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_TOO_MANY), 1);
	flow_table_end_all(&fx->table);
	world_register_to(fx, &fx->edge, 3, &fx->origin_at);
	world_assert_response(&fx->edge, 4, 3, DGRAM3_CODE_OK);
	assert_int_equal(fx->table.flows.count, 1);
}

/* What can't be dialled takes no place: as often as one likes. */
static void test_failures_leak_nothing(void **state)
{
	struct flow_world *fx = *state;
	struct ip_port nowhere = {
		.ip = { .family = IP_FAMILY_V6, .bytes = { 0xfe, 0x80, [15] = 1 } }, .port = 9
	};
	flow_table_set_limits(&fx->table, 1, 1000);
	for (unsigned int n = 1; n <= 5; n++)
		world_register_to(fx, &fx->edge, n, &nowhere);
	world_assert_response(&fx->edge, 4, 5, DGRAM3_CODE_NO_SOCKET);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_NO_SOCKET), 5);
	fx->edge.port.is_ours = true;
	world_register_to(fx, &fx->edge, 6, &nowhere);
	world_assert_response(&fx->edge, 5, 6, DGRAM3_CODE_UNREACHABLE);
	world_register_to(fx, &fx->edge, 7, &fx->origin_at);
	world_assert_response(&fx->edge, 6, 7, DGRAM3_CODE_OK);
}

static void test_denied(void **state)
{
	struct flow_world *fx = *state;
	fx->is_allowed = false;
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	fx->edge.port.is_ours = true;
	world_register_to(fx, &fx->edge, 2, &fx->origin_at);
	world_payload(fx, &fx->edge, 1, SPAN_LIT("x"));
	world_assert_response(&fx->edge, 0, 1, DGRAM3_CODE_NO_SOCKET);
	world_assert_response(&fx->edge, 1, 2, DGRAM3_CODE_UNREACHABLE);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_DENIED), 2);
	world_turn(fx, 0);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_NO_FLOW), 1);
	world_assert_silent(fx->origin);
}

static void test_registration_rate(void **state)
{
	struct flow_world *fx = *state;
	flow_table_set_limits(&fx->table, 1000, 3);
	for (unsigned int n = 1; n <= 5; n++)
		world_register_to(fx, &fx->edge, n, &fx->origin_at);
	world_register_to(fx, &fx->edge, 1, &fx->origin_at); /* a repeat isn't new */
	assert_int_equal(fx->edge.count, 4);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_RATE), 2);
}

static void test_malformed(void **state)
{
	struct flow_world *fx = *state;
	static const uint8_t icmp[] = { 0x02, 0x45 }, unknown[] = { 0x04 };
	uint8_t buf[64] = {}, big[17 + 1281] = { 0x01 };
	struct packer p = packer_over(buf, sizeof(buf));
	uint64_t bad = 0;
	assert_int_equal(
		dgram3_register_write(&p, &(struct dgram3_register){ .id = world_id_of(1),
								     .dest = fx->origin_at }),
		0);
	for (size_t len = 0; len < 26; len++, bad++)
		world_give(fx, &fx->edge, buf, len);
	for (size_t len = 1; len < 17; len++, bad++)
		world_give(fx, &fx->edge, big, len);
	world_give(fx, &fx->edge, big, sizeof(big));
	world_give(fx, &fx->edge, unknown, sizeof(unknown));
	buf[0] = 0x03;
	world_give(fx, &fx->edge, buf, 20);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_MALFORMED), bad + 3);
	world_give(fx, &fx->edge, icmp, sizeof(icmp));
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_MALFORMED), bad + 4);
	world_give(fx, &fx->edge, big, sizeof(big) - 1);
	world_turn(fx, 0);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_NO_FLOW), 1);
	assert_int_equal(fx->edge.count, 0);
	assert_int_equal(fx->table.flows.count, 0);
}

static void test_sizes(void **state)
{
	struct flow_world *fx = *state;
	static uint8_t bytes[1500];
	struct sockaddr_storage from;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	static const size_t sizes[] = { 0, 1, 1280 };
	unsigned int count = 1;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++, count++) {
		world_payload(fx, &fx->edge, 1, span_of(bytes, sizes[i]));
		world_assert_received(fx->origin, span_of(bytes, sizes[i]), &from);
		world_answer(fx->origin, &from, span_of(bytes, sizes[i]));
		world_turn_until(fx, &fx->edge, count + 1);
		world_assert_payload(&fx->edge, count, 1, span_of(bytes, sizes[i]));
	}
	const uint64_t *too_big = &fx->table.by_index[0].drops[FLOW_DROP_TOO_BIG];
	world_answer(fx->origin, &from, span_of(bytes, 1281));
	world_turn_until_counted(fx, too_big, 1);
	fx->edge.port.is_ours = true; /* another edge of ours takes more */
	world_answer(fx->origin, &from, span_of(bytes, 1380));
	world_turn_until(fx, &fx->edge, ++count);
	world_answer(fx->origin, &from, span_of(bytes, 1381));
	world_turn_until_counted(fx, too_big, 2);
	fx->edge.max = 17 + 900; /* the path is narrower: known before it is sent */
	world_answer(fx->origin, &from, span_of(bytes, 900));
	world_turn_until(fx, &fx->edge, ++count);
	world_answer(fx->origin, &from, span_of(bytes, 901));
	world_turn_until_counted(fx, too_big, 3);
	fx->edge.max = 0;
	world_answer(fx->origin, &from, span_of(bytes, 0));
	world_turn_until_counted(fx, too_big, 4);
	assert_int_equal(fx->table.flows.count, 1);
}

static void test_link_takes_nothing(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	fx->edge.error = -ENOBUFS;
	world_register_to(fx, &fx->edge, 1,
			  &fx->origin_at); /* the response is lost, the flow isn't */
	world_payload(fx, &fx->edge, 1, SPAN_LIT("a"));
	world_assert_received(fx->origin, SPAN_LIT("a"), &from);
	world_answer(fx->origin, &from, SPAN_LIT("b"));
	world_turn_until_counted(fx, &fx->table.by_index[0].drops[FLOW_DROP_LINK_FULL], 1);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_UNTOLD), 1);
	fx->edge.error = -EPROTO;
	world_answer(fx->origin, &from, SPAN_LIT("c"));
	world_turn_until_counted(fx, &fx->table.by_index[0].drops[FLOW_DROP_LINK_DOWN], 1);
	fx->edge.error = 0;
	world_answer(fx->origin, &from, SPAN_LIT("d"));
	world_turn_until(fx, &fx->edge, 1);
	world_assert_payload(&fx->edge, 0, 1, SPAN_LIT("d"));
}

/* Nobody listens: the flow ends without a word; the one beside it on the same socket goes on. */
static void test_refused_by_origin(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	struct ip_port closed;
	int fd = world_open_origin(IP_FAMILY_V4, &closed);
	(void)fd_close(fd);
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	world_register_to(fx, &fx->edge, 2, &closed);
	assert_int_equal(datapath_get_stats(fx->datapath)->anchors, 1);
	world_payload(fx, &fx->edge, 2, SPAN_LIT("anyone?"));
	world_payload(fx, &fx->edge, 1, SPAN_LIT("you")); /* before the error is read */
	world_turn_until_counted(fx, &fx->table.by_index[0].failed, 1);
	world_assert_received(fx->origin, SPAN_LIT("you"), &from);
	world_payload(fx, &fx->edge, 2, SPAN_LIT("again"));
	world_turn(fx, 0);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_NO_FLOW), 1);
	world_answer(fx->origin, &from, SPAN_LIT("me"));
	world_turn_until(fx, &fx->edge, 3);
	world_assert_payload(&fx->edge, 2, 1, SPAN_LIT("me"));
	assert_int_equal(fx->table.flows.count, 1);
}

/* Flows to one origin are told apart by their local ports, which stay what they are. */
static void test_many_to_one(void **state)
{
	struct flow_world *fx = *state;
	enum { COUNT = 200 };
	static struct sockaddr_storage from[COUNT];
	uint8_t name[2] = {};
	for (unsigned int n = 0; n < COUNT; n++)
		world_register_to(fx, &fx->edge, n, &fx->origin_at);
	for (unsigned int n = 0; n < COUNT; n++) {
		name[0] = (uint8_t)n;
		world_payload(fx, &fx->edge, n, span_of(name, 2));
		world_assert_received(fx->origin, span_of(name, 2), &from[n]);
		assert_true(n == 0 || !world_same_port(&from[n], &from[n - 1]));
	}
	assert_int_equal(datapath_get_stats(fx->datapath)->anchors, COUNT);
	for (unsigned int n = 0; n < COUNT; n++) {
		name[1] = (uint8_t)n;
		world_answer(fx->origin, &from[n], span_of(name, 2));
		world_turn_until(fx, &fx->edge, COUNT + n + 1);
		world_assert_payload(&fx->edge, COUNT + n, n, span_of(name, 2));
	}
	/* One more origin finds its places on the same sockets. */
	struct ip_port second;
	int fd = world_open_origin(IP_FAMILY_V4, &second);
	for (unsigned int n = 0; n < COUNT; n++)
		world_register_to(fx, &fx->other, COUNT + n, &second);
	assert_int_equal(fx->table.flows.count, 2 * COUNT);
	assert_int_equal(datapath_get_stats(fx->datapath)->anchors, COUNT);
	flow_table_end_all(&fx->table);
	assert_true(datapath_get_stats(fx->datapath)->anchors < COUNT);
	(void)fd_close(fd);
}

/* Who wasn't asked isn't heard. */
static void test_strangers(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	struct ip_port at;
	int fd = world_open_origin(IP_FAMILY_V4, &at);
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	world_payload(fx, &fx->edge, 1, SPAN_LIT("x"));
	world_assert_received(fx->origin, SPAN_LIT("x"), &from);
	world_answer(fd, &from, SPAN_LIT("hello"));
	world_turn_until_counted(fx, &datapath_get_stats(fx->datapath)->strangers, 1);
	assert_int_equal(fx->edge.count, 1);
	flow_table_end_all(&fx->table); /* and who answers too late */
	world_answer(fx->origin, &from, SPAN_LIT("late"));
	world_turn_until_counted(fx, &datapath_get_stats(fx->datapath)->strangers, 2);
	(void)fd_close(fd);
}

/* What moves keeps a flow; what is dropped doesn't. */
static void test_idle(void **state)
{
	struct flow_world *fx = *state;
	struct loop *loop = fx->worker->loop;
	struct sockaddr_storage from;
	world_register_as(fx, &fx->edge,
			  &(struct dgram3_register){
				  .id = world_id_of(1), .dest = fx->origin_at, .idle_sec = 7 });
	struct udp_session *s = MAP_ENTRY(map_first(&fx->table.flows), struct udp_session, node);
	assert_int_equal(s->idle, 7 * NSEC_PER_SEC);
	s->active = 0;
	world_payload(fx, &fx->edge, 1, SPAN_LIT("x"));
	world_assert_received(fx->origin, SPAN_LIT("x"), &from);
	assert_int_not_equal(s->active, 0);
	s->active = 0;
	world_answer(fx->origin, &from, SPAN_LIT("y"));
	world_turn_until(fx, &fx->edge, 2);
	assert_int_not_equal(s->active, 0);

	/* A timer that is early finds out. */
	timer_start(loop, &s->timer, 0);
	assert_int_equal(loop_turn(loop, NSEC_PER_MSEC), 0);
	assert_int_equal(fx->table.flows.count, 1);
	assert_int_equal(s->timer.at, s->active + s->idle);

	nsec_t moved = s->active, idle = 30 * NSEC_PER_MSEC;
	world_answer(fx->origin, &from, span_of((const uint8_t[1400]){}, 1400));
	world_turn_until_counted(fx, &fx->table.by_index[0].drops[FLOW_DROP_TOO_BIG], 1);
	assert_int_equal(s->active, moved);
	s->idle = idle;
	timer_start(loop, &s->timer, nsec_add(moved, idle));
	while (fx->table.flows.count)
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
	assert_true(loop_now(loop) >= moved + idle);
	assert_int_equal(fx->table.by_index[0].active, 0);
	assert_int_equal(fx->table.by_index[0].failed, 0);
	assert_int_equal(fx->edge.count, 2);
}

/* 210 s where the edge names no time. */
static void test_idle_default(void **state)
{
	struct flow_world *fx = *state;
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	struct udp_session *s = MAP_ENTRY(map_first(&fx->table.flows), struct udp_session, node);
	assert_int_equal(s->idle, 210 * NSEC_PER_SEC);
}

/* ---- the payload of a turn ---- */

/* More than the inbox holds at once, in number or in bytes: each flow has its own, in order. */
static void test_a_turn_of_many(void **state)
{
	struct flow_world *fx = *state;
	enum { FLOWS = 40, EACH = 3, LEN = 600 };
	uint8_t bytes[LEN] = {}, got[LEN], seen[FLOWS] = {};
	for (unsigned int n = 0; n < FLOWS; n++)
		world_register_to(fx, &fx->edge, n, &fx->origin_at);
	for (unsigned int turn = 0; turn < EACH; turn++) {
		for (unsigned int n = 0; n < FLOWS; n++) {
			bytes[0] = (uint8_t)n;
			bytes[1] = (uint8_t)turn;
			world_payload(fx, &fx->edge, n, span_of(bytes, n % 2 ? 2 : LEN));
		}
	}
	world_turn(fx, 0);
	for (unsigned int i = 0; i < FLOWS * EACH; i++) {
		ssize_t len = recv(fx->origin, got, sizeof(got), MSG_DONTWAIT);
		assert_int_equal(len, got[0] % 2 ? 2 : LEN);
		assert_true(got[0] < FLOWS);
		assert_int_equal(got[1], seen[got[0]]++);
	}
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_NO_FLOW), 0);
}

/* What comes first is looked at first: a flow that is registered later in the turn isn't there. */
static void test_payload_before_its_registration(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	world_payload(fx, &fx->edge, 1, SPAN_LIT("early"));
	world_register_to(fx, &fx->edge, 1, &fx->origin_at);
	world_payload(fx, &fx->edge, 1, SPAN_LIT("late"));
	world_assert_received(fx->origin, SPAN_LIT("late"), &from);
	world_assert_silent(fx->origin);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_NO_FLOW), 1);
}

static void test_payload_before_the_end(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	world_begin_flow(fx, 1, &from);
	world_payload(fx, &fx->edge, 1, SPAN_LIT("last words"));
	flow_table_end_all(&fx->table);
	world_assert_received(fx->origin, SPAN_LIT("last words"), &from);
	world_begin_flow(fx, 2, &from);
	world_payload(fx, &fx->edge, 2, SPAN_LIT("of the link"));
	flow_port_close(&fx->edge.port);
	assert_int_equal(fx->table.inbox.count, 0); /* it knows no link that has ended */
	world_assert_received(fx->origin, SPAN_LIT("of the link"), &from);
	world_payload(fx, &fx->other, 2, SPAN_LIT("of another"));
	flow_table_done(&fx->table);
	world_assert_received(fx->origin, SPAN_LIT("of another"), &from);
	world_payload(fx, &fx->other, 2, SPAN_LIT("more"));
	assert_int_equal(fx->table.inbox.count, 0);
	world_turn(fx, 0);
	world_assert_silent(fx->origin);
}

/* Its idle time is over in the turn in which something comes, which is delivered. */
static void test_payload_in_the_last_moment(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from;
	struct dgram_id id = world_id_of(1);
	world_begin_flow(fx, 1, &from);
	struct udp_session *s = udp_session_find(&fx->table, &id, 0);
	s->active = 0;
	timer_start(fx->worker->loop, &s->timer, 0);
	world_payload(fx, &fx->edge, 1, SPAN_LIT("here"));
	world_turn(fx, NSEC_PER_MSEC);
	world_assert_received(fx->origin, SPAN_LIT("here"), &from);
	assert_int_equal(world_drops(fx, 0, FLOW_DROP_NO_FLOW), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, world_start, world_end)
	const struct CMUnitTest tests[] = {
		T(test_recorded_bytes),
		T(test_ipv6_and_mapped),
		T(test_bundled_payload),
		T(test_moves),
		T(test_repeat_keeps_destination),
		T(test_limit),
		T(test_failures_leak_nothing),
		T(test_denied),
		T(test_registration_rate),
		T(test_malformed),
		T(test_sizes),
		T(test_link_takes_nothing),
		T(test_refused_by_origin),
		T(test_many_to_one),
		T(test_strangers),
		T(test_idle),
		T(test_idle_default),
		T(test_a_turn_of_many),
		T(test_payload_before_its_registration),
		T(test_payload_before_the_end),
		T(test_payload_in_the_last_moment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
