/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 client: one request and its answer on a connection that somebody else owns. Answers are
 * read leniently (spec §7), so whatever was odd about one makes the connection the last's.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/http/h1_priv.h"
#include "util/macro.h"

enum {
	ARENA_MAX = 512 * 1024,
	INTERIM_MAX = 16,  /* 1xx answers before the final one */
	READS_A_TURN = 16, /* while a head is looked for */
	READS_A_CALL = 4,  /* while only framing comes */
};

struct http_call {
	struct stream *conn; /* borrowed */
	struct loop *loop;
	const struct http_limits *limits;
	const struct http_call_events *events;
	void *user;
	struct stream body;
	struct arena arena;
	struct h1_rx rx;
	struct h1_tx tx;
	struct timer timer; /* header_timeout, then body_timeout */
	struct loop_task flush;
	struct loop_task fail; /* to tell of an error that was found inside a call of ours */
	struct loop_garbage garbage;
	nsec_t progress_at;
	unsigned int interim; /* 1xx answers passed over, */
	unsigned int hints;   /* of them other than 100 */
	int error;            /* of the call before its head, or of the answer's body */
	int write_error;      /* the connection takes no more */
	bool is_told;         /* on_response was called */
	bool awaits_head;     /* what the timer is for */
	bool wants_upgrade;
	bool wants_read;
	bool wants_write;
	bool is_stopped;
	bool is_reset;
	bool peer_ended;
};

static struct http_call *call_of_body(struct stream *s)
{
	return CONTAINER_OF(s, struct http_call, body);
}

static void post_flush(struct http_call *call)
{
	loop_task_post(call->loop, &call->flush, LOOP_PHASE_FLUSH);
}

/* ---- the head ---- */

static void tell(struct http_call *call, int error)
{
	if (call->is_told)
		return;
	call->is_told = true;
	call->awaits_head = false;
	call->error = error;
	timer_stop(&call->timer);
	call->events->on_response(call, error, call->user);
}

static void run_fail(struct loop_task *task)
{
	struct http_call *call = CONTAINER_OF(task, struct http_call, fail);
	tell(call, call->error);
}

/* Remembers an error; who waits for the head learns of it from the loop. */
static void fail_later(struct http_call *call, int error)
{
	if (!call->error)
		call->error = error;
	if (!call->is_told)
		loop_task_post(call->loop, &call->fail, LOOP_PHASE_WORK);
}

/* As stream_read(); 0 again after the end. */
static ssize_t read_conn(struct http_call *call)
{
	if (call->peer_ended)
		return 0;
	ssize_t n = stream_read(call->conn, &call->rx.raw, H1_READ_LEN);
	if (n > 0)
		call->progress_at = loop_now(call->loop);
	if (n == 0)
		call->peer_ended = true;
	return n;
}

/* 101: what follows belongs to whoever takes the connection over. */
static int switch_protocol(struct http_call *call)
{
	if (!call->wants_upgrade || call->tx.out.len)
		return -EBADMSG;
	call->rx.head.body = HTTP_BODY_UPGRADE;
	call->rx.keep_alive = false;
	return 1;
}

/* An interim answer is passed over: 0. Else 1, or an error. */
static int judge_head(struct http_call *call)
{
	unsigned int status = call->rx.head.status;
	if (status >= 200)
		return 1;
	if (status == 101)
		return switch_protocol(call);
	call->hints += status != 100;
	if (++call->interim > INTERIM_MAX)
		return -EBADMSG;
	h1_rx_next(&call->rx);
	call->rx.has_bytes = true; /* the call is not untouched any more */
	return 0;
}

static int step_read_error(struct http_call *call, ssize_t n)
{
	if (n == 0)
		return h1_rx_eof(&call->rx) < 0 && call->rx.has_bytes ? -EBADMSG : -ECONNRESET;
	return (int)n;
}

/* 0 with a final head, -EAGAIN, or why there will be none. */
static int look_for_head(struct http_call *call)
{
	for (unsigned int i = 0; i < READS_A_TURN; i++) {
		int r = h1_rx_head(&call->rx);
		if (r == 0) {
			r = judge_head(call);
			if (r != 0)
				return r < 0 ? r : 0;
			continue;
		}
		if (r != -EAGAIN)
			return r;
		ssize_t n = read_conn(call);
		if (n == -EAGAIN || n == -ENOBUFS)
			return -EAGAIN;
		if (n <= 0)
			return step_read_error(call, n);
	}
	stream_tell(call->conn, true, false); /* more next time */
	return -EAGAIN;
}

static void on_conn_readable(struct stream *s, void *user)
{
	(void)s;
	struct http_call *call = user;
	if (call->is_told) {
		call->wants_read = false;
		stream_tell(&call->body, true, false);
		return;
	}
	int r = look_for_head(call);
	if (r == -EAGAIN)
		return;
	stream_tell(&call->body, true, true);
	tell(call, r);
}

/* ---- writing ---- */

/* The time for the answer's head runs from the request's end. */
static void start_header_timer(struct http_call *call)
{
	if (call->is_told || !call->limits->header_timeout || call->awaits_head)
		return;
	call->awaits_head = true;
	timer_start(call->loop, &call->timer,
		    nsec_add(loop_now(call->loop), call->limits->header_timeout));
}

/* How long nothing may move as things stand; NSEC_NEVER when nobody waits for the origin. */
static nsec_t patience(const struct http_call *call)
{
	const struct http_limits *limits = call->limits;
	nsec_t wait = NSEC_NEVER;
	if (call->tx.out.len && limits->write_timeout)
		wait = limits->write_timeout;
	if (call->is_told && limits->body_timeout && (call->tx.out.len || call->wants_read))
		wait = MIN(wait, limits->body_timeout);
	return wait;
}

static void watch_progress(struct http_call *call)
{
	nsec_t wait = patience(call);
	if (wait != NSEC_NEVER && !timer_is_armed(&call->timer))
		timer_start(call->loop, &call->timer, nsec_add(loop_now(call->loop), wait));
}

/*
 * An origin may answer before it has read the request and close its side: a write that fails is no
 * failure of the call as long as an answer may come.
 */
static void flush(struct http_call *call)
{
	if (call->is_reset)
		return;
	size_t before = call->tx.out.len;
	int r = h1_tx_flush(&call->tx, call->conn);
	if (call->tx.out.len < before)
		call->progress_at = loop_now(call->loop);
	if (r < 0 && r != -EAGAIN) {
		call->write_error = r;
		bufq_clear(&call->tx.out);
		stream_tell(&call->body, false, true);
		return;
	}
	if (call->tx.out.len) {
		watch_progress(call);
	} else if (call->tx.is_finished) {
		start_header_timer(call);
	}
	if (call->wants_write && call->tx.out.len < H1_OUT_FLUSH) {
		call->wants_write = false;
		stream_tell(&call->body, false, true);
	}
}

static void run_flush(struct loop_task *task)
{
	flush(CONTAINER_OF(task, struct http_call, flush));
}

static void on_conn_writable(struct stream *s, void *user)
{
	(void)s;
	struct http_call *call = user;
	if (call->tx.out.len || call->wants_write)
		post_flush(call);
}

static const struct stream_user conn_user = {
	.on_readable = on_conn_readable,
	.on_writable = on_conn_writable,
};

/* ---- the body stream ---- */

static ssize_t read_more(struct http_call *call, struct bufq *to, size_t max)
{
	for (unsigned int i = 0; i < READS_A_CALL; i++) {
		ssize_t n = read_conn(call);
		if (n == -EAGAIN || n == -ENOBUFS) {
			if (!call->wants_read)
				call->progress_at = loop_now(call->loop);
			call->wants_read = true;
			watch_progress(call);
			return n;
		}
		if (n < 0)
			return n;
		if (n == 0)
			return h1_rx_eof(&call->rx);
		n = h1_rx_body(&call->rx, to, max);
		if (n != -EAGAIN)
			return n;
	}
	stream_tell(&call->body, true, false);
	return -EAGAIN;
}

static ssize_t body_read(struct stream *s, struct bufq *to, size_t max)
{
	struct http_call *call = call_of_body(s);
	if (call->is_stopped)
		return -ECANCELED;
	if (!call->is_told || !max)
		return call->error ? call->error : -EAGAIN;
	if (call->error)
		return call->error;
	ssize_t n = h1_rx_body(&call->rx, to, max);
	if (n == -EAGAIN)
		n = read_more(call, to, max);
	if (n < 0 && n != -EAGAIN && n != -ENOBUFS) {
		call->error = (int)n;
		s->error_code = call->conn->error_code;
	}
	return n;
}

static int body_write_error(const struct stream *s)
{
	const void *start = (const char *)s - offsetof(struct http_call, body);
	const struct http_call *call = start;
	return call->write_error              ? call->write_error
	       : call->is_told && call->error ? -ECONNRESET
					      : 0;
}

static ssize_t body_write(struct stream *s, struct bufq *from, size_t max)
{
	struct http_call *call = call_of_body(s);
	if (call->is_reset)
		return -EPROTO;
	if (call->write_error)
		return call->write_error;
	if (call->is_told && call->error)
		return -ECONNRESET;
	ssize_t n = h1_tx_body(&call->tx, from, max);
	if (n == -EAGAIN && call->tx.out.len >= H1_OUT_FLUSH) {
		flush(call);
		n = call->write_error ? call->write_error : h1_tx_body(&call->tx, from, max);
	}
	if (n == -EAGAIN)
		call->wants_write = true;
	if (n <= 0)
		return n;
	call->progress_at = loop_now(call->loop);
	if (call->tx.out.len >= H1_OUT_FLUSH)
		flush(call);
	if (call->tx.out.len)
		post_flush(call);
	return n;
}

static size_t body_credit(const struct stream *s)
{
	const void *start = (const char *)s - offsetof(struct http_call, body);
	const struct http_call *call = start;
	return call->is_reset || call->write_error ? 0 : h1_tx_credit(&call->tx);
}

static void break_off(struct http_call *call)
{
	if (call->is_reset)
		return;
	call->is_reset = true;
	bufq_clear(&call->tx.out);
	stream_reset(call->conn, STREAM_CODE_NONE);
}

static void body_finish(struct stream *s)
{
	struct http_call *call = call_of_body(s);
	if (call->is_reset || call->write_error)
		return;
	if (h1_tx_finish(&call->tx) < 0) {
		break_off(call); /* shorter than announced, or no buffer for the last chunk */
		fail_later(call, -ECONNRESET);
		return;
	}
	post_flush(call);
}

static void body_reset(struct stream *s, uint64_t code)
{
	(void)code;
	struct http_call *call = call_of_body(s);
	if (!call->tx.is_finished)
		break_off(call);
}

static void body_stop(struct stream *s, uint64_t code)
{
	(void)code;
	call_of_body(s)->is_stopped = true;
}

static void body_close(struct stream *s)
{
	body_reset(s, STREAM_CODE_NONE);
	body_stop(s, STREAM_CODE_NONE);
}

static const struct stream_ops body_ops = {
	.read = body_read,
	.write = body_write,
	.credit = body_credit,
	.write_error = body_write_error,
	.finish = body_finish,
	.reset = body_reset,
	.stop = body_stop,
	.close = body_close,
};

/* ---- time ---- */

static void on_expire(struct timer *timer)
{
	struct http_call *call = CONTAINER_OF(timer, struct http_call, timer);
	if (call->awaits_head) {
		tell(call, -ETIMEDOUT);
		return;
	}
	nsec_t wait = patience(call);
	if (wait == NSEC_NEVER)
		return;
	nsec_t until = nsec_add(call->progress_at, wait);
	if (until > loop_now(call->loop)) {
		timer_start(call->loop, &call->timer, until);
		return;
	}
	if (!call->is_told) {
		tell(call, -ETIMEDOUT);
		return;
	}
	call->error = -ETIMEDOUT;
	stream_tell(&call->body, true, true);
}

/* ---- life ---- */

static void release(struct loop_garbage *garbage)
{
	struct http_call *call = CONTAINER_OF(garbage, struct http_call, garbage);
	arena_done(&call->arena);
	free(call);
}

static struct http_call *alloc_call(struct stream *conn, const struct http_call_params *p)
{
	struct http_call *call = calloc(1, sizeof(*call));
	if (!call)
		return NULL;
	call->conn = conn;
	call->loop = p->loop;
	call->limits = p->limits;
	call->events = p->events;
	call->user = p->user;
	call->body = (struct stream){ .ops = &body_ops, .loop = p->loop, .slab = p->slab };
	call->timer.on_expire = on_expire;
	call->flush.run = run_flush;
	call->fail.run = run_fail;
	call->garbage.release = release;
	arena_init(&call->arena, ARENA_MAX, p->slab);
	h1_rx_init(&call->rx, H1_KIND_RESPONSE, p->slab, p->limits, &call->arena);
	h1_tx_init(&call->tx, p->slab);
	return call;
}

int http_call_new(struct stream *conn, const struct http_call_params *params,
		  struct http_call **ret)
{
	struct http_call *call = alloc_call(conn, params);
	if (!call)
		return -ENOMEM;
	call->rx.is_answer_to_head = span_eq_str(params->request->method, "HEAD");
	call->wants_upgrade = params->request->body == HTTP_BODY_UPGRADE;
	int r = h1_tx_request(&call->tx, params->request);
	if (r < 0) {
		h1_tx_done(&call->tx);
		release(&call->garbage);
		return r;
	}
	if (call->tx.framing == H1_FRAMING_NONE)
		(void)h1_tx_finish(&call->tx);
	stream_set_user(conn, &conn_user, call);
	post_flush(call);
	*ret = call;
	return 0;
}

struct stream *http_call_body(struct http_call *call)
{
	return &call->body;
}

const struct http_head *http_call_response(const struct http_call *call)
{
	return &call->rx.head;
}

const struct http_trailers *http_call_trailers(const struct http_call *call)
{
	return &call->rx.trailers;
}

int http_call_set_trailers(struct http_call *call, const struct http_trailers *trailers)
{
	return h1_tx_set_trailers(&call->tx, trailers);
}

unsigned int http_call_hints(const struct http_call *call)
{
	return call->hints;
}

bool http_call_is_untouched(const struct http_call *call)
{
	return !call->rx.has_bytes && !call->rx.raw.len && !call->tx.body_len;
}

bool http_call_is_reusable(const struct http_call *call)
{
	return call->is_told && !call->error && !call->write_error && !call->is_reset &&
	       !call->peer_ended && call->rx.is_complete && call->rx.keep_alive &&
	       !call->rx.raw.len && call->tx.is_finished && !call->tx.out.len;
}

void http_call_upgrade(struct http_call *call, struct bufq *received)
{
	(void)bufq_move(received, &call->rx.raw, call->rx.raw.len);
	http_call_free(call);
}

void http_call_free(struct http_call *call)
{
	if (!call)
		return;
	timer_stop(&call->timer);
	loop_task_cancel(&call->flush);
	loop_task_cancel(&call->fail);
	stream_forget_user(call->conn);
	stream_forget_user(&call->body);
	h1_rx_done(&call->rx);
	h1_tx_done(&call->tx);
	loop_defer_free(call->loop, &call->garbage);
}
