/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users of HTTP/2 connections that write everything down.
 */
#include "selftests/lib/h2_pair.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/flow/stream_io.h"
#include "util/endian.h"
#include "util/macro.h"

enum { PIECE = 16 * 1024, PATTERN = 251, FRAME_HEAD = 9 };

const struct h2_settings h2_pair_settings = {
	.max_streams = 100,
	.stream_window = 64 * 1024,
	.stream_window_max = 1024 * 1024,
	.conn_window = 1024 * 1024,
	.conn_window_max = 4 * 1024 * 1024,
	.send_queue_max = 1024 * 1024,
	.field_max = 100,
	.head_max = 64 * 1024,
	.line_max = 16 * 1024,
	.trailer_max = 4096,
	.trailer_field_max = 10,
};

/* ---- a call ---------------------------------------------------------------------------------- */

static void read_all(struct h2_call *call)
{
	struct bufq got;
	bufq_init(&got, call->rx.slab);
	while ((call->rx_status = stream_read(call->s, &got, PIECE)) > 0) {
		for (const struct slice *s = got.head; s; s = s->next)
			for (uint32_t i = 0; i < s->len; i++)
				call->rx_sum += s->ptr[i];
		call->rx_total += (uint64_t)call->rx_status;
		size_t kept = call->rx.len < H2_TEXT ? H2_TEXT : 0;
		(void)bufq_move(&call->rx, &got, kept);
		bufq_clear(&got);
	}
}

static void make_piece(struct h2_call *call)
{
	uint8_t piece[PIECE];
	size_t n = MIN(call->endless, (uint64_t)sizeof(piece));
	uint64_t from = call->tx_total + call->tx.len;
	for (size_t i = 0; i < n; i++)
		piece[i] = (uint8_t)((from + i) % PATTERN);
	if (bufq_append_copy(&call->tx, span_of(piece, n)) == 0)
		call->endless -= n;
}

static void write_all(struct h2_call *call)
{
	call->tx_status = 0;
	for (;;) {
		if (call->tx.len < PIECE && call->endless)
			make_piece(call);
		if (bufq_is_empty(&call->tx))
			break;
		call->tx_status = stream_write(call->s, &call->tx, call->tx.len);
		if (call->tx_status < 0)
			return;
		call->tx_total += (uint64_t)call->tx_status;
	}
	if (call->finishes)
		stream_finish(call->s);
	else
		call->tx_status = stream_write_error(call->s);
}

static void on_readable(struct stream *s, void *user)
{
	(void)s;
	struct h2_call *call = user;
	if (!call->is_quiet)
		read_all(call);
}

static void on_writable(struct stream *s, void *user)
{
	(void)s;
	write_all(user);
}

static const struct stream_user call_user = { .on_readable = on_readable,
					      .on_writable = on_writable };

static struct h2_call *call_new(struct h2_end_point *e, struct stream *s)
{
	assert_true(e->count < H2_CALLS);
	struct h2_call *call = &e->calls[e->count++];
	*call = (struct h2_call){ .end = e, .s = s, .rx_status = -EAGAIN };
	bufq_init(&call->rx, s->slab);
	bufq_init(&call->tx, s->slab);
	stream_set_user(s, &call_user, call);
	return call;
}

static int span_print(char *to, size_t room, const char *before, struct span s)
{
	return snprintf(to, room, "%s%.*s", before, (int)s.len, (const char *)s.ptr);
}

static void note_head(struct h2_call *call, const struct h2_head *head, bool is_end)
{
	char *at = call->head;
	char *end = at + sizeof(call->head);
	const struct span parts[] = { head->method, head->scheme, head->authority, head->path };
	call->has_head = true;
	call->is_end = is_end;
	if (head->status)
		at += snprintf(at, (size_t)(end - at), "%u", head->status);
	for (size_t i = 0; i < ARRAY_SIZE(parts) && !head->status; i++)
		at += span_print(at, (size_t)(end - at), i ? " " : "",
				 parts[i].ptr ? parts[i] : span_str("-"));
	for (unsigned int i = 0; i < head->field_count; i++) {
		if (end - at < 200 || head->fields[i].value.len > 100)
			break;
		at += span_print(at, (size_t)(end - at), "|", head->fields[i].name);
		at += span_print(at, (size_t)(end - at), "=", head->fields[i].value);
	}
}

int h2_call_open(struct h2_end_point *client, const char *method,
		 const struct http_trailers *fields, bool is_end, struct h2_call **ret)
{
	struct h2_head head = {
		.method = span_str(method),
		.scheme = span_str("https"),
		.authority = span_str("host"),
		.path = span_str("/p?q"),
		.fields = fields ? fields->fields : NULL,
		.field_count = fields ? fields->count : 0,
	};
	struct stream *s;
	int r = h2_open(client->conn, &head, is_end, &s);
	if (r < 0)
		return r;
	struct h2_call *call = call_new(client, s);
	h2_set_owner(s, call);
	*ret = call;
	return 0;
}

int h2_call_respond(struct h2_call *call, unsigned int status, const struct http_trailers *fields,
		    bool is_end)
{
	struct h2_head head = {
		.status = status,
		.fields = fields ? fields->fields : NULL,
		.field_count = fields ? fields->count : 0,
	};
	return h2_respond(call->s, &head, is_end);
}

void h2_call_write(struct h2_call *call, const void *bytes, size_t len)
{
	assert_int_equal(bufq_append_copy(&call->tx, span_of(bytes, len)), 0);
	write_all(call);
}

void h2_call_write_pattern(struct h2_call *call, uint64_t len)
{
	call->endless = len;
	write_all(call);
}

uint64_t h2_pattern_sum(uint64_t len)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < len; i++)
		sum += i % PATTERN;
	return sum;
}

void h2_call_read(struct h2_call *call)
{
	call->is_quiet = false;
	read_all(call);
}

void h2_call_finish(struct h2_call *call)
{
	call->finishes = true;
	if (bufq_is_empty(&call->tx) && !call->endless)
		stream_finish(call->s);
}

void h2_call_close(struct h2_call *call)
{
	stream_close(call->s);
	call->s = NULL;
	bufq_clear(&call->rx);
	bufq_clear(&call->tx);
}

const char *h2_call_text(struct h2_call *call)
{
	static char text[H2_TEXT];
	size_t n = bufq_copy_out(&call->rx, text, sizeof(text) - 1);
	text[n] = '\0';
	return text;
}

/* ---- connections ------------------------------------------------------------------------------
 */

static void on_open(struct h2_conn *c, void *user)
{
	(void)c;
	((struct h2_end_point *)user)->opened++;
}

static void on_request(struct h2_conn *c, struct stream *s, const struct h2_request *request,
		       void *user)
{
	(void)c;
	struct h2_end_point *e = user;
	if (e->count == H2_CALLS) { /* more than a test wants to see */
		stream_close(s);
		return;
	}
	struct h2_call *call = call_new(e, s);
	note_head(call, &request->head, request->is_end);
	call->fault = request->fault;
	if (e->on_request)
		e->on_request(call);
}

static void on_response(struct h2_conn *c, struct stream *s, const struct h2_head *head,
			bool is_end, void *user)
{
	(void)c;
	struct h2_call *call = user;
	assert_ptr_equal(s, call->s);
	note_head(call, head, is_end);
}

static void on_goaway(struct h2_conn *c, void *user)
{
	(void)c;
	((struct h2_end_point *)user)->goaways++;
}

static void on_pong(struct h2_conn *c, void *user)
{
	(void)c;
	((struct h2_end_point *)user)->pongs++;
}

static void on_closed(struct h2_conn *c, enum h2_end end, uint32_t code, const char *reason,
		      void *user)
{
	(void)c;
	struct h2_end_point *e = user;
	e->closed++;
	e->end = end;
	e->code = code;
	(void)snprintf(e->reason, sizeof(e->reason), "%s", reason);
}

static const struct h2_events events = {
	.on_open = on_open,
	.on_request = on_request,
	.on_response = on_response,
	.on_goaway = on_goaway,
	.on_pong = on_pong,
	.on_closed = on_closed,
};

static void start(struct h2_pair *p, struct h2_end_point *e, enum h2_role role, struct stream *s)
{
	struct h2_params params = {
		.role = role,
		.below = s,
		.settings = &p->settings,
		.events = &events,
		.user = e,
	};
	assert_int_equal(h2_new(p->loop, p->slab, &params, &e->conn), 0);
}

static void make_streams(struct h2_pair *p, struct stream **ret_a, struct stream **ret_b)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	assert_int_equal(stream_io_new(p->loop, p->slab, fds[0], NULL, ret_a), 0);
	assert_int_equal(stream_io_new(p->loop, p->slab, fds[1], NULL, ret_b), 0);
}

void h2_pair_init(struct h2_pair *p, size_t budget)
{
	*p = (struct h2_pair){ .settings = h2_pair_settings };
	assert_int_equal(loop_new(&p->loop), 0);
	assert_int_equal(slab_new(budget, &p->slab), 0);
	bufq_init(&p->batch, p->slab);
}

void h2_pair_start(struct h2_pair *p)
{
	struct stream *a, *b;
	make_streams(p, &a, &b);
	start(p, &p->client, H2_ROLE_CLIENT, a);
	start(p, &p->server, H2_ROLE_SERVER, b);
	H2_RUN_UNTIL(p, p->client.opened && p->server.opened);
}

void h2_pair_start_raw(struct h2_pair *p, enum h2_role role)
{
	struct stream *a, *b;
	make_streams(p, &a, &b);
	bool is_server = role == H2_ROLE_SERVER;
	start(p, is_server ? &p->server : &p->client, role, a);
	(is_server ? &p->client : &p->server)->raw = b;
}

static void end_done(struct h2_end_point *e)
{
	for (unsigned int i = 0; i < e->count; i++)
		if (e->calls[i].s)
			h2_call_close(&e->calls[i]);
	h2_free(e->conn);
	stream_close(e->raw);
}

void h2_pair_done(struct h2_pair *p)
{
	end_done(&p->client);
	end_done(&p->server);
	bufq_clear(&p->batch);
	/* A buffer that isn't given back, or a grant, would show here. */
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(p->loop, 0), 0);
	loop_free(p->loop);
	struct slab_stats stats;
	slab_get_stats(p->slab, &stats);
	assert_int_equal(stats.reserved, 0);
	assert_int_equal(stats.in_use, 0);
	slab_free(p->slab);
}

/* ---- raw bytes --------------------------------------------------------------------------------
 */

static struct stream *raw_of(const struct h2_pair *p)
{
	return p->client.raw ? p->client.raw : p->server.raw;
}

void h2_raw_bytes(struct h2_pair *p, const void *bytes, size_t len)
{
	struct stream *raw = raw_of(p);
	if (p->batch.len + len < p->batch_max) {
		assert_int_equal(bufq_append_copy(&p->batch, span_of(bytes, len)), 0);
		return;
	}
	struct bufq q;
	bufq_init(&q, p->slab);
	(void)bufq_move(&q, &p->batch, p->batch.len);
	assert_int_equal(bufq_append_copy(&q, span_of(bytes, len)), 0);
	nsec_t deadline = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	while (!bufq_is_empty(&q)) {
		ssize_t n = stream_write(raw, &q, q.len);
		if (n < 0 && n != -EAGAIN)
			break; /* the other end has hung up: what follows is its answer */
		assert_int_equal(loop_turn(p->loop, n < 0 ? NSEC_PER_MSEC : 0), 0);
		assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline);
	}
	bufq_clear(&q);
}

void h2_raw_send(struct h2_pair *p, const struct h2_raw_frame *head, const void *payload,
		 size_t len)
{
	uint8_t frame[FRAME_HEAD + PIECE];
	assert_true(len <= PIECE);
	store_be32(frame, (uint32_t)(len << 8) | head->type);
	frame[4] = head->flags;
	store_be32(frame + 5, head->id);
	if (len)
		memcpy(frame + FRAME_HEAD, payload, len);
	h2_raw_bytes(p, frame, FRAME_HEAD + len);
}

void h2_raw_hello(struct h2_pair *p)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	if (p->server.conn)
		h2_raw_bytes(p, preface, sizeof(preface) - 1);
	h2_raw_send(p, &(struct h2_raw_frame){ .type = 4 }, NULL, 0);
	h2_raw_send(p, &(struct h2_raw_frame){ .type = 4, .flags = 1 }, NULL, 0);
}

/* len bytes of what the connection sends, or false at its end. */
static bool raw_read(struct h2_pair *p, void *to, size_t len)
{
	struct bufq q;
	bufq_init(&q, p->slab);
	nsec_t deadline = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	while (q.len < len) {
		ssize_t n = stream_read(raw_of(p), &q, len - q.len);
		if (n == 0 || (n < 0 && n != -EAGAIN))
			break;
		if (n < 0)
			assert_int_equal(loop_turn(p->loop, NSEC_PER_MSEC), 0);
		assert_true(nsec_clock(CLOCK_MONOTONIC) < deadline);
	}
	bool is_whole = q.len == len;
	(void)bufq_copy_out(&q, to, len);
	bufq_clear(&q);
	return is_whole;
}

static bool raw_skip(struct h2_pair *p, size_t len)
{
	uint8_t junk[1024];
	while (len) {
		size_t n = MIN(len, sizeof(junk));
		if (!raw_read(p, junk, n))
			return false;
		len -= n;
	}
	return true;
}

/* The preface of a client under test. */
static bool skip_preface(struct h2_pair *p)
{
	uint8_t preface[24];
	if (p->client.raw || p->has_preface)
		return true;
	p->has_preface = true;
	return raw_read(p, preface, sizeof(preface));
}

bool h2_raw_next(struct h2_pair *p, uint8_t type, struct h2_raw_frame *ret)
{
	if (!skip_preface(p))
		return false;
	for (;;) {
		uint8_t head[FRAME_HEAD];
		if (!raw_read(p, head, sizeof(head)))
			return false;
		*ret = (struct h2_raw_frame){
			.type = head[3],
			.flags = head[4],
			.id = load_be32(head + 5) & INT32_MAX,
			.len = load_be32(head) >> 8,
		};
		size_t kept = MIN(ret->len, sizeof(ret->payload));
		if (!raw_read(p, ret->payload, kept) || !raw_skip(p, ret->len - kept))
			return false;
		if (ret->type == type)
			return true;
	}
}

void h2_raw_drop(struct h2_pair *p)
{
	struct bufq q;
	bufq_init(&q, p->slab);
	while (stream_read(raw_of(p), &q, PIECE) > 0)
		bufq_clear(&q);
	bufq_clear(&q);
}
