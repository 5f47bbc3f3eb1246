/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program of a TUN device's queues by BPF_PROG_TEST_RUN: packets in, queue out, no device.
 * Loading it needs root rights; without them these tests are skipped.
 */
#include "daemon/net/tun_steer.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <bpf/bpf.h>

#include <cmocka.h>

#include "daemon/wire/icmp.h"
#include "daemon/wire/ip_udp.h"
#include "util/macro.h"

enum { ENTERED = 5, PACKET_MAX = 256 };

static struct tun_steer *steer;

static int setup(void **state UNUSED)
{
	const char *why = NULL;
	int r = tun_steer_new(16, &steer, &why);
	if (r < 0 && r != -EPERM)
		fail_msg("%s: %s", strerror(-r), why);
	if (r < 0)
		print_message("%s\n", why);
	return 0;
}

static int teardown(void **state UNUSED)
{
	tun_steer_free(steer);
	return 0;
}

static void need_program(void)
{
	if (!steer)
		skip();
}

/* A test run has Ethernet before the packet, which the program doesn't see. */
struct packet {
	uint8_t bytes[ETH_HLEN + PACKET_MAX];
	size_t len;
};

static struct tun_flow flow_of(enum ip_family family, uint8_t protocol)
{
	struct tun_flow f = {
		.src = { .ip = { .family = family, .bytes = { 0xfd, 1, 2, 3 } }, .port = 4000 },
		.dst = { .ip = { .family = family, .bytes = { 0xfd, 9, 8, 7 } }, .port = 53 },
		.protocol = protocol,
	};
	if (protocol != IP_PROTOCOL_UDP)
		f.src.port = f.dst.port = 0;
	return f;
}

static struct packet packet_of(const struct tun_flow *f)
{
	struct packet made = {};
	bool is_v6 = f->src.ip.family == IP_FAMILY_V6;
	made.bytes[12] = is_v6 ? 0x86 : 0x08;
	made.bytes[13] = is_v6 ? 0xdd : 0;
	struct packer p = packer_over(made.bytes + ETH_HLEN, PACKET_MAX);
	const struct ip_head head = { .src = f->src.ip, .dst = f->dst.ip, .ttl = 9 };
	const struct ip_udp udp = { f->src.port, f->dst.port, 0, SPAN_LIT("0123456789") };
	const struct icmp_echo echo = { .src = f->src.ip, .dst = f->dst.ip, .ttl = 9 };
	int r = f->protocol == IP_PROTOCOL_UDP ? ip_udp_write(&p, &head, &udp)
					       : icmp_echo_write(&p, &echo);
	assert_int_equal(r, 0);
	made.len = ETH_HLEN + packer_span(&p).len;
	return made;
}

static unsigned int run(const struct packet *p)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = p->bytes, .data_size_in = (__u32)p->len);
	assert_int_equal(bpf_prog_test_run_opts(tun_steer_prog_fd(steer), &opts), 0);
	return opts.retval;
}

static const struct {
	enum ip_family family;
	uint8_t protocol;
} kinds[] = {
	{ IP_FAMILY_V4, IP_PROTOCOL_UDP },
	{ IP_FAMILY_V6, IP_PROTOCOL_UDP },
	{ IP_FAMILY_V4, IP_PROTOCOL_ICMP4 },
	{ IP_FAMILY_V6, IP_PROTOCOL_ICMP6 },
};

/* What is entered goes there, and nothing that differs in anything. */
static void test_entered(void **state UNUSED)
{
	need_program();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct tun_flow flow = flow_of(kinds[i].family, kinds[i].protocol);
		struct packet p = packet_of(&flow);
		unsigned int hash = run(&p);
		unsigned int other = ENTERED + (hash == ENTERED);
		assert_int_equal(tun_steer_set(steer, &flow, other), 0);
		assert_int_equal(run(&p), other);
		for (unsigned int k = 0; k < 4; k++) {
			struct tun_flow near = flow;
			bool is_udp = flow.protocol == IP_PROTOCOL_UDP;
			near.src.ip.bytes[3] ^= k == 0;
			near.dst.ip.bytes[3] ^= k == 1 || (!is_udp && k > 1);
			near.src.port ^= is_udp && k == 2;
			near.dst.port ^= is_udp && k == 3;
			struct packet q = packet_of(&near);
			assert_int_not_equal(run(&q), other);
		}
		tun_steer_remove(steer, &flow);
		assert_int_equal(run(&p), hash);
		tun_steer_remove(steer, &flow);
	}
}

/* By hash: always the same for a flow, and flows are spread. */
static void test_hashed(void **state UNUSED)
{
	need_program();
	for (size_t i = 0; i < 2; i++) {
		unsigned int seen[4] = {};
		for (uint16_t port = 1; port <= 400; port++) {
			struct tun_flow flow = flow_of(kinds[i].family, kinds[i].protocol);
			flow.src.port = port;
			struct packet p = packet_of(&flow);
			unsigned int queue = run(&p);
			assert_true(queue <= UINT16_MAX);
			assert_int_equal(run(&p), queue);
			seen[queue % 4]++;
		}
		for (unsigned int k = 0; k < 4; k++)
			assert_true(seen[k] > 60 && seen[k] < 140);
	}
}

/* Options are skipped; pieces go by addresses alone, the first as the others. */
static void test_odd_headers(void **state UNUSED)
{
	need_program();
	struct tun_flow flow = flow_of(IP_FAMILY_V4, IP_PROTOCOL_UDP);
	struct packet p = packet_of(&flow), longer = p, piece = p, later = p;
	assert_int_equal(tun_steer_set(steer, &flow, ENTERED), 0);
	longer.bytes[ETH_HLEN] = 0x46;
	memmove(longer.bytes + ETH_HLEN + 24, p.bytes + ETH_HLEN + 20, 20);
	longer.len += 4;
	assert_int_equal(run(&longer), ENTERED);
	piece.bytes[ETH_HLEN + 6] = 0x20;
	later.bytes[ETH_HLEN + 7] = 1;
	assert_int_equal(run(&piece), run(&later));
	tun_steer_remove(steer, &flow);
}

/* Cut anywhere: some queue, and never an error. (What Ethernet calls IP has to be whole in a test
 * run.) */
static void test_cut(void **state UNUSED)
{
	need_program();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct tun_flow flow = flow_of(kinds[i].family, kinds[i].protocol);
		struct packet p = packet_of(&flow);
		for (size_t len = ETH_HLEN + 1; len < p.len; len++) {
			struct packet cut = p;
			cut.bytes[12] = cut.bytes[13] = 0;
			cut.len = len;
			assert_true(run(&cut) <= UINT16_MAX);
		}
	}
}

/* More than it has room for: the oldest are forgotten. */
static void test_full(void **state UNUSED)
{
	need_program();
	for (uint16_t port = 1; port <= 1000; port++) {
		struct tun_flow flow = flow_of(IP_FAMILY_V6, IP_PROTOCOL_UDP);
		flow.src.port = port;
		assert_int_equal(tun_steer_set(steer, &flow, ENTERED), 0);
		struct packet p = packet_of(&flow);
		assert_int_equal(run(&p), ENTERED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entered),     cmocka_unit_test(test_hashed),
		cmocka_unit_test(test_odd_headers), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_full),
	};
	return cmocka_run_group_tests_name("steer", tests, setup, teardown);
}
