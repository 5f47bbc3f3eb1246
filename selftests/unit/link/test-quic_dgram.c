/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DATAGRAM frames: sizes, order, bounds, and that neither streams nor datagrams starve.
 */
#include "daemon/link/quic_dgram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/lib/quic_pair.h"
#include "selftests/lib/talk.h"
#include "selftests/lib/udp_relay.h"
#include "util/macro.h"

static struct quic_pair pair;

static int setup(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair_start(&pair);
	pair_connect(&pair);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pair_done(&pair);
	return 0;
}

static bool has_datagrams(void *arg)
{
	return pair.accepted[0]->datagrams >= *(unsigned int *)arg;
}

static bool has_wide_path(void *arg)
{
	(void)arg;
	return link_max_datagram(pair.client.link) > 1400;
}

static int send_payload(struct link *link, struct span payload)
{
	return link_send_datagram(link, DATAGRAM_KIND_PAYLOAD, payload);
}

static void test_both_ways(void **state)
{
	(void)state;
	assert_int_equal(send_payload(pair.client.link, SPAN_LIT("ping")), 0);
	unsigned int one = 1;
	assert_true(pair_until(&pair, has_datagrams, &one, 10000));
	assert_int_equal(pair.accepted[0]->datagram_len, 4);
	assert_memory_equal(pair.accepted[0]->datagram, "ping", 4);

	assert_int_equal(send_payload(pair.accepted[0]->link, SPAN_LIT("pong!")), 0);
	pair_run(&pair, 20);
	assert_int_equal(pair.client.datagrams, 1);
	assert_int_equal(pair.client.datagram_len, 5);
	/* An empty one is legal. */
	assert_int_equal(send_payload(pair.client.link, span_of(NULL, 0)), 0);
	one = 2;
	assert_true(pair_until(&pair, has_datagrams, &one, 10000));
	assert_int_equal(pair.accepted[0]->datagram_len, 0);
}

static void test_largest(void **state)
{
	(void)state;
	static uint8_t big[2000];
	assert_true(pair_until(&pair, has_wide_path, NULL, 10000));
	size_t max = link_max_datagram(pair.client.link);
	assert_true(max >= 1297); /* a v3 payload of 1 280 */
	memset(big, 0x77, sizeof(big));
	assert_int_equal(send_payload(pair.client.link, span_of(big, max + 1)), -EMSGSIZE);
	assert_int_equal(send_payload(pair.client.link, span_of(big, max)), 0);
	unsigned int one = 1;
	assert_true(pair_until(&pair, has_datagrams, &one, 10000));
	assert_int_equal(pair.accepted[0]->datagram_len, max);
	struct link_stats s;
	link_get_stats(pair.client.link, &s);
	assert_int_equal(s.tx_datagrams, 1);
	assert_int_equal(s.dropped_datagrams, 1);
}

static void test_queue_is_bounded_and_packed(void **state)
{
	(void)state;
	uint8_t bytes[64] = { 1 };
	unsigned int queued = 0;
	int r = 0;
	struct link_stats before, after;
	pair_run(&pair, 20); /* the pacer allows packets again */
	link_get_stats(pair.client.link, &before);
	while ((r = send_payload(pair.client.link, span_of(bytes, sizeof(bytes)))) == 0)
		queued++;
	assert_int_equal(r, -ENOBUFS);
	/* What the window allows leaves at once, before anything is refused. */
	assert_true(queued > QUIC_DGRAM_PAYLOADS);
	assert_true(pair_until(&pair, has_datagrams, &queued, 10000));
	link_get_stats(pair.client.link, &after);
	/* Several frames a packet: at least 15 of 64 bytes are in one of 1 200. */
	assert_true(after.tx_packets - before.tx_packets < queued / 15 + 60);
	assert_int_equal(pair.accepted[0]->datagram_bytes, queued * sizeof(bytes));
}

/* As many of one kind as may wait leave the other kinds' places free, in whatever order they come.
 */
static void test_kinds(void **state)
{
	(void)state;
	static const unsigned int places[] = { [DATAGRAM_KIND_PAYLOAD] = QUIC_DGRAM_PAYLOADS,
					       [DATAGRAM_KIND_ANSWER] = QUIC_DGRAM_OTHERS,
					       [DATAGRAM_KIND_PACKET] = QUIC_DGRAM_OTHERS };
	static uint8_t bytes[1100];
	unsigned int all = 0;
	for (unsigned int first = 0; first < DATAGRAM_KIND_MAX_; first++) {
		for (unsigned int i = 0; i < DATAGRAM_KIND_MAX_; i++) {
			enum datagram_kind kind =
				(enum datagram_kind)((first + i) % DATAGRAM_KIND_MAX_);
			struct span s = span_of(bytes, kind == DATAGRAM_KIND_PACKET ? 1100 : 20);
			unsigned int queued = 0;
			while (link_send_datagram(pair.client.link, kind, s) == 0)
				queued++;
			if (kind == DATAGRAM_KIND_PAYLOAD) /* some may leave at once */
				assert_true(queued >= places[kind]);
			else
				assert_int_equal(queued, places[kind]);
			all += queued;
		}
		assert_true(pair_until(&pair, has_datagrams, &all, 10000));
	}
	/* Payloads have a bound of bytes as well. */
	unsigned int queued = 0;
	while (send_payload(pair.client.link, span_of(bytes, sizeof(bytes))) == 0)
		queued++;
	assert_true(queued >= QUIC_DGRAM_QUEUE_BYTES / sizeof(bytes));
	assert_int_equal(link_send_datagram(pair.client.link, DATAGRAM_KIND_PACKET,
					    span_of(bytes, sizeof(bytes))),
			 0);
}

/* A narrow path: what was queued for a wide one is dropped, what is behind it goes on. */
static void test_path_gets_narrower(void **state)
{
	(void)state;
	static uint8_t big[1400];
	assert_true(pair_until(&pair, has_wide_path, NULL, 10000));
	assert_int_equal(send_payload(pair.client.link, span_of(big, sizeof(big))), 0);
	assert_int_equal(send_payload(pair.client.link, SPAN_LIT("small")), 0);
	/* A fresh path starts small again. */
	assert_int_equal(link_migrate(pair.client.link), 0);
	assert_true(link_max_datagram(pair.client.link) < 1200);
	unsigned int one = 1;
	assert_true(pair_until(&pair, has_datagrams, &one, 10000));
	assert_int_equal(pair.accepted[0]->datagram_len, 5);
	struct link_stats s;
	link_get_stats(pair.client.link, &s);
	assert_int_equal(s.dropped_datagrams, 1);
}

static void test_before_and_after(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair_start(&pair);
	assert_int_equal(pair_dial(&pair, &pair.client), 0);
	assert_int_equal(link_max_datagram(pair.client.link), 0);
	assert_int_equal(send_payload(pair.client.link, SPAN_LIT("early")), -EPROTO);
	link_close(pair.client.link, 0, "");
	pair_run(&pair, 10);
	assert_true(pair.client.is_closed);
	assert_int_equal(send_payload(pair.client.link, SPAN_LIT("late")), -EPROTO);
	assert_int_equal(link_max_datagram(pair.client.link), 0);
	pair_done(&pair);
}

static bool has_nothing_in_flight(void *arg)
{
	struct link_stats stats;
	link_get_stats(arg, &stats);
	return stats.bytes_in_flight == 0;
}

static void send_all(struct link *link, unsigned int count, size_t shortest, size_t longest)
{
	static uint8_t bytes[1400];
	for (unsigned int i = 0; i < count; i++) {
		size_t len = shortest + i * 7 % (longest - shortest + 1);
		assert_int_equal(send_payload(link, span_of(bytes, len)), 0);
	}
}

/* The kernel takes many packets in one call, be they shorter than the path allows: when one
 * datagram is in each, and when many of several lengths are. */
static void test_packets_leave_together(void **state)
{
	(void)state;
	static const struct {
		unsigned int count;
		size_t shortest, longest;
	} cases[] = { { 40, 900, 900 }, { 400, 20, 100 } };
	assert_true(pair_until(&pair, has_wide_path, NULL, 10000));
	pair_run(&pair, 100); /* the path's size is known by then */
	const struct udp_stats *stats = &pair.client_qw->udp;
	unsigned int wanted = pair.accepted[0]->datagrams;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t packets = stats->tx_segments, together = stats->tx_gso;
		send_all(pair.client.link, cases[i].count, cases[i].shortest, cases[i].longest);
		wanted += cases[i].count;
		assert_true(pair_until(&pair, has_datagrams, &wanted, 10000));
		packets = stats->tx_segments - packets;
		together = stats->tx_gso - together;
		assert_true(packets >= 15);
		assert_true(together > packets / 2);
	}
}

static bool has_answers(void *arg)
{
	return pair.client.datagrams >= *(unsigned int *)arg;
}

static uint64_t packets_sent(struct link *link)
{
	struct link_stats stats;
	link_get_stats(link, &stats);
	return stats.tx_packets;
}

/* Packets with datagrams wait to be acknowledged by the answers. */
static void test_answers_acknowledge(void **state)
{
	(void)state;
	enum { ROUNDS = 20, EACH = 3 };
	unsigned int waited = 0;
	assert_true(pair_until(&pair, has_wide_path, NULL, 10000));
	pair_run(&pair, 100);
	struct link *server = pair.accepted[0]->link;
	for (unsigned int i = 1; i <= ROUNDS; i++) {
		unsigned int wanted = i * EACH;
		uint64_t before = packets_sent(server);
		send_all(pair.client.link, EACH, 900, 900);
		assert_true(pair_until(&pair, has_datagrams, &wanted, 10000));
		waited += packets_sent(server) == before;
		send_all(server, EACH, 900, 900);
		assert_true(pair_until(&pair, has_answers, &wanted, 10000));
	}
	assert_true(waited > ROUNDS / 2);

	/* Where there is no answer they are acknowledged all the same. */
	send_all(pair.client.link, EACH, 900, 900);
	assert_true(pair_until(&pair, has_nothing_in_flight, pair.client.link, 10000));
}

/* With nothing left to send no turn is taken for the pacer's sake. */
static void test_pacer_alone_wakes_nobody(void **state)
{
	(void)state;
	pair_run(&pair, 100);
	struct quic_link *link = (struct quic_link *)pair.client.link;
	for (unsigned int i = 1; i <= 10; i++) {
		send_all(pair.client.link, 1, 900, 900);
		assert_true(pair_until(&pair, has_datagrams, &i, 10000));
		assert_true(link->timer.at >= loop_now(link->qw->worker->loop) + NSEC_PER_MSEC);
	}
}

/* A full stream and full datagrams beside each other. */
static void test_nobody_starves(void **state)
{
	(void)state;
	struct stream *s = NULL;
	pair.accepted[0]->on_stream = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &s), 0);
	static uint8_t bytes[64 * 1024];
	size_t written = 0, got = 0;
	uint8_t small[100] = {};
	nsec_t deadline = nsec_clock(CLOCK_MONOTONIC) + 20 * NSEC_PER_SEC;
	while ((got < 2 << 20 || pair.accepted[0]->datagrams < 1000) &&
	       nsec_clock(CLOCK_MONOTONIC) < deadline) {
		ssize_t n;
		while ((n = talk_write(s, bytes, sizeof(bytes))) > 0)
			written += (size_t)n;
		while (send_payload(pair.client.link, span_of(small, sizeof(small))) == 0)
			;
		pair_turn(&pair);
		if (pair.accepted[0]->stream_count)
			while ((n = talk_read(pair.accepted[0]->streams[0], bytes, sizeof(bytes))) >
			       0)
				got += (size_t)n;
	}
	assert_true(got >= 2 << 20);
	assert_true(pair.accepted[0]->datagrams >= 1000);
	assert_true(written >= got);
	stream_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_ways, setup, teardown),
		cmocka_unit_test_setup_teardown(test_largest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_is_bounded_and_packed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_path_gets_narrower, setup, teardown),
		cmocka_unit_test_setup_teardown(test_packets_leave_together, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers_acknowledge, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pacer_alone_wakes_nobody, setup, teardown),
		cmocka_unit_test(test_before_and_after),
		cmocka_unit_test_setup_teardown(test_nobody_starves, setup, teardown),
	};
	return cmocka_run_group_tests_name("quic_dgram", tests, NULL, NULL);
}
