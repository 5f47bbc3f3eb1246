/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream of two halves on two workers. All that both threads touch is a ring per direction and
 * a flag per half; everything else in a half is its own worker's.
 *
 * Nobody misses a wake-up, and few are sent: who finds the ring empty (or full) raises a flag, and
 * looks once more; who has put something in (or taken it out) lowers the flag at the end of the
 * turn and sends a message if it was up. Both change the flag by exchange, so one of them sees the
 * other.
 *
 * The bridge is freed by whoever lets go last: two halves, and each message that is on its way.
 */
#include "daemon/flow/bridge.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cache.h"
#include "util/macro.h"

static constexpr nsec_t retry_after = 10 * NSEC_PER_MSEC; /* when there are no slice nodes */

enum ring_end : uint8_t {
	RING_END_NONE,
	RING_END_FINISHED,
	RING_END_RESET,
};

enum { PRESSURE_TIGHT = 500 }; /* thousandths of the budget */

struct slot {
	struct slab_buf *buf; /* one reference */
	uint8_t *ptr;
	uint32_t len;
};

/* One direction. Positions count slots and bytes from the beginning and are never reduced. */
struct ring {
	/* Written by the producer. */
	alignas(CACHE_LINE) _Atomic uint32_t head;
	_Atomic enum ring_end end;
	_Atomic uint64_t reset_code; /* valid with RING_END_RESET */
	_Atomic uint64_t sent;       /* bytes put in */
	struct slot slots[BRIDGE_SLOTS];

	/* Written by the consumer. */
	alignas(CACHE_LINE) _Atomic uint32_t tail;
	_Atomic uint64_t taken; /* bytes taken out */
	_Atomic bool is_stopped;
	_Atomic uint64_t stop_code; /* valid with is_stopped */
	uint32_t offset;            /* taken of the first slot; the consumer's own */

	/* Raised by who waits, lowered by who wakes. */
	alignas(CACHE_LINE) _Atomic bool consumer_waits;
	_Atomic bool producer_waits;
};
static_assert((BRIDGE_SLOTS & (BRIDGE_SLOTS - 1)) == 0);

struct bridge;

struct half {
	struct stream base;
	struct bridge *bridge;
	struct half *peer;
	struct worker *worker;
	struct ring *rx;
	struct ring *tx;
	metric_id messages;
	struct loop_task flush; /* sends at most one message a turn */
	struct timer retry;
	struct loop_garbage garbage;
	bool has_written; /* in this turn */
	bool has_taken;
	bool must_wake;
	bool wants_rx; /* the user was told -EAGAIN */
	bool wants_tx;
	bool is_finished;
	bool is_reset;
	bool is_stopped;
	bool is_closed;
	bool has_rx_end;
	bool has_rx_reset;
	bool has_told_stop; /* the peer's stop, to our user */

	/* On its way to the peer's worker while is_posted. */
	struct message message;
	_Atomic bool is_posted;
};

struct bridge {
	struct ring rings[2];
	struct half halves[2];
	_Atomic unsigned int refs;
};

static_assert(offsetof(struct half, base) == 0);

static struct half *half_of(struct stream *s)
{
	return (struct half *)s;
}

/* ---- rings --------------------------------------------------------------------------------- */

static struct slot *slot_at(struct ring *r, uint32_t position)
{
	return &r->slots[position % BRIDGE_SLOTS];
}

static uint32_t ring_used(const struct ring *r)
{
	/* Acquire: the reader of the other side's position sees what it did to the slots. */
	uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	return head - tail;
}

/*
 * Bytes on their way. Relaxed: each side knows its own number exactly, and an old one of the other
 * errs to the safe side: the producer sees too little room, the consumer wakes too early.
 */
static uint64_t ring_bytes(const struct ring *r)
{
	uint64_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
	uint64_t sent = atomic_load_explicit(&r->sent, memory_order_relaxed);
	return sent - taken;
}

/* For the producer: bytes that it may put in now; fewer when half of its worker's memory is used.
 */
static size_t ring_room(const struct ring *r, const struct slab *slab)
{
	size_t window = slab_pressure(slab) < PRESSURE_TIGHT ? BRIDGE_WINDOW : BRIDGE_WINDOW_TIGHT;
	size_t held = (size_t)ring_bytes(r);
	return ring_used(r) == BRIDGE_SLOTS || held >= window ? 0 : window - held;
}

/* For the consumer: so much is free that the producer is worth waking. */
static bool ring_is_roomy(const struct ring *r)
{
	return ring_used(r) <= BRIDGE_SLOTS / 2 && ring_bytes(r) <= BRIDGE_WINDOW / 2;
}

/* Takes over the slot's reference of the buffer. There must be room. */
static void ring_put(struct ring *r, struct slot slot)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	uint64_t sent = atomic_load_explicit(&r->sent, memory_order_relaxed);
	*slot_at(r, head) = slot;
	atomic_store_explicit(&r->sent, sent + slot.len, memory_order_relaxed);
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
}

/* For the consumer: len bytes of the first slot are done with. */
static void ring_take(struct ring *r, size_t len)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	uint64_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
	struct slot *slot = slot_at(r, tail);
	r->offset += (uint32_t)len;
	atomic_store_explicit(&r->taken, taken + len, memory_order_relaxed);
	if (r->offset < slot->len)
		return;
	r->offset = 0;
	slab_buf_unref(slot->buf);
	atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
}

/* For the consumer, or the last who holds the bridge. */
static void ring_drain(struct ring *r)
{
	while (ring_used(r)) {
		uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
		ring_take(r, slot_at(r, tail)->len - r->offset);
	}
}

static enum ring_end ring_end(const struct ring *r)
{
	return atomic_load_explicit(&r->end, memory_order_acquire);
}

/* True if it was up. Acquire and release: what either side did before is seen by the other. */
static bool flag_swap(_Atomic bool *flag, bool value)
{
	return atomic_exchange_explicit(flag, value, memory_order_acq_rel);
}

/* ---- references ---------------------------------------------------------------------------- */

static void bridge_ref(struct bridge *b)
{
	(void)atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

static void bridge_unref(struct bridge *b)
{
	if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	ring_drain(&b->rings[0]);
	ring_drain(&b->rings[1]);
	free(b);
}

static void release(struct loop_garbage *garbage)
{
	bridge_unref(CONTAINER_OF(garbage, struct half, garbage)->bridge);
}

/* ---- waking the other worker --------------------------------------------------------------- */

static void on_discard(struct message *message)
{
	bridge_unref(CONTAINER_OF(message, struct half, message)->bridge);
}

/* Who waits is told, and of an abnormal end also who doesn't: he may be waiting for something else.
 */
static void on_wake(struct half *h)
{
	if (h->is_stopped)
		ring_drain(h->rx);
	bool is_reset = ring_end(h->rx) == RING_END_RESET && !h->has_rx_reset && !h->is_stopped;
	bool is_refused = atomic_load_explicit(&h->tx->is_stopped, memory_order_acquire) &&
			  !h->has_told_stop && !h->is_finished;
	if (is_refused) {
		h->has_told_stop = true;
		h->base.error_code = atomic_load_explicit(&h->tx->stop_code, memory_order_relaxed);
	}
	stream_tell(&h->base, h->wants_rx || is_reset, h->wants_tx || is_refused);
	h->wants_rx = h->wants_tx = false;
}

/* Runs on the receiver's worker; the message is in the sender's half. */
static void on_deliver(struct message *message, void *owner)
{
	(void)owner;
	struct half *sender = CONTAINER_OF(message, struct half, message);
	struct half *h = sender->peer;
	/* From here on the sender may post again. */
	(void)flag_swap(&sender->is_posted, false);
	if (!h->is_closed)
		on_wake(h);
	bridge_unref(sender->bridge);
}

static void wake_peer(struct half *h)
{
	if (flag_swap(&h->is_posted, true))
		return; /* the one on its way will see it */
	bridge_ref(h->bridge);
	if (h->worker->metrics)
		metric_add(h->worker->metrics, h->messages, 1);
	mailbox_post(h->peer->worker->mailbox, &h->message);
}

static void flush_half(struct half *h)
{
	bool wakes = h->must_wake;
	if (h->has_written && flag_swap(&h->tx->consumer_waits, false))
		wakes = true;
	if (h->has_taken && ring_is_roomy(h->rx) && flag_swap(&h->rx->producer_waits, false))
		wakes = true;
	h->has_written = h->has_taken = h->must_wake = false;
	if (wakes)
		wake_peer(h);
}

static void run_flush(struct loop_task *task)
{
	flush_half(CONTAINER_OF(task, struct half, flush));
}

static void post_flush(struct half *h)
{
	loop_task_post(h->base.loop, &h->flush, LOOP_PHASE_FLUSH);
}

/* ---- reading ------------------------------------------------------------------------------- */

static void on_retry(struct timer *timer)
{
	struct half *h = CONTAINER_OF(timer, struct half, retry);
	stream_tell(&h->base, true, false);
}

/* Moves what is there. Returns how many bytes, or -ENOBUFS without slice nodes. */
static ssize_t take_bytes(struct half *h, struct bufq *to, size_t max)
{
	struct ring *r = h->rx;
	size_t total = 0;
	while (total < max && ring_used(r)) {
		uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
		struct slot *slot = slot_at(r, tail);
		size_t n = MIN((size_t)(slot->len - r->offset), max - total);
		if (bufq_append_ref(to, slot->buf, slot->ptr + r->offset, n) < 0) {
			timer_start(h->base.loop, &h->retry, loop_now(h->base.loop) + retry_after);
			return total ? (ssize_t)total : -ENOBUFS;
		}
		ring_take(r, n);
		total += n;
	}
	return (ssize_t)total;
}

static ssize_t read_end(struct half *h, enum ring_end end)
{
	if (end == RING_END_FINISHED) {
		h->has_rx_end = true;
		return 0;
	}
	h->has_rx_reset = true;
	h->base.error_code = atomic_load_explicit(&h->rx->reset_code, memory_order_relaxed);
	ring_drain(h->rx);
	return -ECONNRESET;
}

/* As op_read(), but without the last look. */
static ssize_t read_once(struct half *h, struct bufq *to, size_t max)
{
	/* The end first: what was put in before it is there when it is. */
	enum ring_end end = ring_end(h->rx);
	if (end == RING_END_RESET)
		return read_end(h, end);
	ssize_t n = take_bytes(h, to, max);
	if (n == 0)
		return end == RING_END_FINISHED ? read_end(h, end) : -EAGAIN;
	if (n > 0) {
		h->has_taken = true;
		post_flush(h);
	}
	return n;
}

static ssize_t op_read(struct stream *s, struct bufq *to, size_t max)
{
	struct half *h = half_of(s);
	if (h->is_stopped)
		return -ECANCELED;
	if (h->has_rx_reset)
		return -ECONNRESET;
	if (h->has_rx_end)
		return 0;
	if (max == 0)
		return -EAGAIN;
	ssize_t n = read_once(h, to, max);
	if (n != -EAGAIN)
		return n;
	(void)flag_swap(&h->rx->consumer_waits, true);
	n = read_once(h, to, max);
	h->wants_rx = n == -EAGAIN;
	return n;
}

static int op_read_error(struct stream *s)
{
	struct half *h = half_of(s);
	if (ring_end(h->rx) != RING_END_RESET)
		return 0;
	s->error_code = atomic_load_explicit(&h->rx->reset_code, memory_order_relaxed);
	return -ECONNRESET;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Puts the first run of from into the ring, or as much as there is room for. Returns its length. */
static size_t put_run(struct ring *r, const struct slab *slab, struct bufq *from, size_t max)
{
	const struct slice *slice = from->head;
	size_t n = MIN((size_t)slice->len, ring_room(r, slab));
	n = MIN(n, max);
	if (n) {
		ring_put(r, (struct slot){ .buf = slab_buf_ref(slice->buf),
					   .ptr = slice->ptr,
					   .len = (uint32_t)n });
		bufq_consume(from, n);
	}
	return n;
}

static int op_write_error(const struct stream *s)
{
	const struct half *h = (const struct half *)s;
	return atomic_load_explicit(&h->tx->is_stopped, memory_order_acquire) ? -EPIPE : 0;
}

static ssize_t op_write(struct stream *s, struct bufq *from, size_t max)
{
	struct half *h = half_of(s);
	struct ring *r = h->tx;
	if (h->is_finished || h->is_reset)
		return -EPROTO;
	if (atomic_load_explicit(&r->is_stopped, memory_order_acquire)) {
		s->error_code = atomic_load_explicit(&r->stop_code, memory_order_relaxed);
		return -EPIPE;
	}

	size_t total = 0;
	bool has_waited = false;
	max = MIN(max, from->len);
	while (total < max) {
		size_t n = put_run(r, s->slab, from, max - total);
		total += n;
		if (n == 0 && (total || has_waited))
			break;
		if (n == 0) {
			(void)flag_swap(&r->producer_waits, true);
			has_waited = true; /* one more look */
		}
	}
	if (total) {
		h->has_written = true;
		post_flush(h);
	}
	h->wants_tx = total == 0 && max;
	return h->wants_tx ? -EAGAIN : (ssize_t)total;
}

static size_t op_credit(const struct stream *s)
{
	const struct half *h = (const struct half *)s;
	bool is_over = h->is_finished || h->is_reset ||
		       atomic_load_explicit(&h->tx->is_stopped, memory_order_acquire);
	return is_over ? 0 : ring_room(h->tx, s->slab);
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void set_end(struct half *h, enum ring_end end)
{
	atomic_store_explicit(&h->tx->end, end, memory_order_release);
	h->must_wake = true;
	post_flush(h);
}

static void op_finish(struct stream *s)
{
	struct half *h = half_of(s);
	if (h->is_finished || h->is_reset)
		return;
	h->is_finished = true;
	set_end(h, RING_END_FINISHED);
}

static void op_reset(struct stream *s, uint64_t code)
{
	struct half *h = half_of(s);
	if (h->is_reset)
		return;
	h->is_reset = true;
	atomic_store_explicit(&h->tx->reset_code, code, memory_order_relaxed);
	set_end(h, RING_END_RESET);
}

static void op_stop(struct stream *s, uint64_t code)
{
	struct half *h = half_of(s);
	if (h->is_stopped)
		return;
	h->is_stopped = true;
	ring_drain(h->rx);
	/* What is put in before the other side has seen it is dropped when it wakes us. */
	(void)flag_swap(&h->rx->consumer_waits, true);
	atomic_store_explicit(&h->rx->stop_code, code, memory_order_relaxed);
	atomic_store_explicit(&h->rx->is_stopped, true, memory_order_release);
	h->must_wake = true;
	post_flush(h);
}

static void op_close(struct stream *s)
{
	struct half *h = half_of(s);
	if (!h->is_finished)
		op_reset(s, STREAM_CODE_NONE);
	op_stop(s, STREAM_CODE_NONE);
	h->is_closed = true;
	timer_stop(&h->retry);
	loop_task_cancel(&h->flush);
	flush_half(h);
	h->garbage.release = release;
	loop_defer_free(s->loop, &h->garbage);
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

/* ---- making one ---------------------------------------------------------------------------- */

static void init_half(struct bridge *b, unsigned int i, struct worker *own,
		      const struct worker *other, const struct bridge_metrics *metrics)
{
	struct half *h = &b->halves[i];
	h->base = (struct stream){ .ops = &ops, .loop = own->loop, .slab = own->slab };
	h->bridge = b;
	h->peer = &b->halves[!i];
	h->worker = own;
	h->rx = &b->rings[i];
	h->tx = &b->rings[!i];
	h->flush.run = run_flush;
	h->retry.on_expire = on_retry;
	h->message.on_deliver = on_deliver;
	h->message.on_discard = on_discard;
	/* Both users will have to be told of the first bytes. */
	h->wants_rx = true;
	atomic_init(&h->rx->consumer_waits, true);
	if (metrics)
		h->messages = metrics->messages[own->index * metrics->workers + other->index];
}

int bridge_new(struct worker *a, struct worker *b, const struct bridge_metrics *metrics,
	       struct stream **ret_a, struct stream **ret_b)
{
	assert(a != b);
	struct bridge *bridge = aligned_alloc(CACHE_LINE, sizeof(*bridge));
	if (!bridge)
		return -ENOMEM;
	memset(bridge, 0, sizeof(*bridge));
	atomic_init(&bridge->refs, 2);
	init_half(bridge, 0, a, b, metrics);
	init_half(bridge, 1, b, a, metrics);
	*ret_a = &bridge->halves[0].base;
	*ret_b = &bridge->halves[1].base;
	return 0;
}

/* ---- metrics ------------------------------------------------------------------------------- */

static const struct metric_family messages_family = {
	.name = "adit_bridge_messages_total",
	.help = "Wake-ups between workers for streams whose ends live on two.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "from", "to" },
};

int bridge_metrics_init(struct bridge_metrics *m, struct metric_registry *reg, unsigned int workers)
{
	int family = metric_define(reg, &messages_family);
	if (family < 0)
		return family;
	metric_id *ids = calloc((size_t)workers * workers, sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	for (unsigned int from = 0; from < workers; from++) {
		for (unsigned int to = 0; to < workers; to++) {
			char names[2][12];
			(void)snprintf(names[0], sizeof(names[0]), "%u", from);
			(void)snprintf(names[1], sizeof(names[1]), "%u", to);
			const char *values[] = { names[0], names[1] };
			if (from != to)
				ids[from * workers + to] = metric_series(reg, family, values);
		}
	}
	*m = (struct bridge_metrics){ .workers = workers, .messages = ids };
	return 0;
}

void bridge_metrics_done(struct bridge_metrics *m)
{
	free(m->messages);
	*m = (struct bridge_metrics){};
}
