/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting to one of several addresses on loopback. A listener whose queue is full drops what
 * comes: that is our address that never answers.
 */
#include "daemon/net/happy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/net/sockaddr.h"
#include "daemon/net/tcp.h"
#include "util/macro.h"

static struct loop *loop;

static int setup(void **state)
{
	(void)state;
	return loop_new(&loop);
}

static int teardown(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

/* ---- addresses ------------------------------------------------------------------------------- */

struct place {
	struct ip_port at;
	int listener;
	int fillers[4]; /* connections that fill its queue */
};

static struct ip_port loopback(enum ip_family family)
{
	struct ip_port p = { .ip = { .family = family } };
	if (family == IP_FAMILY_V4)
		memcpy(p.ip.bytes, (uint8_t[]){ 127, 0, 0, 1 }, 4);
	else
		p.ip.bytes[15] = 1;
	return p;
}

static struct place place_alive(enum ip_family family)
{
	struct place p = { .at = loopback(family), .fillers = { -1, -1, -1, -1 } };
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	p.listener = tcp_listen(&p.at, false, 8);
	assert_true(p.listener >= 0);
	assert_int_equal(getsockname(p.listener, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &p.at), 0);
	return p;
}

static struct place place_mute(enum ip_family family)
{
	struct place p = place_alive(family);
	assert_int_equal(listen(p.listener, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(p.fillers); i++)
		p.fillers[i] = tcp_connect(&p.at, 0);
	return p;
}

static void place_close(struct place *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(p->fillers); i++)
		if (p->fillers[i] >= 0)
			close(p->fillers[i]);
	if (p->listener >= 0)
		close(p->listener);
	p->listener = -1;
}

/* Nobody listens there (any more). */
static struct ip_port place_dead(enum ip_family family)
{
	struct place p = place_alive(family);
	place_close(&p);
	return p.at;
}

enum { SLEEP_MSEC = 20 };

/* ---- one connect ----------------------------------------------------------------------------- */

struct result {
	unsigned int calls;
	int fd_or_error;
	struct ip_port peer;
	nsec_t took;
	unsigned int turns; /* of the loop; in each it may sleep for SLEEP_MSEC */
};

static void on_done(int fd_or_error, const struct ip_port *peer, void *user)
{
	struct result *r = user;
	r->calls++;
	r->fd_or_error = fd_or_error;
	if (fd_or_error >= 0)
		r->peer = *peer;
	else
		assert_null(peer);
}

static struct result connect_to(const struct happy_params *params)
{
	struct result r = {};
	struct happy *h;
	nsec_t start = nsec_clock(CLOCK_MONOTONIC);
	assert_int_equal(loop_turn(loop, 0), 0); /* the loop's clock */
	assert_int_equal(happy_connect(loop, params, on_done, &r, &h), 0);
	assert_int_equal(r.calls, 0);
	while (!r.calls) {
		assert_true(nsec_clock(CLOCK_MONOTONIC) < start + 10 * NSEC_PER_SEC);
		assert_int_equal(loop_turn(loop, SLEEP_MSEC * NSEC_PER_MSEC), 0);
		r.turns++;
	}
	r.took = nsec_clock(CLOCK_MONOTONIC) - start;
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(r.calls, 1);
	if (r.fd_or_error >= 0) {
		assert_int_equal(socket_error(r.fd_or_error), 0);
		assert_int_equal(send(r.fd_or_error, "x", 1, MSG_NOSIGNAL), 1);
		close(r.fd_or_error);
	}
	return r;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_v6_first(void **state)
{
	(void)state;
	struct place four = place_alive(IP_FAMILY_V4), six = place_alive(IP_FAMILY_V6);
	struct ip_port addrs[] = { four.at, six.at };
	struct happy_params p = { .addrs = addrs, .count = 2, .tcp.keep_alive_sec = 30 };
	struct result r = connect_to(&p);
	assert_true(r.fd_or_error >= 0);
	assert_true(ip_port_eq(&r.peer, &six.at));

	p.sequential = true; /* as given */
	r = connect_to(&p);
	assert_true(ip_port_eq(&r.peer, &four.at));
	place_close(&four);
	place_close(&six);
}

static void test_mute_first(void **state)
{
	(void)state;
	struct place four = place_alive(IP_FAMILY_V4), six = place_mute(IP_FAMILY_V6);
	struct ip_port addrs[] = { six.at, four.at };
	struct happy_params p = { .addrs = addrs, .count = 2, .timeout = 5 * NSEC_PER_SEC };
	struct result r = connect_to(&p);
	assert_true(r.fd_or_error >= 0);
	assert_true(ip_port_eq(&r.peer, &four.at));
	assert_in_range(r.took, 240 * NSEC_PER_MSEC, p.timeout - 1);
	place_close(&four);
	place_close(&six);
}

/* A refusal doesn't wait for the 250 ms, which are more turns than that. */
static void test_refused_first(void **state)
{
	(void)state;
	struct place four = place_alive(IP_FAMILY_V4);
	struct ip_port addrs[] = { place_dead(IP_FAMILY_V6), place_dead(IP_FAMILY_V4), four.at };
	struct happy_params p = { .addrs = addrs, .count = 3 };
	for (int i = 0; i < 2; i++) {
		p.sequential = i;
		struct result r = connect_to(&p);
		assert_true(r.fd_or_error >= 0);
		assert_true(ip_port_eq(&r.peer, &four.at));
		assert_true(r.turns <= 6);
	}
	place_close(&four);
}

static void test_all_fail(void **state)
{
	(void)state;
	struct ip_port addrs[] = { place_dead(IP_FAMILY_V6), place_dead(IP_FAMILY_V4) };
	struct happy_params p = { .addrs = addrs, .count = 2 };
	assert_int_equal(connect_to(&p).fd_or_error, -ECONNREFUSED);

	/* Refused at once by the kernel: still told from the loop. */
	struct ip_port nowhere = {
		.ip = { .family = IP_FAMILY_V4, .bytes = { 255, 255, 255, 255 } }, .port = 9
	};
	p = (struct happy_params){ .addrs = &nowhere, .count = 1 };
	assert_true(connect_to(&p).fd_or_error < 0);
}

static void test_timeout(void **state)
{
	(void)state;
	struct place six = place_mute(IP_FAMILY_V6);
	struct happy_params p = { .addrs = &six.at, .count = 1, .timeout = 50 * NSEC_PER_MSEC };
	struct result r = connect_to(&p);
	assert_int_equal(r.fd_or_error, -ETIMEDOUT);
	assert_true(r.took >= 45 * NSEC_PER_MSEC);
	place_close(&six);
}

/* In sequence an address that hangs leaves time for the next. */
static void test_sequential_share(void **state)
{
	(void)state;
	struct place four = place_alive(IP_FAMILY_V4), six = place_mute(IP_FAMILY_V6);
	struct ip_port addrs[] = { six.at, four.at };
	struct happy_params p = {
		.addrs = addrs,
		.count = 2,
		.timeout = 600 * NSEC_PER_MSEC,
		.sequential = true,
	};
	struct result r = connect_to(&p);
	assert_true(r.fd_or_error >= 0);
	assert_true(ip_port_eq(&r.peer, &four.at));
	assert_true(r.took >= 290 * NSEC_PER_MSEC);
	place_close(&four);
	place_close(&six);
}

static void test_cancel(void **state)
{
	(void)state;
	struct place six = place_mute(IP_FAMILY_V6);
	struct happy_params p = { .addrs = &six.at, .count = 1, .timeout = 20 * NSEC_PER_MSEC };
	struct result r = {};
	struct happy *h;
	assert_int_equal(happy_connect(loop, &p, on_done, &r, &h), 0);
	happy_cancel(h);
	assert_int_equal(happy_connect(loop, &p, on_done, &r, &h), 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	happy_cancel(h);
	happy_cancel(NULL);
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 40 * NSEC_PER_MSEC;
	while (nsec_clock(CLOCK_MONOTONIC) < end)
		assert_int_equal(loop_turn(loop, 5 * NSEC_PER_MSEC), 0);
	assert_int_equal(r.calls, 0);
	place_close(&six);
}

static void test_many(void **state)
{
	(void)state;
	struct ip_port addrs[HAPPY_MAX_ADDRS + 4];
	struct ip_port dead = place_dead(IP_FAMILY_V4);
	for (size_t i = 0; i < ARRAY_SIZE(addrs); i++)
		addrs[i] = dead;
	struct happy_params p = { .addrs = addrs, .count = ARRAY_SIZE(addrs) };
	assert_int_equal(connect_to(&p).fd_or_error, -ECONNREFUSED);
	p.sequential = true;
	assert_int_equal(connect_to(&p).fd_or_error, -ECONNREFUSED);

	struct happy *h;
	struct result r;
	p.count = 0;
	assert_int_equal(happy_connect(loop, &p, on_done, &r, &h), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v6_first),      cmocka_unit_test(test_mute_first),
		cmocka_unit_test(test_refused_first), cmocka_unit_test(test_all_fail),
		cmocka_unit_test(test_timeout),       cmocka_unit_test(test_sequential_share),
		cmocka_unit_test(test_cancel),        cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
