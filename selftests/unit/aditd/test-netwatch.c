/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a recorded kernel's words becomes a call, how often; sleeps; and a system that doesn't
 * let itself be watched.
 */
#include "daemon/aditd/netwatch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

#include <cmocka.h>

#include "daemon/base/mainloop.h"
#include "daemon/base/metric.h"
#include "data/netlink.h"
#include "netlink/monitor.h"
#include "util/macro.h"

#define ADDRESS   "ip addr add 192.0.2.1/24 dev v0 #1"
#define ROUTE     "ip route add default via 192.0.2.2 #1"
#define NEW_ROUTE "ip route replace default via 192.0.2.3 #1"
#define GONE      "ip addr del 192.0.2.1/24 dev v0 #1"

/* The kernel of a test. */
static struct {
	int ours, theirs; /* of a pair: what is sent on theirs is what the kernel says */
	int error;        /* of a read that finds something */
	int open_error;   /* of the monitor */
	unsigned int reads;
	int jumps;
	nsec_t slept;
} kernel;

static struct fixture {
	struct mainloop *loop;
	struct metric_registry *registry;
	struct metric_shard *shard;
	struct netwatch *watch;
	unsigned int calls;
	nsec_t called; /* the last time */
} fx;

/* ---- a kernel ---------------------------------------------------------------------------------
 */

static ssize_t receive(int fd, void *buf, size_t len, struct sockaddr_nl *ret_from)
{
	ssize_t n = recv(fd, buf, len, MSG_TRUNC);
	if (n < 0)
		return -errno;
	kernel.reads++;
	*ret_from = (struct sockaddr_nl){ .nl_family = AF_NETLINK };
	return kernel.error ? kernel.error : n;
}

static int open_monitor(struct monitor **ret)
{
	return kernel.open_error ? kernel.open_error : monitor_new(kernel.ours, receive, ret);
}

static nsec_t read_clock(clockid_t clock)
{
	nsec_t now = 100 * NSEC_PER_SEC;
	return clock == CLOCK_BOOTTIME ? now + kernel.slept : now;
}

static int open_jumps(void)
{
	kernel.jumps = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return kernel.jumps;
}

static int open_no_jumps(void)
{
	return -EMFILE;
}

static struct span recorded(const char *name)
{
	char whole[128];
	(void)snprintf(whole, sizeof(whole), "events/%s", name);
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++)
		if (strcmp(vector_cases[i].name, whole) == 0)
			return vector_span(&vector_cases[i]);
	fail_msg("no case %s", name);
	return (struct span){};
}

static void say_bytes(struct span s)
{
	assert_int_equal(send(kernel.theirs, s.ptr, s.len, 0), (ssize_t)s.len);
}

static void say(const char *name)
{
	say_bytes(recorded(name));
}

/* ---- the ground -------------------------------------------------------------------------------
 */

static void on_change(void *user)
{
	struct fixture *f = user;
	f->calls++;
	f->called = nsec_clock(CLOCK_MONOTONIC);
}

static int setup(void **state UNUSED)
{
	int fds[2];
	fx = (struct fixture){};
	kernel = (typeof(kernel)){ .jumps = -EBADF };
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	kernel.ours = fds[0];
	kernel.theirs = fds[1];
	assert_int_equal(mainloop_new(&fx, &fx.loop), 0);
	assert_int_equal(metric_registry_new(8, &fx.registry), 0);
	fx.shard = metric_shard_new(fx.registry);
	assert_non_null(fx.shard);
	return 0;
}

static int teardown(void **state UNUSED)
{
	netwatch_stop(fx.watch);
	mainloop_free(fx.loop);
	metric_registry_free(fx.registry);
	(void)close(kernel.theirs);
	if (kernel.open_error)
		(void)close(kernel.ours);
	return 0;
}

static struct netwatch_params params(void)
{
	return (struct netwatch_params){
		.loop = fx.loop,
		.registry = fx.registry,
		.metrics = fx.shard,
		.on_change = on_change,
		.user = &fx,
		.open_monitor = open_monitor,
		.clock = read_clock,
		.open_jumps = open_jumps,
	};
}

static void start(const struct netwatch_params *p)
{
	assert_int_equal(netwatch_start(p, &fx.watch), 0);
}

static void emit(const struct metric_sample *sample, void *arg)
{
	if (strcmp(sample->family->name, "adit_network_changes_total") == 0)
		*(int64_t *)arg = sample->value;
}

static int64_t counted(void)
{
	int64_t value = -1;
	metric_walk(fx.registry, emit, &value);
	return value;
}

/* All that can be done now. */
static void turns(void)
{
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(mainloop_turn(fx.loop, 0), 0);
}

static void wait_calls(unsigned int count)
{
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	while (fx.calls < count) {
		assert_true(nsec_clock(CLOCK_MONOTONIC) < end);
		assert_int_equal(mainloop_turn(fx.loop, 10 * NSEC_PER_MSEC), 0);
	}
	assert_int_equal(fx.calls, count);
}

/* ---- the network ------------------------------------------------------------------------------
 */

static void test_news(void **state UNUSED)
{
	struct netwatch_params p = params();
	start(&p);
	turns();
	assert_int_equal(fx.calls, 0);
	say("ip link set v1 up #2"); /* a route to multicast: nothing that matters */
	turns();
	assert_int_equal(kernel.reads, 1);
	assert_int_equal(fx.calls, 0);
	assert_int_equal(counted(), 0);

	say(ADDRESS);
	assert_int_equal(fx.calls, 0); /* from the loop only */
	turns();
	assert_int_equal(fx.calls, 1);
	assert_int_equal(counted(), 1);
}

/* What is only announced again is no change. */
static void test_repeated(void **state UNUSED)
{
	struct netwatch_params p = params();
	start(&p);
	say(ADDRESS);
	wait_calls(1);
	say(ADDRESS);
	turns();
	say(GONE);
	wait_calls(2);
	assert_int_equal(kernel.reads, 3);
	assert_int_equal(counted(), 2);
}

/* A burst is one call; what comes in the interval after it is another, at its end. */
static void test_burst(void **state UNUSED)
{
	struct netwatch_params p = params();
	start(&p);
	say(ADDRESS);
	say(ROUTE);
	say(NEW_ROUTE);
	nsec_t begun = nsec_clock(CLOCK_MONOTONIC);
	turns();
	assert_int_equal(kernel.reads, 3);
	assert_int_equal(fx.calls, 1);

	say(GONE);
	say(ADDRESS);
	say(ROUTE);
	wait_calls(2);
	assert_int_equal(kernel.reads, 6);
	assert_true(fx.called - begun >= MONITOR_INTERVAL);
	turns();
	assert_int_equal(fx.calls, 2);
	assert_int_equal(counted(), 2);
}

/* The kernel had more to say than the socket could hold: nobody knows what. */
static void test_overrun(void **state UNUSED)
{
	struct netwatch_params p = params();
	start(&p);
	kernel.error = -ENOBUFS;
	say_bytes(SPAN_LIT("x"));
	wait_calls(1);
}

static void test_noise(void **state UNUSED)
{
	static const uint8_t noise[400] = { 0xff, 0xff, 0xff, 0x7f, 0x10 };
	struct netwatch_params p = params();
	start(&p);
	for (size_t len = 1; len <= sizeof(noise); len += 7)
		say_bytes(span_of(noise, len));
	turns();
	assert_int_equal(fx.calls, 0);
	say(ADDRESS);
	wait_calls(1);
}

/* A socket that is broken is left alone: no call, and no spinning over it. */
static void test_broken(void **state UNUSED)
{
	struct netwatch_params p = params();
	start(&p);
	kernel.error = -EBADF;
	say(ADDRESS);
	turns();
	assert_int_equal(kernel.reads, 1);
	say(ROUTE);
	turns();
	assert_int_equal(kernel.reads, 1);
	assert_int_equal(fx.calls, 0);

	kernel.slept = 30 * NSEC_PER_SEC;
	assert_int_equal(eventfd_write(kernel.jumps, 1), 0);
	wait_calls(1); /* sleeps are noticed all the same */
}

/* Stopped while a call is due. */
static void test_stop(void **state UNUSED)
{
	struct netwatch_params p = params();
	start(&p);
	say(ADDRESS);
	wait_calls(1);
	say(ROUTE);
	turns();
	unsigned int before = fx.calls;
	netwatch_stop(TAKE_PTR(fx.watch));
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + MONITOR_INTERVAL + 50 * NSEC_PER_MSEC;
	while (nsec_clock(CLOCK_MONOTONIC) < end)
		assert_int_equal(mainloop_turn(fx.loop, 10 * NSEC_PER_MSEC), 0);
	assert_int_equal(fx.calls, before);
	netwatch_stop(NULL);
}

/* ---- sleeps -----------------------------------------------------------------------------------
 */

static void test_sleep(void **state UNUSED)
{
	struct netwatch_params p = params();
	start(&p);
	kernel.slept = 500 * NSEC_PER_MSEC; /* none worth a word */
	assert_int_equal(eventfd_write(kernel.jumps, 1), 0);
	turns();
	assert_int_equal(fx.calls, 0);
	kernel.slept += 60 * NSEC_PER_SEC;
	assert_int_equal(eventfd_write(kernel.jumps, 1), 0);
	turns();
	assert_int_equal(fx.calls, 1);
	assert_int_equal(counted(), 1);
}

/* Nobody said that the clock jumped, but an interface came back: the clocks are looked at then. */
static void test_sleep_seen_by_the_network(void **state UNUSED)
{
	struct netwatch_params p = params();
	start(&p);
	kernel.slept = 60 * NSEC_PER_SEC;
	turns();
	assert_int_equal(fx.calls, 0);
	say("ip link set v1 up #2");
	turns();
	assert_int_equal(fx.calls, 1);
	say("ip link set v1 up #2");
	turns();
	assert_int_equal(fx.calls, 1);
}

/* ---- what can't be watched --------------------------------------------------------------------
 */

static void test_no_netlink(void **state UNUSED)
{
	struct netwatch_params p = params();
	kernel.open_error = -EAFNOSUPPORT;
	start(&p);
	turns();
	kernel.slept = 60 * NSEC_PER_SEC;
	assert_int_equal(eventfd_write(kernel.jumps, 1), 0);
	wait_calls(1);
}

static void test_no_jumps(void **state UNUSED)
{
	struct netwatch_params p = params();
	p.open_jumps = open_no_jumps;
	start(&p);
	say(ADDRESS);
	wait_calls(1);
}

static void test_no_room_for_metrics(void **state UNUSED)
{
	struct netwatch_params p = params();
	struct metric_registry *full;
	assert_int_equal(metric_registry_new(8, &full), 0);
	static const struct metric_family other = { .name = "x",
						    .help = "x",
						    .type = METRIC_TYPE_COUNTER };
	int r = 0;
	for (unsigned int i = 0; r >= 0 && i < 10000; i++)
		r = metric_define(full, &other);
	assert_int_equal(r, -E2BIG);
	p.registry = full;
	assert_int_equal(netwatch_start(&p, &fx.watch), -E2BIG);
	assert_null(fx.watch);
	metric_registry_free(full);
	assert_int_equal(kernel.jumps, -EBADF); /* nothing was opened */
	(void)close(kernel.ours);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_news),       T(test_repeated), T(test_burst),
		T(test_overrun),    T(test_noise),    T(test_broken),
		T(test_stop),       T(test_sleep),    T(test_sleep_seen_by_the_network),
		T(test_no_netlink), T(test_no_jumps), T(test_no_room_for_metrics),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
