/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP in the routed mode: packets of two links to the network and back. The device, the kernel's
 * routes and the clock are the test's.
 */
#include "daemon/session/icmp_routed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/wire/endpoint.h"
#include "selftests/lib/icmp_world.h"
#include "util/endian.h"
#include "util/macro.h"

enum { ROOM = 2048 };

struct link {
	struct icmp_port port;
	unsigned int count;
	size_t len, max;
	uint8_t last[ROOM];
};

static struct icmp_session *const session = &icmp_world.session;
static struct icmp_routed routed;
static struct tun_plan plan;
static struct link here, there;
static struct written {
	unsigned int count, reports, notes, drops[TUN_DROP_MAX_];
	struct icmp_error report;
	int error;
	size_t len;
	uint8_t last[ROOM];
	tun_icmp_fn take;
} out;

/* ---- the device ---- */

int __wrap_tun_ground_write(struct tun_ground *g, struct span packet);
void __wrap_tun_ground_report(struct tun_ground *g, struct span packet, struct icmp_error *e);
void __wrap_tun_ground_hand_on(struct tun_ground *g, const struct tun_icmp *icmp, unsigned int w);
void __wrap_tun_ground_drop(struct tun_ground *g, enum tun_drop reason);
void __wrap_tun_ground_note(struct tun_ground *g, enum ip_family family);
void __wrap_tun_ground_set_icmp(struct tun_ground *g, tun_icmp_fn take, void *arg);
const struct tun_plan *__wrap_tun_ground_plan(const struct tun_ground *g);
bool __wrap_tun_ground_reaches(const struct tun_ground *g, const struct ip_addr *dst);

int __wrap_tun_ground_write(struct tun_ground *g UNUSED, struct span packet)
{
	if (out.error)
		return out.error;
	assert_true(packet.len <= ROOM);
	memcpy(out.last, packet.ptr, packet.len);
	out.len = packet.len;
	out.count++;
	return 0;
}

void __wrap_tun_ground_report(struct tun_ground *g UNUSED, struct span packet UNUSED,
			      struct icmp_error *e)
{
	out.reports++;
	out.report = *e;
}

void __wrap_tun_ground_hand_on(struct tun_ground *g UNUSED, const struct tun_icmp *icmp UNUSED,
			       unsigned int w UNUSED)
{
	fail_msg("there is one worker");
}

void __wrap_tun_ground_drop(struct tun_ground *g UNUSED, enum tun_drop reason)
{
	out.drops[reason]++;
}

void __wrap_tun_ground_note(struct tun_ground *g UNUSED, enum ip_family family UNUSED)
{
	out.notes++;
}

void __wrap_tun_ground_set_icmp(struct tun_ground *g UNUSED, tun_icmp_fn take, void *arg UNUSED)
{
	out.take = take;
}

const struct tun_plan *__wrap_tun_ground_plan(const struct tun_ground *g UNUSED)
{
	return &plan;
}

bool __wrap_tun_ground_reaches(const struct tun_ground *g UNUSED, const struct ip_addr *dst)
{
	return tun_plan_count(&plan, dst->family) > 0;
}

/* ---- the ground ---- */

static int link_send(struct icmp_port *port, struct span packet)
{
	struct link *l = CONTAINER_OF(port, struct link, port);
	assert_true(packet.len <= ROOM);
	memcpy(l->last, packet.ptr, packet.len);
	l->len = packet.len;
	l->count++;
	return 0;
}

static size_t link_max(struct icmp_port *port)
{
	return CONTAINER_OF(port, struct link, port)->max;
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {};
	assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
	return a;
}

static int start(void **state UNUSED)
{
	const struct icmp_port port = { .send = link_send, .max = link_max };
	here = (struct link){ .port = port, .max = 1280 };
	there = (struct link){ .port = port, .max = 1280 };
	out = (struct written){};
	plan = (struct tun_plan){ .v4 = { addr("10.9.0.0"), 24 },
				  .v6 = { addr("fd09::"), 112 },
				  .workers = 1 };
	icmp_world_start();
	icmp_routed_init(&routed, session, NULL, NULL);
	return 0;
}

static int end(void **state UNUSED)
{
	icmp_session_remove_port(session, &here.port);
	icmp_routed_done(&routed);
	icmp_world_end();
	return 0;
}

static uint64_t drops(enum icmp_drop reason)
{
	return session->drops[0][reason];
}

static uint8_t room[ROOM];

static struct span echo(const char *src, const char *dst, bool is_reply, uint8_t ttl)
{
	struct packer p = packer_over(room, sizeof(room));
	const struct icmp_echo e = { .src = addr(src),
				     .dst = addr(dst),
				     .ttl = ttl,
				     .is_reply = is_reply,
				     .id = 7,
				     .seq = 8,
				     .data = SPAN_LIT("data") };
	assert_int_equal(icmp_echo_write(&p, &e), 0);
	return packer_span(&p);
}

static void ask(struct link *l, const char *src, const char *dst)
{
	icmp_session_packet(session, &l->port, echo(src, dst, false, 9));
}

/* From the network; what it is handed is its own to write. */
static void feed(struct span packet)
{
	uint8_t copy[ROOM];
	struct ip_packet ip;
	struct icmp_message m;
	memcpy(copy, packet.ptr, packet.len);
	assert_int_equal(ip_read(span_of(copy, packet.len), &ip) || icmp_read(&ip, &m), 0);
	const struct tun_icmp icmp = {
		.packet = copy, .len = packet.len, .ip = &ip, .message = &m
	};
	out.take(&routed, &icmp);
}

static struct ip_packet read_packet(const uint8_t *bytes, size_t len)
{
	struct ip_packet ip;
	assert_int_equal(ip_read(span_of(bytes, len), &ip), 0);
	assert_true(ip_checksum_ok(&ip) && icmp_checksum_ok(&ip));
	return ip;
}

static const char *text(const struct ip_addr *a)
{
	static char buf[ADDR_TEXT_MAX];
	struct packer p = packer_over(buf, sizeof(buf) - 1);
	memset(buf, 0, sizeof(buf));
	ip_addr_print(&p, a);
	return buf;
}

/* ---- tests ---- */

static void check_there_and_back(const char *user, const char *host)
{
	unsigned int asked = out.count, answered = here.count;
	ask(&here, user, host);
	assert_int_equal(out.count, asked + 1);
	struct ip_packet ip = read_packet(out.last, out.len);
	assert_int_equal(ip.ttl, 8);
	assert_true(tun_plan_contains(&plan, &ip.src));
	char outside[ADDR_TEXT_MAX];
	memcpy(outside, text(&ip.src), sizeof(outside));
	feed(echo(host, outside, true, 60));
	assert_int_equal(here.count, answered + 1);
	ip = read_packet(here.last, here.len);
	assert_int_equal(ip.ttl, 59);
	assert_string_equal(text(&ip.dst), user);
	assert_string_equal(text(&ip.src), host);
}

static void test_there_and_back(void **state UNUSED)
{
	check_there_and_back("100.96.0.5", "10.1.0.9");
	check_there_and_back("100.96.0.5", "10.1.0.9");
	check_there_and_back("2606::5", "fd01::9");
	assert_int_equal(icmp_routed_count(&routed), 2);
	assert_int_equal(session->stats.requests, 3);
	assert_int_equal(session->stats.replies, 3);
	assert_int_equal(icmp_world.sends, 0); /* no socket */
}

/* Two users who talk to one host have two addresses, and one to two hosts may have the same. */
static void test_shared(void **state UNUSED)
{
	plan.v4.bits = 29; /* five addresses */
	for (unsigned int i = 0; i < 6; i++) {
		char user[] = "100.96.0.0";
		user[9] = (char)('1' + i);
		ask(&here, user, "10.1.0.9");
		ask(i & 1 ? &here : &there, user, "10.1.0.8");
	}
	assert_int_equal(out.count, 10);
	assert_int_equal(drops(ICMP_DROP_NO_ADDRESS), 2);
	assert_int_equal(icmp_routed_count(&routed), 10);
	icmp_session_remove_port(session, &there.port);
	assert_int_equal(icmp_routed_count(&routed), 7);
}

static void test_kept(void **state UNUSED)
{
	plan.keeps_source = true;
	ask(&here, "10.9.0.77", "10.1.0.9");
	assert_true(memcmp(out.last + 12, (const uint8_t[]){ 10, 9, 0, 77 }, 4) == 0);
	/* By another link now: answers go there. */
	ask(&there, "10.9.0.77", "10.1.0.9");
	feed(echo("10.1.0.9", "10.9.0.77", true, 60));
	assert_true(here.count == 0 && there.count == 1);
	assert_int_equal(icmp_routed_count(&routed), 1);
	/* The daemon's own is nobody's to keep. */
	ask(&here, "10.9.0.1", "10.1.0.9");
	assert_true(memcmp(out.last + 12, (const uint8_t[]){ 10, 9, 0, 1 }, 4) != 0);
}

/* A type that no socket would send. */
static void test_other_types(void **state UNUSED)
{
	uint8_t copy[ROOM];
	struct span s = echo("100.96.0.5", "10.1.0.9", false, 9);
	memcpy(copy, s.ptr, s.len);
	copy[20] = 13; /* timestamp */
	icmp_session_packet(session, &here.port, span_of(copy, s.len));
	assert_int_equal(out.count, 1);
	assert_int_equal(out.last[20], 13);
	memcpy(copy, out.last, out.len);
	memcpy(copy + 12, (const uint8_t[]){ 10, 1, 0, 9 }, 4);
	memcpy(copy + 16, out.last + 12, 4);
	copy[20] = 14;
	feed(span_of(copy, out.len));
	assert_int_equal(here.count, 1);
	assert_int_equal(here.last[20], 14);
	assert_int_equal(drops(ICMP_DROP_KIND), 0);
}

static struct span error_of(const char *hop, enum icmp_kind kind, struct span about)
{
	static uint8_t bytes[ROOM];
	struct packer p = packer_over(bytes, sizeof(bytes));
	struct ip_packet ip;
	assert_int_equal(ip_read(about, &ip), 0);
	const struct icmp_error e = {
		.src = addr(hop), .dst = ip.src, .kind = kind, .mtu = 900, .quote = about
	};
	assert_int_equal(icmp_error_write(&p, &e), 0);
	return packer_span(&p);
}

static void test_errors(void **state UNUSED)
{
	static const enum icmp_kind kinds[] = { ICMP_KIND_UNREACHABLE, ICMP_KIND_TOO_BIG,
						ICMP_KIND_TIME_EXCEEDED };
	static const char *const rows[][3] = { { "100.96.0.5", "10.1.0.9", "10.1.0.1" },
					       { "2606::5", "fd01::9", "fd01::1" } };
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ask(&here, rows[i][0], rows[i][1]);
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
			struct ip_packet quote;
			struct icmp_message m;
			feed(error_of(rows[i][2], kinds[k], span_of(out.last, out.len)));
			struct ip_packet ip = read_packet(here.last, here.len);
			assert_string_equal(text(&ip.src), rows[i][2]);
			assert_string_equal(text(&ip.dst), rows[i][0]);
			assert_int_equal(icmp_read(&ip, &m) || ip_read(m.data, &quote), 0);
			assert_int_equal(m.kind, kinds[k]);
			assert_string_equal(text(&quote.src), rows[i][0]);
			assert_string_equal(text(&quote.dst), rows[i][1]);
			assert_int_equal(session->stats.passed[kinds[k]], i + 1);
		}
	}
	/* About what nobody has asked. */
	uint8_t copy[ROOM];
	ask(&here, "100.96.0.5", "10.1.0.9");
	memcpy(copy, out.last, out.len);
	copy[19]++;
	feed(error_of("10.1.0.1", ICMP_KIND_TIME_EXCEEDED, span_of(copy, out.len)));
	assert_int_equal(out.drops[TUN_DROP_FOREIGN], 1);
}

static void test_unasked(void **state UNUSED)
{
	plan.keeps_source = true;
	ask(&here, "10.9.0.77", "10.1.0.9");
	feed(echo("10.1.0.8", "10.9.0.77", true, 60));
	feed(echo("10.1.0.9", "10.9.0.78", true, 60));
	assert_int_equal(out.drops[TUN_DROP_FOREIGN], 2);
	feed(echo("10.1.0.9", "10.9.0.77", false, 60));
	assert_int_equal(out.drops[TUN_DROP_ICMP_KIND], 1);
	assert_true(here.count == 0 && out.notes == 0);
	icmp_world.is_allowed = false;
	ask(&here, "10.9.0.77", "10.1.0.7");
	assert_int_equal(drops(ICMP_DROP_DENIED), 1);
	assert_true(out.count == 1 && here.count == 1); /* it is told */
}

static void test_hops(void **state UNUSED)
{
	plan.keeps_source = true;
	icmp_session_packet(session, &here.port, echo("10.9.0.77", "10.1.0.9", false, 1));
	assert_int_equal(drops(ICMP_DROP_TTL), 1);
	assert_true(out.count == 0 && here.count == 1);
	ask(&here, "10.9.0.77", "10.1.0.9");
	feed(echo("10.1.0.9", "10.9.0.77", true, 1));
	assert_true(out.reports == 1 && out.report.kind == ICMP_KIND_TIME_EXCEEDED);
	assert_int_equal(here.count, 1);
}

/* What the link doesn't take is told to who forbids cutting: in IPv6 everybody. */
static void test_too_big(void **state UNUSED)
{
	here.max = 40;
	ask(&here, "2606::5", "fd01::9");
	char outside[ADDR_TEXT_MAX];
	struct ip_packet ip = read_packet(out.last, out.len);
	memcpy(outside, text(&ip.src), sizeof(outside));
	feed(echo("fd01::9", outside, true, 60));
	assert_true(out.reports == 1 && out.report.kind == ICMP_KIND_TOO_BIG);
	assert_int_equal(out.report.mtu, 1280);
	plan.keeps_source = true;
	here.max = 30;
	ask(&here, "10.9.0.77", "10.1.0.9");
	feed(echo("10.1.0.9", "10.9.0.77", true, 60));
	assert_int_equal(out.reports, 1);
	assert_int_equal(drops(ICMP_DROP_REPLY_BIG), 2);
	assert_int_equal(here.count, 0);
}

static void test_limits(void **state UNUSED)
{
	plan.keeps_source = true;
	plan.v4.bits = 16;
	for (unsigned int i = 0; i < ICMP_ROUTED_MAX + 10; i++) {
		char user[24];
		(void)snprintf(user, sizeof(user), "10.9.%u.%u", 10 + i / 200, i % 200);
		ask(&here, user, "10.1.0.9");
	}
	assert_int_equal(icmp_routed_count(&routed), ICMP_ROUTED_MAX);
	assert_int_equal(drops(ICMP_DROP_FORGOTTEN), 10);
	out.error = -EAGAIN;
	ask(&here, "10.9.30.1", "10.1.0.9");
	assert_int_equal(drops(ICMP_DROP_ORIGIN_FULL), 1);
	/* Who is silent is forgotten. */
	icmp_world.now += (ICMP_ROUTED_IDLE_SEC - 1) * NSEC_PER_SEC;
	out.error = 0;
	ask(&here, "10.9.30.1", "10.1.0.9");
	icmp_world.now += 2 * NSEC_PER_SEC;
	routed.sweep.on_expire(&routed.sweep);
	assert_int_equal(icmp_routed_count(&routed), 1);
	icmp_world.now += ICMP_ROUTED_IDLE_SEC * NSEC_PER_SEC;
	timer_stop(&routed.sweep);
	routed.sweep.on_expire(&routed.sweep);
	assert_int_equal(icmp_routed_count(&routed), 0);
	assert_false(timer_is_armed(&routed.sweep));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)
	static const struct CMUnitTest tests[] = {
		TEST(test_there_and_back), TEST(test_shared),  TEST(test_kept),
		TEST(test_other_types),    TEST(test_errors),  TEST(test_unasked),
		TEST(test_hops),           TEST(test_too_big), TEST(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
