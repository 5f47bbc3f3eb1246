/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of an HTTP/2 connection. What arrives is copied once out of the buffer beneath; what is
 * sent stays in the slices it came in. A stream may outlive its connection, and a connection a
 * stream's user: whoever goes last frees the object.
 */
#include "daemon/http/h2_stream.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/http/h2_window.h"
#include "util/macro.h"

enum {
	QUEUE_FLOOR = 4 * 1024,       /* of the send queue (spec §13) */
	QUEUE_FLOOR_EASY = 32 * 1024, /* while less than half of the budget is used */
	PRESSURE_EASY = 500,          /* thousandths of the budget */
	ROOM_MIN = 4 * 1024,          /* room that is worth an on_writable */
};
#define RETRY_READ (10 * NSEC_PER_MSEC)

struct h2_stream *h2_stream_of(struct stream *s)
{
	return (struct h2_stream *)s;
}

const struct h2_stream *h2_stream_of_const(const struct stream *s)
{
	return (const struct h2_stream *)s;
}

static bool has_unsent(const struct h2_stream *s)
{
	return !bufq_is_empty(&s->tx) || (s->wants_fin && !s->has_eof && !s->is_broken);
}

static bool has_tx_ended(const struct h2_stream *s)
{
	return s->is_tx_reset || s->is_tx_refused || s->is_lost || s->is_rst_sent;
}

static void tell_readable(struct h2_stream *s)
{
	stream_tell(&s->base, true, false);
}

static void tell_writable(struct h2_stream *s)
{
	s->wants_room = false;
	stream_tell(&s->base, false, true);
}

/* ---- life cycle ---------------------------------------------------------------------------- */

static void release(struct loop_garbage *garbage)
{
	struct h2_stream *s = CONTAINER_OF(garbage, struct h2_stream, garbage);
	free(s->rx_block);
	free(s->tx_block);
	free(s);
}

static void free_later(struct h2_stream *s)
{
	timer_stop(&s->retry);
	stream_forget_user(&s->base);
	bufq_clear(&s->rx);
	s->garbage.release = release;
	loop_defer_free(s->base.loop, &s->garbage);
}

/* Bytes that will never be sent. */
static void abandon_tx(struct h2_stream *s)
{
	if (!bufq_is_empty(&s->tx))
		s->conn->senders--;
	bufq_clear(&s->tx);
	list_remove(&s->ready);
}

/* Bytes that will never be read. */
static void abandon_rx(struct h2_stream *s)
{
	bufq_clear(&s->rx);
	if (s->conn)
		h2_window_settle(s);
}

/* The library has let go: nothing goes over the wire for this stream any more. */
static void detach(struct h2_stream *s)
{
	struct h2_conn *c = s->conn;
	h2_window_settle(s);
	abandon_tx(s);
	c->stream_windows -= s->window.size;
	list_remove(&s->node);
	c->stream_count--;
	if (s->is_held)
		c->held_count--;
	if (s->is_ours)
		c->opened--;
	if (c->first == s)
		c->first = NULL;
	h2_window_recount(c);
	h2_mark_dirty(c); /* the last one may have been waited for */
	s->conn = NULL;
	if (s->is_closed)
		free_later(s);
}

void h2_stream_drop(struct h2_stream *s)
{
	s->is_closed = true;
	detach(s);
}

void h2_stream_lose_all(struct h2_conn *c)
{
	LIST_FOREACH(n, &c->streams)
	{
		struct h2_stream *s = LIST_ENTRY(n, struct h2_stream, node);
		s->is_lost = true;
		detach(s);
		if (!s->is_closed)
			stream_tell(&s->base, true, true);
	}
}

/* ---- the interface: reading ------------------------------------------------------------------ */

static void on_retry(struct timer *timer)
{
	tell_readable(CONTAINER_OF(timer, struct h2_stream, retry));
}

static ssize_t op_read(struct stream *base, struct bufq *to, size_t max)
{
	struct h2_stream *s = h2_stream_of(base);
	if (s->is_stopped)
		return -ECANCELED;
	if (bufq_is_empty(&s->rx)) {
		if (s->is_reset)
			return -ECONNRESET;
		if (s->has_fin)
			return 0;
		return s->is_lost ? -ECONNRESET : -EAGAIN;
	}

	size_t n = rx_take(to, &s->rx, max);
	if (n == 0 && max) {
		/* Not in the next turn: the loop would spin until others give nodes back. */
		if (!timer_is_armed(&s->retry))
			timer_start(base->loop, &s->retry, loop_now(base->loop) + RETRY_READ);
		return -ENOBUFS;
	}
	if (n == 0)
		return -EAGAIN;
	if (s->conn) {
		s->rx_moved = loop_now(base->loop);
		h2_window_taken(s, n);
	}
	return (ssize_t)n;
}

static int op_read_error(struct stream *base)
{
	const struct h2_stream *s = h2_stream_of_const(base);
	return s->is_reset || (s->is_lost && !s->has_fin) ? -ECONNRESET : 0;
}

/* ---- the interface: writing ------------------------------------------------------------------ */

/* The peer's window of the stream; before it is on the wire, the one that it will begin with. */
static uint64_t peer_window(const struct h2_stream *s)
{
	nghttp2_session *session = s->conn->session;
	int32_t window = nghttp2_session_get_stream_remote_window_size(session, s->id);
	if (window >= 0)
		return (uint64_t)window;
	return nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
}

/* Bytes that the send queue may hold (spec §13). */
static uint64_t queue_limit(const struct h2_stream *s)
{
	const struct h2_conn *c = s->conn;
	int32_t window = nghttp2_session_get_remote_window_size(c->session);
	uint64_t share = (uint64_t)MAX(window, 0) / MAX(c->senders, 1U);
	uint64_t limit = MIN(peer_window(s), share);
	limit = MIN(limit, c->settings->send_queue_max);
	uint64_t floor =
		slab_pressure(s->base.slab) < PRESSURE_EASY ? QUEUE_FLOOR_EASY : QUEUE_FLOOR;
	return MAX(limit, floor);
}

static size_t op_credit(const struct stream *base)
{
	const struct h2_stream *s = h2_stream_of_const(base);
	if (!s->conn || !s->is_tx_open || has_tx_ended(s) || s->wants_fin)
		return 0;
	uint64_t limit = queue_limit(s);
	return limit > s->tx.len ? (size_t)(limit - s->tx.len) : 0;
}

void h2_stream_wake(struct h2_stream *s)
{
	if (!s->conn || !s->is_tx_open || !has_unsent(s) || has_tx_ended(s))
		return;
	if (!s->is_blocked && !list_is_linked(&s->ready))
		list_append(&s->conn->ready, &s->ready);
	h2_mark_dirty(s->conn);
}

static ssize_t op_write(struct stream *base, struct bufq *from, size_t max)
{
	struct h2_stream *s = h2_stream_of(base);
	if (s->is_lost)
		return -ECONNRESET;
	if (s->is_tx_refused)
		return -EPIPE;
	if (s->wants_fin || has_tx_ended(s) || !s->conn || !s->is_tx_open)
		return -EPROTO;

	size_t room = MIN(op_credit(base), max);
	size_t n = room ? bufq_move(&s->tx, from, room) : 0;
	if (n == 0) {
		s->wants_room = true;
		/* The wish is looked at when bytes are sent; with none there: soon. */
		if (bufq_is_empty(&s->tx))
			h2_window_watch(s->conn);
		return -EAGAIN;
	}
	if (s->tx.len == n) {
		s->tx_moved = loop_now(base->loop);
		s->conn->senders++;
		h2_window_guard(s->conn);
	}
	h2_stream_wake(s);
	return (ssize_t)n;
}

static int op_write_error(const struct stream *base)
{
	const struct h2_stream *s = h2_stream_of_const(base);
	return s->is_lost ? -ECONNRESET : s->is_tx_refused ? -EPIPE : 0;
}

static void op_finish(struct stream *base)
{
	struct h2_stream *s = h2_stream_of(base);
	if (s->wants_fin || has_tx_ended(s))
		return;
	s->wants_fin = true;
	h2_stream_wake(s);
}

/* ---- the interface: ends --------------------------------------------------------------------- */

static void send_reset(struct h2_stream *s, uint32_t code)
{
	if (!s->conn || s->is_rst_sent)
		return;
	s->is_rst_sent = true;
	abandon_tx(s);
	h2_submit_reset(s->conn, s->id, code);
}

/* RST_STREAM leaves no direction open. */
void h2_stream_reset(struct h2_stream *s, uint32_t code)
{
	if (s->is_tx_reset || s->is_lost)
		return;
	s->is_tx_reset = true;
	if (!s->has_fin && !s->is_reset) {
		s->is_reset = true;
		abandon_rx(s);
		tell_readable(s);
	}
	send_reset(s, code);
}

static uint32_t default_code(const struct h2_stream *s)
{
	return s->is_ours ? H2_CODE_CANCEL : H2_CODE_INTERNAL_ERROR;
}

static void op_reset(struct stream *base, uint64_t code)
{
	struct h2_stream *s = h2_stream_of(base);
	h2_stream_reset(s, code == STREAM_CODE_NONE ? default_code(s) : (uint32_t)code);
}

/* Nobody reads what is still to come, and all of ours is out: the peer needs to send no more. */
static void reset_unwanted(struct h2_stream *s)
{
	if (s->is_stopped && !s->has_fin && s->has_sent_fin)
		send_reset(s, s->is_ours ? H2_CODE_CANCEL : H2_CODE_NO_ERROR);
}

static void op_stop(struct stream *base, uint64_t code)
{
	(void)code; /* HTTP/2 has no stop of one direction */
	struct h2_stream *s = h2_stream_of(base);
	if (s->is_stopped)
		return;
	s->is_stopped = true;
	abandon_rx(s);
	reset_unwanted(s);
}

void h2_finish_broken(struct stream *s, uint32_t code)
{
	struct h2_stream *hs = h2_stream_of(s);
	if (hs->wants_fin || has_tx_ended(hs))
		return;
	hs->wants_fin = hs->is_broken = true;
	hs->broken_code = code;
	if (bufq_is_empty(&hs->tx))
		h2_stream_reset(hs, code);
}

static void op_close(struct stream *base)
{
	struct h2_stream *s = h2_stream_of(base);
	if (!s->wants_fin || !s->is_tx_open)
		op_reset(base, STREAM_CODE_NONE);
	op_stop(base, STREAM_CODE_NONE);
	s->is_closed = true;
	timer_stop(&s->retry);
	stream_forget_user(base);
	if (!s->conn)
		free_later(s);
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

struct h2_stream *h2_stream_new(struct h2_conn *c, int32_t id)
{
	struct h2_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->base = (struct stream){ .ops = &ops, .loop = c->loop, .slab = c->slab };
	s->conn = c;
	s->id = id;
	s->rx_left = H2_LENGTH_NONE;
	s->retry.on_expire = on_retry;
	bufq_init(&s->rx, c->slab);
	bufq_init(&s->tx, c->slab);
	rx_window_init(&s->window, c->settings->stream_window, loop_now(c->loop));
	c->stream_windows += s->window.size;
	list_append(&c->streams, &s->node);
	c->stream_count++;
	c->stats.streams_total++;
	h2_window_recount(c);
	return s;
}

/* ---- what the library says ----------------------------------------------------------------- */

void h2_stream_fail(struct h2_stream *s, uint32_t code)
{
	send_reset(s, code);
	abandon_rx(s);
	s->is_reset = true;
	s->is_tx_refused |= !s->has_sent_fin && !s->is_tx_reset;
	s->base.error_code = code;
	stream_tell(&s->base, true, true);
}

void h2_stream_on_data(struct h2_stream *s, struct span data)
{
	if (s->is_stopped || s->is_reset || s->is_rst_sent) {
		h2_window_skip(s->conn, data.len);
		return;
	}
	bool is_too_long = s->rx_left != H2_LENGTH_NONE && data.len > s->rx_left;
	if (!s->has_head || is_too_long) {
		h2_window_skip(s->conn, data.len);
		h2_stream_fail(s, H2_CODE_PROTOCOL_ERROR);
		return;
	}
	if (s->rx_left != H2_LENGTH_NONE)
		s->rx_left -= data.len;
	if (bufq_is_empty(&s->rx))
		s->rx_moved = loop_now(s->base.loop);
	if (rx_store(&s->rx, data) < 0) {
		h2_window_skip(s->conn, data.len);
		h2_stream_fail(s, H2_CODE_ENHANCE_YOUR_CALM);
		return;
	}
	h2_window_received(s, data.len);
	tell_readable(s);
}

void h2_stream_on_end(struct h2_stream *s)
{
	if (s->is_reset || s->is_rst_sent)
		return;
	bool is_short = !s->is_stopped && s->rx_left != 0 && s->rx_left != H2_LENGTH_NONE;
	if (!s->has_head || is_short) {
		h2_stream_fail(s, H2_CODE_PROTOCOL_ERROR);
		return;
	}
	s->has_fin = true;
	tell_readable(s);
}

void h2_stream_on_sent_end(struct h2_stream *s)
{
	s->has_sent_fin = true;
	reset_unwanted(s);
}

void h2_stream_on_over(struct h2_stream *s, uint32_t code)
{
	if (!s->has_fin && !s->is_reset) {
		s->is_reset = true;
		s->base.error_code = code;
		tell_readable(s);
	}
	if (!s->has_sent_fin && !s->is_tx_reset && !s->is_tx_refused) {
		s->is_tx_refused = true;
		s->base.error_code = code;
		tell_writable(s);
	}
	detach(s);
}

void h2_stream_on_credit(struct h2_stream *s)
{
	s->is_blocked = false;
	h2_stream_wake(s);
	h2_stream_check_room(s);
}

void h2_stream_check_room(struct h2_stream *s)
{
	if (s->wants_room && op_credit(&s->base) >= ROOM_MIN)
		tell_writable(s);
}

nsec_t h2_stream_stuck_since(const struct h2_stream *s)
{
	nsec_t rx = bufq_is_empty(&s->rx) ? NSEC_NEVER : s->rx_moved;
	nsec_t tx = bufq_is_empty(&s->tx) ? NSEC_NEVER : s->tx_moved;
	return MIN(rx, tx);
}

/* ---- what users say besides ------------------------------------------------------------------ */

void h2_set_owner(struct stream *s, void *owner)
{
	h2_stream_of(s)->owner = owner;
}

void h2_set_first(struct stream *s)
{
	struct h2_stream *hs = h2_stream_of(s);
	if (hs->conn)
		hs->conn->first = hs;
}

void h2_hold(struct stream *s)
{
	struct h2_stream *hs = h2_stream_of(s);
	if (!hs->conn || hs->is_held)
		return;
	hs->is_held = true;
	hs->conn->held_count++;
	h2_window_recount(hs->conn);
	h2_mark_dirty(hs->conn);
}
