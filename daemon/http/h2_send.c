/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which stream is written next. The library would send every stream in an order of its own (and for
 * some peers one after the other), so each is put off until its turn here: then it may send 16 KiB,
 * in round robin, after all frames that aren't data. Payload moves by reference.
 */
#include "daemon/http/h2_send.h"

#include "daemon/http/h2_stream.h"
#include "daemon/http/h2_window.h"
#include "util/macro.h"

enum { FRAME_HEAD_LEN = 9 };

static bool is_last(const struct h2_stream *s, size_t n)
{
	return s->wants_fin && !s->is_broken && s->tx.len == n;
}

/* NOLINTNEXTLINE(readability-function-size,readability-non-const-parameter): the library's type */
static nghttp2_ssize on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
			     uint32_t *flags, nghttp2_data_source *source, void *user)
{
	(void)session, (void)id, (void)buf;
	const struct h2_conn *c = user;
	struct h2_stream *s = source->ptr;
	if (c->has_ended || !s->tx_turn)
		return NGHTTP2_ERR_DEFERRED; /* s may be gone after the end */
	size_t n = MIN(len, s->tx_turn);
	n = MIN(n, s->tx.len);
	bool is_end = is_last(s, n);
	if (n == 0 && !is_end)
		return NGHTTP2_ERR_DEFERRED;
	s->tx_turn -= n;
	if (n)
		*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (!is_end)
		return (nghttp2_ssize)n;

	*flags |= NGHTTP2_DATA_FLAG_EOF;
	s->has_eof = true;
	if (s->tx_trailers.count) {
		if (h2_submit_trailers(s) < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	}
	return (nghttp2_ssize)n;
}

const nghttp2_data_provider2 h2_send_provider = { .read_callback = on_read };

/* Moves a frame as a whole or not at all: what is missing is one slice node for the payload's cut,
 * so one is kept back while the head takes its buffer. */
static bool put_frame(struct h2_conn *c, struct h2_stream *s, const uint8_t *head, size_t len)
{
	struct slice *spare = slice_get(c->slab);
	if (!spare)
		return false;
	int r = bufq_append_copy(&c->out, span_of(head, FRAME_HEAD_LEN));
	slice_put(c->slab, spare);
	if (r < 0)
		return false;
	(void)bufq_move(&c->out, &s->tx, len);
	return true;
}

void h2_send_wait(struct h2_conn *c)
{
	c->is_tx_short = true;
	h2_window_watch(c);
}

/* NOLINTNEXTLINE(readability-function-size): the library's type */
int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
		 nghttp2_data_source *source, void *user)
{
	(void)session, (void)frame;
	struct h2_conn *c = user;
	struct h2_stream *s = source->ptr;
	if (c->has_ended)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (s->tx.len < length) /* was reset while the frame waited */
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (c->out.len >= H2_OUT_MAX)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (!put_frame(c, s, head, length)) {
		h2_send_wait(c);
		return NGHTTP2_ERR_WOULDBLOCK;
	}
	s->tx_moved = loop_now(c->loop);
	if (bufq_is_empty(&s->tx))
		c->senders--;
	return 0;
}

/* All frames that aren't data, and data of who has a turn. */
static void send_frames(struct h2_conn *c)
{
	int r = c->has_ended ? 0 : nghttp2_session_send(c->session);
	if (r != 0 && !c->has_ended)
		h2_end(c, H2_END_PROTOCOL, H2_CODE_INTERNAL_ERROR, nghttp2_strerror(r));
}

static struct h2_stream *next(struct h2_conn *c)
{
	if (c->first && list_is_linked(&c->first->ready))
		return c->first;
	if (list_is_empty(&c->ready))
		return NULL;
	return LIST_ENTRY(c->ready.next, struct h2_stream, ready);
}

static bool is_stalled(struct h2_conn *c)
{
	bool is_now = nghttp2_session_get_remote_window_size(c->session) <= 0;
	if (is_now && !c->is_tx_stalled)
		c->stats.credit_stalls++;
	c->is_tx_stalled = is_now;
	return is_now;
}

/* What becomes of a stream after its turn. Returns false when no stream can go on now. */
static bool after_turn(struct h2_conn *c, struct h2_stream *s, size_t left)
{
	bool has_more = !bufq_is_empty(&s->tx) || (s->wants_fin && !s->has_eof && !s->is_broken);
	if (!has_more) {
		list_remove(&s->ready);
	} else if (left == 0) {
		list_remove(&s->ready);
		list_append(&c->ready, &s->ready);
	} else if (c->out.len >= H2_OUT_MAX || c->is_tx_short || is_stalled(c)) {
		return false;
	} else {
		/* Its own window is used up, or its head isn't out: until it has credit. */
		s->is_blocked = true;
		list_remove(&s->ready);
	}
	return true;
}

static bool give_turn(struct h2_conn *c, struct h2_stream *s)
{
	if (is_stalled(c))
		return false;
	s->tx_turn = H2_TURN;
	/* It fails where it isn't put off. Without memory the library has forgotten it. */
	if (nghttp2_session_resume_data(c->session, s->id) == NGHTTP2_ERR_NOMEM)
		h2_fail(c, H2_CODE_INTERNAL_ERROR, "no memory");
	send_frames(c);
	size_t left = s->tx_turn;
	s->tx_turn = 0;
	if (c->has_ended)
		return false;
	if (!s->conn)
		return true;
	bool may_go_on = after_turn(c, s, left);
	if (s->is_broken && bufq_is_empty(&s->tx))
		h2_stream_reset(s, s->broken_code);
	else
		h2_stream_check_room(s);
	return may_go_on;
}

void h2_send_fill(struct h2_conn *c)
{
	c->is_tx_short = false;
	for (;;) {
		send_frames(c);
		if (c->has_ended || c->is_tx_short || c->out.len >= H2_OUT_MAX)
			return;
		struct h2_stream *s = next(c);
		if (!s || !give_turn(c, s))
			return;
	}
}
