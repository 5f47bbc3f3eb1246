/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC channels: what a user may do in a callback when the peer goes away.
 */
#include "daemon/link/rpc_channel.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/wire/rpc_tunnel.h"
#include "selftests/lib/fake_stream.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum { BUDGET = 1 << 20, WINDOW = 64 * 1024, TAG = 7 };

struct user {
	struct rpc_channel *ch;
	unsigned int returns, ends;
	bool closes;
};

static void on_return(void *arg, uint64_t tag, const struct rpc_reply *reply)
{
	struct user *u = arg;
	assert_int_equal(tag, TAG);
	assert_int_equal(reply->outcome, RPC_OUTCOME_LOST);
	u->returns++;
	if (u->closes) {
		rpc_channel_close(u->ch, true);
		u->ch = NULL;
	}
}

static void on_end(void *arg, enum rpc_channel_end end)
{
	struct user *u = arg;
	assert_int_equal(end, RPC_CHANNEL_END_FIN);
	u->ends++;
}

static const struct rpc_channel_ops ops = { .on_return = on_return, .on_end = on_end };

/* The peer ends the stream while a call of ours has no answer yet. */
static void run(bool closes)
{
	struct loop *loop = NULL;
	struct slab *slab = NULL;
	struct stream *ours = NULL, *theirs = NULL;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(slab_new(BUDGET, &slab), 0);
	assert_int_equal(fake_pair_new(loop, slab, WINDOW, &ours, &theirs), 0);

	struct user u = { .closes = closes };
	assert_int_equal(rpc_channel_new(loop, ours, &ops, &u, &u.ch), 0);
	const struct span config = SPAN_LIT("{}");
	const struct rpc_channel_call call = {
		.interface_id = 1,
		.method_id = 1,
		.params = tunnel_local_config_body(&config),
		.params_max = 1024,
		.tag = TAG,
	};
	assert_int_equal(rpc_channel_bootstrap(u.ch), 0);
	assert_int_equal(rpc_channel_call(u.ch, &call), 0);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	stream_finish(theirs);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(loop_turn(loop, 0), 0);

	assert_int_equal(u.returns, 1);
	assert_int_equal(u.ends, closes ? 0 : 1);
	rpc_channel_close(u.ch, true);
	stream_close(theirs);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	slab_free(slab);
	loop_free(loop);
}

static void test_end_is_told(void **state)
{
	(void)state;
	run(false);
}

static void test_closed_while_the_end_is_told(void **state)
{
	(void)state;
	run(true);
}

static void close_at_end(void *arg, enum rpc_channel_end end)
{
	struct user *u = arg;
	assert_int_equal(end, RPC_CHANNEL_END_LOST);
	u->ends++;
	rpc_channel_close(u->ch, false);
	u->ch = NULL;
}

static const struct rpc_channel_ops closing_ops = { .on_return = on_return,
						    .on_end = close_at_end };

/* The peer takes no more while something waits for its credit, and the user closes when told. */
static void test_refused_while_waiting_for_credit(void **state)
{
	(void)state;
	struct loop *loop = NULL;
	struct slab *slab = NULL;
	struct stream *ours = NULL, *theirs = NULL;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(slab_new(BUDGET, &slab), 0);
	assert_int_equal(fake_pair_new(loop, slab, 8, &ours, &theirs), 0);

	struct user u = {};
	assert_int_equal(rpc_channel_new(loop, ours, &closing_ops, &u, &u.ch), 0);
	assert_int_equal(rpc_channel_bootstrap(u.ch), 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	stream_stop(theirs, STREAM_CODE_NONE);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, 0), 0);

	assert_int_equal(u.ends, 1);
	stream_close(theirs);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	slab_free(slab);
	loop_free(loop);
}

static int refuse_call(void *arg, uint32_t answer_id, const struct rpc_message *message)
{
	(void)arg;
	(void)answer_id;
	(void)message;
	return -EOPNOTSUPP;
}

static void end_broken(void *arg, enum rpc_channel_end end)
{
	struct user *u = arg;
	assert_int_equal(end, RPC_CHANNEL_END_BROKEN);
	u->ends++;
}

static const struct rpc_channel_ops server_ops = { .on_call = refuse_call, .on_end = end_broken };
static const struct rpc_channel_ops caller_ops = {};

/* The bytes of a bootstrap, and of a call that is given up at once. */
struct recorded {
	uint8_t bootstrap[512];
	size_t bootstrap_len;
	uint8_t call[512];
	size_t call_len;
};

static void record(struct loop *loop, struct slab *slab, struct recorded *ret)
{
	struct stream *ours = NULL, *theirs = NULL;
	struct rpc_channel *ch = NULL;
	const struct rpc_channel_call params = {
		.interface_id = 1, .method_id = 1, .params = tunnel_empty_body(), .tag = TAG
	};
	assert_int_equal(fake_pair_new(loop, slab, WINDOW, &ours, &theirs), 0);
	assert_int_equal(rpc_channel_new(loop, ours, &caller_ops, NULL, &ch), 0);
	assert_int_equal(rpc_channel_bootstrap(ch), 0);
	(void)fake_stream_take(theirs, ret->bootstrap, sizeof(ret->bootstrap), &ret->bootstrap_len);
	assert_int_equal(rpc_channel_call(ch, &params), 0);
	rpc_channel_cancel(ch, TAG);
	(void)fake_stream_take(theirs, ret->call, sizeof(ret->call), &ret->call_len);
	rpc_channel_close(ch, false);
	stream_close(theirs);
}

/* A caller who grants nothing for the answers can't make us keep them. */
static void test_answers_are_bounded(void **state)
{
	(void)state;
	struct loop *loop = NULL;
	struct slab *slab = NULL;
	struct stream *ours = NULL, *theirs = NULL;
	struct recorded bytes = {};
	struct slab_stats stats = {};
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(slab_new(BUDGET, &slab), 0);
	record(loop, slab, &bytes);

	struct user u = {};
	assert_int_equal(fake_pair_new(loop, slab, 8, &ours, &theirs), 0);
	assert_int_equal(rpc_channel_new(loop, ours, &server_ops, &u, &u.ch), 0);
	fake_stream_put(theirs, bytes.bootstrap, bytes.bootstrap_len);
	for (unsigned int i = 0; i < 5000 && u.ends == 0; i++) {
		fake_stream_put(theirs, bytes.call, bytes.call_len);
		assert_int_equal(loop_turn(loop, 0), 0);
	}
	assert_int_equal(u.ends, 1);
	slab_get_stats(slab, &stats);
	assert_in_range(stats.in_use, 1, 2 * RPC_CHANNEL_ANSWERS_MAX);

	rpc_channel_close(u.ch, false);
	stream_close(theirs);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(loop, 0), 0);
	slab_free(slab);
	loop_free(loop);
}

/* ---- timeouts ---- */

static const nsec_t soon = 40 * NSEC_PER_MSEC;

struct timed {
	struct loop *loop;
	struct slab *slab;
	struct stream *ours, *theirs;
	struct recorded bytes;
	struct user user;
};

static void end_stalled(void *arg, enum rpc_channel_end end)
{
	struct user *u = arg;
	assert_int_equal(end, RPC_CHANNEL_END_STALLED);
	u->ends++;
}

static const struct rpc_channel_ops timed_ops = { .on_call = refuse_call, .on_end = end_stalled };

static void timed_begin(struct timed *t, bool also_idle)
{
	*t = (struct timed){};
	assert_int_equal(loop_new(&t->loop), 0);
	assert_int_equal(slab_new(BUDGET, &t->slab), 0);
	record(t->loop, t->slab, &t->bytes);
	assert_int_equal(fake_pair_new(t->loop, t->slab, WINDOW, &t->ours, &t->theirs), 0);
	assert_int_equal(rpc_channel_new(t->loop, t->ours, &timed_ops, &t->user, &t->user.ch), 0);
	rpc_channel_set_timeout(t->user.ch, soon, also_idle);
}

static void timed_end(struct timed *t)
{
	rpc_channel_close(t->user.ch, false);
	stream_close(t->theirs);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(t->loop, 0), 0);
	slab_free(t->slab);
	loop_free(t->loop);
}

/* Turns for some time, or until the end has come; each millisecond the peer says a byte of text. */
static void timed_run(struct timed *t, nsec_t time, const void *text, size_t len)
{
	const uint8_t *bytes = text;
	nsec_t now = nsec_clock(CLOCK_MONOTONIC), end = now + time, next = now;
	size_t said = 0;
	while (t->user.ends == 0 && now < end) {
		if (said < len && now >= next) {
			fake_stream_put(t->theirs, bytes + said++, 1);
			next = now + NSEC_PER_MSEC;
		}
		assert_int_equal(loop_turn(t->loop, NSEC_PER_MSEC / 4), 0);
		now = nsec_clock(CLOCK_MONOTONIC);
	}
}

static void assert_peer_is_reset(struct timed *t)
{
	uint8_t got[1024];
	size_t len = 0;
	assert_int_equal(fake_stream_take(t->theirs, got, sizeof(got), &len), -ECONNRESET);
}

/* Nothing comes: where silence counts that is the end, elsewhere it isn't. */
static void test_silence(void **state)
{
	(void)state;
	struct timed t;
	timed_begin(&t, true);
	timed_run(&t, 100 * soon, NULL, 0);
	assert_int_equal(t.user.ends, 1);
	assert_peer_is_reset(&t);
	timed_end(&t);

	timed_begin(&t, false);
	timed_run(&t, 3 * soon, NULL, 0);
	assert_int_equal(t.user.ends, 0);
	/* A whole message, and silence again. */
	fake_stream_put(t.theirs, t.bytes.bootstrap, t.bytes.bootstrap_len);
	timed_run(&t, 3 * soon, NULL, 0);
	assert_int_equal(t.user.ends, 0);
	timed_end(&t);
}

/* A message that never ends, byte after byte: the bytes are no progress. */
static void test_trickle(void **state)
{
	(void)state;
	static const uint8_t head[8] = { 0, 0, 0, 0, 0xff, 0x03 }; /* 1 023 words */
	for (unsigned int also_idle = 0; also_idle < 2; also_idle++) {
		struct timed t;
		uint8_t text[8192] = {};
		memcpy(text, head, sizeof(head));
		timed_begin(&t, also_idle);
		timed_run(&t, 100 * soon, text, sizeof(text));
		assert_int_equal(t.user.ends, 1);
		assert_peer_is_reset(&t);
		timed_end(&t);
	}
}

static void timed_turn(struct timed *t)
{
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(t->loop, 0), 0);
}

/* A whole message moves the end away, a part of one doesn't. */
static void test_progress(void **state)
{
	(void)state;
	struct timed t;
	timed_begin(&t, true);
	const struct timer *deadline = &t.user.ch->deadline;
	rpc_channel_set_timeout(t.user.ch, NSEC_PER_SEC * 3600, true);
	const void *const texts[] = { t.bytes.bootstrap, t.bytes.call };
	const size_t lens[] = { t.bytes.bootstrap_len, t.bytes.call_len };
	for (unsigned int i = 0; i < ARRAY_SIZE(texts); i++) {
		nsec_t before = deadline->at;
		fake_stream_put(t.theirs, texts[i], 1);
		timed_turn(&t);
		assert_true(timer_is_armed(deadline) && deadline->at == before);
		fake_stream_put(t.theirs, (const uint8_t *)texts[i] + 1, lens[i] - 1);
		timed_turn(&t);
		assert_true(timer_is_armed(deadline) && deadline->at > before);
	}
	assert_int_equal(t.user.ends, 0);
	timed_end(&t);
}

/* A peer that takes nothing doesn't keep a closed channel for ever. */
static void test_farewell_is_bounded(void **state)
{
	(void)state;
	struct timed t = {};
	assert_int_equal(loop_new(&t.loop), 0);
	assert_int_equal(slab_new(BUDGET, &t.slab), 0);
	assert_int_equal(fake_pair_new(t.loop, t.slab, 8, &t.ours, &t.theirs), 0);
	assert_int_equal(rpc_channel_new(t.loop, t.ours, &caller_ops, &t.user, &t.user.ch), 0);
	assert_int_equal(rpc_channel_bootstrap(t.user.ch), 0);
	struct rpc_channel *ch = TAKE_PTR(t.user.ch);
	rpc_channel_close(ch, true);
	assert_int_equal(loop_turn(t.loop, 0), 0);
	assert_true(timer_is_armed(&ch->deadline));
	timer_stop(&ch->deadline);
	ch->deadline.on_expire(&ch->deadline);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(t.loop, 0), 0);
	assert_peer_is_reset(&t);
	timed_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_end_is_told),
		cmocka_unit_test(test_closed_while_the_end_is_told),
		cmocka_unit_test(test_refused_while_waiting_for_credit),
		cmocka_unit_test(test_answers_are_bounded),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_trickle),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_farewell_is_bounded),
	};
	return cmocka_run_group_tests_name("rpc_channel", tests, NULL, NULL);
}
