/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error pages: for every reason a whole answer, HTML or JSON as asked for, with its word and the
 * request's id and nothing that the visitor sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <systemd/sd-json.h>

#include "daemon/edge/error_page.h"
#include "selftests/lib/fake_stream.h"
#include "util/macro.h"

#define RAY "0123456789abcdef-tst"

/* What the handler is to answer. */
struct wish {
	enum proxy_reason reason;
	unsigned int status;
	struct span ray;
};

static void on_request(struct http_exchange *x, void *user)
{
	const struct wish *w = user;
	error_page_respond(x, w->reason, w->status, w->ray);
	http_exchange_free(x);
}

static const struct http_handler handler = { .on_request = on_request };

/* One request on a connection of its own; the whole answer is left in out. */
static void ask(struct wish *wish, const char *request, char *out, size_t cap)
{
	struct loop *loop;
	struct slab *slab;
	struct stream *ours, *peer;
	struct http_conn *conn;
	size_t len;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(slab_new(1024 * 1024, &slab), 0);
	assert_int_equal(fake_pair_new(loop, slab, 65536, &ours, &peer), 0);
	const struct http_conn_params params = { .loop = loop,
						 .slab = slab,
						 .limits = &http_limits_default,
						 .handler = &handler,
						 .user = wish };
	assert_int_equal(http_conn_new(ours, &params, &conn), 0);
	fake_stream_put(peer, request, strlen(request));
	for (int turn = 0; turn < 20; turn++)
		assert_int_equal(loop_turn(loop, 0), 0);
	(void)fake_stream_take(peer, out, cap - 1, &len);
	out[len] = '\0';
	stream_close(peer);
	for (int turn = 0; turn < 20; turn++)
		assert_int_equal(loop_turn(loop, 0), 0);
	loop_free(loop);
	slab_free(slab);
}

#define GET(accept) "GET /<script> HTTP/1.1\r\nHost: secret.test\r\nAccept: " accept "\r\n\r\n"

/* The body, which is as long as the head says. */
static const char *body_of(const char *answer)
{
	const char *body = strstr(answer, "\r\n\r\n");
	const char *length = strstr(answer, "Content-Length: ");
	assert_non_null(body);
	assert_non_null(length);
	body += 4;
	assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body));
	return body;
}

static void test_every_reason(void **state)
{
	(void)state;
	char out[4096], text[128];
	for (unsigned int i = 1; i < PROXY_REASON_MAX_; i++) {
		const struct proxy_reason_info *info = proxy_reason_info((enum proxy_reason)i);
		struct wish wish = { .reason = (enum proxy_reason)i, .ray = SPAN_LIT(RAY) };
		ask(&wish, GET("text/html, */*"), out, sizeof(out));
		(void)snprintf(text, sizeof(text), "HTTP/1.1 %u ", info->status);
		assert_int_equal(strncmp(out, text, strlen(text)), 0);
		(void)snprintf(text, sizeof(text), "\r\nAdit-Error: %s\r\n", info->name);
		assert_non_null(strstr(out, text));
		assert_non_null(strstr(out, "\r\nCache-Control: no-store\r\n"));
		assert_non_null(strstr(out, "\r\nContent-Type: text/html; charset=utf-8\r\n"));
		assert_int_equal(strstr(out, "\r\nRetry-After: ") != NULL, info->retry_after > 0);
		const char *body = body_of(out);
		assert_non_null(strstr(body, RAY));
		assert_non_null(strstr(body, "</html>\n"));
		assert_null(strstr(body, "script"));
		assert_null(strstr(body, "secret.test"));

		ask(&wish, GET("application/json"), out, sizeof(out));
		assert_non_null(strstr(out, "\r\nContent-Type: application/json\r\n"));
		sd_json_variant *v = NULL;
		assert_int_equal(sd_json_parse(body_of(out), 0, &v, NULL, NULL), 0);
		assert_string_equal(sd_json_variant_string(sd_json_variant_by_key(v, "error")),
				    info->name);
		assert_string_equal(sd_json_variant_string(sd_json_variant_by_key(v, "request")),
				    RAY);
		assert_int_equal(sd_json_variant_unsigned(sd_json_variant_by_key(v, "status")),
				 info->status);
		sd_json_variant_unref(v);
	}
}

static const struct {
	const char *request;
	bool is_json;
} accepts[] = {
	{ "GET / HTTP/1.1\r\nHost: h\r\n\r\n", false },
	{ GET("*/*"), false },
	{ GET("application/json"), true },
	{ GET("application/json;q=0.9, text/html"), true },
	{ GET("text/html, application/json"), false },
	{ GET("image/png"), false },
};

static void test_accept(void **state)
{
	(void)state;
	char out[4096];
	for (size_t i = 0; i < ARRAY_SIZE(accepts); i++) {
		struct wish wish = { .reason = PROXY_REASON_BAD_REQUEST };
		ask(&wish, accepts[i].request, out, sizeof(out));
		assert_int_equal(strstr(out, "Content-Type: application/json") != NULL,
				 accepts[i].is_json);
		assert_non_null(strstr(body_of(out),
				       accepts[i].is_json ? "\"request\":\"-\"" : "request -"));
	}
}

static void test_head_and_status(void **state)
{
	(void)state;
	char out[4096];
	struct wish wish = { .reason = PROXY_REASON_NO_SUCH_HOST, .status = 503 };
	ask(&wish, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", out, sizeof(out));
	assert_int_equal(strncmp(out, "HTTP/1.1 503 ", 13), 0);
	assert_string_equal(strstr(out, "\r\n\r\n"), "\r\n\r\n"); /* nothing behind the head */
	assert_non_null(strstr(out, "Content-Length: "));
	assert_null(strstr(out, "Content-Length: 0\r"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_reason),
		cmocka_unit_test(test_accept),
		cmocka_unit_test(test_head_and_status),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
