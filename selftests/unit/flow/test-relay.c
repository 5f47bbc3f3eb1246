/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two streams joined: bytes, ends, resets and stops of both; an end that is held; a half that has
 * gone silent; nothing held while nothing moves.
 */
#include "daemon/flow/relay.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "selftests/lib/fake_stream.h"

enum { WINDOW = 64 * 1024, CODE = 7 };

struct fixture {
	struct loop *loop;
	struct slab *slab;
	struct stream *left; /* what the test holds: the far ends of the two */
	struct stream *right;
	struct relay_params params;
	struct relay *relay;
	unsigned int ended;
	enum pump_state forth, back;
	uint64_t moved;
	uint64_t code_forth, code_back;
};

static struct fixture fx;

static void turn(void)
{
	for (int i = 0; i < 10; i++)
		assert_int_equal(loop_turn(fx.loop, 0), 0);
}

static void on_end(struct relay *relay, void *user)
{
	assert_ptr_equal(user, &fx);
	fx.ended++;
	fx.forth = relay->a_to_b.state;
	fx.back = relay->b_to_a.state;
	fx.code_forth = relay->a_to_b.code;
	fx.code_back = relay->b_to_a.code;
	fx.moved = relay->a_to_b.moved + relay->b_to_a.moved;
	fx.relay = NULL;
}

static int setup(void **state)
{
	(void)state;
	fx = (struct fixture){};
	if (loop_new(&fx.loop) < 0 || slab_new(8 << 20, &fx.slab) < 0 ||
	    fake_pair_new(fx.loop, fx.slab, WINDOW, &fx.left, &fx.params.a) < 0 ||
	    fake_pair_new(fx.loop, fx.slab, WINDOW, &fx.right, &fx.params.b) < 0)
		return -1;
	fx.params.on_end = on_end;
	fx.params.user = &fx;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (fx.relay)
		relay_cut(fx.relay);
	stream_close(fx.left);
	stream_close(fx.right);
	turn();
	loop_free(fx.loop);
	slab_free(fx.slab);
	return 0;
}

static void start(void)
{
	assert_int_equal(relay_new(&fx.params, &fx.relay), 0);
	turn();
}

static void assert_taken(struct stream *s, const char *want, int end)
{
	char got[WINDOW];
	size_t len = 0;
	turn();
	assert_int_equal(fake_stream_take(s, got, sizeof(got), &len), end);
	assert_int_equal(len, strlen(want));
	assert_memory_equal(got, want, len);
}

static void put(struct stream *s, const char *text)
{
	fake_stream_put(s, text, strlen(text));
	turn();
}

static size_t in_use(void)
{
	struct slab_stats stats;
	slab_get_stats(fx.slab, &stats);
	return stats.in_use;
}

/* Turns the loop until the relay has ended, however long its timers take. */
static void wait_end(void)
{
	while (!fx.ended)
		assert_int_equal(loop_turn(fx.loop, 10 * NSEC_PER_MSEC), 0);
}

static void test_both_ways(void **state)
{
	(void)state;
	struct bufq early, late;
	bufq_init(&early, fx.slab);
	bufq_init(&late, fx.slab);
	assert_int_equal(bufq_append_copy(&early, SPAN_LIT("first ")), 0);
	assert_int_equal(bufq_append_copy(&late, SPAN_LIT("head ")), 0);
	fx.params.from_a = &early;
	fx.params.from_b = &late;
	put(fx.left, "second");
	start();
	assert_true(bufq_is_empty(&early) && bufq_is_empty(&late));
	assert_taken(fx.right, "first second", -EAGAIN);
	put(fx.right, "body");
	assert_taken(fx.left, "head body", -EAGAIN);
	assert_int_equal(in_use(), 0); /* an idle one holds nothing */

	stream_finish(fx.left);
	assert_taken(fx.right, "", 0);
	put(fx.right, "answer");
	assert_taken(fx.left, "answer", -EAGAIN);
	assert_int_equal(fx.ended, 0);
	stream_finish(fx.right);
	assert_taken(fx.left, "", 0);
	assert_int_equal(fx.ended, 1);
	assert_int_equal(fx.forth, PUMP_STATE_DONE);
	assert_int_equal(fx.back, PUMP_STATE_DONE);
	assert_int_equal(fx.moved, strlen("first secondhead bodyanswer"));
}

/* The far side doesn't read: no more is taken than fits, and nothing is lost. */
static void test_credit(void **state)
{
	(void)state;
	static char big[4 * WINDOW], got[4 * WINDOW];
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 31);
	start();
	fake_stream_put(fx.left, big, sizeof(big));
	turn();
	assert_true(fx.relay->a_to_b.moved + fx.relay->a_to_b.pending.len <= WINDOW + PUMP_CHUNK);
	stream_finish(fx.left);
	size_t total = 0;
	for (int i = 0; i < 100 && total < sizeof(big); i++) {
		size_t len = 0;
		(void)fake_stream_take(fx.right, got + total, sizeof(got) - total, &len);
		total += len;
		turn();
	}
	assert_int_equal(total, sizeof(big));
	assert_memory_equal(got, big, sizeof(big));
	assert_taken(fx.right, "", 0);
}

static void test_reset(void **state)
{
	(void)state;
	start();
	stream_reset(fx.left, CODE);
	assert_taken(fx.right, "", -ECONNRESET);
	assert_int_equal(fx.right->error_code, CODE);
	assert_int_equal(fx.ended, 0); /* the way back is not its business */
	put(fx.right, "still");
	assert_taken(fx.left, "still", -EAGAIN);
	stream_reset(fx.right, CODE + 1);
	assert_taken(fx.left, "", -ECONNRESET);
	assert_int_equal(fx.ended, 1);
	assert_int_equal(fx.forth, PUMP_STATE_SOURCE_FAILED);
	assert_int_equal(fx.back, PUMP_STATE_SOURCE_FAILED);
	assert_int_equal(fx.code_forth, CODE);
	assert_int_equal(fx.code_back, CODE + 1);
}

/* Who doesn't want more is heard even when nothing is being written to him. */
static void test_stop(void **state)
{
	(void)state;
	start();
	stream_stop(fx.right, CODE);
	turn();
	put(fx.left, "for nobody");
	struct bufq q;
	bufq_init(&q, fx.slab);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("x")), 0);
	assert_int_equal(stream_write(fx.left, &q, 1), -EPIPE);
	assert_int_equal(fx.left->error_code, CODE);
	bufq_clear(&q);
	put(fx.right, "back");
	assert_taken(fx.left, "back", -EAGAIN);
	stream_finish(fx.right);
	assert_taken(fx.left, "", 0);
	assert_int_equal(fx.forth, PUMP_STATE_SINK_FAILED);
	assert_int_equal(fx.back, PUMP_STATE_DONE);
}

/* a's end reaches b only when b has ended … */
static void test_held(void **state)
{
	(void)state;
	fx.params.hold_end = 1000 * NSEC_PER_SEC;
	start();
	put(fx.left, "question");
	stream_finish(fx.left);
	assert_taken(fx.right, "question", -EAGAIN);
	put(fx.right, "answer");
	assert_taken(fx.left, "answer", -EAGAIN);
	assert_taken(fx.right, "", -EAGAIN);
	stream_finish(fx.right);
	assert_taken(fx.left, "", 0);
	assert_taken(fx.right, "", 0); /* an end, not a reset */
	assert_int_equal(fx.ended, 1);
}

/* … or when the time is over. */
static void test_held_for_a_time(void **state)
{
	(void)state;
	fx.params.hold_end = 20 * NSEC_PER_MSEC;
	start();
	stream_finish(fx.left);
	assert_taken(fx.right, "", -EAGAIN);
	nsec_t before = loop_now(fx.loop);
	while (fx.relay->is_held)
		assert_int_equal(loop_turn(fx.loop, 10 * NSEC_PER_MSEC), 0);
	assert_true(loop_now(fx.loop) >= before + 10 * NSEC_PER_MSEC);
	assert_taken(fx.right, "", 0);
	put(fx.right, "answer");
	assert_taken(fx.left, "answer", -EAGAIN);
	assert_int_equal(fx.ended, 0);
}

/* b's end is passed on at once, whatever is held. */
static void test_other_end_is_not_held(void **state)
{
	(void)state;
	fx.params.hold_end = 1000 * NSEC_PER_SEC;
	start();
	stream_finish(fx.right);
	assert_taken(fx.left, "", 0);
	put(fx.left, "more");
	assert_taken(fx.right, "more", -EAGAIN);
	stream_finish(fx.left);
	assert_taken(fx.right, "", 0);
	assert_int_equal(fx.ended, 1);
}

static void test_silent_half(void **state)
{
	(void)state;
	fx.params.half_silence = 30 * NSEC_PER_MSEC;
	start();
	stream_finish(fx.left);
	assert_taken(fx.right, "", 0);
	put(fx.right, "one word"); /* and then nothing */
	assert_taken(fx.left, "one word", -EAGAIN);
	wait_end();
	assert_taken(fx.left, "", -ECONNRESET);
	assert_int_equal(fx.forth, PUMP_STATE_DONE);
	assert_int_equal(fx.back, PUMP_STATE_SOURCE_FAILED);
}

/* While both run nobody counts the silence. */
static void test_silence_of_both(void **state)
{
	(void)state;
	fx.params.half_silence = 1;
	start();
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_turn(fx.loop, 2 * NSEC_PER_MSEC), 0);
	assert_int_equal(fx.ended, 0);
}

static void test_cut(void **state)
{
	(void)state;
	start();
	relay_cut(fx.relay);
	fx.relay = NULL;
	assert_taken(fx.left, "", -ECONNRESET);
	assert_taken(fx.right, "", -ECONNRESET);
	assert_int_equal(fx.ended, 0);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_both_ways),
		TEST(test_credit),
		TEST(test_reset),
		TEST(test_stop),
		TEST(test_held),
		TEST(test_held_for_a_time),
		TEST(test_other_end_is_not_held),
		TEST(test_silent_half),
		TEST(test_silence_of_both),
		TEST(test_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
