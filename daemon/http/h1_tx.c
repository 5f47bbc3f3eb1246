/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 sender: heads as bytes, bodies in their framing. What is written to a body moves by
 * reference into one queue, with chunk lines between that are cut from a shared buffer; the queue
 * is bounded and empties into the connection.
 */
#include "daemon/http/h1_tx.h"

#include <errno.h>
#include <stdio.h>

#include "util/macro.h"

enum {
	CHUNK_LINE_MAX = 24, /* CRLF, 16 hex digits, CRLF, and room */
};

void h1_tx_init(struct h1_tx *tx, struct slab *slab)
{
	*tx = (struct h1_tx){};
	bufq_init(&tx->out, slab);
}

void h1_tx_done(struct h1_tx *tx)
{
	bufq_clear(&tx->out);
	slab_buf_unref(tx->lines);
	tx->lines = NULL;
}

void h1_tx_next(struct h1_tx *tx)
{
	/* An idle connection holds no buffer. */
	slab_buf_unref(tx->lines);
	tx->lines = NULL;
	tx->framing = H1_FRAMING_NONE;
	tx->has_head = false;
	tx->is_finished = false;
	tx->owes_line_end = false;
	tx->left = 0;
	tx->body_len = 0;
	tx->trailers = (struct http_trailers){};
}

/* ---- heads ---- */

/* A head in the making: the first error sticks. */
struct head_writer {
	struct bufq q;
	int error;
};

static void put(struct head_writer *w, struct span bytes)
{
	if (!w->error)
		w->error = bufq_append_copy(&w->q, bytes);
}

static void put_str(struct head_writer *w, const char *s)
{
	put(w, span_str(s));
}

static void put_field(struct head_writer *w, struct span name, struct span value)
{
	if (!http_token_is_valid(name) || !http_value_is_valid(value)) {
		w->error = w->error ? w->error : -EBADMSG;
		return;
	}
	put(w, name);
	put_str(w, ": ");
	put(w, value);
	put_str(w, "\r\n");
}

static void put_length(struct head_writer *w, uint64_t length)
{
	char line[48];
	(void)snprintf(line, sizeof(line), "Content-Length: %ju\r\n", (uintmax_t)length);
	put_str(w, line);
}

/* Framing is ours alone, and so is what ends the connection. */
static bool is_ours(struct span name)
{
	return span_eq_nocase(name, SPAN_LIT("content-length")) ||
	       span_eq_nocase(name, SPAN_LIT("transfer-encoding")) ||
	       span_eq_nocase(name, SPAN_LIT("connection")) ||
	       span_eq_nocase(name, SPAN_LIT("keep-alive"));
}

static void put_fields(struct head_writer *w, const struct http_head *head)
{
	for (unsigned int i = 0; i < head->field_count; i++)
		if (!is_ours(head->fields[i].name))
			put_field(w, head->fields[i].name, head->fields[i].value);
}

/* Ends the head and hands it over, or drops it. */
static int finish_head(struct h1_tx *tx, struct head_writer *w)
{
	put_str(w, "\r\n");
	if (w->error) {
		bufq_clear(&w->q);
		return w->error;
	}
	(void)bufq_move(&tx->out, &w->q, w->q.len);
	tx->has_head = true;
	return 0;
}

static bool is_target(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f)
			return false;
	return s.len > 0;
}

/* Requests of these methods say that they have no body (RFC 9110 §8.6). */
static bool wants_length(struct span method)
{
	return span_eq_str(method, "POST") || span_eq_str(method, "PUT") ||
	       span_eq_str(method, "PATCH");
}

bool http_request_is_valid(const struct http_head *request)
{
	if (!http_token_is_valid(request->method) || !is_target(request->target) ||
	    !http_value_is_valid(request->authority))
		return false;
	for (unsigned int i = 0; i < request->field_count; i++)
		if (!http_token_is_valid(request->fields[i].name) ||
		    !http_value_is_valid(request->fields[i].value))
			return false;
	return true;
}

int h1_tx_request(struct h1_tx *tx, const struct http_head *head)
{
	if (!http_token_is_valid(head->method) || !is_target(head->target))
		return -EBADMSG;
	bool is_upgrade = head->body == HTTP_BODY_UPGRADE;
	struct head_writer w = {};
	bufq_init(&w.q, tx->out.slab);
	put(&w, head->method);
	put_str(&w, " ");
	put(&w, head->target);
	put_str(&w, " HTTP/1.1\r\n");
	put_field(&w, SPAN_LIT("Host"), head->authority);
	put_fields(&w, head);
	put_str(&w, is_upgrade ? "Connection: Upgrade\r\n" : "");

	enum h1_framing framing = H1_FRAMING_NONE;
	if (head->body == HTTP_BODY_LENGTH || (head->body == HTTP_BODY_NONE && head->has_length)) {
		framing = H1_FRAMING_LENGTH;
		put_length(&w, head->content_length);
	} else if (head->body == HTTP_BODY_UNKNOWN) {
		framing = H1_FRAMING_CHUNKED;
		put_str(&w, "Transfer-Encoding: chunked\r\n");
	} else if (wants_length(head->method)) {
		put_length(&w, 0);
	}
	int r = finish_head(tx, &w);
	if (r < 0)
		return r;
	tx->framing = framing;
	tx->left = framing == H1_FRAMING_LENGTH ? head->content_length : 0;
	return 0;
}

static enum h1_framing response_framing(const struct http_head *head, const struct h1_answer_to *to)
{
	if (head->status == 101)
		return H1_FRAMING_DROP;
	if (to->is_head || http_status_is_bodiless(head->status))
		return H1_FRAMING_DROP;
	switch (head->body) {
	case HTTP_BODY_NONE:
		return H1_FRAMING_NONE;
	case HTTP_BODY_LENGTH:
		return H1_FRAMING_LENGTH;
	case HTTP_BODY_UNKNOWN:
	case HTTP_BODY_UPGRADE:
		break;
	}
	return to->minor ? H1_FRAMING_CHUNKED : H1_FRAMING_CLOSE;
}

static void put_framing(struct head_writer *w, const struct http_head *head,
			enum h1_framing framing)
{
	switch (framing) {
	case H1_FRAMING_NONE:
		put_length(w, 0);
		break;
	case H1_FRAMING_DROP:
		/* What GET would have told; 1xx and 204 must not (RFC 9110 §8.6). */
		if ((head->has_length || head->body == HTTP_BODY_LENGTH) && head->status != 204 &&
		    head->status != 101)
			put_length(w, head->content_length);
		break;
	case H1_FRAMING_LENGTH:
		put_length(w, head->content_length);
		break;
	case H1_FRAMING_CHUNKED:
		put_str(w, "Transfer-Encoding: chunked\r\n");
		break;
	case H1_FRAMING_CLOSE:
		break;
	}
}

static void put_connection(struct head_writer *w, const struct http_head *head,
			   const struct h1_answer_to *to, enum h1_framing framing)
{
	if (head->status == 101) {
		const struct http_field *f = http_head_find(head, "connection");
		put_field(w, SPAN_LIT("Connection"), f ? f->value : SPAN_LIT("Upgrade"));
	} else if (to->close || framing == H1_FRAMING_CLOSE) {
		put_str(w, "Connection: close\r\n");
	} else if (to->minor == 0) {
		put_str(w, "Connection: keep-alive\r\n");
	}
}

int h1_tx_response(struct h1_tx *tx, const struct http_head *head, const struct h1_answer_to *to)
{
	char line[64];
	(void)snprintf(line, sizeof(line), "HTTP/1.1 %03u %s\r\n", head->status % 1000,
		       http_status_text(head->status));
	enum h1_framing framing = response_framing(head, to);

	struct head_writer w = {};
	bufq_init(&w.q, tx->out.slab);
	put_str(&w, line);
	put_fields(&w, head);
	put_framing(&w, head, framing);
	put_connection(&w, head, to, framing);
	int r = finish_head(tx, &w);
	if (r < 0)
		return r;
	tx->framing = framing;
	tx->left = framing == H1_FRAMING_LENGTH ? head->content_length : 0;
	return 0;
}

int h1_tx_raw(struct h1_tx *tx, struct span bytes)
{
	return bufq_append_copy(&tx->out, bytes);
}

/* ---- bodies ---- */

/* Appends a few bytes of framing from the shared buffer. */
static int put_line(struct h1_tx *tx, const char *bytes, size_t len)
{
	if (!tx->lines || tx->lines->cap - tx->lines_used < len) {
		slab_buf_unref(tx->lines);
		tx->lines_used = 0;
		tx->lines = slab_buf_get(tx->out.slab, CHUNK_LINE_MAX);
		if (!tx->lines)
			return -ENOBUFS;
	}
	uint8_t *at = tx->lines->data + tx->lines_used;
	memcpy(at, bytes, len);
	int r = bufq_append_ref(&tx->out, tx->lines, at, len);
	if (r < 0)
		return r;
	tx->lines_used += len;
	return 0;
}

/* The line before a chunk of len bytes. */
static int put_chunk_line(struct h1_tx *tx, size_t len)
{
	char line[CHUNK_LINE_MAX];
	int n = snprintf(line, sizeof(line), "%s%zx\r\n", tx->owes_line_end ? "\r\n" : "", len);
	return put_line(tx, line, (size_t)n);
}

size_t h1_tx_credit(const struct h1_tx *tx)
{
	if (!tx->has_head || tx->is_finished)
		return 0;
	size_t room = tx->out.len < H1_OUT_MAX ? H1_OUT_MAX - tx->out.len : 0;
	if (tx->framing == H1_FRAMING_NONE)
		return 0;
	if (tx->framing == H1_FRAMING_LENGTH)
		return (size_t)MIN((uint64_t)room, tx->left);
	return room;
}

/*
 * All or nothing of each step: a chunk line that says more than follows would make the rest of the
 * connection something else.
 */
static ssize_t put_body(struct h1_tx *tx, struct bufq *from, size_t max)
{
	struct bufq part;
	bufq_init(&part, tx->out.slab);
	size_t n = bufq_move(&part, from, max);
	if (!n)
		return -ENOBUFS; /* no slice for a piece of a buffer */
	int r = tx->framing == H1_FRAMING_CHUNKED ? put_chunk_line(tx, n) : 0;
	if (r < 0) {
		(void)bufq_move(&part, from, from->len);
		*from = part;
		return r;
	}
	(void)bufq_move(&tx->out, &part, n);
	return (ssize_t)n;
}

ssize_t h1_tx_body(struct h1_tx *tx, struct bufq *from, size_t max)
{
	if (tx->is_finished)
		return -EPROTO;
	if (!tx->has_head)
		return -EAGAIN;
	size_t n = MIN(max, from->len);
	if (tx->framing == H1_FRAMING_DROP) {
		bufq_consume(from, n);
		return n ? (ssize_t)n : -EAGAIN;
	}
	if (n &&
	    (tx->framing == H1_FRAMING_NONE || (tx->framing == H1_FRAMING_LENGTH && !tx->left)))
		return -EPROTO;
	n = MIN(n, h1_tx_credit(tx));
	if (!n)
		return -EAGAIN;
	ssize_t put = put_body(tx, from, n);
	if (put < 0)
		return put;
	n = (size_t)put;
	tx->body_len += n;
	if (tx->framing == H1_FRAMING_LENGTH)
		tx->left -= n;
	/* Behind the chunk at once: there are readers that wait for it. Without a buffer it goes
	 * before the next line. */
	if (tx->framing == H1_FRAMING_CHUNKED)
		tx->owes_line_end = put_line(tx, "\r\n", 2) < 0;
	return (ssize_t)n;
}

int h1_tx_set_trailers(struct h1_tx *tx, const struct http_trailers *trailers)
{
	if (!tx->has_head || tx->framing != H1_FRAMING_CHUNKED)
		return -ENOTSUP;
	tx->trailers = *trailers;
	return 0;
}

/* The last chunk with its trailers: all or nothing. */
static int put_last(struct h1_tx *tx)
{
	const char *last = tx->owes_line_end ? "\r\n0\r\n\r\n" : "0\r\n\r\n";
	size_t len = strlen(last);
	if (!tx->trailers.count)
		return put_line(tx, last, len);
	struct head_writer w = {};
	bufq_init(&w.q, tx->out.slab);
	put(&w, span_of(last, len - 2));
	for (unsigned int i = 0; i < tx->trailers.count; i++)
		put_field(&w, tx->trailers.fields[i].name, tx->trailers.fields[i].value);
	put_str(&w, "\r\n");
	if (!w.error)
		(void)bufq_move(&tx->out, &w.q, w.q.len);
	bufq_clear(&w.q);
	return w.error;
}

int h1_tx_finish(struct h1_tx *tx)
{
	if (tx->is_finished)
		return 0;
	if (tx->framing == H1_FRAMING_LENGTH && tx->left)
		return -EMSGSIZE;
	if (tx->framing == H1_FRAMING_CHUNKED) {
		int r = put_last(tx);
		if (r < 0)
			return r;
	}
	tx->is_finished = true;
	return 0;
}

int h1_tx_flush(struct h1_tx *tx, struct stream *to)
{
	while (tx->out.len) {
		ssize_t n = stream_write(to, &tx->out, tx->out.len);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EAGAIN;
	}
	return 0;
}
