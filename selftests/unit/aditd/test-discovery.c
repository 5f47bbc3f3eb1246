/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery as the daemon sees it, with a worker of its own and a name server on this thread:
 * literals at once, DNS, the cache before DNS and in the place of it, DNS over TLS when the
 * resolver fails, errors and their end, refresh, records, and an end in the middle of it all.
 */
#include "daemon/aditd/discovery.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ares.h>
#include <cmocka.h>
#include <openssl/ssl.h>

#include "daemon/aditd/discovery_set.h"
#include "daemon/base/file.h"
#include "daemon/base/mainloop.h"
#include "daemon/base/worker.h"
#include "daemon/conf/conf.h"
#include "daemon/net/resolve.h"
#include "daemon/wire/endpoint.h"
#include "selftests/lib/fake_dns.h"
#include "selftests/lib/testcert.h"
#include "util/macro.h"

#define SERVICE "_v2-origintunneld._tcp.argotunnel.com"

static struct loop *dns_loop;
static struct slab *dns_slab;
static SSL_CTX *server_ctx;
static struct fake_dns dns;
static struct metric_registry *metrics;
static struct worker_set *workers;
static struct mainloop *ml;
static char folder[] = "/tmp/test-discovery.XXXXXX";
static char cache_file[64], ca_file[64];

static const struct fake_record vendor[] = {
	FAKE_SRV(SERVICE, 300, 1, 1, 7844, "region1.test"),
	FAKE_SRV(SERVICE, 300, 1, 1, 7844, "region2.test"),
	FAKE_RECORD("region1.test", A, "192.0.2.11", 300),
	FAKE_RECORD("region2.test", A, "192.0.2.21", 300),
	FAKE_RECORD("protocol-v2.argotunnel.com", TXT,
		    "[{\"protocol\":\"quic\",\"percentage\":40}]", 60),
	FAKE_RECORD("cfd-features.argotunnel.com", TXT, "{\"dv3_2\":30}", 60),
	FAKE_RECORD("edge.test", A, "192.0.2.31", 300),
	{},
};

static int setup(void **state)
{
	(void)state;
	struct worker_params params = { .count = 1, .memory = 16 << 20 };
	if (!mkdtemp(folder) || loop_new(&dns_loop) < 0 || slab_new(16 << 20, &dns_slab) < 0 ||
	    metric_registry_new(1000, &metrics) < 0)
		return -1;
	params.metrics = metrics;
	(void)snprintf(cache_file, sizeof(cache_file), "%s/" DISCOVERY_CACHE_FILE, folder);
	(void)snprintf(ca_file, sizeof(ca_file), "%s/ca.pem", folder);
	struct test_cert ca = test_ca_new("ca");
	struct test_cert leaf = test_cert_new(&ca, "DNS:dns.test");
	server_ctx = test_cert_server_ctx(&leaf);
	test_cert_write(ca_file, &ca, NULL, false);
	test_cert_free(&leaf);
	test_cert_free(&ca);
	/* What the system trusts. */
	if (setenv("SSL_CERT_FILE", ca_file, 1) < 0)
		return -1;
	if (worker_set_new(&params, &workers) < 0 || mainloop_new(NULL, &ml) < 0)
		return -1;
	return worker_set_start(workers, NULL, NULL);
}

static int teardown(void **state)
{
	(void)state;
	worker_set_stop(workers);
	worker_set_free(workers);
	mainloop_free(ml);
	SSL_CTX_free(server_ctx);
	loop_free(dns_loop);
	slab_free(dns_slab);
	metric_registry_free(metrics);
	(void)unlink(cache_file);
	(void)unlink(ca_file);
	return rmdir(folder);
}

static nsec_t refresh_min; /* 0: the usual one */

/* Each test has a server of its own: what an agent of the test before still asks, nobody counts. */
static int begin_server(void **state)
{
	(void)state;
	(void)unlink(cache_file);
	dns = (struct fake_dns){ .records = vendor };
	fake_dns_start(&dns, dns_loop, dns_slab, server_ctx);
	refresh_min = 0;
	return 0;
}

static int end_server(void **state)
{
	(void)state;
	fake_dns_stop(&dns);
	return 0;
}

static void turn(void)
{
	assert_int_equal(mainloop_turn(ml, 2 * NSEC_PER_MSEC), 0);
	assert_int_equal(loop_turn(dns_loop, 0), 0);
}

#define RUN_UNTIL(condition)                                                        \
	do {                                                                        \
		nsec_t deadline_ = nsec_clock(CLOCK_MONOTONIC) + 15 * NSEC_PER_SEC; \
		while (!(condition)) {                                              \
			assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline_);       \
			turn();                                                     \
		}                                                                   \
	} while (0)

/* ---- what was told ------------------------------------------------------------------------- */

static struct {
	struct edge_set set;
	unsigned int sets[DISCOVERY_SOURCE_MAX_];
	struct discovery_records records;
	unsigned int records_calls, errors;
	char error[256];
} seen;

static void on_set(const struct edge_addr *addrs, unsigned int count, enum discovery_source source,
		   void *user)
{
	assert_ptr_equal(user, &seen);
	assert_true(count > 0 && count <= EDGE_ADDRS_MAX);
	seen.sets[source]++;
	seen.set.count = count;
	memcpy(seen.set.addrs, addrs, count * sizeof(*addrs));
}

static void on_records(const struct discovery_records *records, void *user)
{
	(void)user;
	seen.records = *records;
	seen.records_calls++;
}

static void on_error(const char *text, void *user)
{
	(void)user;
	seen.errors++;
	(void)snprintf(seen.error, sizeof(seen.error), "%s", text);
}

static bool has(uint8_t region, const char *text)
{
	struct ip_port addr;
	assert_int_equal(ip_port_parse(span_str(text), &addr), 0);
	for (unsigned int i = 0; i < seen.set.count; i++)
		if (ip_port_eq(&seen.set.addrs[i].addr, &addr))
			return seen.set.addrs[i].region == region;
	return false;
}

static struct discovery *begin(const struct conf *conf)
{
	static const struct discovery_events events = {
		.on_set = on_set,
		.on_records = on_records,
		.on_error = on_error,
	};
	/* What a search reads on the worker stays as it is: each has its own. */
	static struct {
		char servers[64], over_tls[64];
		struct resolver_params resolver;
	} all[100], *own = all;
	assert_true(own < all + ARRAY_SIZE(all));
	(void)snprintf(own->servers, sizeof(own->servers), "127.0.0.1:%u", dns.port);
	(void)snprintf(own->over_tls, sizeof(own->over_tls), "dns.test@127.0.0.1:%u", dns.tls_port);
	own->resolver = (struct resolver_params){
		.servers = own->servers,
		.hosts_file = "/dev/null",
		.timeout_ms = 250,
		.tries = 1,
	};
	struct discovery_params params = {
		.loop = ml,
		.worker = worker_set_get(workers, 0),
		.conf = conf,
		.state_dir = folder,
		.resolver = &own->resolver,
		.over_tls = own->over_tls,
		.refresh_min = refresh_min,
		.events = &events,
		.user = &seen,
	};
	memset(&seen, 0, sizeof(seen));
	struct discovery *d;
	assert_int_equal(discovery_new(&params, &d), 0);
	own++;
	assert_int_equal(seen.sets[0] + seen.sets[1] + seen.sets[2] + seen.errors, 0);
	return d;
}

static void write_cache(const char *text)
{
	assert_int_equal(file_replace_fast(cache_file, span_str(text), 0600), 0);
}

#define CACHED(source) "adit edge addresses 1\nfrom " source "\n1 192.0.2.77:7844\nend\n"

/* ---- tests --------------------------------------------------------------------------------- */

static const struct conf vendor_conf;

/* The whole answer: a slow machine gets a part of the addresses first, which isn't kept. */
static bool knows_vendor(void)
{
	return seen.sets[DISCOVERY_SOURCE_DNS] && access(cache_file, F_OK) == 0 &&
	       seen.records.has_protocols && seen.records.has_features;
}

static void test_vendor(void **state)
{
	(void)state;
	struct discovery *d = begin(&vendor_conf);
	RUN_UNTIL(knows_vendor());
	assert_int_equal(seen.set.count, 2);
	assert_true(has(0, "192.0.2.11:7844") && has(1, "192.0.2.21:7844"));
	assert_int_equal(seen.records.quic_percent, 40);
	assert_int_equal(seen.records.dv3_2_percent, 30);
	assert_int_equal(seen.errors, 0);
	assert_int_equal(dns.tls_questions, 0);
	struct stat st;
	assert_int_equal(stat(cache_file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	discovery_free(d);
	discovery_free(NULL);
	turn();
}

static void test_region(void **state)
{
	(void)state;
	static const struct fake_record us[] = {
		FAKE_SRV("_us-v2-origintunneld._tcp.argotunnel.com", 300, 1, 1, 7844, "us.test"),
		FAKE_RECORD("us.test", A, "192.0.2.41", 300),
		{},
	};
	const struct conf conf = { .edge.region = "us" };
	dns.records = us;
	struct discovery *d = begin(&conf);
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS]);
	assert_true(has(0, "192.0.2.41:7844"));
	discovery_free(d);
}

static const struct conf_addr mixed[] = {
	{ .host = "192.0.2.9",
	  .addr = { .ip = { .family = IP_FAMILY_V4, .bytes = { 192, 0, 2, 9 } }, .port = 1 } },
	{ .host = "edge.test", .addr.port = 2 },
};

static void test_literals(void **state)
{
	(void)state;
	const struct conf alone = { .edge = { .addresses = mixed, .address_count = 1 } };
	struct discovery *d = begin(&alone);
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_CONFIG]);
	assert_true(has(0, "192.0.2.9:1"));
	discovery_refresh(d);
	discovery_free(d);
	assert_int_equal(dns.udp_questions, 0);
	assert_int_equal(access(cache_file, F_OK), -1);

	/* With a name: the literal doesn't wait for it, nor depend on it. */
	const struct conf both = { .edge = { .addresses = mixed, .address_count = 2 } };
	dns.is_mute = true;
	d = begin(&both);
	RUN_UNTIL(seen.errors);
	assert_int_equal(seen.sets[DISCOVERY_SOURCE_CONFIG], 1);
	assert_string_equal(seen.error, "edge.test: no answer");
	dns.is_mute = false;
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS]);
	assert_true(has(0, "192.0.2.9:1") && has(1, "192.0.2.31:2"));
	assert_string_equal(seen.error, "");
	assert_int_equal(dns.tls_questions, 0); /* one's own names are nobody else's business */
	discovery_free(d);
}

/* The last good set: while nobody answers, of this configuration only, and whatever else is there.
 */
static void test_cache(void **state)
{
	(void)state;
	write_cache(CACHED(SERVICE));
	dns.is_mute = true;
	nsec_t start = nsec_clock(CLOCK_MONOTONIC);
	struct discovery *d = begin(&vendor_conf);
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_CACHE]);
	assert_true(nsec_clock(CLOCK_MONOTONIC) - start < 2 * NSEC_PER_SEC);
	assert_true(has(1, "192.0.2.77:7844"));
	dns.is_mute = false;
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS]);
	assert_int_equal(seen.set.count, 2);
	discovery_free(d);

	/* Now there is another one, which isn't needed when DNS answers. */
	d = begin(&vendor_conf);
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS]);
	assert_int_equal(seen.sets[DISCOVERY_SOURCE_CACHE], 0);
	discovery_free(d);

	static const char *const bad[] = { CACHED("elsewhere"), "garbage", "" };
	dns.rcode = ARES_RCODE_SERVFAIL;
	for (int i = 0; i < 3; i++) {
		write_cache(bad[i]);
		d = begin(&vendor_conf);
		RUN_UNTIL(seen.errors);
		assert_int_equal(seen.sets[DISCOVERY_SOURCE_CACHE], 0);
		discovery_free(d);
	}
}

static void test_over_tls(void **state)
{
	(void)state;
	/* The resolver knows nothing: DNS over TLS at once. */
	static const struct fake_record nothing[] = { {} };
	struct fake_dns system = { .records = nothing };
	fake_dns_start(&system, dns_loop, dns_slab, NULL);
	uint16_t port = dns.port;
	dns.port = system.port;
	struct discovery *d = begin(&vendor_conf);
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS] && seen.records_calls);
	assert_true(has(0, "192.0.2.11:7844"));
	assert_true(dns.tls_questions > 0 && system.udp_questions > 0);
	assert_int_equal(seen.errors, 0);
	discovery_free(d);
	fake_dns_stop(&system);
	dns.port = port;

	/* Asked for: nobody else. */
	char server[64];
	(void)snprintf(server, sizeof(server), "dns.test@127.0.0.1:%u", dns.tls_port);
	const struct conf only = {
		.edge = { .addresses = mixed, .address_count = 2, .dns_over_tls = server },
	};
	dns.udp_questions = 0;
	d = begin(&only);
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS]);
	assert_true(has(1, "192.0.2.31:2"));
	assert_int_equal(dns.udp_questions, 0);
	discovery_free(d);

	/* With another name than the certificate's. */
	(void)snprintf(server, sizeof(server), "other.test@127.0.0.1:%u", dns.tls_port);
	d = begin(&only);
	RUN_UNTIL(seen.errors);
	assert_non_null(strstr(seen.error, "certificate was refused: hostname mismatch"));
	discovery_free(d);
}

/* Nothing at all, then everything. */
static void test_errors(void **state)
{
	(void)state;
	dns.rcode = ARES_RCODE_REFUSED;
	struct discovery *d = begin(&vendor_conf);
	RUN_UNTIL(seen.errors);
	assert_non_null(strstr(seen.error, SERVICE ": the name server failed; " SERVICE
						   " over TLS: the name server failed"));
	RUN_UNTIL(seen.errors >= 2); /* it goes on trying */
	dns.rcode = 0;
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS]);
	assert_string_equal(seen.error, "");
	discovery_free(d);
}

/* Asked for too often it does nothing. */
static void test_refresh(void **state)
{
	(void)state;
	struct discovery *d = begin(&vendor_conf);
	discovery_refresh(d); /* before it has begun */
	RUN_UNTIL(knows_vendor());
	unsigned int before = dns.udp_questions;
	discovery_refresh(d);
	for (int i = 0; i < 20; i++)
		turn();
	assert_int_equal(dns.udp_questions, before);
	discovery_free(d);
}

/* The records change: a new set; what isn't answered for stays; failures change nothing. */
static void test_time_to_live(void **state)
{
	(void)state;
	static const struct fake_record before[] = {
		FAKE_SRV(SERVICE, 0, 1, 1, 7844, "region1.test"),
		FAKE_SRV(SERVICE, 0, 1, 1, 7844, "region2.test"),
		FAKE_RECORD("region1.test", A, "192.0.2.11", 0),
		FAKE_RECORD("region2.test", A, "192.0.2.21", 0),
		{},
	};
	static const struct fake_record half[] = {
		FAKE_SRV(SERVICE, 0, 1, 1, 7844, "region1.test"),
		FAKE_SRV(SERVICE, 0, 1, 1, 7844, "region2.test"),
		FAKE_RECORD("region1.test", A, "192.0.2.12", 0),
		FAKE_FAILURE("region2.test", A, ARES_RCODE_SERVFAIL),
		{},
	};
	static const struct fake_record after[] = {
		FAKE_SRV(SERVICE, 0, 1, 1, 7844, "region1.test"),
		FAKE_RECORD("region1.test", A, "192.0.2.13", 0),
		{},
	};
	refresh_min = 50 * NSEC_PER_MSEC;
	dns.records = before;
	struct discovery *d = begin(&vendor_conf);
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS]);
	unsigned int questions = dns.udp_questions;
	RUN_UNTIL(dns.udp_questions > questions + 10);
	assert_int_equal(seen.sets[DISCOVERY_SOURCE_DNS], 1); /* the same isn't told twice */
	dns.records = half;
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS] == 2);
	assert_int_equal(seen.set.count, 2);
	assert_true(has(0, "192.0.2.12:7844") && has(1, "192.0.2.21:7844"));
	dns.rcode = ARES_RCODE_SERVFAIL;
	RUN_UNTIL(seen.errors);
	assert_int_equal(seen.sets[DISCOVERY_SOURCE_DNS], 2);
	dns.rcode = 0;
	dns.records = after;
	RUN_UNTIL(seen.sets[DISCOVERY_SOURCE_DNS] == 3);
	assert_string_equal(seen.error, "");
	assert_int_equal(seen.set.count, 1);
	assert_true(has(0, "192.0.2.13:7844"));
	discovery_free(d);
}

/* The end may come at any time; once with the worker gone before it hears of it. */
static void test_end(void **state)
{
	(void)state;
	dns.is_mute = true;
	for (int i = 0; i < 30; i++) {
		struct discovery *d = begin(&vendor_conf);
		for (int k = 0; k < i / 3; k++)
			turn();
		discovery_free(d);
	}
	dns.is_mute = false;
	struct discovery *d = begin(&vendor_conf);
	turn();
	worker_set_stop(workers);
	discovery_free(d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_server, end_server)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_vendor),  TEST(test_region),       TEST(test_literals),
		TEST(test_cache),   TEST(test_over_tls),     TEST(test_errors),
		TEST(test_refresh), TEST(test_time_to_live), TEST(test_end),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
