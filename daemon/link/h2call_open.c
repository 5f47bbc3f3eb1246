/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a call begins: requests that came, and what the sink or the link itself makes of them; those
 * of our own users; the control stream of either role; the head of an answer. What follows is
 * h2call.c.
 */
#include "daemon/link/h2call.h"

#include <errno.h>

#include "daemon/link/h2call_priv.h"
#include "util/macro.h"

enum { STREAM_ID_REQUEST = 1 }; /* any but the control stream's */

/* ---- daemon -------------------------------------------------------------------------------- */

/* An answer of the link itself. */
static void answer(struct stream *s, unsigned int status)
{
	const struct http_field fields[] = {
		{ SPAN_LIT(H2_FIELD_META), h2_meta_text(H2_META_DAEMON) },
		{ SPAN_LIT("content-length"), SPAN_LIT("0") },
	};
	const struct h2_head head = { .status = status,
				      .fields = fields,
				      .field_count = ARRAY_SIZE(fields) };
	if (h2_respond(s, &head, true) < 0)
		stream_reset(s, H2_CODE_INTERNAL_ERROR);
	stream_stop(s, STREAM_CODE_NONE);
	stream_close(s);
}

static void accept_control(struct h2link *link, struct stream *s)
{
	const struct http_field meta = { SPAN_LIT(H2_FIELD_META), h2_meta_text(H2_META_ORIGIN) };
	const struct h2_head head = { .status = 200, .fields = &meta, .field_count = 1 };
	struct h2call *c = link->has_control ? NULL : h2call_make(link);
	if (!c || h2_respond(s, &head, false) < 0) {
		/* One is enough; without memory the deadline ends the link. */
		stream_reset(s, H2_CODE_REFUSED_STREAM);
		stream_close(s);
		if (c)
			h2call_dispose(c);
		return;
	}
	c->class = H2_CLASS_CONTROL;
	c->is_head_done = true;
	h2_set_first(s);
	h2_hold(s);
	h2call_attach(c, s);
	h2link_control_opened(link, c);
}

static int write_request(struct h2call *c, const struct h2_request *request)
{
	struct h2call_room room;
	struct span bytes = {};
	room.at = h2link_scratch(c->link, &room.cap);
	if (!room.at)
		return -ENOMEM;
	int r = h2call_head_request_in(c, request, room, &bytes);
	return r < 0 ? r : bufq_append_copy(&c->ready, bytes);
}

static void accept_call(struct h2link *link, struct stream *s, enum h2_class class,
			const struct h2_request *request)
{
	const struct link_sink *sink = link->base.sink;
	struct h2call *c = h2call_make(link);
	int r = c && sink ? 0 : -ENOMEM;
	if (r == 0) {
		c->class = class;
		if (class != H2_CLASS_CONFIG)
			r = write_request(c, request);
	}
	if (r < 0) {
		answer(s, r == -EBADMSG ? 400 : 502);
		if (c)
			h2call_dispose(c);
		return;
	}
	if (class == H2_CLASS_HTTP)
		h2call_begin_frames(c);
	h2call_attach(c, s);
	if (class != H2_CLASS_CONFIG)
		sink->on_stream(&link->base, &c->base, STREAM_ID_REQUEST, link->base.user);
	else if (sink->on_config)
		sink->on_config(&link->base, &c->base, link->base.user);
	else
		stream_close(&c->base);
}

void h2call_accept(struct h2link *link, struct stream *s, const struct h2_request *request)
{
	const struct h2_head *head = &request->head;
	enum h2_class class = h2_class_of_fields(head->fields, head->field_count);
	if (request->fault != H2_FAULT_NONE)
		answer(s, request->fault == H2_FAULT_TOO_LARGE ? 431 : 400);
	else if (class == H2_CLASS_CONTROL)
		accept_control(link, s);
	else
		accept_call(link, s, class, request);
}

/* ---- edge ---------------------------------------------------------------------------------- */

int h2call_new(struct h2link *link, struct stream **ret)
{
	if (!h2_has_room(link->h2))
		return -EAGAIN;
	struct h2call *c = h2call_make(link);
	if (!c)
		return -ENOMEM;
	*ret = &c->base;
	return 0;
}

int h2call_open_control(struct h2link *link, struct stream **ret)
{
	const struct http_field upgrade = { SPAN_LIT(H2_FIELD_UPGRADE),
					    SPAN_LIT(H2_UPGRADE_CONTROL) };
	const struct h2_head head = { .method = SPAN_LIT("GET"),
				      .scheme = SPAN_LIT("https"),
				      .authority = SPAN_LIT("control"),
				      .path = SPAN_LIT("/"),
				      .fields = &upgrade,
				      .field_count = 1 };
	struct h2call *c = h2call_make(link);
	if (!c)
		return -ENOMEM;
	struct stream *s = NULL;
	int r = h2_open(link->h2, &head, false, &s);
	if (r < 0) {
		h2call_dispose(c);
		return r;
	}
	c->class = H2_CLASS_CONTROL;
	c->is_head_done = true;
	h2_set_first(s);
	h2_hold(s);
	h2call_attach(c, s);
	*ret = &c->base;
	return 0;
}

void h2call_answered(struct stream *s, const struct h2_head *head, bool is_end)
{
	(void)is_end; /* reading tells */
	struct h2call *c = s->user;
	struct h2call_room room;
	struct span bytes = {};
	if (!c || !c->link || c->is_lost || c->is_stopped || c->class == H2_CLASS_CONTROL)
		return;
	c->is_answered = true;
	room.at = h2link_scratch(c->link, &room.cap);
	int r = room.at ? h2call_head_response_in(c, head, room, &bytes) : -ENOMEM;
	if (r == 0)
		r = bufq_append_copy(&c->ready, bytes);
	if (r < 0)
		h2call_break(c);
	else
		stream_tell(&c->base, true, false);
}
