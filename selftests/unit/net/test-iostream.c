/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iostream in clear and under TLS: bulk both ways through reads and writes of odd sizes, half
 * close, resets, failed connects and handshakes, want of buffers.
 */
#include "daemon/net/iostream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/ssl.h>

#include "daemon/net/sockaddr.h"
#include "daemon/net/tcp.h"
#include "selftests/lib/testcert.h"
#include "util/macro.h"

enum { BULK = 4 * 1024 * 1024, BUDGET = 8 * 1024 * 1024 };

static struct loop *loop;
static struct slab *slab;
static struct test_cert ca, foreign_ca, leaf;
static SSL_CTX *server_ctx, *client_ctx, *foreign_ctx;

static int setup(void **state)
{
	(void)state;
	ca = test_ca_new("adit test CA");
	foreign_ca = test_ca_new("somebody else's CA");
	leaf = test_cert_new(&ca, "DNS:origin.test");
	server_ctx = test_cert_server_ctx(&leaf);
	client_ctx = test_cert_client_ctx(&ca);
	foreign_ctx = test_cert_client_ctx(&foreign_ca);
	return loop_new(&loop) < 0 || slab_new(BUDGET, &slab) < 0;
}

static int teardown(void **state)
{
	(void)state;
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	SSL_CTX_free(foreign_ctx);
	test_cert_free(&ca);
	test_cert_free(&foreign_ca);
	test_cert_free(&leaf);
	loop_free(loop);
	slab_free(slab);
	return 0;
}

/* ---- one end of a connection ----------------------------------------------------------------- */

struct end {
	struct iostream *io;
	struct bufq tx;
	size_t to_send; /* bytes to write, then the end */
	size_t made;    /* put into tx */
	size_t sent;
	size_t received; /* checked against the pattern */
	uint32_t random;
	ssize_t rx_status; /* the last of iostream_read(); 0: the peer's end */
	ssize_t tx_status;
	unsigned int events;
	bool waits_for_end; /* sends only when the peer has ended */
};

static uint32_t next_random(struct end *e)
{
	e->random = e->random * 1664525 + 1013904223;
	return e->random >> 8;
}

/* Mostly small, sometimes large. */
static size_t odd_size(struct end *e)
{
	uint32_t r = next_random(e);
	return r % 4 ? 1 + r % 60000 : 1 + r % 50;
}

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 7 + at / 253);
}

static void produce(struct end *e)
{
	uint8_t bytes[4096];
	size_t len = MIN(odd_size(e), sizeof(bytes));
	len = MIN(len, e->to_send - e->made);
	for (size_t i = 0; i < len; i++)
		bytes[i] = pattern(e->made + i);
	assert_int_equal(bufq_append_copy(&e->tx, span_of(bytes, len)), 0);
	e->made += len;
}

static void send_some(struct end *e)
{
	if (e->waits_for_end && e->rx_status != 0)
		return;
	while (e->sent < e->to_send) {
		while (e->tx.len < 20000 && e->made < e->to_send)
			produce(e);
		e->tx_status = iostream_write(e->io, &e->tx, odd_size(e));
		if (e->tx_status < 0)
			return;
		e->sent += (size_t)e->tx_status;
	}
	if (e->to_send) {
		e->to_send = 0;
		iostream_shutdown(e->io);
	}
}

static void check(struct end *e, struct bufq *rx)
{
	while (!bufq_is_empty(rx)) {
		struct span s = bufq_peek(rx);
		for (size_t i = 0; i < s.len; i++)
			if (s.ptr[i] != pattern(e->received + i))
				fail_msg("byte %zu is wrong", e->received + i);
		e->received += s.len;
		bufq_consume(rx, s.len);
	}
}

static void receive_some(struct end *e)
{
	struct bufq rx;
	bufq_init(&rx, slab);
	do {
		size_t max = odd_size(e);
		e->rx_status = iostream_read(e->io, &rx, max);
		assert_true(e->rx_status <= (ssize_t)max);
		check(e, &rx);
	} while (e->rx_status > 0);
}

static void on_ready(struct iostream *io, bool readable, bool writable, void *user)
{
	struct end *e = user;
	assert_ptr_equal(io, e->io);
	e->events++;
	if (readable && e->rx_status != 0)
		receive_some(e);
	if (writable || e->waits_for_end)
		send_some(e);
}

static const struct iostream_events events = { .on_ready = on_ready };

static void end_open(struct end *e, int fd, SSL *ssl, size_t to_send)
{
	*e = (struct end){ .to_send = to_send, .random = (uint32_t)fd, .rx_status = -EAGAIN };
	bufq_init(&e->tx, slab);
	assert_int_equal(iostream_new(loop, slab, fd, ssl, &e->io), 0);
	iostream_set_events(e->io, &events, e);
}

static void end_close(struct end *e, bool with_reset)
{
	iostream_free(e->io, with_reset);
	e->io = NULL;
	bufq_clear(&e->tx);
}

static SSL *new_ssl(SSL_CTX *ctx, bool is_server)
{
	SSL *ssl = SSL_new(ctx);
	assert_non_null(ssl);
	if (is_server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

static void make_pair(int ret[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret),
			 0);
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

static int tcp_pair(int ret[2])
{
	struct ip_port at = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int listener = tcp_listen(&at, false, 8);
	assert_true(listener >= 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &at), 0);
	ret[0] = tcp_connect(&at, 30);
	assert_true(ret[0] >= 0);
	ret[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(ret[1] >= 0);
	close(listener);
	return at.port;
}

/* ---- bulk ------------------------------------------------------------------------------------ */

static void bulk_over(const int fds[2], SSL *ssl_a, SSL *ssl_b)
{
	struct end a, b;
	end_open(&a, fds[0], ssl_a, BULK);
	end_open(&b, fds[1], ssl_b, BULK + 17);
	RUN_UNTIL(a.rx_status == 0 && b.rx_status == 0);
	assert_int_equal(a.received, BULK + 17);
	assert_int_equal(b.received, BULK);
	assert_int_equal(iostream_error(a.io), 0);
	assert_int_equal(iostream_error(b.io), 0);
	assert_string_equal(iostream_tls_error(a.io), "");
	RUN_UNTIL(!iostream_has_unsent(a.io) && !iostream_has_unsent(b.io));
	struct bufq none;
	bufq_init(&none, slab);
	assert_int_equal(bufq_append_copy(&none, SPAN_LIT("x")), 0);
	assert_int_equal(iostream_write(a.io, &none, 1), -EPROTO);
	bufq_clear(&none);
	end_close(&a, false);
	end_close(&b, false);
}

static void test_bulk_clear(void **state)
{
	(void)state;
	int fds[2];
	make_pair(fds);
	bulk_over(fds, NULL, NULL);
	(void)tcp_pair(fds);
	bulk_over(fds, NULL, NULL);
}

static void test_bulk_tls(void **state)
{
	(void)state;
	int fds[2];
	make_pair(fds);
	bulk_over(fds, new_ssl(client_ctx, false), new_ssl(server_ctx, true));
}

static unsigned int records;

/* NOLINTNEXTLINE(readability-function-size): OpenSSL's type */
static void count_record(int is_sent, int version, int type, const void *buf, size_t len, SSL *ssl,
			 void *arg)
{
	(void)version, (void)buf, (void)len, (void)ssl, (void)arg;
	if (is_sent && type == SSL3_RT_HEADER)
		records++;
}

/* A slice in a buffer of its own. */
static void append_slice(struct end *e, size_t len)
{
	struct slab_buf *buf = slab_buf_get(slab, len);
	assert_non_null(buf);
	for (size_t i = 0; i < len; i++)
		buf->data[i] = pattern(e->made + i);
	e->made += len;
	assert_int_equal(bufq_append_ref(&e->tx, buf, buf->data, len), 0);
	slab_buf_unref(buf);
}

/* Heads of frames and their payload don't make a record each. */
static void test_small_slices_share_records(void **state)
{
	(void)state;
	int fds[2];
	struct end a, b;
	make_pair(fds);
	end_open(&a, fds[0], new_ssl(client_ctx, false), 0);
	end_open(&b, fds[1], new_ssl(server_ctx, true), 0);
	RUN_UNTIL(iostream_is_ready(a.io) && iostream_is_ready(b.io));
	SSL_set_msg_callback(iostream_ssl(a.io), count_record);
	while (a.made < 60000) {
		append_slice(&a, 9);
		append_slice(&a, 1000);
	}
	append_slice(&a, SLAB_LARGE_LEN);
	append_slice(&a, 9);
	assert_int_equal(iostream_write(a.io, &a.tx, a.tx.len), (ssize_t)a.made);
	RUN_UNTIL(b.received == a.made);
	assert_true(records <= (60000 + SLAB_LARGE_LEN) / (16 * 1024) + 3);
	end_close(&a, false);
	end_close(&b, false);
}

static void test_bulk_tls12(void **state)
{
	(void)state;
	int fds[2];
	SSL *client = new_ssl(client_ctx, false);
	assert_int_equal(SSL_set_max_proto_version(client, TLS1_2_VERSION), 1);
	(void)tcp_pair(fds);
	bulk_over(fds, client, new_ssl(server_ctx, true));
}

/* The answer is sent after the question's end was seen. */
static void half_close(SSL *ssl_a, SSL *ssl_b)
{
	int fds[2];
	struct end a, b;
	(void)tcp_pair(fds);
	end_open(&a, fds[0], ssl_a, 1000);
	end_open(&b, fds[1], ssl_b, 300000);
	b.waits_for_end = true;
	RUN_UNTIL(a.rx_status == 0);
	assert_int_equal(b.received, 1000);
	assert_int_equal(a.received, 300000);
	end_close(&a, false);
	end_close(&b, false);
}

static void test_half_close(void **state)
{
	(void)state;
	half_close(NULL, NULL);
	half_close(new_ssl(client_ctx, false), new_ssl(server_ctx, true));
}

/* A read ends at an urgent byte, though more has come: what is behind it isn't forgotten. */
static void test_urgent_byte(void **state)
{
	(void)state;
	int fds[2];
	struct end b;
	uint8_t bytes[2000];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = pattern(i);
	(void)tcp_pair(fds);
	end_open(&b, fds[1], NULL, 0);
	RUN_UNTIL(b.events > 0);
	/* The urgent byte itself isn't part of the stream. */
	assert_int_equal(send(fds[0], bytes, 1000, 0), 1000);
	assert_int_equal(send(fds[0], "!", 1, MSG_OOB), 1);
	assert_int_equal(send(fds[0], bytes + 1000, 1000, 0), 1000);
	RUN_UNTIL(b.received == 2000);
	end_close(&b, false);
	close(fds[0]);
}

/* ---- ends that are none ---------------------------------------------------------------------- */

static void test_reset(void **state)
{
	(void)state;
	int fds[2];
	struct end a, b;
	(void)tcp_pair(fds);
	end_open(&a, fds[0], NULL, 0);
	end_open(&b, fds[1], NULL, BULK);
	RUN_UNTIL(a.received > 10000);
	end_close(&a, true);
	RUN_UNTIL(b.rx_status == -ECONNRESET && b.tx_status < 0 && b.tx_status != -EAGAIN);
	assert_true(b.tx_status == -ECONNRESET || b.tx_status == -EPIPE);
	struct bufq rx;
	bufq_init(&rx, slab);
	assert_int_equal(iostream_read(b.io, &rx, 100), -ECONNRESET);
	assert_int_equal(iostream_error(b.io), -ECONNRESET);
	end_close(&b, false);
}

/* What a peer sent before it reset us is read to its last byte, and the end is no clean one. */
static void test_early_answer(void **state)
{
	(void)state;
	int fds[2];
	struct end a;
	uint8_t answer[5000];
	(void)tcp_pair(fds);
	end_open(&a, fds[0], NULL, BULK);
	for (size_t i = 0; i < sizeof(answer); i++)
		answer[i] = pattern(i);
	assert_int_equal(send(fds[1], answer, sizeof(answer), MSG_NOSIGNAL), sizeof(answer));
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	close(fds[1]); /* with bytes unread: RST */
	RUN_UNTIL(a.rx_status == -ECONNRESET);
	assert_int_equal(a.received, sizeof(answer));
	end_close(&a, false);
}

static void test_connect_refused(void **state)
{
	(void)state;
	int fds[2];
	struct ip_port at = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
	at.port = (uint16_t)tcp_pair(fds);
	close(fds[0]);
	close(fds[1]);
	int fd = tcp_connect(&at, 0);
	if (fd < 0) {
		assert_int_equal(fd, -ECONNREFUSED);
		return;
	}
	struct end a;
	end_open(&a, fd, new_ssl(client_ctx, false), 10);
	RUN_UNTIL(a.events > 0);
	assert_int_equal(iostream_error(a.io), -ECONNREFUSED);
	assert_int_equal(a.rx_status, -ECONNRESET);
	assert_int_equal(a.tx_status, -ECONNRESET);
	assert_false(iostream_is_ready(a.io));
	assert_false(iostream_has_unsent(a.io));
	end_close(&a, false);
}

static void test_untrusted(void **state)
{
	(void)state;
	int fds[2];
	struct end a, b;
	make_pair(fds);
	end_open(&a, fds[0], new_ssl(foreign_ctx, false), 10);
	end_open(&b, fds[1], new_ssl(server_ctx, true), 10);
	RUN_UNTIL(iostream_error(a.io) && iostream_error(b.io));
	assert_int_equal(iostream_error(a.io), -EPERM);
	assert_string_equal(iostream_tls_error(a.io), "unable to get local issuer certificate");
	assert_int_equal(iostream_error(b.io), -EPROTO);
	assert_non_null(strstr(iostream_tls_error(b.io), "unknown ca"));
	assert_int_equal(a.received + b.received, 0);
	end_close(&a, false);
	end_close(&b, false);
}

static void test_no_tls_there(void **state)
{
	(void)state;
	int fds[2];
	struct end a;
	make_pair(fds);
	end_open(&a, fds[0], new_ssl(client_ctx, false), 10);
	assert_int_equal(send(fds[1], "HTTP/1.1 400 Bad\r\n\r\n", 20, 0), 20);
	RUN_UNTIL(iostream_error(a.io));
	assert_int_equal(iostream_error(a.io), -EPROTO);
	assert_string_not_equal(iostream_tls_error(a.io), "");
	end_close(&a, false);
	close(fds[1]);

	make_pair(fds);
	end_open(&a, fds[0], new_ssl(client_ctx, false), 10);
	close(fds[1]);
	RUN_UNTIL(iostream_error(a.io));
	assert_int_equal(a.rx_status, -ECONNRESET);
	end_close(&a, false);
}

/* TCP's FIN without close_notify cuts the data short. */
static void test_tls_truncated(void **state)
{
	(void)state;
	int fds[2];
	struct end a, b;
	make_pair(fds);
	end_open(&a, fds[0], new_ssl(client_ctx, false), 0);
	end_open(&b, fds[1], new_ssl(server_ctx, true), 100);
	b.to_send = 200; /* never reached: no shutdown */
	b.made = 100;
	assert_int_equal(bufq_append_copy(&b.tx, span_of((uint8_t[100]){}, 100)), 0);
	for (size_t i = 0; i < 100; i++)
		b.tx.head->ptr[i] = pattern(i);
	b.to_send = 100;
	b.waits_for_end = true;
	RUN_UNTIL(iostream_is_ready(b.io) && iostream_is_ready(a.io));
	assert_int_equal(iostream_write(b.io, &b.tx, 100), 100);
	RUN_UNTIL(a.received == 100);
	end_close(&b, false);
	RUN_UNTIL(a.rx_status != -EAGAIN);
	assert_int_equal(a.rx_status, -ECONNRESET);
	assert_int_equal(iostream_error(a.io), -ECONNRESET);
	end_close(&a, false);
}

/* ---- want of buffers ------------------------------------------------------------------------- */

static void test_no_buffers(void **state)
{
	(void)state;
	int fds[2];
	struct slab_buf *all[BUDGET / SLAB_LARGE_LEN + 16];
	size_t count = 0;
	make_pair(fds);
	struct end a;
	end_open(&a, fds[0], NULL, 0);
	while ((all[count] = slab_buf_get(slab, SLAB_LARGE_LEN)))
		count++;
	while (count < ARRAY_SIZE(all) && (all[count] = slab_buf_get(slab, SLAB_SMALL_LEN)))
		count++;
	assert_true(count < ARRAY_SIZE(all));

	uint8_t bytes[10];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = pattern(i);
	assert_int_equal(send(fds[1], bytes, sizeof(bytes), 0), sizeof(bytes));
	RUN_UNTIL(a.rx_status == -ENOBUFS);
	while (count--)
		slab_buf_unref(all[count]);
	RUN_UNTIL(a.received == sizeof(bytes));
	end_close(&a, false);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bulk_clear),
		cmocka_unit_test(test_bulk_tls),
		cmocka_unit_test(test_bulk_tls12),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_small_slices_share_records),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_early_answer),
		cmocka_unit_test(test_connect_refused),
		cmocka_unit_test(test_untrusted),
		cmocka_unit_test(test_no_tls_there),
		cmocka_unit_test(test_tls_truncated),
		cmocka_unit_test(test_no_buffers),
		cmocka_unit_test(test_urgent_byte),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
