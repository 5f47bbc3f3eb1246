/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An RPC session on a stream of a link. RPC is rare (a few messages in the life of a connection),
 * so the room for building and for assembling frames is taken for the moment only and an idle
 * channel holds no buffer.
 */
#include "daemon/link/rpc_channel.h"

#include <stdlib.h>

#include "daemon/flow/frame.h"
#include "util/cleanup.h"

enum { READ_CHUNK = 64 * 1024 };

static void channel_release(struct loop_garbage *garbage)
{
	struct rpc_channel *ch = CONTAINER_OF(garbage, struct rpc_channel, garbage);
	bufq_clear(&ch->in);
	bufq_clear(&ch->out);
	free(ch);
}

/* Closes the stream and frees the channel once nothing is left to be sent (or nobody takes it). */
static void channel_dispose(struct rpc_channel *ch)
{
	timer_stop(&ch->deadline);
	stream_close(TAKE_PTR(ch->stream));
	loop_defer_free(ch->loop, &ch->garbage);
}

/* Writes as much as there is credit for. False when the stream is of no more use. */
static bool channel_flush(struct rpc_channel *ch)
{
	while (!bufq_is_empty(&ch->out)) {
		ssize_t n = stream_write(ch->stream, &ch->out, ch->out.len);
		if (n == -EAGAIN)
			return true;
		if (n < 0) {
			bufq_clear(&ch->out);
			return false;
		}
	}
	if (ch->is_over)
		stream_finish(ch->stream);
	return true;
}

static int emit(struct rpc_channel *ch, struct span frame, size_t max)
{
	return ch->out.len + frame.len > max ? -ENOBUFS : bufq_append_copy(&ch->out, frame);
}

static int on_client_emit(void *ctx, struct span frame)
{
	return emit(ctx, frame, RPC_CHANNEL_OUT_MAX);
}

static int on_server_emit(void *ctx, struct span frame)
{
	return emit(ctx, frame, RPC_CHANNEL_ANSWERS_MAX);
}

static void on_session_return(void *ctx, uint64_t tag, const struct rpc_reply *reply)
{
	struct rpc_channel *ch = ctx;
	if (ch->ops && ch->ops->on_return)
		ch->ops->on_return(ch->user, tag, reply);
}

static int on_session_call(void *ctx, uint32_t answer_id, const struct rpc_message *call)
{
	struct rpc_channel *ch = ctx;
	return ch->ops ? ch->ops->on_call(ch->user, answer_id, call) : -EOPNOTSUPP;
}

static const struct rpc_session_ops client_ops = {
	.emit = on_client_emit,
	.on_return = on_session_return,
};

static const struct rpc_session_ops server_ops = {
	.emit = on_server_emit,
	.on_return = on_session_return,
	.on_call = on_session_call,
};

/* Lends the session room for building frames of at most len bytes. */
static int scratch_take(struct rpc_channel *ch, size_t len)
{
	if (ch->scratch_users == 0) {
		ch->scratch = malloc(len);
		if (!ch->scratch)
			return -ENOMEM;
		rpc_session_set_buf(&ch->session, ch->scratch, len);
	}
	ch->scratch_users++; /* nested: the outer call's room serves */
	return 0;
}

static void scratch_drop(struct rpc_channel *ch)
{
	if (--ch->scratch_users > 0)
		return;
	rpc_session_set_buf(&ch->session, NULL, 0);
	free(TAKE_PTR(ch->scratch));
}

/* The session is over by itself: finish our side, then tell the user, who may close. */
static void channel_end(struct rpc_channel *ch, enum rpc_channel_end end)
{
	if (ch->is_over)
		return;
	ch->is_over = true;
	timer_stop(&ch->deadline);
	rpc_session_lost(&ch->session);
	if (!ch->stream)
		return; /* closed by whom a call's end was told */
	(void)channel_flush(ch);
	if (end != RPC_CHANNEL_END_FIN)
		stream_stop(ch->stream, STREAM_CODE_NONE);
	if (ch->ops)
		ch->ops->on_end(ch->user, end);
}

/* The time for the next message begins when the last is whole, or when it has begun itself. */
static void channel_time(struct rpc_channel *ch, bool has_progress)
{
	if (ch->timeout == 0 || ch->is_over)
		return;
	if (!ch->times_idle && bufq_is_empty(&ch->in))
		timer_stop(&ch->deadline);
	else if (has_progress || !timer_is_armed(&ch->deadline))
		timer_start(ch->loop, &ch->deadline, nsec_add(loop_now(ch->loop), ch->timeout));
}

static void on_deadline(struct timer *timer)
{
	struct rpc_channel *ch = CONTAINER_OF(timer, struct rpc_channel, deadline);
	bufq_clear(&ch->out);
	if (!ch->ops) { /* closed by its user, and the peer doesn't take the farewell */
		channel_dispose(ch);
		return;
	}
	stream_reset(ch->stream, STREAM_CODE_NONE);
	channel_end(ch, RPC_CHANNEL_END_STALLED);
}

/* Feeds the first len bytes of the input as one frame. */
static int input_frame(struct rpc_channel *ch, size_t len)
{
	struct span frame = {};
	_cleanup_(freep) uint8_t *copy = NULL;
	int r = frame_view(&ch->in, len, &frame, &copy);
	if (r == 0)
		r = scratch_take(ch, CAPNP_RPC_MAX);
	if (r < 0)
		return r;
	r = rpc_session_input(&ch->session, frame);
	scratch_drop(ch);
	bufq_consume(&ch->in, len);
	ch->frames++;
	return r;
}

/* The signature at the beginning: 0 when complete, -EAGAIN, -EBADMSG. */
static int input_signature(struct rpc_channel *ch)
{
	int r = frame_preamble(&ch->in, &ch->preamble);
	if (r < 0)
		return r;
	ch->has_preamble = false;
	return ch->preamble.kind == PREAMBLE_KIND_RPC ? 0 : -EBADMSG;
}

static int input_all(struct rpc_channel *ch)
{
	int sig = ch->has_preamble ? input_signature(ch) : 0;
	if (sig < 0)
		return sig == -EAGAIN ? 0 : sig;
	size_t len = 0;
	int r = 0;
	while (!ch->is_over && (r = frame_next(&ch->in, ch->frame_max, &len)) == 0) {
		r = input_frame(ch, len);
		if (r < 0)
			return r;
	}
	return r == -EAGAIN ? 0 : r;
}

static enum rpc_channel_end end_of(ssize_t error)
{
	if (error == 0 || error == -ECANCELED)
		return RPC_CHANNEL_END_FIN;
	return error == -ECONNRESET ? RPC_CHANNEL_END_LOST : RPC_CHANNEL_END_BROKEN;
}

static void on_readable(struct stream *s, void *user)
{
	struct rpc_channel *ch = user;
	unsigned int frames = ch->frames;
	if (ch->is_over)
		return;
	for (;;) {
		int r = input_all(ch);
		if (ch->is_over)
			return;
		if (r < 0) {
			channel_end(ch, end_of(r));
			return;
		}
		ssize_t n = stream_read(s, &ch->in, READ_CHUNK);
		if (n == -EAGAIN || n == -ENOBUFS)
			break;
		if (n <= 0) {
			channel_end(ch, end_of(n));
			return;
		}
	}
	channel_time(ch, ch->frames != frames);
	if (!channel_flush(ch))
		channel_end(ch, RPC_CHANNEL_END_LOST);
}

static void on_writable(struct stream *s, void *user)
{
	(void)s;
	struct rpc_channel *ch = user;
	/* Either or: a user who closes when it is told of the end has let go of the channel then.
	 */
	if (!channel_flush(ch) && !ch->is_over)
		channel_end(ch, RPC_CHANNEL_END_LOST);
	else if (!ch->ops && bufq_is_empty(&ch->out))
		channel_dispose(ch); /* closed by its user, the farewell has gone */
}

static const struct stream_user stream_ops = {
	.on_readable = on_readable,
	.on_writable = on_writable,
};

int rpc_channel_new(struct loop *loop, struct stream *stream, const struct rpc_channel_ops *ops,
		    void *user, struct rpc_channel **ret)
{
	struct rpc_channel *ch = calloc(1, sizeof(*ch));
	if (!ch) {
		stream_close(stream);
		return -ENOMEM;
	}
	ch->ops = ops;
	ch->user = user;
	ch->loop = loop;
	ch->stream = stream;
	ch->frame_max = CAPNP_RPC_MAX;
	ch->deadline.on_expire = on_deadline;
	ch->garbage.release = channel_release;
	bufq_init(&ch->in, stream->slab);
	bufq_init(&ch->out, stream->slab);
	rpc_session_init(&ch->session, ops->on_call ? &server_ops : &client_ops, ch, NULL, 0);
	stream_set_user(stream, &stream_ops, ch);
	*ret = ch;
	return 0;
}

void rpc_channel_give(struct rpc_channel *ch, struct bufq *from)
{
	(void)bufq_move(&ch->in, from, from->len);
}

void rpc_channel_set_frame_max(struct rpc_channel *ch, size_t frame_max)
{
	ch->frame_max = frame_max;
}

void rpc_channel_set_timeout(struct rpc_channel *ch, nsec_t timeout, bool also_idle)
{
	ch->timeout = timeout;
	ch->times_idle = also_idle;
	channel_time(ch, true);
}

void rpc_channel_expect_signature(struct rpc_channel *ch)
{
	ch->has_preamble = true;
}

int rpc_channel_prefix(struct rpc_channel *ch, struct span bytes)
{
	return bufq_append_copy(&ch->out, bytes);
}

int rpc_channel_bootstrap(struct rpc_channel *ch)
{
	if (ch->is_over)
		return -EPROTO;
	int r = scratch_take(ch, CAPNP_RPC_MAX);
	if (r < 0)
		return r;
	r = rpc_session_bootstrap(&ch->session);
	scratch_drop(ch);
	(void)channel_flush(ch);
	return r;
}

int rpc_channel_call(struct rpc_channel *ch, const struct rpc_channel_call *call)
{
	if (ch->is_over)
		return -EPROTO;
	if (ch->scratch && call->params_max > CAPNP_RPC_MAX / 2)
		return -ENOBUFS;
	int r = scratch_take(ch, call->params_max + CAPNP_RPC_MAX);
	if (r < 0)
		return r;
	r = rpc_session_call(&ch->session, call->interface_id, call->method_id, &call->params,
			     call->tag);
	scratch_drop(ch);
	(void)channel_flush(ch);
	return r;
}

void rpc_channel_cancel(struct rpc_channel *ch, uint64_t tag)
{
	if (ch->is_over || scratch_take(ch, CAPNP_RPC_MAX) < 0)
		return;
	(void)rpc_session_cancel(&ch->session, tag);
	scratch_drop(ch);
	(void)channel_flush(ch);
}

void rpc_channel_close(struct rpc_channel *ch, bool polite)
{
	if (!ch)
		return;
	ch->ops = NULL;
	if (!ch->is_over) {
		if (polite && scratch_take(ch, CAPNP_RPC_MAX) == 0) {
			rpc_session_close(&ch->session);
			scratch_drop(ch);
		} else {
			rpc_session_lost(&ch->session);
		}
		ch->is_over = true;
	}
	if (!channel_flush(ch) || bufq_is_empty(&ch->out))
		channel_dispose(ch);
	else
		timer_start(ch->loop, &ch->deadline,
			    loop_now(ch->loop) + RPC_CHANNEL_FAREWELL_SEC * NSEC_PER_SEC);
}
