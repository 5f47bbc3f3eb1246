/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads and trailers that we send: from spans to the library's list, which it copies.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/http/h2_send.h"
#include "daemon/http/h2_stream.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	PSEUDO_MAX = 4,
	STATUS_LEN = 3,
	FIELD_COST = 32,       /* RFC 9113 §6.5.2 */
	LIST_MAX = 768 * 1024, /* what fits into the library's block, coded in the worst way */
	LAST_ID = 0x7fff0000,  /* client: stream ids are used up from here on */
};

/* A list that is being made. */
struct fields {
	nghttp2_nv *list;
	size_t count;
	size_t size;     /* as the peer counts it */
	bool is_too_big; /* one that the peer's library couldn't read */
};

static void add(struct fields *f, struct span name, struct span value)
{
	nghttp2_nv *nv = &f->list[f->count++];
	*nv = (nghttp2_nv){ .namelen = name.len, .valuelen = value.len };
	/* The library doesn't write there; its type just isn't const. */
	memcpy(&nv->name, &name.ptr, sizeof(nv->name));
	memcpy(&nv->value, &value.ptr, sizeof(nv->value));
	f->size += name.len + value.len + FIELD_COST;
	f->is_too_big |= name.len >= UINT16_MAX || value.len >= UINT16_MAX;
}

static void add_present(struct fields *f, const char *name, struct span value)
{
	if (value.ptr)
		add(f, span_str(name), value);
}

static void add_all(struct fields *f, const struct http_field *list, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		add(f, list[i].name, list[i].value);
}

/* What the peer has said that it takes, or what we can code. */
static size_t list_max(const struct h2_conn *c)
{
	size_t theirs = nghttp2_session_get_remote_settings(c->session,
							    NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE);
	return MIN(theirs, (size_t)LIST_MAX);
}

static int check(const struct h2_conn *c, const struct fields *f)
{
	return f->is_too_big || f->size > list_max(c) ? -E2BIG : 0;
}

static int status_of_library(int r)
{
	return r >= 0 ? 0 : r == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO;
}

/* ---- requests ------------------------------------------------------------------------------- */

static int may_open(const struct h2_conn *c)
{
	if (!c->is_open || c->has_ended || c->has_goaway || c->is_draining ||
	    c->role != H2_ROLE_CLIENT)
		return -EPROTO;
	uint32_t max = nghttp2_session_get_remote_settings(c->session,
							   NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	return c->opened < max ? 0 : -EAGAIN;
}

bool h2_has_room(const struct h2_conn *c)
{
	return may_open(c) == 0;
}

/* Ids don't come again: the user is to make a new connection, as after a GOAWAY. */
static void check_ids(struct h2_conn *c, int32_t id)
{
	if (id < LAST_ID || c->has_goaway)
		return;
	c->has_goaway = true;
	loop_task_post(c->loop, &c->notice, LOOP_PHASE_WORK);
}

static int submit_request(struct h2_stream *s, const struct fields *f, bool is_end)
{
	nghttp2_data_provider2 provider = h2_send_provider;
	provider.source.ptr = s;
	int32_t id = nghttp2_submit_request2(s->conn->session, NULL, f->list, f->count,
					     is_end ? NULL : &provider, s);
	if (id < 0)
		return status_of_library(id);
	s->id = id;
	check_ids(s->conn, id);
	return 0;
}

int h2_open(struct h2_conn *c, const struct h2_head *head, bool is_end, struct stream **ret)
{
	int r = may_open(c);
	if (r < 0)
		return r;
	_cleanup_(freep) nghttp2_nv *list =
		calloc((size_t)head->field_count + PSEUDO_MAX, sizeof(*list));
	struct fields f = { .list = list };
	if (!list)
		return -ENOMEM;
	add_present(&f, ":method", head->method);
	add_present(&f, ":scheme", head->scheme);
	add_present(&f, ":authority", head->authority);
	add_present(&f, ":path", head->path);
	add_all(&f, head->fields, head->field_count);
	r = check(c, &f);
	if (r < 0)
		return r;

	struct h2_stream *s = h2_stream_new(c, 0);
	if (!s)
		return -ENOMEM;
	r = submit_request(s, &f, is_end);
	if (r < 0) {
		h2_stream_drop(s);
		return r;
	}
	s->is_ours = s->is_tx_open = true;
	s->is_bodiless = span_eq_str(head->method, "HEAD");
	s->wants_fin = s->has_eof = is_end;
	c->opened++;
	h2_mark_dirty(c);
	*ret = &s->base;
	return 0;
}

/* ---- answers -------------------------------------------------------------------------------- */

int h2_respond(struct stream *s, const struct h2_head *head, bool is_end)
{
	struct h2_stream *hs = h2_stream_of(s);
	struct h2_conn *c = hs->conn;
	if (!c || hs->is_ours || hs->is_tx_open || hs->is_rst_sent || hs->is_lost)
		return -EPROTO;
	_cleanup_(freep) nghttp2_nv *list =
		calloc((size_t)head->field_count + PSEUDO_MAX, sizeof(*list));
	struct fields f = { .list = list };
	if (!list)
		return -ENOMEM;
	unsigned int status = head->status % 1000;
	char text[STATUS_LEN] = { (char)('0' + status / 100), (char)('0' + status / 10 % 10),
				  (char)('0' + status % 10) };
	add(&f, SPAN_LIT(":status"), span_of(text, sizeof(text)));
	add_all(&f, head->fields, head->field_count);
	int r = check(c, &f);
	if (r < 0)
		return r;

	nghttp2_data_provider2 provider = h2_send_provider;
	provider.source.ptr = hs;
	r = nghttp2_submit_response2(c->session, hs->id, f.list, f.count,
				     is_end ? NULL : &provider);
	if (r < 0)
		return status_of_library(r);
	hs->is_tx_open = true;
	if (is_end)
		hs->wants_fin = hs->has_eof = true;
	h2_stream_wake(hs);
	h2_mark_dirty(c);
	return 0;
}

/* ---- trailers ------------------------------------------------------------------------------- */

int h2_trailers_copy(const struct http_trailers *from, struct http_trailers *ret, void **ret_block)
{
	size_t len = from->count * sizeof(struct http_field);
	for (unsigned int i = 0; i < from->count; i++)
		len += from->fields[i].name.len + from->fields[i].value.len;
	struct http_field *fields = calloc(1, len + 1);
	if (!fields)
		return -ENOMEM;
	uint8_t *at = (uint8_t *)(fields + from->count);
	for (unsigned int i = 0; i < from->count; i++) {
		const struct span parts[] = { from->fields[i].name, from->fields[i].value };
		struct span copies[ARRAY_SIZE(parts)];
		for (size_t p = 0; p < ARRAY_SIZE(parts); p++) {
			if (parts[p].len)
				memcpy(at, parts[p].ptr, parts[p].len);
			copies[p] = span_of(at, parts[p].len);
			at += parts[p].len;
		}
		fields[i] = (struct http_field){ .name = copies[0], .value = copies[1] };
	}
	*ret = (struct http_trailers){ .fields = fields, .count = from->count };
	*ret_block = fields;
	return 0;
}

int h2_set_trailers(struct stream *s, const struct http_trailers *trailers)
{
	struct h2_stream *hs = h2_stream_of(s);
	struct http_trailers copy;
	void *block;
	int r = h2_trailers_copy(trailers, &copy, &block);
	if (r < 0)
		return r;
	free(hs->tx_block);
	hs->tx_block = block;
	hs->tx_trailers = copy;
	return 0;
}

int h2_submit_trailers(struct h2_stream *s)
{
	const struct http_trailers *t = &s->tx_trailers;
	_cleanup_(freep) nghttp2_nv *list = calloc((size_t)t->count + 1, sizeof(*list));
	struct fields f = { .list = list };
	if (!list)
		return -ENOMEM;
	add_all(&f, t->fields, t->count);
	return nghttp2_submit_trailer(s->conn->session, s->id, f.list, f.count) == 0 ? 0 : -ENOMEM;
}

const struct http_trailers *h2_trailers(const struct stream *s)
{
	return &h2_stream_of_const(s)->rx_trailers;
}
