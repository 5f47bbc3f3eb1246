/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners and connects on loopback and unix sockets: what is told of a connection, pausing,
 * stopping in a callback, want of descriptors.
 */
#include "daemon/net/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/net/sockaddr.h"
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

#define RUN_UNTIL(condition)                                                        \
	do {                                                                        \
		nsec_t deadline_ = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC; \
		while (!(condition)) {                                              \
			assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline_);       \
			assert_int_equal(loop_turn(loop, 20 * NSEC_PER_MSEC), 0);   \
		}                                                                   \
	} while (0)

struct server {
	struct tcp_listener listener;
	struct ip_port at;
	unsigned int accepted;
	struct ip_port peer, local;
	int no_delay;
	bool stops;
};

static void on_accept(struct tcp_listener *l, int fd, const struct ip_port *peer,
		      const struct ip_port *local)
{
	struct server *s = CONTAINER_OF(l, struct server, listener);
	socklen_t len = sizeof(s->no_delay);
	s->accepted++;
	s->peer = *peer;
	s->local = *local;
	(void)getsockopt(fd, SOL_TCP, TCP_NODELAY, &s->no_delay, &len);
	close(fd);
	if (s->stops)
		tcp_listener_stop(l);
}

static void server_start(struct server *s, const struct ip_port *at)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	*s = (struct server){ .listener.on_accept = on_accept };
	int fd = tcp_listen(at, true, 128);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &s->at), 0);
	assert_int_equal(tcp_listener_start(&s->listener, loop, fd), 0);
}

static const struct ip_port v4_lo = { .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
static const struct ip_port v6_lo = { .ip = { .family = IP_FAMILY_V6, .bytes = { [15] = 1 } } };
static const struct ip_port v6_any = { .ip = { .family = IP_FAMILY_V6 } };

static int connect_port(const struct ip_port *to, uint16_t port)
{
	struct ip_port at = *to;
	at.port = port;
	int fd = tcp_connect(&at, 60);
	assert_true(fd >= 0);
	return fd;
}

static void check_accept(const struct ip_port *listen_at, const struct ip_port *reach)
{
	struct server s;
	server_start(&s, listen_at);
	int fd = connect_port(reach, s.at.port);
	RUN_UNTIL(s.accepted == 1);
	assert_int_equal(socket_error(fd), 0);
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct ip_port client;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, &client), 0);
	assert_true(ip_port_eq(&s.peer, &client));
	assert_true(ip_addr_eq(&s.local.ip, &reach->ip));
	assert_int_equal(s.local.port, s.at.port);
	assert_int_equal(s.no_delay, 1);
	close(fd);
	tcp_listener_stop(&s.listener);
	tcp_listener_stop(&s.listener);
	assert_int_equal(s.listener.fd, -EBADF);
}

static void test_accept(void **state)
{
	(void)state;
	check_accept(&v4_lo, &v4_lo);
	check_accept(&v6_lo, &v6_lo);
	check_accept(&v6_any, &v4_lo); /* dual stack: the peer is IPv4 */
}

static int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);
	assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
	return value;
}

static void test_connect_options(void **state)
{
	(void)state;
	struct server s;
	server_start(&s, &v4_lo);
	struct tcp_options o = { .keep_alive_sec = 7,
				 .user_timeout_ms = 4321,
				 .bind_interface = "lo" };
	int fd = tcp_connect_with(&s.at, &o);
	assert_true(fd >= 0);
	RUN_UNTIL(s.accepted == 1);
	assert_int_equal(socket_error(fd), 0);
	assert_int_equal(option_of(fd, SOL_TCP, TCP_NODELAY), 1);
	assert_int_equal(option_of(fd, SOL_TCP, TCP_KEEPIDLE), 7);
	assert_int_equal(option_of(fd, SOL_TCP, TCP_USER_TIMEOUT), 4321);
	char device[16] = "";
	socklen_t len = sizeof(device);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &len), 0);
	assert_string_equal(device, "lo");
	close(fd);

	o.bind_interface = "no-such-dev";
	assert_int_equal(tcp_connect_with(&s.at, &o), -ENODEV);
	/* A mark needs a capability; without it there is no connection that ignores it. */
	o = (struct tcp_options){ .fwmark = 77 };
	fd = tcp_connect_with(&s.at, &o);
	assert_true(fd >= 0 || fd == -EPERM);
	if (fd >= 0) {
		assert_int_equal(option_of(fd, SOL_SOCKET, SO_MARK), 77);
		close(fd);
	}
	tcp_listener_stop(&s.listener);
}

static void test_listen_errors(void **state)
{
	(void)state;
	struct server s;
	server_start(&s, &v4_lo);
	assert_int_equal(tcp_listen(&s.at, false, 8), -EADDRINUSE);
	int shared = tcp_listen(&s.at, true, 8);
	assert_true(shared >= 0);
	close(shared);
	struct ip_port foreign = { .ip = { .family = IP_FAMILY_V4, .bytes = { 192, 0, 2, 1 } } };
	assert_int_equal(tcp_listen(&foreign, false, 8), -EADDRNOTAVAIL);
	tcp_listener_stop(&s.listener);
}

/* Who has connected before the stop is not reset. */
static void test_take_waiting(void **state)
{
	(void)state;
	struct server s;
	server_start(&s, &v4_lo);
	enum { COUNT = 65 }; /* more than one turn takes */
	int fds[COUNT];
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_port(&v4_lo, s.at.port);
		struct pollfd p = { .fd = fds[i], .events = POLLOUT };
		assert_int_equal(poll(&p, 1, 1000), 1);
	}
	tcp_listener_take_waiting(&s.listener);
	assert_int_equal(s.accepted, COUNT);
	/* Who comes now isn't let in only to be reset. */
	int late = connect_port(&v4_lo, s.at.port);
	struct pollfd p = { .fd = late, .events = POLLOUT };
	assert_int_equal(poll(&p, 1, 20), 0);
	tcp_listener_stop(&s.listener);
	assert_int_equal(poll(&p, 1, 5), 0);
	assert_int_equal(socket_error(late), 0);
	close(late);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	tcp_listener_take_waiting(&s.listener); /* stopped: nothing */
}

static void test_pause_and_stop(void **state)
{
	(void)state;
	struct server s;
	int fds[3];
	server_start(&s, &v4_lo);
	tcp_listener_pause(&s.listener, true);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = connect_port(&v4_lo, s.at.port);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, NSEC_PER_MSEC), 0);
	assert_int_equal(s.accepted, 0);
	s.stops = true;
	tcp_listener_pause(&s.listener, false);
	RUN_UNTIL(s.accepted);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, NSEC_PER_MSEC), 0);
	assert_int_equal(s.accepted, 1);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

/* Without descriptors the connection waits, the loop sleeps, and later it is accepted. */
static void test_no_descriptors(void **state)
{
	(void)state;
	struct server s;
	struct rlimit old, low;
	server_start(&s, &v4_lo);
	int fd = connect_port(&v4_lo, s.at.port);
	int free_fd = dup(fd);
	close(free_fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)free_fd;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	nsec_t since = nsec_clock(CLOCK_MONOTONIC);
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_turn(loop, 4 * NSEC_PER_MSEC), 0);
	nsec_t took = nsec_clock(CLOCK_MONOTONIC) - since;
	uint64_t refused = s.listener.refused;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_in_range(refused, 1,
			1 + took / (100 * NSEC_PER_MSEC)); /* it tries ten times a second */
	assert_int_equal(s.accepted, 0);
	RUN_UNTIL(s.accepted == 1);
	close(fd);
	tcp_listener_stop(&s.listener);
}

static void check_unix(const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct server s = { .listener.on_accept = on_accept };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	memcpy(sa.sun_path, name, strlen(name));
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	if (name[0] == '@')
		sa.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(tcp_listener_start(&s.listener, loop, fd), 0);

	int client = unixsock_connect(name);
	assert_true(client >= 0);
	RUN_UNTIL(s.accepted == 1);
	assert_int_equal(s.peer.ip.family, IP_FAMILY_NONE);
	assert_int_equal(s.local.ip.family, IP_FAMILY_NONE);
	close(client);
	tcp_listener_stop(&s.listener);
	assert_int_equal(unixsock_connect(name), -ECONNREFUSED);
}

static void test_unix(void **state)
{
	(void)state;
	char name[64], path[200];
	(void)snprintf(name, sizeof(name), "/tmp/test-tcp.%d", (int)getpid());
	check_unix(name);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(unixsock_connect(name), -ENOENT);
	(void)snprintf(name, sizeof(name), "@test-tcp.%d", (int)getpid());
	check_unix(name);
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(unixsock_connect(path), -ENAMETOOLONG);
	assert_int_equal(unixsock_connect(""), -EINVAL);
}

static void test_own_address(void **state)
{
	(void)state;
	static const struct ip_addr loopback = { IP_FAMILY_V4, { 127, 0, 0, 1 } },
				    loopback6 = { IP_FAMILY_V6, { [15] = 1 } },
				    documentation = { IP_FAMILY_V4, { 192, 0, 2, 1 } },
				    documentation6 = { IP_FAMILY_V6, { 0x20, 1, 0xd, 0xb8 } };
	assert_true(tcp_is_own_address(&loopback));
	assert_true(tcp_is_own_address(&loopback6));
	assert_false(tcp_is_own_address(&documentation));
	assert_false(tcp_is_own_address(&documentation6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect_options),
		cmocka_unit_test(test_accept),
		cmocka_unit_test(test_listen_errors),
		cmocka_unit_test(test_pause_and_stop),
		cmocka_unit_test(test_take_waiting),
		cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_own_address),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
