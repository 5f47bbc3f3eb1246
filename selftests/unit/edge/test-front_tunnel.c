/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where daemons come in over TCP: who is let in, who counts as a stranger and for how long, which
 * certificate is used. The links are the test's own.
 */
#include "daemon/edge/front_tunnel.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/net/sockaddr.h"
#include "daemon/net/tcp.h"
#include "util/cleanup.h"

enum { BUDGET = 4 << 20, SERIES = 100, LINKS = 64, MAX_STRANGERS = 20, PER_ADDRESS = 6 };

struct fake_link {
	struct link base; /* first */
	int fd;
	SSL_CTX *tls;
	nsec_t register_timeout;
	struct ip_port peer;
	bool is_registered, is_closed;
};

struct fixture {
	struct worker_set *set;
	struct loop *loop;
	struct metric_registry *registry;
	struct strangers strangers;
	struct edge_conn_env env;
	struct h2link_settings settings;
	SSL_CTX *tls[2];
	struct front_tunnel *front;
	struct ip_port address;
	int clients[LINKS];
	unsigned int client_count;
};

static struct {
	struct fake_link links[LINKS];
	unsigned int count;
	int fail; /* what accepting says */
} made;

static struct fake_link *fake_of(struct link *link)
{
	return (struct fake_link *)link;
}

static void fake_close(struct link *link, uint64_t code, const char *reason)
{
	(void)code;
	(void)reason;
	fake_of(link)->is_closed = true;
}

static void fake_set_registered(struct link *link)
{
	fake_of(link)->is_registered = true;
}

static void fake_get_stats(struct link *link, struct link_stats *ret)
{
	(void)link;
	*ret = (struct link_stats){};
}

static void fake_free(struct link *link)
{
	fake_of(link)->fd = fd_close(fake_of(link)->fd);
}

static const struct link_ops link_ops = {
	.protocol = "fake",
	.close = fake_close,
	.set_registered = fake_set_registered,
	.get_stats = fake_get_stats,
	.free = fake_free,
};

/* In place of the transport's. */
int h2link_accept(struct worker *worker, const struct h2link_accept *accept,
		  const struct link_sink *sink, void *user, struct link **ret)
{
	assert_non_null(accept->settings);
	if (made.fail) {
		(void)fd_close(accept->fd);
		return made.fail;
	}
	struct fake_link *link = &made.links[made.count++];
	*link = (struct fake_link){
		.base = { .ops = &link_ops, .sink = sink, .user = user, .worker = worker },
		.fd = accept->fd,
		.tls = accept->tls,
		.register_timeout = accept->register_timeout,
		.peer = accept->peer,
	};
	*ret = &link->base;
	return 0;
}

static int listen_somewhere(struct ip_port *ret)
{
	const struct ip_port any = { .ip = { IP_FAMILY_V4, { 127, 0, 0, 1 } } };
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd = tcp_listen(&any, true, 64);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, ret), 0);
	return fd;
}

static int begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	memset(&made, 0, sizeof(made));
	assert_int_equal(metric_registry_new(SERIES, &f->registry), 0);
	struct worker_params params = { .count = 1, .memory = BUDGET, .metrics = f->registry };
	assert_int_equal(worker_set_new(&params, &f->set), 0);
	struct worker *worker = worker_set_get(f->set, 0);
	f->loop = worker->loop;
	strangers_init(&f->strangers, &(struct strangers_limits){ MAX_STRANGERS, PER_ADDRESS, 1 });
	f->env = (struct edge_conn_env){ .worker = worker,
					 .set = f->set,
					 .strangers = &f->strangers,
					 .register_timeout = 20 * NSEC_PER_MSEC };
	edge_conn_env_init(&f->env);
	for (unsigned int i = 0; i < ARRAY_SIZE(f->tls); i++)
		f->tls[i] = SSL_CTX_new(TLS_server_method());
	int fd = listen_somewhere(&f->address);
	struct front_tunnel_params front = { .worker = worker,
					     .settings = &f->settings,
					     .tls = f->tls[0],
					     .conns = &f->env,
					     .register_timeout = 7,
					     .fds = &fd,
					     .fd_count = 1 };
	assert_int_equal(front_tunnel_new(&front, &f->front), 0);
	assert_int_equal(fd, -EBADF);
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;
	edge_conn_env_done(&f->env);
	front_tunnel_free(f->front);
	assert_int_equal(strangers_count(&f->strangers), 0);
	for (unsigned int i = 0; i < f->client_count; i++)
		(void)fd_close(f->clients[i]);
	for (unsigned int i = 0; i < ARRAY_SIZE(f->tls); i++)
		tlsctx_free(f->tls[i]);
	worker_set_free(f->set);
	metric_registry_free(f->registry);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(loop_turn(f->loop, 0), 0);
}

/* Connects from 127.0.0.LAST. Blocks until the kernel has it in the listener's queue. */
static int come(struct fixture *f, uint8_t last)
{
	struct sockaddr_in from = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(0x7f000000U + last) };
	struct sockaddr_storage to;
	socklen_t len = sockaddr_from_ip_port(&f->address, &to);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, len), 0);
	f->clients[f->client_count++] = fd;
	turn(f);
	return fd;
}

static bool is_closed_by_edge(int fd)
{
	char byte;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, 1000) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

static void conn_end(struct fake_link *link)
{
	link->base.close_info.end = LINK_END_LOCAL;
	link->base.sink->on_state(&link->base, LINK_STATE_CLOSED, link->base.user);
}

static void test_accept(void **state)
{
	struct fixture *f = *state;
	(void)come(f, 9);
	assert_int_equal(made.count, 1);
	const struct fake_link *link = &made.links[0];
	assert_ptr_equal(link->tls, f->tls[0]);
	assert_ptr_equal(link->base.sink, &edge_conn_sink);
	assert_non_null(link->base.user);
	assert_int_equal(link->register_timeout, 7);
	assert_int_equal(link->peer.ip.bytes[3], 9);
	assert_int_equal(strangers_count(&f->strangers), 1);
	assert_int_equal(front_tunnel_get_stats(f->front)->accepted, 1);
}

/* One address has its share, all together theirs; what ends makes room. */
static void test_limits(void **state)
{
	struct fixture *f = *state;
	const struct front_tunnel_stats *stats = front_tunnel_get_stats(f->front);
	for (unsigned int i = 0; i < PER_ADDRESS; i++)
		(void)come(f, 1);
	assert_true(is_closed_by_edge(come(f, 1)));
	assert_int_equal(stats->refused_addr, 1);
	for (unsigned int i = PER_ADDRESS; i < MAX_STRANGERS; i++)
		(void)come(f, (uint8_t)(2 + i / 4));
	assert_int_equal(stats->accepted, MAX_STRANGERS);
	assert_true(is_closed_by_edge(come(f, 99)));
	assert_int_equal(stats->refused_limit, 1);
	conn_end(&made.links[0]);
	(void)come(f, 99);
	assert_int_equal(stats->accepted, MAX_STRANGERS + 1);
	assert_int_equal(stats->refused_limit, 1);
}

/* Connections that nothing can be made of. */
static void test_failure(void **state)
{
	struct fixture *f = *state;
	made.fail = -ENOMEM;
	assert_true(is_closed_by_edge(come(f, 1)));
	assert_int_equal(front_tunnel_get_stats(f->front)->refused_local, 1);
	assert_int_equal(strangers_count(&f->strangers), 0);
}

/* A stranger's end is counted by how far it came. */
static void test_ends(void **state)
{
	struct fixture *f = *state;
	(void)come(f, 1);
	conn_end(&made.links[0]);
	assert_int_equal(f->env.handshake_failed, 1);
	assert_int_equal(f->env.register_timeouts, 0);
	assert_int_equal(strangers_count(&f->strangers), 0);
}

static void test_certificate(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(front_tunnel_use_tls(f->front, f->tls[1]), 0);
	(void)come(f, 1);
	assert_ptr_equal(made.links[0].tls, f->tls[1]);
}

static void test_refuse_new(void **state)
{
	struct fixture *f = *state;
	(void)come(f, 1);
	front_tunnel_refuse_new(f->front);
	front_tunnel_refuse_new(f->front);
	struct sockaddr_storage to;
	socklen_t len = sockaddr_from_ip_port(&f->address, &to);
	_cleanup_(fd_closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, len), -1);
	assert_int_equal(errno, ECONNREFUSED);
	assert_false(made.links[0].is_closed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_accept, begin, end),
		cmocka_unit_test_setup_teardown(test_limits, begin, end),
		cmocka_unit_test_setup_teardown(test_failure, begin, end),
		cmocka_unit_test_setup_teardown(test_ends, begin, end),
		cmocka_unit_test_setup_teardown(test_certificate, begin, end),
		cmocka_unit_test_setup_teardown(test_refuse_new, begin, end),
	};
	return cmocka_run_group_tests_name("front_tunnel", tests, NULL, NULL);
}
