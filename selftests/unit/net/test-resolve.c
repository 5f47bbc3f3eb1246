/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver against a hosts file and a name server on loopback that knows a few names by heart:
 * answers, errors, cache, one question for many who ask, cancel.
 */
#include "daemon/net/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ares.h>
#include <ares_dns_record.h>
#include <cmocka.h>

#include "daemon/net/sockaddr.h"
#include "daemon/net/tcp.h"
#include "util/macro.h"

static struct loop *loop;
static char hosts_file[] = "/tmp/test-resolve.XXXXXX";

/* ---- the name server ------------------------------------------------------------------------- */

static struct {
	struct loop_io udp, tcp_accept;
	int tcp;
	uint16_t port;
	unsigned int questions; /* that came, per record type */
	unsigned int tcp_questions;
	bool is_mute;
} server;

static void add_address(ares_dns_record_t *answer, const char *name, const char *address,
			unsigned int ttl)
{
	bool is_v6 = strchr(address, ':') != NULL;
	ares_dns_rr_t *rr = NULL;
	assert_int_equal(ares_dns_record_rr_add(&rr, answer, ARES_SECTION_ANSWER, name,
						is_v6 ? ARES_REC_TYPE_AAAA : ARES_REC_TYPE_A,
						ARES_CLASS_IN, ttl),
			 ARES_SUCCESS);
	if (is_v6) {
		struct ares_in6_addr a;
		assert_int_equal(inet_pton(AF_INET6, address, &a), 1);
		assert_int_equal(ares_dns_rr_set_addr6(rr, ARES_RR_AAAA_ADDR, &a), ARES_SUCCESS);
	} else {
		struct in_addr a;
		assert_int_equal(inet_pton(AF_INET, address, &a), 1);
		assert_int_equal(ares_dns_rr_set_addr(rr, ARES_RR_A_ADDR, &a), ARES_SUCCESS);
	}
}

static void add_alias(ares_dns_record_t *answer, const char *name, const char *target)
{
	ares_dns_rr_t *rr = NULL;
	assert_int_equal(ares_dns_record_rr_add(&rr, answer, ARES_SECTION_ANSWER, name,
						ARES_REC_TYPE_CNAME, ARES_CLASS_IN, 300),
			 ARES_SUCCESS);
	assert_int_equal(ares_dns_rr_set_str(rr, ARES_RR_CNAME_CNAME, target), ARES_SUCCESS);
}

/* What the server knows. */
static void fill_answer(ares_dns_record_t *answer, const char *name, bool is_v6)
{
	if (strcmp(name, "two.test") == 0) {
		if (is_v6) {
			add_address(answer, name, "2001:db8::7", 60);
		} else {
			add_address(answer, name, "192.0.2.1", 60);
			add_address(answer, name, "192.0.2.2", 60);
		}
	} else if (strcmp(name, "alias.test") == 0) {
		add_alias(answer, name, "real.test");
		add_address(answer, "real.test", is_v6 ? "2001:db8::8" : "192.0.2.8", 60);
	} else if (strcmp(name, "many.test") == 0 && !is_v6) {
		for (int i = 0; i < 20; i++)
			add_address(answer, name, "192.0.2.9", 60);
	} else if (strcmp(name, "zero.test") == 0) {
		add_address(answer, name, is_v6 ? "::9" : "192.0.2.10", 0);
	} else if (strncmp(name, "number-", 7) == 0) {
		add_address(answer, name, is_v6 ? "::9" : "192.0.2.11", 600);
	} else if (strcmp(name, "large.test") == 0) {
		add_address(answer, name, is_v6 ? "::5" : "192.0.2.5", 60);
	}
}

static ares_dns_rcode_t rcode_of(const char *name)
{
	if (strcmp(name, "fail.test") == 0)
		return ARES_RCODE_SERVFAIL;
	return strcmp(name, "none.test") == 0 ? ARES_RCODE_NXDOMAIN : ARES_RCODE_NOERROR;
}

/* The answer to a query in wire format; to be freed with ares_free_string(). NULL: none. */
static unsigned char *answer_for(const unsigned char *query, size_t len, bool is_tcp,
				 size_t *ret_len)
{
	ares_dns_record_t *q = NULL, *a = NULL;
	const char *name = NULL;
	ares_dns_rec_type_t type;
	ares_dns_class_t class;
	assert_int_equal(ares_dns_parse(query, len, 0, &q), ARES_SUCCESS);
	assert_int_equal(ares_dns_record_query_get(q, 0, &name, &type, &class), ARES_SUCCESS);
	bool is_cut = strcmp(name, "large.test") == 0 && !is_tcp;
	unsigned short flags = ARES_FLAG_QR | ARES_FLAG_RA;
	if (is_cut)
		flags |= ARES_FLAG_TC;
	assert_int_equal(ares_dns_record_create(&a, ares_dns_record_get_id(q), flags,
						ARES_OPCODE_QUERY, rcode_of(name)),
			 ARES_SUCCESS);
	assert_int_equal(ares_dns_record_query_add(a, name, type, class), ARES_SUCCESS);
	if (!is_cut)
		fill_answer(a, name, type == ARES_REC_TYPE_AAAA);
	unsigned char *wire = NULL;
	assert_int_equal(ares_dns_write(a, &wire, ret_len), ARES_SUCCESS);
	ares_dns_record_destroy(a);
	ares_dns_record_destroy(q);
	return wire;
}

static void on_udp(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	unsigned char query[1500];
	ssize_t n;
	while ((n = recvfrom(io->fd, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *)&from,
			     &from_len)) > 0) {
		server.questions++;
		if (server.is_mute)
			continue;
		size_t len = 0;
		unsigned char *wire = answer_for(query, (size_t)n, false, &len);
		(void)sendto(io->fd, wire, len, 0, (struct sockaddr *)&from, from_len);
		ares_free_string(wire);
		from_len = sizeof(from);
	}
}

/* One query per connection is all that the test needs; small enough to come in one piece. */
static void on_tcp(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	unsigned char query[1500];
	ssize_t n = recv(io->fd, query, sizeof(query), 0);
	size_t at = 0;
	while (n > 2 && at + 2 < (size_t)n) {
		size_t query_len = (size_t)query[at] << 8 | query[at + 1], len = 0;
		unsigned char *wire = answer_for(query + at + 2, query_len, true, &len);
		unsigned char head[2] = { (unsigned char)(len >> 8), (unsigned char)len };
		(void)send(io->fd, head, 2, MSG_NOSIGNAL | MSG_MORE);
		(void)send(io->fd, wire, len, MSG_NOSIGNAL);
		ares_free_string(wire);
		server.tcp_questions++;
		at += 2 + query_len;
	}
	if (n <= 0 && n != -1)
		loop_io_stop(io);
}

static struct loop_io tcp_io;

static void on_tcp_accept(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	loop_io_stop(&tcp_io);
	if (server.tcp >= 0)
		close(server.tcp);
	server.tcp = fd;
	tcp_io.on_ready = on_tcp;
	assert_int_equal(loop_io_start(loop, &tcp_io, fd, EPOLLIN), 0);
}

static void server_start(void)
{
	struct ip_port at = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int listener = tcp_listen(&at, false, 8);
	assert_true(listener >= 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &at), 0);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	int size = 1 << 20;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	server.port = at.port;
	server.tcp = -1;
	server.udp.on_ready = on_udp;
	server.tcp_accept.on_ready = on_tcp_accept;
	assert_int_equal(loop_io_start(loop, &server.udp, fd, EPOLLIN), 0);
	assert_int_equal(loop_io_start(loop, &server.tcp_accept, listener, EPOLLIN), 0);
}

static int setup(void **state)
{
	(void)state;
	int fd = mkstemp(hosts_file);
	static const char hosts[] = "127.0.0.1 localhost\n"
				    "192.0.2.99 box.test box\n"
				    "2001:db8::99 box.test\n";
	if (fd < 0 || write(fd, hosts, sizeof(hosts) - 1) < 0 || close(fd) < 0 ||
	    loop_new(&loop) < 0)
		return -1;
	server_start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_io_stop(&tcp_io);
	if (server.tcp >= 0)
		close(server.tcp);
	int fds[] = { server.udp.fd, server.tcp_accept.fd };
	loop_io_stop(&server.udp);
	loop_io_stop(&server.tcp_accept);
	close(fds[0]);
	close(fds[1]);
	loop_free(loop);
	return unlink(hosts_file);
}

/* ---- asking ---------------------------------------------------------------------------------- */

struct result {
	unsigned int calls;
	int error;
	unsigned int count;
	struct ip_port addrs[RESOLVE_MAX_ADDRS];
};

static void on_done(int error, const struct ip_port *addrs, unsigned int count, void *user)
{
	struct result *r = user;
	r->calls++;
	r->error = error;
	r->count = count;
	assert_true((addrs != NULL) == (error == 0));
	if (addrs)
		memcpy(r->addrs, addrs, count * sizeof(*addrs));
}

#define RUN_UNTIL(condition)                                                        \
	do {                                                                        \
		nsec_t deadline_ = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC; \
		while (!(condition)) {                                              \
			assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline_);       \
			assert_int_equal(loop_turn(loop, 20 * NSEC_PER_MSEC), 0);   \
		}                                                                   \
	} while (0)

static unsigned int timeout_ms = 5000;

static struct resolver *open_resolver_with(uint16_t port, unsigned int cache_ms)
{
	char servers[32];
	struct resolver *r;
	(void)snprintf(servers, sizeof(servers), "127.0.0.1:%u", port);
	struct resolver_params p = {
		.servers = servers,
		.hosts_file = hosts_file,
		.timeout_ms = timeout_ms,
		.tries = 1,
		.cache_ms = cache_ms,
	};
	server.questions = 0;
	assert_int_equal(resolver_new_with(loop, &p, &r), 0);
	return r;
}

static struct resolver *open_resolver(uint16_t port)
{
	return open_resolver_with(port, 0);
}

static struct result ask(struct resolver *r, const char *name, enum ip_family family)
{
	struct result result = {};
	struct resolve_query *q;
	assert_int_equal(resolve_addr(r, name, 443, family, on_done, &result, &q), 0);
	assert_int_equal(result.calls, 0); /* never from inside */
	RUN_UNTIL(result.calls);
	assert_int_equal(result.calls, 1);
	for (unsigned int i = 0; i < result.count; i++)
		assert_int_equal(result.addrs[i].port, 443);
	return result;
}

static bool has(const struct result *r, const char *address)
{
	struct ip_addr a = { .family = strchr(address, ':') ? IP_FAMILY_V6 : IP_FAMILY_V4 };
	assert_int_equal(inet_pton(a.family == IP_FAMILY_V6 ? AF_INET6 : AF_INET, address, a.bytes),
			 1);
	for (unsigned int i = 0; i < r->count; i++)
		if (ip_addr_eq(&r->addrs[i].ip, &a))
			return true;
	return false;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_literals(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(server.port);
	struct result a = ask(r, "192.0.2.5", IP_FAMILY_NONE);
	assert_int_equal(a.count, 1);
	assert_true(has(&a, "192.0.2.5"));
	a = ask(r, "2001:db8::1", IP_FAMILY_V6);
	assert_true(has(&a, "2001:db8::1"));
	assert_int_equal(ask(r, "2001:db8::1", IP_FAMILY_V4).error, -ENOENT);
	assert_int_equal(server.questions, 0);

	struct resolve_query *q;
	char longest[300];
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(resolve_addr(r, "", 1, IP_FAMILY_NONE, on_done, &a, &q), -EINVAL);
	assert_int_equal(resolve_addr(r, ".", 1, IP_FAMILY_NONE, on_done, &a, &q), -EINVAL);
	assert_int_equal(resolve_addr(r, longest, 1, IP_FAMILY_NONE, on_done, &a, &q), -EINVAL);
	resolver_free(r);
	resolver_free(NULL);
}

static void test_hosts(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(server.port);
	struct result a = ask(r, "box.test", IP_FAMILY_NONE);
	assert_int_equal(a.error, 0);
	assert_true(has(&a, "192.0.2.99"));
	assert_true(has(&a, "2001:db8::99"));
	a = ask(r, "box", IP_FAMILY_V4);
	assert_int_equal(a.count, 1);
	a = ask(r, "localhost", IP_FAMILY_V4);
	assert_true(has(&a, "127.0.0.1"));
	assert_int_equal(server.questions, 0);
	resolver_free(r);

	/* What the system is configured for, which in a build root may be nothing but /etc/hosts.
	 */
	assert_int_equal(resolver_new(loop, &r), 0);
	a = ask(r, "localhost", IP_FAMILY_NONE);
	assert_int_equal(a.error, 0);
	assert_true(ip_addr_is_loopback(&a.addrs[0].ip));
	resolver_free(r);
}

static void test_answers(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(server.port);
	struct result a = ask(r, "two.test", IP_FAMILY_NONE);
	assert_int_equal(a.count, 3);
	assert_true(has(&a, "192.0.2.1") && has(&a, "192.0.2.2") && has(&a, "2001:db8::7"));
	a = ask(r, "alias.test.", IP_FAMILY_V6);
	assert_int_equal(a.count, 1);
	assert_true(has(&a, "2001:db8::8"));
	a = ask(r, "many.test", IP_FAMILY_V4);
	assert_int_equal(a.count, RESOLVE_MAX_ADDRS);
	assert_int_equal(ask(r, "none.test", IP_FAMILY_NONE).error, -ENOENT);
	assert_int_equal(ask(r, "empty.test", IP_FAMILY_NONE).error, -ENOENT);
	assert_int_equal(ask(r, "many.test", IP_FAMILY_V6).error, -ENOENT);
	assert_int_equal(ask(r, "fail.test", IP_FAMILY_NONE).error, -EAGAIN);
	assert_int_equal(ask(r, "bad name.test", IP_FAMILY_NONE).error, -ENOENT);
	struct resolver_stats stats;
	resolver_get_stats(r, &stats);
	assert_int_equal(stats.queries, 8);
	assert_int_equal(stats.failures, 5);
	resolver_free(r);
}

/* An answer that doesn't fit comes over TCP. */
static void test_truncated(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(server.port);
	struct result a = ask(r, "large.test", IP_FAMILY_V4);
	assert_int_equal(a.error, 0);
	assert_true(has(&a, "192.0.2.5"));
	assert_true(server.tcp_questions > 0);
	resolver_free(r);
}

static void test_cache(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(server.port);
	(void)ask(r, "two.test", IP_FAMILY_V4);
	(void)ask(r, "two.test", IP_FAMILY_V4);
	struct result a = ask(r, "TWO.test.", IP_FAMILY_V4);
	assert_int_equal(a.count, 2);
	assert_int_equal(server.questions, 1);
	(void)ask(r, "two.test", IP_FAMILY_V6);
	assert_int_equal(server.questions, 2);

	/* No time to live: asked each time; and failures aren't kept. */
	(void)ask(r, "zero.test", IP_FAMILY_V4);
	(void)ask(r, "zero.test", IP_FAMILY_V4);
	assert_int_equal(server.questions, 4);
	(void)ask(r, "none.test", IP_FAMILY_V4);
	(void)ask(r, "none.test", IP_FAMILY_V4);
	assert_int_equal(server.questions, 6);

	resolver_free(r);
}

static void test_expiry(void **state)
{
	(void)state;
	struct resolver *r = open_resolver_with(server.port, 50);
	nsec_t start = nsec_clock(CLOCK_MONOTONIC);
	(void)ask(r, "two.test", IP_FAMILY_V4);
	while (server.questions == 1) {
		assert_true(nsec_clock(CLOCK_MONOTONIC) < start + 10 * NSEC_PER_SEC);
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
		(void)ask(r, "two.test", IP_FAMILY_V4);
	}
	assert_true(nsec_clock(CLOCK_MONOTONIC) >= start + 50 * NSEC_PER_MSEC);
	resolver_free(r);
}

static void test_limit(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(server.port);
	char name[32];
	for (int i = 0; i < RESOLVE_CACHE_MAX + 10; i++) {
		(void)snprintf(name, sizeof(name), "number-%d.test", i);
		assert_int_equal(ask(r, name, IP_FAMILY_V4).error, 0);
	}
	/* The first is forgotten, the last is known. */
	unsigned int before = server.questions;
	(void)ask(r, name, IP_FAMILY_V4);
	assert_int_equal(server.questions, before);
	(void)ask(r, "number-0.test", IP_FAMILY_V4);
	assert_int_equal(server.questions, before + 1);
	resolver_free(r);

	/* Nothing to forget: refused, and all that hangs goes with the resolver. */
	r = open_resolver(server.port);
	server.is_mute = true;
	struct result result = {};
	struct resolve_query *q;
	for (int i = 0; i < RESOLVE_CACHE_MAX; i++) {
		(void)snprintf(name, sizeof(name), "number-%d.test", i);
		assert_int_equal(resolve_addr(r, name, 1, IP_FAMILY_V4, on_done, &result, &q), 0);
	}
	assert_int_equal(resolve_addr(r, "one-more.test", 1, IP_FAMILY_V4, on_done, &result, &q),
			 -E2BIG);
	struct resolver_stats stats;
	resolver_get_stats(r, &stats);
	assert_int_equal(stats.refused, 1);
	resolver_free(r);
	for (int i = 0; i < 3; i++) /* the server reads what was asked */
		assert_int_equal(loop_turn(loop, 0), 0);
	server.is_mute = false;
	assert_int_equal(result.calls, 0);
}

static void test_shared_and_cancelled(void **state)
{
	(void)state;
	struct resolver *r = open_resolver(server.port);
	struct result results[10] = {};
	struct resolve_query *q[10];
	for (size_t i = 0; i < ARRAY_SIZE(q); i++)
		assert_int_equal(resolve_addr(r, "two.test", (uint16_t)(i + 1), IP_FAMILY_V4,
					      on_done, &results[i], &q[i]),
				 0);
	resolve_cancel(q[3]);
	RUN_UNTIL(results[9].calls);
	for (size_t i = 0; i < ARRAY_SIZE(q); i++) {
		assert_int_equal(results[i].calls, i != 3);
		if (i != 3)
			assert_int_equal(results[i].addrs[0].port, i + 1);
	}
	assert_int_equal(server.questions, 1);

	/* Answered from the cache, cancelled before it was told. */
	struct result late = {};
	assert_int_equal(resolve_addr(r, "two.test", 1, IP_FAMILY_V4, on_done, &late, &q[0]), 0);
	resolve_cancel(q[0]);
	resolve_cancel(NULL);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(late.calls, 0);

	/* Freed with a question on its way. */
	assert_int_equal(resolve_addr(r, "none.test", 1, IP_FAMILY_V4, on_done, &late, &q[0]), 0);
	resolver_free(r);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(late.calls, 0);
}

static void test_no_server(void **state)
{
	(void)state;
	timeout_ms = 250;
	struct resolver *r = open_resolver(server.port);
	server.is_mute = true;
	nsec_t start = nsec_clock(CLOCK_MONOTONIC);
	assert_int_equal(ask(r, "mute.test", IP_FAMILY_V4).error, -ETIMEDOUT);
	assert_true(nsec_clock(CLOCK_MONOTONIC) - start < 5 * NSEC_PER_SEC);
	server.is_mute = false;
	resolver_free(r);

	/* Nobody listens on port 1 of this address: an error, and soon. */
	r = open_resolver(1);
	int error = ask(r, "mute.test", IP_FAMILY_V4).error;
	assert_true(error == -EAGAIN || error == -ETIMEDOUT);
	resolver_free(r);

	struct resolver_params p = { .servers = "not an address" };
	assert_int_equal(resolver_new_with(loop, &p, &r), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_literals),  cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_answers),   cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_cache),     cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_limit),     cmocka_unit_test(test_shared_and_cancelled),
		cmocka_unit_test(test_no_server),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
