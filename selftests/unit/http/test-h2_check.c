/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_check: which header blocks are messages, which are malformed, which are answered with an
 * error.
 */
#include "daemon/http/h2_check.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/macro.h"

static const struct h2_block_limits limits = { .size_max = 400, .line_max = 100, .field_max = 4 };

/* A block as text: "name=value|name=value". The head lives until the next call. */
static int block(enum h2_block_kind kind, const char *text, struct h2_head *ret)
{
	static struct arena arena;
	struct h2_block b;
	struct span rest = span_str(text);
	arena_done(&arena);
	arena_init(&arena, 65536, NULL);
	h2_block_begin(&b, kind, &limits, &arena);
	while (rest.len) {
		struct span field = span_first(rest, span_find(rest, '|'));
		rest = span_skip(rest, field.len + 1);
		size_t at = span_find(field, '=');
		/* Exact copies, so that a byte too far is seen. */
		char *name = malloc(at + 1);
		size_t value_len = field.len - at - 1;
		char *value = malloc(value_len + 1);
		assert_true(name && value);
		memcpy(name, field.ptr, at);
		memcpy(value, field.ptr + at + 1, value_len);
		h2_block_add(&b, span_of(name, at), span_of(value, value_len));
		free(name);
		free(value);
	}
	int r = h2_block_end(&b, ret);
	return r;
}

#define BASE ":method=GET|:scheme=https|:path=/|"

static const struct {
	enum h2_block_kind kind;
	int result;
	const char *text;
} cases[] = {
	{ H2_BLOCK_REQUEST, 0, BASE ":authority=host" },
	{ H2_BLOCK_REQUEST, 0, BASE "host=other" },
	{ H2_BLOCK_REQUEST, 0, BASE },
	{ H2_BLOCK_REQUEST, 0, ":path=/|:scheme=http|:method=X-Y!" },
	{ H2_BLOCK_REQUEST, 0, BASE "x=\x80\xff\ty" },
	{ H2_BLOCK_REQUEST, 0, BASE "x=" },
	{ H2_BLOCK_REQUEST, 0, BASE "te=trailers|content-length=5|content-length=5" },
	{ H2_BLOCK_REQUEST, 0, ":method=CONNECT|:authority=host:22" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=CONNECT" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=CONNECT|:authority=" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=CONNECT|:authority=h|:path=/" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=CONNECT|:authority=h|:scheme=https" },
	{ H2_BLOCK_REQUEST, -EBADMSG, "" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=GET|:scheme=https" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=GET|:path=/" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":scheme=https|:path=/" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=|:scheme=https|:path=/" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=G T|:scheme=https|:path=/" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=GET|:scheme=ftp|:path=/" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=GET|:scheme=HTTP|:path=/" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=GET|:scheme=https|:path=" },
	{ H2_BLOCK_REQUEST, -EBADMSG, ":method=GET|:scheme=https|:path=/\r" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE ":method=GET" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE ":authority=a|:authority=b" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "x=y|:authority=late" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE ":status=200" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE ":protocol=websocket" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE ":=x" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "X=y" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "x y=z" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "x:y=z" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "=z" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "\xc3\xa4=z" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "x=a\nb" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "x=a\rb" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "x=\x01" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "x= y" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "content-length=5|content-length=6" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "content-length=-1" },
	{ H2_BLOCK_REQUEST, -EBADMSG, BASE "content-length=99999999999999999999" },
	{ H2_BLOCK_REQUEST, -EPERM, BASE "connection=close" },
	{ H2_BLOCK_REQUEST, -EPERM, BASE "keep-alive=1" },
	{ H2_BLOCK_REQUEST, -EPERM, BASE "proxy-connection=x" },
	{ H2_BLOCK_REQUEST, -EPERM, BASE "transfer-encoding=chunked" },
	{ H2_BLOCK_REQUEST, -EPERM, BASE "upgrade=websocket" },
	{ H2_BLOCK_REQUEST, -EPERM, BASE "te=gzip" },
	{ H2_BLOCK_REQUEST, -EPERM, BASE "te=trailers, gzip" },
	{ H2_BLOCK_REQUEST, 0, BASE "a=1|b=2|c=3|d=4" },
	{ H2_BLOCK_REQUEST, -E2BIG, BASE "a=1|b=2|c=3|d=4|e=5" },
	{ H2_BLOCK_RESPONSE, 0, ":status=200|x=y" },
	{ H2_BLOCK_RESPONSE, 0, ":status=999" },
	{ H2_BLOCK_RESPONSE, 0, ":status=100" },
	{ H2_BLOCK_RESPONSE, -EBADMSG, ":status=099" },
	{ H2_BLOCK_RESPONSE, -EBADMSG, ":status=20" },
	{ H2_BLOCK_RESPONSE, -EBADMSG, ":status=2000" },
	{ H2_BLOCK_RESPONSE, -EBADMSG, ":status=2x0" },
	{ H2_BLOCK_RESPONSE, -EBADMSG, "x=y" },
	{ H2_BLOCK_RESPONSE, -EBADMSG, ":status=200|:path=/" },
	{ H2_BLOCK_RESPONSE, -EPERM, ":status=200|connection=close" },
	{ H2_BLOCK_TRAILERS, 0, "x=y|z=" },
	{ H2_BLOCK_TRAILERS, 0, "" },
	{ H2_BLOCK_TRAILERS, -EBADMSG, ":status=200" },
	{ H2_BLOCK_TRAILERS, -EBADMSG, ":path=/" },
	{ H2_BLOCK_TRAILERS, -EBADMSG, "X=y" },
};

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct h2_head head;
		int r = block(cases[i].kind, cases[i].text, &head);
		if (r != cases[i].result)
			fail_msg("%s: %d, not %d", cases[i].text, r, cases[i].result);
	}
}

static void test_head(void **state)
{
	(void)state;
	struct h2_head head;
	assert_int_equal(block(H2_BLOCK_REQUEST, BASE ":authority=|x=y", &head), 0);
	assert_true(span_eq_str(head.method, "GET") && span_eq_str(head.path, "/"));
	assert_true(head.authority.ptr && head.authority.len == 0);
	assert_int_equal(head.field_count, 1);
	assert_true(span_eq_str(head.fields[0].value, "y"));
	assert_int_equal(block(H2_BLOCK_REQUEST, BASE, &head), 0);
	assert_null(head.authority.ptr);
	assert_int_equal(block(H2_BLOCK_RESPONSE, ":status=418", &head), 0);
	assert_int_equal(head.status, 418);
	assert_int_equal(block(H2_BLOCK_REQUEST, BASE "a=1|b=2|c=3|d=4|e=5", &head), -E2BIG);
	assert_int_equal(head.field_count, 4);
}

/* One byte at the limit of a field, and of the whole. */
static void test_limits(void **state)
{
	(void)state;
	struct h2_head head;
	char text[600];
	for (int len = 98; len <= 100; len++) {
		(void)snprintf(text, sizeof(text), BASE "x=%0*d", len, 7);
		assert_int_equal(block(H2_BLOCK_REQUEST, text, &head), len <= 99 ? 0 : -E2BIG);
	}
	/* :method GET, :scheme https, :path /: 10 + 12 + 6 + 96, and 3 fields of 33 + 59. */
	for (int len = 57; len <= 61; len++) {
		(void)snprintf(text, sizeof(text), BASE "x=%0*d|y=%0*d|z=%0*d", 59, 1, 59, 2, len,
			       3);
		int sum = 124 + 2 * 92 + 33 + len;
		assert_int_equal(block(H2_BLOCK_REQUEST, text, &head), sum <= 400 ? 0 : -E2BIG);
	}
}

static void test_out_of_memory(void **state)
{
	(void)state;
	struct arena arena;
	struct h2_block b;
	struct h2_head head;
	arena_init(&arena, 64, NULL);
	h2_block_begin(&b, H2_BLOCK_TRAILERS, &limits, &arena);
	h2_block_add(&b, SPAN_LIT("x"), SPAN_LIT("y"));
	assert_int_equal(h2_block_end(&b, &head), -ENOMEM);
	arena_done(&arena);
	/* What nobody wants takes none. */
	h2_block_begin(&b, H2_BLOCK_IGNORED, &limits, &arena);
	h2_block_add(&b, SPAN_LIT("X"), SPAN_LIT("y"));
	assert_int_equal(b.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
