/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 connection: bytes between the stream beneath and nghttp2, and the connection's life.
 * Input is read within a budget per turn; output of a turn is gathered and written once.
 */
#include "daemon/http/h2.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/http/h2_send.h"
#include "daemon/http/h2_stream.h"
#include "daemon/http/h2_window.h"
#include "util/macro.h"

enum {
	READ_MAX = 64 * 1024,
	TURN_BUDGET = 256 * 1024, /* bytes in one turn, each way (style L2) */
	QUEUE_MAX = 1000,         /* frames that wait besides those of streams */
	ARENA_SHARE = 4,          /* fields in an arena take so many times their bytes at most */
};

/* ---- the end ----------------------------------------------------------------------------------
 */

void h2_end(struct h2_conn *c, enum h2_end end, uint32_t code, const char *reason)
{
	if (c->has_ended)
		return;
	h2_stream_lose_all(c);
	c->has_ended = true;
	c->end = end;
	c->end_code = code;
	(void)snprintf(c->end_reason, sizeof(c->end_reason), "%s", reason);
	timer_stop(&c->watch);
	loop_task_cancel(&c->read);
	loop_task_post(c->loop, &c->closer, LOOP_PHASE_WORK);
}

static void say_goaway(struct h2_conn *c, uint32_t code, const char *reason)
{
	struct span text = span_str(reason);
	(void)nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(c->session), code,
				    text.ptr, text.len);
}

void h2_fail(struct h2_conn *c, uint32_t code, const char *reason)
{
	if (c->has_ended)
		return;
	say_goaway(c, code, reason);
	h2_end(c, H2_END_PROTOCOL, code, reason);
}

void h2_close(struct h2_conn *c, uint32_t code, const char *reason)
{
	if (c->has_ended)
		return;
	say_goaway(c, code, reason);
	h2_end(c, H2_END_LOCAL, code, reason);
}

/* Last words, as far as the stream beneath takes them at once; it lingers until they have left. */
static void say_last(struct h2_conn *c)
{
	ssize_t n = 1;
	(void)nghttp2_session_send(c->session);
	while (n > 0 && !bufq_is_empty(&c->out)) {
		n = stream_write(c->below, &c->out, c->out.len);
		(void)nghttp2_session_send(c->session); /* there may be room for more */
	}
	if (n > 0 || n == -EAGAIN)
		stream_finish(c->below);
}

/* Gives everything back but the object. Not inside the library. */
static void shut(struct h2_conn *c)
{
	if (c->is_shut)
		return;
	c->is_shut = true;
	say_last(c);
	stream_close(c->below);
	c->below = NULL;
	h2_window_close(c);
	nghttp2_session_del(c->session);
	c->session = NULL;
	arena_done(&c->arena);
	h2_skim_done(&c->skim);
	bufq_clear(&c->in);
	bufq_clear(&c->out);
	loop_task_cancel(&c->read);
	loop_task_cancel(&c->flush);
	loop_task_cancel(&c->closer);
	loop_task_cancel(&c->notice);
}

static void run_closer(struct loop_task *task)
{
	struct h2_conn *c = CONTAINER_OF(task, struct h2_conn, closer);
	shut(c);
	c->events->on_closed(c, c->end, c->end_code, c->end_reason, c->user);
}

static void release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct h2_conn, garbage));
}

static void dispose(struct h2_conn *c)
{
	shut(c);
	c->garbage.release = release;
	loop_defer_free(c->loop, &c->garbage);
}

void h2_free(struct h2_conn *c)
{
	if (!c || c->is_freed)
		return;
	c->is_freed = true;
	h2_close(c, H2_CODE_NO_ERROR, "");
	loop_task_cancel(&c->closer);
	if (!c->depth)
		dispose(c);
}

/* ---- input ------------------------------------------------------------------------------------
 */

static void library_failed(struct h2_conn *c, nghttp2_ssize r)
{
	if (r == NGHTTP2_ERR_FLOODED || r == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
		c->stats.floods++;
		h2_fail(c, H2_CODE_ENHANCE_YOUR_CALM, nghttp2_strerror((int)r));
	} else if (r == NGHTTP2_ERR_NOMEM) {
		h2_fail(c, H2_CODE_INTERNAL_ERROR, nghttp2_strerror((int)r));
	} else {
		h2_fail(c, H2_CODE_PROTOCOL_ERROR, nghttp2_strerror((int)r));
	}
}

/* A peer that makes us answer and doesn't read: its answers pile up in the library. */
static void check_queue(struct h2_conn *c)
{
	size_t max = QUEUE_MAX + 4 * (size_t)c->stream_count;
	if (c->has_ended || nghttp2_session_get_outbound_queue_size(c->session) <= max)
		return;
	c->stats.floods++;
	h2_fail(c, H2_CODE_ENHANCE_YOUR_CALM, "too many frames wait to be sent");
}

/* What h2_skim lets pass. */
static int give_library(void *user, struct span bytes)
{
	struct h2_conn *c = user;
	nghttp2_ssize n = nghttp2_session_mem_recv2(c->session, bytes.ptr, bytes.len);
	if (n < 0 && !c->has_ended)
		library_failed(c, n);
	return c->has_ended ? -ECONNRESET : 0;
}

static void skim_failed(struct h2_conn *c, int error)
{
	if (error == -E2BIG) {
		c->stats.floods++;
		h2_fail(c, H2_CODE_ENHANCE_YOUR_CALM, "endless header block");
	} else if (error == -EBADMSG) {
		h2_fail(c, H2_CODE_COMPRESSION_ERROR, "malformed header block");
	} else {
		h2_fail(c, H2_CODE_INTERNAL_ERROR, "no memory");
	}
}

/* Gives what was read to the library. */
static void feed(struct h2_conn *c)
{
	c->depth++;
	while (!bufq_is_empty(&c->in) && !c->has_ended) {
		struct span run = bufq_peek(&c->in);
		int r = h2_skim_feed(&c->skim, run);
		if (r < 0 && !c->has_ended)
			skim_failed(c, r);
		bufq_consume(&c->in, run.len);
		check_queue(c);
	}
	c->depth--;
	h2_mark_dirty(c);
}

static void on_below_end(struct h2_conn *c, ssize_t n)
{
	if (n == 0)
		h2_end(c, H2_END_PEER, H2_CODE_NO_ERROR, "closed by the peer");
	else if (n != -EAGAIN && n != -ENOBUFS)
		h2_end(c, H2_END_LOST, H2_CODE_NO_ERROR, "connection lost");
	else if (c->is_below_broken)
		h2_end(c, H2_END_LOST, H2_CODE_NO_ERROR, "connection lost while writing");
}

static void read_below(struct h2_conn *c)
{
	size_t budget = TURN_BUDGET;
	while (budget && !c->has_ended) {
		ssize_t n = stream_read(c->below, &c->in, MIN(budget, (size_t)READ_MAX));
		if (n <= 0) {
			on_below_end(c, n);
			break;
		}
		c->stats.heard = loop_now(c->loop);
		c->stats.rx_bytes += (uint64_t)n;
		budget -= MIN(budget, (size_t)n);
		feed(c);
	}
	if (c->is_freed) {
		dispose(c);
		return;
	}
	if (!budget && !c->has_ended)
		loop_task_post(c->loop, &c->read, LOOP_PHASE_WORK);
}

static void run_read(struct loop_task *task)
{
	read_below(CONTAINER_OF(task, struct h2_conn, read));
}

static void on_readable(struct stream *below, void *user)
{
	(void)below;
	read_below(user);
}

/* ---- output -----------------------------------------------------------------------------------
 */

void h2_mark_dirty(struct h2_conn *c)
{
	if (!c->has_ended)
		loop_task_post(c->loop, &c->flush, LOOP_PHASE_FLUSH);
}

/* What the peer has sent before may still be read; then it is over. */
static void on_write_error(struct h2_conn *c)
{
	c->is_below_broken = true;
	bufq_clear(&c->out);
	loop_task_post(c->loop, &c->read, LOOP_PHASE_WORK);
}

/* The last stream that counts has ended and all is out. */
static void check_drained(struct h2_conn *c)
{
	if (c->is_draining && c->stream_count == c->held_count && bufq_is_empty(&c->out))
		h2_close(c, H2_CODE_NO_ERROR, "");
}

static void run_flush(struct loop_task *task)
{
	struct h2_conn *c = CONTAINER_OF(task, struct h2_conn, flush);
	size_t budget = TURN_BUDGET;
	while (!c->has_ended && !c->is_below_broken) {
		h2_send_fill(c);
		if (c->has_ended || bufq_is_empty(&c->out))
			break;
		if (!budget) {
			h2_mark_dirty(c);
			break;
		}
		ssize_t n = stream_write(c->below, &c->out, c->out.len);
		if (n < 0 && n != -EAGAIN)
			on_write_error(c);
		if (n < 0)
			break;
		c->stats.tx_bytes += (uint64_t)n;
		budget -= MIN(budget, (size_t)n);
		if (!bufq_is_empty(&c->out))
			break;
	}
	if (!c->has_ended)
		check_drained(c);
}

static void on_writable(struct stream *below, void *user)
{
	(void)below;
	h2_mark_dirty(user);
}

static const struct stream_user below_user = { .on_readable = on_readable,
					       .on_writable = on_writable };

void h2_submit_reset(struct h2_conn *c, int32_t id, uint32_t code)
{
	/* The peer would wait for ever for the end of a stream that it doesn't hear of. */
	int r = nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, id, code);
	if (r == NGHTTP2_ERR_NOMEM)
		h2_fail(c, H2_CODE_INTERNAL_ERROR, "no memory");
	h2_mark_dirty(c);
}

/* ---- asking -----------------------------------------------------------------------------------
 */

static void ask(struct h2_conn *c)
{
	c->asked = loop_now(c->loop);
	c->is_asking = true;
}

void h2_on_answer(struct h2_conn *c)
{
	if (!c->is_asking)
		return;
	c->is_asking = false;
	uint64_t sample = MAX(nsec_sub(loop_now(c->loop), c->asked), (nsec_t)1);
	uint64_t old = c->stats.rtt_nsec;
	c->stats.rtt_nsec = old ? old - old / 8 + sample / 8 : sample;
}

void h2_ping(struct h2_conn *c)
{
	if (c->has_ended || c->is_pinging)
		return;
	if (nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL) != 0)
		return;
	c->is_pinging = true;
	ask(c);
	h2_mark_dirty(c);
}

void h2_drain(struct h2_conn *c)
{
	if (c->has_ended || c->is_draining)
		return;
	c->is_draining = true;
	/* A notice names no last stream, so that the library still shows us later ones to refuse.
	 */
	if (c->role == H2_ROLE_SERVER)
		(void)nghttp2_submit_shutdown_notice(c->session);
	else
		say_goaway(c, H2_CODE_NO_ERROR, "");
	h2_mark_dirty(c);
}

/* ---- life cycle -------------------------------------------------------------------------------
 */

static void run_notice(struct loop_task *task)
{
	struct h2_conn *c = CONTAINER_OF(task, struct h2_conn, notice);
	if (!c->has_ended)
		c->events->on_goaway(c, c->user);
}

static struct h2_conn *conn_new(struct loop *loop, struct slab *slab,
				const struct h2_params *params)
{
	struct h2_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->role = params->role;
	c->settings = params->settings;
	c->events = params->events;
	c->user = params->user;
	c->loop = loop;
	c->slab = slab;
	c->below = params->below;
	c->read.run = run_read;
	c->flush.run = run_flush;
	c->closer.run = run_closer;
	c->notice.run = run_notice;
	c->watch.on_expire = h2_window_on_watch;
	h2_skim_init(&c->skim, c->role == H2_ROLE_SERVER, give_library, c);
	bufq_init(&c->in, slab);
	bufq_init(&c->out, slab);
	list_init(&c->streams);
	list_init(&c->ready);
	arena_init(&c->arena, ARENA_SHARE * MAX(c->settings->head_max, c->settings->trailer_max),
		   slab);
	c->stats.heard = loop_now(loop);
	return c;
}

int h2_new(struct loop *loop, struct slab *slab, const struct h2_params *params,
	   struct h2_conn **ret)
{
	struct h2_conn *c = conn_new(loop, slab, params);
	int r = c ? h2_session_new(c) : -ENOMEM;
	if (r < 0) {
		stream_close(params->below);
		if (c)
			nghttp2_session_del(c->session);
		free(c);
		return r;
	}
	h2_window_open(c);
	ask(c);
	stream_set_user(c->below, &below_user, c);
	h2_mark_dirty(c);
	*ret = c;
	return 0;
}

void h2_get_stats(const struct h2_conn *c, struct h2_stats *ret)
{
	*ret = c->stats;
	ret->streams = c->stream_count;
	ret->running = c->stream_count - c->held_count;
	ret->has_unsent =
		!c->is_shut && (!bufq_is_empty(&c->out) || nghttp2_session_want_write(c->session));
}
