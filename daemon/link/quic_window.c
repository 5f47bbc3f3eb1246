/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flow control of what comes in. The worker's slab counts what was granted and can still arrive,
 * because QUIC credit can't be withdrawn; growth stops at three quarters of the budget, and at nine
 * tenths streams that nobody moves are reset.
 */
#include "daemon/link/quic_window.h"

#include "daemon/link/quic_io.h"
#include "daemon/link/quic_stream.h"
#include "util/macro.h"

enum {
	PRESSURE_GROW = 750, /* thousandths of the budget: no growth from here on */
	GROWN_STREAMS = 125, /* of it, the sum of stream windows up to which one may still grow */
	START_MAX = 768 * 1024,
	START_MIN = 128 * 1024,
	START_SHARE = 4, /* of the budget, over all links of the worker */
};
#define STUCK_AFTER (5 * NSEC_PER_SEC)
#define WATCH_EVERY (20 * NSEC_PER_MSEC)
#define EVICT_EVERY (500 * NSEC_PER_MSEC)

static size_t budget_of(const struct quic_worker *qw)
{
	struct slab_stats stats;
	slab_get_stats(qw->worker->slab, &stats);
	return stats.limit;
}

uint64_t quic_window_start(const struct quic_worker *qw)
{
	uint64_t share = budget_of(qw) / START_SHARE / MAX(qw->link_count, 1U);
	uint64_t start = MAX(MIN(share, (uint64_t)START_MAX), (uint64_t)START_MIN);
	return MIN(start, qw->settings->link_window_max);
}

/*
 * What the budget counts of a link. A daemon opens no data streams: as long as the edge has opened
 * none it has nothing to send, so that thousands of idle links at an edge don't use the budget up.
 * An edge can fill a daemon's whole window at any time.
 */
void quic_window_recount(struct quic_link *link)
{
	bool is_idle = link->base.role == LINK_ROLE_SERVER && quic_stream_running(link) == 0;
	uint64_t due = is_idle ? 0 : link->reserved;
	struct slab *slab = link->qw->worker->slab;
	if (due > link->counted)
		slab_reserve(slab, due - link->counted);
	else
		slab_release(slab, link->counted - due);
	link->counted = due;
}

static void reserve(struct quic_link *link, uint64_t n)
{
	link->reserved += n;
	quic_window_recount(link);
}

static void release(struct quic_link *link, uint64_t n)
{
	link->reserved -= MIN(n, link->reserved);
	quic_window_recount(link);
}

void quic_window_open(struct quic_link *link, uint64_t size)
{
	rx_window_init(&link->window, size, loop_now(link->qw->worker->loop));
	reserve(link, size);
}

void quic_window_close(struct quic_link *link)
{
	release(link, link->reserved);
}

void quic_window_received(struct quic_link *link, uint64_t n)
{
	release(link, n);
}

static void pay(struct quic_link *link, uint64_t n)
{
	if (!n || !link->conn)
		return;
	ngtcp2_conn_extend_max_offset(link->conn, n);
	reserve(link, n);
}

/*
 * So much credit waits for consumers that the rest runs out soon. What is left must be more than
 * half of the first window, for the library announces less not at all.
 */
static bool is_starving(const struct quic_link *link)
{
	uint64_t left = link->window.size - MIN(link->unpaid, link->window.size);
	return left <= MIN(link->window.size / 2, (uint64_t)START_MAX);
}

void quic_window_stream_received(struct quic_stream *qs, uint64_t n)
{
	struct quic_link *link = qs->link;
	struct quic_worker *qw = link->qw;
	unsigned int pressure = slab_pressure(qw->worker->slab);
	if (pressure >= PRESSURE_GROW) {
		qs->rx_unpaid += n;
		link->unpaid += n;
		if (is_starving(link))
			quic_window_watch(qw);
		return;
	}

	pay(link, n);
	/* Growth must leave the sum of all links inside the budget. */
	uint64_t room = budget_of(qw) / 1000 * (PRESSURE_GROW - pressure);
	uint64_t max = MIN(qw->settings->link_window_max, link->window.size + room);
	pay(link, rx_window_advance(&link->window, n, max, loop_now(qw->worker->loop),
				    link->stats.rtt_nsec));
}

void quic_window_taken(struct quic_link *link, uint64_t n)
{
	pay(link, n);
}

static void settle(struct quic_stream *qs, uint64_t n)
{
	qs->rx_unpaid -= n;
	qs->link->unpaid -= n;
	pay(qs->link, n);
}

void quic_window_stream_settle(struct quic_stream *qs)
{
	settle(qs, qs->rx_unpaid);
}

void quic_window_stream_taken(struct quic_stream *qs, uint64_t n)
{
	struct quic_link *link = qs->link;
	settle(qs, MIN(n, qs->rx_unpaid));
	if (qs->has_fin)
		return;

	const struct quic_settings *settings = link->qw->settings;
	/* What was granted to one stream can't be taken back when its reader stalls. */
	struct quic_worker *qw = link->qw;
	uint64_t share = budget_of(qw) / 1000 * GROWN_STREAMS;
	bool may_grow = slab_pressure(qs->base.slab) < PRESSURE_GROW && qw->stream_windows < share;
	uint64_t room = may_grow ? share - qw->stream_windows : 0;
	uint64_t max = MIN(settings->stream_window_max, qs->window.size + room);
	uint64_t more = rx_window_advance(&qs->window, n, max, loop_now(qs->base.loop),
					  link->stats.rtt_nsec);
	qw->stream_windows += more;
	(void)ngtcp2_conn_extend_max_stream_offset(link->conn, qs->id, n + more);
}

void quic_window_watch(struct quic_worker *qw)
{
	struct loop *loop = qw->worker->loop;
	if (!timer_is_armed(&qw->watch))
		timer_start(loop, &qw->watch, loop_now(loop) + WATCH_EVERY);
}

void quic_window_on_short(void *qw)
{
	quic_window_watch(qw);
}

typedef void visit_fn(struct quic_stream *qs, void *arg);

static void each_stream_of(struct quic_link *link, visit_fn *visit, void *arg)
{
	LIST_FOREACH(s, &link->streams)
	visit(LIST_ENTRY(s, struct quic_stream, node), arg);
}

/* Calls visit for every stream of the worker. */
static void each_stream(struct quic_worker *qw, visit_fn *visit, void *arg)
{
	LIST_FOREACH(l, &qw->links)
	each_stream_of(LIST_ENTRY(l, struct quic_link, node), visit, arg);
}

struct victim {
	struct quic_stream *qs;
	nsec_t since;
};

static void choose_victim(struct quic_stream *qs, void *arg)
{
	struct victim *v = arg;
	nsec_t since = quic_stream_stuck_since(qs);
	if (since <= v->since)
		*v = (struct victim){ qs, since };
}

/* Of the streams that keep link credit back. */
static void choose_holder(struct quic_stream *qs, void *arg)
{
	if (qs->rx_unpaid)
		choose_victim(qs, arg);
}

/* Resets the stream that has been stuck for longest. False when none has been for long enough. */
static bool evict_one(struct quic_worker *qw, nsec_t now)
{
	struct victim v = { .since = nsec_sub(now, STUCK_AFTER) };
	each_stream(qw, choose_victim, &v);
	if (v.qs)
		quic_stream_overload(v.qs);
	return v.qs != NULL;
}

static void pay_if_easy(struct quic_stream *qs, void *arg)
{
	(void)arg;
	if (slab_pressure(qs->base.slab) < PRESSURE_GROW)
		quic_window_stream_settle(qs);
}

/*
 * Between the thresholds memory isn't short enough to end streams for its sake. But credit waits
 * for consumers there, and where those that are stuck keep most of a link's, they stop the others:
 * the longest stuck go until there is some again. Returns whether the link still starves.
 */
static bool feed(struct quic_link *link, nsec_t now)
{
	for (;;) {
		each_stream_of(link, pay_if_easy, NULL);
		if (!is_starving(link))
			return false;
		struct victim v = { .since = nsec_sub(now, STUCK_AFTER) };
		each_stream_of(link, choose_holder, &v);
		if (!v.qs)
			return true;
		quic_stream_overload(v.qs);
	}
}

static bool feed_links(struct quic_worker *qw, nsec_t now)
{
	bool is_any = false;
	LIST_FOREACH(l, &qw->links)
	{
		struct quic_link *link = LIST_ENTRY(l, struct quic_link, node);
		is_any |= is_starving(link) && feed(link, now);
	}
	return is_any;
}

static void offer_room(struct quic_stream *qs, void *arg)
{
	bool *is_waiting = arg;
	quic_stream_check_room(qs);
	*is_waiting |= qs->wants_room && bufq_is_empty(&qs->tx);
}

void quic_window_on_watch(struct timer *timer)
{
	struct quic_worker *qw = CONTAINER_OF(timer, struct quic_worker, watch);
	const struct slab *slab = qw->worker->slab;
	struct loop *loop = qw->worker->loop;
	nsec_t now = loop_now(loop);
	bool is_waiting = false;

	each_stream(qw, offer_room, &is_waiting);
	bool is_short = slab_pressure(slab) >= SLAB_PRESSURE_SHORT;
	while (slab_pressure(slab) >= SLAB_PRESSURE_SHORT && evict_one(qw, now))
		;
	bool is_any_starving = feed_links(qw, now);
	if (is_waiting)
		timer_start(loop, &qw->watch, now + WATCH_EVERY);
	else if (is_short || is_any_starving)
		timer_start(loop, &qw->watch, now + EVICT_EVERY);
}
