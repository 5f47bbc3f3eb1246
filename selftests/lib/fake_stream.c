/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two streams that are each other's peer, in memory.
 */
#include "selftests/lib/fake_stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "util/macro.h"

struct fake {
	struct stream s;
	struct fake *peer; /* NULL once it was closed */
	struct bufq in;
	size_t window;
	size_t step;
	bool has_fin;    /* the peer finished */
	bool has_reset;  /* the peer reset */
	bool has_stop;   /* the peer wants no more */
	bool is_ended;   /* we finished or reset */
	bool is_stopped; /* we stopped */
	struct loop_garbage garbage;
};

static struct fake *fake_of(struct stream *s)
{
	return CONTAINER_OF(s, struct fake, s);
}

static ssize_t fake_read(struct stream *s, struct bufq *to, size_t max)
{
	struct fake *f = fake_of(s);
	if (f->is_stopped)
		return -ECANCELED;
	if (f->has_reset)
		return -ECONNRESET;
	if (f->step)
		max = MIN(max, f->step);
	size_t n = bufq_move(to, &f->in, max);
	if (n) {
		if (f->peer)
			stream_tell(&f->peer->s, false, true);
		if (f->in.len || f->has_fin)
			stream_tell(s, true, false);
		return (ssize_t)n;
	}
	return f->has_fin ? 0 : -EAGAIN;
}

static size_t fake_credit(const struct stream *s)
{
	const void *start = (const char *)s - offsetof(struct fake, s);
	const struct fake *f = start;
	if (!f->peer || f->peer->in.len >= f->window)
		return 0;
	return f->window - f->peer->in.len;
}

static ssize_t fake_write(struct stream *s, struct bufq *from, size_t max)
{
	struct fake *f = fake_of(s);
	if (f->is_ended)
		return -EPROTO;
	if (f->has_stop || !f->peer)
		return -EPIPE;
	size_t n = bufq_move(&f->peer->in, from, MIN(max, fake_credit(s)));
	if (!n)
		return -EAGAIN;
	stream_tell(&f->peer->s, true, false);
	return (ssize_t)n;
}

static int fake_write_error(const struct stream *s)
{
	const void *start = (const char *)s - offsetof(struct fake, s);
	const struct fake *f = start;
	return f->has_stop ? -EPIPE : 0;
}

static int fake_read_error(struct stream *s)
{
	const struct fake *f = fake_of(s);
	return f->has_reset ? -ECONNRESET : f->has_fin;
}

static void fake_finish(struct stream *s)
{
	struct fake *f = fake_of(s);
	if (f->is_ended)
		return;
	f->is_ended = true;
	if (f->peer) {
		f->peer->has_fin = true;
		stream_tell(&f->peer->s, true, false);
	}
}

static void fake_reset(struct stream *s, uint64_t code)
{
	struct fake *f = fake_of(s);
	if (f->is_ended)
		return;
	f->is_ended = true;
	if (f->peer) {
		f->peer->has_reset = true;
		f->peer->s.error_code = code;
		bufq_clear(&f->peer->in);
		stream_tell(&f->peer->s, true, true);
	}
}

static void fake_stop(struct stream *s, uint64_t code)
{
	struct fake *f = fake_of(s);
	if (f->is_stopped)
		return;
	f->is_stopped = true;
	bufq_clear(&f->in);
	if (f->peer) {
		f->peer->has_stop = true;
		f->peer->s.error_code = code;
		stream_tell(&f->peer->s, false, true);
	}
}

static void fake_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct fake, garbage));
}

static void fake_close(struct stream *s)
{
	struct fake *f = fake_of(s);
	stream_forget_user(s);
	fake_reset(s, STREAM_CODE_NONE);
	fake_stop(s, STREAM_CODE_NONE);
	bufq_clear(&f->in);
	if (f->peer)
		f->peer->peer = NULL;
	f->garbage.release = fake_release;
	loop_defer_free(s->loop, &f->garbage);
}

static const struct stream_ops fake_ops = {
	.read = fake_read,
	.write = fake_write,
	.credit = fake_credit,
	.write_error = fake_write_error,
	.read_error = fake_read_error,
	.finish = fake_finish,
	.reset = fake_reset,
	.stop = fake_stop,
	.close = fake_close,
};

static struct fake *fake_new(struct loop *loop, struct slab *slab, size_t window)
{
	struct fake *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->s = (struct stream){ .ops = &fake_ops, .loop = loop, .slab = slab };
	f->window = window;
	bufq_init(&f->in, slab);
	return f;
}

int fake_pair_new(struct loop *loop, struct slab *slab, size_t window, struct stream **ret_a,
		  struct stream **ret_b)
{
	struct fake *a = fake_new(loop, slab, window);
	struct fake *b = fake_new(loop, slab, window);
	if (!a || !b) {
		free(a);
		free(b);
		return -ENOMEM;
	}
	a->peer = b;
	b->peer = a;
	*ret_a = &a->s;
	*ret_b = &b->s;
	return 0;
}

void fake_stream_set_step(struct stream *s, size_t step)
{
	fake_of(s)->step = step;
}

void fake_stream_put(struct stream *s, const void *bytes, size_t len)
{
	struct fake *f = fake_of(s);
	assert(f->peer);
	int r = bufq_append_copy(&f->peer->in, span_of(bytes, len));
	assert(r == 0);
	(void)r;
	stream_tell(&f->peer->s, true, false);
}

int fake_stream_take(struct stream *s, void *out, size_t cap, size_t *ret_len)
{
	struct bufq q;
	bufq_init(&q, s->slab);
	ssize_t n = 0;
	size_t len = 0;
	while (len < cap && (n = stream_read(s, &q, cap - len)) > 0) {
		len += bufq_copy_out(&q, (uint8_t *)out + len, q.len);
		bufq_clear(&q);
	}
	*ret_len = len;
	return (int)n;
}
