/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Framed bodies. Payload bytes move by reference in both directions; heads of frames are cut from a
 * shared buffer. At most what one call was asked for waits here.
 */
#include "daemon/flow/framed.h"

#include <errno.h>
#include <string.h>

#include "util/macro.h"
#include "util/varint.h"

enum {
	FRAMES_A_CALL = 64, /* heads looked at before we yield */
	WRITE_LEAST = 2048, /* payload that is framed without credit: a refusal makes s tell */
	TEXT_READ = 4 * 1024,
};

static struct framed *framed_of(struct stream *s)
{
	return CONTAINER_OF(s, struct framed, base);
}

/* ---- reading ------------------------------------------------------------------------------- */

static int fail(struct framed *f, int error)
{
	f->error = error;
	bufq_clear(&f->in);
	return error;
}

/* The collected payload is whole. */
static int end_text(struct framed *f)
{
	struct span payload = span_of(f->text, f->text_len);
	f->state = FRAMED_STATE_HEAD;
	if (f->type == BODY_FRAME_ABORT) {
		f->is_aborted = true;
		return body_abort_decode(payload, &f->base.error_code) < 0 ? fail(f, -EBADMSG)
									   : fail(f, -ECONNRESET);
	}
	unsigned int max = f->limits.trailer_fields;
	f->has_trailers = true;
	f->fields = arena_alloc(f->arena, MAX(max, 1U) * sizeof(*f->fields));
	if (!f->fields)
		return fail(f, -ENOMEM);
	if (body_trailers_decode(payload, f->fields, max, &f->field_count) < 0)
		return fail(f, -EBADMSG);
	return 0;
}

static int begin_text(struct framed *f)
{
	size_t max = f->type == BODY_FRAME_ABORT ? sizeof(uint64_t) : f->limits.trailer_max;
	if (f->left > max || (f->type == BODY_FRAME_TRAILERS && f->has_trailers))
		return fail(f, -EBADMSG);
	f->text_len = 0;
	f->text = arena_alloc(f->arena, MAX((size_t)f->left, (size_t)1));
	if (!f->text)
		return fail(f, -ENOMEM);
	f->state = FRAMED_STATE_TEXT;
	return f->left ? 0 : end_text(f);
}

/* Reads more of s into in. 1, -EAGAIN and the like, or 0 at its end. */
static ssize_t read_more(struct framed *f, size_t max)
{
	ssize_t n = stream_read(f->s, &f->in, max);
	if (n < 0 && n != -EAGAIN && n != -ENOBUFS) {
		f->base.error_code = f->s->error_code;
		return fail(f, (int)n);
	}
	return n;
}

/* The head of a frame. 1 when the body has ended, 0 with a frame, or an error. */
static ssize_t step_head(struct framed *f, size_t max)
{
	uint8_t bytes[BODY_FRAME_HEAD_MAX];
	size_t n = bufq_copy_out(&f->in, bytes, MIN(f->in.len, sizeof(bytes)));
	int used = body_frame_head_decode(span_of(bytes, n), &f->type, &f->left);
	if (used < 0) {
		ssize_t got = read_more(f, MAX(max, (size_t)BODY_FRAME_HEAD_MAX));
		if (got == 0)
			return f->in.len ? fail(f, -EBADMSG) : 1;
		return got < 0 ? got : 0;
	}
	bufq_consume(&f->in, (size_t)used);
	switch (f->type) {
	case BODY_FRAME_DATA:
		if (f->has_trailers)
			return fail(f, -EBADMSG);
		f->state = FRAMED_STATE_DATA;
		return 0;
	case BODY_FRAME_TRAILERS:
	case BODY_FRAME_ABORT:
		return begin_text(f);
	default:
		f->state = FRAMED_STATE_SKIP;
		return 0;
	}
}

/* Payload that is collected or passed over. 0, or an error. */
static ssize_t step_other(struct framed *f)
{
	if (bufq_is_empty(&f->in) && f->left) {
		ssize_t got = read_more(f, TEXT_READ);
		if (got <= 0)
			return got == 0 ? fail(f, -EBADMSG) : got;
	}
	size_t n = MIN((uint64_t)f->in.len, f->left);
	if (f->state == FRAMED_STATE_TEXT) {
		(void)bufq_copy_out(&f->in, f->text + f->text_len, n);
		f->text_len += n;
	}
	bufq_consume(&f->in, n);
	f->left -= n;
	if (f->left)
		return 0;
	if (f->state == FRAMED_STATE_TEXT)
		return end_text(f);
	f->state = FRAMED_STATE_HEAD;
	return 0;
}

/* Payload for the reader: bytes moved, 0 at the frame's end, or an error. */
static ssize_t step_data(struct framed *f, struct bufq *to, size_t max)
{
	ssize_t n = 0;
	max = MIN((uint64_t)max, f->left);
	if (f->left && !bufq_is_empty(&f->in)) {
		n = (ssize_t)bufq_move(to, &f->in, max);
		if (n == 0) {
			stream_tell(f->s, true, false);
			return -ENOBUFS;
		}
	} else if (f->left) {
		n = stream_read(f->s, to, max);
		if (n == 0)
			return fail(f, -EBADMSG);
		if (n < 0 && n != -EAGAIN && n != -ENOBUFS) {
			f->base.error_code = f->s->error_code;
			return fail(f, (int)n);
		}
		if (n < 0)
			return n;
	}
	f->left -= (uint64_t)n;
	if (!f->left)
		f->state = FRAMED_STATE_HEAD;
	return n;
}

static ssize_t op_read(struct stream *s, struct bufq *to, size_t max)
{
	struct framed *f = framed_of(s);
	size_t total = 0;
	if (!max)
		return -EAGAIN;
	for (unsigned int i = 0; i < FRAMES_A_CALL && total < max && !f->error; i++) {
		ssize_t n;
		if (f->state == FRAMED_STATE_DATA) {
			n = step_data(f, to, max - total);
			total += n > 0 ? (size_t)n : 0;
		} else if (f->state == FRAMED_STATE_HEAD) {
			n = step_head(f, max - total);
			if (n == 1)
				return (ssize_t)total;
		} else {
			n = step_other(f);
		}
		if (n < 0)
			return total ? (ssize_t)total : n;
	}
	if (total)
		return (ssize_t)total;
	if (f->error)
		return f->error;
	stream_tell(f->s, true, false); /* nothing but empty frames so far: yield */
	return -EAGAIN;
}

static int op_read_error(struct stream *s)
{
	struct framed *f = framed_of(s);
	int error = stream_read_error(f->s);
	if (error < 0)
		s->error_code = f->s->error_code;
	return MIN(error, 0); /* a FIN may have trailers or ABORT before it */
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Appends the head of a frame and len bytes of from: both or neither. */
static int put_frame(struct framed *f, enum body_frame_type type, struct bufq *from, size_t len)
{
	if (!f->heads || f->heads->cap - f->heads_used < BODY_FRAME_HEAD_MAX) {
		slab_buf_unref(f->heads);
		f->heads_used = 0;
		f->heads = slab_buf_get(f->out.slab, BODY_FRAME_HEAD_MAX);
		if (!f->heads)
			return -ENOBUFS;
	}
	struct bufq part;
	bufq_init(&part, f->out.slab);
	if (len && bufq_move(&part, from, len) != len) {
		(void)bufq_move(&part, from, from->len);
		*from = part;
		return -ENOBUFS;
	}
	uint8_t *at = f->heads->data + f->heads_used;
	struct packer p = packer_over(at, BODY_FRAME_HEAD_MAX);
	body_frame_head_encode(&p, type, len);
	if (bufq_append_ref(&f->out, f->heads, at, p.len) < 0) {
		(void)bufq_move(&part, from, from->len);
		*from = part;
		return -ENOBUFS;
	}
	f->heads_used += p.len;
	(void)bufq_move(&f->out, &part, part.len);
	return 0;
}

static int put_text(struct framed *f, enum body_frame_type type, struct span payload)
{
	struct bufq q;
	bufq_init(&q, f->out.slab);
	int r = payload.len ? bufq_append_copy(&q, payload) : 0;
	if (r == 0)
		r = put_frame(f, type, &q, q.len);
	bufq_clear(&q);
	return r;
}

static int put_trailers(struct framed *f)
{
	if (!f->tx_field_count)
		return 0;
	size_t len = body_trailers_len(f->tx_fields, f->tx_field_count);
	uint8_t *bytes = arena_alloc(f->arena, len);
	if (!bytes)
		return -ENOMEM;
	struct packer p = packer_over(bytes, len);
	body_trailers_encode(&p, f->tx_fields, f->tx_field_count);
	return put_text(f, BODY_FRAME_TRAILERS, packer_span(&p));
}

int framed_flush(struct framed *f)
{
	if (f->wants_fin && !f->has_ended) {
		f->has_ended = true;
		if (put_trailers(f) < 0) {
			/* Without them the body would be another one. */
			bufq_clear(&f->out);
			stream_reset(f->s, STREAM_CODE_NONE);
			return -ENOBUFS;
		}
	}
	while (!bufq_is_empty(&f->out)) {
		ssize_t n = stream_write(f->s, &f->out, f->out.len);
		if (n < 0) {
			f->base.error_code = f->s->error_code;
			return (int)n;
		}
	}
	if (f->wants_fin)
		stream_finish(f->s);
	return 0;
}

static ssize_t op_write(struct stream *s, struct bufq *from, size_t max)
{
	struct framed *f = framed_of(s);
	if (f->wants_fin)
		return -EPROTO;
	int r = framed_flush(f);
	if (r < 0)
		return r;
	size_t credit = stream_credit(f->s);
	credit -= MIN(credit, (size_t)BODY_FRAME_HEAD_MAX);
	size_t n = MIN(max, from->len);
	n = MIN(n, MAX(credit, (size_t)WRITE_LEAST));
	if (!n)
		return -EAGAIN;
	r = put_frame(f, BODY_FRAME_DATA, from, n);
	if (r < 0)
		return r;
	r = framed_flush(f);
	return r < 0 && r != -EAGAIN ? r : (ssize_t)n;
}

static size_t op_credit(const struct stream *s)
{
	const struct framed *f = (const struct framed *)s; /* base comes first */
	if (f->wants_fin || !bufq_is_empty(&f->out))
		return 0;
	size_t credit = stream_credit(f->s);
	return credit - MIN(credit, (size_t)BODY_FRAME_HEAD_MAX);
}

static int op_write_error(const struct stream *s)
{
	return stream_write_error(((const struct framed *)s)->s);
}

static void op_finish(struct stream *s)
{
	struct framed *f = framed_of(s);
	f->wants_fin = true;
	(void)framed_flush(f);
}

int framed_abort(struct framed *f, uint64_t reason)
{
	uint8_t bytes[8];
	struct packer p = packer_over(bytes, sizeof(bytes));
	packer_varint(&p, MIN(reason, VARINT_MAX));
	f->tx_field_count = 0;
	if (f->has_ended || put_text(f, BODY_FRAME_ABORT, packer_span(&p)) < 0) {
		bufq_clear(&f->out);
		stream_reset(f->s, STREAM_CODE_NONE);
		return -ENOBUFS;
	}
	f->wants_fin = true;
	return framed_flush(f);
}

static void op_reset(struct stream *s, uint64_t code)
{
	struct framed *f = framed_of(s);
	bufq_clear(&f->out);
	f->wants_fin = f->has_ended = true;
	stream_reset(f->s, code);
}

static void op_stop(struct stream *s, uint64_t code)
{
	struct framed *f = framed_of(s);
	bufq_clear(&f->in);
	f->error = -ECANCELED;
	stream_stop(f->s, code);
}

/* It lies in its owner, who closes the stream beneath. */
static void op_close(struct stream *s)
{
	framed_done(framed_of(s));
}

static const struct stream_ops ops = {
	.read = op_read,
	.read_error = op_read_error,
	.write = op_write,
	.credit = op_credit,
	.write_error = op_write_error,
	.finish = op_finish,
	.reset = op_reset,
	.stop = op_stop,
	.close = op_close,
};

/* ---- life ---------------------------------------------------------------------------------- */

void framed_init(struct framed *f, struct stream *s, struct arena *arena,
		 const struct framed_limits *limits)
{
	*f = (struct framed){
		.base = { .ops = &ops, .loop = s->loop, .slab = s->slab },
		.s = s,
		.arena = arena,
		.limits = *limits,
		.state = FRAMED_STATE_HEAD,
	};
	bufq_init(&f->in, s->slab);
	bufq_init(&f->out, s->slab);
}

void framed_take(struct framed *f, struct bufq *rest)
{
	(void)bufq_move(&f->in, rest, rest->len);
}

void framed_done(struct framed *f)
{
	if (!f->s)
		return;
	bufq_clear(&f->in);
	bufq_clear(&f->out);
	slab_buf_unref(f->heads);
	f->heads = NULL;
}

void framed_set_trailers(struct framed *f, const struct http_field *fields, unsigned int count)
{
	f->tx_fields = fields;
	f->tx_field_count = count;
}
