/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 server connection: reads heads, hands exchanges to the handler one at a time and in
 * order, and decides what becomes of the connection after each. A visitor that sends requests ahead
 * waits in the stream, not in memory of ours.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "daemon/http/h1_server_priv.h"
#include "util/macro.h"

static const nsec_t LINGER_TIME = 2 * NSEC_PER_SEC;
/* While it drains: for the first request of who had connected before. */
static const nsec_t FIRST_TIME = NSEC_PER_SEC;

enum {
	LINGER_MAX = 256 * 1024,
	ARENA_MAX = 512 * 1024, /* a head, its fields, and what the handler makes of it */
	HEADS_A_TURN = 16,      /* reads while a head is looked for before we yield */
};

static nsec_t now(const struct http_conn *conn)
{
	return loop_now(conn->params.loop);
}

static void start_timer(struct http_conn *conn, nsec_t after)
{
	if (after)
		timer_start(conn->params.loop, &conn->timer, nsec_add(now(conn), after));
	else
		timer_stop(&conn->timer);
}

/* ---- states ---- */

static void enter_idle(struct http_conn *conn)
{
	const struct http_limits *lim = conn->params.limits;
	start_timer(conn, conn->has_served ? lim->idle_timeout : lim->header_timeout);
	conn_post_step(conn);
}

static void enter_linger(struct http_conn *conn)
{
	stream_finish(conn->s);
	start_timer(conn, LINGER_TIME);
	conn_post_step(conn);
}

static void enter_closed(struct http_conn *conn)
{
	timer_stop(&conn->timer);
	loop_task_cancel(&conn->flush);
	stream_forget_user(&conn->body);
	h1_rx_done(&conn->rx);
	h1_tx_done(&conn->tx);
	stream_close(conn->s);
	conn->s = NULL;
	conn_post_step(conn); /* on_closed comes from there */
}

void conn_step_to(struct http_conn *conn, enum conn_event event)
{
	enum conn_state last = conn->state, next = conn_fsm_next(last, event);
	assert(next != CONN_STATE_INVALID);
	conn->state = next;
	switch (next) {
	case CONN_STATE_IDLE:
		enter_idle(conn);
		break;
	case CONN_STATE_HEAD:
		start_timer(conn, conn->params.limits->header_timeout);
		break;
	case CONN_STATE_EXCHANGE:
		timer_stop(&conn->timer);
		conn->progress_at = now(conn);
		break;
	case CONN_STATE_SENDING:
		conn_post_flush(conn);
		break;
	case CONN_STATE_LINGER:
		enter_linger(conn);
		break;
	case CONN_STATE_CLOSED:
		/* The visitor may still be reading the last answer: a reset would destroy it. */
		if (last == CONN_STATE_IDLE && conn->has_served)
			stream_finish(conn->s);
		enter_closed(conn);
		break;
	case CONN_STATE_INVALID:
	case CONN_STATE_MAX_:
		break;
	}
}

/* ---- reading and writing ---- */

ssize_t conn_read(struct http_conn *conn)
{
	if (conn->peer_ended)
		return 0;
	ssize_t n = stream_read(conn->s, &conn->rx.raw, H1_READ_LEN);
	if (n > 0)
		conn->progress_at = now(conn);
	if (n == 0)
		conn->peer_ended = true;
	return n;
}

void conn_watch_progress(struct http_conn *conn)
{
	nsec_t timeout = conn->params.limits->body_timeout;
	if (!timeout || timer_is_armed(&conn->timer))
		return;
	start_timer(conn, timeout);
}

bool conn_flush(struct http_conn *conn)
{
	size_t before = conn->tx.out.len;
	if (!before)
		return true;
	int r = h1_tx_flush(&conn->tx, conn->s);
	if (conn->tx.out.len < before)
		conn->progress_at = now(conn);
	if (r < 0 && r != -EAGAIN) {
		conn_lost(conn);
		return false;
	}
	if (conn->tx.out.len)
		conn_watch_progress(conn);
	if (conn->wants_write && conn->tx.out.len < H1_OUT_FLUSH) {
		conn->wants_write = false;
		stream_tell(&conn->body, false, true);
	}
	return true;
}

void conn_post_flush(struct http_conn *conn)
{
	loop_task_post(conn->params.loop, &conn->flush, LOOP_PHASE_FLUSH);
}

void conn_post_step(struct http_conn *conn)
{
	loop_task_post(conn->params.loop, &conn->step, LOOP_PHASE_WORK);
}

void conn_lost(struct http_conn *conn)
{
	if (conn->state == CONN_STATE_CLOSED)
		return;
	if (conn->state != CONN_STATE_EXCHANGE) {
		conn_step_to(conn, CONN_EVENT_LOST);
		return;
	}
	if (conn->x.is_gone)
		return;
	conn->x.is_gone = true;
	timer_stop(&conn->timer);
	bufq_clear(&conn->tx.out);
	stream_tell(&conn->body, true, true);
}

/*
 * Where the framing tells that an answer was cut short, an ordinary end of the connection is
 * enough, and the visitor gets what was sent so far; a reset would destroy it on the way.
 */
static bool can_break_off(struct http_conn *conn)
{
	enum h1_framing framing = conn->tx.framing;
	if (conn->state != CONN_STATE_EXCHANGE || conn->x.is_gone || !conn->tx.has_head ||
	    (framing != H1_FRAMING_LENGTH && framing != H1_FRAMING_CHUNKED))
		return false;
	(void)h1_tx_flush(&conn->tx, conn->s);
	return bufq_is_empty(&conn->tx.out);
}

void conn_abort(struct http_conn *conn)
{
	if (conn->is_aborted || !conn->s)
		return;
	conn->is_aborted = true;
	if (can_break_off(conn)) {
		stream_finish(conn->s);
		return;
	}
	bufq_clear(&conn->tx.out);
	stream_reset(conn->s, STREAM_CODE_NONE);
}

/* ---- what each state does when something may have happened ---- */

/* Looks for the next request in what is there and what can be read. */
static void step_head(struct http_conn *conn)
{
	for (unsigned int i = 0; i < HEADS_A_TURN; i++) {
		int r = h1_rx_head(&conn->rx);
		if (conn->state == CONN_STATE_IDLE && (conn->rx.has_bytes || conn->rx.error))
			conn_step_to(conn, CONN_EVENT_BYTES);
		if (r == 0) {
			exchange_start(conn);
			return;
		}
		if (r != -EAGAIN) {
			exchange_reject(conn, conn->rx.status);
			return;
		}
		ssize_t n = conn_read(conn);
		bool is_waiting = n == -EAGAIN || n == -ENOBUFS;
		bool is_over = conn->is_draining && conn->has_served;
		if (is_waiting && !(is_over && conn->state == CONN_STATE_IDLE))
			return;
		if (n <= 0) {
			conn_step_to(conn, CONN_EVENT_LOST);
			return;
		}
	}
	conn_post_step(conn);
}

/* Whether the visitor's end has come behind bytes that nobody reads now (a body that is held back).
 */
static bool has_hung_up(const struct http_conn *conn)
{
	return !conn->tx.is_finished && !conn->peer_ended && !conn->x.is_gone &&
	       stream_read_error(conn->s) != 0;
}

/*
 * Looks whether the visitor is still there. When the request has been read whole, what it sends
 * ahead is kept up to a bound; before, its end shows without reading. A FIN counts as leaving, as
 * everywhere among proxies: it can't be told from a closed browser.
 */
static void step_exchange(struct http_conn *conn)
{
	if (has_hung_up(conn)) {
		conn_lost(conn);
		return;
	}
	if (conn->wants_read) {
		conn->wants_read = false;
		stream_tell(&conn->body, true, false);
	}
	if (!conn->rx.is_complete || conn->peer_ended || conn->x.is_gone ||
	    conn->rx.raw.len >= H1_READ_LEN)
		return;
	ssize_t n = conn_read(conn);
	if (n > 0)
		conn_post_step(conn);
	else if ((n == 0 && !conn->tx.is_finished) || (n < 0 && n != -EAGAIN && n != -ENOBUFS))
		conn_lost(conn);
}

static void step_sending(struct http_conn *conn)
{
	if (!conn_flush(conn) || conn->tx.out.len)
		return;
	h1_tx_next(&conn->tx);
	if (!conn->close_after && !conn->is_draining) {
		conn_step_to(conn, CONN_EVENT_SENT_KEEP);
		return;
	}
	conn_step_to(conn, CONN_EVENT_SENT_LAST);
}

static void step_linger(struct http_conn *conn)
{
	while (conn->lingered < LINGER_MAX) {
		ssize_t n = conn_read(conn);
		if (n == -EAGAIN || n == -ENOBUFS)
			return;
		if (n <= 0)
			break;
		conn->lingered += (size_t)n;
		bufq_clear(&conn->rx.raw);
	}
	conn_step_to(conn, CONN_EVENT_LOST);
}

static void release(struct loop_garbage *garbage)
{
	struct http_conn *conn = CONTAINER_OF(garbage, struct http_conn, garbage);
	arena_done(&conn->arena);
	free(conn);
}

static void step_closed(struct http_conn *conn)
{
	if (conn->params.on_closed)
		conn->params.on_closed(conn, conn->params.user);
	loop_defer_free(conn->params.loop, &conn->garbage);
}

static void run_step(struct loop_task *task)
{
	struct http_conn *conn = CONTAINER_OF(task, struct http_conn, step);
	switch (conn->state) {
	case CONN_STATE_IDLE:
	case CONN_STATE_HEAD:
		step_head(conn);
		break;
	case CONN_STATE_EXCHANGE:
		step_exchange(conn);
		break;
	case CONN_STATE_SENDING:
		step_sending(conn);
		break;
	case CONN_STATE_LINGER:
		step_linger(conn);
		break;
	case CONN_STATE_CLOSED:
		step_closed(conn);
		break;
	case CONN_STATE_INVALID:
	case CONN_STATE_MAX_:
		break;
	}
}

static void run_flush(struct loop_task *task)
{
	struct http_conn *conn = CONTAINER_OF(task, struct http_conn, flush);
	if (conn->state == CONN_STATE_SENDING)
		step_sending(conn);
	else if (conn->state == CONN_STATE_EXCHANGE && !conn->is_aborted)
		(void)conn_flush(conn);
}

static void on_readable(struct stream *s, void *user)
{
	(void)s;
	conn_post_step(user);
}

static void on_writable(struct stream *s, void *user)
{
	(void)s;
	struct http_conn *conn = user;
	if (conn->tx.out.len)
		conn_post_flush(conn);
}

static const struct stream_user stream_user = {
	.on_readable = on_readable,
	.on_writable = on_writable,
};

/* ---- time ---- */

/* No byte has moved for body_timeout while we waited for the visitor. */
static void expire_body(struct http_conn *conn)
{
	if (!conn->wants_read && !conn->tx.out.len)
		return; /* it was our side that was slow */
	nsec_t until = nsec_add(conn->progress_at, conn->params.limits->body_timeout);
	if (until > now(conn)) {
		timer_start(conn->params.loop, &conn->timer, until);
		return;
	}
	if (conn->tx.out.len) {
		conn_abort(conn);
		conn_lost(conn);
		return;
	}
	conn->read_error = -ETIMEDOUT;
	conn->wants_read = false;
	stream_tell(&conn->body, true, false);
}

static void on_expire(struct timer *timer)
{
	struct http_conn *conn = CONTAINER_OF(timer, struct http_conn, timer);
	switch (conn->state) {
	case CONN_STATE_HEAD:
		exchange_reject(conn, 408);
		break;
	case CONN_STATE_EXCHANGE:
	case CONN_STATE_SENDING:
		expire_body(conn);
		break;
	case CONN_STATE_IDLE:
	case CONN_STATE_LINGER:
		conn_step_to(conn, CONN_EVENT_LOST);
		break;
	case CONN_STATE_CLOSED:
	case CONN_STATE_INVALID:
	case CONN_STATE_MAX_:
		break;
	}
}

/* ---- life ---- */

int http_conn_new(struct stream *stream_take, const struct http_conn_params *params,
		  struct http_conn **ret)
{
	struct http_conn *conn = calloc(1, sizeof(*conn));
	if (!conn) {
		stream_close(stream_take);
		return -ENOMEM;
	}
	conn->s = stream_take;
	conn->params = *params;
	conn->state = CONN_STATE_IDLE;
	conn->timer.on_expire = on_expire;
	conn->step.run = run_step;
	conn->flush.run = run_flush;
	conn->garbage.release = release;
	arena_init(&conn->arena, ARENA_MAX, params->slab);
	h1_rx_init(&conn->rx, H1_KIND_REQUEST, params->slab, params->limits, &conn->arena);
	h1_tx_init(&conn->tx, params->slab);
	exchange_init_body(conn);
	start_timer(conn, params->limits->header_timeout);
	stream_set_user(conn->s, &stream_user, conn);
	*ret = conn;
	return 0;
}

void http_conn_drain(struct http_conn *conn)
{
	conn->is_draining = true;
	if (conn->state != CONN_STATE_IDLE)
		return;
	if (!conn->has_served &&
	    (!timer_is_armed(&conn->timer) || conn->timer.at > nsec_add(now(conn), FIRST_TIME)))
		start_timer(conn, FIRST_TIME);
	conn_post_step(conn); /* a request that has come already is answered */
}

void http_conn_close(struct http_conn *conn)
{
	if (conn->state == CONN_STATE_CLOSED)
		return;
	conn_abort(conn);
	conn_lost(conn);
}
