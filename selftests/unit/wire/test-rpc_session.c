/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RPC session: recorded sessions replayed in both roles, and two sessions of ours talking to
 * each other for what no recording shows.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "data/edge-protocol.h"

#include "daemon/wire/preamble.h"
#include "daemon/wire/rpc_session.h"
#include "selftests/lib/rpc_methods.h"
#include "util/macro.h"

#define QUEUE_MAX 512
#define BUF_LEN   ((size_t)64 << 10)

/* One end: the session and what it sent or heard. */
struct end {
	struct rpc_session rpc;
	uint8_t *buf;
	struct span queue[QUEUE_MAX]; /* heap copies of what was emitted */
	unsigned int queued;
	unsigned int returns;
	enum rpc_outcome last_outcome;
	uint64_t last_tag;
	char last_reason[300];
	unsigned int calls;
	uint32_t last_answer;
	int call_result; /* what on_call returns */
	int emit_result; /* what emit returns */
	bool close_on_return;
	bool call_on_return;
};

static int end_emit(void *ctx, struct span frame)
{
	struct end *e = ctx;
	if (e->emit_result < 0)
		return e->emit_result;
	assert_true(e->queued < QUEUE_MAX);
	e->queue[e->queued++] = vector_heap_copy(frame);
	return 0;
}

static void end_on_return(void *ctx, uint64_t tag, const struct rpc_reply *reply)
{
	struct end *e = ctx;
	e->returns++;
	e->last_tag = tag;
	e->last_outcome = reply->outcome;
	(void)snprintf(e->last_reason, sizeof(e->last_reason), "%.*s", (int)reply->reason.len,
		       (const char *)reply->reason.ptr);
	assert_true((reply->results != NULL) == (reply->outcome == RPC_OUTCOME_RESULTS));
	if (e->close_on_return)
		rpc_session_close(&e->rpc);
	if (e->call_on_return) {
		struct rpc_body body = tunnel_empty_body();
		e->call_on_return = false;
		assert_int_equal(rpc_session_call(&e->rpc, RPC_IFACE_REGISTRATION, 1, &body, 77),
				 0);
	}
}

static int end_on_call(void *ctx, uint32_t answer_id, const struct rpc_message *call)
{
	struct end *e = ctx;
	union rpc_methods_store store;
	struct rpc_body body;
	bool is_registration = call->interface_id == RPC_IFACE_REGISTRATION;

	e->calls++;
	e->last_answer = answer_id;
	if (e->call_result < 0)
		return e->call_result;
	/* As the daemon of the recordings: everything but registration; the edge: registration. */
	if (is_registration != (e->call_result == 1) && call->interface_id != RPC_IFACE_SESSION)
		return -EOPNOTSUPP;
	return rpc_methods_copy(
		(struct rpc_methods_id){ call->interface_id, call->method_id, RPC_HALF_PARAMS },
		&call->payload.content, &store, &body);
}

static const struct rpc_session_ops both_ops = {
	.emit = end_emit,
	.on_return = end_on_return,
	.on_call = end_on_call,
};

static const struct rpc_session_ops client_ops = {
	.emit = end_emit,
	.on_return = end_on_return,
};

static struct end *end_new(const struct rpc_session_ops *ops, size_t buf_len)
{
	struct end *e = calloc(1, sizeof(*e));
	assert_non_null(e);
	e->buf = malloc(buf_len);
	assert_non_null(e->buf);
	rpc_session_init(&e->rpc, ops, e, e->buf, buf_len);
	return e;
}

static void end_drop(struct end *e, unsigned int i)
{
	vector_heap_free(e->queue[i]);
	memmove(e->queue + i, e->queue + i + 1, (--e->queued - i) * sizeof(e->queue[0]));
}

static void end_free(struct end *e)
{
	while (e->queued > 0)
		end_drop(e, 0);
	free(e->buf);
	free(e);
}

/* Kind of the i-th frame waiting; *ret gets the message. */
static enum rpc_kind queued_kind(struct end *e, unsigned int i, struct capnp_msg *m,
				 struct rpc_message *ret)
{
	assert_true(i < e->queued);
	assert_int_equal(rpc_decode(e->queue[i], m, ret), 0);
	return ret->kind;
}

/* ---- replay ---- */

struct replay {
	const char *session;
	bool is_daemon; /* which end we play */
	struct end *end;
	bool was_lost;
	unsigned int cases;
};

static bool is_ours(const struct replay *p, const struct vector_case *c)
{
	return (strcmp(c->direction, "daemon->edge") == 0) == p->is_daemon;
}

static bool take_same(struct end *e, struct span frame)
{
	for (unsigned int i = 0; i < e->queued; i++)
		if (span_eq(e->queue[i], frame)) {
			end_drop(e, i);
			return true;
		}
	return false;
}

/* Method and params of the recorded call that our session has to make. */
static void act_call(struct replay *p, const struct rpc_message *msg)
{
	union rpc_methods_store store;
	struct rpc_body body;
	assert_int_equal(
		rpc_methods_copy((struct rpc_methods_id){ msg->interface_id, msg->method_id,
							  RPC_HALF_PARAMS },
				 &msg->payload.content, &store, &body),
		0);
	assert_int_equal(rpc_session_call(&p->end->rpc, msg->interface_id, msg->method_id, &body,
					  1000 + p->cases),
			 0);
}

/* The recorded method of the call with this id that came last before the case. */
static void method_before(const struct vector_case *c, uint32_t id, uint64_t *ret_iface,
			  uint16_t *ret_method)
{
	const char *session = vector_get(c, "session");
	for (const struct vector_case *v = c; v >= vector_cases; v--) {
		struct capnp_msg m;
		struct rpc_message msg;
		if (vector_is(v, "session", session) && vector_is(v, "which", "call") &&
		    rpc_decode(vector_span(v), &m, &msg) == 0 && msg.id == id) {
			*ret_iface = msg.interface_id;
			*ret_method = msg.method_id;
			return;
		}
	}
	fail_msg("%s: answers no call", c->name);
}

static void act_return(struct replay *p, const struct vector_case *c, const struct rpc_message *msg)
{
	union rpc_methods_store store;
	struct rpc_body body;
	uint64_t iface = 0;
	uint16_t method = 0;
	if (msg->returned == RPC_RETURN_EXCEPTION) {
		assert_int_equal(rpc_session_return_exception(&p->end->rpc, msg->id, msg->reason),
				 0);
		return;
	}
	method_before(c, msg->id, &iface, &method);
	assert_int_equal(
		rpc_methods_copy((struct rpc_methods_id){ iface, method, RPC_HALF_RESULTS },
				 &msg->payload.content, &store, &body),
		0);
	assert_int_equal(rpc_session_return(&p->end->rpc, msg->id, &body), 0);
}

/* Lets our session do what the recorded end did here of its own accord. */
static void act(struct replay *p, const struct vector_case *c, const struct rpc_message *msg)
{
	struct rpc_session *s = &p->end->rpc;
	switch (msg->kind) {
	case RPC_KIND_BOOTSTRAP:
		assert_int_equal(rpc_session_bootstrap(s), 0);
		break;
	case RPC_KIND_CALL:
		act_call(p, msg);
		break;
	case RPC_KIND_RETURN:
		act_return(p, c, msg);
		break;
	case RPC_KIND_FINISH:
		assert_int_equal(rpc_session_cancel(s, s->questions[msg->id].tag), 0);
		break;
	case RPC_KIND_RELEASE:
	case RPC_KIND_ABORT:
		rpc_session_close(s);
		break;
	case RPC_KIND_UNIMPLEMENTED:
	case RPC_KIND_RESOLVE:
	case RPC_KIND_DISEMBARGO:
		fail_msg("%s: should have come by itself", c->name);
	}
}

static void replay_ours(struct replay *p, const struct vector_case *c)
{
	struct span frame = vector_span(c);
	struct capnp_msg m;
	struct rpc_message msg;
	if (c->len == 0) {
		/* The FIN of the recorded end: of our own accord or because the session ended. */
		if (p->end->rpc.is_open && !p->was_lost)
			rpc_session_close(&p->end->rpc);
		return;
	}
	if (take_same(p->end, frame))
		return;
	assert_int_equal(rpc_decode(frame, &m, &msg), 0);
	act(p, c, &msg);
	if (!take_same(p->end, frame))
		fail_msg("%s: we didn't send these bytes", c->name);
}

static void replay_theirs(struct replay *p, const struct vector_case *c)
{
	struct span copy = vector_heap_copy(vector_span(c));
	size_t need = 0;
	if (c->len == 0 || capnp_frame_need(copy, CAPNP_RPC_MAX, &need) < 0) {
		rpc_session_lost(&p->end->rpc);
		p->was_lost = true;
	} else {
		assert_int_equal(need, copy.len);
		int r = rpc_session_input(&p->end->rpc, copy);
		assert_int_equal(r < 0, !p->end->rpc.is_open);
	}
	vector_heap_free(copy);
}

static void replay(const char *session, bool is_daemon)
{
	struct replay p = { .session = session,
			    .is_daemon = is_daemon,
			    .end = end_new(&both_ops, BUF_LEN) };
	p.end->call_result = !is_daemon;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		const char *last = strrchr(c->name, '/') + 1;
		if (!vector_is(c, "session", session) || strncmp(last, "full-", 5) == 0 ||
		    c->len == PREAMBLE_SIGNATURE_LEN)
			continue;
		p.cases++;
		if (is_ours(&p, c))
			replay_ours(&p, c);
		else
			replay_theirs(&p, c);
	}
	/* What may be missing in a recording (docs/protocol.md §6.2). */
	for (unsigned int i = 0; i < p.end->queued; i++) {
		struct capnp_msg m;
		struct rpc_message msg;
		enum rpc_kind kind = queued_kind(p.end, i, &m, &msg);
		if (kind != RPC_KIND_RELEASE && kind != RPC_KIND_FINISH && kind != RPC_KIND_ABORT)
			fail_msg("%s: one message too many, kind %u", session, kind);
	}
	end_free(p.end);
}

/* Calls f for each session whose name begins with prefix. */
static unsigned int each_session(const char *prefix, void (*f)(const char *session))
{
	const char *seen = "";
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const char *session = vector_get(&vector_cases[i], "session");
		if (!session || strncmp(session, prefix, strlen(prefix)) != 0 ||
		    strcmp(session, seen) == 0)
			continue;
		seen = session;
		count++;
		f(session);
	}
	assert_true(count > 0);
	return count;
}

static void as_daemon(const char *session)
{
	replay(session, true);
}

static void as_edge(const char *session)
{
	replay(session, false);
}

static void test_replay_robustness(void **state)
{
	(void)state;
	unsigned int n = each_session("rpc-robustness/", as_daemon);
	n += each_session("multi-segment/rpc", as_daemon);
	print_message("robustness: %u sessions replayed as the server\n", n);
}

static void test_replay_recorded(void **state)
{
	(void)state;
	static const char *const prefixes[] = { "registration/", "edge-rpc/", "daemon-rpc/" };
	unsigned int n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		n += each_session(prefixes[i], as_daemon);
		n += each_session(prefixes[i], as_edge);
	}
	print_message("recorded: %u sessions replayed, both roles\n", n);
}

/* ---- two of ours ---- */

/* Hands everything that a sent to b. The result of the last input. */
static int deliver(struct end *a, struct end *b)
{
	int r = 0;
	while (a->queued > 0) {
		r = rpc_session_input(&b->rpc, a->queue[0]);
		end_drop(a, 0);
	}
	return r;
}

static void call_unregister(struct end *e, uint64_t tag, int want)
{
	struct rpc_body body = tunnel_empty_body();
	assert_int_equal(rpc_session_call(&e->rpc, RPC_IFACE_REGISTRATION,
					  RPC_UNREGISTER_CONNECTION, &body, tag),
			 want);
}

/* A client and a server that have exchanged the bootstrap. */
static void connect_pair(struct end **client, struct end **server)
{
	*client = end_new(&client_ops, BUF_LEN);
	*server = end_new(&both_ops, BUF_LEN);
	(*server)->call_result = 1;
	assert_int_equal(rpc_session_bootstrap(&(*client)->rpc), 0);
	assert_int_equal(rpc_session_bootstrap(&(*client)->rpc), -EPROTO);
	assert_int_equal(deliver(*client, *server), 0);
	assert_int_equal(deliver(*server, *client), 0);
	assert_int_equal(deliver(*client, *server), 0);
}

static void test_ids_are_reused(void **state)
{
	(void)state;
	struct end *c;
	struct end *s;
	connect_pair(&c, &s);
	struct capnp_msg m;
	struct rpc_message msg;
	struct rpc_body empty = tunnel_empty_body();

	/* Bootstrap freed 0; three calls take 0, 1, 2; answering 1 then 0 gives 0 then 1. */
	for (uint32_t i = 0; i < 3; i++) {
		call_unregister(c, 10 + i, 0);
		queued_kind(c, i, &m, &msg);
		assert_int_equal(msg.id, i);
		assert_int_equal(msg.target, RPC_TARGET_IMPORTED_CAP);
	}
	assert_int_equal(deliver(c, s), 0);
	assert_int_equal(rpc_session_return(&s->rpc, 1, &empty), 0);
	assert_int_equal(rpc_session_return(&s->rpc, 0, &empty), 0);
	assert_int_equal(rpc_session_return(&s->rpc, 0, &empty), -ESTALE);
	assert_int_equal(rpc_session_return_exception(&s->rpc, 9, SPAN_LIT("x")), -ESTALE);
	assert_int_equal(deliver(s, c), 0);
	assert_int_equal(c->returns, 2);
	assert_int_equal(c->last_tag, 10);
	assert_int_equal(deliver(c, s), 0);
	call_unregister(c, 20, 0);
	call_unregister(c, 21, 0);
	queued_kind(c, 0, &m, &msg);
	assert_int_equal(msg.id, 0);
	queued_kind(c, 1, &m, &msg);
	assert_int_equal(msg.id, 1);

	/* Everything open ends as LOST, once. */
	rpc_session_lost(&c->rpc);
	rpc_session_lost(&c->rpc);
	assert_int_equal(c->returns, 5);
	assert_int_equal(c->last_outcome, RPC_OUTCOME_LOST);
	call_unregister(c, 1, -EPROTO);
	assert_int_equal(rpc_session_input(&c->rpc, c->queue[0]), -EPROTO);
	end_free(c);
	end_free(s);
}

static void test_call_in_callback_follows_finish(void **state)
{
	(void)state;
	struct end *c;
	struct end *s;
	connect_pair(&c, &s);
	struct rpc_body empty = tunnel_empty_body();
	struct capnp_msg m;
	struct rpc_message msg;

	call_unregister(c, 1, 0);
	assert_int_equal(deliver(c, s), 0);
	assert_int_equal(rpc_session_return(&s->rpc, s->last_answer, &empty), 0);
	c->call_on_return = true;
	assert_int_equal(deliver(s, c), 0);
	assert_int_equal(queued_kind(c, 0, &m, &msg), RPC_KIND_FINISH);
	assert_int_equal(queued_kind(c, 1, &m, &msg), RPC_KIND_CALL);
	assert_int_equal(msg.id, 0);
	assert_int_equal(deliver(c, s), 0);
	end_free(c);
	end_free(s);
}

static void test_close_in_callback(void **state)
{
	(void)state;
	struct end *c;
	struct end *s;
	connect_pair(&c, &s);
	struct rpc_body empty = tunnel_empty_body();
	call_unregister(c, 1, 0);
	assert_int_equal(deliver(c, s), 0);
	assert_int_equal(rpc_session_return(&s->rpc, s->last_answer, &empty), 0);
	c->close_on_return = true;
	assert_int_equal(deliver(s, c), -ECANCELED);
	assert_int_equal(deliver(c, s), -ECANCELED); /* Finish, Release, Abort */
	assert_false(s->rpc.is_open);
	assert_int_equal(s->rpc.export_refs, 0);
	end_free(c);
	end_free(s);
}

static void test_cancel(void **state)
{
	(void)state;
	struct end *c;
	struct end *s;
	connect_pair(&c, &s);
	struct rpc_body empty = tunnel_empty_body();
	struct capnp_msg m;
	struct rpc_message msg;

	call_unregister(c, 5, 0);
	assert_int_equal(deliver(c, s), 0);
	assert_int_equal(rpc_session_cancel(&c->rpc, 6), -ESTALE);
	assert_int_equal(rpc_session_cancel(&c->rpc, 5), 0);
	assert_int_equal(rpc_session_cancel(&c->rpc, 5), -ESTALE);
	assert_int_equal(queued_kind(c, 0, &m, &msg), RPC_KIND_FINISH);
	assert_true(msg.release_caps);
	assert_int_equal(deliver(c, s), 0);

	/* The id stays taken, the server still returns, the late Return is swallowed. */
	call_unregister(c, 7, 0);
	queued_kind(c, 0, &m, &msg);
	assert_int_equal(msg.id, 1);
	assert_int_equal(rpc_session_return(&s->rpc, 0, &empty), 0);
	assert_int_equal(deliver(s, c), 0);
	assert_int_equal(c->returns, 0);
	call_unregister(c, 8, 0);
	queued_kind(c, 1, &m, &msg);
	assert_int_equal(msg.id, 0);
	/* The server had forgotten question 0 with its Return, so its reuse is no mistake. */
	assert_int_equal(deliver(c, s), 0);
	end_free(c);
	end_free(s);
}

static void test_too_many_questions(void **state)
{
	(void)state;
	struct end *c;
	struct end *s;
	connect_pair(&c, &s);
	for (unsigned int i = 0; i < RPC_QUESTIONS_MAX; i++)
		call_unregister(c, i, 0);
	call_unregister(c, 99, -EAGAIN);
	assert_int_equal(deliver(c, s), 0);
	assert_int_equal(s->calls, RPC_ANSWERS_MAX);
	end_free(c);
	end_free(s);
}

/* Frames of a peer that doesn't behave, made by hand. */
static int feed_call(struct end *s, uint32_t id, uint32_t caps, enum rpc_cap_kind kind)
{
	uint8_t buf[8192];
	struct capnp_builder b;
	struct span frame;
	capnp_build_init(&b, buf, sizeof(buf));
	struct capnp_ref root = capnp_build_root(&b, 1, 1);
	capnp_set_u16(&b, root, 0, RPC_KIND_CALL);
	struct capnp_ref call = capnp_put_struct(&b, root, 0, 3, 3);
	capnp_set_u32(&b, call, 0, id);
	capnp_set_u16(&b, call, 4, RPC_UNREGISTER_CONNECTION);
	capnp_set_u64(&b, call, 8, RPC_IFACE_REGISTRATION);
	(void)capnp_put_struct(&b, call, 0, 1, 1);
	struct capnp_ref payload = capnp_put_struct(&b, call, 1, 0, 2);
	struct capnp_ref item = { .data_words = 1, .ptr_count = 1, .count = caps };
	struct capnp_ref list = capnp_put_list(&b, payload, 1, item);
	for (uint32_t i = 0; i < caps; i++) {
		capnp_set_u16(&b, capnp_ref_at(list, i), 0, kind);
		capnp_set_u32(&b, capnp_ref_at(list, i), 4, 100 + i);
	}
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	struct span copy = vector_heap_copy(frame);
	int r = rpc_session_input(&s->rpc, copy);
	vector_heap_free(copy);
	return r;
}

static void test_too_many_answers(void **state)
{
	(void)state;
	struct end *c;
	struct end *s;
	connect_pair(&c, &s);
	struct capnp_msg m;
	struct rpc_message msg;
	for (uint32_t i = 0; i < RPC_ANSWERS_MAX; i++)
		assert_int_equal(feed_call(s, 500 + i, 0, RPC_CAP_NONE), 0);
	assert_int_equal(s->queued, 0);
	assert_int_equal(feed_call(s, 1000, 0, RPC_CAP_NONE), 0);
	assert_int_equal(s->queued, 1);
	assert_int_equal(queued_kind(s, 0, &m, &msg), RPC_KIND_RETURN);
	assert_int_equal(msg.returned, RPC_RETURN_EXCEPTION);
	assert_int_equal(s->calls, RPC_ANSWERS_MAX);
	/* A running id again is a broken rule. */
	assert_int_equal(feed_call(s, 500, 0, RPC_CAP_NONE), -EPROTO);
	assert_int_equal(queued_kind(s, 1, &m, &msg), RPC_KIND_ABORT);
	end_free(c);
	end_free(s);
}

static void test_capabilities_of_a_call(void **state)
{
	(void)state;
	struct end *c;
	struct end *s;
	connect_pair(&c, &s);
	struct capnp_msg m;
	struct rpc_message msg;

	/* Hosted by the peer: given back at once, the call goes on. */
	assert_int_equal(feed_call(s, 1, 2, RPC_CAP_SENDER_HOSTED), 0);
	assert_int_equal(s->calls, 1);
	assert_int_equal(s->queued, 2);
	assert_int_equal(queued_kind(s, 1, &m, &msg), RPC_KIND_RELEASE);
	assert_int_equal(msg.id, 101);
	assert_int_equal(feed_call(s, 2, 1, RPC_CAP_RECEIVER_ANSWER), 0);
	assert_int_equal(feed_call(s, 3, RPC_CAPS_MAX, RPC_CAP_NONE), 0);
	assert_int_equal(s->calls, 3);
	assert_int_equal(feed_call(s, 4, RPC_CAPS_MAX + 1, RPC_CAP_NONE), -EPROTO);
	end_free(c);
	end_free(s);
}

/* What a Return of a kind that we don't know does. */
static void feed_return(struct end *c, uint32_t id, uint16_t kind, int want)
{
	uint8_t buf[256];
	struct capnp_builder b;
	struct span frame;
	capnp_build_init(&b, buf, sizeof(buf));
	struct capnp_ref root = capnp_build_root(&b, 1, 1);
	capnp_set_u16(&b, root, 0, RPC_KIND_RETURN);
	struct capnp_ref ret = capnp_put_struct(&b, root, 0, 2, 1);
	capnp_set_u32(&b, ret, 0, id);
	capnp_set_u16(&b, ret, 6, kind);
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	assert_int_equal(rpc_session_input(&c->rpc, frame), want);
}

static void test_odd_returns(void **state)
{
	(void)state;
	struct end *c;
	struct end *s;
	connect_pair(&c, &s);
	struct capnp_msg m;
	struct rpc_message msg;

	call_unregister(c, 1, 0);
	call_unregister(c, 2, 0);
	deliver(c, s);
	feed_return(c, 0, 3, 0);
	assert_int_equal(c->last_outcome, RPC_OUTCOME_UNKNOWN);
	assert_int_equal(queued_kind(c, 0, &m, &msg), RPC_KIND_UNIMPLEMENTED);
	feed_return(c, 1, RPC_RETURN_CANCELED, 0);
	assert_int_equal(c->last_outcome, RPC_OUTCOME_CANCELED);
	assert_int_equal(c->queued, 1);
	feed_return(c, 1, RPC_RETURN_RESULTS, 0); /* nobody asked */
	feed_return(c, UINT32_MAX, RPC_RETURN_RESULTS, 0);
	assert_int_equal(c->returns, 2);
	end_free(c);
	end_free(s);
}

static void test_bootstrap_fails(void **state)
{
	(void)state;
	struct capnp_msg m;
	struct rpc_message msg;
	struct end *c = end_new(&client_ops, BUF_LEN);
	struct end *s = end_new(&client_ops, BUF_LEN); /* offers nothing */

	call_unregister(c, 1, -EPROTO); /* before the bootstrap */
	assert_int_equal(rpc_session_bootstrap(&c->rpc), 0);
	call_unregister(c, 1, 0);
	assert_int_equal(deliver(c, s), 0);
	assert_int_equal(s->queued, 2);
	assert_int_equal(deliver(s, c), 0);
	assert_int_equal(c->last_outcome, RPC_OUTCOME_EXCEPTION);
	assert_string_equal(c->last_reason, "rpc: target not found");
	assert_int_equal(queued_kind(c, 0, &m, &msg), RPC_KIND_FINISH);
	assert_true(msg.release_caps);
	call_unregister(c, 2, -EPROTO);

	/* Results without a capability are no capability either. */
	struct end *d = end_new(&client_ops, BUF_LEN);
	assert_int_equal(rpc_session_bootstrap(&d->rpc), 0);
	feed_return(d, 0, RPC_RETURN_RESULTS, 0);
	call_unregister(d, 1, -EPROTO);
	rpc_session_close(&d->rpc);
	rpc_session_close(&d->rpc);
	assert_int_equal(queued_kind(d, d->queued - 1, &m, &msg), RPC_KIND_ABORT);
	end_free(c);
	end_free(s);
	end_free(d);
}

static void test_too_large(void **state)
{
	(void)state;
	struct end *c = end_new(&client_ops, 512);
	struct end *s = end_new(&both_ops, 256);
	uint8_t big[600] = { 1 };
	struct span config = span_of(big, sizeof(big));
	struct rpc_body body = tunnel_local_config_body(&config);
	s->call_result = 1;
	assert_int_equal(rpc_session_bootstrap(&c->rpc), 0);
	assert_int_equal(rpc_session_call(&c->rpc, RPC_IFACE_REGISTRATION, 2, &body, 1), -ENOBUFS);
	assert_int_equal(c->queued, 1);

	/* With more room it goes, under the id that was given back. */
	uint8_t *room = malloc(4096);
	assert_non_null(room);
	rpc_session_set_buf(&c->rpc, room, 4096);
	assert_int_equal(rpc_session_call(&c->rpc, RPC_IFACE_REGISTRATION, 2, &body, 1), 0);
	assert_int_equal(deliver(c, s), 0);
	assert_int_equal(rpc_session_return(&s->rpc, 1, &body), -ENOBUFS);
	assert_int_equal(deliver(s, c), 0);
	assert_int_equal(c->last_outcome, RPC_OUTCOME_EXCEPTION);
	assert_string_equal(c->last_reason, "rpc: results too large");
	free(c->buf);
	c->buf = room;
	end_free(c);
	end_free(s);
}

static void test_handler_errors(void **state)
{
	(void)state;
	struct end *c;
	struct end *s;
	connect_pair(&c, &s);
	s->call_result = -EOPNOTSUPP;
	call_unregister(c, 1, 0);
	assert_int_equal(deliver(c, s), 0);
	assert_int_equal(deliver(s, c), 0);
	assert_string_equal(c->last_reason,
			    "@0xf71695ec7fe85497.@1: capnp: method not implemented");
	s->call_result = -EBADMSG;
	call_unregister(c, 2, 0);
	assert_int_equal(deliver(c, s), 0);
	assert_int_equal(deliver(s, c), 0);
	assert_string_equal(c->last_reason, "rpc: call failed");

	/* A sender that fails ends the session with its error. */
	c->emit_result = -ECONNRESET;
	call_unregister(c, 3, -ECONNRESET);
	assert_false(c->rpc.is_open);
	s->emit_result = -EPIPE;
	assert_int_equal(feed_call(s, 900, 9, RPC_CAP_THIRD_PARTY), -EPIPE);
	assert_false(s->rpc.is_open);
	end_free(c);
	end_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replay_robustness),
		cmocka_unit_test(test_replay_recorded),
		cmocka_unit_test(test_ids_are_reused),
		cmocka_unit_test(test_call_in_callback_follows_finish),
		cmocka_unit_test(test_close_in_callback),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_too_many_questions),
		cmocka_unit_test(test_too_many_answers),
		cmocka_unit_test(test_capabilities_of_a_call),
		cmocka_unit_test(test_odd_returns),
		cmocka_unit_test(test_bootstrap_fails),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_handler_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
