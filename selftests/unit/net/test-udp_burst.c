/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many datagrams by one call, on loopback: runs, peers, lengths; sockets without GSO, errors.
 */
#include "daemon/net/udp_burst.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "util/macro.h"

enum { MANY = 150 };

static const struct ip_port v4_lo = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
static const struct ip_port v6_lo = { .ip = { .family = IP_FAMILY_V6, .bytes = { [15] = 1 } } };

static struct udp_burst *burst;
static struct udp_stats stats;
static uint8_t bytes[70000];

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	stats = (struct udp_stats){};
	return udp_burst_new(&burst);
}

static int teardown(void **state)
{
	(void)state;
	udp_burst_free(burst);
	return 0;
}

static struct udp_socket open_at(const struct ip_port *local)
{
	const struct udp_params p = {
		.local = *local, .rcvbuf = 1 << 20, .want_errors = true, .may_fragment = true
	};
	struct udp_socket s;
	assert_int_equal(udp_open(&p, &s), 0);
	return s;
}

/* The next datagram is the first len bytes. */
static void assert_next(const struct udp_socket *s, size_t len)
{
	static uint8_t got[sizeof(bytes)];
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(recv(s->fd, got, sizeof(got), 0), len);
	assert_memory_equal(got, bytes, len);
}

static void assert_nothing(const struct udp_socket *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 0);
}

/* Runs of all forms to two peers. */
static void exchange(const struct ip_port *lo, bool has_gso)
{
	struct udp_socket from = open_at(lo), a = open_at(lo), b = open_at(lo);
	struct iovec even[] = { { bytes, 100 }, { bytes, 100 }, { bytes, 100 } };
	struct iovec tail[] = { { bytes, 900 }, { bytes, 900 }, { bytes, 1 } };
	struct iovec empty[] = { { bytes, 0 } }, long_one[] = { { bytes, 60000 } };
	struct udp_run runs[] = {
		{ .peer = &a.local, .iov = even, .count = 3 },
		{ .peer = &b.local, .iov = tail, .count = 3 },
		{ .peer = &a.local, .iov = empty, .count = 1 },
		{ .peer = &b.local, .iov = long_one, .count = 1 },
	};
	if (!has_gso)
		from.has_gso = false;
	udp_burst_send(burst, &from, runs, ARRAY_SIZE(runs), &stats);
	for (unsigned int i = 0; i < ARRAY_SIZE(runs); i++) {
		assert_int_equal(runs[i].result, 0);
		assert_int_equal(runs[i].sent, runs[i].count);
	}
	for (unsigned int i = 0; i < 3; i++)
		assert_next(&a, 100);
	assert_next(&a, 0);
	assert_next(&b, 900);
	assert_next(&b, 900);
	assert_next(&b, 1);
	assert_next(&b, 60000);
	assert_int_equal(stats.tx_segments, 8);
	assert_int_equal(stats.tx_bytes, 300 + 1801 + 60000);
	udp_close(&from);
	udp_close(&a);
	udp_close(&b);
}

static void test_one_call(void **state)
{
	(void)state;
	exchange(&v4_lo, true);
	assert_int_equal(stats.tx_calls, 1);
	assert_int_equal(stats.tx_gso, 6);
}

static void test_one_call_v6(void **state)
{
	(void)state;
	exchange(&v6_lo, true);
	assert_int_equal(stats.tx_calls, 1);
}

static void test_without_gso(void **state)
{
	(void)state;
	exchange(&v4_lo, false);
	assert_int_equal(stats.tx_gso, 0);
	assert_true(stats.tx_calls > 1);
}

/* More than one call takes. */
static void test_many(void **state)
{
	(void)state;
	struct udp_socket from = open_at(&v4_lo), to = open_at(&v4_lo);
	struct iovec iov[MANY];
	struct udp_run runs[MANY];
	for (unsigned int i = 0; i < MANY; i++) {
		iov[i] = (struct iovec){ bytes, i };
		runs[i] = (struct udp_run){ .peer = &to.local, .iov = &iov[i], .count = 1 };
	}
	udp_burst_send(burst, &from, runs, MANY, &stats);
	for (unsigned int i = 0; i < MANY; i++)
		assert_next(&to, i);
	assert_int_equal(stats.tx_calls, (MANY + UDP_BURST - 1) / UDP_BURST);
	udp_close(&from);
	udp_close(&to);
}

/* One that can't be sent is told of and harms no other. */
static void test_too_large(void **state)
{
	(void)state;
	struct udp_socket from = open_at(&v4_lo), to = open_at(&v4_lo);
	struct iovec good[] = { { bytes, 10 } }, bad[] = { { bytes, 65600 } };
	struct udp_run runs[] = {
		{ .peer = &to.local, .iov = good, .count = 1 },
		{ .peer = &to.local, .iov = bad, .count = 1 },
		{ .peer = &to.local, .iov = good, .count = 1 },
	};
	udp_burst_send(burst, &from, runs, ARRAY_SIZE(runs), &stats);
	assert_int_equal(runs[0].result, 0);
	assert_int_equal(runs[1].result, -EMSGSIZE);
	assert_int_equal(runs[1].sent, 0);
	assert_int_equal(runs[2].result, 0);
	assert_next(&to, 10);
	assert_next(&to, 10);
	assert_nothing(&to);
	assert_int_equal(stats.tx_errors, 1);
	udp_close(&from);
	udp_close(&to);
}

/* A run whose datagrams are too large to be segments goes one by one, and GSO stays on. */
static void test_segments_too_large(void **state)
{
	(void)state;
	struct udp_socket from = open_at(&v4_lo), to = open_at(&v4_lo);
	struct iovec iov[] = { { bytes, 65507 }, { bytes, 100 } }; /* over UDP_RUN_BYTES */
	struct udp_run run = { .peer = &to.local, .iov = iov, .count = 2 };
	udp_burst_send(burst, &from, &run, 1, &stats);
	assert_int_equal(run.result, 0);
	assert_int_equal(run.sent, 2);
	assert_next(&to, 65507);
	assert_next(&to, 100);
	assert_true(from.has_gso);
	udp_close(&from);
	udp_close(&to);
}

/* The kernel keeps the refusal of an earlier datagram and says it at the next call. */
static void test_kept_error(void **state)
{
	(void)state;
	struct udp_socket from = open_at(&v4_lo), to = open_at(&v4_lo), gone = open_at(&v4_lo);
	struct ip_port nobody = gone.local;
	udp_close(&gone);
	struct iovec iov[] = { { bytes, 10 }, { bytes, 10 } };
	struct udp_run runs[] = {
		{ .peer = &nobody, .iov = iov, .count = 1 },
		{ .peer = &to.local, .iov = iov, .count = 2 },
		{ .peer = &to.local, .iov = iov, .count = 1 },
	};
	udp_burst_send(burst, &from, runs, ARRAY_SIZE(runs), &stats);
	for (unsigned int i = 0; i < ARRAY_SIZE(runs); i++)
		assert_int_equal(runs[i].result, 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_next(&to, 10);
	struct udp_error e;
	assert_int_equal(udp_read_error(&from, &e), 0);
	assert_int_equal(e.error, -ECONNREFUSED);
	assert_true(ip_port_eq(&e.peer, &nobody));
	udp_close(&from);
	udp_close(&to);
}

static void test_closed(void **state)
{
	(void)state;
	struct udp_socket from = open_at(&v4_lo);
	struct iovec iov[] = { { bytes, 10 }, { bytes, 10 } };
	struct udp_run runs[] = { { .peer = &v4_lo, .iov = iov, .count = 2 },
				  { .peer = &v4_lo, .iov = iov, .count = 1 } };
	udp_close(&from);
	udp_burst_send(burst, &from, runs, ARRAY_SIZE(runs), &stats);
	assert_int_equal(runs[0].result, -EBADF);
	assert_int_equal(runs[1].result, -EBADF);
	assert_int_equal(runs[0].sent + runs[1].sent, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_one_call),  T(test_one_call_v6),        T(test_without_gso), T(test_many),
		T(test_too_large), T(test_segments_too_large), T(test_kept_error),  T(test_closed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
