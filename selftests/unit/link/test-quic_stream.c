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
	assert_true(pair_until(&pair, are_streams_gone, NULL, 10000));
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
		talk_start(&talks[i], pair_open_stream(pair.client.link), 1000 + 10 * i);
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
	talk_start(&there, pair_open_stream(pair.client.link), 4 << 20);
	talk_start(&back, pair_open_stream(pair.accepted[0]->link), 4 << 20);
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
	struct pair_reading r;
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "question", 8), 8);
	stream_finish(a);
	assert_int_equal(talk_write(a, "x", 1), -EPROTO);
	pair_wait_streams(&pair, 1);
	struct stream *b = pair.accepted[0]->streams[0];
	assert_int_equal(pair.accepted[0]->ids[0], 0);
	assert_int_equal(pair_read_one(&pair, b, &r), 8);
	assert_memory_equal(r.buf, "question", 8);
	assert_int_equal(pair_read_one(&pair, b, &r), 0);
	assert_int_equal(pair_read_one(&pair, b, &r), 0);

	/* The other direction is still open, also long after. */
	pair_run(&pair, 20);
	assert_int_equal(talk_write(b, "answer", 6), 6);
	assert_int_equal(pair_read_one(&pair, a, &r), 6);
	stream_finish(b);
	assert_int_equal(pair_read_one(&pair, a, &r), 0);
	stream_close(a);
	pair_end_free(&pair.client);
}

static void test_fin_without_data(void **state)
{
	(void)state;
	struct pair_reading r;
	struct stream *a = pair_open_stream(pair.client.link);
	stream_finish(a);
	pair_wait_streams(&pair, 1);
	assert_int_equal(pair_read_one(&pair, pair.accepted[0]->streams[0], &r), 0);
	stream_finish(pair.accepted[0]->streams[0]);
	assert_int_equal(pair_read_one(&pair, a, &r), 0);
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
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, big, sizeof(big)), sizeof(big));
	stream_finish(a);
	stream_close(a);

	pair_wait_streams(&pair, 1);
	struct pair_reading r;
	size_t got = 0;
	while (pair_read_one(&pair, pair.accepted[0]->streams[0], &r) > 0)
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
	struct pair_reading r;
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	pair_wait_streams(&pair, 1);
	struct stream *b = pair.accepted[0]->streams[0];
	assert_int_equal(pair_read_one(&pair, b, &r), 1);

	stream_reset(a, 42);
	assert_int_equal(talk_write(a, "x", 1), -EPROTO);
	assert_int_equal(pair_read_one(&pair, b, &r), -ECONNRESET);
	assert_int_equal(b->error_code, 42);

	/* The direction back is untouched. */
	assert_int_equal(talk_write(b, "y", 1), 1);
	assert_int_equal(pair_read_one(&pair, a, &r), 1);
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
	struct pair_reading r;
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	pair_wait_streams(&pair, 1);
	struct stream *b = pair.accepted[0]->streams[0];
	stream_stop(b, 43);
	r.s = b;
	assert_true(pair_has_read(&r));
	assert_int_equal(r.ret, -ECANCELED);
	assert_int_equal(stream_write_error(a), 0);
	assert_true(pair_until(&pair, is_refused, a, 10000));
	assert_int_equal(stream_write_error(a), -EPIPE);

	assert_int_equal(talk_write(b, "y", 1), 1);
	assert_int_equal(pair_read_one(&pair, a, &r), 1);
	/* The code is known when the stream is over. */
	stream_finish(b);
	assert_int_equal(pair_read_one(&pair, a, &r), 0);
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
	struct pair_reading r;
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	pair_wait_streams(&pair, 1);
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
	assert_true(pair_until(&pair, is_refused, b, 10000));
	stream_close(b);
	pair.accepted[0]->stream_count = 0;
	assert_int_equal(pair_read_one(&pair, a, &r), -ECANCELED);
	stream_close(a);
	wait_streams_gone();
}

static void test_close_aborts_both_directions(void **state)
{
	(void)state;
	struct pair_reading r;
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	pair_wait_streams(&pair, 1);
	struct stream *b = pair.accepted[0]->streams[0];
	assert_int_equal(pair_read_one(&pair, b, &r), 1);
	stream_close(a);
	assert_int_equal(pair_read_one(&pair, b, &r), -ECONNRESET);
	assert_true(pair_until(&pair, is_refused, b, 10000));
	stream_close(b);
	pair.accepted[0]->stream_count = 0;
	wait_streams_gone();
}

static bool is_server_closed(void *arg)
{
	(void)arg;
	return pair.accepted[0]->is_closed;
}

/* Streams outlive their link, on both sides. */
static void test_link_goes_first(void **state)
{
	(void)state;
	struct pair_reading r;
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	pair_wait_streams(&pair, 1);
	struct stream *b = pair.accepted[0]->streams[0];
	pair_end_free(&pair.client);
	assert_int_equal(talk_write(a, "x", 1), -ECONNRESET);
	assert_int_equal(stream_write_error(a), -ECONNRESET);
	assert_int_equal(pair_read_one(&pair, a, &r), -ECONNRESET);
	/* What had arrived can still be read; then the truth. */
	assert_true(pair_until(&pair, is_server_closed, NULL, 10000));
	assert_int_equal(pair_read_one(&pair, b, &r), 1);
	assert_int_equal(pair_read_one(&pair, b, &r), -ECONNRESET);
	link_free(pair.accepted[0]->link);
	pair.accepted[0]->link = NULL;
	pair_run(&pair, 5);
	assert_int_equal(pair_read_one(&pair, b, &r), -ECONNRESET);
	stream_close(a);
}

static void note_closed(struct stream *s, void *user)
{
	int *was_closed = user;
	if (stream_write_error(s) == -ECONNRESET)
		*was_closed = pair.accepted[0]->is_closed;
}

static bool is_noted(void *arg)
{
	return *(const int *)arg >= 0;
}

/* Who loses a stream knows that the link has gone, and asks for no other one there. */
static void test_link_end_is_told_first(void **state)
{
	(void)state;
	static const struct stream_user user = { note_closed, note_closed };
	int was_closed = -1;
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	pair_wait_streams(&pair, 1);
	stream_set_user(pair.accepted[0]->streams[0], &user, &was_closed);
	pair_turn(&pair); /* it is told of what is there */
	pair_end_free(&pair.client);
	assert_true(pair_until(&pair, is_noted, &was_closed, 10000));
	assert_int_equal(was_closed, true);
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
	struct pair_reading r;
	struct stream *a = pair_open_stream(pair.client.link);
	assert_int_equal(talk_write(a, "x", 1), 1);
	pair_wait_streams(&pair, 1);
	struct stream *b = pair.accepted[0]->streams[0];

	link_drain(pair.client.link);
	pair_run(&pair, 10);
	assert_true(pair.client.is_draining);
	assert_false(pair.client.is_closed);
	struct stream *none = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &none), -EPROTO);
	/* What the peer opens now is refused. */
	struct stream *late = pair_open_stream(pair.accepted[0]->link);
	assert_int_equal(talk_write(late, "late", 4), 4);
	assert_int_equal(pair_read_one(&pair, late, &r), -ECONNRESET);
	stream_close(late);

	assert_int_equal(pair_read_one(&pair, b, &r), 1);
	stream_finish(b);
	stream_finish(a);
	assert_int_equal(pair_read_one(&pair, a, &r), 0);
	assert_int_equal(pair_read_one(&pair, b, &r), 0);
	stream_close(a);
	stream_close(b);
	pair.accepted[0]->stream_count = 0;
	assert_true(pair_until(&pair, is_client_closed, NULL, 10000));
	assert_int_equal(pair.client.info.end, LINK_END_LOCAL);
	assert_int_equal(pair.accepted[0]->info.end, LINK_END_PEER);
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
		s[i] = pair_open_stream(pair.client.link);
	struct stream *more = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &more), -EAGAIN);

	struct talk t;
	talk_start(&t, s[0], 10);
	assert_true(pair_until(&pair, talk_is_done, &t, 10000));
	stream_close(s[0]);
	assert_true(pair_until(&pair, can_open, (void *)&more, 10000));
	stream_close(more);
	stream_close(s[1]);
	stream_close(s[2]);
	for (unsigned int i = 0; i < 20; i++) {
		assert_true(pair_until(&pair, can_open, (void *)&more, 10000));
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
		cmocka_unit_test_setup_teardown(test_link_end_is_told_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain_waits_for_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stream_limit_moves_on, setup_few_streams,
						teardown),
	};
	return cmocka_run_group_tests_name("quic_stream", tests, NULL, NULL);
}
