/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links between real threads: two workers at each end, packets that find their worker with and
 * without the kernel's help. Worth most under ThreadSanitizer.
 */
#include "daemon/link/quic_accept.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#include "selftests/lib/quic_pair.h"
#include "selftests/lib/talk.h"
#include "util/macro.h"

/* So many links that the hash of their first ids doesn't choose one worker for all. */
enum { WORKERS = 2, LINKS = 12, STREAMS = 2, BYTES = 100000 };

static struct quic_pair pair; /* for its certificates and settings only */
static struct worker_set *servers, *clients;
static struct quic_worker *server_qws[WORKERS], *client_qws[WORKERS];
static struct quic_server *server;
static struct ip_port addr;
static _Atomic unsigned int done, closed;
static enum quic_steering steering; /* what the kernel grants */
static bool is_misled;              /* … and it believes in one worker */

/* The kernel, or what lies before it: a seccomp filter, for instance. */
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (level == SOL_SOCKET && ((name == SO_ATTACH_REUSEPORT_CBPF && steering > 0) ||
				    (name == SO_ATTACH_REUSEPORT_EBPF && steering > 1))) {
		errno = EPERM;
		return -1;
	}
	return __real_setsockopt(fd, level, name, value, len);
}

/* ---- server's threads ---------------------------------------------------------------------- */

/* A worker's own list of links, so that they can be freed on its thread. */
static struct link *accepted[WORKERS][64];
static unsigned int accepted_count[WORKERS];

static void server_on_state(struct link *link, enum link_state state, void *user)
{
	(void)link;
	(void)state;
	(void)user;
}

static void server_on_stream(struct link *link, struct stream *stream, uint64_t id, void *user)
{
	(void)link;
	(void)id;
	(void)user;
	talk_echo(stream);
}

static void no_datagram(struct link *link, struct span payload, void *user)
{
	(void)link;
	(void)payload;
	(void)user;
}

static const struct link_sink server_sink = { .on_state = server_on_state,
					      .on_stream = server_on_stream,
					      .on_datagram = no_datagram };

static void *on_link(struct link *link, void *arg)
{
	struct worker *w = arg;
	accepted[w->index][accepted_count[w->index]++] = link;
	link_set_registered(link);
	return w;
}

static void server_start(struct worker *w)
{
	if (quic_server_start(server, w, &server_sink, on_link, w) < 0)
		abort();
}

static void server_stop(struct worker *w)
{
	for (unsigned int i = 0; i < accepted_count[w->index]; i++)
		link_free(accepted[w->index][i]);
	quic_server_stop(server, w);
}

/* ---- clients' threads ---------------------------------------------------------------------- */

struct client {
	struct link *link;
	struct talk talks[STREAMS];
	struct timer poll;
	unsigned int finished;
};

static struct client all[WORKERS][LINKS];

static void on_poll(struct timer *timer)
{
	struct client *c = CONTAINER_OF(timer, struct client, poll);
	unsigned int n = 0;
	for (unsigned int i = 0; i < STREAMS; i++)
		n += c->talks[i].is_done;
	done += n - c->finished;
	c->finished = n;
	struct loop *loop = c->link->worker->loop;
	timer_start(loop, timer, loop_now(loop) + 5 * NSEC_PER_MSEC);
}

static void client_on_state(struct link *link, enum link_state state, void *user)
{
	struct client *c = user;
	if (state == LINK_STATE_CLOSED)
		closed++;
	if (state != LINK_STATE_UP)
		return;
	for (unsigned int i = 0; i < STREAMS; i++) {
		struct stream *s = NULL;
		if (link_open_stream(link, &s) < 0)
			abort();
		talk_start(&c->talks[i], s, BYTES);
	}
	c->poll.on_expire = on_poll;
	timer_start(link->worker->loop, &c->poll, 0);
}

static void client_on_stream(struct link *link, struct stream *stream, uint64_t id, void *user)
{
	(void)link;
	(void)id;
	(void)user;
	stream_close(stream);
}

static const struct link_sink client_sink = { .on_state = client_on_state,
					      .on_stream = client_on_stream,
					      .on_datagram = no_datagram };

static void client_start(struct worker *w)
{
	const struct quic_dial dial = {
		.peer = addr,
		.tls = pair.client_tls,
		.trust = &pair.trust,
		.server_name = "quic.cftunnel.com",
	};
	for (unsigned int i = 0; i < LINKS; i++) {
		struct client *c = &all[w->index][i];
		if (quic_dial(client_qws[w->index], &dial, &client_sink, c, &c->link) < 0)
			abort();
	}
}

static void client_stop(struct worker *w)
{
	for (unsigned int i = 0; i < LINKS; i++) {
		struct client *c = &all[w->index][i];
		timer_stop(&c->poll);
		for (unsigned int k = 0; k < STREAMS; k++)
			stream_close(c->talks[k].stream);
		link_free(c->link);
	}
}

/* -------------------------------------------------------------------------------------------- */

static struct worker_set *make_set(struct quic_worker **qws, const struct quic_settings *settings)
{
	const struct worker_params params = { .count = WORKERS, .memory = 64 * 1024 * 1024 };
	struct worker_set *set = NULL;
	assert_int_equal(worker_set_new(&params, &set), 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(quic_worker_new(worker_set_get(set, i), settings, &qws[i]), 0);
	return set;
}

/* True where what was granted has been used: a program needs rights. */
static bool run(enum quic_steering granted)
{
	steering = granted;
	memset(all, 0, sizeof(all));
	memset(accepted_count, 0, sizeof(accepted_count));
	done = 0;
	closed = 0;
	pair_init(&pair, WORKERS);
	servers = make_set(server_qws, &pair.server_settings);
	clients = make_set(client_qws, &pair.client_settings);
	addr = pair.addr;
	pair.params.listen = &addr;
	pair.params.max_unregistered_per_addr =
		WORKERS * WORKERS * LINKS; /* each worker has its share */
	assert_int_equal(quic_server_new(&pair.params, server_qws, WORKERS, &server), 0);
	quic_server_addr(server, 0, &addr);
	enum quic_steering found = quic_server_steering(server);
	bool has_rights = found == steering;
	if (!has_rights)
		assert_int_equal(found, QUIC_STEERING_NONE);
	if (is_misled)
		assert_int_equal(quic_cid_attach_steering(server->accepts[0]->bound[0].fd, 1), 0);
	if (is_misled || steering != QUIC_STEERING_FILTER)
		server->connected_max = 0; /* such sockets would hide it */
	assert_int_equal(worker_set_start(servers, server_start, server_stop), 0);
	assert_int_equal(worker_set_start(clients, client_start, client_stop), 0);

	nsec_t deadline = nsec_clock(CLOCK_MONOTONIC) + 20 * NSEC_PER_SEC;
	const struct timespec nap = { .tv_nsec = 2 * 1000 * 1000 };
	while (done < WORKERS * LINKS * STREAMS && nsec_clock(CLOCK_MONOTONIC) < deadline)
		(void)nanosleep(&nap, NULL);
	assert_int_equal(done, WORKERS * LINKS * STREAMS);
	assert_int_equal(closed, 0);
	uint64_t forwarded = 0;
	for (unsigned int i = 0; i < WORKERS; i++) {
		struct quic_server_stats s;
		quic_server_get_stats(server, i, &s);
		forwarded += s.forwarded;
	}
	if (is_misled)
		assert_true(forwarded > 0);
	else if (found != QUIC_STEERING_NONE)
		assert_int_equal(forwarded, 0);

	worker_set_stop(clients);
	worker_set_stop(servers);
	quic_server_free(server);
	for (unsigned int i = 0; i < WORKERS; i++) {
		quic_worker_free(client_qws[i]);
		quic_worker_free(server_qws[i]);
	}
	worker_set_free(clients);
	worker_set_free(servers);
	pair_done_tls(&pair);
	return has_rights;
}

static void test_steered(void **state)
{
	(void)state;
	assert_true(run(QUIC_STEERING_FILTER));
}

static void test_forwarded(void **state)
{
	(void)state;
	is_misled = true;
	assert_true(run(QUIC_STEERING_FILTER));
	is_misled = false;
}

/* Where a filter is refused; without the rights for a program as without any help. */
static void test_program(void **state)
{
	(void)state;
	if (!run(QUIC_STEERING_PROGRAM))
		skip();
}

static void test_no_help(void **state)
{
	(void)state;
	assert_true(run(QUIC_STEERING_NONE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steered),
		cmocka_unit_test(test_forwarded),
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_no_help),
	};
	return cmocka_run_group_tests_name("quic_threads", tests, NULL, NULL);
}
