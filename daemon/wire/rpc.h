/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cap'n Proto RPC messages, both ways, as far as the tunnel uses them (docs/protocol.md §6.1).
 * Bytes only: who may say what when is daemon/wire/rpc_session.h.
 */
#ifndef DAEMON_WIRE_RPC_H
#define DAEMON_WIRE_RPC_H

#include "daemon/wire/capnp_build.h"

enum rpc_kind : uint16_t {
	RPC_KIND_UNIMPLEMENTED = 0,
	RPC_KIND_ABORT = 1,
	RPC_KIND_CALL = 2,
	RPC_KIND_RETURN = 3,
	RPC_KIND_FINISH = 4,
	RPC_KIND_RESOLVE = 5,
	RPC_KIND_RELEASE = 6,
	RPC_KIND_BOOTSTRAP = 8,
	RPC_KIND_DISEMBARGO = 13,
};

enum rpc_target : uint16_t {
	RPC_TARGET_IMPORTED_CAP = 0,
	RPC_TARGET_PROMISED_ANSWER = 1,
};

enum rpc_return_kind : uint16_t {
	RPC_RETURN_RESULTS = 0,
	RPC_RETURN_EXCEPTION = 1,
	RPC_RETURN_CANCELED = 2,
	/* 3..5: sent elsewhere, taken from another question, third party; never used here */
};

enum rpc_cap_kind : uint16_t {
	RPC_CAP_NONE = 0,
	RPC_CAP_SENDER_HOSTED = 1,
	RPC_CAP_SENDER_PROMISE = 2,
	RPC_CAP_RECEIVER_HOSTED = 3,
	RPC_CAP_RECEIVER_ANSWER = 4,
	RPC_CAP_THIRD_PARTY = 5, /* and everything above: not understood */
};

struct rpc_cap {
	enum rpc_cap_kind kind;
	uint32_t id;
};

/* Content of a Call or of results. */
struct rpc_payload {
	struct capnp_struct content; /* default when null, or when it is a capability */
	uint32_t content_cap;        /* index into caps when the content is one, else UINT32_MAX */
	struct capnp_list caps;
};

/* One message; only the fields of its kind are set. All borrowed from the frame. */
struct rpc_message {
	enum rpc_kind kind; /* any 16-bit value can arrive */
	struct capnp_struct root;
	uint32_t id; /* question (call, finish, bootstrap), answer (return), export (release) */
	uint64_t interface_id;         /* call */
	uint16_t method_id;            /* call */
	enum rpc_target target;        /* call; any value can arrive */
	uint32_t target_id;            /* call: export or question */
	bool has_transform;            /* call: the promised answer names a field of its results */
	enum rpc_return_kind returned; /* return; any value can arrive */
	bool release_caps;             /* return: releaseParamCaps; finish: releaseResultCaps */
	uint32_t reference_count;      /* release */
	struct rpc_payload payload;    /* call, return with results */
	struct span reason;            /* abort, return with exception */
	uint16_t exception_type;       /* the same */
};

/* What goes into a Call or into results: the size of the struct and who fills it. */
struct rpc_body {
	uint16_t data_words;
	uint16_t ptr_count;
	/* Fills the fresh struct s; may be NULL. arg is borrowed for the call. */
	void (*fill)(struct capnp_builder *b, struct capnp_ref s, const void *arg);
	const void *arg;
};

struct rpc_call {
	uint32_t question_id;
	enum rpc_target target;
	uint32_t target_id;
	uint64_t interface_id;
	uint16_t method_id;
	struct rpc_body body;
};

/*
 * Reads one frame. m is the caller's storage for the reader, borrowed by *ret. An unknown kind is
 * no error.
 *
 * Returns 0, -ENODATA cut short, -EBADMSG malformed (bad framing or pointers, limits).
 */
[[nodiscard]] int rpc_decode(struct span frame, struct capnp_msg *m, struct rpc_message *ret);
/* Descriptor i of a capability table. */
struct rpc_cap rpc_cap_at(const struct rpc_payload *p, uint32_t i);

/*
 * Writers: the objects of one message into a builder that was just initialised; the caller ends
 * with capnp_build_finish(). releaseParamCaps is always false, the exception type always failed
 * (0).
 */
void rpc_write_bootstrap(struct capnp_builder *b, uint32_t question_id);
void rpc_write_call(struct capnp_builder *b, const struct rpc_call *call);
void rpc_write_results(struct capnp_builder *b, uint32_t answer_id, const struct rpc_body *body);
/* Results whose content is one capability that we host. */
void rpc_write_capability(struct capnp_builder *b, uint32_t answer_id, uint32_t export_id);
void rpc_write_exception(struct capnp_builder *b, uint32_t answer_id, struct span reason);
void rpc_write_finish(struct capnp_builder *b, uint32_t question_id, bool release_result_caps);
void rpc_write_release(struct capnp_builder *b, uint32_t export_id, uint32_t reference_count);
void rpc_write_abort(struct capnp_builder *b, struct span reason);
/* Echoes a received message; check capnp_msg_finish() of it before sending. */
void rpc_write_unimplemented(struct capnp_builder *b, const struct capnp_struct *root);

#endif
