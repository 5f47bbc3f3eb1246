/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accepting side: Retry, limits, strangers, stateless reset, and packets that find their
 * worker.
 */
#include "daemon/link/quic_accept.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/link/quic_priv.h"
#include "selftests/lib/quic_pair.h"
#include "selftests/lib/talk.h"
#include "selftests/lib/udp_relay.h"
#include "util/macro.h"

static struct quic_pair pair;

static void echo(struct pair_end *end, struct stream *stream)
{
	(void)end;
	talk_echo(stream);
}

static struct quic_server_stats stats_sum(void)
{
	struct quic_server_stats sum = {};
	for (unsigned int i = 0; i < pair.worker_count; i++) {
		struct quic_server_stats s;
		quic_server_get_stats(pair.server, i, &s);
		sum.accepted += s.accepted;
		sum.refused_limit += s.refused_limit;
		sum.refused_addr += s.refused_addr;
		sum.retries_sent += s.retries_sent;
		sum.resets_sent += s.resets_sent;
		sum.versions_sent += s.versions_sent;
		sum.forwarded += s.forwarded;
		sum.dropped_unknown += s.dropped_unknown;
		sum.handshake_failed += s.handshake_failed;
		sum.register_timeouts += s.register_timeouts;
		sum.unregistered += s.unregistered;
		sum.connections += s.connections;
		sum.connected_sockets += s.connected_sockets;
	}
	return sum;
}

static bool is_closed(void *arg)
{
	return ((struct pair_end *)arg)->is_closed;
}

static bool is_up(void *arg)
{
	return ((struct pair_end *)arg)->is_up;
}

/* ---- retry --------------------------------------------------------------------------------- */

static void test_retry_always(void **state)
{
	(void)state;
	pair_init(&pair, 2);
	pair.params.retry = QUIC_RETRY_ALWAYS;
	pair.on_server_stream = echo;
	pair_start(&pair);
	pair_connect(&pair);
	/* A ClientHello in two packets is answered twice; one connection comes of it. */
	struct quic_server_stats s = stats_sum();
	assert_true(s.retries_sent >= 1 && s.retries_sent <= 2);
	assert_int_equal(s.accepted, 1);
	assert_int_equal(s.unregistered, 0);
	assert_int_equal(s.connections, 1);
	assert_int_equal(s.connected_sockets, 1);
	pair_done(&pair);
}

static void test_no_retry_without_load(void **state)
{
	(void)state;
	pair_init(&pair, 2);
	pair_start(&pair);
	pair_connect(&pair);
	assert_int_equal(stats_sum().retries_sent, 0);
	assert_int_equal(stats_sum().accepted, 1);
	pair_done(&pair);
}

/* ---- limits -------------------------------------------------------------------------------- */

enum { CROWD = 40 };

static struct pair_end crowd[CROWD];

static void dial_crowd(void)
{
	memset(crowd, 0, sizeof(crowd));
	for (unsigned int i = 0; i < CROWD; i++)
		assert_int_equal(pair_dial(&pair, &crowd[i]), 0);
}

static unsigned int crowd_up(void)
{
	unsigned int up = 0;
	for (unsigned int i = 0; i < CROWD; i++)
		up += crowd[i].is_up;
	return up;
}

static void free_crowd(void)
{
	for (unsigned int i = 0; i < CROWD; i++)
		pair_end_free(&crowd[i]);
}

static bool is_address_refused(void *arg)
{
	(void)arg;
	return crowd_up() >= 8 && stats_sum().refused_addr > 0;
}

static void test_one_address_is_bounded(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.params.max_unregistered_per_addr = 8;
	pair_start(&pair);
	dial_crowd();
	assert_true(pair_until(&pair, is_address_refused, NULL, 10000));
	pair_run(&pair, 50);
	/* Eight handshakes of whom its address was taken on trust, at most eight who proved it:
	   but no more than eight of both come through. */
	assert_true(crowd_up() <= 16);
	assert_true(stats_sum().unregistered <= 16);
	assert_int_equal(pair.accepted_count, 8);
	assert_true(stats_sum().retries_sent > 0);
	free_crowd();
	pair_done(&pair);
}

static bool is_anybody_refused(void *arg)
{
	(void)arg;
	return crowd_up() >= 8 && stats_sum().refused_limit > 0;
}

static bool is_nobody_left(void *arg)
{
	(void)arg;
	return stats_sum().connections == 0;
}

static void test_all_together_are_bounded(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.params.max_unregistered = 8;
	pair_start(&pair);
	dial_crowd();
	assert_true(pair_until(&pair, is_anybody_refused, NULL, 10000));
	assert_int_equal(stats_sum().unregistered, 8);
	assert_int_equal(stats_sum().accepted, 8);
	assert_true(stats_sum().retries_sent > 0); /* from a quarter of the limit on */
	free_crowd();

	/* Somebody with good intentions comes in when the strangers have gone. */
	assert_true(pair_until(&pair, is_nobody_left, NULL, 10000));
	assert_int_equal(pair_dial(&pair, &pair.client), 0);
	assert_true(pair_until(&pair, is_up, &pair.client, 10000));
	pair_done(&pair);
}

static bool are_both_up(void *arg)
{
	(void)arg;
	return pair.client.is_up && pair.accepted_count == 1 && pair.accepted[0]->is_up;
}

static struct timer *register_timer(void)
{
	return &((struct quic_link *)pair.accepted[0]->link)->register_timer;
}

static void test_register_timeout(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.params.register_timeout = 7 * NSEC_PER_SEC;
	pair_start(&pair);
	nsec_t since = nsec_clock(CLOCK_MONOTONIC);
	assert_int_equal(pair_dial(&pair, &pair.client), 0);
	assert_true(pair_until(&pair, are_both_up, NULL, 10000));
	struct timer *timer = register_timer();
	assert_true(timer_is_armed(timer));
	assert_in_range(timer->at, since + pair.params.register_timeout,
			nsec_clock(CLOCK_MONOTONIC) + pair.params.register_timeout);
	timer_start(worker_set_get(pair.server_set, 0)->loop, timer, 0); /* it has passed */
	assert_true(pair_until(&pair, is_closed, &pair.client, 10000));
	assert_int_equal(pair.client.info.end, LINK_END_PEER);
	assert_int_equal(pair.client.info.code, 0);
	assert_int_equal(stats_sum().register_timeouts, 1);
	assert_int_equal(stats_sum().unregistered, 0);
	pair_done(&pair);
}

static void test_registered_links_stay(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair_start(&pair);
	assert_int_equal(pair_dial(&pair, &pair.client), 0);
	assert_true(pair_until(&pair, are_both_up, NULL, 10000));
	assert_true(timer_is_armed(register_timer()));
	link_set_registered(pair.accepted[0]->link);
	assert_false(timer_is_armed(register_timer()));
	pair_run(&pair, 20);
	assert_false(pair.client.is_closed);
	pair_done(&pair);
}

static void test_refuse_new(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.client_settings.handshake_timeout = 200 * NSEC_PER_MSEC;
	pair_start(&pair);
	quic_server_refuse_new(pair.server, worker_set_get(pair.server_set, 0));
	assert_int_equal(pair_dial(&pair, &pair.client), 0);
	assert_true(pair_until(&pair, is_closed, &pair.client, 10000));
	assert_int_equal(pair.client.info.end, LINK_END_HANDSHAKE);
	assert_int_equal(stats_sum().accepted, 0);
	pair_done(&pair);
}

/* ---- strangers ----------------------------------------------------------------------------- */

static int stranger_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(pair.addr.port) };
	memcpy(&sa.sin_addr, pair.addr.ip.bytes, 4);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

struct answer {
	int fd;
	uint8_t buf[2048];
	ssize_t len;
};

static bool has_answer(void *arg)
{
	struct answer *a = arg;
	a->len = recv(a->fd, a->buf, sizeof(a->buf), 0);
	return a->len >= 0;
}

static void test_version_negotiation(void **state)
{
	(void)state;
	pair_init(&pair, 2);
	pair_start(&pair);
	struct answer a = { .fd = stranger_socket() };
	uint8_t packet[1200] = { 0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4,
				 5,    6,    7,    8,    4,    9, 9, 9, 9 };
	assert_int_equal(send(a.fd, packet, sizeof(packet), 0), sizeof(packet));
	assert_true(pair_until(&pair, has_answer, &a, 10000));
	assert_int_equal(a.buf[0] & 0x80, 0x80);
	assert_memory_equal(a.buf + 1, "\0\0\0\0", 4);
	assert_memory_equal(a.buf + 5, "\x04\x09\x09\x09\x09\x08\x01\x02\x03\x04\x05\x06\x07\x08",
			    14);
	assert_true((a.len - 19) % 4 == 0 && a.len > 19);

	/* Not for small packets: we are nobody's amplifier. */
	assert_int_equal(send(a.fd, packet, 1199, 0), 1199);
	pair_run(&pair, 30);
	assert_false(has_answer(&a));
	assert_int_equal(stats_sum().versions_sent, 1);
	(void)close(a.fd);
	pair_done(&pair);
}

/* Junk of every length is dropped and counted, and disturbs nobody. */
static void test_junk(void **state)
{
	(void)state;
	pair_init(&pair, 2);
	pair.on_server_stream = echo;
	pair_start(&pair);
	pair_connect(&pair);
	int fd = stranger_socket();
	uint8_t packet[1500];
	unsigned int seed = 1;
	for (size_t len = 1; len < sizeof(packet); len += 3) {
		for (size_t i = 0; i < len; i++)
			packet[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
		if (len % 2)
			memcpy(packet + 1, "\0\0\0\1", MIN(len - 1, (size_t)4));
		(void)send(fd, packet, len, 0);
		pair_turn(&pair);
	}
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &s), 0);
	struct talk t;
	talk_start(&t, s, 1000);
	assert_true(pair_until(&pair, talk_is_done, &t, 10000));
	stream_close(s);
	assert_true(stats_sum().dropped_unknown > 300);
	assert_int_equal(stats_sum().connections, 1);
	(void)close(fd);
	pair_done(&pair);
}

/* ---- restart ------------------------------------------------------------------------------- */

static void test_stateless_reset_after_a_kill(void **state)
{
	(void)state;
	pair_init(&pair, 2);
	pair_start(&pair);
	pair_connect(&pair);
	/* The connected sockets are gone, too: what the client sends is refused by the kernel. */
	pair_kill_server(&pair);
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &s), 0);
	assert_int_equal(talk_write(s, "x", 1), 1);
	pair_run(&pair, 700); /* long enough for timeouts that back off */
	assert_false(pair.client.is_closed);

	pair_restart_server(&pair);
	assert_true(pair_until(&pair, is_closed, &pair.client, 10000));
	assert_int_equal(pair.client.info.end, LINK_END_RESET);
	/* A second probe may be under way before the first reset is read. */
	assert_in_range(stats_sum().resets_sent, 1, 3);
	stream_close(s);
	pair_done(&pair);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair_start(&pair);
	pair_kill_server(&pair);
	assert_int_equal(pair_dial(&pair, &pair.client), 0);
	assert_true(pair_until(&pair, is_closed, &pair.client, 10000));
	assert_int_equal(pair.client.info.end, LINK_END_REFUSED);
	assert_int_equal(pair.client.info.error, -ECONNREFUSED);
	pair_done(&pair);
}

/* ---- trust --------------------------------------------------------------------------------- */

static void test_wrong_pin(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.trust.pin[0] ^= 1;
	pair_start(&pair);
	assert_int_equal(pair_dial(&pair, &pair.client), 0);
	assert_true(pair_until(&pair, is_closed, &pair.client, 10000));
	assert_int_equal(pair.client.info.end, LINK_END_CERTIFICATE);
	assert_true(strlen(pair.client.info.reason) > 0);
	pair_run(&pair, 20);
	assert_int_equal(stats_sum().connections, 0);
	pair_done(&pair);
}

static void test_new_certificate(void **state)
{
	(void)state;
	static struct pair_end later;
	pair_init(&pair, 2);
	pair_start(&pair);
	pair_connect(&pair);

	/* The context of another pair: another CA. */
	static struct quic_pair other;
	pair_init(&other, 1);
	assert_int_equal(quic_server_set_tls(pair.server, other.server_tls), 0);
	later = (struct pair_end){};
	assert_int_equal(pair_dial(&pair, &later), 0);
	assert_true(pair_until(&pair, is_closed, &later, 10000));
	assert_int_equal(later.info.end, LINK_END_CERTIFICATE);
	pair_end_free(&later);

	memcpy(pair.trust.pin, other.trust.pin, sizeof(pair.trust.pin));
	later = (struct pair_end){};
	assert_int_equal(pair_dial(&pair, &later), 0);
	assert_true(pair_until(&pair, is_up, &later, 10000));
	assert_int_equal(quic_server_set_tls(pair.server, pair.server_tls), 0);
	pair_done_tls(&other);
	pair_run(&pair, 20);
	assert_false(pair.client.is_closed); /* keeps what it began with */
	assert_false(later.is_closed);
	pair_end_free(&later);
	pair_done(&pair);
}

/* ---- workers ------------------------------------------------------------------------------- */

enum { MANY = 24 };

static void test_links_spread_over_workers(void **state)
{
	(void)state;
	static struct pair_end ends[MANY];
	static struct talk talks[MANY];
	memset(ends, 0, sizeof(ends));
	pair_init(&pair, 4);
	pair.params.max_unregistered_per_addr = 1000;
	pair.on_server_stream = echo;
	pair_start(&pair);
	for (unsigned int i = 0; i < MANY; i++)
		assert_int_equal(pair_dial(&pair, &ends[i]), 0);
	for (unsigned int i = 0; i < MANY; i++) {
		assert_true(pair_until(&pair, is_up, &ends[i], 10000));
		struct stream *s = NULL;
		assert_int_equal(link_open_stream(ends[i].link, &s), 0);
		talk_start(&talks[i], s, 20000);
	}
	for (unsigned int i = 0; i < MANY; i++) {
		assert_true(pair_until(&pair, talk_is_done, &talks[i], 10000));
		stream_close(talks[i].stream);
	}
	unsigned int busy = 0;
	for (unsigned int i = 0; i < 4; i++) {
		struct quic_server_stats s;
		quic_server_get_stats(pair.server, i, &s);
		busy += s.accepted > 0;
		assert_int_equal(s.connections, s.accepted);
	}
	assert_true(busy >= 3);
	/* The kernel steered: no packet took the way over a mailbox. */
	assert_int_equal(stats_sum().forwarded, 0);
	for (unsigned int i = 0; i < MANY; i++)
		pair_end_free(&ends[i]);
	pair_done(&pair);
}

/* Without the kernel's help (all packets reach one worker) the others get theirs by mailbox. */
static void test_forwarding(void **state)
{
	(void)state;
	pair_init(&pair, 3);
	pair.params.max_unregistered_per_addr = 1000;
	pair.on_server_stream = echo;
	pair_start(&pair);
	for (unsigned int i = 1; i < pair.worker_count; i++) {
		struct quic_accept *a = pair.server->accepts[i];
		loop_io_stop(&a->socks[0]->io);
	}
	int fd = pair.server->accepts[0]->socks[0]->udp.fd;
	assert_int_equal(quic_cid_attach_steering(fd, 1), 0);
	/* No connected sockets either. */
	pair.server->connected_max = 0;

	static struct pair_end ends[MANY];
	static struct talk talks[MANY];
	memset(ends, 0, sizeof(ends));
	for (unsigned int i = 0; i < 12; i++)
		assert_int_equal(pair_dial(&pair, &ends[i]), 0);
	for (unsigned int i = 0; i < 12; i++) {
		assert_true(pair_until(&pair, is_up, &ends[i], 10000));
		struct stream *s = NULL;
		assert_int_equal(link_open_stream(ends[i].link, &s), 0);
		talk_start(&talks[i], s, 50000);
	}
	for (unsigned int i = 0; i < 12; i++) {
		assert_true(pair_until(&pair, talk_is_done, &talks[i], 10000));
		stream_close(talks[i].stream);
	}
	assert_true(stats_sum().forwarded > 0);
	for (unsigned int i = 0; i < 12; i++)
		pair_end_free(&ends[i]);
	pair_run(&pair, 20);
	pair_done(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_retry_always),
		cmocka_unit_test(test_no_retry_without_load),
		cmocka_unit_test(test_one_address_is_bounded),
		cmocka_unit_test(test_all_together_are_bounded),
		cmocka_unit_test(test_register_timeout),
		cmocka_unit_test(test_registered_links_stay),
		cmocka_unit_test(test_refuse_new),
		cmocka_unit_test(test_version_negotiation),
		cmocka_unit_test(test_junk),
		cmocka_unit_test(test_stateless_reset_after_a_kill),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_wrong_pin),
		cmocka_unit_test(test_new_certificate),
		cmocka_unit_test(test_links_spread_over_workers),
		cmocka_unit_test(test_forwarding),
	};
	return cmocka_run_group_tests_name("quic_accept", tests, NULL, NULL);
}
