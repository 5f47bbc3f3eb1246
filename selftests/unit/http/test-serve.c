/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes by path: what is found, and how everything else is refused.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "daemon/http/serve.h"
#include "selftests/lib/fake_stream.h"
#include "util/macro.h"

static void get_ready(struct http_exchange *x, void *user)
{
	assert_int_equal(http_respond_text(x, 200, "application/json", span_str(user)), 0);
	http_exchange_free(x);
}

static const struct serve_route routes[] = { { "/ready", get_ready }, { "/metrics", get_ready } };

/* clang-format off */
static const struct {
	const char *request;
	const char *answer;
} rows[] = {
	{ "GET /ready HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" },
	{ "GET /metrics?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" },
	{ "HEAD /ready HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n" },
	{ "GET /ready/ HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n"
	  "Not Found" },
	{ "POST /ready HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
	  "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n\r\n" },
	{ "GET nonsense HTTP/1.1\r\nHost: x\r\n\r\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n"
	  "Connection: close\r\n\r\nBad Request" },
};
/* clang-format on */

static void test_routes(void **state)
{
	(void)state;
	char empty_object[] = "{}";
	struct serve serve = { .routes = routes,
			       .route_count = ARRAY_SIZE(routes),
			       .user = empty_object };
	struct loop *loop;
	struct slab *slab;
	struct stream *ours, *peer;
	struct http_conn *conn;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(slab_new(1024 * 1024, &slab), 0);
	assert_int_equal(fake_pair_new(loop, slab, 65536, &ours, &peer), 0);
	const struct http_conn_params params = { .loop = loop,
						 .slab = slab,
						 .limits = &http_limits_default,
						 .handler = &serve_handler,
						 .user = &serve };
	assert_int_equal(http_conn_new(ours, &params, &conn), 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		fake_stream_put(peer, rows[i].request, strlen(rows[i].request));
		for (int turn = 0; turn < 20; turn++)
			assert_int_equal(loop_turn(loop, 0), 0);
		char out[1024];
		size_t len;
		(void)fake_stream_take(peer, out, sizeof(out) - 1, &len);
		out[len] = 0;
		assert_string_equal(out, rows[i].answer);
	}
	stream_close(peer);
	for (int turn = 0; turn < 20; turn++)
		assert_int_equal(loop_turn(loop, 0), 0);
	loop_free(loop);
	slab_free(slab);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_routes) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
