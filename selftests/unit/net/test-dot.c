/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over TLS against a server of the test's own: answers of all types on one connection,
 * certificates that don't fit, garbage, silence, a server that closes or isn't there.
 */
#include "daemon/net/dot.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <ares.h>
#include <cmocka.h>
#include <openssl/ssl.h>

#include "selftests/lib/fake_dns.h"
#include "selftests/lib/testcert.h"
#include "util/macro.h"

static struct loop *loop;
static struct slab *slab;
static struct fake_dns dns;
static SSL_CTX *client_ctx, *stranger_ctx, *server_ctx;

static const struct fake_record records[] = {
	FAKE_SRV("_edge._tcp.test", 200, 1, 1, 7845, "one.test"),
	FAKE_RECORD("one.test", A, "192.0.2.1", 60),
	FAKE_RECORD("one.test", AAAA, "2001:db8::1", 70),
	FAKE_RECORD("text.test", TXT, "{}", 40),
	FAKE_FAILURE("fail.test", A, ARES_RCODE_SERVFAIL),
	FAKE_SILENCE("mute.test", A),
	{},
};

static int setup(void **state)
{
	(void)state;
	if (loop_new(&loop) < 0 || slab_new(16 << 20, &slab) < 0)
		return -1;
	struct test_cert ca = test_ca_new("ca"), other = test_ca_new("other");
	struct test_cert leaf = test_cert_new(&ca, "DNS:dns.test");
	server_ctx = test_cert_server_ctx(&leaf);
	client_ctx = test_cert_client_ctx(&ca);
	stranger_ctx = test_cert_client_ctx(&other);
	test_cert_free(&leaf);
	test_cert_free(&other);
	test_cert_free(&ca);
	dns.records = records;
	fake_dns_start(&dns, loop, slab, server_ctx);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_dns_stop(&dns);
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	SSL_CTX_free(stranger_ctx);
	loop_free(loop);
	slab_free(slab);
	return 0;
}

static nsec_t timeout = 10 * NSEC_PER_SEC;

static struct dot *open_dot(SSL_CTX *ctx, const char *name, uint16_t port)
{
	struct dot_server server = {
		.addr = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } },
			  .port = port },
		.timeout = timeout,
	};
	(void)snprintf(server.name, sizeof(server.name), "%s", name);
	struct dot *d;
	assert_int_equal(dot_new(loop, slab, ctx, &server, &d), 0);
	return d;
}

struct result {
	unsigned int calls;
	int error;
	struct dns_answer answer;
};

static void on_done(int error, const struct dns_answer *answer, void *user)
{
	struct result *r = user;
	r->calls++;
	r->error = error;
	assert_true((answer != NULL) == (error == 0));
	if (answer)
		r->answer = *answer;
}

#define RUN_UNTIL(condition)                                                        \
	do {                                                                        \
		nsec_t deadline_ = nsec_clock(CLOCK_MONOTONIC) + 20 * NSEC_PER_SEC; \
		while (!(condition)) {                                              \
			assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline_);       \
			assert_int_equal(loop_turn(loop, 20 * NSEC_PER_MSEC), 0);   \
		}                                                                   \
	} while (0)

static struct result ask(struct dot *d, const char *name, enum dns_type type)
{
	static struct result result;
	result = (struct result){};
	struct dns_question q = { name, type, on_done, &result };
	struct dot_query *handle;
	assert_int_equal(dot_ask(d, &q, &handle), 0);
	assert_int_equal(result.calls, 0); /* never from inside */
	RUN_UNTIL(result.calls);
	return result;
}

static void test_types(void **state)
{
	(void)state;
	dns.connections = 0;
	struct dot *d = open_dot(client_ctx, "dns.test", dns.tls_port);
	struct result a = ask(d, "_edge._tcp.test", DNS_TYPE_SRV);
	assert_int_equal(a.error, 0);
	assert_string_equal(a.answer.srv[0].target, "one.test");
	assert_int_equal(a.answer.ttl_sec, 200);
	a = ask(d, "one.test.", DNS_TYPE_A);
	assert_int_equal(a.answer.addrs[0].bytes[3], 1);
	a = ask(d, "ONE.test", DNS_TYPE_AAAA);
	assert_int_equal(a.answer.addrs[0].family, IP_FAMILY_V6);
	a = ask(d, "text.test", DNS_TYPE_TXT);
	assert_int_equal(a.answer.text.len, 2);
	assert_int_equal(ask(d, "none.test", DNS_TYPE_A).error, -ENOENT);
	assert_int_equal(ask(d, "text.test", DNS_TYPE_A).error, -ENOENT);
	assert_int_equal(ask(d, "fail.test", DNS_TYPE_A).error, -EAGAIN);
	assert_int_equal(dns.connections, 1);
	assert_string_equal(dot_reason(d), "");
	dot_free(d);
	dot_free(NULL);
}

/* Many at once, some cancelled; one more than there may be. */
static void test_many(void **state)
{
	(void)state;
	struct dot *d = open_dot(client_ctx, "dns.test", dns.tls_port);
	static struct result results[DOT_QUERIES_MAX];
	struct dot_query *handles[DOT_QUERIES_MAX], *more;
	struct dns_question q = { "one.test", DNS_TYPE_A, on_done, NULL };
	for (unsigned int i = 0; i < DOT_QUERIES_MAX; i++) {
		q.user = &results[i];
		q.type = i % 2 ? DNS_TYPE_A : DNS_TYPE_AAAA;
		assert_int_equal(dot_ask(d, &q, &handles[i]), 0);
	}
	assert_int_equal(dot_ask(d, &q, &more), -E2BIG);
	for (unsigned int i = 0; i < DOT_QUERIES_MAX; i += 4)
		dot_cancel(handles[i]);
	dot_cancel(NULL);
	RUN_UNTIL(results[DOT_QUERIES_MAX - 1].calls);
	for (unsigned int i = 0; i < DOT_QUERIES_MAX; i++)
		assert_int_equal(results[i].calls, i % 4 != 0);

	char longest[300];
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	q.name = longest;
	assert_int_equal(dot_ask(d, &q, &more), -EINVAL);
	q.name = "";
	assert_int_equal(dot_ask(d, &q, &more), -EINVAL);
	q.name = "bad..name";
	assert_int_equal(dot_ask(d, &q, &more), -EINVAL);
	/* Freed with a question on its way. */
	q.name = "one.test";
	q.user = &results[0];
	assert_int_equal(dot_ask(d, &q, &more), 0);
	dot_free(d);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(results[0].calls, 0);
}

static void test_certificates(void **state)
{
	(void)state;
	unsigned int before = dns.tls_questions;
	struct dot *d = open_dot(stranger_ctx, "dns.test", dns.tls_port);
	assert_int_equal(ask(d, "one.test", DNS_TYPE_A).error, -EPERM);
	assert_string_not_equal(dot_reason(d), "");
	dot_free(d);
	d = open_dot(client_ctx, "other.test", dns.tls_port);
	assert_int_equal(ask(d, "one.test", DNS_TYPE_A).error, -EPERM);
	assert_string_equal(dot_reason(d), "hostname mismatch");
	dot_free(d);
	assert_int_equal(dns.tls_questions, before); /* nothing was told to a stranger */
}

/* What comes is no answer to what was asked. */
static void test_garbage(void **state)
{
	(void)state;
	static const struct {
		struct span raw;
		int error;
	} cases[] = {
		{ SPAN_LIT("\x00\x04nope"), -EBADMSG },
		{ SPAN_LIT("\x00\x00"), -EBADMSG },
		{ SPAN_LIT("\xff\xff too long"), -EMSGSIZE },
		{ SPAN_LIT("HTTP/1.1 400 Bad Request\r\n\r\n"), -EMSGSIZE },
	};
	struct dot *d = open_dot(client_ctx, "dns.test", dns.tls_port);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		dns.raw = cases[i].raw;
		assert_int_equal(ask(d, "one.test", DNS_TYPE_A).error, cases[i].error);
	}
	dns.raw = (struct span){};
	assert_int_equal(ask(d, "one.test", DNS_TYPE_A).error, 0); /* on a new connection */
	dot_free(d);
}

static void test_ends(void **state)
{
	(void)state;
	struct dot *d = open_dot(client_ctx, "dns.test", dns.tls_port);
	dns.closes_first = true;
	assert_int_equal(ask(d, "one.test", DNS_TYPE_A).error, -ECONNRESET);
	dns.closes_first = false;
	assert_int_equal(ask(d, "one.test", DNS_TYPE_A).error, 0);
	dot_free(d);
	d = open_dot(client_ctx, "dns.test", 1); /* nobody listens there */
	assert_int_equal(ask(d, "one.test", DNS_TYPE_A).error, -ECONNREFUSED);
	dot_free(d);
}

/* Silence to one question. */
static void test_silence(void **state)
{
	(void)state;
	timeout = 500 * NSEC_PER_MSEC;
	struct dot *d = open_dot(client_ctx, "dns.test", dns.tls_port);
	struct result first = {};
	struct dns_question q = { "mute.test", DNS_TYPE_A, on_done, &first };
	struct dot_query *handle;
	nsec_t start = nsec_clock(CLOCK_MONOTONIC);
	assert_int_equal(dot_ask(d, &q, &handle), 0);
	assert_int_equal(ask(d, "one.test", DNS_TYPE_A).error, 0); /* isn't held up */
	RUN_UNTIL(first.calls);
	assert_int_equal(first.error, -ETIMEDOUT);
	nsec_t took = nsec_clock(CLOCK_MONOTONIC) - start;
	assert_true(took >= timeout - 50 * NSEC_PER_MSEC);
	dot_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),        cmocka_unit_test(test_many),
		cmocka_unit_test(test_certificates), cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_ends),         cmocka_unit_test(test_silence),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
