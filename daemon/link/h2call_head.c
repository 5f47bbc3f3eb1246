/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads of HTTP/2 to the messages that QUIC carries, and back (docs/protocol.md §15.2-§15.4). What
 * the transport itself adds is taken out on the way in, so that neither side's user ever sees it;
 * what comes from outside is checked where it is used (proxy/tunnel_head), not here.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "daemon/link/h2call_priv.h"
#include "daemon/wire/base64.h"
#include "daemon/wire/connect.h"
#include "daemon/wire/uri.h"
#include "util/macro.h"

enum {
	LIST_PIECE = 32 * 1024, /* of the serialised list between our own ends: other HPACKs stop at
				   64 KiB a field */
	SHA1_LEN = 20,
};
#define FIELD_ERROR  "adit-error" /* between our own ends: why there is no answer */
#define FIELD_TRACE  "cf-trace-id"
#define FIELD_RAY    "cf-ray" /* the id in logs, of a flow, too */
#define FIELD_KEY    "sec-websocket-key"
#define FIELD_ACCEPT "sec-websocket-accept"

static bool is(struct span name, const char *text)
{
	return span_eq_nocase(name, span_str(text));
}

static const struct http_field *find(const struct h2_head *head, const char *name)
{
	for (unsigned int i = 0; i < head->field_count; i++)
		if (is(head->fields[i].name, name))
			return &head->fields[i];
	return NULL;
}

static struct span value_of(const struct h2_head *head, const char *name)
{
	const struct http_field *f = find(head, name);
	return f ? f->value : (struct span){};
}

static struct span print_u64(uint64_t v, char text[24])
{
	int n = snprintf(text, 24, "%llu", (unsigned long long)v);
	return span_of(text, (size_t)n);
}

/* RFC 6455 §4.2.2. */
static struct span accept_of(struct span key, struct packer *p)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t text[128], sum[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	struct packer in = packer_over(text, sizeof(text));
	packer_bytes(&in, key);
	packer_str(&in, guid);
	size_t start = p->len;
	if (packer_finish(&in) == 0 && EVP_Digest(text, in.len, sum, &len, EVP_sha1(), NULL) == 1 &&
	    len == SHA1_LEN)
		base64_encode(p, span_of(sum, len));
	return span_skip(packer_span(p), start);
}

/* ---- daemon: request in -------------------------------------------------------------------- */

/* The transport's own fields, and what is said in another place. */
static bool is_passed_in(const struct h2call *c, struct span name)
{
	if (is(name, "cookie") || is(name, "host"))
		return false;
	bool is_web = c->class == H2_CLASS_HTTP || c->class == H2_CLASS_WEBSOCKET;
	return !is_web || (!is(name, H2_FIELD_UPGRADE) && !is(name, FIELD_TRACE));
}

/* Pieces of a Cookie field are one line for an origin (RFC 9113 §8.2.3). */
static struct span join_cookies(const struct h2_head *head, struct packer *p)
{
	size_t start = p->len;
	for (unsigned int i = 0; i < head->field_count; i++) {
		if (!is(head->fields[i].name, "cookie"))
			continue;
		if (p->len > start)
			packer_str(p, "; ");
		packer_bytes(p, head->fields[i].value);
	}
	return span_skip(packer_span(p), start);
}

static struct span write_dest(const struct h2call *c, const struct h2_head *head,
			      struct span authority, struct packer *p)
{
	size_t start = p->len;
	if (c->class == H2_CLASS_TCP)
		return authority;
	packer_bytes(p, head->scheme.len ? head->scheme : SPAN_LIT("https"));
	packer_str(p, "://");
	packer_bytes(p, authority);
	packer_bytes(p, head->path);
	return span_skip(packer_span(p), start);
}

static void keep_key(struct h2call *c, const struct h2_head *head)
{
	struct span key = value_of(head, FIELD_KEY);
	if (c->class != H2_CLASS_TCP || key.len == 0 || key.len >= sizeof(c->key))
		return;
	c->has_key = true;
	memcpy(c->key, key.ptr, key.len);
	c->key[key.len] = '\0';
}

int h2call_head_request_in(struct h2call *c, const struct h2_request *request,
			   struct h2call_room room, struct span *ret)
{
	static const enum connect_type types[] = {
		[H2_CLASS_HTTP] = CONNECT_TYPE_HTTP,
		[H2_CLASS_WEBSOCKET] = CONNECT_TYPE_WEBSOCKET,
		[H2_CLASS_TCP] = CONNECT_TYPE_TCP,
	};
	const struct h2_head *head = &request->head;
	struct packer texts = packer_over(room.at, room.cap / 2);
	struct span authority = head->authority.ptr ? head->authority : value_of(head, "host");
	struct span dest = write_dest(c, head, authority, &texts);
	struct span cookie = join_cookies(head, &texts);
	bool is_http = c->class == H2_CLASS_HTTP;
	bool is_chunked = is_http && !request->is_end && !find(head, "content-length");
	const struct http_field *flow = c->class == H2_CLASS_TCP ? find(head, FIELD_RAY) : NULL;
	unsigned int count = 2U + is_http + is_chunked + (flow != NULL);
	count += find(head, "cookie") != NULL;
	for (unsigned int i = 0; i < head->field_count; i++)
		count += is_passed_in(c, head->fields[i].name);
	keep_key(c, head);

	struct connect_writer w;
	connect_writer_init(&w, room.at + room.cap / 2, room.cap - room.cap / 2);
	connect_request_begin(&w, types[c->class], dest, count);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_METHOD), head->method);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_HOST), authority);
	if (is_http)
		connect_add(&w, SPAN_LIT(CONNECT_KEY_FRAMES), SPAN_LIT("1"));
	if (flow)
		connect_add(&w, SPAN_LIT(CONNECT_KEY_FLOW_ID), flow->value);
	for (unsigned int i = 0; i < head->field_count; i++) {
		const struct http_field *f = &head->fields[i];
		if (!is_passed_in(c, f->name))
			continue;
		size_t start = texts.len;
		http_name_canonical(&texts, f->name);
		connect_add_header(&w, span_skip(packer_span(&texts), start), f->value);
	}
	if (find(head, "cookie"))
		connect_add_header(&w, SPAN_LIT("Cookie"), cookie);
	if (is_chunked)
		connect_add_header(&w, SPAN_LIT("Transfer-Encoding"), SPAN_LIT("chunked"));
	int r = packer_finish(&texts);
	return r < 0 ? r : connect_finish(&w, ret);
}

/* ---- heads that go out --------------------------------------------------------------------- */

/* Fields of a head that is being made, and their texts, in one room. */
struct out {
	struct http_field *fields;
	unsigned int count;
	unsigned int max;
	struct packer texts;
};

static struct out out_over(struct h2call_room room, unsigned int max)
{
	struct out o = { .fields = (struct http_field *)(void *)room.at, .max = max };
	size_t taken = max * sizeof(struct http_field);
	if (taken >= room.cap)
		o.max = 0, taken = 0;
	o.texts = packer_over(room.at + taken, room.cap - taken);
	return o;
}

static void out_add(struct out *o, struct span name, struct span value)
{
	if (o->count == o->max)
		o->texts.error = -ENOBUFS;
	else
		o->fields[o->count++] = (struct http_field){ name, value };
}

static int out_finish(struct out *o, struct h2_head *head)
{
	head->fields = o->fields;
	head->field_count = o->count;
	return packer_finish(&o->texts);
}

/* ---- daemon: answer out -------------------------------------------------------------------- */

/* The list, which between our own ends may be several fields. */
struct h2list {
	struct out *out;
	struct packer piece;
	size_t piece_max;
	bool is_begun;
};

static void list_flush(struct h2list *l)
{
	struct packer *texts = &l->out->texts;
	out_add(l->out, SPAN_LIT(H2_FIELD_HEADERS), packer_span(&l->piece));
	if (l->piece.error)
		texts->error = l->piece.error;
	(void)packer_room(texts, l->piece.len);
	l->piece = packer_over(texts->buf + texts->len, texts->cap - texts->len);
	l->is_begun = false;
}

static void list_add(struct h2list *l, const struct http_field *f)
{
	if (l->is_begun && l->piece.len + h2_pair_len(f) > l->piece_max)
		list_flush(l);
	h2_pair_add(&l->piece, f);
	l->is_begun = true;
}

static struct h2list list_begin(const struct h2call *c, struct out *o)
{
	return (struct h2list){
		.out = o,
		.piece = packer_over(o->texts.buf + o->texts.len, o->texts.cap - o->texts.len),
		.piece_max = c->link->is_ours ? (size_t)LIST_PIECE : SIZE_MAX,
	};
}

static void add_upgrade(const struct h2call *c, struct h2list *l)
{
	uint8_t text[64];
	struct packer p = packer_over(text, sizeof(text));
	const struct http_field fields[] = {
		{ SPAN_LIT("Connection"), SPAN_LIT("Upgrade") },
		{ SPAN_LIT("Upgrade"), SPAN_LIT("websocket") },
		{ SPAN_LIT("Sec-Websocket-Accept"), accept_of(span_str(c->key), &p) },
	};
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		list_add(l, &fields[i]);
}

static bool is_limited(struct connect_response *resp)
{
	struct connect_iter it = {};
	struct connect_meta m;
	while (connect_next(&resp->meta, &it, &m))
		if (!m.is_header && span_eq_str(m.name, CONNECT_KEY_LIMITED))
			return true;
	return false;
}

static int error_out(const struct h2call *c, struct span error, enum h2_meta meta, struct out *o,
		     struct h2_head *head)
{
	head->status = 502;
	out_add(o, SPAN_LIT(H2_FIELD_META), h2_meta_text(meta));
	out_add(o, SPAN_LIT("content-length"), SPAN_LIT("0"));
	if (c->link->is_ours) {
		struct span text = span_of(o->texts.buf, error.len);
		packer_bytes(&o->texts, error);
		out_add(o, SPAN_LIT(FIELD_ERROR), text);
	}
	return out_finish(o, head);
}

void h2call_head_too_large(const struct h2call *c, struct h2call_room room,
			   struct h2_head *ret_head)
{
	struct out o = out_over(room, 4);
	*ret_head = (struct h2_head){};
	(void)error_out(c, SPAN_LIT("origin-protocol: the edge takes no answer of this size"),
			H2_META_DAEMON, &o, ret_head);
}

int h2call_head_response_out(const struct h2call *c, struct span frame, struct h2call_room room,
			     struct h2_head *ret_head, bool *ret_is_end)
{
	struct connect_response resp;
	struct h2_head head = {};
	int r = connect_response_decode(frame, &resp);
	if (r < 0)
		return r;
	struct out o = out_over(room, 16 + resp.meta.header_count);
	*ret_is_end = resp.error.len > 0;
	if (resp.error.len > 0) {
		r = error_out(c, resp.error,
			      is_limited(&resp) ? H2_META_FLOW_LIMITED : H2_META_DAEMON, &o, &head);
		*ret_head = head;
		return r;
	}
	/* An upgrade is a 200 here: the edge knows what it has asked for. A flow has no status. */
	head.status = resp.status == 0 || resp.status == 101 ? 200 : resp.status;
	struct connect_iter it = {};
	struct connect_meta m;
	struct h2list list = list_begin(c, &o);
	struct span length = {};
	while (connect_next(&resp.meta, &it, &m)) {
		unsigned int place = m.is_header ? h2_place_of(m.name) : 0;
		if (place & H2_PLACE_INSIDE)
			list_add(&list, &(struct http_field){ m.name, m.value });
		if (place & H2_PLACE_OUTSIDE && is(m.name, "content-length"))
			length = m.value;
	}
	if (c->has_key)
		add_upgrade(c, &list);
	list_flush(&list);
	out_add(&o, SPAN_LIT(H2_FIELD_META), h2_meta_text(H2_META_ORIGIN));
	if (length.ptr)
		out_add(&o, SPAN_LIT("content-length"), length);
	r = out_finish(&o, &head);
	*ret_head = head;
	return r;
}

/* ---- edge: request out --------------------------------------------------------------------- */

static struct span lower(struct packer *p, struct span name)
{
	size_t start = p->len;
	http_name_lower(p, name);
	return span_skip(packer_span(p), start);
}

/* What the ConnectRequest says of the body; true where it was that. */
static bool take_framing(const struct connect_meta *m, bool *has_body)
{
	uint64_t length = 0;
	if (is(m->name, "Transfer-Encoding")) {
		*has_body = true;
		return true;
	}
	if (is(m->name, "Content-Length") && http_length_parse(span_trim(m->value), &length) == 0 &&
	    length > 0)
		*has_body = true;
	return false;
}

static bool is_trailers(const struct connect_meta *m)
{
	return is(m->name, "TE") && span_eq_nocase(span_trim(m->value), SPAN_LIT("trailers"));
}

/* Trailer is hop-by-hop for HTTP/1.1; here it only announces. */
static bool is_passed_out(const struct connect_meta *m)
{
	return !http_field_is_hop_by_hop(m->name) || is_trailers(m) || is(m->name, "Trailer");
}

int h2call_head_request_out(struct h2call *c, struct span frame, struct h2call_room room,
			    struct h2_head *ret_head)
{
	static const enum h2_class classes[] = {
		[CONNECT_TYPE_HTTP] = H2_CLASS_HTTP,
		[CONNECT_TYPE_WEBSOCKET] = H2_CLASS_WEBSOCKET,
		[CONNECT_TYPE_TCP] = H2_CLASS_TCP,
	};
	struct connect_request req;
	struct uri uri = {};
	int r = connect_request_decode(frame, &req);
	if (r < 0 || req.type >= ARRAY_SIZE(classes))
		return r < 0 ? r : -EBADMSG;
	c->class = classes[req.type];
	bool is_tcp = c->class == H2_CLASS_TCP;
	if (!is_tcp && uri_parse(req.dest, &uri) < 0)
		return -EBADMSG;

	struct out o = out_over(room, 4 + req.meta.count);
	struct h2_head head = {
		.method = req.method.len ? req.method : SPAN_LIT("GET"),
		.scheme = uri.scheme.len ? uri.scheme : SPAN_LIT("https"),
		.authority = is_tcp         ? req.dest
			     : req.host.len ? req.host
					    : uri.authority,
		.path = uri.target.len ? uri.target : SPAN_LIT("/"),
	};
	bool has_body = false;
	struct connect_iter it = {};
	struct connect_meta m;
	while (connect_next(&req.meta, &it, &m)) {
		if (is_tcp && span_eq_str(m.name, CONNECT_KEY_FLOW_ID))
			out_add(&o, SPAN_LIT(FIELD_RAY), m.value);
		if (is_tcp || !m.is_header || take_framing(&m, &has_body) || !is_passed_out(&m) ||
		    is(m.name, "Host"))
			continue;
		out_add(&o, lower(&o.texts, m.name), m.value);
	}
	if (c->class == H2_CLASS_WEBSOCKET)
		out_add(&o, SPAN_LIT(H2_FIELD_UPGRADE), SPAN_LIT(H2_UPGRADE_WEBSOCKET));
	if (is_tcp)
		out_add(&o, SPAN_LIT(H2_FIELD_SRC), SPAN_LIT("edge"));
	c->is_framed = req.is_framed && c->class == H2_CLASS_HTTP;
	c->is_bodiless = c->class == H2_CLASS_HTTP && !has_body;
	r = out_finish(&o, &head);
	*ret_head = head;
	return r;
}

/* ---- edge: answer in ----------------------------------------------------------------------- */

struct pairs {
	struct span list;  /* of the current field */
	unsigned int next; /* field to look for the next list from */
	struct packer texts;
};

/* The next pair of all lists. 1, 0 at the end, or what h2_pair_next() says. */
static int pairs_next(struct pairs *p, const struct h2_head *head, struct http_field *ret)
{
	for (;;) {
		int r = h2_pair_next(&p->list, &p->texts, ret);
		if (r != 0)
			return r;
		while (p->next < head->field_count &&
		       !is(head->fields[p->next].name, H2_FIELD_HEADERS))
			p->next++;
		if (p->next == head->field_count)
			return 0;
		p->list = head->fields[p->next++].value;
	}
}

/* Counts the pairs, and tells whether they make the answer an upgrade. */
static int pairs_look(const struct h2_head *head, struct h2call_room room, uint32_t *ret_count,
		      bool *ret_is_upgrade)
{
	struct pairs p = { .texts = packer_over(room.at, room.cap) };
	struct http_field f;
	int r;
	while ((r = pairs_next(&p, head, &f)) == 1) {
		++*ret_count;
		*ret_is_upgrade |= is(f.name, FIELD_ACCEPT);
	}
	return r;
}

/* Our own words, or those of the transport for who has none. */
static struct span error_text(const struct h2_head *head, enum h2_meta meta)
{
	struct span text = value_of(head, FIELD_ERROR);
	if (text.len)
		return text;
	if (meta != H2_META_NONE && head->status == 502)
		return SPAN_LIT("origin-unreachable: the daemon had no answer");
	if (head->status == 431)
		return SPAN_LIT("header-too-large: the daemon says so");
	return head->status == 400 ? SPAN_LIT("bad-request: the daemon says so")
				   : SPAN_LIT("origin-protocol: nobody says who answered");
}

static int error_in(const struct h2_head *head, enum h2_meta meta, struct connect_writer *w,
		    struct span *ret)
{
	bool is_flow_limit = meta == H2_META_FLOW_LIMITED;
	connect_response_begin(w, error_text(head, meta), is_flow_limit);
	if (is_flow_limit)
		connect_add(w, SPAN_LIT(CONNECT_KEY_LIMITED), SPAN_LIT("true"));
	return connect_finish(w, ret);
}

int h2call_head_response_in(const struct h2call *c, const struct h2_head *head,
			    struct h2call_room room, struct span *ret)
{
	enum h2_meta meta = H2_META_NONE;
	struct h2call_room half = { room.at, room.cap / 2 };
	struct connect_writer w;
	connect_writer_init(&w, room.at + half.cap, room.cap - half.cap);
	(void)h2_meta_decode(value_of(head, H2_FIELD_META), &meta);
	if (meta != H2_META_ORIGIN)
		return error_in(head, meta, &w, ret);
	if (c->class == H2_CLASS_TCP) {
		connect_response_begin(&w, span_of(NULL, 0), 0);
		return connect_finish(&w, ret);
	}
	uint32_t count = 0;
	bool is_upgrade = false;
	int r = pairs_look(head, half, &count, &is_upgrade);
	if (r < 0)
		return r;
	is_upgrade &= c->class == H2_CLASS_WEBSOCKET && head->status == 200;
	char text[24];
	struct pairs p = { .texts = packer_over(half.at, half.cap) };
	struct http_field f;
	connect_response_begin(&w, span_of(NULL, 0), 1 + count);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_STATUS),
		    print_u64(is_upgrade ? 101 : head->status, text));
	while (pairs_next(&p, head, &f) == 1)
		connect_add_header(&w, f.name, f.value);
	return connect_finish(&w, ret);
}
