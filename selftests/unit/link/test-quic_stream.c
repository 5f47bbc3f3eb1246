/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of QUIC links: many at once, ends of each kind, limits, and windows that one stalled
 * reader can't close for the others.
 */
#include "daemon/link/quic_stream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/link/close.h"
#include "daemon/link/quic_window.h"
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

static struct stream *open_stream(struct link *link)
{
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(link, &s), 0);
	return s;
}

static bool has_server_stream(void *arg)
{
	return pair.accepted[0]->stream_count >= *(unsigned int *)arg;
}

static void wait_server_streams(unsigned int count)
{
	assert_true(pair_until(&pair, has_server_stream, &count, 2000));
}

/* Waits until stream_read() says something else than -EAGAIN; its answer is in ret. */
struct reading {
	struct stream *s;
	uint8_t buf[256];
	ssize_t ret;
};

static bool has_read(void *arg)
{
	struct reading *r = arg;
	r->ret = talk_read(r->s, r->buf, sizeof(r->buf));
	return r->ret != -EAGAIN;
}

static ssize_t read_one(struct stream *s, struct reading *r)
{
	r->s = s;
	assert_true(pair_until(&pair, has_read, r, 2000));
	return r->ret;
}

static bool are_streams_gone(void *arg)
{
	(void)arg;
	struct link_stats c, s;
	link_get_stats(pair.client.link, &c);
	link_get_stats(pair.accepted[0]->link, &s);
	return c.streams == 0 && s.streams == 0;
}

/* A stream that both ends are done with leaves nothing behind. */
static void wait_streams_gone(void)
{
	assert_true(pair_until(&pair, are_streams_gone, NULL, 3000));
}

/* ---- many ---------------------------------------------------------------------------------- */

enum { MANY = 1000 };

static bool are_all_done(void *arg)
{
	const struct talk *talks = arg;
	for (unsigned int i = 0; i < MANY; i++)
		if (!talks[i].is_done)
			return false;
	return true;
}

static void test_thousand_streams(void **state)
{
	(void)state;
	static struct talk talks[MANY];
	pair.accepted[0]->on_stream = echo;
	for (unsigned int i = 0; i < MANY; i++)
		talk_start(&talks[i], open_stream(pair.client.link), 1000 + 10 * i);
	assert_true(pair_until(&pair, are_all_done, talks, 20000));

	struct link_stats s;
	link_get_stats(pair.client.link, &s);
	assert_int_equal(s.streams_total, MANY);
	for (unsigned int i = 0; i < MANY; i++)
		stream_close(talks[i].stream);
	wait_streams_gone();
}

static void test_four_mib_each_way_both_openers(void **state)
{
	(void)state;
	static struct talk there, back;
	pair.accepted[0]->on_stream = echo;
	pair.client.on_stream = echo;
	talk_start(&there, open_stream(pair.client.link), 4 << 20);
	talk_start(&back, open_stream(pair.accepted[0]->link), 4 << 20);
	assert_true(pair_until(&pair, talk_is_done, &there, 20000));
	assert_true(pair_until(&pair, talk_is_done, &back, 20000));
	stream_close(there.stream);
	stream_close(back.stream);
	wait_streams_gone();
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void test_half_close(void **state)
{
	(void)state;
	struct reading r;
	struct stream *a = open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "question", 8), 8);
	stream_finish(a);
	assert_int_equal(talk_write(a, "x", 1), -EPROTO);
	wait_server_streams(1);
	struct stream *b = pair.accepted[0]->streams[0];
	assert_int_equal(pair.accepted[0]->ids[0], 0);
	assert_int_equal(read_one(b, &r), 8);
	assert_memory_equal(r.buf, "question", 8);
	assert_int_equal(read_one(b, &r), 0);
	assert_int_equal(read_one(b, &r), 0);

	/* The other direction is still open, also long after. */
	pair_run(&pair, 20);
	assert_int_equal(talk_write(b, "answer", 6), 6);
	assert_int_equal(read_one(a, &r), 6);
	stream_finish(b);
	assert_int_equal(read_one(a, &r), 0);
	stream_close(a);
	pair_end_free(&pair.client);
}

static void test_fin_without_data(void **state)
{
	(void)state;
	struct reading r;
	struct stream *a = open_stream(pair.client.link);
	stream_finish(a);
	wait_server_streams(1);
	assert_int_equal(read_one(pair.accepted[0]->streams[0], &r), 0);
	stream_finish(pair.accepted[0]->streams[0]);
	assert_int_equal(read_one(a, &r), 0);
	stream_close(a);
	stream_close(pair.accepted[0]->streams[0]);
	pair.accepted[0]->stream_count = 0;
	wait_streams_gone();
}

/* Data, then close at once: what was finished is still delivered. */
static void test_close_delivers_what_was_finished(void **state)
{
	(void)state;
	static uint8_t big[30000];
	struct stream *a = open_stream(pair.client.link);
	assert_int_equal(talk_write(a, big, sizeof(big)), sizeof(big));
	stream_finish(a);
	stream_close(a);

	wait_server_streams(1);
	struct reading r;
	size_t got = 0;
	while (read_one(pair.accepted[0]->streams[0], &r) > 0)
		got += (size_t)r.ret;
	assert_int_equal(r.ret, 0);
	assert_int_equal(got, sizeof(big));
	stream_close(pair.accepted[0]->streams[0]);
	pair.accepted[0]->stream_count = 0;
	wait_streams_gone();
}

static void test_reset_carries_its_code(void **state)
{
	(void)state;
	struct reading r;
	struct stream *a = open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	wait_server_streams(1);
	struct stream *b = pair.accepted[0]->streams[0];
	assert_int_equal(read_one(b, &r), 1);

	stream_reset(a, 42);
	assert_int_equal(talk_write(a, "x", 1), -EPROTO);
	assert_int_equal(read_one(b, &r), -ECONNRESET);
	assert_int_equal(b->error_code, 42);

	/* The direction back is untouched. */
	assert_int_equal(talk_write(b, "y", 1), 1);
	assert_int_equal(read_one(a, &r), 1);
	stream_close(b);
	pair.accepted[0]->stream_count = 0;
	stream_close(a);
	wait_streams_gone();
}

static bool is_refused(void *arg)
{
	return talk_write(arg, "x", 1) == -EPIPE;
}

static void test_stop_carries_its_code(void **state)
{
	(void)state;
	struct reading r;
	struct stream *a = open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	wait_server_streams(1);
	struct stream *b = pair.accepted[0]->streams[0];
	stream_stop(b, 43);
	r.s = b;
	assert_true(has_read(&r));
	assert_int_equal(r.ret, -ECANCELED);
	assert_int_equal(stream_write_error(a), 0);
	assert_true(pair_until(&pair, is_refused, a, 2000));
	assert_int_equal(stream_write_error(a), -EPIPE);

	assert_int_equal(talk_write(b, "y", 1), 1);
	assert_int_equal(read_one(a, &r), 1);
	/* The code is known when the stream is over. */
	stream_finish(b);
	assert_int_equal(read_one(a, &r), 0);
	wait_streams_gone();
	assert_int_equal(a->error_code, 43);
	stream_close(a);
	stream_close(b);
	pair.accepted[0]->stream_count = 0;
}

/* The usual case: the request is over, the visitor goes away in the middle of a stuck answer. */
static void test_stop_of_a_blocked_stream(void **state)
{
	(void)state;
	struct reading r;
	struct stream *a = open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	wait_server_streams(1);
	struct stream *b = pair.accepted[0]->streams[0];
	static const uint8_t bytes[64 * 1024];
	/* Until neither the peer nor the queue takes any more. */
	for (unsigned int turns = 0; turns < 50; turns++) {
		while (talk_write(b, bytes, sizeof(bytes)) > 0)
			;
		pair_run(&pair, 2);
	}
	assert_int_equal(stream_credit(b), 0);
	stream_stop(a, 44);
	assert_true(pair_until(&pair, is_refused, b, 3000));
	stream_close(b);
	pair.accepted[0]->stream_count = 0;
	assert_int_equal(read_one(a, &r), -ECANCELED);
	stream_close(a);
	wait_streams_gone();
}

static void test_close_aborts_both_directions(void **state)
{
	(void)state;
	struct reading r;
	struct stream *a = open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	wait_server_streams(1);
	struct stream *b = pair.accepted[0]->streams[0];
	assert_int_equal(read_one(b, &r), 1);
	stream_close(a);
	assert_int_equal(read_one(b, &r), -ECONNRESET);
	assert_true(pair_until(&pair, is_refused, b, 2000));
	stream_close(b);
	pair.accepted[0]->stream_count = 0;
	wait_streams_gone();
}

/* Streams outlive their link, on both sides. */
static void test_link_goes_first(void **state)
{
	(void)state;
	struct reading r;
	struct stream *a = open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	wait_server_streams(1);
	struct stream *b = pair.accepted[0]->streams[0];
	pair_end_free(&pair.client);
	assert_int_equal(talk_write(a, "x", 1), -ECONNRESET);
	assert_int_equal(stream_write_error(a), -ECONNRESET);
	assert_int_equal(read_one(a, &r), -ECONNRESET);
	/* What had arrived can still be read; then the truth. */
	pair_run(&pair, 20);
	assert_true(pair.accepted[0]->is_closed);
	assert_int_equal(read_one(b, &r), 1);
	assert_int_equal(read_one(b, &r), -ECONNRESET);
	link_free(pair.accepted[0]->link);
	pair.accepted[0]->link = NULL;
	pair_run(&pair, 5);
	assert_int_equal(read_one(b, &r), -ECONNRESET);
	stream_close(a);
}

/* ---- drain --------------------------------------------------------------------------------- */

static bool is_client_closed(void *arg)
{
	(void)arg;
	return pair.client.is_closed && pair.accepted[0]->is_closed;
}

static void test_drain_waits_for_streams(void **state)
{
	(void)state;
	struct reading r;
	struct stream *a = open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	wait_server_streams(1);
	struct stream *b = pair.accepted[0]->streams[0];

	link_drain(pair.client.link);
	pair_run(&pair, 10);
	assert_true(pair.client.is_draining);
	assert_false(pair.client.is_closed);
	struct stream *none = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &none), -EPROTO);
	/* What the peer opens now is refused. */
	struct stream *late = open_stream(pair.accepted[0]->link);
	assert_int_equal(talk_write(late, "late", 4), 4);
	assert_int_equal(read_one(late, &r), -ECONNRESET);
	stream_close(late);

	assert_int_equal(read_one(b, &r), 1);
	stream_finish(b);
	stream_finish(a);
	assert_int_equal(read_one(a, &r), 0);
	assert_int_equal(read_one(b, &r), 0);
	stream_close(a);
	stream_close(b);
	pair.accepted[0]->stream_count = 0;
	assert_true(pair_until(&pair, is_client_closed, NULL, 2000));
	assert_int_equal(pair.client.info.end, LINK_END_LOCAL);
	assert_int_equal(pair.accepted[0]->info.end, LINK_END_PEER);
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
		sources[i] = (struct source){ .s = open_stream(pair.client.link) };
		stream_set_user(sources[i].s, &user, &sources[i]);
	}
	wait_server_streams(STALLED + 1);
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

/* Short of memory, the stream that nobody has moved for longest goes, and its peer learns why. */
static void test_short_memory_evicts_the_stuck(void **state)
{
	(void)state;
	static const struct stream_user user = { source_nothing, source_run };
	enum { COUNT = 20 };
	static struct source sources[COUNT];
	for (unsigned int i = 0; i < COUNT; i++) {
		sources[i] = (struct source){ .s = open_stream(pair.client.link) };
		stream_set_user(sources[i].s, &user, &sources[i]);
	}
	wait_server_streams(COUNT);
	pair_run(&pair, 100);
	assert_true(slab_pressure(pair.server_qws[0]->worker->slab) >= 900);
	assert_int_equal(quic_worker_overloads(pair.server_qws[0]), 0);

	/* As if this one had waited for a minute. */
	struct quic_stream *stuck = (struct quic_stream *)pair.accepted[0]->streams[5];
	stuck->rx_moved = 1;
	assert_true(pair_until(&pair, is_evicted, NULL, 3000));
	struct reading r = { .s = &stuck->base };
	assert_true(has_read(&r));
	assert_int_equal(r.ret, -ECONNRESET);
	assert_int_equal(stuck->base.error_code, LINK_CODE_OVERLOADED);
	struct reading peer;
	assert_int_equal(read_one(sources[5].s, &peer), -ECONNRESET);
	assert_int_equal(sources[5].s->error_code, LINK_CODE_OVERLOADED);
	for (unsigned int i = 0; i < COUNT; i++)
		stream_close(sources[i].s);
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
		sources[i] = (struct source){ .s = open_stream(pair.client.link) };
		stream_set_user(sources[i].s, &user, &sources[i]);
	}
	wait_server_streams(COUNT);
	pair_run(&pair, 200);
	struct slab *slab = pair.server_qws[0]->worker->slab;
	assert_true(slab_pressure(slab) >= 750 && slab_pressure(slab) < 900);
	assert_true(pair.accepted[0]->streams[0] != NULL);
	const struct quic_link *link = ((struct quic_stream *)pair.accepted[0]->streams[0])->link;
	assert_true(link->unpaid > link->window.size / 2);
	assert_int_equal(quic_worker_overloads(pair.server_qws[0]), 0);

	sources[COUNT] = (struct source){ .s = open_stream(pair.client.link) };
	stream_set_user(sources[COUNT].s, &user, &sources[COUNT]);
	for (unsigned int i = 0; i < COUNT; i++)
		((struct quic_stream *)pair.accepted[0]->streams[i])->rx_moved = 1;
	wait_server_streams(COUNT + 1);
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
	struct stream *c = open_stream(pair.client.link), *s = NULL;
	struct slab_stats before = {}, after = {};
	struct bufq got;
	for (size_t i = 0; i < COUNT; i++) {
		uint8_t byte = (uint8_t)i;
		assert_int_equal(talk_write(c, &byte, 1), 1);
		if (i == 0) {
			wait_server_streams(1);
			s = pair.accepted[0]->streams[0];
			bufq_init(&got, s->slab);
			slab_get_stats(s->slab, &before);
		}
		assert_true(pair_until(&pair, has_bytes, s, 2000));
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

/* A reader for whom there is no slice node is told again, but doesn't keep the loop spinning. */
static void test_reader_without_slice_nodes(void **state)
{
	(void)state;
	static const struct stream_user user = { hungry_readable, source_nothing };
	static const char text[100] = "x";
	struct stream *c = open_stream(pair.client.link);
	assert_int_equal(talk_write(c, text, sizeof(text)), sizeof(text));
	wait_server_streams(1);
	struct stream *s = pair.accepted[0]->streams[0];
	assert_true(pair_until(&pair, has_bytes, s, 2000));

	struct slab *slab = s->slab;
	struct slice *taken = take_all_slices(slab);
	struct hungry h = {};
	bufq_init(&h.got, slab);
	nsec_t since = nsec_clock(CLOCK_MONOTONIC);
	stream_set_user(s, &user, &h);
	pair_run(&pair, 60);
	nsec_t took = nsec_clock(CLOCK_MONOTONIC) - since;
	assert_int_equal(h.ret, -ENOBUFS);
	assert_in_range(h.told, 2, 2 + took / (10 * NSEC_PER_MSEC));

	give_slices(slab, taken);
	assert_true(pair_until(&pair, has_eaten, &h, 2000));
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

/* A reader that keeps up gets a larger window; one that doesn't keeps the first. */
static void test_window_grows_with_use(void **state)
{
	(void)state;
	struct quic_window w;
	quic_window_init(&w, 64, 0);
	assert_int_equal(quic_window_advance(&w, 63, 1024, 10, 100), 0);
	assert_int_equal(quic_window_advance(&w, 1, 1024, 20, 100), 64);
	assert_int_equal(w.size, 128);
	assert_int_equal(quic_window_advance(&w, 128, 1024, 1000, 100), 0);
	assert_int_equal(quic_window_advance(&w, 128, 200, 1100, 100), 72);
	assert_int_equal(quic_window_advance(&w, 200, 200, 1101, 100), 0);
}

/* Many fast readers that stall later must not hold what all have together. */
static void test_windows_share_the_budget(void **state)
{
	(void)state;
	struct stream *s = open_stream(pair.client.link);
	assert_int_equal(talk_write(s, "x", 1), 1);
	wait_server_streams(1);
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
	struct stream *s = open_stream(pair.client.link);
	struct reading r;
	pair_run(&pair, 200); /* the path's size is known by then */
	uint64_t asked = packets_sent(pair.client.link);
	uint64_t answered = packets_sent(pair.accepted[0]->link);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		assert_int_equal(talk_write(s, "question", 8), 8);
		assert_int_equal(read_one(s, &r), 8);
		pair_run(&pair, 2);
	}
	assert_true(packets_sent(pair.client.link) - asked < ROUNDS * 3 / 2);
	assert_true(packets_sent(pair.accepted[0]->link) - answered < ROUNDS * 3 / 2);

	stream_finish(s);
	assert_int_equal(read_one(s, &r), 0);

	/* A lone one is acknowledged without it. */
	pair.accepted[0]->on_stream = NULL;
	struct stream *lone = open_stream(pair.client.link);
	assert_int_equal(talk_write(lone, "x", 1), 1);
	struct quic_stream *qs = (struct quic_stream *)lone;
	assert_true(pair_until(&pair, has_nothing_unacked, qs, 1000));
	stream_close(lone);
	stream_close(s);
}

static void test_send_queue_is_bounded(void **state)
{
	(void)state;
	struct stream *a = open_stream(pair.client.link);
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

/* ---- limits -------------------------------------------------------------------------------- */

static int setup_few_streams(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.server_settings.max_streams = 3;
	pair_start(&pair);
	pair_connect(&pair);
	pair.accepted[0]->on_stream = echo;
	return 0;
}

static bool can_open(void *arg)
{
	return link_open_stream(pair.client.link, (struct stream **)arg) == 0;
}

static void test_stream_limit_moves_on(void **state)
{
	(void)state;
	struct stream *s[3];
	for (unsigned int i = 0; i < ARRAY_SIZE(s); i++)
		s[i] = open_stream(pair.client.link);
	struct stream *more = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &more), -EAGAIN);

	struct talk t;
	talk_start(&t, s[0], 10);
	assert_true(pair_until(&pair, talk_is_done, &t, 2000));
	stream_close(s[0]);
	assert_true(pair_until(&pair, can_open, (void *)&more, 2000));
	stream_close(more);
	stream_close(s[1]);
	stream_close(s[2]);
	for (unsigned int i = 0; i < 20; i++) {
		assert_true(pair_until(&pair, can_open, (void *)&more, 2000));
		stream_close(more);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_thousand_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_four_mib_each_way_both_openers, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_half_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fin_without_data, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close_delivers_what_was_finished, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_reset_carries_its_code, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_carries_its_code, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop_of_a_blocked_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close_aborts_both_directions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link_goes_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain_waits_for_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalled_readers_stop_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_windows_share_the_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalled_readers_starve_nobody,
						setup_some_memory, teardown),
		cmocka_unit_test_setup_teardown(test_short_memory_evicts_the_stuck,
						setup_little_memory, teardown),
		cmocka_unit_test_setup_teardown(test_reader_without_slice_nodes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bytes_one_by_one, setup, teardown),
		cmocka_unit_test(test_window_grows_with_use),
		cmocka_unit_test_setup_teardown(test_acknowledgements_have_company, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_send_queue_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream_limit_moves_on, setup_few_streams,
						teardown),
	};
	return cmocka_run_group_tests_name("quic_stream", tests, NULL, NULL);
}
