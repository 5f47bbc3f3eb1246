/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths to origins on loopback: what a turn sends leaves together and in order; a path that keeps
 * sending in runs has a socket of its own, on the same port; going to another datapath and back.
 */
#include "daemon/datapath/path.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/datapath/promote.h"
#include "daemon/datapath/sock.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"

enum { PATHS = 3, TURNS = 400 };

struct fixture {
	struct worker_set *set;
	struct worker *workers[2];
	struct datapath *datapaths[2];
	int origins[PATHS];
	struct ip_port origins_at[PATHS];
	struct end {
		struct flow_path path;
		unsigned int received, sent, failed, errors;
		int error;
		uint32_t mtu;
		uint8_t last[100];
		size_t last_len;
	} ends[PATHS];
};

static void on_datagram(struct flow_path *path, uint8_t *data, size_t len)
{
	struct end *e = CONTAINER_OF(path, struct end, path);
	e->received++;
	e->last_len = MIN(len, sizeof(e->last));
	memcpy(e->last, data, e->last_len);
}

static void on_error(struct flow_path *path, const struct udp_error *error)
{
	struct end *e = CONTAINER_OF(path, struct end, path);
	e->errors++;
	e->error = error->error;
	e->mtu = error->mtu;
}

static void on_sent(struct flow_path *path, unsigned int count, int error)
{
	struct end *e = CONTAINER_OF(path, struct end, path);
	if (error == 0)
		e->sent += count;
	else
		e->failed += count;
}

static const struct path_user user = {
	.on_datagram = on_datagram,
	.on_error = on_error,
	.on_sent = on_sent,
};

static int open_origin(struct ip_port *ret_at)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, ret_at), 0);
	return fd;
}

static int start(void **state)
{
	static struct fixture fx;
	fx = (struct fixture){};
	struct worker_params workers = { .count = 2, .memory = 8 << 20 };
	assert_int_equal(worker_set_new(&workers, &fx.set), 0);
	for (unsigned int i = 0; i < 2; i++) {
		fx.workers[i] = worker_set_get(fx.set, i);
		assert_int_equal(datapath_new(fx.workers[i], &fx.datapaths[i]), 0);
	}
	for (unsigned int i = 0; i < PATHS; i++) {
		fx.origins[i] = open_origin(&fx.origins_at[i]);
		assert_int_equal(
			flow_path_open(fx.datapaths[0], &fx.ends[i].path, &user, &fx.origins_at[i]),
			0);
	}
	*state = &fx;
	return 0;
}

static void turn(const struct fixture *fx)
{
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(loop_turn(fx->workers[i]->loop, NSEC_PER_MSEC), 0);
}

static int end(void **state)
{
	struct fixture *fx = *state;
	for (unsigned int i = 0; i < PATHS; i++) {
		flow_path_close(&fx->ends[i].path);
		(void)fd_close(fx->origins[i]);
	}
	turn(fx);
	for (unsigned int i = 0; i < 2; i++) {
		const struct datapath_stats *stats = datapath_get_stats(fx->datapaths[i]);
		assert_int_equal(stats->connected, 0);
		assert_int_equal(stats->paths[PATH_KIND_ANCHOR], 0);
		assert_int_equal(stats->paths[PATH_KIND_CONNECTED], 0);
		datapath_free(fx->datapaths[i]);
	}
	worker_set_free(fx->set);
	return 0;
}

static const struct datapath_stats *stats_of(const struct fixture *fx)
{
	return datapath_get_stats(fx->datapaths[0]);
}

/* The next datagram of an origin is len bytes, the first of them number. */
static struct ip_port assert_next(const struct fixture *fx, unsigned int origin, size_t len,
				  uint8_t number)
{
	uint8_t buf[3000];
	struct sockaddr_storage sa;
	struct ip_port from;
	socklen_t sa_len = sizeof(sa);
	struct pollfd p = { .fd = fx->origins[origin], .events = POLLIN };
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(recvfrom(p.fd, buf, sizeof(buf), 0, (struct sockaddr *)&sa, &sa_len), len);
	assert_true(len == 0 || buf[0] == number);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, sa_len, &from), 0);
	return from;
}

static void send_number(struct fixture *fx, unsigned int path, size_t len, uint8_t number)
{
	uint8_t buf[2000] = { number };
	flow_path_send(&fx->ends[path].path, span_of(buf, len));
}

static void answer(const struct fixture *fx, unsigned int origin, const struct ip_port *to,
		   const char *text)
{
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(to, &sa);
	assert_int_equal(
		sendto(fx->origins[origin], text, strlen(text), 0, (struct sockaddr *)&sa, len),
		strlen(text));
}

static void turn_until(const struct fixture *fx, const unsigned int *counter, unsigned int value)
{
	for (unsigned int i = 0; i < TURNS && *counter < value; i++)
		turn(fx);
	assert_int_equal(*counter, value);
}

/* Three flows on one anchor, mixed: one call, runs by flow, each flow's order is kept. */
static void test_one_turn_one_call(void **state)
{
	struct fixture *fx = *state;
	static const size_t lens[] = { 100, 100, 100, 40, 0, 300, 301 };
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++)
		for (unsigned int path = 0; path < PATHS; path++)
			send_number(fx, path, lens[i], (uint8_t)i);
	assert_int_equal(stats_of(fx)->udp.tx_calls, 0);
	turn(fx);
	assert_int_equal(stats_of(fx)->anchors, 1);
	assert_int_equal(stats_of(fx)->udp.tx_calls, 1);
	assert_int_equal(stats_of(fx)->udp.tx_gso, 4 * PATHS); /* 100 100 100 40 */
	assert_int_equal(stats_of(fx)->tx_datagrams[PATH_KIND_ANCHOR], 7 * PATHS);
	for (unsigned int path = 0; path < PATHS; path++) {
		assert_int_equal(fx->ends[path].sent, ARRAY_SIZE(lens));
		for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++)
			(void)assert_next(fx, path, lens[i], (uint8_t)i);
	}
}

/* More than the memory of a turn holds: it leaves earlier, and nothing is lost or overtaken. */
static void test_more_than_fits(void **state)
{
	struct fixture *fx = *state;
	enum { MANY = 2500 };
	for (unsigned int i = 0; i < MANY; i++)
		send_number(fx, i % PATHS, i % 3 ? 10 : 1400, (uint8_t)(i / PATHS));
	turn(fx);
	unsigned int sent = 0;
	for (unsigned int path = 0; path < PATHS; path++)
		sent += fx->ends[path].sent + fx->ends[path].failed;
	assert_int_equal(sent, MANY);
	assert_true(stats_of(fx)->udp.tx_calls > 1);
}

/* What was sent before a path is closed isn't lost. */
static void test_closed_in_the_turn(void **state)
{
	struct fixture *fx = *state;
	send_number(fx, 0, 5, 1);
	send_number(fx, 1, 5, 2);
	flow_path_close(&fx->ends[0].path);
	assert_int_equal(fx->ends[0].sent, 1);
	(void)assert_next(fx, 0, 5, 1);
	turn(fx);
	(void)assert_next(fx, 1, 5, 2);
}

static void make_busy(struct fixture *fx)
{
	for (uint8_t i = 0; i < 40; i++) {
		for (unsigned int k = 0; k < 4; k++)
			send_number(fx, 0, 64, i);
		turn(fx);
		for (unsigned int k = 0; k < 4; k++)
			(void)assert_next(fx, 0, 64, i);
	}
}

/* Runs of four and more in many turns: a socket of its own, on the same port; one datagram a turn
 * is no reason for it. */
static void test_busy(void **state)
{
	struct fixture *fx = *state;
	struct ip_port before = *flow_path_local(&fx->ends[0].path);
	for (uint8_t i = 0; i < 100; i++) {
		send_number(fx, 1, 64, i);
		turn(fx);
		(void)assert_next(fx, 1, 64, i);
	}
	assert_int_equal(flow_path_kind(&fx->ends[1].path), PATH_KIND_ANCHOR);
	make_busy(fx);
	assert_int_equal(flow_path_kind(&fx->ends[0].path), PATH_KIND_CONNECTED);
	assert_int_equal(stats_of(fx)->connected, 1);
	assert_int_equal(stats_of(fx)->paths[PATH_KIND_ANCHOR], PATHS - 1);
	assert_true(ip_port_eq(flow_path_local(&fx->ends[0].path), &before));
	uint64_t anchored = stats_of(fx)->tx_datagrams[PATH_KIND_ANCHOR];
	for (unsigned int path = 0; path < PATHS; path++)
		send_number(fx, path, 7, 9);
	turn(fx);
	for (unsigned int path = 0; path < PATHS; path++) {
		struct ip_port from = assert_next(fx, path, 7, 9);
		assert_true(ip_port_eq(&from, &before));
		answer(fx, path, &from, path ? "anchor's" : "its own");
	}
	for (unsigned int path = 0; path < PATHS; path++)
		turn_until(fx, &fx->ends[path].received, 1);
	assert_memory_equal(fx->ends[0].last, "its own", 7);
	assert_int_equal(stats_of(fx)->tx_datagrams[PATH_KIND_ANCHOR], anchored + PATHS - 1);
	assert_int_equal(stats_of(fx)->rx_datagrams[PATH_KIND_CONNECTED], 1);
	assert_int_equal(stats_of(fx)->rx_datagrams[PATH_KIND_ANCHOR], PATHS - 1);
	assert_int_equal(stats_of(fx)->strangers, 0);
}

/* A stranger who writes to the port of a path with a socket of its own is the anchor's. */
static void test_stranger_at_a_busy_port(void **state)
{
	struct fixture *fx = *state;
	struct ip_port at;
	make_busy(fx);
	int fd = open_origin(&at);
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(flow_path_local(&fx->ends[0].path), &sa);
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&sa, len), 1);
	for (unsigned int i = 0; i < TURNS && stats_of(fx)->strangers < 20; i++)
		turn(fx);
	assert_int_equal(stats_of(fx)->strangers, 20);
	assert_int_equal(fx->ends[0].received, 0);
	(void)fd_close(fd);
}

/* Nobody listens: told to the one path, whatever socket it has, and no other's datagram is lost. */
static void test_refused(void **state)
{
	struct fixture *fx = *state;
	make_busy(fx);
	for (unsigned int path = 0; path < 2; path++) {
		(void)fd_close(fx->origins[path]);
		fx->origins[path] = -EBADF;
	}
	unsigned int before = fx->ends[0].sent;
	for (uint8_t i = 0; i < 3; i++) {
		for (unsigned int path = 0; path < PATHS; path++)
			send_number(fx, path, 10, i);
		turn(fx);
		(void)assert_next(fx, 2, 10, i);
	}
	for (unsigned int path = 0; path < 2; path++) {
		turn_until(fx, &fx->ends[path].errors, 3);
		assert_int_equal(fx->ends[path].error, -ECONNREFUSED);
	}
	assert_int_equal(fx->ends[0].sent, before + 3);
	assert_int_equal(fx->ends[2].errors, 0);
	assert_int_equal(fx->ends[2].sent, 3);
}

/* To another worker and home, with what arrived on the way. */
static void test_detached(void **state)
{
	struct fixture *fx = *state;
	struct ip_port port = *flow_path_local(&fx->ends[0].path);
	answer(fx, 0, &port, "before");
	assert_int_equal(flow_path_detach(&fx->ends[0].path), 0);
	answer(fx, 0, &port, "between");
	answer(fx, 1, &port, "the anchor's");
	turn(fx);
	assert_int_equal(fx->ends[0].received, 1);
	assert_int_equal(fx->ends[1].received, 1);
	assert_int_equal(flow_path_attach(fx->datapaths[1], &fx->ends[0].path), 0);
	turn_until(fx, &fx->ends[0].received, 2);
	assert_memory_equal(fx->ends[0].last, "between", 7);
	send_number(fx, 0, 9, 4);
	turn(fx);
	struct ip_port from = assert_next(fx, 0, 9, 4);
	assert_true(ip_port_eq(&from, &port));
	assert_int_equal(datapath_get_stats(fx->datapaths[1])->tx_datagrams[PATH_KIND_CONNECTED],
			 1);
	assert_int_equal(flow_path_detach(&fx->ends[0].path), 0);
	assert_int_equal(flow_path_attach(fx->datapaths[0], &fx->ends[0].path), 0);
	send_number(fx, 0, 9, 5);
	turn(fx);
	from = assert_next(fx, 0, 9, 5);
	assert_true(ip_port_eq(&from, &port));
	assert_int_equal(stats_of(fx)->strangers, 0);
}

/* Where there is a short cut it is told of each datagram, but not of one whose path has left. */
static void test_detached_from_a_short_cut(void **state)
{
	struct fixture *fx = *state;
	struct datapath *d = fx->datapaths[0];
	struct flow_path *path = &fx->ends[0].path;
	const struct promote_params params = { .worker = fx->workers[0], .stats = &d->stats };
	assert_int_equal(promoter_new(&params, &d->promoter), 0);
	d->stats.open = 1;
	answer(fx, 0, flow_path_local(path), "before");
	assert_int_equal(flow_path_detach(path), 0);
	assert_int_equal(fx->ends[0].received, 1);
	assert_false(list_is_linked(&path->pace.node));
	assert_int_equal(path->pace.moved, 0);
	flow_path_close(path);
}

/* One that is closed between two workers leaves nothing behind, and its place is free again. */
static void test_closed_between_workers(void **state)
{
	struct fixture *fx = *state;
	struct ip_port port = *flow_path_local(&fx->ends[0].path);
	assert_int_equal(flow_path_detach(&fx->ends[0].path), 0);
	flow_path_close(&fx->ends[0].path);
	turn(fx);
	struct flow_path again = {};
	assert_int_equal(flow_path_open(fx->datapaths[0], &again, &user, &fx->origins_at[0]), 0);
	assert_true(ip_port_eq(flow_path_local(&again), &port));
	flow_path_close(&again);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		T(test_one_turn_one_call),
		T(test_more_than_fits),
		T(test_closed_in_the_turn),
		T(test_busy),
		T(test_stranger_at_a_busy_port),
		T(test_refused),
		T(test_detached),
		T(test_detached_from_a_short_cut),
		T(test_closed_between_workers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
