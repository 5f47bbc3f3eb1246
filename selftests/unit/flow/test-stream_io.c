/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_io: the stream interface over sockets. Who is told what and when, half close, reset, stop,
 * close with data on its way, the opening of clear and TLS connections.
 */
#include "daemon/flow/stream_io.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "daemon/net/sockaddr.h"
#include "daemon/net/tcp.h"
#include "selftests/lib/testcert.h"
#include "util/macro.h"

static struct loop *loop;
static struct slab *slab;
static struct test_cert ca, leaf;
static SSL_CTX *server_ctx, *client_ctx;

static int setup(void **state)
{
	(void)state;
	ca = test_ca_new("adit test CA");
	leaf = test_cert_new(&ca, "DNS:origin.test");
	server_ctx = test_cert_server_ctx(&leaf);
	client_ctx = test_cert_client_ctx(&ca);
	return loop_new(&loop) < 0 || slab_new(4 << 20, &slab) < 0;
}

static int teardown(void **state)
{
	(void)state;
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	test_cert_free(&ca);
	test_cert_free(&leaf);
	loop_free(loop);
	slab_free(slab);
	return 0;
}

/* Turns until the condition holds, at most ten seconds. */
#define RUN_UNTIL(condition)                                                        \
	do {                                                                        \
		nsec_t deadline_ = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC; \
		while (!(condition)) {                                              \
			assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline_);       \
			assert_int_equal(loop_turn(loop, 20 * NSEC_PER_MSEC), 0);   \
		}                                                                   \
	} while (0)

/* ---- one end --------------------------------------------------------------------------------- */

struct end {
	struct stream *s;
	struct bufq rx, tx;
	ssize_t rx_status, tx_status;
	unsigned int readable, writable, opened;
	int open_error;
	bool is_in_call; /* callbacks must not come now */
	bool closes_on_open;
	bool is_quiet; /* doesn't read */
};

static void read_all(struct end *e)
{
	e->is_in_call = true;
	do {
		e->rx_status = stream_read(e->s, &e->rx, 1 << 20);
	} while (e->rx_status > 0);
	e->is_in_call = false;
}

static void write_all(struct end *e)
{
	e->is_in_call = true;
	while (!bufq_is_empty(&e->tx)) {
		e->tx_status = stream_write(e->s, &e->tx, e->tx.len);
		if (e->tx_status < 0)
			break;
	}
	e->is_in_call = false;
}

static void on_readable(struct stream *s, void *user)
{
	struct end *e = user;
	assert_ptr_equal(s, e->s);
	assert_false(e->is_in_call);
	e->readable++;
	if (!e->is_quiet)
		read_all(e);
}

static void on_writable(struct stream *s, void *user)
{
	struct end *e = user;
	assert_ptr_equal(s, e->s);
	assert_false(e->is_in_call);
	e->writable++;
	write_all(e);
}

static void on_open(struct stream *s, int error, void *user)
{
	struct end *e = user;
	assert_ptr_equal(s, e->s);
	e->opened++;
	e->open_error = error;
	if (e->closes_on_open) {
		stream_close(s);
		e->s = NULL;
	}
}

static const struct stream_user user = { .on_readable = on_readable, .on_writable = on_writable };

static void end_open(struct end *e, int fd, SSL *ssl)
{
	*e = (struct end){ .rx_status = -EAGAIN };
	bufq_init(&e->rx, slab);
	bufq_init(&e->tx, slab);
	assert_int_equal(stream_io_new(loop, slab, fd, ssl, &e->s), 0);
	e->is_in_call = true;
	stream_set_user(e->s, &user, e);
	stream_io_on_open(e->s, on_open, e);
	e->is_in_call = false;
}

static void end_close(struct end *e)
{
	stream_closep(&e->s);
	e->s = NULL;
	bufq_clear(&e->rx);
	bufq_clear(&e->tx);
	assert_int_equal(loop_turn(loop, 0), 0);
}

static void put(struct end *e, size_t len)
{
	uint8_t bytes[1000];
	while (len) {
		size_t n = MIN(len, sizeof(bytes));
		memset(bytes, (int)(len % 251), n);
		assert_int_equal(bufq_append_copy(&e->tx, span_of(bytes, n)), 0);
		len -= n;
	}
}

static void tcp_pair(int ret[2])
{
	struct ip_port at = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int listener = tcp_listen(&at, false, 8);
	assert_true(listener >= 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &at), 0);
	ret[0] = tcp_connect(&at, 0);
	assert_true(ret[0] >= 0);
	ret[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(ret[1] >= 0);
	close(listener);
}

static SSL *new_ssl(bool is_server)
{
	SSL *ssl = SSL_new(is_server ? server_ctx : client_ctx);
	assert_non_null(ssl);
	if (is_server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

/* The descriptor's next bytes, its end (0) or -errno; waits. */
static ssize_t raw_read(int fd, void *to, size_t len)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	for (int i = 0; i < 100; i++) {
		assert_int_equal(loop_turn(loop, 0), 0);
		if (poll(&p, 1, 20) == 1)
			break;
	}
	ssize_t n = recv(fd, to, len, 0);
	return n < 0 ? -errno : n;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void check_round_trip(SSL *client, SSL *server)
{
	int fds[2];
	struct end a, b;
	tcp_pair(fds);
	end_open(&a, fds[0], client);
	end_open(&b, fds[1], server);
	put(&a, 200000);
	put(&b, 300000);
	RUN_UNTIL(a.rx.len == 300000 && b.rx.len == 200000);
	assert_int_equal(a.opened, 1);
	assert_int_equal(a.open_error, 0);
	assert_int_equal(b.opened, 1);
	assert_true(stream_io_is_open(a.s));
	assert_true(stream_credit(a.s) > 0);
	assert_int_equal(stream_io_error(a.s), 0);
	struct ip_port peer;
	assert_int_equal(stream_io_peer(a.s, &peer), 0);
	assert_true(ip_addr_is_loopback(&peer.ip));
	assert_true((stream_io_ssl(a.s) != NULL) == (client != NULL));

	/* One direction ends, the other goes on. */
	stream_finish(a.s);
	stream_finish(a.s);
	RUN_UNTIL(b.rx_status == 0);
	put(&a, 1);
	assert_int_equal(stream_write(a.s, &a.tx, 1), -EPROTO);
	assert_int_equal(stream_credit(a.s), 0);
	put(&b, 5000);
	write_all(&b);
	RUN_UNTIL(a.rx.len == 305000);
	stream_finish(b.s);
	RUN_UNTIL(a.rx_status == 0);
	end_close(&a);
	end_close(&b);
}

static void test_round_trip(void **state)
{
	(void)state;
	check_round_trip(NULL, NULL);
	check_round_trip(new_ssl(false), new_ssl(true));
}

/* A reader who doesn't read stops the writer; nothing is queued on our side. */
static void check_back_pressure(SSL *client, SSL *server)
{
	int fds[2];
	struct end a, b;
	struct slab_stats stats;
	tcp_pair(fds);
	int size = 16384;
	(void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fds[1], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	end_open(&a, fds[0], client);
	end_open(&b, fds[1], server);
	RUN_UNTIL(stream_io_is_open(a.s) && stream_io_is_open(b.s));
	b.is_quiet = true;
	put(&a, 1000000);
	write_all(&a);
	assert_int_equal(a.tx_status, -EAGAIN);
	assert_int_equal(stream_credit(a.s), 0);
	size_t left = a.tx.len;
	assert_true(left > 500000);
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_turn(loop, NSEC_PER_MSEC), 0);
	slab_get_stats(slab, &stats);
	assert_true(stats.in_use <= 1000000 + 2 * SLAB_LARGE_LEN);

	b.is_quiet = false;
	read_all(&b);
	RUN_UNTIL(b.rx.len == 1000000);
	assert_true(a.writable > 1);
	stream_finish(a.s);
	stream_finish(b.s);
	RUN_UNTIL(a.rx_status == 0 && b.rx_status == 0);
	end_close(&a);
	end_close(&b);
}

static void test_back_pressure(void **state)
{
	(void)state;
	check_back_pressure(NULL, NULL);
	check_back_pressure(new_ssl(false), new_ssl(true));
}

static void test_reset(void **state)
{
	(void)state;
	int fds[2];
	struct end a, b;
	tcp_pair(fds);
	end_open(&a, fds[0], NULL);
	end_open(&b, fds[1], NULL);
	RUN_UNTIL(a.opened && b.opened);
	stream_reset(a.s, 7);
	stream_reset(a.s, 7);
	RUN_UNTIL(b.rx_status == -ECONNRESET && a.rx_status == -ECONNRESET);
	assert_int_equal(stream_io_error(b.s), -ECONNRESET);
	put(&a, 1);
	assert_int_equal(stream_write(a.s, &a.tx, 1), -EPROTO);
	put(&b, 1);
	ssize_t r = stream_write(b.s, &b.tx, 1);
	assert_true(r == -EPIPE || r == -ECONNRESET);
	assert_null(stream_io_ssl(a.s));
	struct ip_port peer;
	assert_int_equal(stream_io_peer(a.s, &peer), -ENOTCONN);
	stream_finish(a.s);
	stream_stop(a.s, 0);
	assert_int_equal(stream_read(a.s, &a.rx, 1), -ECANCELED);
	end_close(&a);
	end_close(&b);
}

/* The peer's end shows although what it had sent before is not read. */
static void test_peer_end(void **state)
{
	(void)state;
	for (int with_reset = 0; with_reset <= 1; with_reset++) {
		int fds[2];
		struct end a, b;
		tcp_pair(fds);
		end_open(&a, fds[0], NULL);
		end_open(&b, fds[1], NULL);
		RUN_UNTIL(a.opened && b.opened);
		b.is_quiet = true;
		assert_int_equal(stream_read_error(b.s), 0);
		put(&a, 100000);
		write_all(&a);
		RUN_UNTIL(bufq_is_empty(&a.tx));
		if (with_reset)
			stream_reset(a.s, 0);
		else
			stream_finish(a.s);
		RUN_UNTIL(stream_read_error(b.s) != 0);
		assert_int_equal(stream_read_error(b.s), with_reset ? -ECONNRESET : 1);
		end_close(&a);
		end_close(&b);
	}
}

/* Who has sent everything and goes takes no more of us: that breaks nothing of what it sent. */
static void test_reset_behind_the_end(void **state)
{
	(void)state;
	int fds[2];
	struct end b;
	uint8_t bytes[5000] = {};
	tcp_pair(fds);
	end_open(&b, fds[1], NULL);
	RUN_UNTIL(b.opened);
	b.is_quiet = true;
	assert_int_equal(send(fds[0], bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	close(fds[0]);
	RUN_UNTIL(stream_read_error(b.s) == 1);
	put(&b, 1);
	write_all(&b);
	RUN_UNTIL(stream_write_error(b.s) < 0 || stream_read_error(b.s) != 1 || b.writable > 1);
	assert_int_equal(stream_read_error(b.s), 1);
	put(&b, 1);
	assert_int_equal(stream_write(b.s, &b.tx, 1), -EPIPE);
	b.is_quiet = false;
	read_all(&b);
	assert_int_equal(b.rx.len, sizeof(bytes));
	assert_int_equal(b.rx_status, 0);
	end_close(&b);
}

/* Stopped: the peer's bytes are dropped, so it isn't blocked, and ours still get through. */
static void test_stop(void **state)
{
	(void)state;
	int fds[2];
	struct end a, b;
	tcp_pair(fds);
	end_open(&a, fds[0], NULL);
	end_open(&b, fds[1], NULL);
	stream_stop(a.s, 0);
	put(&b, 3000000);
	write_all(&b);
	RUN_UNTIL(bufq_is_empty(&b.tx));
	assert_int_equal(a.rx.len, 0);
	assert_int_equal(stream_read(a.s, &a.rx, 100), -ECANCELED);
	put(&a, 4000);
	write_all(&a);
	RUN_UNTIL(b.rx.len == 4000);
	end_close(&a);
	RUN_UNTIL(b.rx_status == -ECONNRESET);
	end_close(&b);
}

/* What was finished arrives although the stream is closed and the peer's bytes are unread. */
static void check_linger(SSL *client, SSL *server)
{
	int fds[2];
	struct end a, b;
	tcp_pair(fds);
	end_open(&a, fds[0], client);
	end_open(&b, fds[1], server);
	RUN_UNTIL(a.opened && b.opened);
	a.is_quiet = true;
	b.is_quiet = true;
	put(&b, 50000);
	write_all(&b);
	put(&a, 100000);
	write_all(&a);
	RUN_UNTIL(bufq_is_empty(&a.tx) && bufq_is_empty(&b.tx));
	stream_finish(a.s);
	end_close(&a);
	b.is_quiet = false;
	read_all(&b);
	RUN_UNTIL(b.rx_status == 0);
	assert_int_equal(b.rx.len, 100000);
	stream_finish(b.s);
	end_close(&b);
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(loop, NSEC_PER_MSEC), 0);
}

static void test_linger(void **state)
{
	(void)state;
	check_linger(NULL, NULL);
	check_linger(new_ssl(false), new_ssl(true));
}

static void test_close_unfinished(void **state)
{
	(void)state;
	int fds[2];
	struct end a;
	char byte;
	tcp_pair(fds);
	end_open(&a, fds[0], NULL);
	RUN_UNTIL(a.opened);
	put(&a, 1);
	write_all(&a);
	assert_int_equal(raw_read(fds[1], &byte, 1), 1);
	end_close(&a);
	assert_int_equal(raw_read(fds[1], &byte, 1), -ECONNRESET);
	close(fds[1]);
}

static void test_open_failures(void **state)
{
	(void)state;
	int fds[2];
	struct end a;
	tcp_pair(fds);
	end_open(&a, fds[0], new_ssl(false));
	assert_int_equal(send(fds[1], "not TLS at all\r\n\r\n", 18, MSG_NOSIGNAL), 18);
	RUN_UNTIL(a.opened);
	assert_int_equal(a.open_error, -EPROTO);
	assert_string_not_equal(stream_io_tls_error(a.s), "");
	assert_false(stream_io_is_open(a.s));
	RUN_UNTIL(a.rx_status == -ECONNRESET);
	end_close(&a);
	close(fds[1]);

	/* Closed by its own callback, before and after the fact. */
	tcp_pair(fds);
	end_open(&a, fds[0], NULL);
	a.closes_on_open = true;
	RUN_UNTIL(a.opened);
	assert_int_equal(a.open_error, 0);
	end_close(&a);
	close(fds[1]);

	tcp_pair(fds);
	end_open(&a, fds[0], new_ssl(false));
	end_close(&a);
	assert_int_equal(a.opened, 0);
	close(fds[1]);
}

static void test_user_changes(void **state)
{
	(void)state;
	int fds[2];
	struct end a;
	tcp_pair(fds);
	struct stream *s;
	assert_int_equal(stream_io_new(loop, slab, fds[0], NULL, &s), 0);
	assert_int_equal(send(fds[1], "hello", 5, MSG_NOSIGNAL), 5);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, NSEC_PER_MSEC), 0);
	/* What came while nobody listened is told to the first user. */
	a = (struct end){ .s = s };
	bufq_init(&a.rx, slab);
	bufq_init(&a.tx, slab);
	stream_set_user(s, &user, &a);
	assert_int_equal(a.readable, 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(a.rx.len, 5);
	assert_int_equal(a.writable, 1);
	end_close(&a);
	close(fds[1]);
}

/* The peer still gets all, and nothing stays behind. */
static void test_loop_goes_while_it_lingers(void **state)
{
	(void)state;
	int fds[2];
	struct loop *own = NULL;
	struct stream *s = NULL;
	struct bufq q;
	char text[16];
	tcp_pair(fds);
	assert_int_equal(loop_new(&own), 0);
	assert_int_equal(stream_io_new(own, slab, fds[0], NULL, &s), 0);
	bufq_init(&q, slab);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("hello")), 0);
	assert_int_equal(stream_write(s, &q, q.len), 5);
	stream_finish(s);
	stream_close(s);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(own, 0), 0);
	loop_free(own);
	assert_int_equal(recv(fds[1], text, sizeof(text), MSG_WAITALL), 5);
	assert_int_equal(recv(fds[1], text, sizeof(text), 0), 0);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_back_pressure),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_peer_end),
		cmocka_unit_test(test_reset_behind_the_end),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_linger),
		cmocka_unit_test(test_close_unfinished),
		cmocka_unit_test(test_open_failures),
		cmocka_unit_test(test_user_changes),
		cmocka_unit_test(test_loop_goes_while_it_lingers),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
