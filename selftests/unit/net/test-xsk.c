/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AF_XDP sockets on a veth pair in a network of the test's own, the program of the short cut on one
 * end and a packet socket on the other: frames both ways, two workers on one queue, all chunks in
 * use, an interface that goes down and one that goes. Needs root rights; skipped without them.
 */
#include "daemon/net/xsk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/net/bpf.h"
#include "selftests/lib/own_net.h"
#include "util/cleanup.h"
#include "util/endian.h"
#include "util/macro.h"
#include "util/time.h"

enum {
	WORKERS = 2,
	WAIT_MS = 5000,
	PAYLOAD = 42, /* in an IPv4 frame */
	LPORT = 40000,
	RPORT = 7,
};

static bool is_usable;
static struct xsk_area *area;
static struct bpf_flow *flow;
static int peer = -EBADF;

static int group_setup(void **state)
{
	(void)state;
	is_usable = own_net_enter();
	return 0;
}

static struct xsk_area *open_area(unsigned int ifindex, int error)
{
	int fds[WORKERS];
	for (unsigned int i = 0; i < WORKERS; i++) {
		fds[i] = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
		assert_true(fds[i] >= 0);
	}
	const struct xsk_params p = { .workers = WORKERS, .queues = 1, .fds = fds };
	struct xsk_area *a = NULL;
	assert_int_equal(xsk_area_new(&p, &a), 0);
	assert_int_equal(xsk_area_bind(a, ifindex), error);
	return a;
}

static void enter(unsigned int worker, uint16_t lport)
{
	struct adit_flow_key k = { .lport = htobe16(lport), .rport = htobe16(RPORT), .proto = 17 };
	struct adit_flow_val v = { .state = FLOW_STATE_HIT,
				   .worker = (uint16_t)worker,
				   .slot = worker };
	k.local[2] = k.remote[2] = htobe32(0xffff);
	k.local[3] = htobe32(0x0a000001);
	k.remote[3] = htobe32(0x0a000002);
	memset(v.hdr, 'a' + (int)worker, sizeof(v.hdr));
	assert_int_equal(bpf_flow_set(flow, &k, &v), 0);
}

static int setup(void **state)
{
	(void)state;
	const char *why = NULL;
	const struct bpf_flow_params p = { .max_flows = 16 };
	if (!is_usable || bpf_flow_load(&p, &flow, &why) < 0)
		return 0;
	assert_true(own_net_make_pair());
	unsigned int ifindex = if_nametoindex("eth1");
	area = open_area(ifindex, 0);
	for (unsigned int w = 0; w < WORKERS; w++) {
		assert_int_equal(bpf_flow_set_socket(flow, w, 0, xsk_fd(area, w, 0)), 0);
		enter(w, (uint16_t)(LPORT + w));
	}
	assert_int_equal(bpf_flow_attach(flow, ifindex, &why), 0);
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = (int)if_nametoindex("peer1") };
	peer = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(peer, (struct sockaddr *)&at, sizeof(at)), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	bpf_flow_free(TAKE_PTR(flow));
	xsk_area_free(TAKE_PTR(area));
	peer = fd_close(peer);
	if (is_usable)
		own_net_remove_pair();
	return 0;
}

static void need_area(void)
{
	if (!area)
		skip();
}

static size_t make_frame(uint8_t *p, uint16_t lport, size_t payload, uint8_t fill)
{
	memset(p, 0, PAYLOAD);
	store_be16(p + 12, ETH_P_IP);
	p[14] = 0x45;
	store_be16(p + 16, (uint16_t)(28 + payload));
	p[22] = 64;
	p[23] = 17;
	store_be32(p + 26, 0x0a000002);
	store_be32(p + 30, 0x0a000001);
	store_be16(p + 34, RPORT);
	store_be16(p + 36, lport);
	store_be16(p + 38, (uint16_t)(8 + payload));
	memset(p + PAYLOAD, fill, payload);
	return PAYLOAD + payload;
}

static void send_to_us(uint16_t lport, size_t payload, uint8_t fill)
{
	uint8_t frame[2048];
	size_t len = make_frame(frame, lport, payload, fill);
	assert_int_equal(send(peer, frame, len, 0), len);
}

static unsigned int await(unsigned int worker, struct xsk_frame frames[XSK_BATCH])
{
	struct pollfd p = { .fd = xsk_fd(area, worker, 0), .events = POLLIN };
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	return xsk_receive(area, worker, 0, frames);
}

static void expect_frame(const struct xsk_frame *f, unsigned int worker, size_t payload,
			 uint8_t fill)
{
	struct adit_rx_meta meta;
	memcpy(&meta, f->data - sizeof(meta), sizeof(meta));
	assert_int_equal(meta.slot, worker);
	assert_int_equal(meta.len, f->len);
	assert_int_equal(f->len, FLOW_HDR_LEN + payload);
	for (size_t i = 0; i < f->len; i++)
		assert_int_equal(f->data[i], i < FLOW_HDR_LEN ? 'a' + worker : fill);
}

/* Each worker gets its own flows, though they have one queue and one memory. */
static void test_receive(void **state)
{
	(void)state;
	need_area();
	static const size_t payloads[] = { 0, 1, 64, 1472 };
	struct xsk_frame frames[XSK_BATCH];
	for (size_t i = 0; i < ARRAY_SIZE(payloads); i++) {
		for (unsigned int w = 0; w < WORKERS; w++) {
			send_to_us((uint16_t)(LPORT + w), payloads[i], (uint8_t)(i + 1));
			assert_int_equal(await(w, frames), 1);
			expect_frame(&frames[0], w, payloads[i], (uint8_t)(i + 1));
			memset(frames[0].data - XSK_HEADROOM_RX, 0xee, XSK_HEADROOM_RX);
			xsk_release(area, w, 0, frames, 1);
		}
	}
	assert_int_equal(xsk_receive(area, 0, 0, frames), 0);
}

/* What nobody has room for is counted, and afterwards it goes on. */
static void test_receive_overrun(void **state)
{
	(void)state;
	need_area();
	struct xsk_frame frames[XSK_BATCH];
	struct xsk_drops drops;
	for (unsigned int i = 0; i < XSK_RX_CHUNKS + 10; i++)
		send_to_us(LPORT, 10, 1);
	unsigned int came = 0;
	for (unsigned int n; came < XSK_RX_CHUNKS; came += n) {
		n = await(0, frames);
		xsk_release(area, 0, 0, frames, n);
	}
	assert_int_equal(came, XSK_RX_CHUNKS);
	xsk_drops(area, 0, &drops);
	assert_int_equal(drops.no_chunk + drops.ring_full, 10);
	assert_int_equal(drops.too_long, 0);
	for (unsigned int i = 0; i < 3 * XSK_RX_CHUNKS; i++) {
		send_to_us(LPORT, 10, 2);
		assert_int_equal(await(0, frames), 1);
		expect_frame(&frames[0], 0, 10, 2);
		xsk_release(area, 0, 0, frames, 1);
	}
}

static const uint8_t *queue_frame(unsigned int worker, uint8_t fill)
{
	uint8_t *p = xsk_take(area, worker);
	assert_non_null(p);
	const struct xsk_frame f = { .data = p, .len = make_frame(p, RPORT, 100, fill) };
	xsk_send(area, worker, &f, 34, 6);
	return p;
}

static void expect_sent(uint8_t fill)
{
	uint8_t got[2048];
	struct pollfd p = { .fd = peer, .events = POLLIN };
	ssize_t n = 0;
	do { /* the kernel announces itself on new interfaces */
		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		n = recv(peer, got, sizeof(got), 0);
	} while (n < PAYLOAD || load_be16(got + 12) != ETH_P_IP);
	assert_int_equal(n, PAYLOAD + 100);
	assert_int_equal(got[PAYLOAD], fill);
	assert_int_equal(got[PAYLOAD + 99], fill);
}

/* More than one round of all chunks, from both workers in turn. */
static void test_send(void **state)
{
	(void)state;
	need_area();
	for (unsigned int i = 0; i < 3 * XSK_TX_CHUNKS; i++) {
		for (unsigned int w = 0; w < WORKERS; w++) {
			queue_frame(w, (uint8_t)(i + w));
			assert_int_equal(xsk_flush(area, w), 0);
			expect_sent((uint8_t)(i + w));
		}
	}
	/* All at once, and not one more. */
	for (unsigned int i = 0; i < XSK_TX_CHUNKS; i++)
		queue_frame(0, 7);
	assert_null(xsk_take(area, 0));
	assert_int_equal(xsk_flush(area, 0), 0);
	assert_non_null(xsk_take(area, 0));
	struct xsk_drops drops;
	xsk_drops(area, 0, &drops);
	assert_int_equal(drops.tx_invalid, 0);
}

/* What was sent last is taken first, so that little memory is in use. */
static void test_reuse(void **state)
{
	(void)state;
	need_area();
	const uint8_t *seen[8];
	unsigned int count = 0;
	for (unsigned int i = 0; i < XSK_TX_CHUNKS; i++) {
		const uint8_t *p = queue_frame(0, (uint8_t)i);
		unsigned int k = 0;
		while (k < count && seen[k] != p)
			k++;
		assert_true(k < ARRAY_SIZE(seen));
		seen[k] = p;
		count = MAX(count, k + 1);
		assert_int_equal(xsk_flush(area, 0), 0);
		expect_sent((uint8_t)i);
	}
}

static void test_interface_down_and_gone(void **state)
{
	(void)state;
	need_area();
	assert_int_equal(own_net_run("ip link set eth1 down"), 0);
	queue_frame(0, 1);
	assert_int_equal(xsk_flush(area, 0), -ENETDOWN);
	assert_int_equal(own_net_run("ip link set eth1 up"), 0);
	assert_int_equal(xsk_flush(area, 0), 0);
	expect_sent(1);
	assert_true(xsk_area_is_bound(area));
	own_net_remove_pair();
	assert_false(xsk_area_is_bound(area));
	queue_frame(0, 1);
	assert_int_equal(xsk_flush(area, 0), -ENXIO);
}

static unsigned int not_sent(void)
{
	struct xsk_drops drops;
	xsk_drops(area, 0, &drops);
	return (unsigned int)drops.not_sent;
}

/* What couldn't leave is counted, doesn't leave later, and its memory serves again. */
static void test_withdraw(void **state)
{
	enum { ROUNDS = 3, SOME = 300 };

	(void)state;
	need_area();
	for (unsigned int round = 0; round < ROUNDS; round++) {
		assert_int_equal(own_net_run("ip link set eth1 down"), 0);
		for (unsigned int i = 0; i < SOME; i++) {
			queue_frame(0, 1);
			if (i % 100 == 0) {
				assert_int_equal(xsk_flush(area, 0), -ENETDOWN);
				xsk_withdraw(area, 0);
			}
		}
		xsk_withdraw(area, 0);
		assert_int_equal(not_sent(), (round + 1) * SOME);
		assert_int_equal(own_net_run("ip link set eth1 up"), 0);
		queue_frame(0, 2);
		assert_int_equal(xsk_flush(area, 0), 0);
		expect_sent(2);
		for (unsigned int i = 0; i < 2 * XSK_TX_CHUNKS; i++) {
			queue_frame(0, 3);
			assert_int_equal(xsk_flush(area, 0), 0);
			expect_sent(3);
		}
	}
	xsk_withdraw(area, 0); /* nothing */
	assert_int_equal(not_sent(), ROUNDS * SOME);
}

/* Nobody at the other end of the cable: what the driver drops is counted. */
static void test_no_carrier(void **state)
{
	(void)state;
	need_area();
	assert_int_equal(own_net_run("ip link set peer1 down"), 0);
	queue_frame(0, 1);
	queue_frame(0, 1);
	assert_int_equal(xsk_flush(area, 0), -EAGAIN);
	assert_int_equal(xsk_flush(area, 0), -EAGAIN);
	assert_int_equal(xsk_flush(area, 0), 0);
	assert_int_equal(not_sent(), 2);
}

/* A queue has one memory; when that has gone, another can come. */
static void test_taken(void **state)
{
	(void)state;
	need_area();
	unsigned int ifindex = if_nametoindex("eth1");
	struct xsk_frame frames[XSK_BATCH];
	xsk_area_free(open_area(4711, -ENODEV));
	struct xsk_area *second = open_area(ifindex, -EBUSY);
	send_to_us(LPORT, 10, 1);
	assert_int_equal(await(0, frames), 1);
	/* The kernel takes its time with the first one's end. */
	xsk_area_free(area);
	area = second;
	nsec_t give_up = nsec_clock(CLOCK_MONOTONIC) + WAIT_MS * NSEC_PER_MSEC;
	int r = xsk_area_bind(area, ifindex);
	for (; r == -EBUSY && nsec_clock(CLOCK_MONOTONIC) < give_up;
	     r = xsk_area_bind(area, ifindex))
		(void)poll(NULL, 0, 1);
	assert_int_equal(r, 0);
	assert_int_equal(bpf_flow_set_socket(flow, 0, 0, xsk_fd(area, 0, 0)), 0);
	send_to_us(LPORT, 10, 1);
	assert_int_equal(await(0, frames), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive_overrun, setup, teardown),
		cmocka_unit_test_setup_teardown(test_send, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reuse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interface_down_and_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_withdraw, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_carrier, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken, setup, teardown),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
