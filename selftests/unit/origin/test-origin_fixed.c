/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services without a connection: statuses and the hello pages.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "daemon/base/loop.h"
#include "daemon/origin/origin.h"

static struct loop *loop;
static struct slab *slab;
static struct origin_worker *ow;
static struct conf_rule rule = { .name = "r", .service = { .text = "hello_world" } };
static struct origin_call *call;
static struct http_head answer;
static char type[64];
static char body[64 * 1024];

static int setup(void **state)
{
	(void)state;
	answer = (struct http_head){};
	type[0] = 0;
	call = NULL;
	if (loop_new(&loop) < 0 || slab_new(1024 * 1024, &slab) < 0)
		return -1;
	const struct origin_worker_params params = { .loop = loop, .slab = slab, .workers = 1 };
	return origin_worker_new(&params, &ow);
}

static int teardown(void **state)
{
	(void)state;
	origin_call_end(call);
	origin_worker_free(ow);
	assert_int_equal(loop_turn(loop, 0), 0);
	loop_free(loop);
	slab_free(slab);
	return 0;
}

static void on_response(struct origin_call *c, const struct http_head *head, void *user)
{
	(void)user;
	assert_ptr_equal(c, call);
	answer = *head;
	const struct http_field *f = http_head_find(head, "content-type");
	if (f) {
		memcpy(type, f->value.ptr, f->value.len);
		type[f->value.len] = 0;
	}
}

static void on_failure(struct origin_call *c, enum origin_failure failure, int error,
		       const char *detail, void *user)
{
	(void)c;
	(void)failure;
	(void)error;
	(void)user;
	fail_msg("%s", detail);
}

static const struct origin_call_events events = { .on_response = on_response,
						  .on_failure = on_failure };

static void start(const struct http_head *request)
{
	const struct origin_call_params params = { .rule = &rule,
						   .request = request,
						   .events = &events };
	assert_int_equal(origin_call_start(ow, &params, &call), 0);
}

static void fetch(const struct http_head *request)
{
	struct bufq q;
	bufq_init(&q, slab);
	start(request);
	assert_int_equal(stream_read(origin_call_body(call), &q, 100), -EAGAIN);
	assert_int_equal(answer.status, 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_not_equal(answer.status, 0);
	ssize_t n;
	while ((n = stream_read(origin_call_body(call), &q, 1000)) > 0)
		;
	assert_int_equal(n, 0);
	size_t len = bufq_copy_out(&q, body, sizeof(body) - 1);
	body[len] = 0;
	if (answer.body == HTTP_BODY_LENGTH)
		assert_int_equal(len, answer.content_length);
	else
		assert_int_equal(len, 0);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("x")), 0);
	assert_int_equal(stream_write(origin_call_body(call), &q, 1), -EPIPE);
	bufq_clear(&q);
}

static void test_status(void **state)
{
	(void)state;
	rule.service.kind = SERVICE_KIND_STATUS;
	rule.service.status = 418;
	const struct http_head request = { .method = SPAN_LIT("POST"), .target = SPAN_LIT("/") };
	fetch(&request);
	assert_int_equal(answer.status, 418);
	assert_int_equal(answer.body, HTTP_BODY_NONE);
	assert_int_equal(answer.field_count, 0);
}

static void test_hello(void **state)
{
	(void)state;
	rule.service.kind = SERVICE_KIND_HELLO;
	struct http_field fields[] = { { SPAN_LIT("X-Evil"), SPAN_LIT("<script>&\"'") } };
	const struct http_head request = { .method = SPAN_LIT("GET"),
					   .target = SPAN_LIT("/a?<b>"),
					   .authority = SPAN_LIT("h.example"),
					   .fields = fields,
					   .field_count = 1 };
	fetch(&request);
	assert_int_equal(answer.status, 200);
	assert_string_equal(type, "text/html; charset=utf-8");
	assert_non_null(strstr(body, "<td>h.example</td>"));
	assert_non_null(strstr(body, "<td>/a?&lt;b&gt;</td>"));
	assert_non_null(strstr(body, "<td>&lt;script&gt;&amp;&#34;&#39;</td>"));
	assert_null(strstr(body, "<script>"));
}

static void test_head(void **state)
{
	(void)state;
	rule.service.kind = SERVICE_KIND_HELLO;
	const struct http_head request = { .method = SPAN_LIT("HEAD"), .target = SPAN_LIT("/") };
	fetch(&request);
	assert_int_equal(answer.body, HTTP_BODY_NONE);
	assert_true(answer.has_length);
	assert_true(answer.content_length > 100);
}

static void test_health(void **state)
{
	(void)state;
	rule.service.kind = SERVICE_KIND_HELLO;
	const struct http_head request = { .method = SPAN_LIT("GET"),
					   .target = SPAN_LIT("/_health?x") };
	fetch(&request);
	assert_string_equal(body, "ok");
}

static void test_uptime(void **state)
{
	(void)state;
	rule.service.kind = SERVICE_KIND_HELLO;
	const struct http_head request = { .method = SPAN_LIT("GET"),
					   .target = SPAN_LIT("/uptime") };
	fetch(&request);
	assert_string_equal(type, "application/json");
	assert_int_equal(strncmp(body, "{\"startTime\":\"20", 16), 0);
	assert_non_null(strstr(body, "Z\",\"uptime\":\""));
	assert_non_null(strstr(body, "ms\"}"));
}

/* Ended before the answer is told. */
static void test_ended_early(void **state)
{
	(void)state;
	rule.service.kind = SERVICE_KIND_HELLO;
	const struct http_head request = { .method = SPAN_LIT("GET"), .target = SPAN_LIT("/") };
	start(&request);
	origin_call_end(call);
	call = NULL;
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(answer.status, 0);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_status), TEST(test_hello),  TEST(test_head),
		TEST(test_health), TEST(test_uptime), TEST(test_ended_early),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
