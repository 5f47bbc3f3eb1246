/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cap'n Proto RPC messages: fields to structs and back. The layouts are those of docs/protocol.md
 * §6.1; the writers' order of objects is that of §4.4.
 */
#include "daemon/wire/rpc.h"

#include <errno.h>

/* clang-format off */
/* Sizes of the structs that we write: data words, pointers. */
#define MESSAGE         1, 1
#define BOOTSTRAP       1, 1
#define CALL            3, 3
#define TARGET          1, 1
#define PROMISED_ANSWER 1, 1
#define PAYLOAD         0, 2
#define RETURN          2, 1
#define FINISH          1, 0
#define RELEASE         1, 0
#define EXCEPTION       1, 1
/* clang-format on */

static const struct capnp_ref transform_op = { .data_words = 1 };
static const struct capnp_ref cap_descriptor = { .data_words = 1, .ptr_count = 1 };

/* ---- reading ---- */

static struct rpc_payload read_payload(const struct capnp_struct *s, unsigned int slot)
{
	struct capnp_struct p = capnp_get_struct(s, slot);
	return (struct rpc_payload){
		.content = capnp_get_struct(&p, 0),
		.content_cap = capnp_get_cap(&p, 0),
		.caps = capnp_get_list(&p, 1),
	};
}

static void read_exception(const struct capnp_struct *s, struct rpc_message *msg)
{
	struct capnp_struct e = capnp_get_struct(s, 0);
	msg->exception_type = capnp_u16(&e, 4);
	msg->reason = capnp_get_text(&e, 0);
}

/* True when the transform does anything: an operation other than noop (0). */
static bool read_transform(const struct capnp_struct *promised)
{
	struct capnp_list ops = capnp_get_list(promised, 0);
	for (uint32_t i = 0; i < ops.count; i++) {
		struct capnp_struct op = capnp_list_at(&ops, i);
		if (capnp_u16(&op, 0) != 0)
			return true;
	}
	return false;
}

static void read_call(const struct capnp_struct *s, struct rpc_message *msg)
{
	struct capnp_struct target = capnp_get_struct(s, 0);

	msg->id = capnp_u32(s, 0);
	msg->method_id = capnp_u16(s, 4);
	msg->interface_id = capnp_u64(s, 8);
	msg->target = (enum rpc_target)capnp_u16(&target, 4);
	if (msg->target == RPC_TARGET_PROMISED_ANSWER) {
		struct capnp_struct promised = capnp_get_struct(&target, 0);
		msg->target_id = capnp_u32(&promised, 0);
		msg->has_transform = read_transform(&promised);
	} else {
		msg->target_id = capnp_u32(&target, 0);
	}
	msg->payload = read_payload(s, 1);
}

static void read_return(const struct capnp_struct *s, struct rpc_message *msg)
{
	msg->id = capnp_u32(s, 0);
	msg->release_caps = !capnp_bit(s, 32);
	msg->returned = (enum rpc_return_kind)capnp_u16(s, 6);
	if (msg->returned == RPC_RETURN_RESULTS)
		msg->payload = read_payload(s, 0);
	else if (msg->returned == RPC_RETURN_EXCEPTION)
		read_exception(s, msg);
}

int rpc_decode(struct span frame, struct capnp_msg *m, struct rpc_message *ret)
{
	int r = capnp_msg_open(frame, m);
	if (r < 0)
		return r;

	struct rpc_message msg = { .root = capnp_root(m) };
	struct capnp_struct s = capnp_get_struct(&msg.root, 0);
	msg.kind = (enum rpc_kind)capnp_u16(&msg.root, 0);
	switch (msg.kind) {
	case RPC_KIND_ABORT:
		read_exception(&msg.root, &msg);
		break;
	case RPC_KIND_CALL:
		read_call(&s, &msg);
		break;
	case RPC_KIND_RETURN:
		read_return(&s, &msg);
		break;
	case RPC_KIND_FINISH:
		msg.id = capnp_u32(&s, 0);
		msg.release_caps = !capnp_bit(&s, 32);
		break;
	case RPC_KIND_RELEASE:
		msg.id = capnp_u32(&s, 0);
		msg.reference_count = capnp_u32(&s, 4);
		break;
	case RPC_KIND_BOOTSTRAP:
		msg.id = capnp_u32(&s, 0);
		break;
	case RPC_KIND_UNIMPLEMENTED:
	case RPC_KIND_RESOLVE:
	case RPC_KIND_DISEMBARGO:
		break;
	}

	r = capnp_msg_finish(m);
	if (r < 0)
		return r;
	*ret = msg;
	return 0;
}

struct rpc_cap rpc_cap_at(const struct rpc_payload *p, uint32_t i)
{
	struct capnp_struct s = capnp_list_at(&p->caps, i);
	return (struct rpc_cap){ .kind = (enum rpc_cap_kind)capnp_u16(&s, 0),
				 .id = capnp_u32(&s, 4) };
}

/* ---- writing ---- */

/* The root with its union tag, and the struct in it. */
static struct capnp_ref begin(struct capnp_builder *b, enum rpc_kind kind, uint16_t data_words,
			      uint16_t ptr_count)
{
	struct capnp_ref root = capnp_build_root(b, MESSAGE);
	capnp_set_u16(b, root, 0, kind);
	return capnp_put_struct(b, root, 0, data_words, ptr_count);
}

static void write_content(struct capnp_builder *b, struct capnp_ref payload,
			  const struct rpc_body *body)
{
	struct capnp_ref content =
		capnp_put_struct(b, payload, 0, body->data_words, body->ptr_count);
	if (body->fill)
		body->fill(b, content, body->arg);
	(void)capnp_put_list(b, payload, 1, cap_descriptor); /* count 0: empty, not null */
}

/* A Return of ours: releaseParamCaps false, stored inverted. */
static struct capnp_ref begin_return(struct capnp_builder *b, uint32_t answer_id,
				     enum rpc_return_kind kind)
{
	struct capnp_ref ret = begin(b, RPC_KIND_RETURN, RETURN);
	capnp_set_u32(b, ret, 0, answer_id);
	capnp_set_bit(b, ret, 32, true);
	capnp_set_u16(b, ret, 6, kind);
	return ret;
}

void rpc_write_bootstrap(struct capnp_builder *b, uint32_t question_id)
{
	struct capnp_ref s = begin(b, RPC_KIND_BOOTSTRAP, BOOTSTRAP);
	capnp_set_u32(b, s, 0, question_id);
}

void rpc_write_call(struct capnp_builder *b, const struct rpc_call *call)
{
	struct capnp_ref s = begin(b, RPC_KIND_CALL, CALL);
	capnp_set_u32(b, s, 0, call->question_id);
	capnp_set_u16(b, s, 4, call->method_id);
	capnp_set_u64(b, s, 8, call->interface_id);

	struct capnp_ref target = capnp_put_struct(b, s, 0, TARGET);
	capnp_set_u16(b, target, 4, call->target);
	if (call->target == RPC_TARGET_PROMISED_ANSWER) {
		struct capnp_ref promised = capnp_put_struct(b, target, 0, PROMISED_ANSWER);
		capnp_set_u32(b, promised, 0, call->target_id);
		(void)capnp_put_list(b, promised, 0, transform_op);
	} else {
		capnp_set_u32(b, target, 0, call->target_id);
	}
	write_content(b, capnp_put_struct(b, s, 1, PAYLOAD), &call->body);
}

void rpc_write_results(struct capnp_builder *b, uint32_t answer_id, const struct rpc_body *body)
{
	struct capnp_ref ret = begin_return(b, answer_id, RPC_RETURN_RESULTS);
	write_content(b, capnp_put_struct(b, ret, 0, PAYLOAD), body);
}

void rpc_write_capability(struct capnp_builder *b, uint32_t answer_id, uint32_t export_id)
{
	struct capnp_ref ret = begin_return(b, answer_id, RPC_RETURN_RESULTS);
	struct capnp_ref payload = capnp_put_struct(b, ret, 0, PAYLOAD);
	struct capnp_ref one = cap_descriptor;
	one.count = 1;
	struct capnp_ref caps = capnp_put_list(b, payload, 1, one);
	struct capnp_ref cap = capnp_ref_at(caps, 0);

	capnp_put_cap(b, payload, 0, 0);
	capnp_set_u16(b, cap, 0, RPC_CAP_SENDER_HOSTED);
	capnp_set_u32(b, cap, 4, export_id);
}

void rpc_write_exception(struct capnp_builder *b, uint32_t answer_id, struct span reason)
{
	struct capnp_ref ret = begin_return(b, answer_id, RPC_RETURN_EXCEPTION);
	struct capnp_ref e = capnp_put_struct(b, ret, 0, EXCEPTION);
	capnp_put_text(b, e, 0, reason);
}

void rpc_write_finish(struct capnp_builder *b, uint32_t question_id, bool release_result_caps)
{
	struct capnp_ref s = begin(b, RPC_KIND_FINISH, FINISH);
	capnp_set_u32(b, s, 0, question_id);
	capnp_set_bit(b, s, 32, !release_result_caps);
}

void rpc_write_release(struct capnp_builder *b, uint32_t export_id, uint32_t reference_count)
{
	struct capnp_ref s = begin(b, RPC_KIND_RELEASE, RELEASE);
	capnp_set_u32(b, s, 0, export_id);
	capnp_set_u32(b, s, 4, reference_count);
}

void rpc_write_abort(struct capnp_builder *b, struct span reason)
{
	struct capnp_ref e = begin(b, RPC_KIND_ABORT, EXCEPTION);
	capnp_put_text(b, e, 0, reason);
}

void rpc_write_unimplemented(struct capnp_builder *b, const struct capnp_struct *root)
{
	struct capnp_ref top = capnp_build_root(b, MESSAGE);
	capnp_set_u16(b, top, 0, RPC_KIND_UNIMPLEMENTED);
	capnp_put_copy(b, top, 0, root);
}
