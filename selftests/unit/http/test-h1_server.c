/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP/1.1 server over a stream in memory: what a visitor sends, and every byte it gets back.
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
#include "util/macro.h"

enum { OUT_MAX = 1024 * 1024, WINDOW = 256 * 1024 };

static struct loop *loop;
static struct slab *slab;
static struct http_conn *conn;
static struct stream *peer; /* the visitor's end */
static struct http_limits limits;
static bool is_closed;
static unsigned int rejected; /* status of the last on_reject */
static unsigned int requests;
static struct http_exchange *held; /* of /hold */
static struct bufq q;              /* what a test reads and writes */
static char *out;
static size_t out_len;
static int out_end; /* what the visitor's last read said */

/* ---- handlers ---- */

/* Sends the request's body back. */
struct echo {
	struct http_exchange *x;
	struct bufq q;
	bool has_end;
};

static void end_echo(struct echo *e)
{
	bufq_clear(&e->q);
	http_exchange_free(e->x);
	free(e);
}

/* Writes what is there. Returns 0 when all is out. */
static int echo_out(struct echo *e, struct stream *s)
{
	while (e->q.len) {
		ssize_t n = stream_write(s, &e->q, e->q.len);
		if (n < 0)
			return (int)n;
	}
	if (e->has_end)
		stream_finish(s);
	return e->has_end ? -ECANCELED : 0;
}

static int echo_in(struct echo *e, struct stream *s)
{
	ssize_t n = stream_read(s, &e->q, 1000);
	e->has_end = n == 0;
	if (n < 0 && n != -EAGAIN)
		stream_reset(s, 0);
	return n < 0 ? (int)n : 0;
}

static void run_echo(struct stream *s, void *user)
{
	struct echo *e = user;
	int r;
	do {
		r = echo_out(e, s);
		if (r == 0)
			r = echo_in(e, s);
	} while (r == 0);
	if (r != -EAGAIN)
		end_echo(e);
}

static const struct stream_user echo_user = { .on_readable = run_echo, .on_writable = run_echo };

static void start_echo(struct http_exchange *x)
{
	struct echo *e = calloc(1, sizeof(*e));
	assert_non_null(e);
	e->x = x;
	bufq_init(&e->q, slab);
	struct http_head head = { .status = 200,
				  .body = x->request.body,
				  .content_length = x->request.content_length };
	assert_int_equal(http_respond(x, &head), 0);
	stream_set_user(x->body, &echo_user, e);
}

static void on_request(struct http_exchange *x, void *user)
{
	(void)user;
	requests++;
	if (span_eq_str(x->request.target, "/echo")) {
		start_echo(x);
	} else if (span_eq_str(x->request.target, "/hold")) {
		assert_null(held);
		held = x;
	} else {
		assert_int_equal(http_respond_text(x, 200, "text/plain", x->request.target), 0);
		http_exchange_free(x);
	}
}

static const struct http_handler plain_handler = { .on_request = on_request };

static void on_reject(struct http_exchange *x, unsigned int status, void *user)
{
	(void)user;
	rejected = status;
	assert_int_equal(http_respond_text(x, status, "text/html", SPAN_LIT("<p>")), 0);
	http_exchange_free(x);
}

static const struct http_handler page_handler = { .on_request = on_request,
						  .on_reject = on_reject };

/* ---- running ---- */

static void on_closed(struct http_conn *c, void *user)
{
	(void)user;
	assert_ptr_equal(c, conn);
	is_closed = true;
	conn = NULL;
}

static int setup_with(const struct http_handler *handler)
{
	limits = http_limits_default;
	is_closed = false;
	held = NULL;
	rejected = 0;
	requests = 0;
	out_len = 0;
	out = malloc(OUT_MAX);
	struct stream *ours;
	if (!out || loop_new(&loop) < 0 || slab_new(64 * 1024 * 1024, &slab) < 0 ||
	    fake_pair_new(loop, slab, WINDOW, &ours, &peer) < 0)
		return -1;
	bufq_init(&q, slab);
	const struct http_conn_params params = { .loop = loop,
						 .slab = slab,
						 .limits = &limits,
						 .handler = handler,
						 .on_closed = on_closed };
	return http_conn_new(ours, &params, &conn);
}

static int setup(void **state)
{
	(void)state;
	return setup_with(&plain_handler);
}

static int setup_pages(void **state)
{
	(void)state;
	return setup_with(&page_handler);
}

/* Turns until nothing more is to be done at once; takes what the visitor got. */
static void settle(void)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	if (peer) {
		size_t len;
		out_end = fake_stream_take(peer, out + out_len, OUT_MAX - 1 - out_len, &len);
		out_len += len;
		out[out_len] = 0;
	}
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
}

static int teardown(void **state)
{
	(void)state;
	if (conn)
		http_conn_close(conn);
	if (held)
		http_exchange_free(held);
	stream_close(peer);
	peer = NULL;
	settle();
	assert_true(is_closed);
	bufq_clear(&q);
	loop_free(loop);
	slab_free(slab); /* asserts that every buffer has come back */
	free(out);
	return 0;
}

static void send_text(const char *text)
{
	fake_stream_put(peer, text, strlen(text));
}

static void expect_out(const char *want)
{
	settle();
	if (strcmp(out, want) != 0)
		fail_msg("got <<%s>>\nnot <<%s>>", out, want);
	out_len = 0;
	out[0] = 0;
}

static void wait_closed(void)
{
	nsec_t until = nsec_clock(CLOCK_MONOTONIC) + 5 * NSEC_PER_SEC;
	while (!is_closed && nsec_clock(CLOCK_MONOTONIC) < until)
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
	assert_true(is_closed);
}

static void wait_for(const unsigned int *what)
{
	nsec_t until = nsec_clock(CLOCK_MONOTONIC) + 5 * NSEC_PER_SEC;
	while (!*what && nsec_clock(CLOCK_MONOTONIC) < until)
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
	assert_true(*what);
}

/* A request whose exchange the test holds from now on. */
static void get_hold(void)
{
	send_text("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
	settle();
}

/* Its answer's head, for a body of any length. */
static void respond_unknown(void)
{
	const struct http_head head = { .status = 200, .body = HTTP_BODY_UNKNOWN };
	assert_int_equal(http_respond(held, &head), 0);
}

static void let_go(void)
{
	http_exchange_free(held);
	held = NULL;
}

static void answer(unsigned int status, const char *text)
{
	assert_int_equal(http_respond_text(held, status, NULL, span_str(text)), 0);
	let_go();
}

#define TEXT(body)                                        \
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" \
	"Content-Length: " body

/* ---- tests ---- */

static void test_keep_alive(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		send_text("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
		expect_out(TEXT("2\r\n\r\n/a"));
	}
	assert_false(is_closed);
	send_text("GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	expect_out(TEXT("2\r\nConnection: close\r\n\r\n/b"));
	assert_int_equal(out_end, 0); /* FIN */
	stream_close(peer);
	peer = NULL;
	settle();
	assert_true(is_closed);
}

static void test_pipelining(void **state)
{
	(void)state;
	fake_stream_put(peer, NULL, 0);
	send_text("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
		  "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
		  "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n"
		  "HEAD /3 HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_out(TEXT("2\r\n\r\n/1") "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
	assert_int_equal(requests, 3); /* one at a time: the fourth waits */
	assert_non_null(held);
	answer(404, "no");
	expect_out("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno" TEXT("2\r\n\r\n"));
	assert_false(is_closed);
}

static void test_http10(void **state)
{
	(void)state;
	send_text("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	expect_out(TEXT("2\r\nConnection: keep-alive\r\n\r\n/a"));
	send_text("GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	settle();
	respond_unknown();
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("until the end")), 0);
	assert_int_equal(stream_write(held->body, &q, 100), 13);
	stream_finish(held->body);
	let_go();
	expect_out("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end");
	assert_int_equal(out_end, 0);
}

static void test_bodiless(void **state)
{
	(void)state;
	static const unsigned int statuses[] = { 204, 304 };
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		get_hold();
		const struct http_head head = { .status = statuses[i] };
		assert_int_equal(http_respond(held, &head), 0);
		assert_int_equal(http_respond(held, &head), -EPROTO);
		let_go();
		expect_out(i ? "HTTP/1.1 304 Not Modified\r\n\r\n"
			     : "HTTP/1.1 204 No Content\r\n\r\n");
	}
	/* What a handler writes for HEAD is dropped. */
	send_text("HEAD /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
	expect_out("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
	assert_false(is_closed);
}

/* Bodies of both framings come back whole, however they are cut. */
static void test_echo(void **state)
{
	(void)state;
	static const char chunked[] = "POST /echo HTTP/1.1\r\nHost: x\r\n"
				      "Transfer-Encoding: chunked\r\n\r\n"
				      "5\r\nhello\r\n7;x\r\n, world\r\n0\r\nT: u\r\n\r\n";
	for (size_t at = 1; at < sizeof(chunked); at++) {
		fake_stream_put(peer, chunked, at);
		settle();
		fake_stream_put(peer, chunked + at, sizeof(chunked) - 1 - at);
		settle();
		/* Chunks depend on what came when; the bytes don't. */
		assert_non_null(strstr(out, "Transfer-Encoding: chunked\r\n\r\n"));
		assert_int_equal(strcmp(out + out_len - 7, "\r\n0\r\n\r\n"), 0);
		out_len = 0;
	}
	assert_int_equal(requests, sizeof(chunked) - 1);
	assert_false(is_closed);
}

static void test_large_echo(void **state)
{
	(void)state;
	enum { LEN = 600 * 1024 };
	char *body = malloc(LEN);
	assert_non_null(body);
	for (size_t i = 0; i < LEN; i++)
		body[i] = (char)(i * 7 + i / 251);
	send_text("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 614400\r\n\r\n");
	for (size_t at = 0; at < LEN; at += 10 * 1024) {
		fake_stream_put(peer, body + at, 10 * 1024);
		settle();
	}
	settle();
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 614400\r\n\r\n";
	assert_int_equal(out_len, sizeof(head) - 1 + LEN);
	assert_memory_equal(out + sizeof(head) - 1, body, LEN);
	free(body);
}

/* A visitor that doesn't read stops the handler, not the memory. */
static void test_slow_reader(void **state)
{
	(void)state;
	get_hold();
	respond_unknown();
	char piece[4096];
	memset(piece, 'x', sizeof(piece));
	size_t taken = 0;
	for (;;) {
		assert_int_equal(bufq_append_copy(&q, span_of(piece, sizeof(piece))), 0);
		ssize_t n = stream_write(held->body, &q, sizeof(piece));
		if (n == -EAGAIN)
			break;
		assert_true(n > 0);
		taken += (size_t)n;
		assert_true(taken < 2 * WINDOW);
		assert_int_equal(loop_turn(loop, 0), 0);
	}
	assert_true(taken <= WINDOW + 64 * 1024);
	assert_int_equal(stream_credit(held->body), 0);
	bufq_clear(&q);
	settle(); /* the visitor reads */
	assert_true(stream_credit(held->body) > 0);
}

static void test_continue(void **state)
{
	(void)state;
	send_text("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
		  "Expect: 100-continue\r\n\r\n");
	/* /echo answers before it reads: then nobody is told to continue. */
	settle();
	assert_null(strstr(out, "100"));
	assert_non_null(strstr(out, "Connection: close"));
}

static void test_continue_when_read(void **state)
{
	(void)state;
	send_text("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
		  "Expect: 100-continue\r\n\r\n");
	expect_out("");
	assert_int_equal(stream_read(held->body, &q, 100), -EAGAIN);
	assert_int_equal(stream_read(held->body, &q, 100), -EAGAIN);
	expect_out("HTTP/1.1 100 Continue\r\n\r\n");
	send_text("abc");
	settle();
	assert_int_equal(stream_read(held->body, &q, 100), 3);
	assert_int_equal(stream_read(held->body, &q, 100), 0);
	bufq_clear(&q);
	answer(200, "ok");
	expect_out("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	assert_false(is_closed);
}

/* The handler doesn't want the body: a small one is dropped, a large one ends the connection. */
static void test_unread_body(void **state)
{
	(void)state;
	send_text("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
	expect_out(TEXT("2\r\n\r\n/x"));
	send_text("GET /y HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_out(TEXT("2\r\n\r\n/y"));
	send_text("POST /z HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc");
	expect_out(TEXT("2\r\n\r\n/z"));
	assert_int_equal(out_end, 0);
	assert_false(
		is_closed); /* lingers: what the visitor still sends must not hurt the answer */
	send_text("more of it");
	settle();
	stream_finish(peer);
	settle();
	assert_true(is_closed);
}

static void test_abort_answer(void **state)
{
	(void)state;
	get_hold();
	respond_unknown();
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("half")), 0);
	assert_int_equal(stream_write(held->body, &q, 100), 4);
	settle();
	stream_reset(held->body, 0);
	let_go();
	settle();
	/* All that was sent, but no last chunk. */
	assert_int_equal(strcmp(out + out_len - 9, "4\r\nhalf\r\n"), 0);
	assert_int_equal(out_end, 0);
	assert_true(is_closed);
}

/* Without framing only a reset tells. */
static void test_abort_until_close(void **state)
{
	(void)state;
	send_text("GET /hold HTTP/1.0\r\n\r\n");
	settle();
	respond_unknown();
	settle();
	stream_reset(held->body, 0);
	let_go();
	settle();
	assert_int_equal(out_end, -ECONNRESET);
	assert_true(is_closed);
}

/* Nor does an end help where the visitor has not taken what was made. */
static void test_abort_stalled(void **state)
{
	(void)state;
	get_hold();
	respond_unknown();
	char *piece = calloc(1, WINDOW);
	assert_non_null(piece);
	assert_int_equal(bufq_append_copy(&q, span_of(piece, WINDOW)), 0);
	free(piece);
	while (q.len && stream_write(held->body, &q, q.len) > 0)
		;
	bufq_clear(&q);
	stream_reset(held->body, 0);
	let_go();
	settle();
	assert_int_equal(out_end, -ECONNRESET);
	assert_true(is_closed);
}

/* An answer that is shorter than announced, and one that was never given. */
static void test_unfinished_answers(void **state)
{
	(void)state;
	get_hold();
	const struct http_head head = { .status = 200,
					.body = HTTP_BODY_LENGTH,
					.content_length = 5 };
	assert_int_equal(http_respond(held, &head), 0);
	stream_finish(held->body);
	let_go();
	settle();
	assert_string_equal(out, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
	assert_int_equal(out_end, 0);
	assert_true(is_closed);
}

static void test_no_answer(void **state)
{
	(void)state;
	get_hold();
	let_go();
	settle();
	assert_int_equal(out_end, -ECONNRESET);
	assert_true(is_closed);
}

static void test_rejects(void **state)
{
	(void)state;
	send_text("GET /a HTTP/1.1\r\nHost: x\r\n\r\nFROB / HTTP/1.1\r\nHost: x\r\n\r\nmore");
	expect_out(TEXT("2\r\n\r\n/a") "HTTP/1.1 501 Not Implemented\r\n"
				       "Content-Type: text/plain\r\nContent-Length: 15\r\n"
				       "Connection: close\r\n\r\nNot Implemented");
	assert_int_equal(out_end, 0);
}

static void test_reject_pages(void **state)
{
	(void)state;
	limits.body_max = 10;
	send_text("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n");
	expect_out("HTTP/1.1 413 Content Too Large\r\nContent-Type: text/html\r\n"
		   "Content-Length: 3\r\nConnection: close\r\n\r\n<p>");
	assert_int_equal(rejected, 413);
}

static void test_expectation(void **state)
{
	(void)state;
	send_text("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: tea\r\n\r\n");
	settle();
	assert_int_equal(rejected, 417);
}

static void test_chunked_body_limit(void **state)
{
	(void)state;
	limits.body_max = 3;
	send_text("POST /hold HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "4\r\nabcd\r\n0\r\n\r\n");
	settle();
	assert_int_equal(stream_read(held->body, &q, 100), -E2BIG);
	bufq_clear(&q);
	answer(413, "no");
	expect_out("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
	assert_int_equal(out_end, 0);
}

static void test_header_timeout(void **state)
{
	(void)state;
	send_text("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	settle();
	out_len = 0;
	limits.header_timeout = 20 * NSEC_PER_MSEC;
	send_text("GET /a HT");
	wait_for(&rejected);
	assert_int_equal(rejected, 408);
	settle();
	assert_non_null(strstr(out, "HTTP/1.1 408 Request Timeout\r\n"));
}

static void test_idle_timeout(void **state)
{
	(void)state;
	limits.idle_timeout = 20 * NSEC_PER_MSEC;
	send_text("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	expect_out(TEXT("2\r\n\r\n/a"));
	wait_closed();
	expect_out(""); /* silently */
	assert_int_equal(out_end, 0);
}

static void test_body_timeout(void **state)
{
	(void)state;
	send_text("POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
	settle();
	assert_int_equal(stream_read(held->body, &q, 100), 3);
	limits.body_timeout = 20 * NSEC_PER_MSEC;
	send_text("defg"); /* from here on */
	nsec_t until = nsec_clock(CLOCK_MONOTONIC) + 5 * NSEC_PER_SEC;
	ssize_t n;
	while (((n = stream_read(held->body, &q, 100)) == -EAGAIN || n > 0) &&
	       nsec_clock(CLOCK_MONOTONIC) < until)
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
	assert_int_equal(n, -ETIMEDOUT);
	bufq_clear(&q);
	answer(408, "late");
	expect_out("HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nlate");
}

/* A handler that takes its time is no visitor that is slow. */
static void test_slow_handler(void **state)
{
	(void)state;
	limits.body_timeout = 5 * NSEC_PER_MSEC;
	get_hold();
	nsec_t until = nsec_clock(CLOCK_MONOTONIC) + 30 * NSEC_PER_MSEC;
	while (nsec_clock(CLOCK_MONOTONIC) < until)
		assert_int_equal(loop_turn(loop, 5 * NSEC_PER_MSEC), 0);
	assert_false(held->is_gone);
	answer(200, "x");
	expect_out("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
}

static void test_stalled_reader_is_cut(void **state)
{
	(void)state;
	limits.body_timeout = 20 * NSEC_PER_MSEC;
	get_hold();
	size_t len = WINDOW + 1000;
	char *body = calloc(1, len);
	assert_non_null(body);
	assert_int_equal(http_respond_text(held, 200, NULL, span_of(body, len)), 0);
	free(body);
	let_go();
	wait_closed();
}

static void test_drain(void **state)
{
	(void)state;
	get_hold();
	http_conn_drain(conn);
	settle();
	assert_false(is_closed);
	answer(200, "x");
	expect_out("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
	assert_int_equal(out_end, 0);
}

/* Who has just come may ask once. */
static void test_drain_before_the_first_request(void **state)
{
	(void)state;
	settle();
	http_conn_drain(conn);
	settle();
	assert_false(is_closed);
	send_text("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
	settle();
	answer(200, "x");
	expect_out("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
	assert_int_equal(out_end, 0);
}

static void test_drain_idle(void **state)
{
	(void)state;
	send_text("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	settle();
	http_conn_drain(conn);
	assert_false(is_closed); /* told from the loop */
	settle();
	assert_true(is_closed);
}

/* The client sent it before it could know. */
static void test_drain_with_a_request_waiting(void **state)
{
	(void)state;
	settle();
	send_text("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
	http_conn_drain(conn);
	settle();
	assert_false(is_closed);
	answer(200, "x");
	expect_out("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
}

static void test_bad_answer_fields(void **state)
{
	(void)state;
	get_hold();
	struct http_field bad = { SPAN_LIT("X"), SPAN_LIT("a\r\nSet-Cookie: b") };
	struct http_head head = { .status = 200, .fields = &bad, .field_count = 1 };
	assert_int_equal(http_respond(held, &head), -EBADMSG);
	head.field_count = 0;
	head.status = 103;
	assert_int_equal(http_respond(held, &head), -EBADMSG);
	head.status = 200;
	assert_int_equal(http_respond(held, &head), 0);
	let_go();
	expect_out("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

/* Over the budget nothing of an answer is out, and a smaller one can be given. */
static void test_no_buffers(void **state)
{
	(void)state;
	get_hold();
	size_t len = (size_t)65 * 1024 * 1024;
	char *body = calloc(1, len);
	assert_non_null(body);
	assert_int_equal(http_respond_text(held, 200, NULL, span_of(body, len)), -ENOBUFS);
	free(body);
	assert_false(held->has_responded);
	answer(503, "full");
	expect_out("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfull");
}

#define TEST(t)      cmocka_unit_test_setup_teardown(t, setup, teardown)
#define TEST_PAGE(t) cmocka_unit_test_setup_teardown(t, setup_pages, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_keep_alive),
		TEST(test_pipelining),
		TEST(test_http10),
		TEST(test_bodiless),
		TEST(test_echo),
		TEST(test_large_echo),
		TEST(test_slow_reader),
		TEST(test_continue),
		TEST(test_continue_when_read),
		TEST(test_unread_body),
		TEST(test_abort_answer),
		TEST(test_abort_until_close),
		TEST(test_abort_stalled),
		TEST(test_unfinished_answers),
		TEST(test_no_answer),
		TEST(test_rejects),
		TEST_PAGE(test_reject_pages),
		TEST_PAGE(test_expectation),
		TEST(test_chunked_body_limit),
		TEST_PAGE(test_header_timeout),
		TEST(test_idle_timeout),
		TEST(test_body_timeout),
		TEST(test_slow_handler),
		TEST(test_stalled_reader_is_cut),
		TEST(test_drain),
		TEST(test_drain_idle),
		TEST(test_drain_before_the_first_request),
		TEST(test_drain_with_a_request_waiting),
		TEST(test_bad_answer_fields),
		TEST(test_no_buffers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
