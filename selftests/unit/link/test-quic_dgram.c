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

static void test_both_ways(void **state)
{
	(void)state;
	assert_int_equal(link_send_datagram(pair.client.link, SPAN_LIT("ping")), 0);
	unsigned int one = 1;
	assert_true(pair_until(&pair, has_datagrams, &one, 1000));
	assert_int_equal(pair.accepted[0]->datagram_len, 4);
	assert_memory_equal(pair.accepted[0]->datagram, "ping", 4);

	assert_int_equal(link_send_datagram(pair.accepted[0]->link, SPAN_LIT("pong!")), 0);
	pair_run(&pair, 20);
	assert_int_equal(pair.client.datagrams, 1);
	assert_int_equal(pair.client.datagram_len, 5);
	/* An empty one is legal. */
	assert_int_equal(link_send_datagram(pair.client.link, span_of(NULL, 0)), 0);
	one = 2;
	assert_true(pair_until(&pair, has_datagrams, &one, 1000));
	assert_int_equal(pair.accepted[0]->datagram_len, 0);
}

static void test_largest(void **state)
{
	(void)state;
	static uint8_t big[2000];
	assert_true(pair_until(&pair, has_wide_path, NULL, 2000));
	size_t max = link_max_datagram(pair.client.link);
	assert_true(max >= 1297); /* a v3 payload of 1 280 */
	memset(big, 0x77, sizeof(big));
	assert_int_equal(link_send_datagram(pair.client.link, span_of(big, max + 1)), -EMSGSIZE);
	assert_int_equal(link_send_datagram(pair.client.link, span_of(big, max)), 0);
	unsigned int one = 1;
	assert_true(pair_until(&pair, has_datagrams, &one, 1000));
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
	while ((r = link_send_datagram(pair.client.link, span_of(bytes, sizeof(bytes)))) == 0)
		queued++;
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(queued, QUIC_DGRAM_QUEUE);
	struct link_stats before, after;
	link_get_stats(pair.client.link, &before);
	assert_true(pair_until(&pair, has_datagrams, &queued, 2000));
	link_get_stats(pair.client.link, &after);
	/* Several frames a packet: 512 of 64 bytes are some 40 packets of 1 200. */
	assert_true(after.tx_packets - before.tx_packets < 100);
	assert_int_equal(pair.accepted[0]->datagram_bytes, queued * sizeof(bytes));
}

/* A narrow path: what was queued for a wide one is dropped, what is behind it goes on. */
static void test_path_gets_narrower(void **state)
{
	(void)state;
	static uint8_t big[1400];
	assert_true(pair_until(&pair, has_wide_path, NULL, 2000));
	assert_int_equal(link_send_datagram(pair.client.link, span_of(big, sizeof(big))), 0);
	assert_int_equal(link_send_datagram(pair.client.link, SPAN_LIT("small")), 0);
	/* A fresh path starts small again. */
	assert_int_equal(link_migrate(pair.client.link), 0);
	assert_true(link_max_datagram(pair.client.link) < 1200);
	unsigned int one = 1;
	assert_true(pair_until(&pair, has_datagrams, &one, 2000));
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
	assert_int_equal(link_send_datagram(pair.client.link, SPAN_LIT("early")), -EPROTO);
	link_close(pair.client.link, 0, "");
	pair_run(&pair, 10);
	assert_true(pair.client.is_closed);
	assert_int_equal(link_send_datagram(pair.client.link, SPAN_LIT("late")), -EPROTO);
	assert_int_equal(link_max_datagram(pair.client.link), 0);
	pair_done(&pair);
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
	nsec_t deadline = nsec_clock(CLOCK_MONOTONIC) + 5 * NSEC_PER_SEC;
	while ((got < 2 << 20 || pair.accepted[0]->datagrams < 1000) &&
	       nsec_clock(CLOCK_MONOTONIC) < deadline) {
		ssize_t n;
		while ((n = talk_write(s, bytes, sizeof(bytes))) > 0)
			written += (size_t)n;
		while (link_send_datagram(pair.client.link, span_of(small, sizeof(small))) == 0)
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
		cmocka_unit_test_setup_teardown(test_path_gets_narrower, setup, teardown),
		cmocka_unit_test(test_before_and_after),
		cmocka_unit_test_setup_teardown(test_nobody_starves, setup, teardown),
	};
	return cmocka_run_group_tests_name("quic_dgram", tests, NULL, NULL);
}
