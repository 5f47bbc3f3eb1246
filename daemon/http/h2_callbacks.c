/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nghttp2 calls. Its own checks of messages are off (http/h2_check), so are its window updates
 * (http/h2_window) and its order of streams (http/h2_send); frames, HPACK and states are its work.
 *
 * Users are called from here, too, and may end the connection in that call: then the library gets a
 * failure, which makes it return at once.
 */
#include <errno.h>

#include "daemon/http/h2_send.h"
#include "daemon/http/h2_stream.h"
#include "daemon/http/h2_window.h"
#include "util/macro.h"

enum {
	FLOOD_BURST = 10 * 1000, /* frames that move nothing, and how fast more are forgiven */
	RESET_BURST = 5 * 1000,
	SETTINGS_COST = 50, /* each walks over all streams */
	INTERIM_COST = 10,
	CONTINUATIONS_MAX = 128, /* frames of a block: 2 MiB */
	PADDED_SMALL = 256,
	UPDATES_PER_FRAME = 4, /* WINDOW_UPDATEs that a DATA frame of ours explains, */
	UPDATE_PER = 1024,     /* and one more for so many bytes */
	SEND_BLOCK_MAX = 1024 * 1024,
};
#define FLOOD_EVERY (1 * NSEC_PER_MSEC)
#define RESET_EVERY (2 * NSEC_PER_MSEC)

static int verdict(const struct h2_conn *c)
{
	return c->has_ended ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static struct h2_stream *find(struct h2_conn *c, int32_t id)
{
	return nghttp2_session_get_stream_user_data(c->session, id);
}

/* ---- floods -------------------------------------------------------------------------------- */

static void charge(struct h2_conn *c, struct ratelimit *limit, uint32_t count, const char *what)
{
	if (c->has_ended || ratelimit_take(limit, loop_now(c->loop), count))
		return;
	c->stats.floods++;
	h2_fail(c, H2_CODE_ENHANCE_YOUR_CALM, what);
}

static void charge_idle(struct h2_conn *c, uint32_t count)
{
	charge(c, &c->idle_limit, count, "too many frames without use");
}

static void charge_reset(struct h2_conn *c)
{
	charge(c, &c->reset_limit, 1, "too many streams ended early");
}

static void charge_update(struct h2_conn *c)
{
	if (c->update_credit)
		c->update_credit--;
	else
		charge_idle(c, 1);
}

static bool is_idle_data(const nghttp2_frame_hd *hd)
{
	bool is_end = hd->flags & NGHTTP2_FLAG_END_STREAM;
	bool is_padded = hd->flags & NGHTTP2_FLAG_PADDED;
	return !is_end && (hd->length == 0 || (is_padded && hd->length <= PADDED_SMALL));
}

/* Frames that the library ignores (unknown types, of streams that are no more) don't come here:
 * they cause no answer and leave nothing behind. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	c->stats.rx_frames++;
	switch (hd->type) {
	case NGHTTP2_HEADERS:
		break;
	case NGHTTP2_DATA:
		if (is_idle_data(hd))
			charge_idle(c, 1);
		break;
	case NGHTTP2_RST_STREAM:
		c->stats.resets_by_peer++;
		charge_reset(c);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		charge_update(c);
		break;
	case NGHTTP2_SETTINGS:
	case NGHTTP2_GOAWAY:
		charge_idle(c, SETTINGS_COST);
		break;
	default:
		charge_idle(c, 1);
		break;
	}
	return verdict(c);
}

/* A message that breaks the rules ends its stream, and counts as if the peer had. */
static void reject(struct h2_conn *c, int32_t id, uint32_t code)
{
	h2_submit_reset(c, id, code);
	charge_reset(c);
}

/* ---- header blocks -------------------------------------------------------------------------- */

static enum h2_block_kind kind_of(const struct h2_conn *c, const nghttp2_frame *frame,
				  const struct h2_stream *s)
{
	if (c->role == H2_ROLE_SERVER && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		return H2_BLOCK_REQUEST;
	if (!s)
		return H2_BLOCK_IGNORED;
	return s->is_ours && !s->has_head ? H2_BLOCK_RESPONSE : H2_BLOCK_TRAILERS;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	const struct h2_settings *set = c->settings;
	if (c->has_ended)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	enum h2_block_kind kind = kind_of(c, frame, find(c, frame->hd.stream_id));
	struct h2_block_limits limits = { set->head_max, set->line_max, set->field_max };
	if (kind == H2_BLOCK_TRAILERS)
		limits = (struct h2_block_limits){ set->trailer_max, set->line_max,
						   set->trailer_field_max };
	arena_reset(&c->arena);
	h2_block_begin(&c->block, kind, &limits, &c->arena);
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): the library's type */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
		     nghttp2_rcbuf *value, uint8_t flags, void *user)
{
	(void)session, (void)frame, (void)flags;
	struct h2_conn *c = user;
	nghttp2_vec n = nghttp2_rcbuf_get_buf(name);
	nghttp2_vec v = nghttp2_rcbuf_get_buf(value);
	h2_block_add(&c->block, span_of(n.base, n.len), span_of(v.base, v.len));
	return 0;
}

static enum h2_fault fault_of(int r)
{
	return r == -E2BIG ? H2_FAULT_TOO_LARGE : r == -EPERM ? H2_FAULT_FORBIDDEN : H2_FAULT_NONE;
}

/* What a body may have; false when there must be one and there is none. */
static bool note_length(struct h2_stream *s, const struct h2_block *b, bool is_end)
{
	if (s->is_bodiless)
		s->rx_left = 0;
	else if (b->has_length)
		s->rx_left = b->length;
	return !is_end || s->rx_left == 0 || s->rx_left == H2_LENGTH_NONE;
}

static void on_request(struct h2_conn *c, int32_t id, bool is_end)
{
	struct h2_request request = { .is_end = is_end };
	int r = h2_block_end(&c->block, &request.head);
	request.fault = fault_of(r);
	if (c->is_draining) {
		h2_submit_reset(c, id, H2_CODE_REFUSED_STREAM);
		charge_idle(c, 1);
		return;
	}
	if (r == -EBADMSG) {
		reject(c, id, H2_CODE_PROTOCOL_ERROR);
		return;
	}
	struct h2_stream *s = r == -ENOMEM ? NULL : h2_stream_new(c, id);
	if (!s) {
		h2_submit_reset(c, id, H2_CODE_REFUSED_STREAM);
		return;
	}
	if (!note_length(s, &c->block, is_end)) {
		h2_stream_drop(s);
		reject(c, id, H2_CODE_PROTOCOL_ERROR);
		return;
	}
	(void)nghttp2_session_set_stream_user_data(c->session, id, s);
	s->has_head = true;
	s->has_fin = is_end;
	c->events->on_request(c, &s->base, &request, c->user);
}

static bool has_no_body(const struct h2_stream *s, unsigned int status)
{
	return s->is_bodiless || http_status_is_bodiless(status);
}

static void on_response(struct h2_stream *s, bool is_end)
{
	struct h2_conn *c = s->conn;
	struct h2_head head = {};
	int r = h2_block_end(&c->block, &head);
	bool is_interim = r == 0 && head.status < 200;
	bool is_bad =
		r == -EBADMSG || r == -EPERM || (is_interim && (is_end || head.status == 101));
	if (is_bad || r < 0) {
		/* An answer over a limit is not wanted; nobody is overloaded. */
		h2_stream_fail(s, is_bad        ? H2_CODE_PROTOCOL_ERROR
				  : r == -E2BIG ? H2_CODE_CANCEL
						: H2_CODE_INTERNAL_ERROR);
		return;
	}
	if (is_interim) {
		charge_idle(c, INTERIM_COST);
		return;
	}
	s->has_head = true;
	s->is_bodiless = has_no_body(s, head.status);
	if (!note_length(s, &c->block, is_end)) {
		h2_stream_fail(s, H2_CODE_PROTOCOL_ERROR);
		return;
	}
	s->has_fin = is_end;
	if (is_end)
		stream_tell(&s->base, true, false);
	if (!s->is_closed && !s->is_rst_sent)
		c->events->on_response(c, &s->base, &head, is_end, s->owner);
}

static void on_trailers(struct h2_stream *s, bool is_end)
{
	struct h2_conn *c = s->conn;
	struct h2_head head = {};
	int r = h2_block_end(&c->block, &head);
	uint32_t code = H2_CODE_NO_ERROR;
	if (r == -EBADMSG || r == -EPERM || !is_end)
		code = H2_CODE_PROTOCOL_ERROR;
	else if (r < 0)
		code = H2_CODE_ENHANCE_YOUR_CALM;
	struct http_trailers t = { .fields = head.fields, .count = head.field_count };
	if (code == H2_CODE_NO_ERROR && !s->rx_block &&
	    h2_trailers_copy(&t, &s->rx_trailers, &s->rx_block) < 0)
		code = H2_CODE_INTERNAL_ERROR;
	if (code == H2_CODE_NO_ERROR)
		h2_stream_on_end(s);
	else
		h2_stream_fail(s, code);
}

static void on_block(struct h2_conn *c, const nghttp2_frame_hd *hd)
{
	bool is_end = hd->flags & NGHTTP2_FLAG_END_STREAM;
	struct h2_stream *s = find(c, hd->stream_id);
	c->block.is_too_large |= c->skim.is_oversize;
	switch (c->block.kind) {
	case H2_BLOCK_REQUEST:
		on_request(c, hd->stream_id, is_end);
		break;
	case H2_BLOCK_RESPONSE:
		on_response(s, is_end);
		break;
	case H2_BLOCK_TRAILERS:
		on_trailers(s, is_end);
		break;
	case H2_BLOCK_IGNORED:
		break;
	}
	c->block.kind = H2_BLOCK_IGNORED;
	arena_reset(&c->arena);
}

/* ---- other frames --------------------------------------------------------------------------- */

static void on_settings(struct h2_conn *c, bool is_ack)
{
	if (is_ack) {
		h2_on_answer(c);
		return;
	}
	LIST_FOREACH(n, &c->streams)
	h2_stream_on_credit(LIST_ENTRY(n, struct h2_stream, node));
	if (c->is_open)
		return;
	c->is_open = true;
	c->events->on_open(c, c->user);
}

static void on_ping(struct h2_conn *c, bool is_ack)
{
	if (!is_ack || !c->is_pinging)
		return;
	c->is_pinging = false;
	h2_on_answer(c);
	c->events->on_pong(c, c->user);
}

static void on_update(struct h2_conn *c, int32_t id)
{
	struct h2_stream *s = id ? find(c, id) : NULL;
	if (s)
		h2_stream_on_credit(s);
	h2_mark_dirty(c);
}

/* A GOAWAY with an error, of the peer or of the library. */
static void end_by(struct h2_conn *c, const nghttp2_goaway *frame, enum h2_end end)
{
	char reason[sizeof(c->end_reason)];
	size_t len = MIN(frame->opaque_data_len, sizeof(reason) - 1);
	for (size_t i = 0; i < len; i++) {
		char byte = (char)frame->opaque_data[i];
		reason[i] = '?';
		if (byte >= ' ' && byte < 0x7f)
			reason[i] = byte;
	}
	reason[len] = '\0';
	h2_end(c, end, frame->error_code, reason);
}

static void on_goaway(struct h2_conn *c, const nghttp2_goaway *frame)
{
	if (frame->error_code != NGHTTP2_NO_ERROR) {
		end_by(c, frame, H2_END_PEER);
		return;
	}
	if (c->has_goaway)
		return;
	c->has_goaway = true;
	c->events->on_goaway(c, c->user);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	const nghttp2_frame_hd *hd = &frame->hd;
	if (c->has_ended)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	struct h2_stream *s = NULL;
	switch (hd->type) {
	case NGHTTP2_HEADERS:
		on_block(c, hd);
		break;
	case NGHTTP2_DATA:
		s = find(c, hd->stream_id);
		if (s && (hd->flags & NGHTTP2_FLAG_END_STREAM))
			h2_stream_on_end(s);
		break;
	case NGHTTP2_SETTINGS:
		on_settings(c, hd->flags & NGHTTP2_FLAG_ACK);
		break;
	case NGHTTP2_PING:
		on_ping(c, hd->flags & NGHTTP2_FLAG_ACK);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		on_update(c, hd->stream_id);
		break;
	case NGHTTP2_GOAWAY:
		on_goaway(c, &frame->goaway);
		break;
	default:
		break;
	}
	return verdict(c);
}

/* NOLINTNEXTLINE(readability-function-size): the library's type */
static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
		   size_t len, void *user)
{
	(void)session, (void)flags;
	struct h2_conn *c = user;
	if (c->has_ended)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	struct h2_stream *s = find(c, id);
	if (s)
		h2_stream_on_data(s, span_of(data, len));
	else
		h2_window_skip(c, len);
	return verdict(c);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	struct h2_stream *s = c->has_ended ? NULL : find(c, id);
	if (s)
		h2_stream_on_over(s, code);
	return 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

static nghttp2_ssize on_send(nghttp2_session *session, const uint8_t *data, size_t len, int flags,
			     void *user)
{
	(void)session, (void)flags;
	struct h2_conn *c = user;
	if (c->out.len >= H2_OUT_MAX)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (bufq_append_copy(&c->out, span_of(data, len)) == 0)
		return (nghttp2_ssize)len;
	h2_send_wait(c);
	return NGHTTP2_ERR_WOULDBLOCK;
}

static void on_data_sent(struct h2_conn *c, size_t len)
{
	uint64_t most = 2 * (uint64_t)H2_OUT_MAX;
	c->update_credit = MIN(c->update_credit + UPDATES_PER_FRAME + len / UPDATE_PER, most);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	(void)session;
	struct h2_conn *c = user;
	c->stats.tx_frames++;
	if (c->has_ended)
		return 0;
	uint8_t type = frame->hd.type;
	if (type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
		/* The library found something that ends the connection. */
		end_by(c, &frame->goaway, H2_END_PROTOCOL);
		return 0;
	}
	if (type == NGHTTP2_DATA)
		on_data_sent(c, frame->hd.length);
	if (type != NGHTTP2_DATA && type != NGHTTP2_HEADERS)
		return 0;
	struct h2_stream *s = find(c, frame->hd.stream_id);
	if (s && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		h2_stream_on_sent_end(s);
	else if (s && type == NGHTTP2_HEADERS)
		h2_stream_on_credit(s);
	return 0;
}

/* ---- the session ----------------------------------------------------------------------------- */

static nghttp2_session_callbacks *callbacks_new(void)
{
	nghttp2_session_callbacks *cb;
	if (nghttp2_session_callbacks_new(&cb) != 0)
		return NULL;
	nghttp2_session_callbacks_set_send_callback2(cb, on_send);
	nghttp2_session_callbacks_set_send_data_callback(cb, h2_send_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	return cb;
}

static nghttp2_option *option_new(void)
{
	nghttp2_option *option;
	if (nghttp2_option_new(&option) != 0)
		return NULL;
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
	nghttp2_option_set_max_send_header_block_length(option, SEND_BLOCK_MAX);
	nghttp2_option_set_max_reserved_remote_streams(option, 0);
	/* Ours counts by the loop's clock and says why (charge_reset()). */
	nghttp2_option_set_stream_reset_rate_limit(option, UINT64_C(1) << 40, UINT64_C(1) << 20);
	return option;
}

static int submit_settings(struct h2_conn *c)
{
	const struct h2_settings *set = c->settings;
	bool is_server = c->role == H2_ROLE_SERVER;
	nghttp2_settings_entry list[] = {
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, set->stream_window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		  (uint32_t)MIN(set->head_max, (size_t)INT32_MAX) },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
		is_server ? (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
						      set->max_streams }
			  : (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
	};
	return nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, list, ARRAY_SIZE(list));
}

int h2_session_new(struct h2_conn *c)
{
	nghttp2_session_callbacks *cb = callbacks_new();
	nghttp2_option *option = option_new();
	int r = NGHTTP2_ERR_NOMEM;
	if (cb && option)
		r = c->role == H2_ROLE_SERVER
			    ? nghttp2_session_server_new2(&c->session, cb, c, option)
			    : nghttp2_session_client_new2(&c->session, cb, c, option);
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(option);
	ratelimit_init(&c->idle_limit, FLOOD_EVERY, FLOOD_BURST);
	ratelimit_init(&c->reset_limit, RESET_EVERY, RESET_BURST + 2 * c->settings->max_streams);
	if (r == 0)
		r = submit_settings(c);
	return r == 0 ? 0 : -ENOMEM;
}
