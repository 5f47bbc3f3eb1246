/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One RPC session without I/O: the tables of questions and answers, and what each message does to
 * them. The reactions to a peer's mistakes are the table of docs/protocol.md §6.3.
 *
 * There is one export at most, our bootstrap capability, with id 0; only its references are
 * counted.
 */
#include "daemon/wire/rpc_session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "util/macro.h"

#define EXPORT_ID 0

/* ---- sending ---- */

static struct capnp_builder new_frame(struct rpc_session *s)
{
	struct capnp_builder b;
	capnp_build_init(&b, s->buf, s->buf_len);
	return b;
}

/* Open questions end as LOST, except those that were canceled: nobody waits for them. */
static void end(struct rpc_session *s)
{
	if (!s->is_open)
		return;
	s->is_open = false;
	for (unsigned int i = 0; i < RPC_QUESTIONS_MAX; i++) {
		struct rpc_question *q = &s->questions[i];
		bool is_waiting = q->state == RPC_SLOT_RUNNING;
		q->state = RPC_SLOT_FREE;
		if (is_waiting)
			s->ops->on_return(s->ctx, q->tag,
					  &(struct rpc_reply){ .outcome = RPC_OUTCOME_LOST });
	}
	memset(s->answers, 0, sizeof(s->answers));
}

/* 0, -ENOBUFS when the frame didn't fit (nothing was sent), or the error of emit() and the end. */
static int send_frame(struct rpc_session *s, struct capnp_builder *b)
{
	struct span frame;
	int r = capnp_build_finish(b, &frame);
	if (r < 0)
		return r;
	r = s->ops->emit(s->ctx, frame);
	if (r < 0)
		end(s);
	return r;
}

static int send_finish(struct rpc_session *s, uint32_t id, bool release_result_caps)
{
	struct capnp_builder b = new_frame(s);
	rpc_write_finish(&b, id, release_result_caps);
	return send_frame(s, &b);
}

static int send_release(struct rpc_session *s, uint32_t id, uint32_t count)
{
	struct capnp_builder b = new_frame(s);
	rpc_write_release(&b, id, count);
	return send_frame(s, &b);
}

static int send_exception(struct rpc_session *s, uint32_t id, struct span reason)
{
	struct capnp_builder b = new_frame(s);
	rpc_write_exception(&b, id, span_first(reason, RPC_REASON_MAX));
	return send_frame(s, &b);
}

/* Tells the peer which rule it broke and ends. Always -EPROTO. */
static int abort_session(struct rpc_session *s, struct span reason)
{
	struct capnp_builder b = new_frame(s);
	rpc_write_abort(&b, reason);
	(void)send_frame(s, &b);
	end(s);
	return -EPROTO;
}

static int send_unimplemented(struct rpc_session *s, const struct rpc_message *msg)
{
	struct capnp_builder b = new_frame(s);
	rpc_write_unimplemented(&b, &msg->root);
	/* The echo reads parts that nobody has looked at yet. */
	if (capnp_msg_finish(msg->root.msg) < 0)
		return -EBADMSG;
	int r = send_frame(s, &b);
	return r == -ENOBUFS ? abort_session(s, SPAN_LIT("rpc: message too large to echo")) : r;
}

/* ---- life ---- */

void rpc_session_init(struct rpc_session *s, const struct rpc_session_ops *ops, void *ctx,
		      void *buf, size_t buf_len)
{
	*s = (struct rpc_session){
		.ops = ops, .ctx = ctx, .buf = buf, .buf_len = buf_len, .is_open = true
	};
}

void rpc_session_set_buf(struct rpc_session *s, void *buf, size_t buf_len)
{
	s->buf = buf;
	s->buf_len = buf_len;
}

void rpc_session_lost(struct rpc_session *s)
{
	end(s);
}

void rpc_session_close(struct rpc_session *s)
{
	if (!s->is_open)
		return;
	uint32_t refs = s->import_refs;
	s->import_refs = 0;
	if (refs > 0 && send_release(s, s->import_id, refs) < 0)
		return;
	(void)abort_session(s, SPAN_LIT("rpc: shutdown"));
}

/* ---- questions: what we ask ---- */

/* A free question id: last freed first, else the smallest never used. -EAGAIN when all are open. */
static int question_take(struct rpc_session *s, uint32_t *ret_id)
{
	if (s->free_count > 0)
		*ret_id = s->free_ids[--s->free_count];
	else if (s->next_id < RPC_QUESTIONS_MAX)
		*ret_id = s->next_id++;
	else
		return -EAGAIN;
	return 0;
}

static void question_free(struct rpc_session *s, uint32_t id)
{
	s->questions[id].state = RPC_SLOT_FREE;
	s->free_ids[s->free_count++] = (uint8_t)id;
}

int rpc_session_bootstrap(struct rpc_session *s)
{
	if (!s->is_open || s->bootstrap_state != RPC_SLOT_FREE)
		return -EPROTO;
	uint32_t id = 0;
	int r = question_take(s, &id);
	if (r < 0)
		return r;

	struct capnp_builder b = new_frame(s);
	rpc_write_bootstrap(&b, id);
	s->questions[id].state = RPC_SLOT_BOOTSTRAP;
	s->bootstrap_id = id;
	s->bootstrap_state = RPC_SLOT_RUNNING;
	return send_frame(s, &b);
}

int rpc_session_call(struct rpc_session *s, uint64_t interface_id, uint16_t method_id,
		     const struct rpc_body *params, uint64_t tag)
{
	assert(s->ops->on_return);
	bool is_pipelined = s->bootstrap_state == RPC_SLOT_RUNNING;
	if (!s->is_open || (!is_pipelined && s->bootstrap_state != RPC_SLOT_RETURNED))
		return -EPROTO;
	uint32_t id = 0;
	int r = question_take(s, &id);
	if (r < 0)
		return r;

	struct capnp_builder b = new_frame(s);
	rpc_write_call(&b, &(struct rpc_call){
				   .question_id = id,
				   .target = is_pipelined ? RPC_TARGET_PROMISED_ANSWER
							  : RPC_TARGET_IMPORTED_CAP,
				   .target_id = is_pipelined ? s->bootstrap_id : s->import_id,
				   .interface_id = interface_id,
				   .method_id = method_id,
				   .body = *params,
			   });
	r = send_frame(s, &b);
	if (r < 0) {
		if (s->is_open)
			question_free(s, id);
		return r;
	}
	s->questions[id] = (struct rpc_question){ .tag = tag, .state = RPC_SLOT_RUNNING };
	return 0;
}

int rpc_session_cancel(struct rpc_session *s, uint64_t tag)
{
	for (uint32_t i = 0; s->is_open && i < RPC_QUESTIONS_MAX; i++) {
		struct rpc_question *q = &s->questions[i];
		if (q->state != RPC_SLOT_RUNNING || q->tag != tag)
			continue;
		/* The id stays taken until the late Return. */
		q->state = RPC_SLOT_CANCELED;
		return send_finish(s, i, true);
	}
	return -ESTALE;
}

/* Gives back what came in a capability table, but for the descriptor that is kept (or -1). */
static int release_caps(struct rpc_session *s, const struct rpc_payload *p, int64_t keep)
{
	for (uint32_t i = 0; i < p->caps.count; i++) {
		struct rpc_cap cap = rpc_cap_at(p, i);
		if (i == keep ||
		    (cap.kind != RPC_CAP_SENDER_HOSTED && cap.kind != RPC_CAP_SENDER_PROMISE))
			continue;
		int r = send_release(s, cap.id, 1);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The answer to our bootstrap: remember the capability, or that there is none. */
static int take_bootstrap(struct rpc_session *s, const struct rpc_message *msg)
{
	bool is_result = msg->returned == RPC_RETURN_RESULTS;
	const struct rpc_payload *p = &msg->payload;
	int64_t index = is_result && p->content_cap < p->caps.count ? (int64_t)p->content_cap : -1;

	s->bootstrap_state = RPC_SLOT_CANCELED;
	if (index >= 0) {
		struct rpc_cap cap = rpc_cap_at(p, (uint32_t)index);
		if (cap.kind == RPC_CAP_SENDER_HOSTED || cap.kind == RPC_CAP_SENDER_PROMISE) {
			s->bootstrap_state = RPC_SLOT_RETURNED;
			s->import_id = cap.id;
			s->import_refs = 1;
		}
	}
	return is_result ? release_caps(s, p, index) : 0;
}

static enum rpc_outcome outcome_of(enum rpc_return_kind kind)
{
	switch (kind) {
	case RPC_RETURN_RESULTS:
		return RPC_OUTCOME_RESULTS;
	case RPC_RETURN_EXCEPTION:
		return RPC_OUTCOME_EXCEPTION;
	case RPC_RETURN_CANCELED:
		return RPC_OUTCOME_CANCELED;
	}
	return RPC_OUTCOME_UNKNOWN;
}

/* What the peer hears about its Return: Finish, an echo of what we don't understand, or nothing. */
static int acknowledge(struct rpc_session *s, const struct rpc_message *msg)
{
	switch (outcome_of(msg->returned)) {
	case RPC_OUTCOME_RESULTS:
		return send_finish(s, msg->id, false);
	case RPC_OUTCOME_EXCEPTION:
		return send_finish(s, msg->id, true);
	case RPC_OUTCOME_UNKNOWN:
		return send_unimplemented(s, msg);
	case RPC_OUTCOME_CANCELED:
	case RPC_OUTCOME_LOST:
		break;
	}
	return 0;
}

static int on_return(struct rpc_session *s, const struct rpc_message *msg)
{
	if (msg->id >= RPC_QUESTIONS_MAX || s->questions[msg->id].state == RPC_SLOT_FREE)
		return 0;
	struct rpc_question q = s->questions[msg->id];
	if (q.state == RPC_SLOT_CANCELED) {
		question_free(s, msg->id);
		return 0;
	}
	if (msg->payload.caps.count > RPC_CAPS_MAX)
		return abort_session(s, SPAN_LIT("rpc: too many capabilities"));

	/* Freed and finished before the caller hears of it, so that its next call takes this id. */
	question_free(s, msg->id);
	struct rpc_reply reply = { .outcome = outcome_of(msg->returned), .reason = msg->reason };
	int r = acknowledge(s, msg);
	if (q.state == RPC_SLOT_BOOTSTRAP)
		return r < 0 ? r : take_bootstrap(s, msg);
	if (r >= 0)
		r = release_caps(s, &msg->payload, -1);
	if (r < 0)
		reply.outcome = RPC_OUTCOME_LOST;
	if (reply.outcome == RPC_OUTCOME_RESULTS)
		reply.results = &msg->payload.content;
	s->ops->on_return(s->ctx, q.tag, &reply);
	return r;
}

/* ---- answers: what the peer asks ---- */

static struct rpc_answer *answer_find(struct rpc_session *s, uint32_t id)
{
	for (unsigned int i = 0; i < RPC_ANSWERS_MAX; i++)
		if (s->answers[i].state != RPC_SLOT_FREE && s->answers[i].id == id)
			return &s->answers[i];
	return NULL;
}

static struct rpc_answer *answer_new(struct rpc_session *s, uint32_t id, enum rpc_slot state)
{
	for (unsigned int i = 0; i < RPC_ANSWERS_MAX; i++) {
		struct rpc_answer *a = &s->answers[i];
		if (a->state != RPC_SLOT_FREE)
			continue;
		*a = (struct rpc_answer){ .id = id, .state = state };
		return a;
	}
	return NULL;
}

static int on_bootstrap(struct rpc_session *s, const struct rpc_message *msg)
{
	if (answer_find(s, msg->id))
		return send_exception(s, msg->id, SPAN_LIT("rpc: question ID reused"));
	if (!s->ops->on_call)
		return send_exception(s, msg->id, SPAN_LIT("rpc: no bootstrap interface"));
	if (!answer_new(s, msg->id, RPC_SLOT_BOOTSTRAP))
		return send_exception(s, msg->id, SPAN_LIT("rpc: too many open questions"));

	s->export_refs++;
	struct capnp_builder b = new_frame(s);
	rpc_write_capability(&b, msg->id, EXPORT_ID);
	return send_frame(s, &b);
}

/* True when the call is meant for our bootstrap capability. */
static bool is_for_us(struct rpc_session *s, const struct rpc_message *call)
{
	if (call->target == RPC_TARGET_IMPORTED_CAP)
		return call->target_id == EXPORT_ID && s->export_refs > 0;
	const struct rpc_answer *a = answer_find(s, call->target_id);
	return a && a->state == RPC_SLOT_BOOTSTRAP && !call->has_transform;
}

/* Checks the capability table of a call. 1: go on; else the reaction was sent. */
static int check_caps(struct rpc_session *s, const struct rpc_message *call)
{
	const struct rpc_payload *p = &call->payload;
	if (p->caps.count > RPC_CAPS_MAX)
		return abort_session(s, SPAN_LIT("rpc: too many capabilities"));

	for (uint32_t i = 0; i < p->caps.count; i++) {
		struct rpc_cap cap = rpc_cap_at(p, i);
		if (cap.kind >= RPC_CAP_THIRD_PARTY)
			return send_unimplemented(s, call);
		if (cap.kind == RPC_CAP_RECEIVER_HOSTED &&
		    (cap.id != EXPORT_ID || s->export_refs == 0)) {
			char text[80];
			int n = snprintf(text, sizeof(text),
					 "rpc: capability table references unknown export ID %u",
					 cap.id);
			return abort_session(s, span_of(text, (size_t)n));
		}
	}
	return 1;
}

static int answer_not_implemented(struct rpc_session *s, const struct rpc_message *call)
{
	char text[80];
	int n = snprintf(text, sizeof(text), "@0x%llx.@%u: capnp: method not implemented",
			 (unsigned long long)call->interface_id, call->method_id);
	return rpc_session_return_exception(s, call->id, span_of(text, (size_t)n));
}

static int on_call(struct rpc_session *s, const struct rpc_message *call)
{
	if (answer_find(s, call->id))
		return abort_session(s, SPAN_LIT("rpc: question ID reused"));
	int r = check_caps(s, call);
	if (r != 1)
		return r;
	if (call->target > RPC_TARGET_PROMISED_ANSWER)
		return send_unimplemented(s, call);

	/* We never keep a capability that comes with a call. */
	r = release_caps(s, &call->payload, -1);
	if (r < 0)
		return r;
	bool is_ours = is_for_us(s, call);
	if (!answer_new(s, call->id, RPC_SLOT_RUNNING))
		return send_exception(s, call->id, SPAN_LIT("rpc: too many open questions"));
	if (!is_ours)
		return rpc_session_return_exception(s, call->id, SPAN_LIT("rpc: target not found"));

	r = s->ops->on_call(s->ctx, call->id, call);
	if (r >= 0 || !s->is_open)
		return 0;
	if (r == -EOPNOTSUPP)
		return answer_not_implemented(s, call);
	return rpc_session_return_exception(s, call->id, SPAN_LIT("rpc: call failed"));
}

/* Finds a running answer and marks it returned, or frees it when its Finish came before. */
static int answer_returned(struct rpc_session *s, uint32_t id)
{
	if (!s->is_open)
		return -EPROTO;
	struct rpc_answer *a = answer_find(s, id);
	if (!a || a->state != RPC_SLOT_RUNNING)
		return -ESTALE;
	a->state = a->finished ? RPC_SLOT_FREE : RPC_SLOT_RETURNED;
	return 0;
}

int rpc_session_return(struct rpc_session *s, uint32_t answer_id, const struct rpc_body *results)
{
	int r = answer_returned(s, answer_id);
	if (r < 0)
		return r;
	struct capnp_builder b = new_frame(s);
	rpc_write_results(&b, answer_id, results);
	r = send_frame(s, &b);
	if (r == -ENOBUFS && s->is_open) {
		int sent = send_exception(s, answer_id, SPAN_LIT("rpc: results too large"));
		return sent < 0 ? sent : r;
	}
	return r;
}

int rpc_session_return_exception(struct rpc_session *s, uint32_t answer_id, struct span reason)
{
	int r = answer_returned(s, answer_id);
	return r < 0 ? r : send_exception(s, answer_id, reason);
}

static void drop_export(struct rpc_session *s, uint32_t count)
{
	s->export_refs -= MIN(count, s->export_refs);
}

static void on_finish(struct rpc_session *s, const struct rpc_message *msg)
{
	struct rpc_answer *a = answer_find(s, msg->id);
	if (!a)
		return;
	if (a->state == RPC_SLOT_RUNNING) {
		a->finished = true; /* asks for cancellation; the Return is sent all the same */
		return;
	}
	if (a->state == RPC_SLOT_BOOTSTRAP && msg->release_caps)
		drop_export(s, 1);
	a->state = RPC_SLOT_FREE;
}

/* ---- input ---- */

static int dispatch(struct rpc_session *s, const struct rpc_message *msg)
{
	switch (msg->kind) {
	case RPC_KIND_UNIMPLEMENTED:
		return 0;
	case RPC_KIND_ABORT:
		end(s);
		return -ECANCELED;
	case RPC_KIND_CALL:
		return on_call(s, msg);
	case RPC_KIND_RETURN:
		return on_return(s, msg);
	case RPC_KIND_FINISH:
		on_finish(s, msg);
		return 0;
	case RPC_KIND_RELEASE:
		if (msg->id == EXPORT_ID)
			drop_export(s, msg->reference_count);
		return 0;
	case RPC_KIND_BOOTSTRAP:
		return on_bootstrap(s, msg);
	case RPC_KIND_RESOLVE:
	case RPC_KIND_DISEMBARGO:
		break;
	}
	return send_unimplemented(s, msg); /* also every number that isn't listed above */
}

int rpc_session_input(struct rpc_session *s, struct span frame)
{
	if (!s->is_open)
		return -EPROTO;
	struct capnp_msg m;
	struct rpc_message msg;
	int r = rpc_decode(frame, &m, &msg);
	if (r == 0)
		r = dispatch(s, &msg);
	else
		r = -EBADMSG;
	if (r < 0)
		end(s);
	return s->is_open || r < 0 ? r : -ECANCELED;
}
