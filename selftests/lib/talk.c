/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users of streams for tests.
 */
#include "selftests/lib/talk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "util/macro.h"

enum { CHUNK = 64 * 1024 };

struct echo {
	struct bufq held;
	bool is_at_end;
};

static void echo_free(struct echo *e, struct stream *s)
{
	bufq_clear(&e->held);
	free(e);
	stream_close(s);
}

static void echo_run(struct stream *s, void *user)
{
	struct echo *e = user;
	for (;;) {
		ssize_t n = bufq_is_empty(&e->held) ? 1 : stream_write(s, &e->held, SIZE_MAX);
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			echo_free(e, s);
			return;
		}
		if (!bufq_is_empty(&e->held))
			continue;
		if (e->is_at_end) {
			stream_finish(s);
			echo_free(e, s);
			return;
		}
		n = stream_read(s, &e->held, CHUNK);
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			echo_free(e, s);
			return;
		}
		e->is_at_end = n == 0;
	}
}

void talk_echo(struct stream *stream)
{
	static const struct stream_user user = { echo_run, echo_run };
	struct echo *e = calloc(1, sizeof(*e));
	assert(e);
	bufq_init(&e->held, stream->slab);
	stream_set_user(stream, &user, e);
}

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 2654435761U >> 13);
}

static void talk_send(struct talk *t)
{
	static thread_local uint8_t buf[CHUNK];
	while (t->sent < t->total) {
		size_t n = MIN(t->total - t->sent, sizeof(buf));
		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(t->sent + i);
		ssize_t w = talk_write(t->stream, buf, n);
		if (w == -EAGAIN)
			return;
		if (w < 0) {
			t->error = w;
			return;
		}
		t->sent += (size_t)w;
		if (t->sent == t->total && t->is_finishing)
			stream_finish(t->stream);
	}
}

static void talk_run(struct stream *s, void *user)
{
	static thread_local uint8_t buf[CHUNK];
	struct talk *t = user;
	talk_send(t);
	while (!t->is_done) {
		ssize_t n = talk_read(s, buf, sizeof(buf));
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			t->error = n;
			return;
		}
		for (ssize_t i = 0; i < n; i++)
			assert(buf[i] == pattern(t->got + (size_t)i));
		t->got += (size_t)n;
		t->is_done = n == 0 && t->got == t->total;
		if (n == 0)
			return;
	}
}

void talk_start(struct talk *t, struct stream *stream, size_t total)
{
	static const struct stream_user user = { talk_run, talk_run };
	*t = (struct talk){ .stream = stream, .total = total, .is_finishing = true };
	stream_set_user(stream, &user, t);
}

bool talk_is_done(void *talk)
{
	return ((struct talk *)talk)->is_done;
}

ssize_t talk_read(struct stream *s, void *to, size_t max)
{
	struct bufq q;
	bufq_init(&q, s->slab);
	ssize_t n = stream_read(s, &q, max);
	if (n > 0)
		(void)bufq_copy_out(&q, to, (size_t)n);
	bufq_clear(&q);
	return n;
}

ssize_t talk_write(struct stream *s, const void *from, size_t len)
{
	struct bufq q;
	bufq_init(&q, s->slab);
	size_t room = stream_credit(s);
	len = MIN(len, MAX(room, (size_t)1));
	if (bufq_append_copy(&q, span_of(from, len)) < 0)
		return -ENOBUFS;
	ssize_t n = stream_write(s, &q, len);
	bufq_clear(&q);
	return n;
}
