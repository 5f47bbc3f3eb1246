/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to HTTP origins over real sockets on loopback. The test is the origin: it turns the loop
 * and speaks on the accepted sockets in between, so everything is in one thread and in order.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "daemon/base/loop.h"
#include "daemon/net/resolve.h"
#include "daemon/origin/origin.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum { MAX = 256 * 1024 };

static struct loop *loop;
static struct slab *slab;
static struct resolver *resolver;
static struct origin_worker *ow;
static struct conf_rule rule;
static int listener;

struct visit {
	struct origin_call *call;
	bool is_told;
	unsigned int status; /* 0: failed */
	enum origin_failure failure;
	int error;
	char body[MAX];
	size_t len;
	int end; /* of the body: what the last read said */
};
static struct visit visit, other;

/* ---- set up ---- */

static void set_rule(void)
{
	rule = (struct conf_rule){
		.name = "test",
		.service = { .kind = SERVICE_KIND_HTTP, .scheme = "http", .text = "http://test" },
		.origin = { .connect_timeout = 2 * NSEC_PER_SEC,
			    .keep_alive_timeout = 60 * NSEC_PER_SEC,
			    .keep_alive_connections = 100 },
	};
}

static int listen_tcp(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(listener, 64) < 0 ||
	    getsockname(listener, (struct sockaddr *)&sa, &len) < 0)
		return -1;
	rule.service.port = ntohs(sa.sin_port);
	rule.service.host = "127.0.0.1";
	rule.service.ip = (struct ip_addr){ .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } };
	return 0;
}

static int setup(void **state)
{
	(void)state;
	set_rule();
	visit = other = (struct visit){};
	if (loop_new(&loop) < 0 || slab_new(64 * 1024 * 1024, &slab) < 0 ||
	    resolver_new(loop, &resolver) < 0)
		return -1;
	const struct origin_worker_params params = {
		.loop = loop, .slab = slab, .resolver = resolver, .workers = 1
	};
	return origin_worker_new(&params, &ow) < 0 ? -1 : listen_tcp();
}

static void turns(void)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
}

static int teardown(void **state)
{
	(void)state;
	origin_call_end(visit.call);
	origin_call_end(other.call);
	origin_worker_free(ow);
	turns();
	resolver_free(resolver);
	turns();
	(void)close(listener);
	loop_free(loop);
	slab_free(slab);
	return 0;
}

/* ---- the caller ---- */

static void on_response(struct origin_call *call, const struct http_head *head, void *user)
{
	struct visit *v = user;
	assert_ptr_equal(call, v->call);
	assert_false(v->is_told);
	v->is_told = true;
	v->status = head->status;
}

static void on_failure(struct origin_call *call, enum origin_failure failure, int error,
		       const char *detail, void *user)
{
	struct visit *v = user;
	assert_ptr_equal(call, v->call);
	assert_false(v->is_told);
	assert_true(error < 0);
	assert_non_null(detail);
	v->is_told = true;
	v->failure = failure;
	v->error = error;
}

static const struct origin_call_events events = { .on_response = on_response,
						  .on_failure = on_failure };

static const struct http_head get = {
	.method = SPAN_LIT("GET"),
	.target = SPAN_LIT("/p"),
	.authority = SPAN_LIT("pub.example"),
};

static void nothing(struct stream *s, void *user)
{
	(void)s;
	(void)user;
}

static const struct stream_user body_user = { .on_readable = nothing, .on_writable = nothing };

static int start_call(struct visit *v, const struct http_head *head)
{
	const struct origin_call_params params = {
		.rule = &rule, .request = head, .events = &events, .user = v
	};
	return origin_call_start(ow, &params, &v->call);
}

static void start(struct visit *v, const struct http_head *head)
{
	*v = (struct visit){};
	assert_int_equal(start_call(v, head), 0);
	stream_set_user(origin_call_body(v->call), &body_user, v);
	if (head->body == HTTP_BODY_NONE)
		stream_finish(origin_call_body(v->call));
	assert_false(v->is_told); /* never from inside */
}

static void end(struct visit *v)
{
	origin_call_end(TAKE_PTR(v->call));
}

static bool has_passed(nsec_t until)
{
	return nsec_clock(CLOCK_MONOTONIC) >= until;
}

static nsec_t soon(void)
{
	return nsec_clock(CLOCK_MONOTONIC) + 5 * NSEC_PER_SEC;
}

static void turn(void)
{
	assert_int_equal(loop_turn(loop, 2 * NSEC_PER_MSEC), 0);
}

static void wait_told(const struct visit *v)
{
	for (nsec_t until = soon(); !v->is_told && !has_passed(until);)
		turn();
	assert_true(v->is_told);
}

/* Reads the answer's body to its end. */
static void read_body(struct visit *v)
{
	struct bufq q;
	bufq_init(&q, slab);
	for (nsec_t until = soon(); !has_passed(until); turn()) {
		ssize_t n;
		while ((n = stream_read(origin_call_body(v->call), &q, 4096)) > 0) {
			assert_true(v->len + q.len < MAX);
			v->len += bufq_copy_out(&q, v->body + v->len, q.len);
			bufq_clear(&q);
		}
		v->end = (int)n;
		if (n != -EAGAIN)
			break;
	}
	v->body[v->len] = 0;
}

static ssize_t write_body(struct visit *v, const char *text)
{
	struct bufq q;
	bufq_init(&q, slab);
	assert_int_equal(bufq_append_copy(&q, span_str(text)), 0);
	ssize_t n = stream_write(origin_call_body(v->call), &q, q.len);
	bufq_clear(&q);
	return n;
}

static void expect_failure(struct visit *v, enum origin_failure failure)
{
	wait_told(v);
	assert_int_equal(v->status, 0);
	assert_int_equal(v->failure, failure);
	assert_int_equal(origin_worker_stats(ow)->failed[failure], 1);
	end(v);
}

/* ---- the origin ---- */

static int accept_one(void)
{
	for (nsec_t until = soon(); !has_passed(until); turn()) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			return fd;
	}
	fail_msg("nobody connects");
	return -1;
}

static bool has_more_connections(void)
{
	turns();
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

/* What comes on the socket up to and with the given text. */
static void expect_request(int fd, const char *last)
{
	char text[8192];
	size_t len = 0;
	for (nsec_t until = soon(); !has_passed(until); turn()) {
		ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
		text[len] = 0;
		if (len >= strlen(last) && strcmp(text + len - strlen(last), last) == 0)
			return;
	}
	fail_msg("got <<%s>>, not <<%s>>", text, last);
}

/* The other end has closed or reset. */
static void expect_end(int fd)
{
	for (nsec_t until = soon(); !has_passed(until); turn()) {
		char c[64];
		ssize_t n = recv(fd, c, sizeof(c), 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return;
	}
	fail_msg("still open");
}

static void answer(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void reset_conn(int fd)
{
	struct linger now = { .l_onoff = 1 };
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	(void)close(fd);
}

#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

/* One whole exchange on fd. */
static void exchange(struct visit *v, int *fd)
{
	start(v, &get);
	if (*fd < 0)
		*fd = accept_one();
	expect_request(*fd, "\r\n\r\n");
	answer(*fd, OK_HI);
	wait_told(v);
	assert_int_equal(v->status, 200);
	read_body(v);
	assert_int_equal(v->end, 0);
	assert_string_equal(v->body, "hi");
	end(v);
	turns();
}

/* ---- tests ---- */

static void test_get(void **state)
{
	(void)state;
	start(&visit, &get);
	int fd = accept_one();
	expect_request(fd, "GET /p HTTP/1.1\r\nHost: pub.example\r\n\r\n");
	answer(fd, "HTTP/1.1 404 No\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	wait_told(&visit);
	assert_int_equal(visit.status, 404);
	answer(fd, "0\r\n\r\n");
	read_body(&visit);
	assert_int_equal(visit.end, 0);
	assert_string_equal(visit.body, "abc");
	assert_int_equal(origin_worker_stats(ow)->active, 1);
	end(&visit);
	assert_int_equal(origin_worker_stats(ow)->active, 0);
	assert_int_equal(origin_worker_stats(ow)->opened, 1);
	assert_int_equal(origin_worker_stats(ow)->idle, 1);
	(void)close(fd);
}

static void test_keep_alive(void **state)
{
	(void)state;
	int fd = -1;
	for (int i = 0; i < 3; i++)
		exchange(&visit, &fd);
	assert_int_equal(origin_worker_stats(ow)->opened, 1);
	assert_int_equal(origin_worker_stats(ow)->reused, 2);
	assert_false(has_more_connections());
	(void)close(fd);
}

static void test_unix(void **state)
{
	(void)state;
	(void)close(listener);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char path[64];
	(void)snprintf(path, sizeof(path), "@adit-test-origin-%d", getpid());
	memcpy(sa.sun_path + 1, path + 1, strlen(path) - 1);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(listener, 64), 0);
	rule.service.kind = SERVICE_KIND_UNIX;
	rule.service.path = path;
	rule.service.text = "unix:test";
	int fd = -1;
	exchange(&visit, &fd);
	exchange(&visit, &fd);
	assert_int_equal(origin_worker_stats(ow)->reused, 1);
	(void)close(fd);
}

static void test_unix_absent(void **state)
{
	(void)state;
	rule.service.kind = SERVICE_KIND_UNIX;
	rule.service.path = "@adit-test-nobody-there";
	start(&visit, &get);
	expect_failure(&visit, ORIGIN_FAILURE_REFUSED);
}

static void test_name(void **state)
{
	(void)state;
	rule.service.host = "localhost";
	rule.service.ip = (struct ip_addr){};
	int fd = -1;
	exchange(&visit, &fd);
	(void)close(fd);
}

static void test_refused(void **state)
{
	(void)state;
	(void)close(listener);
	start(&visit, &get);
	expect_failure(&visit, ORIGIN_FAILURE_REFUSED);
	listener = -1;
}

static void test_connect_timeout(void **state)
{
	(void)state;
	/* A listener whose queue is full doesn't answer. */
	assert_int_equal(listen(listener, 0), 0);
	int fill[4];
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(rule.service.port) };
	for (size_t i = 0; i < ARRAY_SIZE(fill); i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		int r = connect(fill[i], (struct sockaddr *)&sa, sizeof(sa));
		assert_true(r == 0 || errno == EINPROGRESS);
	}
	rule.origin.connect_timeout = 50 * NSEC_PER_MSEC;
	start(&visit, &get);
	expect_failure(&visit, ORIGIN_FAILURE_TIMEOUT);
	for (size_t i = 0; i < ARRAY_SIZE(fill); i++)
		(void)close(fill[i]);
}

static void test_response_timeout(void **state)
{
	(void)state;
	rule.origin.response_header_timeout = 50 * NSEC_PER_MSEC;
	start(&visit, &get);
	int fd = accept_one();
	expect_request(fd, "\r\n\r\n");
	expect_failure(&visit, ORIGIN_FAILURE_TIMEOUT);
	expect_end(fd);
	(void)close(fd);
}

static void test_not_http(void **state)
{
	(void)state;
	start(&visit, &get);
	int fd = accept_one();
	answer(fd, "SSH-2.0-OpenSSH_9.2\r\n\r\n");
	expect_failure(&visit, ORIGIN_FAILURE_PROTOCOL);
	(void)close(fd);
}

static void test_ended_before_answer(void **state)
{
	(void)state;
	start(&visit, &get);
	int fd = accept_one();
	expect_request(fd, "\r\n\r\n");
	(void)close(fd);
	expect_failure(&visit, ORIGIN_FAILURE_RESET); /* fresh: no retry */
	assert_int_equal(origin_worker_stats(ow)->retried, 0);
}

static void test_reset_in_body(void **state)
{
	(void)state;
	start(&visit, &get);
	int fd = accept_one();
	expect_request(fd, "\r\n\r\n");
	answer(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi");
	wait_told(&visit);
	reset_conn(fd);
	read_body(&visit);
	assert_int_equal(visit.end, -ECONNRESET);
	end(&visit);
	assert_int_equal(origin_worker_stats(ow)->idle, 0);
}

static void test_short_body(void **state)
{
	(void)state;
	start(&visit, &get);
	int fd = accept_one();
	expect_request(fd, "\r\n\r\n");
	answer(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi");
	wait_told(&visit);
	(void)close(fd);
	read_body(&visit);
	assert_string_equal(visit.body, "hi");
	assert_int_equal(visit.end, -EBADMSG);
	end(&visit);
}

/* The idle connection dies when the request arrives: the request begins again on a fresh one. */
static void retry_with(const char *method, struct http_field *fields, unsigned int count)
{
	int fd = -1;
	exchange(&visit, &fd);
	struct http_head head = get;
	head.method = span_str(method);
	head.fields = fields;
	head.field_count = count;
	start(&visit, &head);
	expect_request(fd, "\r\n\r\n");
	reset_conn(fd);
}

static void test_retry(void **state)
{
	(void)state;
	retry_with("GET", NULL, 0);
	int fd = accept_one();
	expect_request(fd, "GET /p HTTP/1.1\r\nHost: pub.example\r\n\r\n");
	answer(fd, OK_HI);
	wait_told(&visit);
	assert_int_equal(visit.status, 200);
	read_body(&visit);
	assert_string_equal(visit.body, "hi");
	end(&visit);
	assert_int_equal(origin_worker_stats(ow)->retried, 1);
	(void)close(fd);
}

static void test_retry_once(void **state)
{
	(void)state;
	retry_with("DELETE", NULL, 0);
	int fd = accept_one();
	expect_request(fd, "\r\n\r\n");
	reset_conn(fd);
	expect_failure(&visit, ORIGIN_FAILURE_RESET);
	assert_false(has_more_connections());
}

static void test_no_retry_of_post(void **state)
{
	(void)state;
	retry_with("POST", NULL, 0);
	expect_failure(&visit, ORIGIN_FAILURE_RESET);
	assert_int_equal(origin_worker_stats(ow)->retried, 0);
	assert_false(has_more_connections());
}

static void test_retry_of_keyed_post(void **state)
{
	(void)state;
	struct http_field key = { SPAN_LIT("Idempotency-Key"), SPAN_LIT("7") };
	retry_with("POST", &key, 1);
	int fd = accept_one();
	expect_request(fd, "\r\n\r\n");
	answer(fd, OK_HI);
	wait_told(&visit);
	assert_int_equal(visit.status, 200);
	end(&visit);
	(void)close(fd);
}

static void test_no_retry_after_body(void **state)
{
	(void)state;
	int fd = -1;
	exchange(&visit, &fd);
	struct http_head head = get;
	head.method = SPAN_LIT("PUT");
	head.body = HTTP_BODY_LENGTH;
	head.content_length = 10;
	start(&visit, &head);
	assert_int_equal(write_body(&visit, "01234"), 5);
	expect_request(fd, "\r\n\r\n01234");
	reset_conn(fd);
	expect_failure(&visit, ORIGIN_FAILURE_RESET);
	assert_false(has_more_connections());
}

/* A body that waits loses nothing when the call begins again. */
static void test_retry_then_body(void **state)
{
	(void)state;
	int fd = -1;
	exchange(&visit, &fd);
	struct http_head head = get;
	head.method = SPAN_LIT("PUT");
	head.body = HTTP_BODY_LENGTH;
	head.content_length = 5;
	start(&visit, &head);
	expect_request(fd, "\r\n\r\n");
	reset_conn(fd);
	fd = accept_one();
	expect_request(fd, "\r\n\r\n");
	assert_int_equal(write_body(&visit, "01234"), 5);
	stream_finish(origin_call_body(visit.call));
	expect_request(fd, "01234");
	answer(fd, OK_HI);
	wait_told(&visit);
	assert_int_equal(visit.status, 200);
	end(&visit);
	(void)close(fd);
}

/* An idle connection that the origin closed is noticed at once, so that any method is safe. */
static void test_idle_closed(void **state)
{
	(void)state;
	int fd = -1;
	exchange(&visit, &fd);
	assert_int_equal(origin_worker_stats(ow)->idle, 1);
	(void)close(fd);
	for (nsec_t until = soon(); origin_worker_stats(ow)->idle && !has_passed(until);)
		turn();
	assert_int_equal(origin_worker_stats(ow)->idle, 0);
	assert_int_equal(origin_worker_stats(ow)->expired, 1);

	struct http_head head = get;
	head.method = SPAN_LIT("POST");
	start(&visit, &head);
	fd = accept_one();
	expect_request(fd, "Content-Length: 0\r\n\r\n");
	answer(fd, OK_HI);
	wait_told(&visit);
	assert_int_equal(visit.status, 200);
	end(&visit);
	(void)close(fd);
}

static void test_idle_limits(void **state)
{
	(void)state;
	rule.origin.keep_alive_connections = 1;
	start(&visit, &get);
	int a = accept_one();
	start(&other, &get);
	int b = accept_one();
	answer(a, OK_HI);
	answer(b, OK_HI);
	wait_told(&visit);
	wait_told(&other);
	read_body(&visit);
	read_body(&other);
	end(&visit);
	end(&other);
	assert_int_equal(origin_worker_stats(ow)->idle, 1);
	(void)close(a);
	(void)close(b);
}

static void test_keep_alive_off(void **state)
{
	(void)state;
	rule.origin.keep_alive_connections = 0;
	int fd = -1;
	exchange(&visit, &fd);
	expect_end(fd);
	(void)close(fd);
}

static void test_idle_timeout(void **state)
{
	(void)state;
	rule.origin.keep_alive_timeout = 20 * NSEC_PER_MSEC;
	int fd = -1;
	exchange(&visit, &fd);
	expect_end(fd);
	assert_int_equal(origin_worker_stats(ow)->idle, 0);
	(void)close(fd);
}

static void test_drain(void **state)
{
	(void)state;
	int fd = -1;
	exchange(&visit, &fd);
	start(&visit, &get);
	expect_request(fd, "\r\n\r\n");
	origin_worker_drain(ow); /* in the middle of a call */
	answer(fd, OK_HI);
	wait_told(&visit);
	read_body(&visit);
	assert_int_equal(visit.end, 0);
	end(&visit);
	assert_int_equal(origin_worker_stats(ow)->idle, 0);
	expect_end(fd);
	(void)close(fd);
}

static void test_upload(void **state)
{
	(void)state;
	struct http_head head = get;
	head.method = SPAN_LIT("POST");
	head.body = HTTP_BODY_UNKNOWN;
	start(&visit, &head);
	assert_int_equal(write_body(&visit, "abc"), -EAGAIN); /* waits for the connection */
	int fd = accept_one();
	expect_request(fd, "Transfer-Encoding: chunked\r\n\r\n");
	assert_int_equal(write_body(&visit, "abc"), 3);
	expect_request(fd, "3\r\nabc\r\n");
	stream_finish(origin_call_body(visit.call));
	expect_request(fd, "0\r\n\r\n");
	answer(fd, OK_HI);
	wait_told(&visit);
	assert_int_equal(visit.status, 200);
	end(&visit);
	(void)close(fd);
}

/* Before and after the connect, with the answer half read: nothing is left behind. */
static void test_ended_early(void **state)
{
	(void)state;
	start(&visit, &get);
	end(&visit);
	turns();

	start(&visit, &get);
	int fd = accept_one();
	end(&visit);
	expect_end(fd);
	(void)close(fd);

	rule.service.host = "localhost";
	rule.service.ip = (struct ip_addr){};
	start(&visit, &get);
	end(&visit);
	turns();
	assert_int_equal(origin_worker_stats(ow)->active, 0);
}

static void test_bad_requests(void **state)
{
	(void)state;
	struct http_head head = get;
	head.target = SPAN_LIT("/a b");
	assert_int_equal(start_call(&visit, &head), -EBADMSG);
	rule.service.tls = true;
	assert_int_equal(start_call(&visit, &get), -EOPNOTSUPP);
	rule.service.kind = SERVICE_KIND_SOCKS;
	assert_int_equal(start_call(&visit, &get), -EOPNOTSUPP);
	assert_null(visit.call);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_get),
		TEST(test_keep_alive),
		TEST(test_unix),
		TEST(test_unix_absent),
		TEST(test_name),
		TEST(test_refused),
		TEST(test_connect_timeout),
		TEST(test_response_timeout),
		TEST(test_not_http),
		TEST(test_ended_before_answer),
		TEST(test_reset_in_body),
		TEST(test_short_body),
		TEST(test_retry),
		TEST(test_retry_once),
		TEST(test_no_retry_of_post),
		TEST(test_retry_of_keyed_post),
		TEST(test_no_retry_after_body),
		TEST(test_retry_then_body),
		TEST(test_idle_closed),
		TEST(test_idle_limits),
		TEST(test_keep_alive_off),
		TEST(test_idle_timeout),
		TEST(test_drain),
		TEST(test_upload),
		TEST(test_ended_early),
		TEST(test_bad_requests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
