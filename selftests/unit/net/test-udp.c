/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP sockets on loopback: addresses and ECN both ways, GSO and GRO, what a refusing device and a
 * too large datagram do, errors of the socket.
 */
#include "daemon/net/udp.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/net/sockaddr.h"
#include "util/macro.h"

static const struct ip_port v4_any = { .ip = { .family = IP_FAMILY_V4 } };
static const struct ip_port v6_any = { .ip = { .family = IP_FAMILY_V6 } };
static const struct ip_addr v4_lo = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } };
static const struct ip_addr v4_lo2 = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 2 } };
static const struct ip_addr v6_lo = { .family = IP_FAMILY_V6, .bytes = { [15] = 1 } };

static struct udp_batch *batch;

static int setup(void **state)
{
	(void)state;
	return udp_batch_new(&batch);
}

static int teardown(void **state)
{
	(void)state;
	udp_batch_free(batch);
	return 0;
}

static struct udp_socket open_at(const struct ip_port *local, bool want_gro)
{
	struct udp_params p = { .local = *local, .want_gro = want_gro, .rcvbuf = 1 << 20 };
	struct udp_socket s;
	assert_int_equal(udp_open(&p, &s), 0);
	assert_int_not_equal(s.local.port, 0);
	return s;
}

static struct ip_port port_at(const struct udp_socket *s, const struct ip_addr *ip)
{
	return (struct ip_port){ .ip = *ip, .port = s->local.port };
}

static int recv_some(struct udp_socket *s, struct udp_stats *stats, const struct udp_msg **ret)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 5000), 1);
	return udp_recv(s, batch, stats, ret);
}

static void fill(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + i / 251);
}

static void test_addresses_convert(void **state)
{
	(void)state;
	struct sockaddr_storage sa;
	struct ip_port in = { .ip = v6_lo, .port = 4433, .scope = 3 };
	struct ip_port out;

	socklen_t len = sockaddr_from_ip_port(&in, &sa);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &out), 0);
	assert_true(ip_port_eq(&in, &out));
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len - 1, &out), -EAFNOSUPPORT);

	in = (struct ip_port){ .ip = v4_lo, .port = 53 };
	len = sockaddr_from_ip_port(&in, &sa);
	assert_int_equal(sa.ss_family, AF_INET);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &out), 0);
	assert_true(ip_port_eq(&in, &out));

	len = sockaddr_for_family(&in, IP_FAMILY_V6, &sa);
	assert_int_equal(sa.ss_family, AF_INET6);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &out), 0);
	assert_true(ip_port_eq(&in, &out));

	sa.ss_family = AF_UNIX;
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &out), -EAFNOSUPPORT);
}

/* One datagram to an unconnected listener and an answer from the address that it was sent to. */
static void exchange(const struct ip_port *listen_at, const struct ip_addr *reach)
{
	struct udp_stats stats = {};
	struct udp_socket server = open_at(listen_at, false);
	struct ip_port target = port_at(&server, reach);
	struct ip_port from = { .ip = { .family = reach->family } };
	struct udp_params p = { .local = from, .peer = &target };
	struct udp_socket client;
	assert_int_equal(udp_open(&p, &client), 0);
	assert_true(client.is_connected);

	const struct udp_msg *m;
	size_t sent;
	struct udp_send send = { .data = SPAN_LIT("ping"), .ecn = UDP_ECN_ECT0 };
	assert_int_equal(udp_send(&client, &send, &stats, &sent), 0);
	assert_int_equal(sent, 4);
	assert_int_equal(recv_some(&server, &stats, &m), 1);
	assert_true(span_eq(span_of(m->data, m->len), SPAN_LIT("ping")));
	assert_int_equal(m->segment_len, 4);
	assert_int_equal(m->ecn, UDP_ECN_ECT0);
	assert_true(ip_addr_eq(&m->local, reach));
	struct ip_port client_local;
	assert_int_equal(udp_local_addr(&client, &client_local), 0);
	assert_true(ip_port_eq(&m->peer, &client_local));

	/* A connected client only takes what comes from the address it talked to. */
	struct ip_port peer = m->peer;
	struct ip_addr local = m->local;
	struct udp_send answer = {
		.data = SPAN_LIT("pong!"),
		.peer = &peer,
		.local = &local,
		.ecn = UDP_ECN_CE,
	};
	assert_int_equal(udp_send(&server, &answer, &stats, &sent), 0);
	assert_int_equal(recv_some(&client, &stats, &m), 1);
	assert_true(span_eq(span_of(m->data, m->len), SPAN_LIT("pong!")));
	assert_int_equal(m->ecn, UDP_ECN_CE);
	assert_true(ip_port_eq(&m->peer, &target));
	assert_int_equal(udp_recv(&client, batch, &stats, &m), -EAGAIN);
	assert_int_equal(stats.tx_segments, 2);
	assert_int_equal(stats.rx_segments, 2);

	udp_close(&client);
	assert_int_equal(client.fd, -EBADF);
	udp_close(&server);
}

static void test_exchange_v4(void **state)
{
	(void)state;
	exchange(&v4_any, &v4_lo2);
}

static void test_exchange_v6(void **state)
{
	(void)state;
	exchange(&v6_any, &v6_lo);
}

static void test_exchange_mapped(void **state)
{
	(void)state;
	exchange(&v6_any, &v4_lo2);
}

static void test_v6_only_refuses_v4(void **state)
{
	(void)state;
	struct udp_params p = { .local = v6_any, .is_v6_only = true };
	struct udp_socket six;
	assert_int_equal(udp_open(&p, &six), 0);

	/* The IPv4 port of the same number is still free. */
	struct udp_params q = { .local = v4_any };
	struct udp_socket four;
	q.local.port = six.local.port;
	assert_int_equal(udp_open(&q, &four), 0);
	udp_close(&four);
	udp_close(&six);
}

/* Sends len bytes as segments and checks that all of them arrive in order. */
static void burst(struct udp_socket *tx, struct udp_socket *rx, size_t len, struct udp_stats *stats)
{
	uint8_t *data = malloc(len);
	assert_non_null(data);
	fill(data, len);
	struct ip_port to = port_at(rx, rx->local.ip.family == IP_FAMILY_V6 ? &v6_lo : &v4_lo);
	struct udp_send send = { .data = span_of(data, len), .segment_len = 1200, .peer = &to };
	size_t sent;
	assert_int_equal(udp_send(tx, &send, stats, &sent), 0);
	assert_int_equal(sent, len);

	size_t got = 0;
	while (got < len) {
		const struct udp_msg *m;
		int n = recv_some(rx, stats, &m);
		assert_true(n > 0);
		for (int i = 0; i < n; i++) {
			assert_true(m[i].segment_len <= 1200);
			assert_memory_equal(m[i].data, data + got, m[i].len);
			got += m[i].len;
		}
	}
	assert_int_equal(got, len);
	free(data);
}

static void check_gso(const struct ip_port *at)
{
	struct udp_stats stats = {};
	struct udp_socket tx = open_at(at, false);
	struct udp_socket rx = open_at(at, true);
	if (!tx.has_gso || !rx.has_gro)
		skip();

	size_t len = 20 * 1200 + 77;
	burst(&tx, &rx, len, &stats);
	assert_int_equal(stats.tx_calls, 1);
	assert_int_equal(stats.tx_segments, 21);
	assert_int_equal(stats.tx_gso, 21);
	assert_int_equal(stats.rx_segments, 21);
	assert_int_equal(stats.rx_bytes, len);
	assert_true(stats.rx_gro > 0);
	assert_true(stats.rx_messages < 21);
	udp_close(&tx);
	udp_close(&rx);
}

static void test_gso_gro(void **state)
{
	(void)state;
	check_gso(&v4_any);
	check_gso(&v6_any);
}

/* A receiver without GRO gets single datagrams, more than one recvmmsg() takes. */
static void test_gso_without_gro(void **state)
{
	(void)state;
	struct udp_stats stats = {};
	struct udp_socket tx = open_at(&v4_any, false);
	struct udp_socket rx = open_at(&v4_any, false);
	burst(&tx, &rx, (size_t)UDP_GSO_SEGMENTS * 1200, &stats);
	assert_int_equal(stats.rx_messages, UDP_GSO_SEGMENTS);
	assert_int_equal(stats.rx_gro, 0);
	assert_true(stats.rx_calls >= UDP_GSO_SEGMENTS / UDP_BATCH);
	udp_close(&tx);
	udp_close(&rx);
}

/* The kernel refuses UDP_SEGMENT on a socket without checksums as it does for a poor device. */
static void test_gso_refused(void **state)
{
	(void)state;
	struct udp_stats stats = {};
	struct udp_socket tx = open_at(&v4_any, false);
	struct udp_socket rx = open_at(&v4_any, false);
	int one = 1;
	assert_int_equal(setsockopt(tx.fd, SOL_SOCKET, SO_NO_CHECK, &one, sizeof(one)), 0);

	burst(&tx, &rx, 10 * 1200 + 1, &stats);
	assert_false(tx.has_gso);
	assert_int_equal(stats.tx_gso, 0);
	assert_int_equal(stats.tx_segments, 11);
	uint64_t calls = stats.tx_calls;
	burst(&tx, &rx, 3 * 1200, &stats);
	assert_int_equal(stats.tx_calls, calls + 3);
	udp_close(&tx);
	udp_close(&rx);
}

static void test_too_large(void **state)
{
	(void)state;
	struct udp_stats stats = {};
	struct udp_socket tx = open_at(&v4_any, false);
	struct udp_socket rx = open_at(&v4_any, false);
	struct ip_port to = port_at(&rx, &v4_lo);
	static uint8_t data[65600];
	size_t sent = 1;
	struct udp_send send = { .data = span_of(data, 65508), .peer = &to };
	assert_int_equal(udp_send(&tx, &send, &stats, &sent), -EMSGSIZE);
	assert_int_equal(sent, 0);
	send.data.len = 65600;
	assert_int_equal(udp_send(&tx, &send, &stats, &sent), -EMSGSIZE);
	assert_int_equal(stats.tx_errors, 1);
	assert_true(tx.has_gso);

	send.data.len = (size_t)(UDP_GSO_SEGMENTS + 1) * 100;
	send.segment_len = 100;
	assert_int_equal(udp_send(&tx, &send, &stats, &sent), -EINVAL);

	/* 65 507 bytes are the most that fits, and arrive whole. */
	const struct udp_msg *m;
	send.data.len = 65507;
	send.segment_len = 65507;
	assert_int_equal(udp_send(&tx, &send, &stats, &sent), 0);
	assert_int_equal(recv_some(&rx, &stats, &m), 1);
	assert_int_equal(m->len, 65507);
	udp_close(&tx);
	udp_close(&rx);
}

static void test_empty_datagram(void **state)
{
	(void)state;
	struct udp_stats stats = {};
	struct udp_socket tx = open_at(&v4_any, false);
	struct udp_socket rx = open_at(&v4_any, true);
	struct ip_port to = port_at(&rx, &v4_lo);
	struct udp_send send = { .peer = &to };
	const struct udp_msg *m;
	size_t sent;
	assert_int_equal(udp_send(&tx, &send, &stats, &sent), 0);
	assert_int_equal(recv_some(&rx, &stats, &m), 1);
	assert_int_equal(m->len, 0);
	assert_int_equal(stats.rx_segments, 1);
	udp_close(&tx);
	udp_close(&rx);
}

/* A port that nobody has: the error is told once, then the socket works again. */
static void test_refused_once(void **state)
{
	(void)state;
	struct udp_stats stats = {};
	struct udp_socket gone = open_at(&v4_any, false);
	struct ip_port to = port_at(&gone, &v4_lo);
	struct udp_params p = { .local = v4_any, .peer = &to };
	struct udp_socket s;
	assert_int_equal(udp_open(&p, &s), 0);
	udp_close(&gone);

	const struct udp_msg *m;
	size_t sent;
	struct udp_send send = { .data = SPAN_LIT("x") };
	assert_int_equal(udp_send(&s, &send, &stats, &sent), 0);
	assert_int_equal(recv_some(&s, &stats, &m), -ECONNREFUSED);
	assert_int_equal(udp_recv(&s, batch, &stats, &m), -EAGAIN);
	assert_int_equal(stats.rx_errors, 1);
	udp_close(&s);
}

/* What a path change needs: msg_name on a connected socket, then a new connect. */
static void test_other_peer(void **state)
{
	(void)state;
	struct udp_stats stats = {};
	struct udp_socket a = open_at(&v4_any, false);
	struct udp_socket b = open_at(&v4_any, false);
	struct ip_port to_a = port_at(&a, &v4_lo);
	struct ip_port to_b = port_at(&b, &v4_lo);
	struct udp_params p = { .local = v4_any, .peer = &to_a };
	struct udp_socket s;
	assert_int_equal(udp_open(&p, &s), 0);

	const struct udp_msg *m;
	size_t sent;
	struct udp_send send = { .data = SPAN_LIT("path"), .peer = &to_b };
	assert_int_equal(udp_send(&s, &send, &stats, &sent), 0);
	assert_int_equal(recv_some(&b, &stats, &m), 1);
	assert_int_equal(udp_connect(&s, &to_b), 0);
	send.peer = NULL;
	assert_int_equal(udp_send(&s, &send, &stats, &sent), 0);
	assert_int_equal(recv_some(&b, &stats, &m), 1);
	udp_close(&a);
	udp_close(&b);
	udp_close(&s);
}

static void test_find_source(void **state)
{
	(void)state;
	struct ip_addr a = {};
	uint32_t mtu = 0, mtu_v6 = 0;
	struct ip_port v6 = { .ip = { .family = IP_FAMILY_V6, .bytes = { [15] = 1 } }, .port = 1 };
	struct ip_port v4 = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 9 } },
			      .port = 1 };
	assert_int_equal(udp_find_source(&v4, NULL, 0, &a, &mtu), 0);
	assert_int_equal(a.family, IP_FAMILY_V4);
	assert_true(ip_addr_is_loopback(&a));
	assert_int_equal(udp_find_source(&v6, "lo", 0, &a, &mtu_v6), 0);
	assert_true(ip_addr_eq(&a, &v6.ip));
	assert_true(mtu >= 1280 && mtu_v6 >= 1280); /* the loopback interface's, whatever it is */
	assert_int_equal(udp_find_source(&v4, "no-such-dev", 0, &a, NULL), -ENODEV);
}

static void test_open_errors(void **state)
{
	(void)state;
	struct udp_socket a = open_at(&v4_any, false);
	assert_true(a.rcvbuf_got > 0);
	assert_true(a.sndbuf_got > 0);

	struct udp_params p = { .local = v4_any };
	struct udp_socket s = { .fd = -1 };
	p.local.port = a.local.port;
	assert_int_equal(udp_open(&p, &s), -EADDRINUSE);
	p = (struct udp_params){ .local = v4_any, .bind_interface = "no-such-dev" };
	assert_true(udp_open(&p, &s) < 0);
	assert_int_equal(s.fd, -1);

	struct udp_params shared = { .local = v4_any, .reuse_port = true };
	struct udp_socket b, c;
	assert_int_equal(udp_open(&shared, &b), 0);
	shared.local.port = b.local.port;
	assert_int_equal(udp_open(&shared, &c), 0);
	udp_close(&a);
	udp_close(&b);
	udp_close(&c);
}

/* What the reader writes before a message is its own: no other message is touched. */
static void test_headroom(void **state)
{
	(void)state;
	struct udp_stats stats = {};
	struct udp_socket a = open_at(&v4_any, false), b = open_at(&v4_any, false);
	struct ip_port to = port_at(&b, &v4_lo);
	const struct udp_msg *got = NULL;
	size_t sent = 0;
	for (unsigned int i = 0; i < 3; i++) {
		const struct udp_send send = { .data = SPAN_LIT("abc"), .peer = &to };
		assert_int_equal(udp_send(&a, &send, &stats, &sent), 0);
	}
	int n = recv_some(&b, &stats, &got);
	assert_int_equal(n, 3);
	for (int i = n; i-- > 0;)
		memset(got[i].data - UDP_HEADROOM, 0xff, UDP_HEADROOM);
	for (int i = 0; i < n; i++)
		assert_memory_equal(got[i].data, "abc", 3);
	udp_close(&a);
	udp_close(&b);
}

/* An unconnected socket learns who isn't there, if it wants to. */
static void test_errors_are_kept(void **state)
{
	(void)state;
	const struct ip_addr *const los[] = { &v4_lo, &v6_lo };
	for (unsigned int i = 0; i < ARRAY_SIZE(los); i++) {
		struct udp_stats stats = {};
		struct udp_params p = { .local = { .ip = *los[i] },
					.want_errors = true,
					.may_fragment = true };
		struct udp_socket s, closed;
		assert_int_equal(udp_open(&p, &s), 0);
		assert_int_equal(udp_open(&p, &closed), 0);
		struct ip_port to = port_at(&closed, los[i]);
		udp_close(&closed);
		struct udp_error e;
		assert_int_equal(udp_read_error(&s, &e), -EAGAIN);
		const struct udp_send send = { .data = SPAN_LIT("x"), .peer = &to };
		size_t sent = 0;
		assert_int_equal(udp_send(&s, &send, &stats, &sent), 0);
		struct pollfd poll_for = { .fd = s.fd, .events = 0 };
		assert_int_equal(poll(&poll_for, 1, 5000), 1);
		assert_int_equal(poll_for.revents, POLLERR);
		assert_int_equal(udp_read_error(&s, &e), 0);
		assert_int_equal(e.error, -ECONNREFUSED);
		assert_true(ip_port_eq(&e.peer, &to));
		assert_int_equal(udp_read_error(&s, &e), -EAGAIN);
		assert_int_equal(udp_send(&s, &send, &stats, &sent), 0);
		udp_close(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_convert),  cmocka_unit_test(test_exchange_v4),
		cmocka_unit_test(test_exchange_v6),        cmocka_unit_test(test_exchange_mapped),
		cmocka_unit_test(test_v6_only_refuses_v4), cmocka_unit_test(test_gso_gro),
		cmocka_unit_test(test_gso_without_gro),    cmocka_unit_test(test_gso_refused),
		cmocka_unit_test(test_too_large),          cmocka_unit_test(test_empty_datagram),
		cmocka_unit_test(test_refused_once),       cmocka_unit_test(test_other_peer),
		cmocka_unit_test(test_find_source),        cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_headroom),           cmocka_unit_test(test_errors_are_kept),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
