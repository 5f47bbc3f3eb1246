/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2_window: who goes when memory is short. Streams that nobody has moved for five seconds are made
 * by setting their clocks back.
 */
#include "daemon/http/h2_window.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/http/h2_stream.h"
#include "selftests/lib/h2_pair.h"
#include "util/macro.h"

enum { BUDGET = 8 << 20, WINDOW = 64 * 1024, CALLS = 4 };

static struct h2_pair pair;
static struct h2_end_point *const client = &pair.client, *const server = &pair.server;

static struct {
	struct h2_call *asked, *served;
} calls[CALLS];

#define RUN_UNTIL(condition) H2_RUN_UNTIL(&pair, condition)

static int setup(void **state)
{
	(void)state;
	h2_pair_init(&pair, BUDGET);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	h2_pair_done(&pair);
	return 0;
}

static void turns(unsigned int count)
{
	while (count--)
		assert_int_equal(loop_turn(pair.loop, 0), 0);
}

static struct h2_stream *held(unsigned int i)
{
	return h2_stream_of(calls[i].asked->s);
}

/* Answers that fill their windows and that nobody reads. */
static void open_stalled(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		unsigned int before = server->count;
		assert_int_equal(h2_call_open(client, "GET", NULL, true, &calls[i].asked), 0);
		calls[i].asked->is_quiet = true;
		RUN_UNTIL(server->count > before);
		calls[i].served = &server->calls[before];
		assert_int_equal(h2_call_respond(calls[i].served, 200, NULL, false), 0);
		RUN_UNTIL(calls[i].asked->has_head);
		h2_call_write_pattern(calls[i].served, 1 << 20);
		RUN_UNTIL(held(i)->rx.len == WINDOW);
	}
}

/* As if nobody had read for so long; 0 is longest. */
static void set_back(unsigned int i, nsec_t since)
{
	held(i)->rx_moved = 1 + since;
}

static size_t used(void)
{
	struct slab_stats stats;
	slab_get_stats(pair.slab, &stats);
	return stats.in_use + stats.reserved;
}

/* Somebody else has so much that this many thousandths of the budget are used, and so many bytes
 * more. Returns what slab_release() takes. */
static size_t press(unsigned int thousandths, size_t more)
{
	size_t others = BUDGET / 1000 * thousandths + more - used();
	slab_reserve(pair.slab, others);
	return others;
}

/* What the guard does when its time has come. */
static void look(struct h2_end_point *e)
{
	timer_start(pair.loop, &e->conn->watch, loop_now(pair.loop));
	turns(2);
}

static bool is_alive(unsigned int i)
{
	return !held(i)->is_reset;
}

static void assert_evicted(unsigned int i)
{
	assert_int_equal(held(i)->rx.len, 0);
	h2_call_read(calls[i].asked);
	assert_int_equal(calls[i].asked->rx_status, -ECONNRESET);
	assert_int_equal(calls[i].asked->s->error_code, H2_CODE_ENHANCE_YOUR_CALM);
	/* Its peer learns why. */
	RUN_UNTIL(calls[i].served->tx_status == -EPIPE);
	assert_int_equal(calls[i].served->s->error_code, H2_CODE_ENHANCE_YOUR_CALM);
}

/* At nine tenths the one that is stuck for longest goes, and no more than it takes. */
static void test_longest_stuck_goes(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	open_stalled(CALLS);
	set_back(0, 20);
	set_back(1, 10);
	set_back(2, 30);
	size_t others = press(900, 1000);
	look(client);
	assert_true(is_alive(0) && is_alive(2) && is_alive(3));
	assert_evicted(1);

	slab_release(pair.slab, others);
	others = press(900, WINDOW / 2 * 3); /* two, now */
	look(client);
	assert_evicted(0);
	assert_evicted(2);
	assert_true(is_alive(3));
	slab_release(pair.slab, others);
	h2_call_read(calls[3].asked);
	RUN_UNTIL(calls[3].asked->rx_total == 1 << 20);
}

/* However short memory is: who has moved in the last five seconds stays, and so do all below. */
static void test_others_stay(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	open_stalled(2);
	size_t others = press(990, 0);
	held(0)->rx_moved = loop_now(pair.loop) - 4 * NSEC_PER_SEC;
	look(client);
	assert_true(is_alive(0) && is_alive(1));
	slab_release(pair.slab, others);

	others = press(890, 0);
	set_back(0, 0);
	look(client);
	assert_true(is_alive(0));
	slab_release(pair.slab, others);
	for (unsigned int i = 0; i < 2; i++) {
		h2_call_read(calls[i].asked);
		RUN_UNTIL(calls[i].asked->rx_total == 1 << 20);
	}
}

/* Nobody has to come by: while something is held the guard looks by itself. */
static void test_guard_looks(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	open_stalled(1);
	size_t others = press(910, 0);
	turns(3);
	assert_true(is_alive(0));
	set_back(0, 0);
	RUN_UNTIL(!is_alive(0));
	assert_evicted(0);
	slab_release(pair.slab, others);
}

/* What is to be sent and nobody takes holds memory, too. */
static void test_unsent_goes(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	open_stalled(2);
	struct h2_stream *sender = h2_stream_of(calls[0].served->s);
	RUN_UNTIL(!bufq_is_empty(&sender->tx) && sender->is_blocked);
	size_t others = press(910, 0);
	sender->tx_moved = 1;
	look(server);
	assert_true(sender->is_reset && bufq_is_empty(&sender->tx));
	assert_int_equal(stream_write_error(&sender->base), -EPIPE);
	assert_int_equal(sender->base.error_code, H2_CODE_ENHANCE_YOUR_CALM);
	slab_release(pair.slab, others);
	/* The client has a window full of it and reads that before it hears of the end. */
	h2_call_read(calls[0].asked);
	RUN_UNTIL(calls[0].asked->rx_status == -ECONNRESET);
	assert_int_equal(calls[0].asked->rx_total, WINDOW);
	h2_call_read(calls[1].asked);
	RUN_UNTIL(calls[1].asked->rx_total == 1 << 20);
}

/*
 * From three quarters on the connection's credit waits for readers: those that are stuck keep it
 * from everybody. As many go as it takes for one that reads.
 */
static void test_holders_of_credit_go(void **state)
{
	(void)state;
	pair.settings.conn_window = pair.settings.conn_window_max = 4 * WINDOW - 1;
	h2_pair_start(&pair);
	size_t others = press(800, 0);
	open_stalled(3);
	assert_int_equal(client->conn->unpaid, 3 * WINDOW);
	look(client);
	assert_true(is_alive(0) && is_alive(1) && is_alive(2));

	set_back(0, 30);
	set_back(1, 10);
	set_back(2, 20);
	look(client);
	assert_evicted(1);
	assert_evicted(2);
	assert_true(is_alive(0)); /* less than half is held now */

	unsigned int before = server->count;
	struct h2_call *reader;
	assert_int_equal(h2_call_open(client, "GET", NULL, true, &reader), 0);
	RUN_UNTIL(server->count > before);
	assert_int_equal(h2_call_respond(&server->calls[before], 200, NULL, false), 0);
	h2_call_write_pattern(&server->calls[before], 1 << 20);
	h2_call_finish(&server->calls[before]);
	RUN_UNTIL(reader->rx_status == 0);
	assert_int_equal(reader->rx_sum, h2_pattern_sum(1 << 20));
	slab_release(pair.slab, others);
}

/* Credit that was held back returns without a reader when there is memory again. */
static void test_credit_returns_with_memory(void **state)
{
	(void)state;
	pair.settings.conn_window = pair.settings.conn_window_max = 4 * WINDOW - 1;
	h2_pair_start(&pair);
	size_t others = press(800, 0);
	open_stalled(3);
	assert_int_equal(client->conn->unpaid, 3 * WINDOW);
	slab_release(pair.slab, others);
	look(client);
	assert_int_equal(client->conn->unpaid, 0);
	assert_true(is_alive(0) && is_alive(1) && is_alive(2));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_longest_stuck_goes),   T(test_others_stay),
		T(test_guard_looks),          T(test_unsent_goes),
		T(test_holders_of_credit_go), T(test_credit_returns_with_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
