/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One RPC session without I/O, both roles: we ask the peer's bootstrap capability and we serve ours
 * (docs/protocol.md §6.2, §6.3). Frames go in, frames come out through emit().
 *
 * Life: rpc_session_init(); client: rpc_session_bootstrap() and rpc_session_call(); feed
 * rpc_session_input() with every frame; end with rpc_session_close() (says goodbye) or
 * rpc_session_lost() (FIN, reset, bad framing: says nothing). After any end the session is closed:
 * calls give -EPROTO and nothing is emitted. Nothing is allocated; zeroing the struct frees it.
 *
 * Callbacks run inside rpc_session_input(), _lost() and _close(). They may call and return on the
 * session, they must not destroy it.
 */
#ifndef DAEMON_WIRE_RPC_SESSION_H
#define DAEMON_WIRE_RPC_SESSION_H

#include "daemon/wire/rpc.h"

#define RPC_QUESTIONS_MAX 64  /* ours, unanswered or canceled */
#define RPC_ANSWERS_MAX   64  /* the peer's, not finished */
#define RPC_CAPS_MAX      64  /* descriptors in one capability table */
#define RPC_REASON_MAX    256 /* bytes of an exception's reason that are sent */

enum rpc_outcome : uint8_t {
	RPC_OUTCOME_RESULTS,
	RPC_OUTCOME_EXCEPTION, /* reason says why */
	RPC_OUTCOME_CANCELED,  /* the peer gave up */
	RPC_OUTCOME_UNKNOWN,   /* a kind of Return that we don't understand */
	RPC_OUTCOME_LOST,      /* the session ended before the answer */
};

/* Borrowed for the callback. */
struct rpc_reply {
	enum rpc_outcome outcome;
	const struct capnp_struct *results; /* RESULTS only; check capnp_msg_finish(results->msg) */
	struct span reason;                 /* EXCEPTION only; not trusted text */
};

struct rpc_session;

struct rpc_session_ops {
	/* Sends one frame, borrowed for the call. A negative errno ends the session with it. */
	int (*emit)(void *ctx, struct span frame);
	/*
	 * The answer to a call of ours; tag is the caller's. NULL for a session that never calls.
	 * The question is already finished: a new call may be made here.
	 */
	void (*on_return)(void *ctx, uint64_t tag, const struct rpc_reply *reply);
	/*
	 * A call of the peer; params are borrowed for the callback. Return 0 after answering, or to
	 * answer later, by rpc_session_return_*(). Unanswered and -EOPNOTSUPP: the session answers
	 * "method not implemented"; another negative errno: "call failed". NULL: no bootstrap
	 * capability is offered.
	 */
	int (*on_call)(void *ctx, uint32_t answer_id, const struct rpc_message *call);
};

enum rpc_slot : uint8_t {
	RPC_SLOT_FREE,
	RPC_SLOT_BOOTSTRAP, /* question: asked; answer: returned, holds one reference to export 0 */
	RPC_SLOT_RUNNING,   /* call without its Return */
	RPC_SLOT_CANCELED,  /* question: we finished it, its Return is still to come */
	RPC_SLOT_RETURNED,  /* answer: Return sent, Finish still to come */
};

struct rpc_question {
	uint64_t tag;
	enum rpc_slot state; /* the index in the table is the question id */
};

struct rpc_answer {
	uint32_t id;
	enum rpc_slot state;
	bool finished; /* Finish came before the Return */
};

struct rpc_session {
	const struct rpc_session_ops *ops; /* static */
	void *ctx;                         /* of the callbacks; outlives the session */
	uint8_t *buf;                      /* borrowed: where frames are built */
	size_t buf_len;
	struct rpc_question questions[RPC_QUESTIONS_MAX];
	uint8_t free_ids[RPC_QUESTIONS_MAX]; /* stack of freed question ids */
	uint8_t free_count;
	uint8_t next_id; /* smallest id never used */
	struct rpc_answer answers[RPC_ANSWERS_MAX];
	uint32_t export_refs; /* references that the peer holds to our export 0 */
	uint32_t import_id;
	uint32_t import_refs;
	uint32_t bootstrap_id; /* our question, while bootstrap_state is RUNNING */
	enum rpc_slot
		bootstrap_state; /* FREE, RUNNING, RETURNED (import usable), CANCELED (failed) */
	bool is_open;
};

/*
 * Starts a session. ops is static, ctx outlives s; buf (buf_len bytes, at least the largest frame
 * to send, CAPNP_RPC_MAX is enough for all but a configuration) is borrowed until the end.
 */
void rpc_session_init(struct rpc_session *s, const struct rpc_session_ops *ops, void *ctx,
		      void *buf, size_t buf_len);
/* Other room for building frames, borrowed until the end or the next call of this. */
void rpc_session_set_buf(struct rpc_session *s, void *buf, size_t buf_len);

/* Asks for the peer's bootstrap capability. Once, first. 0, -EPROTO, or the error of emit(). */
[[nodiscard]] int rpc_session_bootstrap(struct rpc_session *s);
/*
 * Calls a method of the bootstrap capability, pipelined while that hasn't come. tag comes back in
 * on_return() and names the call in rpc_session_cancel().
 *
 * Returns 0, -EPROTO closed or no capability, -EAGAIN too many questions open, -ENOBUFS params over
 * buf_len (nothing was sent, the session lives), or the error of emit().
 */
[[nodiscard]] int rpc_session_call(struct rpc_session *s, uint64_t interface_id, uint16_t method_id,
				   const struct rpc_body *params, uint64_t tag);
/* Gives up a call, after which on_return() won't come for it. 0 or -ESTALE when there is none. */
int rpc_session_cancel(struct rpc_session *s, uint64_t tag);

/*
 * Takes one frame (docs/protocol.md §6.3). 0 while the session lives; once it ended -EBADMSG
 * (malformed), -EPROTO (the peer broke a rule, our Abort was sent), -ECANCELED (the peer's Abort,
 * or closed by a callback), or the error of emit(). The caller then sends FIN. On a closed session:
 * -EPROTO.
 */
[[nodiscard]] int rpc_session_input(struct rpc_session *s, struct span frame);

/*
 * Answers a call. Each answer id exactly once. 0, -ESTALE unknown or answered, -EPROTO closed,
 * -ENOBUFS results over buf_len (an exception was sent instead), or the error of emit().
 */
int rpc_session_return(struct rpc_session *s, uint32_t answer_id, const struct rpc_body *results);
int rpc_session_return_exception(struct rpc_session *s, uint32_t answer_id, struct span reason);

/* Says goodbye: Release, Abort "rpc: shutdown". Open questions end as LOST. The caller sends FIN.
 */
void rpc_session_close(struct rpc_session *s);
/* The stream ended or broke: nothing is sent, open questions end as LOST. */
void rpc_session_lost(struct rpc_session *s);

#endif
