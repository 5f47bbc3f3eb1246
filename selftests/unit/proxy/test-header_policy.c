/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The four crossings of the header policy: what each removes, sets and lets pass, line by line. A
 * case is a head as text before and after.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/conf/rule.h"
#include "daemon/proxy/header_policy.h"
#include "util/macro.h"

enum { FIELDS_MAX = 32 };

#define CONNECTOR "0a0b0c0d-0000-4000-8000-000000000001"

struct fixture {
	struct arena arena;
	struct http_field fields[FIELDS_MAX];
	struct http_head in;
	struct http_head out;
	char text[2048];
};

/* "Name: value\n…" into fx->in. */
static void read_head(struct fixture *fx, const char *text)
{
	*fx = (struct fixture){ .in = { .authority = SPAN_LIT("blog.test:80"), .status = 200 } };
	arena_init(&fx->arena, 8192, NULL);
	for (; *text; text += strcspn(text, "\n") + 1) {
		size_t name = strcspn(text, ":");
		size_t line = strcspn(text, "\n");
		assert_in_range(fx->in.field_count, 0, FIELDS_MAX - 1);
		fx->fields[fx->in.field_count++] = (struct http_field){
			.name = span_of(text, name),
			.value = span_of(text + name + 2, line - name - 2),
		};
	}
	fx->in.fields = fx->fields;
	fx->out = fx->in;
}

static const char *print_head(struct fixture *fx)
{
	size_t n = 0;
	fx->text[0] = '\0';
	for (unsigned int i = 0; i < fx->out.field_count; i++) {
		const struct http_field *f = &fx->out.fields[i];
		n += (size_t)snprintf(fx->text + n, sizeof(fx->text) - n, "%.*s: %.*s\n",
				      (int)f->name.len, (const char *)f->name.ptr,
				      (int)f->value.len, (const char *)f->value.ptr);
		assert_in_range(n, 0, sizeof(fx->text) - 1);
	}
	return fx->text;
}

/* ---- visitor to tunnel --------------------------------------------------------------------- */

#define SET_BY_EDGE                      \
	"Cf-Connecting-IP: 192.0.2.7\n"  \
	"Cf-Ray: 00000000000000aa-tst\n" \
	"Cf-Visitor: {\"scheme\":\"http\"}\n"

static const struct {
	const char *what;
	bool is_trusted;
	const char *before;
	const char *after;
} visitor_cases[] = {
	{ "a plain request", false, "Accept: */*\nCookie: a=b\n",
	  "Accept: */*\nCookie: a=b\n"
	  "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: blog.test:80\n" SET_BY_EDGE },
	{ "hop-by-hop, named in Connection too", false,
	  "Connection: close, X-Secret\nX-Secret: 1\nKeep-Alive: timeout=5\nTE: gzip\n"
	  "Upgrade: h2c\nProxy-Connection: close\nTrailer: X\nX-Kept: 1\n",
	  "X-Kept: 1\n"
	  "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: blog.test:80\n" SET_BY_EDGE },
	{ "TE: trailers survives, even when Connection names it", false,
	  "Connection: TE\nTE: trailers\n",
	  "TE: trailers\n"
	  "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: blog.test:80\n" SET_BY_EDGE },
	{ "what a visitor could lie with", false,
	  "X-Forwarded-For: 10.0.0.1\nx-forwarded-proto: https\nX-Forwarded-Anything: 1\n"
	  "Forwarded: for=1\nX-Real-IP: 1\nTrue-Client-IP: 1\nCF-Connecting-IP: 1\ncf-ray: 1\n"
	  "Cf-Access-Jwt-Assertion: x\nX-Original-Host: h\nExpect: 100-continue\n",
	  "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: blog.test:80\n" SET_BY_EDGE },
	{ "a trusted proxy is believed, and appended to", true,
	  "X-Forwarded-For: 203.0.113.5\nX-Forwarded-Proto: https\nX-Forwarded-Host: h.test\n"
	  "Forwarded: for=203.0.113.5\nX-Real-IP: 203.0.113.5\nCf-Ray: lie\n",
	  "X-Forwarded-Proto: https\nX-Forwarded-Host: h.test\n"
	  "Forwarded: for=203.0.113.5\nX-Real-IP: 203.0.113.5\n"
	  "X-Forwarded-For: 203.0.113.5, 192.0.2.7\n" SET_BY_EDGE },
	{ "every field of a trusted proxy counts, not the first alone", true,
	  "X-Forwarded-For: 10.6.6.6\nX-Forwarded-For: \nx-forwarded-for: 203.0.113.5\n",
	  "X-Forwarded-For: 10.6.6.6, 203.0.113.5, 192.0.2.7\n"
	  "X-Forwarded-Proto: http\nX-Forwarded-Host: blog.test:80\n" SET_BY_EDGE },
	{ "names that only look alike stay", false, "Cfx: 1\nX-Forwarded: 1\nTrue-Client-IPx: 1\n",
	  "Cfx: 1\nX-Forwarded: 1\nTrue-Client-IPx: 1\n"
	  "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: blog.test:80\n" SET_BY_EDGE },
};

static void test_visitor_to_tunnel(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(visitor_cases); i++) {
		struct fixture fx;
		struct header_visitor v = {
			.address = SPAN_LIT("192.0.2.7"),
			.is_trusted_proxy = visitor_cases[i].is_trusted,
			.ray = SPAN_LIT("00000000000000aa-tst"),
		};
		read_head(&fx, visitor_cases[i].before);
		assert_int_equal(header_policy_visitor_to_tunnel(&fx.in, &v, &fx.arena, &fx.out),
				 0);
		if (strcmp(print_head(&fx), visitor_cases[i].after) != 0)
			fail_msg("%s:\n%s", visitor_cases[i].what, fx.text);
		arena_done(&fx.arena);
	}
}

static void test_visitor_with_tls(void **state)
{
	(void)state;
	struct fixture fx;
	struct header_visitor v = { .address = SPAN_LIT("2001:db8::1"), .is_tls = true };
	read_head(&fx, "");
	assert_int_equal(header_policy_visitor_to_tunnel(&fx.in, &v, &fx.arena, &fx.out), 0);
	assert_non_null(strstr(print_head(&fx), "X-Forwarded-Proto: https\n"));
	assert_non_null(strstr(fx.text, "Cf-Visitor: {\"scheme\":\"https\"}\n"));
	arena_done(&fx.arena);
}

/* ---- tunnel to origin ---------------------------------------------------------------------- */

static void test_tunnel_to_origin(void **state)
{
	(void)state;
	struct fixture fx;
	struct conf_rule rule = { .service.kind = SERVICE_KIND_HTTP };
	read_head(&fx, "Host: lie\nConnection: X-Hop\nX-Hop: 1\nX-Original-Host: 1\n"
		       "Cf-Warp-Tag-Id: lie\nCf-Warp-Tag-Other: 1\nCf-Trace-Id: 1\n"
		       "Cf-Cloudflared-Proxy-Connection-Upgrade: websocket\n"
		       "Cf-Connecting-IP: 192.0.2.7\nCf-Ray: 1\nX-Forwarded-For: 192.0.2.7\n"
		       "X-Forwarded-Host: blog.test\nTE: trailers\n");
	assert_int_equal(header_policy_tunnel_to_origin(&fx.in, &rule, SPAN_LIT(CONNECTOR),
							&fx.arena, &fx.out),
			 0);
	assert_string_equal(print_head(&fx),
			    "Cf-Connecting-IP: 192.0.2.7\nCf-Ray: 1\n"
			    "X-Forwarded-For: 192.0.2.7\nX-Forwarded-Host: blog.test\n"
			    "TE: trailers\nCf-Warp-Tag-Id: " CONNECTOR "\n");
	assert_true(span_eq_str(fx.out.authority, "blog.test:80"));
	arena_done(&fx.arena);
}

static void test_tunnel_to_origin_by_rule(void **state)
{
	(void)state;
	static const struct conf_header set[] = { { "X-Set", "new" } };
	static const struct conf_header added[] = { { "X-Kept", "two" } };
	static const char *const removed[] = { "Cookie" };
	struct fixture fx;
	struct conf_rule rule = {
		.service.kind = SERVICE_KIND_HTTP,
		.origin = { .http_host_header = "inner.test",
			    .set_headers = set,
			    .set_header_count = 1,
			    .add_headers = added,
			    .add_header_count = 1,
			    .remove_headers = removed,
			    .remove_header_count = 1 },
	};
	const char before[] = "x-set: old\nX-Set: older\nX-Kept: one\ncookie: c\n"
			      "X-Forwarded-Host: lie\n";
	read_head(&fx, before);
	assert_int_equal(header_policy_tunnel_to_origin(&fx.in, &rule, SPAN_LIT(CONNECTOR),
							&fx.arena, &fx.out),
			 0);
	assert_string_equal(print_head(&fx), "X-Kept: one\nX-Set: new\nX-Kept: two\n"
					     "X-Forwarded-Host: blog.test:80\n"
					     "Cf-Warp-Tag-Id: " CONNECTOR "\n");
	assert_true(span_eq_str(fx.out.authority, "inner.test"));
	arena_done(&fx.arena);

	/* A unix socket keeps the visitor's Host. */
	rule.service.kind = SERVICE_KIND_UNIX;
	read_head(&fx, "X-Forwarded-Host: kept\n");
	assert_int_equal(header_policy_tunnel_to_origin(&fx.in, &rule, SPAN_LIT(CONNECTOR),
							&fx.arena, &fx.out),
			 0);
	assert_true(span_eq_str(fx.out.authority, "blog.test:80"));
	assert_non_null(strstr(print_head(&fx), "X-Forwarded-Host: kept\n"));
	arena_done(&fx.arena);
}

/* The fields that ask for a WebSocket are ours, its key and the rest the visitor's. */
static void test_tunnel_to_origin_websocket(void **state)
{
	(void)state;
	struct fixture fx;
	struct conf_rule rule = { .service.kind = SERVICE_KIND_HTTP };
	read_head(&fx, "Connection: Upgrade\nUpgrade: other\nsec-websocket-version: 8\n"
		       "Sec-WebSocket-Key: k\nSec-WebSocket-Protocol: p\nOrigin: o\n");
	fx.in.body = HTTP_BODY_UPGRADE;
	assert_int_equal(header_policy_tunnel_to_origin(&fx.in, &rule, SPAN_LIT(CONNECTOR),
							&fx.arena, &fx.out),
			 0);
	assert_string_equal(print_head(&fx),
			    "Sec-WebSocket-Key: k\nSec-WebSocket-Protocol: p\nOrigin: o\n"
			    "Cf-Warp-Tag-Id: " CONNECTOR "\nUpgrade: websocket\n"
			    "Sec-WebSocket-Version: 13\n");
	arena_done(&fx.arena);
}

/* ---- back ---------------------------------------------------------------------------------- */

static int (*const back[])(const struct http_head *in, struct arena *arena,
			   struct http_head *ret) = { header_policy_origin_to_tunnel,
						      header_policy_tunnel_to_visitor };

static void test_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(back); i++) {
		struct fixture fx;
		read_head(&fx, "Server: x\nConnection: keep-alive, X-Hop\nX-Hop: 1\n"
			       "Keep-Alive: timeout=1\nProxy-Authenticate: Basic\nUpgrade: h2c\n"
			       "Trailer: X\nSet-Cookie: a\nSet-Cookie: b\n"
			       "Cf-Int-Tracing: 1\ncf-cloudflared-response-meta: {}\n"
			       "Cf-Proxy-X: 1\nCf-Cache-Status: HIT\n");
		assert_int_equal(back[i](&fx.in, &fx.arena, &fx.out), 0);
		assert_string_equal(print_head(&fx), "Server: x\n"
						     "Set-Cookie: a\nSet-Cookie: b\n"
						     "Cf-Cache-Status: HIT\n");
		arena_done(&fx.arena);

		/* The upgrade's own fields stay on 101, and nothing else that Connection names. */
		read_head(&fx, "Connection: Upgrade, X-Hop\nUpgrade: websocket\nX-Hop: 1\n"
			       "Sec-WebSocket-Accept: x\n");
		fx.in.status = 101;
		assert_int_equal(back[i](&fx.in, &fx.arena, &fx.out), 0);
		assert_string_equal(print_head(&fx),
				    "Connection: Upgrade, X-Hop\nUpgrade: websocket\n"
				    "Sec-WebSocket-Accept: x\n");
		arena_done(&fx.arena);
	}
}

/* ---- no memory ----------------------------------------------------------------------------- */

static void test_no_memory(void **state)
{
	(void)state;
	struct conf_rule rule = { .service.kind = SERVICE_KIND_HTTP };
	struct header_visitor v = { .address = SPAN_LIT("192.0.2.7"), .is_trusted_proxy = true };
	bool has_passed = false;
	for (size_t limit = 0; limit < 2048 && !has_passed; limit += 16) {
		struct fixture fx;
		read_head(&fx, "X-Forwarded-For: 203.0.113.5\nA: 1\n");
		arena_init(&fx.arena, limit, NULL);
		int r = header_policy_visitor_to_tunnel(&fx.in, &v, &fx.arena, &fx.out);
		assert_true(r == 0 || r == -ENOMEM);
		has_passed = r == 0;
		arena_done(&fx.arena);
	}
	assert_true(has_passed);
	struct fixture fx;
	read_head(&fx, "A: 1\n");
	arena_init(&fx.arena, 16, NULL);
	assert_int_equal(header_policy_tunnel_to_origin(&fx.in, &rule, SPAN_LIT(CONNECTOR),
							&fx.arena, &fx.out),
			 -ENOMEM);
	assert_int_equal(header_policy_origin_to_tunnel(&fx.in, &fx.arena, &fx.out), -ENOMEM);
	arena_done(&fx.arena);
}

/* ---- trailers ------------------------------------------------------------------------------ */

static void test_trailers(void **state)
{
	(void)state;
	static const struct {
		const char *before;
		enum header_crossing crossing;
		const char *after;
		int left_out;
	} rows[] = {
		{ "X-A: 1\ngrpc-status: 0\nx-b: 2\n", HEADER_CROSSING_VISITOR,
		  "X-A: 1\ngrpc-status: 0\nx-b: 2\n", 0 },
		{ "Connection: a\nTransfer-Encoding: chunked\nContent-Length: 5\nTE: trailers\nHost: h\n"
		  "Trailer: x\nAuthorization: b\ncookie: c\nset-cookie: d\nif-match: e\nX-A: 1\n",
		  HEADER_CROSSING_RESPONSE, "X-A: 1\n", 10 },
		{ "X-Forwarded-For: 1\nCf-Ray: 2\nX-Real-IP: 3\nX-A: 1\n", HEADER_CROSSING_VISITOR,
		  "X-A: 1\n", 3 },
		{ "Cf-Warp-Tag-Id: 1\nX-Original-Host: 2\nCf-Ray: 3\n", HEADER_CROSSING_REQUEST,
		  "Cf-Ray: 3\n", 2 },
		{ "Cf-Cloudflared-X: 1\nCf-Int-Y: 2\nCf-Ray: 3\n", HEADER_CROSSING_RESPONSE,
		  "Cf-Ray: 3\n", 2 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture fx;
		struct http_trailers t;
		read_head(&fx, rows[i].before);
		const struct http_trailers in = { fx.in.fields, fx.in.field_count };
		assert_int_equal(header_policy_trailers(&in, rows[i].crossing, &fx.arena, &t),
				 rows[i].left_out);
		fx.out = (struct http_head){ .fields = (struct http_field *)(uintptr_t)t.fields,
					     .field_count = t.count };
		assert_string_equal(print_head(&fx), rows[i].after);
		arena_done(&fx.arena);
	}
}

/* The announcement passes where trailers do. */
static void test_trailer_field(void **state)
{
	(void)state;
	for (int is_framed = 0; is_framed <= 1; is_framed++) {
		struct fixture fx;
		read_head(&fx, "Trailer: X-A\n");
		fx.in.is_framed = is_framed;
		assert_int_equal(header_policy_origin_to_tunnel(&fx.in, &fx.arena, &fx.out), 0);
		assert_string_equal(print_head(&fx), is_framed ? "Trailer: X-A\n" : "");
		arena_done(&fx.arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trailers),
		cmocka_unit_test(test_trailer_field),
		cmocka_unit_test(test_visitor_to_tunnel),
		cmocka_unit_test(test_visitor_with_tls),
		cmocka_unit_test(test_tunnel_to_origin),
		cmocka_unit_test(test_tunnel_to_origin_by_rule),
		cmocka_unit_test(test_tunnel_to_origin_websocket),
		cmocka_unit_test(test_back),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
