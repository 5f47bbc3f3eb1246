/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP/1.1 client over a stream in memory: the test plays the origin.
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

enum { OUT_MAX = 1024 * 1024, WINDOW = 128 * 1024 };

static struct loop *loop;
static struct slab *slab;
static struct stream *conn; /* the client's end */
static struct stream *peer; /* the origin's end */
static struct http_limits limits;
static struct http_call *call;
static bool is_told;
static int told_error;
static char *out; /* what the origin got */
static size_t out_len;
static int out_end;
static char body[OUT_MAX]; /* what the client read */
static size_t body_len;
static int body_end;

static int setup(void **state)
{
	(void)state;
	limits = http_limits_default;
	limits.header_timeout = 0;
	limits.body_timeout = 0;
	call = NULL;
	is_told = false;
	out_len = 0;
	body_len = 0;
	out = malloc(OUT_MAX);
	if (!out || loop_new(&loop) < 0 || slab_new(64 * 1024 * 1024, &slab) < 0)
		return -1;
	return fake_pair_new(loop, slab, WINDOW, &conn, &peer);
}

static void settle(void)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	if (!peer)
		return;
	size_t len;
	out_end = fake_stream_take(peer, out + out_len, OUT_MAX - 1 - out_len, &len);
	out_len += len;
	out[out_len] = 0;
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
}

static int teardown(void **state)
{
	(void)state;
	http_call_free(call);
	stream_close(conn);
	stream_close(peer);
	peer = NULL;
	settle();
	loop_free(loop);
	slab_free(slab);
	free(out);
	return 0;
}

static void on_response(struct http_call *c, int error, void *user)
{
	(void)user;
	assert_ptr_equal(c, call);
	assert_false(is_told);
	is_told = true;
	told_error = error;
}

static const struct http_call_events events = { .on_response = on_response };

static void start(const struct http_head *head)
{
	http_call_free(call);
	is_told = false;
	body_len = 0;
	const struct http_call_params params = {
		.loop = loop, .slab = slab, .limits = &limits, .request = head, .events = &events
	};
	assert_int_equal(http_call_new(conn, &params, &call), 0);
}

static const struct http_head get = {
	.method = SPAN_LIT("GET"),
	.target = SPAN_LIT("/"),
	.authority = SPAN_LIT("o"),
};

static void send_text(const char *text)
{
	fake_stream_put(peer, text, strlen(text));
}

static void expect_out(const char *want)
{
	settle();
	assert_string_equal(out, want);
	out_len = 0;
	out[0] = 0;
}

/* Reads the answer's body until there is no more now. */
static void read_body(void)
{
	struct bufq q;
	bufq_init(&q, slab);
	ssize_t n;
	while ((n = stream_read(http_call_body(call), &q, 1000)) > 0) {
		body_len += bufq_copy_out(&q, body + body_len, q.len);
		bufq_clear(&q);
	}
	body[body_len] = 0;
	body_end = (int)n;
}

static void write_body(const char *text)
{
	struct bufq q;
	bufq_init(&q, slab);
	assert_int_equal(bufq_append_copy(&q, span_str(text)), 0);
	assert_int_equal(stream_write(http_call_body(call), &q, q.len), strlen(text));
	bufq_clear(&q);
}

/* ---- tests ---- */

/* clang-format off */
static const struct {
	const char *text;
	const char *body;
	int error;       /* of on_response */
	int body_end;    /* what the last read says when the origin has sent its FIN */
	bool is_reusable;/* before the FIN */
	unsigned int status;
} rows[] = {
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 0, 0, true, 200 },
	{ "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "", 0, 0, true, 404 },
	{ "HTTP/1.1 204 No\r\n\r\n", "", 0, 0, true, 204 },
	{ "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n"
	  "Content-Length: 1\r\n\r\nx", "x", 0, 0, true, 200 },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
	  "abcde", 0, 0, true, 200 },
	{ "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "x", 0, 0, false,
	  200 },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxjunk", "x", 0, 0, false, 200 },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "1\r\nx\r\n0\r\n\r\n", "x", 0, 0, false, 200 },
	{ "HTTP/1.1 200 OK\r\n\r\nto the end", "to the end", 0, 0, false, 200 },
	{ "HTTP/1.0 200 OK\r\n\r\nto the end", "to the end", 0, 0, false, 200 },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "hell", 0, -EBADMSG, false, 200 },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", 0, -EBADMSG,
	  false, 200 },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz", "", 0, -EBADMSG, false,
	  200 },
	{ "HTTP/1.1 101 Oops\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "", -EBADMSG,
	  -EBADMSG, false, 0 },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "", -EBADMSG,
	  -EBADMSG, false, 0 },
	{ "hello\r\n\r\n", "", -EBADMSG, -EBADMSG, false, 0 },
	{ "HTTP/1.1 200 O", "", -EBADMSG, -EBADMSG, false, 0 },
	{ "", "", -ECONNRESET, -ECONNRESET, false, 0 },
};
/* clang-format on */

/* One answer on a connection of its own, cut into two pieces. */
static void check_row(size_t i, size_t at)
{
	const char *text = rows[i].text;
	start(&get);
	settle();
	if (at)
		fake_stream_put(peer, text, at);
	settle();
	if (is_told && told_error == 0)
		read_body();
	if (strlen(text) > at)
		fake_stream_put(peer, text + at, strlen(text) - at);
	settle();
	if (is_told && told_error == 0)
		read_body();
	/* Bytes behind the answer that come later are for whoever keeps the connection. */
	if (at == 0 || !strstr(text, "junk"))
		assert_int_equal(http_call_is_reusable(call), rows[i].is_reusable);

	stream_finish(peer);
	settle();
	read_body();
	assert_true(is_told);
	assert_int_equal(told_error, rows[i].error);
	assert_int_equal(body_end, rows[i].body_end);
	assert_string_equal(body, rows[i].body);
	assert_int_equal(http_call_is_untouched(call), !*text);
	if (!told_error)
		assert_int_equal(http_call_response(call)->status, rows[i].status);
}

static void test_answers(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (size_t at = 0; at <= strlen(rows[i].text); at++) {
			check_row(i, at);
			assert_int_equal(teardown(state), 0);
			assert_int_equal(setup(state), 0);
		}
	}
}

static void test_keep_alive(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		start(&get);
		expect_out("GET / HTTP/1.1\r\nHost: o\r\n\r\n");
		send_text("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nhi");
		settle();
		assert_true(is_told);
		assert_false(http_call_is_reusable(call)); /* the body is unread */
		read_body();
		assert_int_equal(body_end, 0);
		assert_string_equal(body, "hi");
		assert_true(http_call_is_reusable(call));
	}
}

static void test_head(void **state)
{
	(void)state;
	struct http_head head = get;
	head.method = SPAN_LIT("HEAD");
	start(&head);
	send_text("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n");
	settle();
	assert_int_equal(http_call_response(call)->body, HTTP_BODY_NONE);
	assert_true(http_call_response(call)->has_length);
	assert_int_equal(http_call_response(call)->content_length, 200);
	read_body();
	assert_int_equal(body_end, 0);
	assert_true(http_call_is_reusable(call));
}

static void test_upload(void **state)
{
	(void)state;
	struct http_head head = get;
	head.method = SPAN_LIT("POST");
	head.body = HTTP_BODY_LENGTH;
	head.content_length = 10;
	start(&head);
	write_body("01234");
	assert_false(http_call_is_untouched(call));
	write_body("56789");
	stream_finish(http_call_body(call));
	expect_out("POST / HTTP/1.1\r\nHost: o\r\nContent-Length: 10\r\n\r\n0123456789");
	send_text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	settle();
	assert_true(http_call_is_reusable(call));

	head.body = HTTP_BODY_UNKNOWN;
	start(&head);
	write_body("abc");
	settle();
	write_body("de");
	stream_finish(http_call_body(call));
	expect_out("POST / HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n"
		   "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	send_text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	settle();
	assert_true(http_call_is_reusable(call));
}

/* Bytes behind the announced length are the next request in an origin's eyes: refused. */
static void test_upload_too_long(void **state)
{
	(void)state;
	struct http_head head = get;
	head.method = SPAN_LIT("PUT");
	head.body = HTTP_BODY_LENGTH;
	head.content_length = 3;
	start(&head);
	struct bufq q;
	bufq_init(&q, slab);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("abcGET /evil HTTP/1.1\r\n\r\n")), 0);
	assert_int_equal(stream_write(http_call_body(call), &q, q.len), 3);
	assert_int_equal(stream_write(http_call_body(call), &q, q.len), -EPROTO);
	bufq_clear(&q);
	stream_finish(http_call_body(call));
	expect_out("PUT / HTTP/1.1\r\nHost: o\r\nContent-Length: 3\r\n\r\nabc");
}

static void test_upload_too_short(void **state)
{
	(void)state;
	struct http_head head = get;
	head.method = SPAN_LIT("PUT");
	head.body = HTTP_BODY_LENGTH;
	head.content_length = 5;
	start(&head);
	write_body("abc");
	settle();
	stream_finish(http_call_body(call));
	settle();
	assert_int_equal(out_end, -ECONNRESET);
	assert_true(is_told);
	assert_int_equal(told_error, -ECONNRESET);
	assert_false(http_call_is_untouched(call));
}

static void test_upload_aborted(void **state)
{
	(void)state;
	struct http_head head = get;
	head.method = SPAN_LIT("POST");
	head.body = HTTP_BODY_UNKNOWN;
	start(&head);
	write_body("abc");
	settle();
	stream_reset(http_call_body(call), 0);
	settle();
	assert_int_equal(out_end, -ECONNRESET);
	assert_null(strstr(out, "0\r\n\r\n"));
	assert_false(http_call_is_reusable(call));
}

/* An answer before the request's end is an answer. */
static void test_early_answer(void **state)
{
	(void)state;
	struct http_head head = get;
	head.method = SPAN_LIT("POST");
	head.body = HTTP_BODY_UNKNOWN;
	start(&head);
	write_body("abc");
	settle();
	send_text("HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno");
	stream_stop(peer, 0);
	settle();
	assert_true(is_told);
	assert_int_equal(told_error, 0);
	struct bufq q;
	bufq_init(&q, slab);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("more")), 0);
	for (int i = 0; i < 3; i++) {
		(void)stream_write(http_call_body(call), &q, q.len);
		settle();
	}
	assert_int_equal(stream_write(http_call_body(call), &q, q.len), -EPIPE);
	bufq_clear(&q);
	read_body();
	assert_string_equal(body, "no");
	assert_int_equal(body_end, 0);
	assert_false(http_call_is_reusable(call));
}

static void test_credit(void **state)
{
	(void)state;
	struct http_head head = get;
	head.method = SPAN_LIT("POST");
	head.body = HTTP_BODY_UNKNOWN;
	start(&head);
	char piece[4096];
	memset(piece, 'x', sizeof(piece));
	struct bufq q;
	bufq_init(&q, slab);
	size_t taken = 0;
	for (;;) {
		assert_int_equal(bufq_append_copy(&q, span_of(piece, sizeof(piece))), 0);
		ssize_t n = stream_write(http_call_body(call), &q, sizeof(piece));
		if (n == -EAGAIN)
			break;
		assert_true(n > 0);
		taken += (size_t)n;
		assert_true(taken < 4 * WINDOW);
		assert_int_equal(loop_turn(loop, 0), 0);
	}
	bufq_clear(&q);
	assert_true(taken <= WINDOW + 64 * 1024);
}

static void test_timeouts(void **state)
{
	(void)state;
	limits.header_timeout = 20 * NSEC_PER_MSEC;
	start(&get);
	nsec_t until = nsec_clock(CLOCK_MONOTONIC) + 5 * NSEC_PER_SEC;
	while (!is_told && nsec_clock(CLOCK_MONOTONIC) < until)
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
	assert_true(is_told);
	assert_int_equal(told_error, -ETIMEDOUT);
}

static void test_body_timeout(void **state)
{
	(void)state;
	limits.body_timeout = 20 * NSEC_PER_MSEC;
	start(&get);
	send_text("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi");
	settle();
	nsec_t until = nsec_clock(CLOCK_MONOTONIC) + 5 * NSEC_PER_SEC;
	do {
		read_body();
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
	} while (body_end == -EAGAIN && nsec_clock(CLOCK_MONOTONIC) < until);
	assert_int_equal(body_end, -ETIMEDOUT);
}

/* An origin that takes nothing of a request: 504 before the head, a break after it. */
static void test_write_timeout(void **state)
{
	(void)state;
	static const struct http_head put = {
		.method = SPAN_LIT("PUT"),
		.target = SPAN_LIT("/"),
		.authority = SPAN_LIT("o"),
		.body = HTTP_BODY_LENGTH,
		.content_length = 1 << 30,
	};
	limits.write_timeout = 20 * NSEC_PER_MSEC;
	start(&put);
	struct bufq q;
	bufq_init(&q, slab);
	static const uint8_t bytes[64 * 1024];
	nsec_t until = nsec_clock(CLOCK_MONOTONIC) + 5 * NSEC_PER_SEC;
	while (!is_told && nsec_clock(CLOCK_MONOTONIC) < until) {
		if (bufq_is_empty(&q))
			assert_int_equal(bufq_append_copy(&q, span_of(bytes, sizeof(bytes))), 0);
		(void)stream_write(http_call_body(call), &q, q.len);
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
	}
	bufq_clear(&q);
	assert_true(is_told);
	assert_int_equal(told_error, -ETIMEDOUT);

	/* One that has taken all may think for as long as it likes. */
	start(&get);
	settle();
	until = nsec_clock(CLOCK_MONOTONIC) + 60 * NSEC_PER_MSEC;
	while (nsec_clock(CLOCK_MONOTONIC) < until)
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
	assert_false(is_told);
}

static void test_reset(void **state)
{
	(void)state;
	start(&get);
	settle();
	stream_reset(peer, 0);
	settle();
	assert_int_equal(told_error, -ECONNRESET);
	assert_true(http_call_is_untouched(call));
}

static void test_reset_in_body(void **state)
{
	(void)state;
	start(&get);
	send_text("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi");
	settle();
	read_body();
	stream_reset(peer, 0);
	settle();
	read_body();
	assert_int_equal(body_end, -ECONNRESET);
	assert_false(http_call_is_reusable(call));
}

static void test_limits(void **state)
{
	(void)state;
	limits.head_max = 100;
	start(&get);
	send_text("HTTP/1.1 200 OK\r\nX: 0123456789012345678901234567890123456789012345678901234567"
		  "89012345678901234567890123456789\r\n\r\n");
	settle();
	assert_int_equal(told_error, -EMSGSIZE);
}

/* Both ways; a field of an answer that can't be sent on is left out, not the body with it. */
static void test_trailers(void **state)
{
	(void)state;
	static const struct http_field field = { SPAN_LIT("x-t"), SPAN_LIT("v") };
	static const struct http_trailers one = { .fields = &field, .count = 1 };
	struct http_head head = get;
	head.method = SPAN_LIT("POST");
	head.body = HTTP_BODY_UNKNOWN;
	start(&head);
	write_body("hello");
	assert_int_equal(http_call_set_trailers(call, &one), 0);
	stream_finish(http_call_body(call));
	expect_out("POST / HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n"
		   "5\r\nhello\r\n0\r\nx-t: v\r\n\r\n");
	send_text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
		  "X-A: 1\r\nB: a\001b\r\nX-C: 3\r\n\r\n");
	settle();
	read_body();
	assert_int_equal(body_end, 0);
	const struct http_trailers *t = http_call_trailers(call);
	assert_int_equal(t->count, 2);
	assert_true(span_eq_str(t->fields[1].name, "X-C"));
	assert_true(http_call_is_reusable(call));
	start(&get);
	assert_int_equal(http_call_set_trailers(call, &one), -ENOTSUP);
}

static void test_many_interim(void **state)
{
	(void)state;
	start(&get);
	for (int i = 0; i < 17; i++)
		send_text("HTTP/1.1 103 Hint\r\n\r\n");
	settle();
	assert_int_equal(told_error, -EBADMSG);
	assert_int_equal(http_call_hints(call), 17);
}

static struct http_field upgrade_field = { SPAN_LIT("Upgrade"), SPAN_LIT("t") };
static const struct http_head upgrade_get = {
	.method = SPAN_LIT("GET"),
	.target = SPAN_LIT("/"),
	.authority = SPAN_LIT("o"),
	.body = HTTP_BODY_UPGRADE,
	.fields = &upgrade_field,
	.field_count = 1,
};

static void test_upgrade(void **state)
{
	(void)state;
	start(&upgrade_get);
	expect_out("GET / HTTP/1.1\r\nHost: o\r\nUpgrade: t\r\nConnection: Upgrade\r\n\r\n");
	send_text("HTTP/1.1 100 C\r\n\r\n"
		  "HTTP/1.1 101 S\r\nUpgrade: t\r\nConnection: Upgrade\r\n\r\nraw");
	settle();
	assert_int_equal(told_error, 0);
	assert_int_equal(http_call_response(call)->body, HTTP_BODY_UPGRADE);
	assert_false(http_call_is_reusable(call));
	struct bufq q;
	bufq_init(&q, slab);
	http_call_upgrade(call, &q);
	call = NULL;
	assert_int_equal(q.len, 3);
	assert_memory_equal(bufq_peek(&q).ptr, "raw", 3);
	/* The connection is as open as before, and nobody's. */
	assert_int_equal(stream_write(conn, &q, 3), 3);
	expect_out("raw");
	assert_int_equal(out_end, -EAGAIN);
	send_text("more");
	assert_int_equal(stream_read(conn, &q, 100), 4);
	bufq_clear(&q);
}

/* Before the request was taken whole no origin can have agreed to it. */
static void test_upgrade_too_early(void **state)
{
	(void)state;
	struct http_head head = upgrade_get;
	struct http_field fields[10];
	char value[15000];
	memset(value, 'v', sizeof(value));
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++)
		fields[i] = (struct http_field){ SPAN_LIT("X"), span_of(value, sizeof(value)) };
	head.fields = fields;
	head.field_count = ARRAY_SIZE(fields);
	start(&head);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, 0), 0); /* and the origin reads nothing */
	send_text("HTTP/1.1 101 S\r\nUpgrade: t\r\nConnection: Upgrade\r\n\r\n");
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(told_error, -EBADMSG);
}

static void test_upgrade_declined(void **state)
{
	(void)state;
	start(&upgrade_get);
	stream_finish(http_call_body(call));
	send_text("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
	settle();
	read_body();
	assert_string_equal(body, "x");
	assert_true(http_call_is_reusable(call));
}

static void test_freed_early(void **state)
{
	(void)state;
	start(&get);
	http_call_free(call); /* before its head was written */
	call = NULL;
	settle();
	start(&get);
	send_text("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi");
	settle();
	http_call_free(call);
	call = NULL;
	settle();
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_answers),
		TEST(test_keep_alive),
		TEST(test_head),
		TEST(test_upload),
		TEST(test_upload_too_long),
		TEST(test_upload_too_short),
		TEST(test_upload_aborted),
		TEST(test_early_answer),
		TEST(test_credit),
		TEST(test_timeouts),
		TEST(test_body_timeout),
		TEST(test_write_timeout),
		TEST(test_reset),
		TEST(test_reset_in_body),
		TEST(test_limits),
		TEST(test_many_interim),
		TEST(test_trailers),
		TEST(test_upgrade),
		TEST(test_upgrade_declined),
		TEST(test_freed_early),
		TEST(test_upgrade_too_early),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
