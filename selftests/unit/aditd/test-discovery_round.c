/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One search against a name server of the test's own: services to a set with regions, names of a
 * configuration, families, half an answer, failures, and the same over TLS.
 */
#include "daemon/aditd/discovery_round.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <ares.h>
#include <cmocka.h>
#include <openssl/ssl.h>

#include "daemon/conf/value.h"
#include "daemon/wire/endpoint.h"
#include "selftests/lib/fake_dns.h"
#include "selftests/lib/testcert.h"

static struct loop *loop;
static struct slab *slab;
static struct fake_dns dns;
static SSL_CTX *client_ctx, *server_ctx;

#define SERVICE "_v2._tcp.test"

static const struct fake_record full[] = {
	FAKE_SRV(SERVICE, 300, 1, 1, 7844, "region2.test"),
	FAKE_SRV(SERVICE, 300, 1, 1, 7844, "region1.test"),
	FAKE_RECORD("region1.test", A, "192.0.2.11", 86400),
	FAKE_RECORD("region1.test", A, "192.0.2.12", 86400),
	FAKE_RECORD("region1.test", AAAA, "2001:db8::11", 120),
	FAKE_RECORD("region2.test", A, "192.0.2.21", 86400),
	FAKE_RECORD("region2.test", AAAA, "2001:db8::21", 86400),
	FAKE_RECORD("protocol.test", TXT, "[{\"protocol\":\"quic\",\"percentage\":40}]", 60),
	FAKE_RECORD("features.test", TXT, "{\"dv3_2\":30}", 60),
	{},
};

static int setup(void **state)
{
	(void)state;
	if (loop_new(&loop) < 0 || slab_new(16 << 20, &slab) < 0)
		return -1;
	struct test_cert ca = test_ca_new("ca");
	struct test_cert leaf = test_cert_new(&ca, "DNS:dns.test");
	server_ctx = test_cert_server_ctx(&leaf);
	client_ctx = test_cert_client_ctx(&ca);
	test_cert_free(&leaf);
	test_cert_free(&ca);
	fake_dns_start(&dns, loop, slab, server_ctx);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_dns_stop(&dns);
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	loop_free(loop);
	slab_free(slab);
	return 0;
}

/* ---- a search ------------------------------------------------------------------------------ */

static struct {
	unsigned int calls, early_calls;
	struct round_result early, last;
	nsec_t early_at;
} seen;

static void on_result(const struct round_result *result, void *user)
{
	(void)user;
	assert_int_equal(seen.calls, 0);
	if (result->is_early) {
		seen.early_calls++;
		seen.early = *result;
		seen.early_at = loop_now(loop);
	} else {
		seen.calls++;
		seen.last = *result;
	}
}

#define RUN_UNTIL(condition)                                                        \
	do {                                                                        \
		nsec_t deadline_ = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC; \
		while (!(condition)) {                                              \
			assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline_);       \
			assert_int_equal(loop_turn(loop, 20 * NSEC_PER_MSEC), 0);   \
		}                                                                   \
	} while (0)

static const struct round_names vendor = {
	.service = SERVICE,
	.protocols = "protocol.test",
	.features = "features.test",
};

/* With a name server that says nothing. */
enum { SHORT_MSEC = 500, LONG_MSEC = 8000 };

static unsigned int patience_msec = LONG_MSEC;

static struct discovery_round *begin(const struct round_names *names, enum round_kind kind,
				     bool over_tls, bool wants_early)
{
	static struct dot_server server;
	static char servers[64];
	server = (struct dot_server){
		.addr = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } },
			  .port = dns.tls_port },
		.name = "dns.test",
		.timeout = patience_msec * NSEC_PER_MSEC,
	};
	(void)snprintf(servers, sizeof(servers), "127.0.0.1:%u", dns.port);
	const struct resolver_params resolver = {
		.servers = servers,
		.hosts_file = "/dev/null",
		.timeout_ms = patience_msec,
		.tries = 1,
	};
	struct round_params params = {
		.loop = loop,
		.slab = slab,
		.kind = kind,
		.wants_early = wants_early,
		.names = names,
		.resolver = &resolver,
		.tls = over_tls ? client_ctx : NULL,
		.server = &server,
		.on_result = on_result,
	};
	struct discovery_round *r;
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(discovery_round_new(&params, &r), 0);
	assert_int_equal(seen.calls, 0);
	return r;
}

static void search(const struct round_names *names, enum round_kind kind, bool over_tls)
{
	struct discovery_round *r = begin(names, kind, over_tls, false);
	RUN_UNTIL(seen.calls);
	discovery_round_free(r);
}

/* "REGION ADDRESS:PORT" is in the set. */
static bool has(const struct edge_set *set, uint8_t region, const char *text)
{
	struct ip_port addr;
	assert_int_equal(ip_port_parse(span_str(text), &addr), 0);
	for (unsigned int i = 0; i < set->count; i++)
		if (ip_port_eq(&set->addrs[i].addr, &addr))
			return set->addrs[i].region == region;
	return false;
}

/* ---- tests --------------------------------------------------------------------------------- */

static void test_services(void **state)
{
	(void)state;
	for (int over_tls = 0; over_tls < 2; over_tls++) {
		dns.records = full;
		search(&vendor, ROUND_KIND_ADDRESSES, over_tls);
		assert_int_equal(seen.last.error, 0);
		assert_int_equal(seen.last.set.count, 5);
		assert_true(has(&seen.last.set, 0, "192.0.2.11:7844"));
		assert_true(has(&seen.last.set, 0, "192.0.2.12:7844"));
		assert_true(has(&seen.last.set, 0, "[2001:db8::11]:7844"));
		assert_true(has(&seen.last.set, 1, "192.0.2.21:7844"));
		assert_true(has(&seen.last.set, 1, "[2001:db8::21]:7844"));
		assert_int_equal(seen.last.ttl_sec, 120);
		assert_int_equal(seen.last.unsure, 0);
		assert_int_equal(seen.early_calls, 0);
	}
}

static void test_ip_version(void **state)
{
	(void)state;
	dns.records = full;
	struct round_names names = vendor;
	names.ip_version = 6;
	unsigned int before = dns.udp_questions;
	search(&names, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.set.count, 2);
	assert_true(has(&seen.last.set, 1, "[2001:db8::21]:7844"));
	assert_int_equal(dns.udp_questions, before + 3); /* the other isn't asked for */
	names.ip_version = 4;
	search(&names, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.set.count, 3);
}

/* One target alone, one that is bad, a third: what is there is used. */
static void test_odd_services(void **state)
{
	(void)state;
	static const struct fake_record single[] = {
		FAKE_SRV(SERVICE, 300, 1, 1, 7845, "region1.test"),
		FAKE_RECORD("region1.test", A, "192.0.2.11", 60),
		FAKE_RECORD("region1.test", AAAA, NULL, 60),
		{},
	};
	static const struct fake_record bad[] = {
		FAKE_SRV(SERVICE, 300, 1, 1, 7844, "gone.test"),
		FAKE_SRV(SERVICE, 300, 1, 1, 7844, "region1.test"),
		FAKE_RECORD("region1.test", A, "192.0.2.11", 60),
		{},
	};
	static const struct fake_record failing[] = {
		FAKE_SRV(SERVICE, 300, 1, 1, 7844, "fail.test"),
		FAKE_SRV(SERVICE, 300, 1, 1, 7844, "region1.test"),
		FAKE_RECORD("region1.test", A, "192.0.2.11", 60),
		FAKE_FAILURE("fail.test", A, ARES_RCODE_SERVFAIL),
		FAKE_RECORD("fail.test", AAAA, NULL, 60),
		{},
	};
	static const struct fake_record three[] = {
		FAKE_SRV(SERVICE, 300, 1, 1, 7844, "region1.test"),
		FAKE_SRV(SERVICE, 300, 2, 1, 7844, "region2.test"),
		FAKE_SRV(SERVICE, 300, 3, 1, 7844, "region3.test"),
		FAKE_RECORD("region1.test", A, "192.0.2.11", 60),
		FAKE_RECORD("region2.test", A, "192.0.2.21", 60),
		FAKE_RECORD("region3.test", A, "192.0.2.31", 60),
		{},
	};
	dns.records = single;
	search(&vendor, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.error, 0);
	assert_int_equal(seen.last.set.count, 1);
	assert_true(has(&seen.last.set, 0, "192.0.2.11:7845"));
	assert_int_equal(seen.last.unsure, 0);

	dns.records = bad;
	search(&vendor, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.error, 0);
	assert_int_equal(seen.last.set.count, 1);
	assert_true(has(&seen.last.set, 1, "192.0.2.11:7844"));

	dns.records = failing;
	search(&vendor, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.error, 0);
	assert_int_equal(seen.last.unsure, edge_set_bit(0, IP_FAMILY_V4));

	dns.records = three;
	search(&vendor, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.set.count, 2);
	assert_true(has(&seen.last.set, 1, "192.0.2.21:7844"));
}

static void test_failures(void **state)
{
	(void)state;
	static const struct fake_record no_hosts[] = {
		FAKE_SRV(SERVICE, 300, 1, 1, 7844, "gone.test"),
		{},
	};
	dns.records = no_hosts + 1;
	search(&vendor, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.error, -ENOENT);
	assert_string_equal(seen.last.text, SERVICE ": no such name");
	dns.records = no_hosts;
	search(&vendor, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.error, -ENOENT);
	assert_string_equal(seen.last.text, "gone.test: no such name");
	dns.rcode = ARES_RCODE_SERVFAIL;
	search(&vendor, ROUND_KIND_ADDRESSES, true);
	assert_int_equal(seen.last.error, -EAGAIN);
	assert_string_equal(seen.last.text, SERVICE " over TLS: the name server failed");
	dns.rcode = 0;
	dns.is_mute = true;
	patience_msec = SHORT_MSEC;
	search(&vendor, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.error, -ETIMEDOUT);
	search(&vendor, ROUND_KIND_ADDRESSES, true);
	assert_int_equal(seen.last.error, -ETIMEDOUT);
	dns.is_mute = false;
	patience_msec = LONG_MSEC;
}

/* One family is silent: the other is told of after 250 ms, and the whole when it is clear. */
static void test_early(void **state)
{
	(void)state;
	static const struct fake_record half[] = {
		FAKE_SRV(SERVICE, 300, 1, 1, 7844, "region1.test"),
		FAKE_RECORD("region1.test", A, "192.0.2.11", 60),
		FAKE_SILENCE("region1.test", AAAA),
		{},
	};
	dns.records = half;
	patience_msec = SHORT_MSEC;
	nsec_t start = nsec_clock(CLOCK_MONOTONIC);
	struct discovery_round *r = begin(&vendor, ROUND_KIND_ADDRESSES, false, true);
	RUN_UNTIL(seen.calls);
	discovery_round_free(r);
	assert_int_equal(seen.early_calls, 1);
	assert_true(seen.early_at - start >= (ROUND_EARLY_MSEC - 10) * NSEC_PER_MSEC);
	assert_int_equal(seen.early.set.count, 1);
	assert_int_equal(seen.last.error, 0);
	assert_int_equal(seen.last.set.count, 1);
	assert_int_equal(seen.last.unsure, edge_set_bit(0, IP_FAMILY_V6));

	/* All at once: nothing is early. */
	patience_msec = LONG_MSEC;
	dns.records = full;
	r = begin(&vendor, ROUND_KIND_ADDRESSES, false, true);
	RUN_UNTIL(seen.calls);
	discovery_round_free(r);
	assert_int_equal(seen.early_calls, 0);
}

static void test_names(void **state)
{
	(void)state;
	static const struct fake_record records[] = {
		FAKE_RECORD("one.test", A, "192.0.2.1", 60),
		FAKE_RECORD("two.test", A, "192.0.2.2", 60),
		{},
	};
	static const struct conf_addr addresses[] = {
		{ .host = "one.test", .addr.port = 1 },
		{ .host = "gone.test", .addr.port = 2 },
		{ .host = "192.0.2.9",
		  .addr = { .ip = { .family = IP_FAMILY_V4, .bytes = { 192, 0, 2, 9 } },
			    .port = 3 } },
		{ .host = "two.test", .addr.port = 4 },
	};
	const struct round_names names = { .addresses = addresses, .address_count = 4 };
	dns.records = records;
	for (int over_tls = 0; over_tls < 2; over_tls++) {
		search(&names, ROUND_KIND_ADDRESSES, over_tls);
		assert_int_equal(seen.last.error, 0);
		assert_int_equal(seen.last.set.count, 3);
		assert_true(has(&seen.last.set, 0, "192.0.2.1:1"));
		assert_true(has(&seen.last.set, 0, "192.0.2.9:3"));
		assert_true(has(&seen.last.set, 1, "192.0.2.2:4"));
	}
	/* More names than are looked up. */
	static char texts[40][32];
	static struct conf_addr many[40];
	for (int i = 0; i < 40; i++) {
		(void)snprintf(texts[i], sizeof(texts[i]), "n%d.test", i);
		many[i] = (struct conf_addr){ .host = texts[i], .addr.port = 1 };
	}
	const struct round_names too_many = { .addresses = many, .address_count = 40 };
	unsigned int before = dns.udp_questions;
	search(&too_many, ROUND_KIND_ADDRESSES, false);
	assert_int_equal(seen.last.error, -ENOENT);
	assert_int_equal(dns.udp_questions - before, 2 * ROUND_NAMES_MAX);
}

static void test_records(void **state)
{
	(void)state;
	static const struct fake_record half[] = {
		FAKE_RECORD("protocol.test", TXT, "rubbish", 60),
		FAKE_RECORD("features.test", TXT, "{\"dv3_2\":30}", 60),
		{},
	};
	dns.records = full;
	search(&vendor, ROUND_KIND_RECORDS, true);
	assert_int_equal(seen.last.error, 0);
	assert_true(seen.last.records.has_protocols && seen.last.records.has_features);
	assert_int_equal(seen.last.records.quic_percent, 40);
	assert_int_equal(seen.last.records.dv3_2_percent, 30);
	dns.records = half;
	search(&vendor, ROUND_KIND_RECORDS, false);
	assert_int_equal(seen.last.error, 0);
	assert_false(seen.last.records.has_protocols);
	dns.records = half + 2;
	search(&vendor, ROUND_KIND_RECORDS, false);
	assert_int_equal(seen.last.error, -ENOENT);
}

static void test_freed(void **state)
{
	(void)state;
	dns.is_mute = true;
	for (int over_tls = 0; over_tls < 2; over_tls++) {
		struct discovery_round *r = begin(&vendor, ROUND_KIND_ADDRESSES, over_tls, true);
		assert_int_equal(loop_turn(loop, 5 * NSEC_PER_MSEC), 0);
		discovery_round_free(r);
		assert_int_equal(loop_turn(loop, 5 * NSEC_PER_MSEC), 0);
		assert_int_equal(seen.calls, 0);
	}
	dns.is_mute = false;
	discovery_round_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_services),     cmocka_unit_test(test_ip_version),
		cmocka_unit_test(test_odd_services), cmocka_unit_test(test_failures),
		cmocka_unit_test(test_early),        cmocka_unit_test(test_names),
		cmocka_unit_test(test_records),      cmocka_unit_test(test_freed),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
