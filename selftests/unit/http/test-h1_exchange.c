/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exchange of the HTTP/1.1 server that its handler holds: who leaves, and when it is noticed.
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
#include "util/cleanup.h"
#include "util/macro.h"

enum { OUT_MAX = 64 * 1024, WINDOW = 256 * 1024 };

static struct loop *loop;
static struct slab *slab;
static struct http_conn *conn;
static struct stream *peer; /* the visitor's end */
static bool is_closed;
static struct http_exchange *held; /* the last request */
static struct bufq q;              /* what a test reads and writes */
static char out[OUT_MAX];
static size_t out_len;

static void on_request(struct http_exchange *x, void *user)
{
	(void)user;
	assert_null(held);
	held = x;
}

static const struct http_handler handler = { .on_request = on_request };

static void on_closed(struct http_conn *c, void *user)
{
	(void)user;
	assert_ptr_equal(c, conn);
	is_closed = true;
	conn = NULL;
}

static int setup(void **state)
{
	(void)state;
	is_closed = false;
	held = NULL;
	out_len = 0;
	struct stream *ours;
	if (loop_new(&loop) < 0 || slab_new(64 * 1024 * 1024, &slab) < 0 ||
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

/* Turns until nothing more is to be done at once; takes what the visitor got. */
static void settle(void)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	if (peer) {
		size_t len;
		(void)fake_stream_take(peer, out + out_len, OUT_MAX - 1 - out_len, &len);
		out_len += len;
		out[out_len] = 0;
	}
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
}

static void let_go(void)
{
	http_exchange_free(TAKE_PTR(held));
}

static int teardown(void **state)
{
	(void)state;
	if (conn)
		http_conn_close(conn);
	if (held)
		let_go();
	stream_close(peer);
	peer = NULL;
	settle();
	assert_true(is_closed);
	bufq_clear(&q);
	loop_free(loop);
	slab_free(slab); /* asserts that every buffer has come back */
	return 0;
}

static void send_text(const char *text)
{
	fake_stream_put(peer, text, strlen(text));
}

/* The visitor breaks off its upload, or leaves before the answer. */
static void test_visitor_gone(void **state)
{
	(void)state;
	send_text("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
	settle();
	assert_int_equal(stream_read(held->body, &q, 100), 3);
	stream_finish(peer);
	settle();
	assert_int_equal(stream_read(held->body, &q, 100), -ECONNRESET);
	assert_true(held->is_gone);
	assert_int_equal(stream_write(held->body, &q, 100), -ECONNRESET);
	assert_int_equal(http_respond_text(held, 200, NULL, SPAN_LIT("x")), -ECONNRESET);
	let_go();
	settle();
	assert_true(is_closed);
}

/* The handler doesn't read, so that the visitor's end stays behind its body. */
static void test_visitor_gone_behind_its_body(void **state)
{
	(void)state;
	send_text("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
	settle();
	send_text("def");
	settle();
	assert_false(held->is_gone);
	stream_finish(peer);
	settle();
	assert_true(held->is_gone);
	assert_int_equal(stream_read(held->body, &q, 100), -ECONNRESET);
	let_go();
	settle();
	assert_true(is_closed);
}

static void test_visitor_gone_before_it_began(void **state)
{
	(void)state;
	send_text("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
	stream_reset(peer, 0);
	settle();
	assert_true(!held || held->is_gone);
	if (held)
		let_go();
	settle();
	assert_true(is_closed);
}

static void test_visitor_gone_while_waiting(void **state)
{
	(void)state;
	send_text("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
	settle();
	assert_false(held->is_gone);
	stream_close(peer);
	peer = NULL;
	settle();
	assert_true(held->is_gone);
	assert_false(is_closed); /* the exchange is still the handler's */
	let_go();
	settle();
	assert_true(is_closed);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_visitor_gone),
		TEST(test_visitor_gone_behind_its_body),
		TEST(test_visitor_gone_before_it_began),
		TEST(test_visitor_gone_while_waiting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
