/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dialogues with proxies that follow a script: what we ask, to the byte; what their answers mean,
 * whole, in single bytes, cut off; that what follows an answer stays unread.
 */
#include "daemon/net/outproxy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/net/resolve.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"
#include "util/macro.h"

static struct loop *loop;
static struct resolver *resolver;

/* ---- the proxy ------------------------------------------------------------------------------- */

#define BYTES(s) { .ptr = (const uint8_t *)(s), .len = sizeof(s) - 1 }
enum { STEPS = 4 };

/* It waits for what it is asked, compares, and answers. */
struct step {
	struct span asked;
	struct span answer;
};

static struct {
	struct tcp_listener listener;
	struct ip_port at;
	struct loop_io io;
	struct timer pace;
	int fd;
	struct step steps[STEPS];
	unsigned int step;
	bool is_slow;    /* answers in single bytes */
	bool hangs_up;   /* after its last answer */
	size_t answered; /* of this step */
	uint8_t got[4096];
	size_t got_len;
	unsigned int mark;
} proxy;

static void send_some(void)
{
	struct span left = span_skip(proxy.steps[proxy.step].answer, proxy.answered);
	size_t n = proxy.is_slow ? MIN(left.len, 1U) : left.len;
	assert_int_equal(send(proxy.fd, left.ptr, n, MSG_NOSIGNAL), n);
	proxy.answered += n;
	if (n < left.len) {
		timer_start(loop, &proxy.pace, loop_now(loop));
		return;
	}
	proxy.answered = proxy.got_len = 0;
	proxy.step++;
	if (proxy.hangs_up && (proxy.step == STEPS || !proxy.steps[proxy.step].asked.len))
		assert_int_equal(shutdown(proxy.fd, SHUT_WR), 0);
}

static void on_pace(struct timer *timer)
{
	(void)timer;
	send_some();
}

static void on_readable(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	const struct step *s = &proxy.steps[proxy.step];
	ssize_t n = recv(proxy.fd, proxy.got + proxy.got_len, sizeof(proxy.got) - proxy.got_len, 0);
	if (n <= 0 || proxy.step == STEPS || !s->asked.len) {
		loop_io_stop(io);
		return;
	}
	proxy.got_len += (size_t)n;
	if (proxy.got_len < s->asked.len)
		return;
	assert_int_equal(proxy.got_len, s->asked.len);
	assert_memory_equal(proxy.got, s->asked.ptr, s->asked.len);
	if (s->answer.len)
		send_some();
}

static void on_accept(struct tcp_listener *l, int fd, const struct ip_port *peer,
		      const struct ip_port *local)
{
	(void)l;
	(void)peer;
	(void)local;
	proxy.fd = fd;
	proxy.io.on_ready = on_readable;
	assert_int_equal(loop_io_start(loop, &proxy.io, fd, EPOLLIN), 0);
}

static int setup(void **state)
{
	(void)state;
	memset(&proxy, 0, sizeof(proxy));
	proxy.fd = -EBADF;
	proxy.pace.on_expire = on_pace;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(resolver_new(loop, &resolver), 0);

	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	proxy.at = (struct ip_port){ .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
	int fd = tcp_listen(&proxy.at, false, 8);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &proxy.at), 0);
	proxy.listener.on_accept = on_accept;
	return tcp_listener_start(&proxy.listener, loop, fd);
}

static int teardown(void **state)
{
	(void)state;
	tcp_listener_stop(&proxy.listener);
	loop_io_stop(&proxy.io);
	timer_stop(&proxy.pace);
	proxy.fd = fd_close(proxy.fd);
	resolver_free(resolver);
	loop_free(loop);
	return 0;
}

/* ---- us -------------------------------------------------------------------------------------- */

struct result {
	unsigned int calls;
	int fd_or_error;
	char reason[128];
};

static void on_done(int fd_or_error, const char *reason, void *user)
{
	struct result *r = user;
	r->calls++;
	r->fd_or_error = fd_or_error;
	assert_true((reason == NULL) == (fd_or_error >= 0));
	(void)snprintf(r->reason, sizeof(r->reason), "%s", reason ? reason : "");
}

static struct outproxy_params params_of(enum outproxy_kind kind)
{
	return (struct outproxy_params){
		.kind = kind, .host = "127.0.0.1", .port = proxy.at.port, .resolver = resolver
	};
}

static const struct ip_port v4_target = {
	.ip = { .family = IP_FAMILY_V4, .bytes = { 192, 0, 2, 7 } },
	.port = 7844,
};
static const struct ip_port v6_target = {
	.ip = { .family = IP_FAMILY_V6, .bytes = { 0x20, 0x01, 0x0d, 0xb8, [15] = 7 } },
	.port = 7844,
};

static struct result run_dial(const struct outproxy_dial *dial)
{
	struct result r = {};
	struct outproxy *p;
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	assert_int_equal(loop_turn(loop, 0), 0); /* the loop's clock */
	assert_int_equal(outproxy_connect(loop, dial, on_done, &r, &p), 0);
	assert_int_equal(r.calls, 0);
	while (!r.calls) {
		assert_true(nsec_clock(CLOCK_MONOTONIC) < end);
		assert_int_equal(loop_turn(loop, 20 * NSEC_PER_MSEC), 0);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(r.calls, 1);
	/* Whatever is said, it isn't the password. */
	assert_null(strstr(r.reason, "open"));
	return r;
}

/* One dialogue; the proxy's memory of the last one is cleared. */
static struct result talk(const struct outproxy_params *params, const struct ip_port *target,
			  const char *name, const struct step steps[STEPS])
{
	loop_io_stop(&proxy.io);
	timer_stop(&proxy.pace);
	proxy.fd = fd_close(proxy.fd);
	proxy.step = 0;
	proxy.got_len = proxy.answered = 0;
	memcpy(proxy.steps, steps, sizeof(proxy.steps));
	struct outproxy_dial dial = {
		.proxy = params, .target = *target, .target_name = name, .timeout = 5 * NSEC_PER_SEC
	};
	return run_dial(&dial);
}

/* The dialogue succeeds, fast and slow, and what the proxy says behind it is ours to read. */
static void expect_through(const struct outproxy_params *params, const struct ip_port *target,
			   const char *name, const struct step steps[STEPS], const char *rest)
{
	for (int slow = 0; slow < 2; slow++) {
		char got[64];
		proxy.is_slow = slow != 0;
		struct result r = talk(params, target, name, steps);
		assert_string_equal(r.reason, "");
		assert_true(r.fd_or_error >= 0);
		nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
		size_t len = 0;
		while (len < strlen(rest)) {
			assert_true(nsec_clock(CLOCK_MONOTONIC) < end);
			assert_int_equal(loop_turn(loop, NSEC_PER_MSEC), 0);
			ssize_t n = recv(r.fd_or_error, got + len, sizeof(got) - len, 0);
			len += n > 0 ? (size_t)n : 0;
		}
		assert_int_equal(len, strlen(rest));
		assert_memory_equal(got, rest, len);
		assert_int_equal(send(r.fd_or_error, "x", 1, MSG_NOSIGNAL), 1);
		close(r.fd_or_error);
	}
	proxy.is_slow = false;
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

#define V4_HEAD "CONNECT 192.0.2.7:7844 HTTP/1.1\r\nHost: 192.0.2.7:7844\r\n"

static void test_http(void **state)
{
	(void)state;
	struct outproxy_params params = params_of(OUTPROXY_KIND_HTTP);
	expect_through(&params, &v4_target, NULL,
		       (struct step[STEPS]){ { BYTES(V4_HEAD "\r\n"),
					       BYTES("HTTP/1.1 200 OK\r\nVia: x\r\n\r\nrest") } },
		       "rest");
	/* Old ones, those that say little, and lines without CR. */
	expect_through(&params, &v4_target, NULL,
		       (struct step[STEPS]){
			       { BYTES(V4_HEAD "\r\n"), BYTES("HTTP/1.0 200\n\n\r\n\r\nrest") } },
		       "\r\n\r\nrest");
	/* A length means nothing here (RFC 9110 §9.3.6), a 1xx is no answer yet. */
	expect_through(&params, &v4_target, NULL,
		       (struct step[STEPS]){
			       { BYTES(V4_HEAD "\r\n"),
				 BYTES("HTTP/1.1 103 Wait\r\nA: b\r\n\r\nHTTP/1.1 299 Fine\r\n"
				       "Content-Length: 4\r\n\r\nrest") } },
		       "rest");
	expect_through(&params, &v6_target, NULL,
		       (struct step[STEPS]){ { BYTES("CONNECT [2001:db8::7]:7844 HTTP/1.1\r\n"
						     "Host: [2001:db8::7]:7844\r\n\r\n"),
					       BYTES("HTTP/1.1 200 OK\r\n\r\n") } },
		       "");
	expect_through(&params, &v4_target, "edge.example.com",
		       (struct step[STEPS]){ { BYTES("CONNECT edge.example.com:7844 HTTP/1.1\r\n"
						     "Host: edge.example.com:7844\r\n\r\n"),
					       BYTES("HTTP/1.1 200 OK\r\n\r\n") } },
		       "");
}

static void test_http_credentials(void **state)
{
	(void)state;
	struct outproxy_params params = params_of(OUTPROXY_KIND_HTTP);
	params.user = SPAN_LIT("aladdin");
	params.password = SPAN_LIT("open sesame");
	static const struct span request =
		BYTES(V4_HEAD "Proxy-Authorization: Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
	expect_through(&params, &v4_target, NULL,
		       (struct step[STEPS]){ { request, BYTES("HTTP/1.1 200 OK\r\n\r\n") } }, "");

	struct result r =
		talk(&params, &v4_target, NULL,
		     (struct step[STEPS]){ { request, BYTES("HTTP/1.1 407 No\r\n\r\n") } });
	assert_int_equal(r.fd_or_error, -EPERM);
	assert_string_equal(r.reason, "the proxy refuses our user or password");
	params.user = params.password = (struct span){};
	r = talk(&params, &v4_target, NULL,
		 (struct step[STEPS]){
			 { BYTES(V4_HEAD "\r\n"), BYTES("HTTP/1.1 407 No\r\n\r\n") } });
	assert_int_equal(r.fd_or_error, -EPERM);
	assert_string_equal(r.reason, "the proxy wants a user and a password");
}

static void test_http_refusals(void **state)
{
	(void)state;
	static const struct {
		struct span answer;
		int error;
		const char *reason;
	} cases[] = {
		{ BYTES("HTTP/1.1 403 Forbidden\r\n\r\n"), -EPERM,
		  "the proxy answers with status 403" },
		{ BYTES("HTTP/1.1 503 \r\n\r\n"), -ECONNREFUSED,
		  "the proxy answers with status 503" },
		{ BYTES("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"), -ECONNREFUSED,
		  "the proxy answers with status 302" },
		{ BYTES("HTTP/1.1 101 Switching\r\n\r\n"), -EPROTO,
		  "what answers is no HTTP proxy" },
		{ BYTES("HTTP/1.1 2000 OK\r\n\r\n"), -EPROTO, "what answers is no HTTP proxy" },
		{ BYTES("HTTP/1.1 20\r\n\r\n"), -EPROTO, "what answers is no HTTP proxy" },
		{ BYTES("HTTP/2.0 200 OK\r\n\r\n"), -EPROTO, "what answers is no HTTP proxy" },
		{ BYTES("SSH-2.0-OpenSSH_9.2\n\n"), -EPROTO, "what answers is no HTTP proxy" },
		{ BYTES("\n\n"), -EPROTO, "what answers is no HTTP proxy" },
		{ BYTES("HTTP/1.1 200 OK\r\nVia"), -ECONNRESET, "the proxy closed the connection" },
	};
	struct outproxy_params params = params_of(OUTPROXY_KIND_HTTP);
	proxy.hangs_up = true;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct step steps[STEPS] = { { BYTES(V4_HEAD "\r\n"), cases[i].answer } };
		struct result r = talk(&params, &v4_target, NULL, steps);
		assert_int_equal(r.fd_or_error, cases[i].error);
		assert_string_equal(r.reason, cases[i].reason);
	}
}

/* An answer that doesn't end, in one head or in many. */
static void test_http_too_long(void **state)
{
	(void)state;
	struct outproxy_params params = params_of(OUTPROXY_KIND_HTTP);
	static char head[OUTPROXY_ANSWER_MAX + 1], heads[OUTPROXY_ANSWER_MAX + 64];
	static const struct span begin = BYTES("HTTP/1.1 200 OK\r\nX: "), end = BYTES("\r\n\r\n");
	for (int over = 0; over < 2; over++) {
		size_t len = OUTPROXY_ANSWER_MAX + (size_t)over;
		memset(head, 'a', len);
		memcpy(head, begin.ptr, begin.len);
		memcpy(head + len - end.len, end.ptr, end.len);
		struct result r =
			talk(&params, &v4_target, NULL,
			     (struct step[STEPS]){ { BYTES(V4_HEAD "\r\n"), span_of(head, len) } });
		assert_int_equal(r.fd_or_error < 0, over);
		if (over)
			assert_int_equal(r.fd_or_error, -EMSGSIZE);
		(void)fd_close(r.fd_or_error);
	}
	static const struct span interim = BYTES("HTTP/1.1 102 Busy\r\n\r\n");
	size_t len = 0;
	while (len + interim.len <= sizeof(heads)) {
		memcpy(heads + len, interim.ptr, interim.len);
		len += interim.len;
	}
	assert_true(len > OUTPROXY_ANSWER_MAX);
	struct step steps[STEPS] = { { BYTES(V4_HEAD "\r\n"), span_of(heads, len) } };
	assert_int_equal(talk(&params, &v4_target, NULL, steps).fd_or_error, -EMSGSIZE);
}

/* ---- SOCKS5 ---------------------------------------------------------------------------------- */

#define ASK_V4 BYTES("\5\1\0\1\xc0\0\2\7\x1e\xa4")

static void test_socks(void **state)
{
	(void)state;
	struct outproxy_params params = params_of(OUTPROXY_KIND_SOCKS5);
	static const struct step hello = { BYTES("\5\1\0"), BYTES("\5\0") };
	/* Answers with each kind of address behind them. */
	expect_through(
		&params, &v4_target, NULL,
		(struct step[STEPS]){ hello, { ASK_V4, BYTES("\5\0\0\1\x7f\0\0\1\0\x50rest") } },
		"rest");
	expect_through(&params, &v6_target, NULL,
		       (struct step[STEPS]){
			       hello,
			       { BYTES("\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7"
				       "\x1e\xa4"),
				 BYTES("\5\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\x50re") } },
		       "re");
	expect_through(&params, &v4_target, "edge.example.com",
		       (struct step[STEPS]){ hello,
					     { BYTES("\5\1\0\3\x10"
						     "edge.example.com\x1e\xa4"),
					       BYTES("\5\0\0\3\5proxy\0\x50r") } },
		       "r");
	expect_through(&params, &v4_target, NULL,
		       (struct step[STEPS]){ hello, { ASK_V4, BYTES("\5\0\0\3\0\0\x50r") } }, "r");
}

static void test_socks_credentials(void **state)
{
	(void)state;
	struct outproxy_params params = params_of(OUTPROXY_KIND_SOCKS5);
	params.user = SPAN_LIT("aladdin");
	params.password = SPAN_LIT("open sesame");
	static const struct span hello = BYTES("\5\2\0\2");
	static const struct span login = BYTES("\1\7aladdin\x0bopen sesame");
	static const struct step ask = { ASK_V4, BYTES("\5\0\0\1\x7f\0\0\1\0\x50rest") };
	expect_through(
		&params, &v4_target, NULL,
		(struct step[STEPS]){ { hello, BYTES("\5\2") }, { login, BYTES("\1\0") }, ask },
		"rest");
	/* One that doesn't ask for them isn't told. */
	expect_through(&params, &v4_target, NULL,
		       (struct step[STEPS]){ { hello, BYTES("\5\0") }, ask }, "rest");

	struct result r =
		talk(&params, &v4_target, NULL,
		     (struct step[STEPS]){ { hello, BYTES("\5\2") }, { login, BYTES("\1\1") } });
	assert_int_equal(r.fd_or_error, -EPERM);
	assert_string_equal(r.reason, "the proxy refuses our user or password");
	r = talk(&params, &v4_target, NULL,
		 (struct step[STEPS]){ { hello, BYTES("\5\2") }, { login, BYTES("\5\0") } });
	assert_int_equal(r.fd_or_error, -EPROTO);
	r = talk(&params, &v4_target, NULL, (struct step[STEPS]){ { hello, BYTES("\5\xff") } });
	assert_int_equal(r.fd_or_error, -EPERM);
	assert_string_equal(r.reason, "the proxy takes no password");
}

static void test_socks_refusals(void **state)
{
	(void)state;
	static const struct {
		struct span hello, answer;
		int error;
	} cases[] = {
		{ BYTES("\5\xff"), {}, -EPERM },
		{ BYTES("\5\2"), {}, -EPROTO }, /* we didn't offer that */
		{ BYTES("\4\0"), {}, -EPROTO },
		{ BYTES("HT"), {}, -EPROTO },
		{ BYTES("\5"), {}, -ECONNRESET },
		{ BYTES("\5\0"), BYTES("\5\1\0\1"), -ECONNREFUSED },
		{ BYTES("\5\0"), BYTES("\5\2\0\1\0\0\0\0\0\0"), -EPERM },
		{ BYTES("\5\0"), BYTES("\5\3\0\1\0\0\0\0\0\0"), -ENETUNREACH },
		{ BYTES("\5\0"), BYTES("\5\4\0\1\0\0\0\0\0\0"), -EHOSTUNREACH },
		{ BYTES("\5\0"), BYTES("\5\5\0\1\0\0\0\0\0\0"), -ECONNREFUSED },
		{ BYTES("\5\0"), BYTES("\5\6\0\1\0\0\0\0\0\0"), -EHOSTUNREACH },
		{ BYTES("\5\0"), BYTES("\5\7\0\1\0\0\0\0\0\0"), -EPROTO },
		{ BYTES("\5\0"), BYTES("\5\x08\0\1\0\0\0\0\0\0"), -EPROTO },
		{ BYTES("\5\0"), BYTES("\5\x09\0\1\0\0\0\0\0\0"), -EPROTO },
		{ BYTES("\5\0"), BYTES("\4\0\0\1\0\0\0\0\0\0"), -EPROTO },
		{ BYTES("\5\0"), BYTES("\5\0\0\2\0\0\0\0\0\0"), -EPROTO },
		{ BYTES("\5\0"), BYTES("\5\0\0\1\0\0\0\0\0"), -ECONNRESET },
		{ BYTES("\5\0"), BYTES("\5\0\0\3\xff\0\0\0\0\0"), -ECONNRESET },
	};
	struct outproxy_params params = params_of(OUTPROXY_KIND_SOCKS5);
	proxy.hangs_up = true;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct step steps[STEPS] = { { BYTES("\5\1\0"), cases[i].hello } };
		if (cases[i].answer.len)
			steps[1] = (struct step){ ASK_V4, cases[i].answer };
		struct result r = talk(&params, &v4_target, NULL, steps);
		assert_int_equal(r.fd_or_error, cases[i].error);
		assert_true(strlen(r.reason) > 0);
	}
}

/* ---- reaching it, waiting, giving up -----------------------------------------------------------
 */

static void test_unreachable(void **state)
{
	(void)state;
	struct outproxy_params params = params_of(OUTPROXY_KIND_HTTP);
	struct outproxy_dial dial = { .proxy = &params,
				      .target = v4_target,
				      .timeout = 5 * NSEC_PER_SEC };
	dial.tcp.bind_interface = "no-such-dev";
	assert_int_equal(run_dial(&dial).fd_or_error, -ENODEV);
	dial.tcp.bind_interface = NULL;
	tcp_listener_stop(&proxy.listener);
	struct result r = run_dial(&dial);
	assert_int_equal(r.fd_or_error, -ECONNREFUSED);
	assert_string_equal(r.reason, "the proxy can't be reached: Connection refused");
	params.host = "no such name";
	r = run_dial(&dial);
	assert_int_equal(r.fd_or_error, -ENOENT);
}

static void test_silence(void **state)
{
	(void)state;
	struct outproxy_params params = params_of(OUTPROXY_KIND_HTTP);
	proxy.steps[0] = (struct step){ BYTES(V4_HEAD "\r\n"), BYTES("HTTP/1.1 200") };
	struct outproxy_dial dial = { .proxy = &params,
				      .target = v4_target,
				      .timeout = 300 * NSEC_PER_MSEC };
	struct result r = run_dial(&dial);
	assert_int_equal(r.fd_or_error, -ETIMEDOUT);
	assert_string_equal(r.reason, "the proxy doesn't answer");
}

/* At any point, without a callback; ASan looks for what is left. */
static void test_cancel(void **state)
{
	(void)state;
	struct outproxy_params params = params_of(OUTPROXY_KIND_SOCKS5);
	struct outproxy_dial dial = { .proxy = &params,
				      .target = v4_target,
				      .timeout = NSEC_PER_SEC };
	proxy.steps[0] = (struct step){ BYTES("\5\1\0"), BYTES("\5") };
	for (int turns = 0; turns < 8; turns++) {
		struct result r = {};
		struct outproxy *p;
		loop_io_stop(&proxy.io);
		proxy.fd = fd_close(proxy.fd);
		proxy.step = 0;
		proxy.got_len = 0;
		assert_int_equal(outproxy_connect(loop, &dial, on_done, &r, &p), 0);
		for (int i = 0; i < turns; i++)
			assert_int_equal(loop_turn(loop, NSEC_PER_MSEC), 0);
		outproxy_cancel(p);
		assert_int_equal(loop_turn(loop, 0), 0);
		assert_int_equal(r.calls, 0);
	}
	outproxy_cancel(NULL);
}

static void test_parameters(void **state)
{
	(void)state;
	static char long_name[OUTPROXY_NAME_MAX + 2];
	memset(long_name, 'a', OUTPROXY_NAME_MAX + 1);
	struct outproxy_params params = params_of(OUTPROXY_KIND_HTTP);
	struct outproxy_dial dial = { .proxy = &params,
				      .target = v4_target,
				      .timeout = NSEC_PER_SEC };
	struct outproxy *p;
	static const char *const bad[] = { "", long_name, "a b", "a\r\nb", "a:b" };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		dial.target_name = bad[i];
		assert_int_equal(outproxy_connect(loop, &dial, on_done, NULL, &p), -EINVAL);
	}
	dial.target_name = NULL;
	params.user = span_str(long_name);
	assert_int_equal(outproxy_connect(loop, &dial, on_done, NULL, &p), -EINVAL);

	/* The longest of everything fits. */
	long_name[OUTPROXY_NAME_MAX] = '\0';
	params.user = params.password = span_str(long_name);
	dial.target_name = long_name;
	dial.target.port = 65535;
	for (int kind = OUTPROXY_KIND_HTTP; kind <= OUTPROXY_KIND_SOCKS5; kind++) {
		struct result r = {};
		params.kind = (enum outproxy_kind)kind;
		assert_int_equal(outproxy_connect(loop, &dial, on_done, &r, &p), 0);
		nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
		loop_io_stop(&proxy.io);
		proxy.fd = fd_close(proxy.fd);
		size_t seen = 0;
		proxy.steps[0] = (struct step){ .asked = span_of(long_name, 1) };
		while (proxy.fd < 0 || seen == 0) {
			assert_true(nsec_clock(CLOCK_MONOTONIC) < end);
			assert_int_equal(loop_turn(loop, NSEC_PER_MSEC), 0);
			loop_io_stop(&proxy.io);
			ssize_t n =
				proxy.fd < 0 ? 0 : recv(proxy.fd, proxy.got, sizeof(proxy.got), 0);
			seen += n > 0 ? (size_t)n : 0;
		}
		assert_int_equal(seen, kind == OUTPROXY_KIND_HTTP ? 1264 : 4);
		assert_int_equal(r.calls, 0);
		outproxy_cancel(p);
		assert_int_equal(loop_turn(loop, 0), 0);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_http),           TEST(test_http_credentials),
		TEST(test_http_refusals),  TEST(test_http_too_long),
		TEST(test_socks),          TEST(test_socks_credentials),
		TEST(test_socks_refusals), TEST(test_unreachable),
		TEST(test_silence),        TEST(test_cancel),
		TEST(test_parameters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
