/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls about sessions, over a link whose streams are pairs in memory: the other ends are played by
 * RPC channels that write down what they are asked and answer when they are told to.
 */
#include "daemon/link/session_calls.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/link/rpc_channel.h"
#include "daemon/wire/dgram_v2_call.h"
#include "selftests/lib/fake_stream.h"
#include "selftests/lib/scarce.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum { WINDOW = 64 * 1024, PEERS = 256 };

/* The other end of one stream. */
struct peer {
	struct rpc_channel *ch;
	bool is_registration;
	bool has_call;
	uint32_t answer_id;
	struct dgram2_register reg;
	char text[SESSION_CALLS_TEXT_MAX];
};

struct fixture {
	struct worker_set *set;
	struct metric_registry *reg;
	struct worker *worker;
	struct link link;
	struct session_calls calls;
	unsigned int credit; /* streams that may be opened yet */
	unsigned int peer_count;
	struct peer peers[PEERS];
	unsigned int answers[3];
	uint64_t failed;
	struct dgram_id last;
};

static int on_call(void *user, uint32_t answer_id, const struct rpc_message *call)
{
	struct peer *p = user;
	const struct capnp_struct *params = &call->payload.content;
	const char *reason = NULL;
	assert_true(call->interface_id == RPC_IFACE_SESSION);
	p->is_registration = call->method_id == RPC_REGISTER_UDP_SESSION;
	p->answer_id = answer_id;
	p->has_call = true;
	if (p->is_registration) {
		struct tunnel_udp_register in;
		assert_int_equal(tunnel_udp_register_decode(params, &in), 0);
		assert_int_equal(dgram2_register_read(&in, &p->reg, &reason), 0);
	} else {
		struct tunnel_udp_unregister in;
		assert_int_equal(tunnel_udp_unregister_decode(params, &in), 0);
		assert_int_equal(dgram2_unregister_read(&in, &p->reg.id, &reason), 0);
		assert_true(in.message.len < sizeof(p->text));
		memcpy(p->text, in.message.ptr, in.message.len);
	}
	return 0;
}

static void on_end(void *user, enum rpc_channel_end end_)
{
	(void)end_;
	struct peer *p = user;
	rpc_channel_close(p->ch, false);
	p->ch = NULL;
}

static const struct rpc_channel_ops peer_ops = { .on_call = on_call, .on_end = on_end };

static int open_stream(struct link *link, struct stream **ret)
{
	struct fixture *fx = CONTAINER_OF(link, struct fixture, link);
	struct stream *theirs = NULL;
	if (fx->credit == 0)
		return -EAGAIN;
	fx->credit--;
	assert_true(fx->peer_count < PEERS);
	struct peer *p = &fx->peers[fx->peer_count];
	int r = fake_pair_new(fx->worker->loop, fx->worker->slab, WINDOW, ret, &theirs);
	if (r < 0)
		return r;
	r = rpc_channel_new(fx->worker->loop, theirs, &peer_ops, p, &p->ch);
	if (r < 0) {
		stream_close(*ret);
		return r;
	}
	fx->peer_count++;
	rpc_channel_expect_signature(p->ch);
	return 0;
}

static void on_registered(struct session_calls *c, const struct dgram_id *id,
			  enum session_answer answer)
{
	struct fixture *fx = CONTAINER_OF(c, struct fixture, calls);
	fx->answers[answer]++;
	fx->last = *id;
}

static int start(void **state)
{
	static const struct link_ops ops = { .open_stream = open_stream };
	static const struct session_calls_ops calls_ops = { .on_registered = on_registered };
	static struct fixture fx;
	fx = (struct fixture){ .credit = PEERS };
	assert_int_equal(metric_registry_new(1000, &fx.reg), 0);
	struct worker_params workers = { .count = 1, .memory = 32 << 20, .metrics = fx.reg };
	assert_int_equal(worker_set_new(&workers, &fx.set), 0);
	fx.worker = worker_set_get(fx.set, 0);
	fx.link = (struct link){ .ops = &ops, .worker = fx.worker, .state = LINK_STATE_UP };
	session_calls_init(&fx.calls, &fx.link, &calls_ops, NULL);
	fx.calls.failed = &fx.failed;
	*state = &fx;
	return 0;
}

static void turn(struct fixture *fx)
{
	for (unsigned int i = 0; i < 12; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 0), 0);
}

static int end(void **state)
{
	struct fixture *fx = *state;
	struct slab_stats stats;
	session_calls_done(&fx->calls);
	for (unsigned int i = 0; i < fx->peer_count; i++)
		rpc_channel_close(fx->peers[i].ch, false);
	turn(fx);
	slab_get_stats(fx->worker->slab, &stats);
	assert_int_equal(stats.in_use, 0);
	worker_set_free(fx->set);
	metric_registry_free(fx->reg);
	return 0;
}

static struct dgram2_register reg_of(unsigned int n)
{
	struct dgram2_register reg = {
		.dest = { .ip = { .family = IP_FAMILY_V4, .bytes = { 192, 0, 2, 1 } }, .port = 53 },
		.idle = 65 * NSEC_PER_SEC
	};
	reg.id.bytes[0] = (uint8_t)(n >> 8);
	reg.id.bytes[15] = (uint8_t)n;
	return reg;
}

static void ask(struct fixture *fx, unsigned int n)
{
	const struct dgram2_register reg = reg_of(n);
	assert_int_equal(session_calls_register(&fx->calls, &reg), 0);
}

static void tell(struct fixture *fx, unsigned int n, const char *text)
{
	const struct dgram2_register reg = reg_of(n);
	session_calls_unregister(&fx->calls, &reg.id, text);
}

/* error: NULL for an exception. */
static void answer(struct fixture *fx, unsigned int at, const char *error)
{
	struct peer *p = &fx->peers[at];
	assert_true(at < fx->peer_count && p->has_call && p->ch);
	const struct tunnel_udp_registered results = { .error = span_str(error ? error : "") };
	struct rpc_body body =
		p->is_registration ? tunnel_udp_registered_body(&results) : tunnel_empty_body();
	uint8_t room[CAPNP_RPC_MAX];
	rpc_session_set_buf(&p->ch->session, room, sizeof(room));
	int r = error ? rpc_session_return(&p->ch->session, p->answer_id, &body)
		      : rpc_session_return_exception(&p->ch->session, p->answer_id, SPAN_LIT("no"));
	assert_int_equal(r, 0);
	rpc_session_set_buf(&p->ch->session, NULL, 0);
	/* What was emitted goes when the stream is touched next. */
	rpc_channel_cancel(p->ch, 99);
	turn(fx);
}

static void assert_asked(const struct fixture *fx, unsigned int at, bool is_registration,
			 unsigned int n)
{
	const struct dgram2_register reg = reg_of(n);
	assert_true(at < fx->peer_count && fx->peers[at].has_call);
	assert_int_equal(fx->peers[at].is_registration, is_registration);
	assert_true(dgram_id_eq(&fx->peers[at].reg.id, &reg.id));
}

static void test_registration(void **state)
{
	struct fixture *fx = *state;
	const struct dgram2_register reg = reg_of(1);
	ask(fx, 1);
	assert_int_equal(fx->peer_count, 0); /* from the loop, not from inside the call */
	turn(fx);
	assert_asked(fx, 0, true, 1);
	assert_true(ip_port_eq(&fx->peers[0].reg.dest, &reg.dest));
	assert_int_equal(fx->peers[0].reg.idle, reg.idle);
	assert_false(fx->peers[0].reg.is_traced);
	answer(fx, 0, "");
	assert_int_equal(fx->answers[SESSION_ANSWER_ACCEPTED], 1);
	assert_true(dgram_id_eq(&fx->last, &reg.id));
	assert_null(fx->peers[0].ch); /* goodbye was said */
	ask(fx, 2);
	ask(fx, 3);
	turn(fx);
	answer(fx, 1, "no such network");
	assert_int_equal(fx->answers[SESSION_ANSWER_REFUSED], 1);
	answer(fx, 2, NULL);
	assert_int_equal(fx->answers[SESSION_ANSWER_REFUSED], 2);
	assert_int_equal(fx->calls.running_count + fx->calls.waiting_count, 0);
}

static void test_stream_ends(void **state)
{
	struct fixture *fx = *state;
	ask(fx, 1);
	turn(fx);
	rpc_channel_close(TAKE_PTR(fx->peers[0].ch), false);
	turn(fx);
	assert_int_equal(fx->answers[SESSION_ANSWER_NONE], 1);
	fx->link.state = LINK_STATE_DRAINING; /* it can't even be opened */
	ask(fx, 2);
	tell(fx, 3, "gone");
	assert_int_equal(fx->answers[SESSION_ANSWER_NONE], 1);
	turn(fx);
	assert_int_equal(fx->answers[SESSION_ANSWER_NONE], 2);
	assert_int_equal(fx->failed, 1);
	assert_int_equal(fx->calls.running_count + fx->calls.waiting_count, 0);
}

static void test_telling(void **state)
{
	struct fixture *fx = *state;
	tell(fx, 1, "session idle for 2s");
	turn(fx);
	assert_asked(fx, 0, false, 1);
	assert_string_equal(fx->peers[0].text, "session idle for 2s");
	answer(fx, 0, "");
	assert_int_equal(fx->failed, 0);
	tell(fx, 2, "bye");
	turn(fx);
	answer(fx, 1, NULL);
	assert_int_equal(fx->failed, 1);
	assert_int_equal(fx->answers[0] + fx->answers[1] + fx->answers[2], 0);
}

/* An end that follows its registration closely. */
static void test_undone(void **state)
{
	struct fixture *fx = *state;
	ask(fx, 1);
	tell(fx, 1, "not sent yet");
	turn(fx);
	assert_int_equal(fx->peer_count, 0);
	ask(fx, 2);
	ask(fx, 3);
	turn(fx);
	tell(fx, 2, "asked, not answered");
	tell(fx, 3, "refused");
	turn(fx);
	assert_int_equal(fx->peer_count, 2); /* it would overtake */
	answer(fx, 0, "");
	assert_int_equal(fx->peer_count, 3);
	assert_asked(fx, 2, false, 2);
	assert_string_equal(fx->peers[2].text, "asked, not answered");
	answer(fx, 1, "no");
	assert_int_equal(fx->peer_count, 3); /* there is nothing to undo */
	assert_int_equal(fx->answers[0] + fx->answers[1] + fx->answers[2], 0);
}

static void test_bounds(void **state)
{
	struct fixture *fx = *state;
	const struct dgram2_register more = reg_of(50000);
	for (unsigned int n = 0; n < SESSION_CALLS_AT_ONCE; n++)
		ask(fx, n);
	turn(fx);
	for (unsigned int n = 0; n < SESSION_CALLS_WAITING; n++)
		ask(fx, 1000 + n);
	assert_int_equal(session_calls_register(&fx->calls, &more), -ENOBUFS);
	tell(fx, 60000, "too many");
	assert_int_equal(fx->failed, 1);
	turn(fx);
	assert_int_equal(fx->peer_count, SESSION_CALLS_AT_ONCE);
	answer(fx, 0, "");
	answer(fx, 1, "no");
	assert_int_equal(fx->peer_count, SESSION_CALLS_AT_ONCE + 2);
	assert_asked(fx, SESSION_CALLS_AT_ONCE, true, 1000); /* in order */
}

/* Without stream credit calls wait, and are given up in time. */
static void test_credit_and_deadline(void **state)
{
	struct fixture *fx = *state;
	fx->credit = 0;
	fx->calls.timeout = 400 * NSEC_PER_MSEC;
	ask(fx, 1);
	turn(fx);
	assert_int_equal(fx->calls.waiting_count, 1);
	fx->credit = 1;
	for (unsigned int i = 0; i < 100 && fx->peer_count == 0; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 20 * NSEC_PER_MSEC), 0);
	turn(fx);
	assert_asked(fx, 0, true, 1);
	for (unsigned int i = 0; i < 100 && fx->answers[SESSION_ANSWER_NONE] == 0; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 20 * NSEC_PER_MSEC), 0);
	assert_int_equal(fx->answers[SESSION_ANSWER_NONE], 1);
}

static void test_gone_in_the_middle(void **state)
{
	struct fixture *fx = *state;
	fx->credit = 2;
	for (unsigned int n = 0; n < 5; n++)
		ask(fx, n);
	turn(fx);
	tell(fx, 1, "unwanted");
	session_calls_done(&fx->calls);
	session_calls_done(&fx->calls);
	turn(fx);
	assert_int_equal(fx->answers[0] + fx->answers[1] + fx->answers[2], 0);
	assert_int_equal(fx->calls.running_count + fx->calls.waiting_count, 0);
}

/* Each allocation fails in turn: who was promised an answer gets one, and nothing is left. */
static void test_memory(void **state)
{
	struct fixture *fx = *state;
	bool has_failed = true;
	fx->calls.timeout = 20 * NSEC_PER_MSEC;
	for (unsigned int nth = 1; has_failed; nth++) {
		const struct dgram2_register reg = reg_of(nth);
		unsigned int answers = fx->answers[0] + fx->answers[1] + fx->answers[2];
		unsigned int first = fx->peer_count;
		scarce_begin(&(struct scarce){ .allocation = nth });
		int r = session_calls_register(&fx->calls, &reg);
		tell(fx, 1000 + nth, "bye");
		turn(fx);
		has_failed = scarce_has_failed();
		scarce_relent();
		for (unsigned int i = first; i < fx->peer_count; i++)
			if (fx->peers[i].has_call && fx->peers[i].ch)
				answer(fx, i, "");
		for (unsigned int i = 0;
		     i < 100 && (fx->calls.running_count || fx->calls.waiting_count); i++)
			assert_int_equal(loop_turn(fx->worker->loop, 5 * NSEC_PER_MSEC), 0);
		assert_int_equal(fx->calls.running_count + fx->calls.waiting_count, 0);
		answers = fx->answers[0] + fx->answers[1] + fx->answers[2] - answers;
		assert_int_equal(answers, r == 0);
	}
	assert_true(fx->answers[SESSION_ANSWER_ACCEPTED] > 0);
	assert_true(fx->answers[SESSION_ANSWER_NONE] > 0 && fx->failed > 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		T(test_registration),
		T(test_stream_ends),
		T(test_telling),
		T(test_undone),
		T(test_bounds),
		T(test_credit_and_deadline),
		T(test_gone_in_the_middle),
		T(test_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
