/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An RPC session on a stream of a link: cuts frames out of the bytes, feeds wire/rpc_session,
 * writes what it emits under the stream's credit (docs/protocol.md §6). Used by the control stream
 * in either role and by RPC streams.
 */
#ifndef DAEMON_LINK_RPC_CHANNEL_H
#define DAEMON_LINK_RPC_CHANNEL_H

#include "daemon/base/loop.h"
#include "daemon/flow/stream.h"
#include "daemon/wire/preamble.h"
#include "daemon/wire/rpc_session.h"

struct rpc_channel;

enum rpc_channel_end : uint8_t {
	RPC_CHANNEL_END_FIN,     /* the peer's end of stream or its Abort */
	RPC_CHANNEL_END_LOST,    /* the stream was reset or its link ended */
	RPC_CHANNEL_END_STALLED, /* no whole message in time */
	RPC_CHANNEL_END_BROKEN,  /* malformed input, a broken rule, or output over its bound */
};

struct rpc_channel_ops {
	/* As in struct rpc_session_ops, with the channel's user; either may be NULL by role. */
	void (*on_return)(void *user, uint64_t tag, const struct rpc_reply *reply);
	int (*on_call)(void *user, uint32_t answer_id, const struct rpc_message *call);
	/* The session is over: our own direction has been finished. Not after rpc_channel_close().
	 */
	void (*on_end)(void *user, enum rpc_channel_end end);
};

struct rpc_channel {
	struct rpc_session session; /* for rpc_session_return_*() inside on_call */
	const struct rpc_channel_ops *ops;
	void *user;
	struct loop *loop;
	struct stream *stream; /* owned */
	struct bufq in;
	struct bufq out;
	size_t frame_max; /* bytes of the largest frame accepted */
	uint8_t *scratch; /* while a frame is being built */
	unsigned int scratch_users;
	struct preamble_reader preamble;
	bool has_preamble;   /* the signature of an RPC stream is still to be read */
	bool is_over;        /* no more input; what is left of out still goes */
	bool times_idle;     /* the timeout runs between messages, too */
	unsigned int frames; /* whole ones, so far */
	nsec_t timeout;      /* 0: none */
	struct timer deadline;
	struct loop_garbage garbage;
};

/* Bytes waiting for the peer's credit; over it the session ends. */
enum {
	RPC_CHANNEL_OUT_MAX = 8 * 1024 * 1024, /* of who calls: a configuration may be 4 MiB */
	RPC_CHANNEL_ANSWERS_MAX = 64 * 1024,   /* of who answers, perhaps a stranger (spec §13) */
	RPC_CHANNEL_FAREWELL_SEC = 10,         /* what is queued at the end has to go in */
};

/* Takes the stream. Returns 0 or -ENOMEM (the stream is closed then). */
[[nodiscard]] int rpc_channel_new(struct loop *loop, struct stream *stream,
				  const struct rpc_channel_ops *ops, void *user,
				  struct rpc_channel **ret);
/* Moves bytes that were already read from the stream out of from; right after rpc_channel_new(). */
void rpc_channel_give(struct rpc_channel *ch, struct bufq *from);
/* Accepts larger frames from now on (a configuration, after registration). */
void rpc_channel_set_frame_max(struct rpc_channel *ch, size_t frame_max);
/* The peer's first bytes are the signature of an RPC stream; anything else ends the session as
 * BROKEN. */
void rpc_channel_expect_signature(struct rpc_channel *ch);
/*
 * From now on a message that the peer has begun has to become whole within timeout, however many
 * bytes come meanwhile, else the session ends as STALLED. also_idle: and the next one has to be
 * whole within timeout of the last.
 */
void rpc_channel_set_timeout(struct rpc_channel *ch, nsec_t timeout, bool also_idle);
/* Writes raw bytes ahead of the session (the signature of an RPC stream). 0 or -ENOBUFS. */
[[nodiscard]] int rpc_channel_prefix(struct rpc_channel *ch, struct span bytes);

struct rpc_channel_call {
	uint64_t interface_id;
	uint16_t method_id;
	struct rpc_body params;
	size_t params_max; /* bytes of parameters beyond CAPNP_RPC_MAX for the whole frame */
	uint64_t tag;      /* comes back in on_return */
};

/* rpc_session_bootstrap() and rpc_session_call() with room for the frame. */
[[nodiscard]] int rpc_channel_bootstrap(struct rpc_channel *ch);
[[nodiscard]] int rpc_channel_call(struct rpc_channel *ch, const struct rpc_channel_call *call);
/* Gives a call up after its deadline. */
void rpc_channel_cancel(struct rpc_channel *ch, uint64_t tag);

/*
 * Ends the session: polite says goodbye (Release, Abort), then FIN; what is queued still goes out
 * if the peer takes it within 10 s. The channel is gone for the caller. Accepts NULL.
 */
void rpc_channel_close(struct rpc_channel *ch, bool polite);

#endif
