/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A visitor's connection that leaves HTTP: what goes over to whoever takes it, and what stays an
 * exchange because it can't.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "daemon/http/http.h"
#include "selftests/lib/fake_stream.h"

enum { WINDOW = 64 * 1024 };

static struct loop *loop;
static struct slab *slab;
static struct http_conn *conn;
static struct stream *peer; /* the visitor's end */
static struct http_exchange *held;
static bool is_closed;
static struct bufq q; /* what a test reads */
static char out[WINDOW];
static int out_end; /* what the visitor's last read said */

static void on_request(struct http_exchange *x, void *user)
{
	(void)user;
	held = x;
}

static const struct http_handler handler = { .on_request = on_request };

static void on_closed(struct http_conn *c, void *user)
{
	(void)user;
	assert_ptr_equal(c, conn);
	is_closed = true;
}

static void settle(void)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
}

static int setup(void **state)
{
	(void)state;
	struct stream *ours;
	is_closed = false;
	held = NULL;
	if (loop_new(&loop) < 0 || slab_new(8 << 20, &slab) < 0 ||
	    fake_pair_new(loop, slab, WINDOW, &ours, &peer) < 0)
		return -1;
	bufq_init(&q, slab);
	const struct http_conn_params params = { .loop = loop,
						 .slab = slab,
						 .limits = &http_limits_default,
						 .handler = &handler,
						 .on_closed = on_closed };
	return http_conn_new(ours, &params, &conn);
}

static int teardown(void **state)
{
	(void)state;
	bufq_clear(&q);
	if (held)
		http_exchange_free(held);
	if (!is_closed)
		http_conn_close(conn);
	stream_close(peer);
	settle();
	loop_free(loop);
	slab_free(slab);
	return 0;
}

static void send_text(const char *text)
{
	fake_stream_put(peer, text, strlen(text));
	settle();
}

static void expect_out(const char *want)
{
	size_t len = 0;
	settle();
	out_end = fake_stream_take(peer, out, sizeof(out) - 1, &len);
	out[len] = '\0';
	assert_string_equal(out, want);
}

static void test_upgrade(void **state)
{
	(void)state;
	send_text("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: t\r\n\r\nearly");
	struct http_field upgrade = { SPAN_LIT("Upgrade"), SPAN_LIT("t") };
	const struct http_head head = {
		.status = 101, .body = HTTP_BODY_UPGRADE, .fields = &upgrade, .field_count = 1
	};
	struct http_upgraded up;
	assert_int_equal(http_upgrade(held, &head, &up), 0);
	held = NULL;
	settle();
	assert_true(is_closed); /* to its owner; the stream goes on */
	assert_int_equal(up.received.len, 5);
	assert_int_equal(stream_write(up.stream, &up.unsent, up.unsent.len),
			 strlen("HTTP/1.1 101 Switching Protocols\r\nUpgrade: t\r\n"
				"Connection: Upgrade\r\n\r\n"));
	assert_int_equal(stream_write(up.stream, &up.received, 100), 5);
	expect_out("HTTP/1.1 101 Switching Protocols\r\nUpgrade: t\r\nConnection: Upgrade\r\n\r\n"
		   "early");
	assert_int_equal(out_end, -EAGAIN);
	stream_close(up.stream);
}

/* What can't become something else: the exchange goes on and is answered. */
static void test_upgrade_refused(void **state)
{
	(void)state;
	send_text("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n");
	struct http_field bad = { SPAN_LIT("X"), SPAN_LIT("a\nb") };
	struct http_head head = { .status = 101, .body = HTTP_BODY_UPGRADE };
	struct http_upgraded up;
	assert_int_equal(http_upgrade(held, &head, &up), -EBADMSG); /* its body is missing */
	send_text("ab");
	settle();
	assert_int_equal(stream_read(held->body, &q, 100), 2);
	assert_int_equal(stream_read(held->body, &q, 100), 0);
	assert_int_equal(http_respond(held, &head), -EBADMSG);
	head.fields = &bad;
	head.field_count = 1;
	assert_int_equal(http_upgrade(held, &head, &up), -EBADMSG);
	head.status = 200;
	head.field_count = 0;
	assert_int_equal(http_upgrade(held, &head, &up), -EBADMSG);
	assert_int_equal(http_respond_text(held, 200, NULL, SPAN_LIT("no")), 0);
	http_exchange_free(held);
	held = NULL;
	expect_out("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
}

static void test_upgrade_of_the_gone(void **state)
{
	(void)state;
	send_text("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	stream_reset(peer, 0);
	settle();
	struct http_upgraded up;
	const struct http_head head = { .status = 101, .body = HTTP_BODY_UPGRADE };
	assert_int_equal(http_upgrade(held, &head, &up), -ECONNRESET);
	http_exchange_free(held);
	held = NULL;
	settle();
	assert_true(is_closed);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_upgrade),
		TEST(test_upgrade_refused),
		TEST(test_upgrade_of_the_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
