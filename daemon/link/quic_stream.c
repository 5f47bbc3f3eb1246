/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of a QUIC link. What arrives is copied once out of the decrypted packet; what is sent
 * stays in the slices it came in until the peer has acknowledged it, and a cursor remembers how far
 * it was put into packets. A stream may outlive its link, and a link a stream's user: whoever goes
 * last frees the object.
 */
#include "daemon/link/quic_stream.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/link/close.h"
#include "daemon/link/quic_io.h"
#include "daemon/link/quic_window.h"
#include "util/macro.h"

enum {
	QUEUE_FLOOR = 4 * 1024,       /* of the send queue (spec §13) */
	QUEUE_FLOOR_EASY = 32 * 1024, /* while less than half of the budget is used */
	PRESSURE_EASY = 500,          /* thousandths of the budget */
	ROOM_MIN = 4 * 1024,          /* room that is worth an on_writable */
};
#define RETRY_BLOCKED (500 * NSEC_PER_MSEC)
#define RETRY_READ    (10 * NSEC_PER_MSEC)

static struct quic_stream *quic_stream_of(struct stream *s)
{
	return (struct quic_stream *)s;
}

static bool has_unsent(const struct quic_stream *qs)
{
	return qs->tx.len > qs->tx_sent - qs->tx_acked || (qs->wants_fin && !qs->has_sent_fin);
}

static bool has_rx_ended(const struct quic_stream *qs)
{
	return qs->has_fin || qs->is_reset || qs->is_stopped || qs->is_lost;
}

static bool has_tx_ended(const struct quic_stream *qs)
{
	return qs->is_tx_reset || qs->is_tx_refused || qs->is_lost;
}

static void tell_readable(struct quic_stream *qs)
{
	stream_tell(&qs->base, true, false);
}

static void tell_writable(struct quic_stream *qs)
{
	qs->wants_room = false;
	stream_tell(&qs->base, false, true);
}

/* ---- life cycle ---------------------------------------------------------------------------- */

static void release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct quic_stream, garbage));
}

static void drop_tx(struct quic_stream *qs)
{
	bufq_clear(&qs->tx);
	qs->tx_slice = NULL;
	list_remove(&qs->ready);
}

static void free_later(struct quic_stream *qs)
{
	bufq_clear(&qs->rx);
	drop_tx(qs);
	qs->garbage.release = release;
	loop_defer_free(qs->base.loop, &qs->garbage);
}

/* The library has let go: nothing goes over the wire for this stream any more. */
static void detach(struct quic_stream *qs)
{
	struct quic_link *link = qs->link;
	quic_window_stream_settle(qs);
	link->qw->stream_windows -= qs->window.size;
	if (!bufq_is_empty(&qs->tx))
		link->senders--;
	list_remove(&qs->node);
	list_remove(&qs->arrival);
	link->stream_count--;
	if (link->control == qs)
		link->control = NULL;
	quic_window_recount(link);
	qs->link = NULL;
	drop_tx(qs);
	if (qs->is_closed)
		free_later(qs);
}

static void on_retry(struct timer *timer)
{
	tell_readable(CONTAINER_OF(timer, struct quic_stream, retry));
}

static ssize_t op_read(struct stream *s, struct bufq *to, size_t max)
{
	struct quic_stream *qs = quic_stream_of(s);
	if (qs->is_stopped)
		return -ECANCELED;
	if (qs->is_reset)
		return -ECONNRESET;
	if (bufq_is_empty(&qs->rx)) {
		if (qs->has_fin)
			return 0;
		return qs->is_lost ? -ECONNRESET : -EAGAIN;
	}

	size_t n = rx_take(to, &qs->rx, max);
	if (n == 0 && max) {
		/* Not in the next turn: the loop would spin until others give nodes back. */
		if (!timer_is_armed(&qs->retry))
			timer_start(s->loop, &qs->retry, loop_now(s->loop) + RETRY_READ);
		return -ENOBUFS;
	}
	if (n == 0)
		return -EAGAIN;
	if (qs->link) {
		qs->rx_moved = loop_now(s->loop);
		quic_window_stream_taken(qs, n);
		quic_io_mark_dirty(qs->link);
	}
	return (ssize_t)n;
}

static int op_read_error(struct stream *s)
{
	const struct quic_stream *qs = quic_stream_of(s);
	return qs->is_reset || (qs->is_lost && !qs->has_fin) ? -ECONNRESET : 0;
}

/* Bytes that the send queue may hold (spec §13). */
static uint64_t queue_limit(const struct quic_stream *qs)
{
	const struct quic_link *link = qs->link;
	uint64_t peer = qs->tx_sent - qs->tx_acked +
			ngtcp2_conn_get_max_stream_data_left(link->conn, qs->id);
	uint64_t share = 2 * link->stats.cwnd / MAX(link->senders, 1U);
	uint64_t queue_max = link->qw->settings->send_queue_max;
	uint64_t limit = MIN(peer, share);
	limit = MIN(limit, queue_max);
	uint64_t floor =
		slab_pressure(qs->base.slab) < PRESSURE_EASY ? QUEUE_FLOOR_EASY : QUEUE_FLOOR;
	return MAX(limit, floor);
}

static size_t op_credit(const struct stream *s)
{
	const struct quic_stream *qs = (const struct quic_stream *)s;
	if (!qs->link || has_tx_ended(qs) || qs->wants_fin)
		return 0;
	uint64_t limit = queue_limit(qs);
	return limit > qs->tx.len ? (size_t)(limit - qs->tx.len) : 0;
}

static void wake(struct quic_stream *qs)
{
	if (!qs->link || !has_unsent(qs) || qs->is_tx_reset || qs->is_tx_refused)
		return;
	if (!qs->is_blocked && !list_is_linked(&qs->ready))
		list_append(&qs->link->ready, &qs->ready);
	quic_io_mark_dirty(qs->link);
}

static ssize_t op_write(struct stream *s, struct bufq *from, size_t max)
{
	struct quic_stream *qs = quic_stream_of(s);
	if (qs->is_lost)
		return -ECONNRESET;
	if (qs->is_tx_refused)
		return -EPIPE;
	if (qs->wants_fin || qs->is_tx_reset || !qs->link)
		return -EPROTO;

	size_t room = MIN(op_credit(s), max);
	size_t n = room ? bufq_move(&qs->tx, from, room) : 0;
	if (n == 0) {
		qs->wants_room = true;
		/* The wish is looked at when bytes are acknowledged; with none on the way: soon. */
		if (bufq_is_empty(&qs->tx))
			quic_window_watch(qs->link->qw);
		return -EAGAIN;
	}
	if (qs->tx.len == n) {
		qs->tx_moved = loop_now(s->loop);
		qs->link->senders++;
	}
	if (!qs->tx_slice) {
		qs->tx_slice = qs->tx.head;
		qs->tx_pos = qs->tx.head->ptr;
	}
	wake(qs);
	return (ssize_t)n;
}

static int op_write_error(const struct stream *s)
{
	const struct quic_stream *qs = (const struct quic_stream *)s;
	return qs->is_lost ? -ECONNRESET : qs->is_tx_refused ? -EPIPE : 0;
}

static void op_finish(struct stream *s)
{
	struct quic_stream *qs = quic_stream_of(s);
	if (qs->wants_fin || has_tx_ended(qs))
		return;
	qs->wants_fin = true;
	wake(qs);
}

/* Bytes that will never be acknowledged are forgotten everywhere. */
static void abandon_tx(struct quic_stream *qs)
{
	if (!bufq_is_empty(&qs->tx))
		qs->link->senders--;
	drop_tx(qs);
	quic_mtu_forget(&qs->link->mtu, qs->id);
}

static void op_reset(struct stream *s, uint64_t code)
{
	struct quic_stream *qs = quic_stream_of(s);
	if (has_tx_ended(qs))
		return;
	qs->is_tx_reset = true;
	if (!qs->link)
		return;
	abandon_tx(qs);
	(void)ngtcp2_conn_shutdown_stream_write(qs->link->conn, 0, qs->id, code);
	quic_io_mark_dirty(qs->link);
}

static void op_stop(struct stream *s, uint64_t code)
{
	struct quic_stream *qs = quic_stream_of(s);
	bool was_ended = has_rx_ended(qs);
	qs->is_stopped = true;
	bufq_clear(&qs->rx);
	if (!qs->link)
		return;
	quic_window_stream_settle(qs);
	if (!was_ended)
		(void)ngtcp2_conn_shutdown_stream_read(qs->link->conn, 0, qs->id, code);
	quic_io_mark_dirty(qs->link);
}

static void op_close(struct stream *s)
{
	struct quic_stream *qs = quic_stream_of(s);
	op_stop(s, LINK_CODE_NONE);
	if (!qs->wants_fin)
		op_reset(s, LINK_CODE_NONE);
	qs->is_closed = true;
	timer_stop(&qs->retry);
	stream_forget_user(s);
	if (!qs->link)
		free_later(qs);
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

struct quic_stream *quic_stream_new(struct quic_link *link, int64_t id)
{
	struct quic_stream *qs = calloc(1, sizeof(*qs));
	if (!qs)
		return NULL;
	struct worker *w = link->qw->worker;
	qs->base = (struct stream){ .ops = &ops, .loop = w->loop, .slab = w->slab };
	qs->link = link;
	qs->id = id;
	qs->retry.on_expire = on_retry;
	bufq_init(&qs->rx, w->slab);
	bufq_init(&qs->tx, w->slab);
	rx_window_init(&qs->window, link->stream_window, loop_now(w->loop));
	link->qw->stream_windows += qs->window.size;
	list_append(&link->streams, &qs->node);
	link->stream_count++;
	link->streams_total++;
	if (id == 0)
		link->control = qs;
	quic_window_recount(link);
	return qs;
}

unsigned int quic_stream_running(const struct quic_link *link)
{
	return link->stream_count - (link->control ? 1 : 0);
}

void quic_stream_lose_all(struct quic_link *link)
{
	LIST_FOREACH(n, &link->streams)
	{
		struct quic_stream *qs = LIST_ENTRY(n, struct quic_stream, node);
		bool is_unseen = list_is_linked(&qs->arrival);
		qs->is_lost = true;
		detach(qs);
		if (qs->is_closed)
			continue;
		if (is_unseen) {
			op_close(&qs->base);
			continue;
		}
		stream_tell(&qs->base, true, true);
	}
}

/* ---- what the library says ----------------------------------------------------------------- */

/* Memory is gone: this stream ends, and the peer learns why. */
static void overload(struct quic_stream *qs)
{
	qs->link->qw->overloads++;
	bufq_clear(&qs->rx);
	op_reset(&qs->base, LINK_CODE_OVERLOADED);
	bool was_stopped = qs->is_stopped;
	op_stop(&qs->base, LINK_CODE_OVERLOADED);
	/* For the user this is a reset, not its own stop. */
	qs->is_stopped = was_stopped;
	qs->is_reset = true;
	qs->base.error_code = LINK_CODE_OVERLOADED;
	stream_tell(&qs->base, true, true);
}

void quic_stream_on_data(struct quic_stream *qs, struct span data, bool is_fin)
{
	quic_window_received(qs->link, data.len);
	if (qs->is_stopped || qs->is_reset) {
		quic_window_taken(qs->link, data.len);
		return;
	}
	if (bufq_is_empty(&qs->rx))
		qs->rx_moved = loop_now(qs->base.loop);
	if (rx_store(&qs->rx, data) < 0) {
		quic_window_taken(qs->link, data.len);
		overload(qs);
		return;
	}
	quic_window_stream_received(qs, data.len);
	qs->has_fin = is_fin;
	tell_readable(qs);
}

void quic_stream_on_acked(struct quic_stream *qs, uint64_t offset, uint64_t len)
{
	if (has_tx_ended(qs) || len == 0 || offset != qs->tx_acked)
		return;
	bufq_consume(&qs->tx, len);
	qs->tx_acked += len;
	qs->tx_moved = loop_now(qs->base.loop);
	if (qs->tx_acked == qs->tx_sent) {
		qs->tx_slice = qs->tx.head;
		qs->tx_pos = qs->tx.head ? qs->tx.head->ptr : NULL;
	}
	if (bufq_is_empty(&qs->tx))
		qs->link->senders--;
	if (qs->wants_room && op_credit(&qs->base) >= ROOM_MIN)
		tell_writable(qs);
}

void quic_stream_on_reset(struct quic_stream *qs, uint64_t code)
{
	if (qs->is_stopped || qs->is_reset)
		return;
	quic_window_stream_settle(qs);
	bufq_clear(&qs->rx);
	qs->is_reset = true;
	qs->base.error_code = code;
	tell_readable(qs);
}

void quic_stream_on_refused(struct quic_stream *qs, uint64_t code)
{
	if (has_tx_ended(qs))
		return;
	abandon_tx(qs);
	qs->is_tx_refused = true;
	qs->base.error_code = code;
	tell_writable(qs);
}

void quic_stream_on_credit(struct quic_stream *qs)
{
	qs->is_blocked = false;
	wake(qs);
	if (qs->wants_room && op_credit(&qs->base) >= ROOM_MIN)
		tell_writable(qs);
}

void quic_stream_on_over(struct quic_stream *qs, uint64_t code)
{
	qs->is_over = true;
	if (!qs->has_sent_fin)
		quic_stream_on_refused(qs, code);
	if (qs->is_tx_refused)
		qs->base.error_code = code;
	/* What nobody has seen yet is announced even if it has come to its end already. */
	if (!list_is_linked(&qs->arrival))
		detach(qs);
}

void quic_stream_announce(struct quic_link *link)
{
	const struct link_sink *sink = link->base.sink;
	while (!list_is_empty(&link->arrivals) && link->base.state >= LINK_STATE_UP) {
		struct quic_stream *qs =
			LIST_ENTRY(list_pop(&link->arrivals), struct quic_stream, arrival);
		if (link->is_draining || !sink) {
			op_close(&qs->base);
			if (qs->is_over)
				detach(qs);
			continue;
		}
		if (qs->is_over)
			detach(qs);
		sink->on_stream(&link->base, &qs->base, (uint64_t)qs->id, link->base.user);
		if (link->is_freed)
			return;
	}
}

/* ---- what is written next ------------------------------------------------------------------ */

struct quic_stream *quic_stream_next(struct quic_link *link)
{
	if (link->control && list_is_linked(&link->control->ready))
		return link->control;
	if (list_is_empty(&link->ready))
		return NULL;
	return LIST_ENTRY(link->ready.next, struct quic_stream, ready);
}

unsigned int quic_stream_peek(const struct quic_stream *qs, size_t want, ngtcp2_vec *ret_vec,
			      bool *ret_fin)
{
	unsigned int count = 0;
	size_t sum = 0;
	const uint8_t *pos = qs->tx_pos;
	for (struct slice *s = qs->tx_slice; s && count < QUIC_STREAM_IOV && sum < want;) {
		size_t len = (size_t)(s->ptr + s->len - pos);
		if (len) {
			/* The library doesn't write there; its type just isn't const. */
			ret_vec[count++] = (ngtcp2_vec){ s->ptr + (pos - s->ptr), len };
			sum += len;
		}
		s = s->next;
		pos = s ? s->ptr : NULL;
	}
	*ret_fin = qs->wants_fin && sum == qs->tx.len - (qs->tx_sent - qs->tx_acked);
	return count;
}

void quic_stream_sent(struct quic_stream *qs, size_t len, bool is_fin)
{
	qs->tx_sent += len;
	qs->tx_turn += len;
	while (len) {
		size_t here = (size_t)(qs->tx_slice->ptr + qs->tx_slice->len - qs->tx_pos);
		size_t n = MIN(here, len);
		qs->tx_pos += n;
		len -= n;
		if (n == here && qs->tx_slice->next) {
			qs->tx_slice = qs->tx_slice->next;
			qs->tx_pos = qs->tx_slice->ptr;
		}
	}
	qs->has_sent_fin |= is_fin;

	if (!has_unsent(qs)) {
		qs->tx_turn = 0;
		list_remove(&qs->ready);
	} else if (qs->tx_turn >= QUIC_STREAM_TURN) {
		qs->tx_turn = 0;
		list_remove(&qs->ready);
		list_append(&qs->link->ready, &qs->ready);
	}
}

void quic_stream_block(struct quic_stream *qs)
{
	qs->is_blocked = true;
	qs->link->blocked++;
	qs->tx_turn = 0;
	list_remove(&qs->ready);
}

nsec_t quic_stream_retry_blocked(struct quic_link *link, nsec_t now)
{
	if (!link->blocked || !link->has_news)
		return NSEC_NEVER;
	if (nsec_sub(now, link->blocked_tried) < RETRY_BLOCKED)
		return link->blocked_tried + RETRY_BLOCKED;
	link->has_news = false;
	link->blocked = 0;
	link->blocked_tried = now;
	LIST_FOREACH(n, &link->streams)
	{
		struct quic_stream *qs = LIST_ENTRY(n, struct quic_stream, node);
		if (qs->is_blocked) {
			qs->is_blocked = false;
			wake(qs);
		}
	}
	return NSEC_NEVER;
}

nsec_t quic_stream_stuck_since(const struct quic_stream *qs)
{
	nsec_t rx = bufq_is_empty(&qs->rx) ? NSEC_NEVER : qs->rx_moved;
	nsec_t tx = bufq_is_empty(&qs->tx) ? NSEC_NEVER : qs->tx_moved;
	return MIN(rx, tx);
}

void quic_stream_overload(struct quic_stream *qs)
{
	overload(qs);
}

void quic_stream_check_room(struct quic_stream *qs)
{
	if (qs->wants_room && op_credit(&qs->base) >= ROOM_MIN)
		tell_writable(qs);
}
