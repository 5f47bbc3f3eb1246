/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands before packets of a TUN queue, over a pair of sockets that keep boundaries as a queue
 * does. Devices are made in the system tests.
 */
#include "daemon/net/tun.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "util/macro.h"

enum { HEAD = 10, NEEDS_CSUM = 1, GSO_TCP = 1, GSO_UDP = 5 };

struct queue {
	int fd;
	int kernel;
};

static int start(void **state)
{
	static struct queue q;
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	q = (struct queue){ fds[0], fds[1] };
	*state = &q;
	return 0;
}

static int end(void **state)
{
	const struct queue *q = *state;
	(void)close(q->fd);
	(void)close(q->kernel);
	return 0;
}

/* flags, gso_type, hdr_len, gso_size, csum_start, csum_offset: of this machine's order. */
static void give(const struct queue *q, const uint16_t head[5], const void *packet, size_t len)
{
	uint8_t buf[HEAD + 2000];
	memcpy(buf, head, HEAD);
	memcpy(buf + HEAD, packet, len);
	assert_int_equal(send(q->kernel, buf, HEAD + len, 0), HEAD + len);
}

static uint16_t kind(uint8_t flags, uint8_t gso)
{
	const uint8_t bytes[2] = { flags, gso };
	uint16_t v;
	memcpy(&v, bytes, sizeof(v));
	return v;
}

static uint8_t packet_buf[TUN_PACKET_MAX];

static void test_read(void **state)
{
	const struct queue *q = *state;
	const uint8_t udp[28] = { [0] = 0x45, [9] = 17, [27] = 9 };
	struct tun_packet p;
	assert_int_equal(tun_read(q->fd, packet_buf, &p), -EAGAIN);
	give(q, (const uint16_t[5]){}, udp, sizeof(udp));
	assert_int_equal(tun_read(q->fd, packet_buf, &p), 0);
	assert_true(span_eq(p.bytes, span_of(udp, sizeof(udp))));
	assert_int_equal(p.segment_len, 0);
	/* A burst; its checksum is left alone. */
	give(q, (const uint16_t[5]){ kind(NEEDS_CSUM, GSO_UDP), 28, 7, 20, 6 }, udp, sizeof(udp));
	assert_int_equal(tun_read(q->fd, packet_buf, &p), 0);
	assert_true(span_eq(p.bytes, span_of(udp, sizeof(udp))));
	assert_int_equal(p.segment_len, 7);
}

/* What isn't UDP gets the checksum that the header promises, also with an odd length. */
static void test_completed(void **state)
{
	const struct queue *q = *state;
	for (size_t len = 28; len <= 29; len++) {
		uint8_t icmp[29] = { [0] = 0x45, [9] = 1, [20] = 8, [25] = 1, [28] = 0x80 };
		struct tun_packet p;
		give(q, (const uint16_t[5]){ kind(NEEDS_CSUM, 0), 0, 0, 20, 2 }, icmp, len);
		assert_int_equal(tun_read(q->fd, packet_buf, &p), 0);
		assert_int_equal(p.bytes.len, len);
		uint16_t wanted = (uint16_t)~(0x0800 + 1 + (len == 29 ? 0x8000 : 0));
		assert_int_equal(p.bytes.ptr[22] << 8 | p.bytes.ptr[23], wanted);
	}
}

static void test_refused(void **state)
{
	const struct queue *q = *state;
	static const uint8_t icmp[28] = { [0] = 0x45, [9] = 1 };
	static const uint8_t v6[48] = { [0] = 0x60, [6] = 58 };
	const uint16_t heads[][5] = {
		{ kind(0, GSO_TCP), 28, 7, 0, 0 },    /* never asked for */
		{ kind(0, GSO_UDP), 28, 0, 0, 0 },    /* a burst of nothing */
		{ kind(NEEDS_CSUM, 0), 0, 0, 28, 0 }, /* behind the end */
		{ kind(NEEDS_CSUM, 0), 0, 0, 20, 7 }, /* over it */
		{ kind(NEEDS_CSUM, 0), 0, 0, 65535, 65535 },
	};
	struct tun_packet p = { .segment_len = 99 };
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		give(q, heads[i], icmp, sizeof(icmp));
		assert_int_equal(tun_read(q->fd, packet_buf, &p), -EBADMSG);
	}
	give(q, (const uint16_t[5]){ kind(NEEDS_CSUM, 0), 0, 0, 48, 0 }, v6, sizeof(v6));
	assert_int_equal(tun_read(q->fd, packet_buf, &p), -EBADMSG);
	for (size_t len = 1; len < HEAD; len++) {
		assert_int_equal(send(q->kernel, icmp, len, 0), len);
		assert_int_equal(tun_read(q->fd, packet_buf, &p), -EBADMSG);
	}
	assert_int_equal(p.segment_len, 99); /* nothing was written */
	/* No packet at all behind the header. */
	assert_int_equal(send(q->kernel, (const uint8_t[HEAD]){}, HEAD, 0), HEAD);
	assert_int_equal(tun_read(q->fd, packet_buf, &p), 0);
	assert_int_equal(p.bytes.len, 0);
}

static void test_write(void **state)
{
	const struct queue *q = *state;
	static const struct {
		struct tun_send send;
		uint8_t flags, gso;
		uint16_t rest[4];
	} cases[] = {
		{ { .pieces = { { (const uint8_t *)"ab", 2 } }, .piece_count = 1 }, 0, 0, {} },
		{ { .pieces = { { (const uint8_t *)"a", 1 }, { (const uint8_t *)"b", 1 } },
		    .piece_count = 2,
		    .udp_at = 20 },
		  NEEDS_CSUM,
		  0,
		  { 0, 0, 20, 6 } },
		{ { .pieces = { { (const uint8_t *)"ab", 2 } },
		    .piece_count = 1,
		    .udp_at = 40,
		    .segment_len = 1200 },
		  NEEDS_CSUM,
		  GSO_UDP,
		  { 48, 1200, 40, 6 } },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t buf[64];
		assert_int_equal(tun_write(q->fd, &cases[i].send), 0);
		assert_int_equal(recv(q->kernel, buf, sizeof(buf), 0), HEAD + 2);
		assert_int_equal(buf[0], cases[i].flags);
		assert_int_equal(buf[1], cases[i].gso);
		assert_memory_equal(buf + 2, cases[i].rest, sizeof(cases[i].rest));
		assert_memory_equal(buf + HEAD, "ab", 2);
	}
	int r = 0;
	for (unsigned int i = 0; i < 100000 && r == 0; i++)
		r = tun_write(q->fd, &cases[0].send);
	assert_int_equal(r, -EAGAIN);
}

static void test_open(void **state UNUSED)
{
	struct tun_device device;
	int fds[1];
	assert_int_equal(tun_open("a-name-that-is-too-long", 1, fds, &device), -EINVAL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		T(test_read), T(test_completed), T(test_refused), T(test_write), T(test_open),
	};
	return cmocka_run_group_tests_name("tun", tests, NULL, NULL);
}
