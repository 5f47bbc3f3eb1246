/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls. A user's message is collected until it is whole, translated (h2call_head.c), and sent as a
 * head; what follows passes by reference. Bodies of HTTP are frames for the user (flow/framed over
 * a pipe of two queues), so trailers and truthful endings cross in the same form as on QUIC.
 */
#include "daemon/link/h2call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/flow/frame.h"
#include "daemon/link/close.h"
#include "daemon/link/h2call_priv.h"
#include "daemon/wire/capnp.h"
#include "daemon/wire/connect.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	HEAD_MAX = CAPNP_CONNECT_MAX + 16, /* a message and its preamble */
	CONFIG_ANSWER_MAX = 16 * 1024,
	PIECE = 64 * 1024, /* moved between the queues at once */
	LEAST = 4 * 1024,  /* taken of a framed body without credit: a refusal makes h2 tell */
	TRAILER_MAX = 16 * 1024,
	TRAILER_FIELDS = 100,
	ARENA_MAX = 64 * 1024,
};
#define RETRY_READ  (10 * NSEC_PER_MSEC)
#define RESET_AFTER (10 * NSEC_PER_MSEC)

static struct h2call *call_of(struct stream *s)
{
	return CONTAINER_OF(s, struct h2call, base);
}

static bool is_edge(const struct h2call *c)
{
	return c->link && c->link->base.role == LINK_ROLE_SERVER;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void release(struct loop_garbage *garbage)
{
	struct h2call *c = CONTAINER_OF(garbage, struct h2call, garbage);
	arena_done(&c->arena);
	free(c);
}

void h2call_dispose(struct h2call *c)
{
	timer_stop(&c->retry);
	stream_forget_user(&c->base);
	stream_close(TAKE_PTR(c->h2));
	framed_done(&c->framed);
	bufq_clear(&c->ready);
	bufq_clear(&c->head);
	bufq_clear(&c->out);
	bufq_clear(&c->frames);
	list_remove(&c->node);
	loop_defer_free(c->base.loop, &c->garbage);
}

/* The peer's reset, in the codes of this program. */
static void take_code(struct h2call *c)
{
	c->base.error_code = c->h2 ? link_code_of_h2(c->h2->error_code) : LINK_CODE_NONE;
}

/* Ends it for both sides, and the user learns. */
void h2call_break(struct h2call *c)
{
	c->is_lost = true;
	if (c->h2)
		stream_reset(c->h2, H2_CODE_INTERNAL_ERROR);
	bufq_clear(&c->ready);
	bufq_clear(&c->out);
	bufq_clear(&c->frames);
	if (c->is_closed)
		h2call_dispose(c);
	else
		stream_tell(&c->base, true, true);
}

static void lose(struct h2call *c)
{
	c->link = NULL;
	list_remove(&c->node);
	c->is_lost |= !c->h2; /* else that knows what had come to its end before */
	if (c->is_closed)
		h2call_dispose(c);
	else
		stream_tell(&c->base, true, true);
}

void h2call_lose_all(struct h2link *link)
{
	LIST_FOREACH(node, &link->calls)
	lose(LIST_ENTRY(node, struct h2call, node));
}

/* ---- writing ------------------------------------------------------------------------------- */

/* What h2 has not taken. True when nothing is left. */
static bool flush_out(struct h2call *c)
{
	while (c->h2 && !bufq_is_empty(&c->out)) {
		ssize_t n = stream_write(c->h2, &c->out, c->out.len);
		if (n == -EAGAIN)
			return false;
		if (n < 0)
			bufq_clear(&c->out); /* the peer wants no more: the next write says so */
	}
	return true;
}

static void finish_h2(struct h2call *c)
{
	if (c->has_finished || !c->h2)
		return;
	c->has_finished = true;
	const struct http_trailers t = { c->framed.fields, c->framed.field_count };
	if (c->is_framed && t.count && h2_set_trailers(c->h2, &t) < 0)
		h2_finish_broken(c->h2, H2_CODE_INTERNAL_ERROR);
	else
		stream_finish(c->h2);
}

/* The user's frames have come to a bad end, which it may have meant. */
static void end_badly(struct h2call *c)
{
	uint32_t code = h2_code_of_link(c->framed.base.error_code);
	c->has_finished = true;
	if (c->framed.is_aborted && c->h2)
		h2_finish_broken(c->h2, code ? code : H2_CODE_INTERNAL_ERROR);
	else
		h2call_break(c);
}

/* Moves what the user has written. False when something waits for credit, or all is over. */
static bool flush(struct h2call *c)
{
	while (flush_out(c) && c->is_framed && !c->has_finished && !c->is_lost) {
		ssize_t n = stream_read(&c->framed.base, &c->out, PIECE);
		if (n == -EAGAIN || n == -ENOBUFS)
			break;
		if (n == 0) {
			finish_h2(c);
			return true;
		}
		if (n < 0) {
			end_badly(c);
			return false;
		}
	}
	if (!bufq_is_empty(&c->out))
		return false;
	if (c->wants_fin && !c->is_framed)
		finish_h2(c);
	return true;
}

static int respond(struct h2call *c, struct span frame)
{
	struct h2call_room room;
	struct h2_head head = {};
	bool is_end = false;
	room.at = h2link_scratch(c->link, &room.cap);
	if (!room.at)
		return -ENOMEM;
	int r = h2call_head_response_out(c, frame, room, &head, &is_end);
	if (r == 0)
		r = h2_respond(c->h2, &head, is_end);
	if (r == -E2BIG || r == -ENOBUFS) {
		h2call_head_too_large(c, room, &head);
		is_end = true;
		r = h2_respond(c->h2, &head, is_end);
	}
	c->has_finished = r == 0 && is_end;
	return r;
}

static int request(struct h2call *c, struct span frame)
{
	struct h2call_room room;
	struct h2_head head = {};
	struct stream *h2 = NULL;
	room.at = h2link_scratch(c->link, &room.cap);
	if (!room.at)
		return -ENOMEM;
	int r = h2call_head_request_out(c, frame, room, &head);
	if (r == 0)
		r = h2_open(c->link->h2, &head, c->is_bodiless, &h2);
	if (r < 0)
		return r;
	h2call_attach(c, h2);
	c->has_finished = c->is_bodiless;
	if (c->is_framed)
		h2call_begin_frames(c);
	return 0;
}

/* The user's message: -EAGAIN until it is whole, then it is sent. */
static int translate(struct h2call *c)
{
	size_t len = 0;
	struct span frame = {};
	_cleanup_(freep) uint8_t *copy = NULL;
	if (c->preamble.kind == PREAMBLE_KIND_NONE) {
		int r = frame_preamble(&c->head, &c->preamble);
		if (r < 0)
			return r;
	}
	if (c->preamble.kind != PREAMBLE_KIND_DATA)
		return -EBADMSG;
	int r = frame_next(&c->head, CAPNP_CONNECT_MAX, &len);
	if (r == 0)
		r = frame_view(&c->head, len, &frame, &copy);
	if (r == 0)
		r = is_edge(c) ? request(c, frame) : respond(c, frame);
	if (r == 0)
		bufq_consume(&c->head, len);
	return r;
}

/* What came behind the message is body. */
static void begin_body(struct h2call *c)
{
	c->is_head_done = true;
	if (c->has_finished)
		bufq_clear(&c->head); /* of a request or answer that has none */
	else
		(void)bufq_move(c->is_framed ? &c->frames : &c->out, &c->head, c->head.len);
	(void)flush(c);
}

static ssize_t write_head(struct h2call *c, struct bufq *from, size_t max)
{
	size_t limit = c->class == H2_CLASS_CONFIG ? CONFIG_ANSWER_MAX : HEAD_MAX;
	size_t n = bufq_move(&c->head, from,
			     MIN(max, limit > c->head.len ? limit - c->head.len : (size_t)0));
	if (n == 0)
		return -ENOBUFS;
	if (c->class == H2_CLASS_CONFIG)
		return (ssize_t)n;
	int r = translate(c);
	if (r == 0)
		begin_body(c);
	else if (r != -EAGAIN)
		h2call_break(c);
	return (ssize_t)n;
}

static ssize_t write_frames(struct h2call *c, struct bufq *from, size_t max)
{
	if (!flush(c) || !bufq_is_empty(&c->frames))
		return c->is_lost ? -ECONNRESET : -EAGAIN;
	size_t room = MAX(stream_credit(c->h2), (size_t)LEAST);
	size_t n = bufq_move(&c->frames, from, MIN(max, room));
	if (n == 0)
		return -ENOBUFS;
	(void)flush(c);
	return (ssize_t)n;
}

static ssize_t op_write(struct stream *s, struct bufq *from, size_t max)
{
	struct h2call *c = call_of(s);
	if (c->is_lost || (!c->link && !c->is_head_done))
		return -ECONNRESET;
	if (c->wants_fin || c->is_reset)
		return -EPROTO;
	max = MIN(max, from->len);
	if (max == 0)
		return -EAGAIN;
	int r = c->h2 ? stream_write_error(c->h2) : 0;
	if (r < 0) {
		take_code(c);
		return r;
	}
	if (!c->is_head_done)
		return write_head(c, from, max);
	if (c->is_bodiless) {
		bufq_consume(from, max);
		return (ssize_t)max;
	}
	if (c->is_framed)
		return write_frames(c, from, max);
	if (!flush(c))
		return -EAGAIN;
	ssize_t n = stream_write(c->h2, from, max);
	if (n < 0 && n != -EAGAIN)
		take_code(c);
	return n;
}

static size_t op_credit(const struct stream *s)
{
	const struct h2call *c = (const struct h2call *)s; /* base comes first */
	if (c->is_lost || c->wants_fin || c->is_reset || !bufq_is_empty(&c->out))
		return 0;
	return c->is_head_done && c->h2 ? stream_credit(c->h2) : (size_t)LEAST;
}

static int op_write_error(const struct stream *s)
{
	const struct h2call *c = (const struct h2call *)s; /* base comes first */
	return c->is_lost ? -ECONNRESET : c->h2 ? stream_write_error(c->h2) : 0;
}

/* A configuration's answer is known whole. */
static void respond_config(struct h2call *c)
{
	char length[24];
	int n = snprintf(length, sizeof(length), "%zu", c->head.len);
	const struct http_field fields[] = {
		{ SPAN_LIT(H2_FIELD_META), h2_meta_text(H2_META_ORIGIN) },
		{ SPAN_LIT("content-type"), SPAN_LIT("application/json") },
		{ SPAN_LIT("content-length"), span_of(length, (size_t)n) },
	};
	const struct h2_head head = { .status = 200,
				      .fields = fields,
				      .field_count = ARRAY_SIZE(fields) };
	if (!c->h2 || h2_respond(c->h2, &head, false) < 0) {
		h2call_break(c);
		return;
	}
	begin_body(c);
}

static void op_finish(struct stream *s)
{
	struct h2call *c = call_of(s);
	if (c->wants_fin || c->is_reset || c->is_lost)
		return;
	c->wants_fin = true;
	if (c->class == H2_CLASS_CONFIG && !c->is_head_done)
		respond_config(c);
	else if (!c->is_head_done)
		h2call_break(c); /* a message that ends before it is whole */
	else
		(void)flush(c);
}

/* A refusal in place of a configuration's answer; other resets have no head. */
static void refuse_config(struct h2call *c)
{
	const struct http_field fields[] = {
		{ SPAN_LIT(H2_FIELD_META), h2_meta_text(H2_META_DAEMON) },
		{ SPAN_LIT("content-length"), SPAN_LIT("0") },
	};
	const struct h2_head head = { .status = 502,
				      .fields = fields,
				      .field_count = ARRAY_SIZE(fields) };
	c->has_finished = h2_respond(c->h2, &head, true) == 0;
}

static void op_reset(struct stream *s, uint64_t code)
{
	struct h2call *c = call_of(s);
	if (c->is_reset || c->is_lost || (c->wants_fin && c->has_finished))
		return;
	c->is_reset = true;
	bufq_clear(&c->out);
	bufq_clear(&c->frames);
	if (!c->h2)
		return;
	if (c->class == H2_CLASS_CONFIG && !c->is_head_done)
		refuse_config(c);
	if (!c->has_finished || c->is_bodiless)
		stream_reset(c->h2, h2_code_of_link(code));
}

static void op_stop(struct stream *s, uint64_t code)
{
	struct h2call *c = call_of(s);
	if (c->is_stopped)
		return;
	c->is_stopped = true;
	bufq_clear(&c->ready);
	if (c->h2)
		stream_stop(c->h2, h2_code_of_link(code));
}

static void op_close(struct stream *s)
{
	struct h2call *c = call_of(s);
	c->is_closed = true;
	stream_forget_user(s);
	if (!c->wants_fin)
		op_reset(s, STREAM_CODE_NONE);
	op_stop(s, STREAM_CODE_NONE);
	/* What was finished and waits for credit still goes. */
	if (c->wants_fin && !c->has_finished && !c->is_lost && !c->is_reset)
		return;
	h2call_dispose(c);
}

/* ---- reading ------------------------------------------------------------------------------- */

static void on_retry(struct timer *timer)
{
	stream_tell(&CONTAINER_OF(timer, struct h2call, retry)->base, true, false);
}

static ssize_t read_ready(struct h2call *c, struct bufq *to, size_t max)
{
	size_t n = bufq_move(to, &c->ready, max);
	if (n > 0 || max == 0)
		return n > 0 ? (ssize_t)n : -EAGAIN;
	if (!timer_is_armed(&c->retry))
		timer_start(c->base.loop, &c->retry, nsec_add(loop_now(c->base.loop), RETRY_READ));
	return -ENOBUFS;
}

/* The peer's body as frames into ready. As stream_read(). */
static ssize_t read_frames(struct h2call *c, size_t max)
{
	struct bufq in;
	bufq_init(&in, c->base.slab);
	ssize_t n = stream_read(c->h2, &in, max);
	if (n == 0) {
		const struct http_trailers *t = h2_trailers(c->h2);
		framed_set_trailers(&c->framed, t->fields, t->count);
		stream_finish(&c->framed.base);
		c->has_rx_end = true;
		if (framed_flush(&c->framed) < 0) /* an end without what belongs to it is none */
			h2call_break(c);
	}
	while (!bufq_is_empty(&in)) {
		ssize_t put = stream_write(&c->framed.base, &in, in.len);
		if (put < 0) {
			bufq_clear(&in);
			h2call_break(c);
			return -ECONNRESET;
		}
	}
	return n;
}

/* What isn't framed has no place for trailers. */
static ssize_t read_plain(struct h2call *c, struct bufq *to, size_t max)
{
	ssize_t n = stream_read(c->h2, to, max);
	if (n == 0) {
		c->has_rx_end = true;
		if (c->link && h2_trailers(c->h2)->count)
			c->link->dropped_trailers++;
	}
	return n;
}

/*
 * A reset would overtake on a bridge what came before it. Frames have a place for it behind the
 * rest; otherwise it waits a moment.
 */
static ssize_t tell_reset(struct h2call *c)
{
	struct loop *loop = c->base.loop;
	bool is_link_gone = !c->link || c->link->is_closing;
	take_code(c);
	if (!is_edge(c) || is_link_gone || !c->is_answered)
		return -ECONNRESET;
	if (c->is_framed) {
		uint64_t code = c->base.error_code;
		c->has_rx_end = true;
		if (framed_abort(&c->framed, code ? code : LINK_CODE_ORIGIN_RESET) < 0)
			h2call_break(c);
		return -EAGAIN;
	}
	if (!c->reset_due) {
		c->reset_due = nsec_add(loop_now(loop), RESET_AFTER);
		timer_start(loop, &c->retry, c->reset_due);
	}
	return loop_now(loop) < c->reset_due ? -EAGAIN : -ECONNRESET;
}

static ssize_t op_read(struct stream *s, struct bufq *to, size_t max)
{
	struct h2call *c = call_of(s);
	if (c->is_stopped)
		return -ECANCELED;
	if (!bufq_is_empty(&c->ready))
		return read_ready(c, to, max);
	if (c->is_lost)
		return -ECONNRESET;
	if (c->has_rx_end)
		return 0;
	if (!c->h2)
		return -EAGAIN;
	ssize_t n = c->is_framed ? read_frames(c, max) : read_plain(c, to, max);
	if (n == -ECONNRESET)
		n = tell_reset(c);
	if (c->is_framed && !bufq_is_empty(&c->ready))
		return read_ready(c, to, max);
	return n;
}

static int op_read_error(struct stream *s)
{
	struct h2call *c = call_of(s);
	int r = c->h2 ? stream_read_error(c->h2) : 0;
	if (r < 0)
		take_code(c);
	if (c->is_lost)
		return -ECONNRESET;
	return c->is_framed ? MIN(r, 0) : r;
}

static const struct stream_ops ops = {
	.read = op_read,
	.write = op_write,
	.credit = op_credit,
	.read_error = op_read_error,
	.write_error = op_write_error,
	.finish = op_finish,
	.reset = op_reset,
	.stop = op_stop,
	.close = op_close,
};

/* ---- beneath the frames -------------------------------------------------------------------- */

static struct h2call *of_pipe(struct stream *s)
{
	return CONTAINER_OF(s, struct h2call, pipe);
}

static ssize_t pipe_read(struct stream *s, struct bufq *to, size_t max)
{
	struct h2call *c = of_pipe(s);
	if (bufq_is_empty(&c->frames))
		return c->wants_fin ? 0 : -EAGAIN;
	size_t n = bufq_move(to, &c->frames, max);
	return n > 0 ? (ssize_t)n : -ENOBUFS;
}

static ssize_t pipe_write(struct stream *s, struct bufq *from, size_t max)
{
	size_t n = bufq_move(&of_pipe(s)->ready, from, max);
	return n > 0 ? (ssize_t)n : -ENOBUFS;
}

static size_t pipe_credit(const struct stream *s)
{
	(void)s;
	return PIECE;
}

static void pipe_nothing(struct stream *s)
{
	(void)s;
}

/* The frames have no room for how it ends. */
static void pipe_reset(struct stream *s, uint64_t code)
{
	(void)code;
	of_pipe(s)->is_lost = true;
}

static void pipe_stop(struct stream *s, uint64_t code)
{
	(void)s;
	(void)code;
}

static const struct stream_ops pipe_ops = {
	.read = pipe_read,
	.write = pipe_write,
	.credit = pipe_credit,
	.finish = pipe_nothing,
	.reset = pipe_reset,
	.stop = pipe_stop,
	.close = pipe_nothing,
};

void h2call_begin_frames(struct h2call *c)
{
	c->is_framed = true;
	c->pipe = (struct stream){ .ops = &pipe_ops, .loop = c->base.loop, .slab = c->base.slab };
	framed_init(&c->framed, &c->pipe, &c->arena,
		    &(struct framed_limits){ .trailer_max = TRAILER_MAX,
					     .trailer_fields = TRAILER_FIELDS });
}

/* ---- what h2 says -------------------------------------------------------------------------- */

static void on_readable(struct stream *s, void *user)
{
	(void)s;
	struct h2call *c = user;
	stream_tell(&c->base, true, false);
}

static void on_writable(struct stream *s, void *user)
{
	struct h2call *c = user;
	bool is_refused = stream_write_error(s) < 0;
	if (c->is_head_done && !c->is_lost && !is_refused)
		(void)flush(c);
	if (!c->is_closed)
		stream_tell(&c->base, false, true);
	else if (c->has_finished || is_refused || c->is_lost)
		h2call_dispose(c);
}

static const struct stream_user h2_user = {
	.on_readable = on_readable,
	.on_writable = on_writable,
};

void h2call_attach(struct h2call *c, struct stream *h2)
{
	c->h2 = h2;
	stream_set_user(h2, &h2_user, c);
}

/* ---- the object ---------------------------------------------------------------------------- */

struct h2call *h2call_make(struct h2link *link)
{
	struct h2call *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	struct worker *w = link->base.worker;
	c->base = (struct stream){ .ops = &ops, .loop = w->loop, .slab = w->slab };
	c->link = link;
	c->retry.on_expire = on_retry;
	c->garbage.release = release;
	arena_init(&c->arena, ARENA_MAX, w->slab);
	bufq_init(&c->ready, w->slab);
	bufq_init(&c->head, w->slab);
	bufq_init(&c->out, w->slab);
	bufq_init(&c->frames, w->slab);
	list_append(&link->calls, &c->node);
	return c;
}

struct stream *h2call_stream(struct h2call *c)
{
	return &c->base;
}

void h2call_end_control(struct h2link *link)
{
	LIST_FOREACH(node, &link->calls)
	{
		struct h2call *c = LIST_ENTRY(node, struct h2call, node);
		if (c->class != H2_CLASS_CONTROL || c->has_rx_end)
			continue;
		c->has_rx_end = true;
		stream_tell(&c->base, true, false);
	}
}
