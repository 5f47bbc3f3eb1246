/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of bytes made of slices. Neighbouring runs of one buffer are joined, so that passing a
 * buffer on in small pieces costs no nodes. Only between bufq_room() and bufq_commit() the last
 * slice may be empty.
 */
#include "daemon/base/bufq.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "util/macro.h"

void bufq_init(struct bufq *q, struct slab *slab)
{
	*q = (struct bufq){ .slab = slab };
}

static void link_slice(struct bufq *q, struct slice *s)
{
	s->next = NULL;
	if (q->tail)
		q->tail->next = s;
	else
		q->head = s;
	q->tail = s;
	q->len += s->len;
}

static struct slice *unlink_head(struct bufq *q)
{
	struct slice *s = q->head;
	q->head = s->next;
	if (!q->head)
		q->tail = NULL;
	q->len -= s->len;
	s->next = NULL;
	return s;
}

void bufq_clear(struct bufq *q)
{
	while (q->head)
		slice_put(q->slab, unlink_head(q));
}

/* Gives back a last slice that bufq_room() has made and nobody has filled. */
static void drop_empty_tail(struct bufq *q)
{
	struct slice *last = q->tail;
	if (!last || last->len)
		return;
	struct slice *before = NULL;
	for (struct slice *s = q->head; s != last; s = s->next)
		before = s;
	if (before)
		before->next = NULL;
	else
		q->head = NULL;
	q->tail = before;
	slice_put(q->slab, last);
}

/* Bytes that can be written behind the last slice: none when anybody else may read there. */
static size_t tail_room(const struct bufq *q)
{
	const struct slice *t = q->tail;
	if (!t || t->buf->owner != q->slab || slab_buf_is_shared(t->buf))
		return 0;
	return (size_t)(t->buf->data + t->buf->cap - (t->ptr + t->len));
}

/* A slice over nothing at the start of a new buffer. */
static struct slice *new_slice(struct slab *slab, size_t want)
{
	struct slice *s = slice_get(slab);
	if (!s)
		return NULL;
	s->buf = slab_buf_get(slab, want);
	if (!s->buf) {
		slice_put(slab, s);
		return NULL;
	}
	s->ptr = s->buf->data;
	return s;
}

int bufq_append_copy(struct bufq *q, struct span bytes)
{
	if (bytes.len == 0)
		return 0;
	assert(bytes.ptr);
	struct span first = span_first(bytes, tail_room(q));
	struct span rest = span_skip(bytes, first.len);

	/* All memory first, so that a refusal leaves nothing behind. */
	struct bufq more;
	bufq_init(&more, q->slab);
	while (rest.len) {
		struct slice *s = new_slice(q->slab, rest.len);
		if (!s) {
			bufq_clear(&more);
			return -ENOBUFS;
		}
		s->len = (uint32_t)MIN((size_t)s->buf->cap, rest.len);
		memcpy(s->ptr, rest.ptr, s->len);
		rest = span_skip(rest, s->len);
		link_slice(&more, s);
	}
	if (first.len) {
		memcpy(q->tail->ptr + q->tail->len, first.ptr, first.len);
		q->tail->len += (uint32_t)first.len;
		q->len += first.len;
	} else {
		drop_empty_tail(q);
	}
	while (more.head)
		link_slice(q, unlink_head(&more));
	return 0;
}

/* Lengthens the last slice when the run follows it in the same buffer. */
static bool join_tail(struct bufq *q, const struct slab_buf *buf, const uint8_t *ptr, size_t len)
{
	struct slice *t = q->tail;
	if (!t || t->buf != buf || t->ptr + t->len != ptr)
		return false;
	t->len += (uint32_t)len;
	q->len += len;
	return true;
}

int bufq_append_ref(struct bufq *q, struct slab_buf *buf, uint8_t *ptr, size_t len)
{
	assert(ptr >= buf->data && len <= (size_t)(buf->data + buf->cap - ptr));
	drop_empty_tail(q);
	if (len == 0 || join_tail(q, buf, ptr, len))
		return 0;
	struct slice *s = slice_get(q->slab);
	if (!s)
		return -ENOBUFS;
	s->buf = slab_buf_ref(buf);
	s->ptr = ptr;
	s->len = (uint32_t)len;
	link_slice(q, s);
	return 0;
}

uint8_t *bufq_room(struct bufq *q, size_t want, size_t *ret_len)
{
	size_t room = tail_room(q);
	if (room < MAX(want / 4, (size_t)1)) {
		struct slice *s = new_slice(q->slab, want);
		if (!s)
			return NULL;
		drop_empty_tail(q);
		link_slice(q, s);
		room = s->buf->cap;
	}
	*ret_len = room;
	return q->tail->ptr + q->tail->len;
}

void bufq_commit(struct bufq *q, size_t len)
{
	assert(len <= tail_room(q));
	if (len) {
		q->tail->len += (uint32_t)len;
		q->len += len;
	}
	drop_empty_tail(q);
}

size_t bufq_move(struct bufq *to, struct bufq *from, size_t max)
{
	assert(to->slab == from->slab);
	size_t moved = 0;

	max = MIN(max, from->len);
	if (max)
		drop_empty_tail(to);
	while (moved < max && from->head->len <= max - moved) {
		struct slice *s = unlink_head(from);
		moved += s->len;
		if (join_tail(to, s->buf, s->ptr, s->len))
			slice_put(to->slab, s);
		else
			link_slice(to, s);
	}
	if (moved < max) {
		struct slice *s = from->head;
		size_t part = max - moved;
		if (bufq_append_ref(to, s->buf, s->ptr, part) == 0) {
			bufq_consume(from, part);
			moved += part;
		}
	}
	return moved;
}

void bufq_consume(struct bufq *q, size_t len)
{
	len = MIN(len, q->len);
	while (len) {
		struct slice *s = q->head;
		if (len < s->len) {
			s->ptr += len;
			s->len -= (uint32_t)len;
			q->len -= len;
			return;
		}
		len -= s->len;
		slice_put(q->slab, unlink_head(q));
	}
}

struct span bufq_peek(const struct bufq *q)
{
	return q->head ? span_of(q->head->ptr, q->head->len) : (struct span){};
}

size_t bufq_copy_out(const struct bufq *q, void *to, size_t len)
{
	size_t done = 0;
	for (const struct slice *s = q->head; s && done < len; s = s->next) {
		size_t n = MIN((size_t)s->len, len - done);
		if (n)
			memcpy((uint8_t *)to + done, s->ptr, n);
		done += n;
	}
	return done;
}

unsigned int bufq_iov(const struct bufq *q, size_t offset, size_t limit, struct iovec *iov,
		      unsigned int max)
{
	unsigned int count = 0;
	for (const struct slice *s = q->head; s && limit && count < max; s = s->next) {
		if (offset >= s->len) {
			offset -= s->len;
			continue;
		}
		size_t n = MIN(s->len - offset, limit);
		iov[count++] = (struct iovec){ .iov_base = s->ptr + offset, .iov_len = n };
		limit -= n;
		offset = 0;
	}
	return count;
}
