/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short cut's program by BPF_PROG_TEST_RUN: frames in, verdict and frame out, no interface.
 * Loading it needs root rights; without them these tests are skipped.
 */
#include "daemon/net/bpf.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include <cmocka.h>

#include "util/cleanup.h"
#include "util/endian.h"
#include "util/macro.h"

enum {
	MAX_FRAME = 2048,
	V4_HEAD = ETH_HLEN + 20,
	V6_HEAD = ETH_HLEN + 40,
	UDP_HEAD = 8,
	SHORTEST = ETH_HLEN, /* that BPF_PROG_TEST_RUN takes */
	WORKER = 3,
	SLOT = 5,
	LPORT = 40000,
	RPORT = 53,
};

struct world {
	struct bpf_flow *flow;
	int xsk;
};

struct packet {
	uint8_t bytes[MAX_FRAME];
	size_t len;
};

/* ---- the program and its flow ---- */

static struct world world = { .xsk = -EBADF };

static int setup(void **state)
{
	(void)state;
	char log[4096] = "";
	const char *why = NULL;
	struct bpf_flow_params p = { .max_flows = 16, .log = log, .log_len = sizeof(log) };
	int r = bpf_flow_load(&p, &world.flow, &why);
	if (r < 0 && r != -EPERM)
		fail_msg("%s: %s\n%s", strerror(-r), why, log);
	if (r < 0)
		print_message("%s\n", why);
	world.xsk = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bpf_flow_free(world.flow);
	world.xsk = fd_close(world.xsk);
	return 0;
}

static void need_program(void)
{
	if (!world.flow || world.xsk < 0)
		skip();
}

static struct adit_flow_key key_of(bool is_v6)
{
	struct adit_flow_key k = { .lport = htobe16(LPORT), .rport = htobe16(RPORT), .proto = 17 };
	uint8_t *local = (uint8_t *)k.local;
	uint8_t *remote = (uint8_t *)k.remote;
	if (is_v6) {
		local[0] = remote[0] = 0xfd;
	} else {
		local[10] = local[11] = remote[10] = remote[11] = 0xff;
		local[12] = remote[12] = 10;
	}
	local[15] = 1;
	remote[15] = 2;
	return k;
}

static struct adit_flow_val val_of(uint8_t state)
{
	struct adit_flow_val v = { .state = state, .worker = WORKER, .slot = SLOT };
	for (unsigned int i = 0; i < sizeof(v.hdr); i++)
		v.hdr[i] = (uint8_t)(i + 1);
	return v;
}

static void enter(uint8_t state)
{
	struct adit_flow_val v = val_of(state);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		struct adit_flow_key k = key_of(is_v6);
		assert_int_equal(bpf_flow_set(world.flow, &k, &v), 0);
	}
}

static void leave(void)
{
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		struct adit_flow_key k = key_of(is_v6);
		(void)bpf_flow_remove(world.flow, &k);
	}
}

static void with_socket(bool is_there)
{
	if (!is_there) { /* it leaves with its descriptor */
		world.xsk = fd_close(world.xsk);
		world.xsk = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
		assert_true(world.xsk >= 0);
		return;
	}
	assert_int_equal(bpf_flow_set_socket(world.flow, WORKER, 0, world.xsk), 0);
}

/* ---- frames ---- */

static void frame_udp(struct packet *p, size_t at, size_t payload)
{
	uint8_t *udp = p->bytes + at;
	store_be16(udp, RPORT);
	store_be16(udp + 2, LPORT);
	store_be16(udp + 4, (uint16_t)(UDP_HEAD + payload));
	for (size_t i = 0; i < payload; i++)
		udp[UDP_HEAD + i] = (uint8_t)(i * 7);
	p->len = at + UDP_HEAD + payload;
}

static struct packet frame_v4(size_t payload)
{
	struct packet p = {};
	uint8_t *ip = p.bytes + ETH_HLEN;
	store_be16(p.bytes + 12, ETH_P_IP);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)(20 + UDP_HEAD + payload));
	ip[6] = 0x40; /* DF */
	ip[8] = 64;
	ip[9] = 17;
	ip[12] = ip[16] = 10;
	ip[15] = 2;
	ip[19] = 1;
	frame_udp(&p, V4_HEAD, payload);
	return p;
}

static struct packet frame_v6(size_t payload)
{
	struct packet p = {};
	uint8_t *ip = p.bytes + ETH_HLEN;
	store_be16(p.bytes + 12, ETH_P_IPV6);
	ip[0] = 0x60;
	store_be16(ip + 4, (uint16_t)(UDP_HEAD + payload));
	ip[6] = 17;
	ip[7] = 64;
	ip[8] = ip[24] = 0xfd;
	ip[23] = 2;
	ip[39] = 1;
	frame_udp(&p, V6_HEAD, payload);
	return p;
}

static struct packet frame_of(bool is_v6, size_t payload)
{
	return is_v6 ? frame_v6(payload) : frame_v4(payload);
}

static size_t head_of(bool is_v6)
{
	return is_v6 ? V6_HEAD : V4_HEAD;
}

/* ---- running ---- */

struct outcome {
	int action;
	struct packet out;
	uint64_t counted[FLOW_VERDICTS]; /* by this run alone */
	uint64_t probes;                 /* … */
};

static struct outcome run(const struct packet *in)
{
	struct outcome o = {};
	uint64_t before[FLOW_VERDICTS];
	uint64_t probes = bpf_flow_probes(world.flow, SLOT);
	assert_int_equal(bpf_flow_verdicts(world.flow, before), 0);
	/* Its own memory, as long as the frame. */
	_cleanup_(freep) uint8_t *copy = malloc(in->len);
	assert_non_null(copy);
	memcpy(copy, in->bytes, in->len);
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = copy, .data_size_in = (__u32)in->len,
		    .data_out = o.out.bytes, .data_size_out = sizeof(o.out.bytes), .repeat = 1);
	int r = bpf_prog_test_run_opts(bpf_flow_prog_fd(world.flow), &opts);
	if (r < 0)
		fail_msg("%s", strerror(-r));
	o.action = (int)opts.retval;
	o.out.len = opts.data_size_out;
	assert_int_equal(bpf_flow_verdicts(world.flow, o.counted), 0);
	for (unsigned int v = 0; v < FLOW_VERDICTS; v++)
		o.counted[v] -= before[v];
	o.probes = bpf_flow_probes(world.flow, SLOT) - probes;
	return o;
}

/* verdict: -1 for a frame that isn't counted at all. */
static void expect_counted(const struct outcome *o, int verdict)
{
	for (int v = 0; v < FLOW_VERDICTS; v++) {
		if (o->counted[v] != (v == verdict))
			fail_msg("%s counted %u times", bpf_flow_verdict_name((unsigned int)v),
				 (unsigned int)o->counted[v]);
	}
	assert_int_equal(o->probes, verdict == FLOW_VERDICT_PROBE);
}

static void expect_pass(const struct packet *in, int verdict)
{
	struct outcome o = run(in);
	assert_int_equal(o.action, XDP_PASS);
	assert_int_equal(o.out.len, in->len);
	assert_memory_equal(o.out.bytes, in->bytes, in->len);
	expect_counted(&o, verdict);
}

/* What the socket would receive: the metadata, the header, the payload, and no padding. */
static void expect_taken(const struct packet *in, bool is_v6, size_t payload)
{
	struct outcome o = run(in);
	struct adit_flow_val v = val_of(FLOW_STATE_HIT);
	struct adit_rx_meta meta;
	assert_int_equal(o.action, XDP_REDIRECT);
	assert_int_equal(o.out.len, sizeof(meta) + FLOW_HDR_LEN + payload);
	memcpy(&meta, o.out.bytes, sizeof(meta));
	assert_int_equal(meta.slot, SLOT);
	assert_int_equal(meta.kind, FLOW_RX_UDP);
	assert_int_equal(meta.len, FLOW_HDR_LEN + payload);
	assert_memory_equal(o.out.bytes + sizeof(meta), v.hdr, sizeof(v.hdr));
	assert_memory_equal(o.out.bytes + sizeof(meta) + FLOW_HDR_LEN,
			    in->bytes + head_of(is_v6) + UDP_HEAD, payload);
	expect_counted(&o, FLOW_VERDICT_TAKEN);
}

/* ---- the table ---- */

static void test_hit(void **state)
{
	(void)state;
	need_program();
	static const size_t payloads[] = { 0, 1, 17, 64, 1200, 1280, 1472 };
	enter(FLOW_STATE_HIT);
	with_socket(true);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		for (size_t i = 0; i < ARRAY_SIZE(payloads); i++) {
			struct packet p = frame_of(is_v6, payloads[i]);
			expect_taken(&p, is_v6, payloads[i]);
			/* Nobody looks at UDP's checksum: a device may be to complete it. */
			store_be16(p.bytes + head_of(is_v6) + 6, 0xbad);
			expect_taken(&p, is_v6, payloads[i]);
		}
	}
	leave();
}

/* Short Ethernet frames are filled up; IP's and UDP's own lengths count. */
static void test_padding(void **state)
{
	(void)state;
	need_program();
	enter(FLOW_STATE_HIT);
	with_socket(true);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		struct packet p = frame_of(is_v6, 3);
		memset(p.bytes + p.len, 0xee, 40);
		p.len += 40;
		expect_taken(&p, is_v6, 3);
		/* IP is longer than UDP in it. */
		uint8_t *len = p.bytes + ETH_HLEN + (is_v6 ? 4 : 2);
		store_be16(len, (uint16_t)(load_be16(len) + 10));
		expect_taken(&p, is_v6, 3);
	}
	leave();
}

static void test_probe(void **state)
{
	(void)state;
	need_program();
	enter(FLOW_STATE_PROBE);
	with_socket(true);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		struct packet p = frame_of(is_v6, 100);
		expect_pass(&p, FLOW_VERDICT_PROBE);
	}
	leave();
}

/* Any other address, port or protocol isn't ours. */
static void test_miss(void **state)
{
	(void)state;
	need_program();
	with_socket(true);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		leave();
		struct packet p = frame_of(is_v6, 100);
		expect_pass(&p, FLOW_VERDICT_MISS);
		enter(FLOW_STATE_HIT);
		size_t from = ETH_HLEN + (is_v6 ? 8 : 12);
		for (size_t at = from; at < head_of(is_v6) + 4; at++) {
			struct packet other = p;
			other.bytes[at] ^= 1;
			expect_pass(&other, FLOW_VERDICT_MISS);
		}
		struct packet tcp = p;
		tcp.bytes[ETH_HLEN + (is_v6 ? 6 : 9)] = 6;
		expect_pass(&tcp, -1);
	}
	leave();
}

/* A queue or a worker without a socket: the frame goes on unchanged. */
static void test_no_socket(void **state)
{
	(void)state;
	need_program();
	enter(FLOW_STATE_HIT);
	with_socket(false);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		struct packet p = frame_of(is_v6, 100);
		memset(p.bytes + p.len, 0, 4);
		p.len += 4;
		expect_pass(&p, FLOW_VERDICT_NO_SOCKET);
	}
	assert_int_equal(bpf_flow_set_socket(world.flow, FLOW_SOCKET_WORKERS, 0, world.xsk),
			 -EINVAL);
	assert_int_equal(bpf_flow_set_socket(world.flow, 0, FLOW_SOCKET_QUEUES, world.xsk),
			 -EINVAL);
	leave();
}

static void test_lengths(void **state)
{
	(void)state;
	need_program();
	enter(FLOW_STATE_HIT);
	with_socket(true);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		struct packet p = frame_of(is_v6, 100);
		uint8_t *udp_len = p.bytes + head_of(is_v6) + 4;
		for (int len = 0; len < UDP_HEAD; len++) {
			store_be16(udp_len, (uint16_t)len);
			expect_pass(&p, FLOW_VERDICT_LENGTH);
		}
		store_be16(udp_len, UDP_HEAD + 101);
		expect_pass(&p, FLOW_VERDICT_LENGTH);
		store_be16(udp_len, UINT16_MAX);
		expect_pass(&p, FLOW_VERDICT_LENGTH);

		p = frame_of(is_v6, 100);
		uint8_t *ip_len = p.bytes + ETH_HLEN + (is_v6 ? 4 : 2);
		uint16_t good = load_be16(ip_len);
		static const int wrong[] = { -1, 1, -101, 1000 };
		for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
			store_be16(ip_len, (uint16_t)(good + wrong[i]));
			expect_pass(&p, FLOW_VERDICT_LENGTH);
		}
		store_be16(ip_len, 0);
		expect_pass(&p, FLOW_VERDICT_LENGTH);
	}
	leave();
}

static void test_fragments_and_options(void **state)
{
	(void)state;
	need_program();
	enter(FLOW_STATE_HIT);
	with_socket(true);
	struct packet p = frame_v4(100);
	static const uint16_t offsets[] = { 0x2000, 0x0001, 0x2001, 0x1fff };
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		store_be16(p.bytes + ETH_HLEN + 6, offsets[i]);
		expect_pass(&p, FLOW_VERDICT_FRAGMENT);
	}
	p = frame_v4(100);
	static const uint8_t first[] = { 0x46, 0x4f, 0x44, 0x40, 0x55, 0x65 };
	for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
		p.bytes[ETH_HLEN] = first[i];
		expect_pass(&p, FLOW_VERDICT_OPTIONS);
	}
	p = frame_v6(100);
	p.bytes[ETH_HLEN + 6] = 44; /* a fragment's header */
	expect_pass(&p, FLOW_VERDICT_FRAGMENT);
	/* Hop-by-hop options, routing, options of the destination: before UDP, before ICMPv6. */
	static const uint8_t extensions[] = { 0, 43, 60 };
	for (size_t i = 0; i < ARRAY_SIZE(extensions); i++) {
		p = frame_v6(100);
		p.bytes[ETH_HLEN + 6] = extensions[i];
		p.bytes[ETH_HLEN + 40] = IPPROTO_UDP;
		expect_pass(&p, FLOW_VERDICT_OPTIONS);
		p.bytes[ETH_HLEN + 40] = IPPROTO_ICMPV6;
		expect_pass(&p, -1);
		p.bytes[ETH_HLEN + 40] = IPPROTO_UDP;
		p.len = ETH_HLEN + 41; /* cut off within it */
		expect_pass(&p, -1);
	}
	leave();
}

static void test_other_ethernet(void **state)
{
	(void)state;
	need_program();
	enter(FLOW_STATE_HIT);
	with_socket(true);
	static const uint16_t types[] = { ETH_P_8021Q, ETH_P_8021AD, ETH_P_ARP, 0 };
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct packet p = frame_v4(100);
		store_be16(p.bytes + 12, types[i]);
		expect_pass(&p, -1);
	}
	/* A tagged frame is the same with four bytes more. */
	struct packet p = frame_v4(100);
	memmove(p.bytes + 16, p.bytes + 12, p.len - 12);
	store_be16(p.bytes + 12, ETH_P_8021Q);
	store_be16(p.bytes + 14, 7);
	p.len += 4;
	expect_pass(&p, -1);
	leave();
}

/* At every byte: nothing is read behind the end, and nothing cut is taken. */
static void test_truncated(void **state)
{
	(void)state;
	need_program();
	enter(FLOW_STATE_HIT);
	with_socket(true);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		struct packet p = frame_of(is_v6, 20);
		size_t whole = p.len;
		for (p.len = SHORTEST; p.len < whole; p.len++)
			expect_pass(&p, p.len < head_of(is_v6) ? -1 : FLOW_VERDICT_LENGTH);
		expect_taken(&p, is_v6, 20);
	}
	leave();
}

/* A flow can be changed and taken out while it runs; a full table says so. */
static void test_flows(void **state)
{
	(void)state;
	need_program();
	with_socket(true);
	struct packet p = frame_v4(10);
	enter(FLOW_STATE_PROBE);
	expect_pass(&p, FLOW_VERDICT_PROBE);
	enter(FLOW_STATE_HIT);
	expect_taken(&p, false, 10);
	leave();
	expect_pass(&p, FLOW_VERDICT_MISS);

	struct adit_flow_key k = key_of(false);
	struct adit_flow_val v = val_of(FLOW_STATE_PROBE);
	assert_int_equal(bpf_flow_remove(world.flow, &k), -ENOENT);
	unsigned int entered = 0;
	int r = 0;
	for (; entered < 1000 && r == 0; entered += r == 0) {
		k.lport = (__be16)entered;
		r = bpf_flow_set(world.flow, &k, &v);
	}
	assert_int_equal(r, -E2BIG);
	assert_int_equal(entered, 20); /* 16 and a quarter */
	while (entered-- > 0) {
		k.lport = (__be16)entered;
		assert_int_equal(bpf_flow_remove(world.flow, &k), 0);
	}
	assert_int_equal(bpf_flow_probes(world.flow, 16), 0); /* beyond the last slot */
}

/* A second interface has the same flows and sockets of its own. */
static void test_shared(void **state)
{
	(void)state;
	need_program();
	struct bpf_flow_params p = { .share = world.flow };
	struct bpf_flow *first = world.flow;
	struct bpf_flow *second = NULL;
	const char *why = NULL;
	assert_int_equal(bpf_flow_load(&p, &second, &why), 0);
	enter(FLOW_STATE_HIT);
	with_socket(true);
	struct packet in = frame_v4(10);
	expect_taken(&in, false, 10);
	world.flow = second;
	expect_pass(&in, FLOW_VERDICT_NO_SOCKET);
	with_socket(true);
	expect_taken(&in, false, 10);
	leave();
	world.flow = first;
	expect_pass(&in, FLOW_VERDICT_MISS);
	bpf_flow_free(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hit),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_miss),
		cmocka_unit_test(test_no_socket),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_fragments_and_options),
		cmocka_unit_test(test_other_ethernet),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_shared),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
