/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flow control of what comes in, as link/quic_window does it: the worker's slab counts what was
 * granted and can still arrive; a stream's credit returns when its user takes bytes, the
 * connection's when they arrive as long as memory isn't short, else when they are taken.
 */
#include "daemon/http/h2_window.h"

#include "daemon/http/h2_stream.h"
#include "util/macro.h"

enum {
	PRESSURE_GROW = 750, /* thousandths of the budget: no growth from here on */
	GROWN_STREAMS = 125, /* of it, the sum of stream windows up to which one may still grow */
	START_SHARE = 4,     /* of the budget, what a connection may begin with */
	START_MIN = 65535,   /* RFC 9113 §6.9.2: it can't be less */
};
#define STUCK_AFTER (5 * NSEC_PER_SEC)
#define WATCH_EVERY (20 * NSEC_PER_MSEC)
#define GUARD_EVERY (500 * NSEC_PER_MSEC)

static size_t budget_of(const struct h2_conn *c)
{
	struct slab_stats stats;
	slab_get_stats(c->slab, &stats);
	return stats.limit;
}

/*
 * What the budget counts. A client's peer sends nothing but answers: as long as none is due,
 * thousands of idle connections at an edge don't use the budget up.
 */
void h2_window_recount(struct h2_conn *c)
{
	bool is_idle = c->role == H2_ROLE_CLIENT && c->stream_count == c->held_count;
	uint64_t due = is_idle ? 0 : c->reserved;
	if (due > c->counted)
		slab_reserve(c->slab, due - c->counted);
	else
		slab_release(c->slab, c->counted - due);
	c->counted = due;
}

static void reserve(struct h2_conn *c, uint64_t n)
{
	c->reserved += n;
	h2_window_recount(c);
}

static void release(struct h2_conn *c, uint64_t n)
{
	c->reserved -= MIN(n, c->reserved);
	h2_window_recount(c);
}

void h2_window_open(struct h2_conn *c)
{
	uint64_t size = MIN((uint64_t)c->settings->conn_window, budget_of(c) / START_SHARE);
	size = MAX(size, (uint64_t)START_MIN);
	rx_window_init(&c->window, size, loop_now(c->loop));
	(void)nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
						    (int32_t)size);
	reserve(c, size);
}

void h2_window_close(struct h2_conn *c)
{
	timer_stop(&c->watch);
	release(c, c->reserved);
}

/* Connection credit for n bytes that came. */
static void pay(struct h2_conn *c, uint64_t n)
{
	if (!n || c->has_ended)
		return;
	(void)nghttp2_session_consume_connection(c->session, n);
	reserve(c, n);
	h2_mark_dirty(c);
}

void h2_window_skip(struct h2_conn *c, uint64_t n)
{
	release(c, n);
	pay(c, n);
}

/* The connection's window follows its use, inside the budget. */
static void grow(struct h2_conn *c, uint64_t n, unsigned int pressure)
{
	uint64_t room = budget_of(c) / 1000 * (PRESSURE_GROW - pressure);
	uint64_t max = MIN((uint64_t)c->settings->conn_window_max, c->window.size + room);
	uint64_t more = rx_window_advance(&c->window, n, max, loop_now(c->loop), c->stats.rtt_nsec);
	if (!more || c->has_ended)
		return;
	(void)nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
						    (int32_t)c->window.size);
	reserve(c, more);
}

/*
 * So much credit waits for consumers that the rest runs out soon. What is left must be more than
 * half of the window, for the library announces less not at all.
 */
static bool is_starving(const struct h2_conn *c)
{
	return c->unpaid >= c->window.size / 2;
}

void h2_window_received(struct h2_stream *s, uint64_t n)
{
	struct h2_conn *c = s->conn;
	unsigned int pressure = slab_pressure(c->slab);
	release(c, n);
	h2_window_guard(c);
	if (pressure >= PRESSURE_GROW) {
		s->rx_unpaid += n;
		c->unpaid += n;
		return;
	}
	pay(c, n);
	grow(c, n, pressure);
}

static void settle(struct h2_stream *s, uint64_t n)
{
	s->rx_unpaid -= n;
	s->conn->unpaid -= n;
	pay(s->conn, n);
}

void h2_window_settle(struct h2_stream *s)
{
	settle(s, s->rx_unpaid);
}

void h2_window_taken(struct h2_stream *s, uint64_t n)
{
	struct h2_conn *c = s->conn;
	settle(s, MIN(n, s->rx_unpaid));
	if (s->has_fin || c->has_ended)
		return;

	/* What was granted to one stream can't be taken back when its reader stalls. */
	uint64_t share = budget_of(c) / 1000 * GROWN_STREAMS;
	bool may_grow = slab_pressure(c->slab) < PRESSURE_GROW && c->stream_windows < share;
	uint64_t room = may_grow ? share - c->stream_windows : 0;
	uint64_t max = MIN((uint64_t)c->settings->stream_window_max, s->window.size + room);
	uint64_t more = rx_window_advance(&s->window, n, max, loop_now(c->loop), c->stats.rtt_nsec);
	c->stream_windows += more;
	(void)nghttp2_session_consume_stream(c->session, s->id, n);
	if (more)
		(void)nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, s->id,
							    (int32_t)s->window.size);
	h2_mark_dirty(c);
}

/* ---- who holds memory ------------------------------------------------------------------------ */

static void look_in(struct h2_conn *c, nsec_t after)
{
	nsec_t at = loop_now(c->loop) + after;
	if (!c->has_ended && (!timer_is_armed(&c->watch) || c->watch.at > at))
		timer_start(c->loop, &c->watch, at);
}

void h2_window_watch(struct h2_conn *c)
{
	look_in(c, WATCH_EVERY);
}

void h2_window_guard(struct h2_conn *c)
{
	look_in(c, GUARD_EVERY);
}

/* The stream that has been stuck for longest, and for long enough; of those that keep the
 * connection's credit back, or of all. */
static struct h2_stream *find_stuck(struct h2_conn *c, bool is_holder)
{
	struct h2_stream *found = NULL;
	nsec_t since = nsec_sub(loop_now(c->loop), STUCK_AFTER);
	LIST_FOREACH(n, &c->streams)
	{
		struct h2_stream *s = LIST_ENTRY(n, struct h2_stream, node);
		nsec_t at = h2_stream_stuck_since(s);
		if (at > since || (is_holder && !s->rx_unpaid))
			continue;
		since = at;
		found = s;
	}
	return found;
}

static void pay_if_easy(struct h2_conn *c)
{
	LIST_FOREACH(n, &c->streams)
	{
		if (slab_pressure(c->slab) >= PRESSURE_GROW)
			return;
		h2_window_settle(LIST_ENTRY(n, struct h2_stream, node));
	}
}

/* Ends the longest stuck streams until there is memory, and credit for the others. */
static void evict(struct h2_conn *c)
{
	struct h2_stream *s;
	while (slab_pressure(c->slab) >= SLAB_PRESSURE_SHORT && (s = find_stuck(c, false)))
		h2_stream_fail(s, H2_CODE_ENHANCE_YOUR_CALM);
	pay_if_easy(c);
	while (is_starving(c) && (s = find_stuck(c, true)))
		h2_stream_fail(s, H2_CODE_ENHANCE_YOUR_CALM);
}

void h2_window_on_watch(struct timer *timer)
{
	struct h2_conn *c = CONTAINER_OF(timer, struct h2_conn, watch);
	bool is_any = false, is_waiting = false;
	evict(c);
	LIST_FOREACH(n, &c->streams)
	{
		struct h2_stream *s = LIST_ENTRY(n, struct h2_stream, node);
		h2_stream_check_room(s);
		is_any |= !bufq_is_empty(&s->rx) || !bufq_is_empty(&s->tx);
		is_waiting |= s->wants_room && bufq_is_empty(&s->tx);
	}
	h2_mark_dirty(c); /* a frame may have waited for a buffer */
	if (is_waiting)
		h2_window_watch(c);
	else if (is_any)
		h2_window_guard(c);
}
