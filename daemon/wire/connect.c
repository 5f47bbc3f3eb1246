/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ConnectRequest and ConnectResponse. Decoding walks all metadata once, so that a malformed entry
 * is found before anything is done; iterating later can't fail any more.
 */
#include "daemon/wire/connect.h"

#include <errno.h>

#include "daemon/wire/preamble.h"

#define HEADER_PREFIX CONNECT_KEY_HEADER ":"

/* ---- reading ---- */

static bool contains(struct span s, struct span what)
{
	for (size_t i = 0; i + what.len <= s.len; i++)
		if (memcmp(s.ptr + i, what.ptr, what.len) == 0)
			return true;
	return false;
}

/*
 * Tells a header entry from another one: any key with "HttpHeader" in it is one and must split at
 * ':' into exactly two parts (docs/protocol.md §10.2). False for a bad key.
 */
static bool classify(struct span key, struct connect_meta *ret)
{
	*ret = (struct connect_meta){ .name = key };
	if (!contains(key, SPAN_LIT(CONNECT_KEY_HEADER)))
		return true;

	size_t colon = span_find(key, ':');
	if (colon == key.len)
		return false;
	ret->is_header = true;
	ret->name = span_skip(key, colon + 1);
	return span_find(ret->name, ':') == ret->name.len;
}

/* Entry i; false for a bad key, which is then in ret->name. */
static bool entry_at(struct connect_metadata *m, uint32_t i, struct connect_meta *ret)
{
	struct capnp_list list = m->list;
	list.msg = &m->msg;
	struct capnp_struct s = capnp_list_at(&list, i);
	struct span key = capnp_get_text(&s, 0);
	bool is_good = classify(key, ret);
	if (!is_good)
		ret->name = key;
	ret->value = capnp_get_text(&s, 1);
	return is_good;
}

bool connect_next(struct connect_metadata *m, struct connect_iter *it, struct connect_meta *ret)
{
	/* Each pass may cost as much as the first, which the budget allowed. */
	if (it->next == 0)
		capnp_msg_rewind(&m->msg);
	while (it->next < m->count)
		if (entry_at(m, it->next++, ret))
			return true;
	return false;
}

/* Called for every entry that is no header while the metadata is walked the first time. */
struct plain_sink {
	void (*take)(void *ctx, const struct connect_meta *e);
	void *ctx;
};

static int walk(struct connect_metadata *m, const struct plain_sink *sink)
{
	m->count = m->list.count;
	for (uint32_t i = 0; i < m->count && !m->msg.error; i++) {
		struct connect_meta e;
		if (!entry_at(m, i, &e)) {
			if (!m->bad_key.ptr)
				m->bad_key = e.name;
		} else if (e.is_header) {
			m->header_count++;
		} else {
			sink->take(sink->ctx, &e);
		}
	}
	return capnp_msg_finish(&m->msg);
}

static void take_request_entry(void *ctx, const struct connect_meta *e)
{
	struct connect_request *r = ctx;
	if (span_eq(e->name, SPAN_LIT(CONNECT_KEY_METHOD)))
		r->method = e->value;
	else if (span_eq(e->name, SPAN_LIT(CONNECT_KEY_HOST)))
		r->host = e->value;
	else if (span_eq(e->name, SPAN_LIT(CONNECT_KEY_FRAMES)))
		r->is_framed = span_eq(e->value, SPAN_LIT("1"));
}

int connect_request_decode(struct span frame, struct connect_request *ret)
{
	struct connect_request q = {};
	int r = capnp_msg_open(frame, &q.meta.msg);
	if (r < 0)
		return r;

	struct capnp_struct root = capnp_root(&q.meta.msg);
	q.type = (enum connect_type)capnp_u16(&root, 0);
	q.dest = capnp_get_text(&root, 0);
	q.meta.list = capnp_get_list(&root, 1);
	r = walk(&q.meta, &(struct plain_sink){ take_request_entry, &q });
	if (r < 0)
		return r;
	q.meta.list.msg = NULL;
	*ret = q;
	return 0;
}

static void take_response_entry(void *ctx, const struct connect_meta *e)
{
	struct connect_response *r = ctx;
	struct span v = e->value;
	if (!span_eq(e->name, SPAN_LIT(CONNECT_KEY_STATUS)))
		return;

	unsigned int status = 0;
	for (size_t i = 0; v.len == 3 && i < 3; i++)
		status = v.ptr[i] >= '0' && v.ptr[i] <= '9'
				 ? status * 10 + (unsigned int)(v.ptr[i] - '0')
				 : 10000;
	r->status = status >= 100 && status <= 999 ? status : 0;
}

int connect_response_decode(struct span frame, struct connect_response *ret)
{
	struct connect_response p = {};
	int r = capnp_msg_open(frame, &p.meta.msg);
	if (r < 0)
		return r;

	struct capnp_struct root = capnp_root(&p.meta.msg);
	p.error = capnp_get_text(&root, 0);
	p.meta.list = capnp_get_list(&root, 1);
	r = walk(&p.meta, &(struct plain_sink){ take_response_entry, &p });
	if (r < 0)
		return r;
	p.meta.list.msg = NULL;
	*ret = p;
	return 0;
}

/* ---- writing ---- */

void connect_writer_init(struct connect_writer *w, void *buf, size_t cap)
{
	struct packer p = packer_over(buf, cap);
	preamble_write(&p, PREAMBLE_KIND_DATA);
	*w = (struct connect_writer){ .start = buf };
	capnp_build_init(&w->b, p.buf + p.len, p.cap - p.len);
	if (p.error)
		w->b.error = p.error;
}

static void put_metadata(struct connect_writer *w, struct capnp_ref root, uint32_t count)
{
	struct capnp_ref item = { .ptr_count = 2, .count = count };
	w->list = capnp_put_list(&w->b, root, 1, item);
}

void connect_request_begin(struct connect_writer *w, enum connect_type type, struct span dest,
			   uint32_t count)
{
	struct capnp_ref root = capnp_build_root(&w->b, 1, 2);
	capnp_set_u16(&w->b, root, 0, type);
	capnp_put_text(&w->b, root, 0, dest);
	if (count > 0)
		put_metadata(w, root, count);
}

void connect_response_begin(struct connect_writer *w, struct span error, uint32_t count)
{
	struct capnp_ref root = capnp_build_root(&w->b, 0, 2);
	capnp_put_text(&w->b, root, 0, error);
	if (count > 0 || error.len == 0)
		put_metadata(w, root, count);
}

static void add(struct connect_writer *w, struct span prefix, struct span key, struct span value)
{
	if (w->list.at != 0 && w->next < w->list.count) {
		struct capnp_ref item = capnp_ref_at(w->list, w->next);
		capnp_put_text2(&w->b, item, 0, prefix, key);
		capnp_put_text(&w->b, item, 1, value);
	}
	w->next++;
}

void connect_add(struct connect_writer *w, struct span key, struct span value)
{
	add(w, (struct span){}, key, value);
}

void connect_add_header(struct connect_writer *w, struct span name, struct span value)
{
	add(w, SPAN_LIT(HEADER_PREFIX), name, value);
}

int connect_finish(struct connect_writer *w, struct span *ret)
{
	struct span frame;
	int r = capnp_build_finish(&w->b, &frame);
	if (r < 0)
		return r;
	if (w->next != w->list.count)
		return -EPROTO;
	*ret = span_of(w->start, (size_t)(frame.ptr - w->start) + frame.len);
	return 0;
}
