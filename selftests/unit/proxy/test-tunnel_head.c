/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads through the tunnel and back: round trips, the table of framing (docs/protocol.md §10.3),
 * what is refused, no memory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/proxy/tunnel_head.h"
#include "daemon/wire/preamble.h"
#include "util/macro.h"

enum { ENTRIES_MAX = 8 };

static uint8_t buf[65536];
static struct arena arena;

static int start(void **state)
{
	(void)state;
	arena_init(&arena, 65536, NULL);
	return 0;
}

static int end(void **state)
{
	(void)state;
	arena_done(&arena);
	return 0;
}

/* ---- requests ------------------------------------------------------------------------------ */

/* Metadata of a request as "Key=value" strings. */
struct raw {
	const char *dest;
	const char *entries[ENTRIES_MAX];
};

/* The frame is a copy of exactly its size, for ASan; freed by the caller. */
static uint8_t *encode(const struct raw *raw, struct connect_request *ret)
{
	struct connect_writer w;
	struct span built;
	uint32_t count = 0;
	while (count < ENTRIES_MAX && raw->entries[count])
		count++;
	connect_writer_init(&w, buf, sizeof(buf));
	connect_request_begin(&w, CONNECT_TYPE_HTTP, span_str(raw->dest), count);
	for (uint32_t i = 0; i < count; i++) {
		size_t key = strcspn(raw->entries[i], "=");
		connect_add(&w, span_of(raw->entries[i], key), span_str(raw->entries[i] + key + 1));
	}
	assert_int_equal(connect_finish(&w, &built), 0);
	built = span_skip(built, PREAMBLE_MAX);
	uint8_t *copy = malloc(built.len);
	assert_non_null(copy);
	memcpy(copy, built.ptr, built.len);
	assert_int_equal(connect_request_decode(span_of(copy, built.len), ret), 0);
	return copy;
}

static int read_request(const struct raw *raw, struct http_head *ret, const char **ret_reason)
{
	struct connect_request req;
	uint8_t *frame = encode(raw, &req);
	int r = tunnel_head_from_request(&req, &http_limits_default, &arena, ret, ret_reason);
	free(frame); /* nothing of the head may point into it */
	return r;
}

static const struct {
	struct raw raw;
	enum http_body body;
	uint64_t length;
	bool has_length;
} framings[] = {
	{ { "/", { "HttpHeader:Content-Length=7" } }, HTTP_BODY_LENGTH, 7, true },
	{ { "/", { "HttpHeader:content-length= 7 " } }, HTTP_BODY_LENGTH, 7, true },
	{ { "/", { "HttpHeader:Content-Length=7", "HttpHeader:Content-Length=7" } },
	  HTTP_BODY_LENGTH,
	  7,
	  true },
	{ { "/", { "HttpHeader:Content-Length=7", "HttpHeader:Transfer-Encoding=chunked" } },
	  HTTP_BODY_LENGTH,
	  7,
	  true },
	{ { "/", { "HttpHeader:Transfer-Encoding=chunked" } }, HTTP_BODY_UNKNOWN, 0, false },
	{ { "/", { "HttpHeader:transfer-encoding=gzip, CHUNKED" } }, HTTP_BODY_UNKNOWN, 0, false },
	{ { "/", { "HttpHeader:Content-Length=0", "HttpHeader:Transfer-Encoding=chunked" } },
	  HTTP_BODY_UNKNOWN,
	  0,
	  false },
	{ { "/", { "HttpHeader:Content-Length=-1" } }, HTTP_BODY_UNKNOWN, 0, false },
	{ { "/", { "HttpHeader:Content-Length=0" } }, HTTP_BODY_NONE, 0, true },
	{ { "/", { "HttpHeader:Transfer-Encoding=identity" } }, HTTP_BODY_NONE, 0, false },
	{ { "/", { NULL } }, HTTP_BODY_NONE, 0, false },
};

static void test_request_framing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(framings); i++) {
		struct http_head head;
		const char *reason = NULL;
		assert_int_equal(read_request(&framings[i].raw, &head, &reason), 0);
		assert_int_equal(head.body, framings[i].body);
		assert_int_equal(head.content_length, framings[i].length);
		assert_int_equal(head.has_length, framings[i].has_length);
		assert_int_equal(head.field_count, 0); /* framing is no field */
	}
}

static const struct {
	struct raw raw;
	const char *reason;
} refused[] = {
	{ { "/", { "HttpHeader:Content-Length=x" } }, "field or length" },
	{ { "/", { "HttpHeader:Content-Length=" } }, "field or length" },
	{ { "/", { "HttpHeader:Content-Length=-" } }, "field or length" },
	{ { "/", { "HttpHeader:Content-Length=-x" } }, "field or length" },
	{ { "/", { "HttpHeader:Content-Length=+1" } }, "field or length" },
	{ { "/", { "HttpHeader:Content-Length=18446744073709551616" } }, "field or length" },
	{ { "/", { "HttpHeader:Content-Length=1", "HttpHeader:Content-Length=2" } },
	  "field or length" },
	{ { "/", { "HttpHeader:Content-Length=1, 1" } }, "field or length" },
	{ { "/", { "HttpHeader:X=a\rb" } }, "field or length" },
	{ { "/", { "HttpHeader:X=a\nInjected: b" } }, "field or length" },
	{ { "/", { "HttpHeader:X Y=a" } }, "field or length" },
	{ { "/", { "HttpHeader:=a" } }, "field or length" },
	{ { "/",
	    { "HttpHeader"
	      "=a" } },
	  "header key" },
	{ { "/", { "HttpMethod=G T" } }, "method" },
	{ { "/", { "HttpHost=a\r\nb" } }, "host" },
	{ { "/a b", { NULL } }, "URL" },
	{ { "/a\nb", { NULL } }, "URL" },
	{ { "/%zz", { NULL } }, "URL" },
};

static void test_refused_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct http_head head = { .status = 77 };
		const char *reason = "";
		int r = read_request(&refused[i].raw, &head, &reason);
		if (r != -EBADMSG || !strstr(reason, refused[i].reason))
			fail_msg("case %zu: %d, %s", i, r, reason);
		assert_int_equal(head.status, 77); /* untouched */
	}
}

static const struct {
	const char *dest;
	const char *target;
	const char *scheme;
} targets[] = {
	{ "/", "/", "https" },
	{ "/a?b=c", "/a?b=c", "https" },
	{ "http://h.test:80/a%20b?c#d", "/a%20b?c", "http" },
	{ "https://h.test", "/", "https" },
	{ "https://h.test?q", "/?q", "https" },
	{ "", "/", "https" },
};

static void test_targets(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		struct http_head head;
		const char *reason = NULL;
		const struct raw raw = { targets[i].dest, { "HttpHost=h.test" } };
		assert_int_equal(read_request(&raw, &head, &reason), 0);
		assert_true(span_eq_str(head.target, targets[i].target));
		assert_true(span_eq_str(head.scheme, targets[i].scheme));
		assert_true(span_eq_str(head.method, "GET"));
		assert_true(span_eq_str(head.authority, "h.test"));
	}
}

static struct http_field some_fields[] = {
	{ SPAN_LIT("Accept"), SPAN_LIT("*/*") },
	{ SPAN_LIT("x-lower"), SPAN_LIT("") },
	{ SPAN_LIT("Cookie"), SPAN_LIT("a=1") },
	{ SPAN_LIT("Cookie"), SPAN_LIT("b=2") },
};

static void assert_same_fields(const struct http_head *got, bool canonical)
{
	assert_int_equal(got->field_count, ARRAY_SIZE(some_fields));
	for (unsigned int i = 0; i < got->field_count; i++) {
		assert_true(span_eq_nocase(got->fields[i].name, some_fields[i].name));
		assert_true(span_eq(got->fields[i].value, some_fields[i].value));
	}
	assert_true(span_eq_str(got->fields[1].name, canonical ? "X-Lower" : "x-lower"));
}

static void test_request_round_trip(void **state)
{
	(void)state;
	static const struct {
		enum http_body body;
		uint64_t length;
		bool has_length;
	} bodies[] = { { HTTP_BODY_NONE, 0, false },
		       { HTTP_BODY_NONE, 0, true },
		       { HTTP_BODY_LENGTH, UINT64_C(1) << 40, true },
		       { HTTP_BODY_UNKNOWN, 0, false },
		       { HTTP_BODY_UPGRADE, 0, false } };
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		struct http_head in = { .method = SPAN_LIT("PATCH"),
					.target = SPAN_LIT("/a?b"),
					.authority = SPAN_LIT("h.test:8080"),
					.scheme = SPAN_LIT("http"),
					.body = bodies[i].body,
					.content_length = bodies[i].length,
					.has_length = bodies[i].has_length,
					.fields = some_fields,
					.field_count = ARRAY_SIZE(some_fields) };
		struct http_head out;
		struct span message;
		struct connect_request req;
		const char *reason;
		assert_int_equal(tunnel_head_write_request(&in, buf, sizeof(buf), &message), 0);
		assert_int_equal(connect_request_decode(span_skip(message, PREAMBLE_MAX), &req), 0);
		assert_int_equal(req.type, in.body == HTTP_BODY_UPGRADE ? CONNECT_TYPE_WEBSOCKET
									: CONNECT_TYPE_HTTP);
		assert_true(span_eq_str(req.dest, "http://h.test:8080/a?b"));
		assert_int_equal(
			tunnel_head_from_request(&req, &http_limits_default, &arena, &out, &reason),
			0);
		assert_true(span_eq(out.method, in.method));
		assert_true(span_eq(out.target, in.target));
		assert_true(span_eq(out.authority, in.authority));
		assert_int_equal(out.body, in.body);
		assert_int_equal(out.content_length, in.content_length);
		assert_int_equal(out.has_length, in.has_length);
		assert_same_fields(&out, false);
	}
}

/* Every smaller buffer is refused, none written past. */
static void test_small_buffers(void **state)
{
	(void)state;
	struct http_head in = { .method = SPAN_LIT("GET"),
				.target = SPAN_LIT("/"),
				.authority = SPAN_LIT("h"),
				.scheme = SPAN_LIT("http"),
				.status = 200,
				.fields = some_fields,
				.field_count = ARRAY_SIZE(some_fields) };
	struct span message;
	bool has_request = false, has_response = false;
	for (size_t cap = 0; cap < 1024; cap++) {
		uint8_t *exact = malloc(cap + !cap);
		assert_non_null(exact);
		int r = tunnel_head_write_request(&in, exact, cap, &message);
		assert_true(r == (has_request ? 0 : -ENOBUFS) || r == 0);
		has_request |= r == 0;
		r = tunnel_head_write_response(&in, &arena, exact, cap, &message);
		assert_true(r == (has_response ? 0 : -ENOBUFS) || r == 0);
		has_response |= r == 0;
		free(exact);
	}
	assert_true(has_request && has_response);
}

static void test_limits(void **state)
{
	(void)state;
	const struct raw raw = { "/a", { "HttpHost=h", "HttpHeader:A=1", "HttpHeader:B=2" } };
	struct http_limits limits = http_limits_default;
	struct connect_request req;
	struct http_head head;
	const char *reason;
	uint8_t *frame = encode(&raw, &req);
	limits.field_max = 1;
	assert_int_equal(tunnel_head_from_request(&req, &limits, &arena, &head, &reason), -E2BIG);
	limits.field_max = 2;
	/* As lines: "A: 1" twice, with their ends. */
	limits.line_max = 3;
	assert_int_equal(tunnel_head_from_request(&req, &limits, &arena, &head, &reason), -E2BIG);
	limits.line_max = 4;
	limits.head_max = 11;
	assert_int_equal(tunnel_head_from_request(&req, &limits, &arena, &head, &reason), -E2BIG);
	limits.head_max = 12;
	bool has_passed = false;
	for (size_t room = 0; room < 1024 && !has_passed; room += 8) {
		struct arena small;
		arena_init(&small, room, NULL);
		int r = tunnel_head_from_request(&req, &limits, &small, &head, &reason);
		assert_true(r == 0 || r == -ENOMEM);
		has_passed = r == 0;
		arena_done(&small);
	}
	assert_true(has_passed);
	free(frame);
}

/* ---- answers ------------------------------------------------------------------------------- */

static const struct {
	unsigned int status;
	bool is_head;
	bool has_length;
	uint64_t length;
	enum http_body body;
} answers[] = {
	{ 200, false, true, 5, HTTP_BODY_LENGTH },   { 200, false, true, 0, HTTP_BODY_LENGTH },
	{ 200, false, false, 0, HTTP_BODY_UNKNOWN }, { 200, true, true, 5, HTTP_BODY_NONE },
	{ 204, false, false, 0, HTTP_BODY_NONE },    { 304, false, true, 5, HTTP_BODY_NONE },
	{ 101, false, false, 0, HTTP_BODY_UPGRADE }, { 100, false, false, 0, HTTP_BODY_NONE },
	{ 999, false, false, 0, HTTP_BODY_UNKNOWN }, { 404, true, false, 0, HTTP_BODY_NONE },
};

static void test_answer_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct http_head in = { .status = answers[i].status,
					.has_length = answers[i].has_length,
					.content_length = answers[i].length,
					.fields = some_fields,
					.field_count = ARRAY_SIZE(some_fields) };
		struct http_head out;
		struct span message;
		struct connect_response resp;
		assert_int_equal(
			tunnel_head_write_response(&in, &arena, buf, sizeof(buf), &message), 0);
		assert_int_equal(connect_response_decode(span_skip(message, PREAMBLE_MAX), &resp),
				 0);
		assert_int_equal(resp.error.len, 0);
		assert_int_equal(tunnel_head_from_response(&resp, answers[i].is_head,
							   &http_limits_default, &arena, &out),
				 0);
		assert_int_equal(out.status, answers[i].status);
		assert_int_equal(out.body, answers[i].body);
		assert_int_equal(out.has_length, answers[i].has_length);
		assert_int_equal(out.content_length, answers[i].length);
		assert_same_fields(&out, true);
	}
}

static void test_bad_answers(void **state)
{
	(void)state;
	static const char *const statuses[] = { "", "99", "1000", "2OO", "-200", "+200" };
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		struct connect_writer w;
		struct span message;
		struct connect_response resp;
		struct http_head head;
		connect_writer_init(&w, buf, sizeof(buf));
		connect_response_begin(&w, span_of(NULL, 0), 1);
		connect_add(&w, SPAN_LIT(CONNECT_KEY_STATUS), span_str(statuses[i]));
		assert_int_equal(connect_finish(&w, &message), 0);
		assert_int_equal(connect_response_decode(span_skip(message, PREAMBLE_MAX), &resp),
				 0);
		assert_int_equal(tunnel_head_from_response(&resp, false, &http_limits_default,
							   &arena, &head),
				 -EBADMSG);
	}
}

static void test_error(void **state)
{
	(void)state;
	struct span message;
	struct connect_response resp;
	assert_int_equal(tunnel_head_write_error(SPAN_LIT("no"), false, buf, sizeof(buf), &message),
			 0);
	assert_int_equal(connect_response_decode(span_skip(message, PREAMBLE_MAX), &resp), 0);
	assert_true(span_eq_str(resp.error, "no"));
	assert_int_equal(tunnel_head_write_error(SPAN_LIT("no"), false, buf, 16, &message),
			 -ENOBUFS);
	assert_int_equal(tunnel_head_write_error(SPAN_LIT("no"), true, buf, sizeof(buf), &message),
			 0);
	assert_int_equal(connect_response_decode(span_skip(message, PREAMBLE_MAX), &resp), 0);
	struct connect_iter it = {};
	struct connect_meta m;
	assert_true(connect_next(&resp.meta, &it, &m));
	assert_true(span_eq_str(m.name, "FlowConnectRateLimited") && span_eq_str(m.value, "true"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_request_framing, start, end),
		cmocka_unit_test_setup_teardown(test_refused_requests, start, end),
		cmocka_unit_test_setup_teardown(test_targets, start, end),
		cmocka_unit_test_setup_teardown(test_request_round_trip, start, end),
		cmocka_unit_test_setup_teardown(test_small_buffers, start, end),
		cmocka_unit_test_setup_teardown(test_limits, start, end),
		cmocka_unit_test_setup_teardown(test_answer_round_trip, start, end),
		cmocka_unit_test_setup_teardown(test_bad_answers, start, end),
		cmocka_unit_test_setup_teardown(test_error, start, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
