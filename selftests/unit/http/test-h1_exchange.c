/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exchange of the HTTP/1.1 server that its handler holds: who leaves, and when it is noticed;
 * what goes behind the bodies.
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
static struct http_limits limits; /* changes under the connection, as by a reload */
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
	limits = http_limits_default;
	const struct http_conn_params params = { .loop = loop,
						 .slab = slab,
						 .limits = &limits,
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

/* ---- trailers -------------------------------------------------------------------------------- */

static const char chunked_head[] =
	"POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

/* Reads the request's body; what the last read said. */
static ssize_t read_request(void)
{
	ssize_t n;
	while ((n = stream_read(held->body, &q, 1000)) > 0)
		bufq_clear(&q);
	return n;
}

/* In pieces of one byte as in one; names as they came, values trimmed. */
static void test_trailers_of_a_request(void **state)
{
	(void)state;
	static const char rest[] =
		"5;x=y\r\nhello\r\n0\r\nX-A: one\r\nx-b:\t two words \r\nX-E:\r\n\r\n";
	for (size_t step = 1; step < sizeof(rest); step++) {
		send_text(chunked_head);
		settle();
		for (size_t at = 0; at < sizeof(rest) - 1; at += step) {
			assert_int_equal(read_request(), -EAGAIN);
			assert_int_equal(http_exchange_trailers(held)->count, 0);
			fake_stream_put(peer, rest + at, MIN(step, sizeof(rest) - 1 - at));
			settle();
		}
		assert_int_equal(read_request(), 0);
		const struct http_trailers *t = http_exchange_trailers(held);
		assert_int_equal(t->count, 3);
		assert_true(span_eq_str(t->fields[0].name, "X-A"));
		assert_true(span_eq_str(t->fields[0].value, "one"));
		assert_true(span_eq_str(t->fields[1].value, "two words"));
		assert_int_equal(t->fields[2].value.len, 0);
		assert_int_equal(http_respond_text(held, 200, NULL, SPAN_LIT("")), 0);
		let_go();
		settle();
		assert_false(is_closed);
	}
}

/* What can't be sent on is refused, and the next request has none of them. */
static void test_bad_trailers_of_a_request(void **state)
{
	(void)state;
	send_text(chunked_head);
	settle();
	send_text("0\r\nX A: 1\r\n\r\n");
	settle();
	assert_int_equal(read_request(), -EBADMSG);
	assert_int_equal(http_exchange_trailers(held)->count, 0);
}

/* Trailers that have begun have the room that was taken for them, whatever is allowed since. */
static void test_trailer_limits_grow(void **state)
{
	(void)state;
	limits.trailer_max = 16;
	limits.trailer_field_max = 1;
	send_text(chunked_head);
	send_text("0\r\na: 1\r\nb");
	settle();
	assert_int_equal(read_request(), -EAGAIN);
	uint8_t *behind = arena_alloc(held->arena, 64);
	assert_non_null(behind);
	memset(behind, '#', 64);

	limits = http_limits_default;
	for (int i = 0; i < 40; i++)
		send_text(": value\r\nname");
	send_text(": value\r\n\r\n");
	settle();
	assert_int_equal(read_request(), -EBADMSG);
	for (int i = 0; i < 64; i++)
		assert_int_equal(behind[i], '#');
}

/* A body that is longer already than it may be now ends; it isn't free of limits. */
static void test_body_limit_shrinks(void **state)
{
	(void)state;
	limits.body_max = 100;
	send_text(chunked_head);
	send_text("5\r\nhello\r\n");
	settle();
	assert_int_equal(read_request(), -EAGAIN);
	limits.body_max = 4;
	send_text("1\r\n!\r\n");
	settle();
	assert_int_equal(read_request(), -E2BIG);
}

static const struct http_field fields[] = {
	{ SPAN_LIT("x-sum"), SPAN_LIT("42") },
	{ SPAN_LIT("x-empty"), SPAN_LIT("") },
};
static const struct http_trailers two = { .fields = fields, .count = 2 };

static void test_trailers_of_an_answer(void **state)
{
	(void)state;
	for (int has_body = 0; has_body <= 1; has_body++) {
		out_len = 0;
		send_text("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
		settle();
		const struct http_head head = { .status = 200, .body = HTTP_BODY_UNKNOWN };
		assert_int_equal(http_exchange_set_trailers(held, &two), -ENOTSUP);
		assert_int_equal(http_respond(held, &head), 0);
		assert_int_equal(http_exchange_set_trailers(held, &two), 0);
		if (has_body) {
			assert_int_equal(bufq_append_copy(&q, SPAN_LIT("hello")), 0);
			assert_int_equal(stream_write(held->body, &q, 5), 5);
		}
		stream_finish(held->body);
		let_go();
		settle();
		assert_string_equal(
			strstr(out, "\r\n\r\n"),
			has_body ? "\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\nx-empty: \r\n\r\n"
				 : "\r\n\r\n0\r\nx-sum: 42\r\nx-empty: \r\n\r\n");
		assert_false(is_closed);
	}
	/* Not behind a body with a length, nor behind the answer after the next. */
	out_len = 0;
	send_text("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	settle();
	const struct http_head head = { .status = 200, .body = HTTP_BODY_UNKNOWN };
	assert_int_equal(http_respond(held, &head), 0);
	stream_finish(held->body);
	let_go();
	settle();
	assert_non_null(strstr(out, "\r\n\r\n0\r\n\r\n"));
	send_text("GET / HTTP/1.0\r\nHost: x\r\n\r\n");
	settle();
	assert_int_equal(http_respond(held, &head), 0);
	assert_int_equal(http_exchange_set_trailers(held, &two), -ENOTSUP);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_visitor_gone),
		TEST(test_visitor_gone_behind_its_body),
		TEST(test_visitor_gone_before_it_began),
		TEST(test_visitor_gone_while_waiting),
		TEST(test_trailers_of_a_request),
		TEST(test_bad_trailers_of_a_request),
		TEST(test_trailer_limits_grow),
		TEST(test_body_limit_shrinks),
		TEST(test_trailers_of_an_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
