/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Windows, memory and acknowledgements of QUIC links: one stalled reader doesn't close the link for
 * the others, short memory ends what is stuck, small packets share.
 */
#include "daemon/link/quic_window.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/link/close.h"
#include "daemon/link/quic_stream.h"
#include "selftests/lib/quic_pair.h"
#include "selftests/lib/talk.h"
#include "util/macro.h"

static struct quic_pair pair;

static void echo(struct pair_end *end, struct stream *stream)
{
	(void)end;
	talk_echo(stream);
}

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

/* ---- windows ------------------------------------------------------------------------------- */

enum { STALLED = 100 };

struct source {
	struct stream *s;
	size_t sent;
};

static void source_run(struct stream *s, void *user)
{
	static const uint8_t bytes[64 * 1024];
	struct source *src = user;
	ssize_t n;
	while ((n = talk_write(s, bytes, sizeof(bytes))) > 0)
		src->sent += (size_t)n;
	assert_true(n == -EAGAIN || n == -EPIPE || n == -EPROTO || n == -ECONNRESET);
}

static void source_nothing(struct stream *s, void *user)
{
	(void)s;
	(void)user;
}

struct drain_state {
	struct stream *s;
	size_t got, want;
};

static bool has_drained(void *arg)
{
	static uint8_t buf[64 * 1024];
	struct drain_state *d = arg;
	ssize_t n;
	while ((n = talk_read(d->s, buf, sizeof(buf))) > 0)
		d->got += (size_t)n;
	return d->got >= d->want;
}

static void test_stalled_readers_stop_nobody(void **state)
{
	(void)state;
	static const struct stream_user user = { source_nothing, source_run };
	static struct source sources[STALLED + 1];
	for (unsigned int i = 0; i <= STALLED; i++) {
		sources[i] = (struct source){ .s = pair_open_stream(pair.client.link) };
		stream_set_user(sources[i].s, &user, &sources[i]);
	}
	pair_wait_streams(&pair, STALLED + 1);
	/* The last one is read; 20 MiB are far more than any window of the link. */
	struct drain_state d = { .s = pair.accepted[0]->streams[STALLED], .want = 20 << 20 };
	assert_true(pair_until(&pair, has_drained, &d, 20000));

	size_t held = 0;
	for (unsigned int i = 0; i < STALLED; i++) {
		const struct quic_stream *qs =
			(const struct quic_stream *)pair.accepted[0]->streams[i];
		assert_true(qs->rx.len <= pair.server_settings.stream_window);
		held += qs->rx.len;
	}
	assert_true(held <= STALLED * pair.server_settings.stream_window);
	assert_true(held >= STALLED * pair.server_settings.stream_window / 2);
	for (unsigned int i = 0; i <= STALLED; i++)
		stream_close(sources[i].s);
}

static bool is_evicted(void *arg)
{
	(void)arg;
	return quic_worker_overloads(pair.server_qws[0]) > 0;
}

static int setup_little_memory(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.server_memory = 1024 * 1024;
	pair_start(&pair);
	pair_connect(&pair);
	return 0;
}

static bool has_pressure(void *arg)
{
	return slab_pressure(pair.server_qws[0]->worker->slab) >= *(const unsigned int *)arg;
}

/* Short of memory, the stream that nobody has moved for longest goes, and its peer learns why. */
static void test_short_memory_evicts_the_stuck(void **state)
{
	(void)state;
	static const struct stream_user user = { source_nothing, source_run };
	enum { COUNT = 20 };
	static struct source sources[COUNT];
	for (unsigned int i = 0; i < COUNT; i++) {
		sources[i] = (struct source){ .s = pair_open_stream(pair.client.link) };
		stream_set_user(sources[i].s, &user, &sources[i]);
	}
	pair_wait_streams(&pair, COUNT);
	assert_true(pair_until(&pair, has_pressure, (unsigned int[]){ 900 }, 10000));
	assert_int_equal(quic_worker_overloads(pair.server_qws[0]), 0);

	/* As if this one had waited for a minute. */
	struct quic_stream *stuck = (struct quic_stream *)pair.accepted[0]->streams[5];
	stuck->rx_moved = 1;
	assert_true(pair_until(&pair, is_evicted, NULL, 10000));
	struct pair_reading r = { .s = &stuck->base };
	assert_true(pair_has_read(&r));
	assert_int_equal(r.ret, -ECONNRESET);
	assert_int_equal(stuck->base.error_code, LINK_CODE_OVERLOADED);
	struct pair_reading peer;
	assert_int_equal(pair_read_one(&pair, sources[5].s, &peer), -ECONNRESET);
	assert_int_equal(sources[5].s->error_code, LINK_CODE_OVERLOADED);
	for (unsigned int i = 0; i < COUNT; i++)
		stream_close(sources[i].s);
}

static bool owes_credit(void *arg)
{
	const struct quic_link *link = arg;
	return link->unpaid > link->window.size / 2;
}

static int setup_some_memory(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.server_memory = 8 * 1024 * 1024;
	pair_start(&pair);
	pair_connect(&pair);
	return 0;
}

/*
 * Stalled readers that fill three quarters of the budget, but not nine tenths, keep a link's credit
 * back. Once they have been stuck for long enough as many go as it takes for one that reads.
 */
static void test_stalled_readers_starve_nobody(void **state)
{
	(void)state;
	static const struct stream_user user = { source_nothing, source_run };
	enum { COUNT = 110 };
	static struct source sources[COUNT + 1];
	for (unsigned int i = 0; i < COUNT; i++) {
		sources[i] = (struct source){ .s = pair_open_stream(pair.client.link) };
		stream_set_user(sources[i].s, &user, &sources[i]);
	}
	pair_wait_streams(&pair, COUNT);
	struct slab *slab = pair.server_qws[0]->worker->slab;
	assert_true(pair_until(&pair, has_pressure, (unsigned int[]){ 750 }, 10000));
	assert_true(pair.accepted[0]->streams[0] != NULL);
	struct quic_link *link = ((struct quic_stream *)pair.accepted[0]->streams[0])->link;
	assert_true(pair_until(&pair, owes_credit, link, 10000));
	assert_true(slab_pressure(slab) < 900);
	assert_int_equal(quic_worker_overloads(pair.server_qws[0]), 0);

	sources[COUNT] = (struct source){ .s = pair_open_stream(pair.client.link) };
	stream_set_user(sources[COUNT].s, &user, &sources[COUNT]);
	for (unsigned int i = 0; i < COUNT; i++)
		((struct quic_stream *)pair.accepted[0]->streams[i])->rx_moved = 1;
	pair_wait_streams(&pair, COUNT + 1);
	struct drain_state d = { .s = pair.accepted[0]->streams[COUNT], .want = 4 << 20 };
	assert_true(pair_until(&pair, has_drained, &d, 10000));
	unsigned int overloads = (unsigned int)quic_worker_overloads(pair.server_qws[0]);
	assert_true(overloads > 0 && overloads < COUNT);
	for (unsigned int i = 0; i <= COUNT; i++)
		stream_close(sources[i].s);
}

/* ---- without slice nodes ---- */

struct hungry {
	unsigned int told;
	ssize_t ret;
	struct bufq got;
};

static void hungry_readable(struct stream *s, void *user)
{
	struct hungry *h = user;
	h->told++;
	h->ret = stream_read(s, &h->got, 10); /* a piece of a slice: it needs a node of its own */
}

static bool has_eaten(void *arg)
{
	return ((struct hungry *)arg)->got.len > 0;
}

static bool has_bytes(void *arg)
{
	return !bufq_is_empty(&((struct quic_stream *)arg)->rx);
}

/* Who collects a message that comes byte by byte doesn't hold a buffer for each. */
static void test_bytes_one_by_one(void **state)
{
	(void)state;
	enum { COUNT = 300 };
	struct stream *c = pair_open_stream(pair.client.link), *s = NULL;
	struct slab_stats before = {}, after = {};
	struct bufq got;
	for (size_t i = 0; i < COUNT; i++) {
		uint8_t byte = (uint8_t)i;
		assert_int_equal(talk_write(c, &byte, 1), 1);
		if (i == 0) {
			pair_wait_streams(&pair, 1);
			s = pair.accepted[0]->streams[0];
			bufq_init(&got, s->slab);
			slab_get_stats(s->slab, &before);
		}
		assert_true(pair_until(&pair, has_bytes, s, 10000));
		assert_int_equal(stream_read(s, &got, SIZE_MAX), 1);
	}
	slab_get_stats(got.slab, &after);
	assert_true(after.in_use <= before.in_use + 2 * SLAB_SMALL_LEN);
	uint8_t bytes[COUNT];
	assert_int_equal(bufq_copy_out(&got, bytes, COUNT), COUNT);
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(bytes[i], (uint8_t)i);
	bufq_clear(&got);
	stream_close(c);
}

static struct slice *take_all_slices(struct slab *slab)
{
	struct slice *all = NULL, *one;
	while ((one = slice_get(slab))) {
		one->next = all;
		all = one;
	}
	return all;
}

static void give_slices(struct slab *slab, struct slice *all)
{
	while (all) {
		struct slice *one = all;
		all = one->next;
		slice_put(slab, one);
	}
}

static bool is_told_again(void *arg)
{
	return ((const struct hungry *)arg)->told >= 2;
}

/* A reader for whom there is no slice node is told again, but doesn't keep the loop spinning. */
static void test_reader_without_slice_nodes(void **state)
{
	(void)state;
	static const struct stream_user user = { hungry_readable, source_nothing };
	static const char text[100] = "x";
	struct stream *c = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(c, text, sizeof(text)), sizeof(text));
	pair_wait_streams(&pair, 1);
	struct stream *s = pair.accepted[0]->streams[0];
	assert_true(pair_until(&pair, has_bytes, s, 10000));

	struct slab *slab = s->slab;
	struct slice *taken = take_all_slices(slab);
	struct hungry h = {};
	bufq_init(&h.got, slab);
	nsec_t since = nsec_clock(CLOCK_MONOTONIC);
	stream_set_user(s, &user, &h);
	assert_true(pair_until(&pair, is_told_again, &h, 10000));
	pair_run(&pair, 40);
	nsec_t took = nsec_clock(CLOCK_MONOTONIC) - since;
	assert_int_equal(h.ret, -ENOBUFS);
	assert_true(h.told <= 2 + took / (10 * NSEC_PER_MSEC));

	give_slices(slab, taken);
	assert_true(pair_until(&pair, has_eaten, &h, 10000));
	assert_int_equal(h.ret, 10);
	bufq_clear(&h.got);

	/* Closed while it waits: nobody is told any more. */
	taken = take_all_slices(slab);
	assert_int_equal(stream_read(s, &h.got, 10), -ENOBUFS);
	stream_close(s);
	pair.accepted[0]->stream_count = 0;
	give_slices(slab, taken);
	stream_close(c);
	unsigned int told = h.told;
	pair_run(&pair, 30);
	assert_int_equal(h.told, told);
}

/* Many fast readers that stall later must not hold what all have together. */
static void test_windows_share_the_budget(void **state)
{
	(void)state;
	struct stream *s = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(s, "x", 1), 1);
	pair_wait_streams(&pair, 1);
	struct quic_stream *qs = (struct quic_stream *)pair.accepted[0]->streams[0];
	struct quic_worker *qw = qs->link->qw;
	uint64_t first = qs->window.size;
	assert_int_equal(qw->stream_windows, first);
	for (unsigned int i = 0; i < 2; i++) /* the second time within no time */
		quic_window_stream_taken(qs, qs->window.size);
	uint64_t grown = qs->window.size;
	assert_true(grown > first);
	assert_int_equal(qw->stream_windows, grown);

	struct slab_stats stats;
	slab_get_stats(qw->worker->slab, &stats);
	qw->stream_windows += stats.limit / 8;
	for (unsigned int i = 0; i < 2; i++)
		quic_window_stream_taken(qs, qs->window.size);
	assert_int_equal(qs->window.size, grown);
	qw->stream_windows -= stats.limit / 8;
	stream_close(s);
}

static bool has_nothing_unacked(void *arg)
{
	const struct quic_stream *qs = arg;
	return bufq_is_empty(&qs->tx);
}

static uint64_t packets_sent(struct link *link)
{
	struct link_stats stats;
	link_get_stats(link, &stats);
	return stats.tx_packets;
}

/* Question and answer take a packet each: acknowledgements travel with the next one. */
static void test_acknowledgements_have_company(void **state)
{
	(void)state;
	enum { ROUNDS = 100 };
	pair.accepted[0]->on_stream = echo;
	struct stream *s = pair_open_stream(pair.client.link);
	struct pair_reading r;
	pair_run(&pair, 200); /* the path's size is known by then */
	uint64_t asked = packets_sent(pair.client.link);
	uint64_t answered = packets_sent(pair.accepted[0]->link);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		assert_int_equal(talk_write(s, "question", 8), 8);
		assert_int_equal(pair_read_one(&pair, s, &r), 8);
		pair_run(&pair, 2);
	}
	assert_true(packets_sent(pair.client.link) - asked < ROUNDS * 3 / 2);
	assert_true(packets_sent(pair.accepted[0]->link) - answered < ROUNDS * 3 / 2);

	stream_finish(s);
	assert_int_equal(pair_read_one(&pair, s, &r), 0);

	/* A lone one is acknowledged without it. */
	pair.accepted[0]->on_stream = NULL;
	struct stream *lone = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(lone, "x", 1), 1);
	struct quic_stream *qs = (struct quic_stream *)lone;
	assert_true(pair_until(&pair, has_nothing_unacked, qs, 10000));
	stream_close(lone);
	stream_close(s);
}

/* Another setting is for later links: the streams of this one have the window that it announced. */
static void test_window_is_the_announced_one(void **state)
{
	(void)state;
	uint64_t announced = pair.server_settings.stream_window;
	pair.server_settings.stream_window = 16 * announced;
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	pair_wait_streams(&pair, 1);
	struct stream *b = pair.accepted[0]->streams[0];
	assert_int_equal(((struct quic_stream *)b)->window.size, announced);
	stream_close(b);
	pair.accepted[0]->stream_count = 0;
	stream_close(a);
}

static void test_send_queue_is_bounded(void **state)
{
	(void)state;
	struct stream *a = pair_open_stream(pair.client.link);
	size_t total = 0;
	static const uint8_t bytes[64 * 1024];
	ssize_t n;
	/* No turn in between: only the queue takes. */
	while ((n = talk_write(a, bytes, sizeof(bytes))) > 0)
		total += (size_t)n;
	assert_int_equal(n, -EAGAIN);
	assert_int_equal(stream_credit(a), 0);
	assert_true(total >= 4 * 1024 && total <= 1024 * 1024);
	stream_close(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stalled_readers_stop_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_windows_share_the_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalled_readers_starve_nobody,
						setup_some_memory, teardown),
		cmocka_unit_test_setup_teardown(test_short_memory_evicts_the_stuck,
						setup_little_memory, teardown),
		cmocka_unit_test_setup_teardown(test_reader_without_slice_nodes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bytes_one_by_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window_is_the_announced_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_acknowledgements_have_company, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_send_queue_is_bounded, setup, teardown),
	};
	return cmocka_run_group_tests_name("quic_window", tests, NULL, NULL);
}
