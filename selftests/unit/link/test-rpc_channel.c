/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC channels: what a user may do in a callback when the peer goes away.
 */
#include "daemon/link/rpc_channel.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/wire/rpc_tunnel.h"
#include "selftests/lib/fake_stream.h"
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_end_is_told),
		cmocka_unit_test(test_closed_while_the_end_is_told),
		cmocka_unit_test(test_refused_while_waiting_for_credit),
		cmocka_unit_test(test_answers_are_bounded),
	};
	return cmocka_run_group_tests_name("rpc_channel", tests, NULL, NULL);
}
