/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange of an HTTP/1.1 server: from a head to the answer's last byte. Its body stream reads
 * the request straight out of what the connection received and writes the answer into the
 * connection's queue.
 */
#include <assert.h>
#include <errno.h>

#include "daemon/http/h1_server_priv.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	READS_A_CALL = 4, /* of the connection, while only framing comes */
	DRAIN_MAX = 64 * 1024,
};

static struct http_conn *conn_of_body(struct stream *s)
{
	return CONTAINER_OF(s, struct http_conn, body);
}

static struct http_conn *conn_of(struct http_exchange *x)
{
	return CONTAINER_OF(x, struct http_conn, x);
}

/* ---- the body stream ---- */

/* The visitor waits for it before it sends the body (RFC 9110 §10.1.1). */
static void send_continue(struct http_conn *conn)
{
	conn->expects_continue = false;
	if (conn->x.has_responded)
		return;
	if (h1_tx_raw(&conn->tx, SPAN_LIT("HTTP/1.1 100 Continue\r\n\r\n")) == 0)
		conn_post_flush(conn);
}

/* The connection's bytes are used up; reads more and tries again. */
static ssize_t read_more(struct http_conn *conn, struct bufq *to, size_t max)
{
	for (unsigned int i = 0; i < READS_A_CALL; i++) {
		ssize_t n = conn_read(conn);
		if (n == -EAGAIN || n == -ENOBUFS) {
			if (!conn->wants_read)
				conn->progress_at = loop_now(conn->params.loop);
			conn->wants_read = true;
			conn_watch_progress(conn);
			return n;
		}
		if (n <= 0 && (n < 0 || h1_rx_eof(&conn->rx) < 0)) {
			conn_lost(conn);
			return -ECONNRESET;
		}
		n = h1_rx_body(&conn->rx, to, max);
		if (n != -EAGAIN)
			return n;
	}
	/* Nothing but chunk lines so far: yield. */
	stream_tell(&conn->body, true, false);
	return -EAGAIN;
}

static ssize_t body_read(struct stream *s, struct bufq *to, size_t max)
{
	struct http_conn *conn = conn_of_body(s);
	if (conn->x.is_gone || conn->is_aborted)
		return -ECONNRESET;
	if (conn->is_stopped)
		return -ECANCELED;
	if (conn->is_reject || !max)
		return conn->is_reject ? 0 : -EAGAIN;
	ssize_t n = h1_rx_body(&conn->rx, to, max);
	if (n == -EAGAIN && conn->read_error)
		return conn->read_error;
	if (n == -EAGAIN) {
		if (conn->expects_continue)
			send_continue(conn);
		n = read_more(conn, to, max);
	}
	if (conn->rx.is_complete) {
		conn->expects_continue = false;
		conn_post_step(conn); /* from now on we watch for the visitor's end */
	}
	return n;
}

static int body_read_error(struct stream *s)
{
	return conn_of_body(s)->x.is_gone ? -ECONNRESET : 0;
}

static int body_write_error(const struct stream *s)
{
	const void *start = (const char *)s - offsetof(struct http_conn, body);
	const struct http_conn *conn = start;
	return conn->x.is_gone ? -ECONNRESET : 0;
}

static ssize_t body_write(struct stream *s, struct bufq *from, size_t max)
{
	struct http_conn *conn = conn_of_body(s);
	if (conn->is_aborted)
		return -EPROTO;
	if (conn->x.is_gone)
		return -ECONNRESET;
	ssize_t n = h1_tx_body(&conn->tx, from, max);
	if (n == -EAGAIN && conn->tx.out.len >= H1_OUT_FLUSH) {
		if (!conn_flush(conn))
			return -ECONNRESET;
		n = h1_tx_body(&conn->tx, from, max);
	}
	if (n == -EAGAIN)
		conn->wants_write = true;
	if (n <= 0)
		return n;
	conn->progress_at = loop_now(conn->params.loop);
	if (conn->tx.out.len >= H1_OUT_FLUSH)
		(void)conn_flush(conn);
	if (conn->tx.out.len)
		conn_post_flush(conn);
	return n;
}

static size_t body_credit(const struct stream *s)
{
	const void *start = (const char *)s - offsetof(struct http_conn, body);
	const struct http_conn *conn = start;
	return conn->x.is_gone || conn->is_aborted ? 0 : h1_tx_credit(&conn->tx);
}

static void body_finish(struct stream *s)
{
	struct http_conn *conn = conn_of_body(s);
	if (conn->x.is_gone || conn->is_aborted || !conn->tx.has_head)
		return;
	if (h1_tx_finish(&conn->tx) < 0) {
		conn_abort(conn); /* shorter than announced, or no buffer for the last chunk */
		return;
	}
	conn_post_flush(conn);
}

static void body_reset(struct stream *s, uint64_t code)
{
	(void)code;
	struct http_conn *conn = conn_of_body(s);
	if (!conn->tx.is_finished && !conn->x.is_gone)
		conn_abort(conn);
}

static void body_stop(struct stream *s, uint64_t code)
{
	(void)code;
	conn_of_body(s)->is_stopped = true;
}

/* The exchange owns it; closing it is giving up both directions. */
static void body_close(struct stream *s)
{
	body_reset(s, STREAM_CODE_NONE);
	body_stop(s, STREAM_CODE_NONE);
}

static const struct stream_ops body_ops = {
	.read = body_read,
	.write = body_write,
	.credit = body_credit,
	.read_error = body_read_error,
	.write_error = body_write_error,
	.finish = body_finish,
	.reset = body_reset,
	.stop = body_stop,
	.close = body_close,
};

void exchange_init_body(struct http_conn *conn)
{
	conn->body = (struct stream){
		.ops = &body_ops,
		.loop = conn->params.loop,
		.slab = conn->params.slab,
	};
}

/* ---- the beginning ---- */

static void begin(struct http_conn *conn, const struct http_head *request)
{
	conn->x = (struct http_exchange){
		.request = *request,
		.body = &conn->body,
		.arena = &conn->arena,
		.peer = conn->params.peer,
		.is_tls = conn->params.is_tls,
	};
	conn->is_stopped = false;
	conn->wants_read = false;
	conn->wants_write = false;
	conn->read_error = 0;
	conn->expects_continue = false;
	conn_step_to(conn, CONN_EVENT_REQUEST);
}

void exchange_reject(struct http_conn *conn, unsigned int status)
{
	struct http_head nothing = {};
	conn->is_reject = true;
	conn->close_after = true;
	begin(conn, conn->rx.is_head_done ? &conn->rx.head : &nothing);

	const struct http_conn_params *p = &conn->params;
	if (p->handler->on_reject) {
		p->handler->on_reject(&conn->x, status, p->user);
		return;
	}
	(void)http_respond_text(&conn->x, status, "text/plain", span_str(http_status_text(status)));
	http_exchange_free(&conn->x);
}

/* 0, or the status that refuses what the request asks for. */
static unsigned int check_request(struct http_conn *conn)
{
	const struct http_head *head = &conn->rx.head;
	uint64_t max = conn->params.limits->body_max;
	if (max && head->body == HTTP_BODY_LENGTH && head->content_length > max)
		return 413;
	const struct http_field *expect = http_head_find(head, "expect");
	if (!expect || head->minor == 0)
		return 0;
	return span_eq_nocase(expect->value, SPAN_LIT("100-continue")) ? 0 : 417;
}

void exchange_start(struct http_conn *conn)
{
	struct http_head *head = &conn->rx.head;
	unsigned int refused = check_request(conn);
	head->scheme = conn->params.is_tls ? SPAN_LIT("https") : SPAN_LIT("http");
	if (refused) {
		exchange_reject(conn, refused);
		return;
	}
	conn->is_reject = false;
	conn->close_after = !conn->rx.keep_alive;
	begin(conn, head);
	conn->expects_continue =
		head->body != HTTP_BODY_NONE && head->minor && http_head_find(head, "expect");
	conn_post_step(conn); /* the visitor may be gone already */
	conn->params.handler->on_request(&conn->x, conn->params.user);
}

/* ---- the answer ---- */

int http_respond(struct http_exchange *x, const struct http_head *head)
{
	struct http_conn *conn = conn_of(x);
	if (x->is_gone || conn->is_aborted)
		return -ECONNRESET;
	if (x->has_responded)
		return -EPROTO;
	if (head->status < 200 || head->status > 999)
		return -EBADMSG;
	/* Not told to continue: the visitor may send the body all the same, or not. */
	if (conn->expects_continue || conn->is_draining)
		conn->close_after = true;

	struct h1_answer_to to = {
		.is_head = span_eq_str(x->request.method, "HEAD"),
		.minor = conn->is_reject ? 1 : x->request.minor,
		.close = conn->close_after,
	};
	int r = h1_tx_response(&conn->tx, head, &to);
	if (r < 0)
		return r;
	x->has_responded = true;
	if (conn->tx.framing == H1_FRAMING_CLOSE)
		conn->close_after = true;
	if (conn->tx.framing == H1_FRAMING_NONE)
		(void)h1_tx_finish(&conn->tx);
	conn->progress_at = loop_now(conn->params.loop);
	conn_post_flush(conn);
	stream_tell(x->body, false, true);
	return 0;
}

int http_respond_text(struct http_exchange *x, unsigned int status, const char *content_type,
		      struct span body)
{
	struct http_conn *conn = conn_of(x);
	struct http_field type = { .name = SPAN_LIT("Content-Type"),
				   .value = span_str(content_type) };
	struct http_head head = {
		.status = status,
		.body = HTTP_BODY_LENGTH,
		.content_length = body.len,
		.has_length = true,
		.fields = &type,
		.field_count = content_type ? 1 : 0,
	};
	/* The body first, so that nothing is out when there is no room for it. */
	struct bufq text;
	bufq_init(&text, conn->params.slab);
	int r = body.len ? bufq_append_copy(&text, body) : 0;
	if (r == 0)
		r = http_respond(x, &head);
	if (r < 0 || conn->tx.framing == H1_FRAMING_DROP) {
		bufq_clear(&text);
		return r;
	}
	(void)bufq_move(&conn->tx.out, &text, text.len);
	conn->tx.left = 0;
	return h1_tx_finish(&conn->tx);
}

int http_upgrade(struct http_exchange *x, const struct http_head *head, struct http_upgraded *ret)
{
	struct http_conn *conn = conn_of(x);
	if (x->is_gone || conn->is_aborted)
		return -ECONNRESET;
	if (x->has_responded)
		return -EPROTO;
	if (head->status != 101 || !conn->rx.is_complete)
		return -EBADMSG;
	int r = h1_tx_response(&conn->tx, head, &(struct h1_answer_to){ .minor = 1 });
	if (r < 0)
		return r;
	ret->stream = TAKE_PTR(conn->s);
	stream_forget_user(ret->stream);
	bufq_init(&ret->unsent, conn->params.slab);
	bufq_init(&ret->received, conn->params.slab);
	(void)bufq_move(&ret->unsent, &conn->tx.out, conn->tx.out.len);
	(void)bufq_move(&ret->received, &conn->rx.raw, conn->rx.raw.len);
	conn_step_to(conn, CONN_EVENT_UPGRADED);
	return 0;
}

const struct http_trailers *http_exchange_trailers(const struct http_exchange *x)
{
	const void *start = (const char *)x - offsetof(struct http_conn, x);
	const struct http_conn *conn = start;
	return &conn->rx.trailers;
}

int http_exchange_set_trailers(struct http_exchange *x, const struct http_trailers *trailers)
{
	return h1_tx_set_trailers(&conn_of(x)->tx, trailers);
}

/* ---- the end ---- */

/* Whether the request has been read whole, or can be with what is here now. */
static bool has_read_request(struct http_conn *conn)
{
	if (conn->is_reject)
		return false;
	struct bufq drop;
	bufq_init(&drop, conn->params.slab);
	size_t dropped = 0;
	bool may_read = !conn->rx.is_complete;
	while (!conn->rx.is_complete && dropped < DRAIN_MAX) {
		ssize_t n = h1_rx_body(&conn->rx, &drop, H1_READ_LEN);
		if (n == -EAGAIN && may_read) {
			may_read = conn_read(conn) > 0;
			continue;
		}
		if (n < 0)
			break;
		dropped += (size_t)n;
		bufq_clear(&drop);
	}
	return conn->rx.is_complete;
}

void http_exchange_free(struct http_exchange *x)
{
	struct http_conn *conn = conn_of(x);
	assert(conn->state == CONN_STATE_EXCHANGE);
	stream_forget_user(&conn->body);

	enum h1_framing framing = conn->tx.framing;
	if (x->has_responded && (framing == H1_FRAMING_NONE || framing == H1_FRAMING_DROP))
		(void)h1_tx_finish(&conn->tx);
	if (x->is_gone || conn->is_aborted || !conn->tx.is_finished) {
		conn_abort(conn);
		conn_step_to(conn, CONN_EVENT_LOST);
		return;
	}
	conn->wants_read = false;
	if (!has_read_request(conn))
		conn->close_after = true;
	conn->has_served = true;
	h1_rx_next(&conn->rx);
	arena_reset(&conn->arena);
	conn_step_to(conn, CONN_EVENT_FREED);
}
