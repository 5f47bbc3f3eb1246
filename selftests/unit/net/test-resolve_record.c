/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single records from a name server on loopback: all types, their times to live, errors, one dead
 * server of two, cancelling; and the order of services.
 */
#include "daemon/net/resolve.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <ares.h>
#include <cmocka.h>

#include "selftests/lib/fake_dns.h"

static struct loop *loop;
static struct fake_dns dns;
static char hosts_file[] = "/tmp/test-resolve_record.XXXXXX";

#define LONG_TEXT "[{\"protocol\":\"quic\",\"percentage\":100}]"

static const struct fake_record records[] = {
	FAKE_SRV("_edge._tcp.test", 300, 2, 1, 7844, "two.test"),
	FAKE_SRV("_edge._tcp.test", 200, 1, 1, 7845, "one.test"),
	FAKE_SRV("_gone._tcp.test", 300, 0, 0, 0, "."),
	FAKE_RECORD("one.test", A, "192.0.2.1", 60),
	FAKE_RECORD("one.test", A, "192.0.2.2", 50),
	FAKE_RECORD("one.test", AAAA, "2001:db8::1", 70),
	FAKE_RECORD("text.test", TXT, LONG_TEXT, 40),
	FAKE_RECORD("text.test", TXT, "second", 30),
	FAKE_FAILURE("fail.test", SRV, ARES_RCODE_SERVFAIL),
	FAKE_FAILURE("refused.test", TXT, ARES_RCODE_REFUSED),
	FAKE_SILENCE("mute.test", SRV),
	{},
};

static int setup(void **state)
{
	(void)state;
	int fd = mkstemp(hosts_file);
	static const char hosts[] = "192.0.2.99 box.test\n";
	if (fd < 0 || write(fd, hosts, sizeof(hosts) - 1) < 0 || close(fd) < 0 ||
	    loop_new(&loop) < 0)
		return -1;
	dns.records = records;
	fake_dns_start(&dns, loop, NULL, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_dns_stop(&dns);
	loop_free(loop);
	return unlink(hosts_file);
}

static unsigned int timeout_ms = 5000;

/* Our name server, behind another one (0: none). */
static struct resolver *open_resolver(uint16_t before)
{
	char servers[64];
	struct resolver *r;
	if (before)
		(void)snprintf(servers, sizeof(servers), "127.0.0.1:%u,127.0.0.1:%u", before,
			       dns.port);
	else
		(void)snprintf(servers, sizeof(servers), "127.0.0.1:%u", dns.port);
	struct resolver_params p = {
		.servers = servers,
		.hosts_file = hosts_file,
		.timeout_ms = timeout_ms,
		.tries = 1,
	};
	assert_int_equal(resolver_new_with(loop, &p, &r), 0);
	return r;
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
		nsec_t deadline_ = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC; \
		while (!(condition)) {                                              \
			assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline_);       \
			assert_int_equal(loop_turn(loop, 20 * NSEC_PER_MSEC), 0);   \
		}                                                                   \
	} while (0)

static struct result ask(struct resolver *r, const char *name, enum dns_type type)
{
	static struct result result;
	result = (struct result){};
	struct dns_question q = {
		.name = name,
		.type = type,
		.on_done = on_done,
		.user = &result,
	};
	struct resolve_record *handle;
	assert_int_equal(resolve_record(r, &q, &handle), 0);
	assert_int_equal(result.calls, 0); /* never from inside */
	RUN_UNTIL(result.calls);
	return result;
}

static void test_types(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(0);
	struct result a = ask(r, "_edge._tcp.test", DNS_TYPE_SRV);
	assert_int_equal(a.error, 0);
	assert_int_equal(a.answer.count, 2);
	assert_int_equal(a.answer.ttl_sec, 200);
	dns_srv_sort(a.answer.srv, a.answer.count, 1);
	assert_string_equal(a.answer.srv[0].target, "one.test");
	assert_int_equal(a.answer.srv[0].port, 7845);
	assert_int_equal(a.answer.srv[1].priority, 2);

	a = ask(r, "one.test", DNS_TYPE_A);
	assert_int_equal(a.answer.count, 2);
	assert_int_equal(a.answer.ttl_sec, 50);
	assert_int_equal(a.answer.addrs[0].family, IP_FAMILY_V4);
	a = ask(r, "one.test.", DNS_TYPE_AAAA);
	assert_int_equal(a.answer.count, 1);
	assert_int_equal(a.answer.addrs[0].bytes[15], 1);
	a = ask(r, "box.test", DNS_TYPE_A); /* the hosts file */
	assert_int_equal(a.answer.addrs[0].bytes[3], 99);

	a = ask(r, "text.test", DNS_TYPE_TXT);
	assert_true(span_eq_str(span_of(a.answer.text.bytes, a.answer.text.len), LONG_TEXT));
	assert_int_equal(a.answer.ttl_sec, 30);
	/* Nothing is kept. */
	unsigned int before = dns.udp_questions;
	(void)ask(r, "text.test", DNS_TYPE_TXT);
	assert_int_equal(dns.udp_questions, before + 1);
	resolver_free(r);
}

static void test_errors(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(0);
	assert_int_equal(ask(r, "none.test", DNS_TYPE_SRV).error, -ENOENT);
	assert_int_equal(ask(r, "one.test", DNS_TYPE_TXT).error, -ENOENT);
	assert_int_equal(ask(r, "_gone._tcp.test", DNS_TYPE_SRV).error, -ENOENT);
	assert_int_equal(ask(r, "fail.test", DNS_TYPE_SRV).error, -EAGAIN);
	assert_int_equal(ask(r, "refused.test", DNS_TYPE_TXT).error, -EAGAIN);
	assert_int_equal(ask(r, "bad..name", DNS_TYPE_SRV).error, -ENOENT);

	struct resolve_record *handle;
	struct dns_question q = { .name = "", .type = DNS_TYPE_A, .on_done = on_done };
	assert_int_equal(resolve_record(r, &q, &handle), -EINVAL);
	char longest[300];
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	q.name = longest;
	assert_int_equal(resolve_record(r, &q, &handle), -EINVAL);
	resolver_free(r);
}

static void test_silence(void **state)
{
	(void)state;
	timeout_ms = 250;
	struct resolver *r = open_resolver(0);
	timeout_ms = 5000;
	assert_int_equal(ask(r, "mute.test", DNS_TYPE_SRV).error, -ETIMEDOUT);
	resolver_free(r);
}

static void test_dead_server(void **state)
{
	(void)state;
	/* Nobody listens on port 1. */
	struct resolver *r = open_resolver(1);
	assert_int_equal(ask(r, "one.test", DNS_TYPE_A).error, 0);
	assert_int_equal(ask(r, "_edge._tcp.test", DNS_TYPE_SRV).error, 0);
	resolver_free(r);
	/* The first is silent. */
	struct fake_dns silent = { .is_mute = true };
	fake_dns_start(&silent, loop, NULL, NULL);
	timeout_ms = 500;
	r = open_resolver(silent.port);
	timeout_ms = 5000;
	assert_int_equal(ask(r, "_edge._tcp.test", DNS_TYPE_SRV).error, 0);
	assert_true(silent.udp_questions > 0);
	resolver_free(r);
	fake_dns_stop(&silent);
}

static void test_limit_and_cancel(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(0);
	struct result result = {};
	struct resolve_record *handles[RESOLVE_RECORDS_MAX], *more;
	struct dns_question q = { "one.test", DNS_TYPE_A, on_done, &result };
	for (unsigned int i = 0; i < RESOLVE_RECORDS_MAX; i++)
		assert_int_equal(resolve_record(r, &q, &handles[i]), 0);
	assert_int_equal(resolve_record(r, &q, &more), -E2BIG);
	for (unsigned int i = 0; i < RESOLVE_RECORDS_MAX; i += 2)
		resolve_record_cancel(handles[i]);
	resolve_record_cancel(NULL);
	RUN_UNTIL(result.calls == RESOLVE_RECORDS_MAX / 2);

	/* Cancelled on the way, and freed with questions on the way. */
	assert_int_equal(resolve_record(r, &q, &more), 0);
	resolve_record_cancel(more);
	q.name = "mute.test";
	q.type = DNS_TYPE_SRV;
	assert_int_equal(resolve_record(r, &q, &more), 0);
	assert_int_equal(resolve_record(r, &q, &more), 0);
	resolve_record_cancel(more);
	resolver_free(r);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(result.calls, RESOLVE_RECORDS_MAX / 2);
}

/* At boot the file comes late, and it may change: what it says then is asked. */
static void test_changed_resolv_conf(void **state)
{
	(void)state;
	char path[] = "/tmp/test-resolve_record.conf.XXXXXX", text[64];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	struct resolver_params p = {
		.hosts_file = hosts_file,
		.resolv_conf = path,
		.timeout_ms = timeout_ms,
		.tries = 1,
	};
	struct resolver *r;
	static const char wrong[] = "nameserver [127.0.0.1]:1\n";
	assert_int_equal(write(fd, wrong, sizeof(wrong) - 1), sizeof(wrong) - 1);
	assert_int_equal(resolver_new_with(loop, &p, &r), 0);
	assert_true(ask(r, "one.test", DNS_TYPE_A).error < 0);
	int len = snprintf(text, sizeof(text), "# better\nnameserver [127.0.0.1]:%u\n", dns.port);
	assert_int_equal(pwrite(fd, text, (size_t)len, 0), len);
	assert_int_equal(ask(r, "one.test", DNS_TYPE_A).error, 0);
	assert_int_equal(unlink(path), 0); /* as while it is rewritten */
	(void)ask(r, "one.test", DNS_TYPE_A);
	resolver_free(r);
	close(fd);
}

/* ---- order of services --------------------------------------------------------------------- */

static void test_order(void **state)
{
	(void)state;
	static const struct dns_srv set[] = {
		{ 1, 0, 1, "none.test" },  { 1, 30, 1, "b.test" },   { 1, 10, 1, "a.test" },
		{ 0, 0, 1, "first.test" }, { 9, 5, 1, "last.test" },
	};
	unsigned int first_a = 0, first_b = 0;
	for (uint64_t seed = 0; seed < 4000; seed++) {
		struct dns_srv srv[5], turned[5];
		for (int i = 0; i < 5; i++)
			srv[i] = turned[4 - i] = set[i];
		dns_srv_sort(srv, 5, seed);
		dns_srv_sort(turned, 5, seed);
		assert_memory_equal(srv, turned, sizeof(srv));
		assert_string_equal(srv[0].target, "first.test");
		assert_string_equal(srv[4].target, "last.test");
		first_a += strcmp(srv[1].target, "a.test") == 0;
		first_b += strcmp(srv[1].target, "b.test") == 0;
	}
	/* 10/41 and 30/41 of 4000. */
	assert_in_range(first_a, 850, 1100);
	assert_in_range(first_b, 2800, 3050);
	dns_srv_sort(NULL, 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_dead_server),
		cmocka_unit_test(test_limit_and_cancel),
		cmocka_unit_test(test_changed_resolv_conf),
		cmocka_unit_test(test_order),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
