/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP heads as the tunnel carries them. Everything is copied out of the frame once, because the
 * frame's buffer goes back to the worker's slab before the answer comes.
 */
#include "daemon/proxy/tunnel_head.h"

#include <stdio.h>

#include "daemon/wire/uri.h"
#include "util/macro.h"

static bool is_name(const struct connect_meta *m, const char *name)
{
	return span_eq_nocase(m->name, span_str(name));
}

static bool lists_chunked(struct span value)
{
	struct span item;
	while (http_list_next(&value, &item))
		if (span_eq_nocase(item, SPAN_LIT("chunked")))
			return true;
	return false;
}

/* What the framing fields said; they are not ordinary fields. */
struct framing {
	bool has_length;
	bool is_negative;
	bool is_chunked;
	uint64_t length;
};

/* Takes a framing field in. Returns 1 when it was one, 0 when not, -EBADMSG. */
static int take_framing(const struct connect_meta *m, struct framing *f)
{
	if (is_name(m, "Transfer-Encoding")) {
		f->is_chunked |= lists_chunked(m->value);
		return 1;
	}
	if (!is_name(m, "Content-Length"))
		return 0;
	struct span v = span_trim(m->value);
	if (v.len > 1 && v.ptr[0] == '-') {
		uint64_t ignored;
		f->is_negative = true;
		return http_length_parse(span_skip(v, 1), &ignored) < 0 ? -EBADMSG : 1;
	}
	uint64_t length = 0;
	if (http_length_parse(v, &length) < 0 || (f->has_length && f->length != length))
		return -EBADMSG;
	f->has_length = true;
	f->length = length;
	return 1;
}

/* As if it had come as lines of HTTP/1.1. */
static bool has_room(const struct connect_meta *m, const struct http_limits *limits, size_t *total)
{
	size_t line = m->name.len + 2 + m->value.len;
	*total += line + 2;
	return line <= limits->line_max && *total <= limits->head_max;
}

/* Copies the fields of metadata into the head, framing apart. -EBADMSG, -ENOMEM, -E2BIG. */
static int copy_fields(struct connect_metadata *meta, const struct http_limits *limits,
		       struct arena *arena, struct http_head *head, struct framing *framing)
{
	if (meta->header_count > limits->field_max)
		return -E2BIG;
	head->fields = arena_alloc(arena, MAX(meta->header_count, 1U) * sizeof(struct http_field));
	if (!head->fields)
		return -ENOMEM;
	struct connect_iter it = {};
	struct connect_meta m;
	size_t total = 0;
	while (connect_next(meta, &it, &m)) {
		if (!m.is_header)
			continue;
		if (!has_room(&m, limits, &total))
			return -E2BIG;
		if (!http_token_is_valid(m.name) || !http_value_is_valid(span_trim(m.value)))
			return -EBADMSG;
		int r = take_framing(&m, framing);
		if (r < 0)
			return r;
		if (r > 0 || is_name(&m, "Host"))
			continue;
		struct http_field *f = &head->fields[head->field_count++];
		r = arena_copy(arena, m.name, &f->name);
		if (r == 0)
			r = arena_copy(arena, span_trim(m.value), &f->value);
		if (r < 0)
			return r;
	}
	return 0;
}

static int copy_target(struct span dest, struct arena *arena, struct http_head *head,
		       const char **ret_reason)
{
	struct uri uri;
	*ret_reason = "the destination is not a URL";
	if (uri_parse(dest, &uri) < 0)
		return -EBADMSG;
	struct span target = uri.target;
	if (target.len == 0 || target.ptr[0] != '/') {
		uint8_t *text = arena_alloc(arena, target.len + 1);
		if (!text)
			return -ENOMEM;
		text[0] = '/';
		if (target.len)
			memcpy(text + 1, target.ptr, target.len);
		head->target = span_of(text, target.len + 1);
	} else {
		int r = arena_copy(arena, target, &head->target);
		if (r < 0)
			return r;
	}
	return arena_copy(arena, uri.scheme.len ? uri.scheme : SPAN_LIT("https"), &head->scheme);
}

static void set_request_framing(const struct framing *f, struct http_head *head)
{
	if (f->has_length && f->length > 0) {
		head->body = HTTP_BODY_LENGTH;
		head->content_length = f->length;
	} else if (f->is_chunked || (f->is_negative && !f->has_length)) {
		head->body = HTTP_BODY_UNKNOWN;
	} else {
		head->body = HTTP_BODY_NONE;
	}
	/* "0" beside chunked is no length (docs/protocol.md §10.3). */
	head->has_length = f->has_length && head->body != HTTP_BODY_UNKNOWN;
}

int tunnel_head_from_request(struct connect_request *req, const struct http_limits *limits,
			     struct arena *arena, struct http_head *ret, const char **ret_reason)
{
	struct http_head head = { .minor = 1 };
	struct framing framing = {};
	*ret_reason = "malformed header key";
	if (req->meta.bad_key.ptr)
		return -EBADMSG;
	*ret_reason = "invalid method";
	struct span method = req->method.len ? req->method : SPAN_LIT("GET");
	if (!http_token_is_valid(method))
		return -EBADMSG;
	*ret_reason = "invalid host";
	if (!http_value_is_valid(req->host))
		return -EBADMSG;
	int r = copy_target(req->dest, arena, &head, ret_reason);
	if (r < 0)
		return r;
	*ret_reason = "invalid header field or length";
	r = copy_fields(&req->meta, limits, arena, &head, &framing);
	if (r < 0)
		return r;
	r = arena_copy(arena, method, &head.method);
	if (r == 0)
		r = arena_copy(arena, req->host, &head.authority);
	if (r < 0)
		return r;
	if (req->type == CONNECT_TYPE_WEBSOCKET)
		head.body = HTTP_BODY_UPGRADE;
	else
		set_request_framing(&framing, &head);
	head.is_framed = req->is_framed && req->type == CONNECT_TYPE_HTTP;
	*ret = head;
	return 0;
}

/* "scheme://authority/target", built where the writer doesn't need it yet: the end of its room. */
static int write_dest(const struct http_head *head, void *buf, size_t cap, struct span *ret)
{
	size_t len = head->scheme.len + 3 + head->authority.len + head->target.len;
	if (len > cap / 2)
		return -ENOBUFS;
	struct packer p = packer_over((uint8_t *)buf + cap - len, len);
	packer_bytes(&p, head->scheme);
	packer_str(&p, "://");
	packer_bytes(&p, head->authority);
	packer_bytes(&p, head->target);
	*ret = packer_span(&p);
	return packer_finish(&p);
}

static struct span print_u64(uint64_t v, char text[24])
{
	int n = snprintf(text, 24, "%llu", (unsigned long long)v);
	return span_of(text, (size_t)n);
}

int tunnel_head_write_request(const struct http_head *head, void *buf, size_t cap, struct span *ret)
{
	struct span dest;
	int r = write_dest(head, buf, cap, &dest);
	if (r < 0)
		return r;
	bool has_length = head->body == HTTP_BODY_LENGTH || head->has_length;
	bool is_chunked = head->body == HTTP_BODY_UNKNOWN;
	struct connect_writer w;
	connect_writer_init(&w, buf, cap - dest.len);
	connect_request_begin(
		&w, head->body == HTTP_BODY_UPGRADE ? CONNECT_TYPE_WEBSOCKET : CONNECT_TYPE_HTTP,
		dest, 2 + head->field_count + has_length + is_chunked + head->is_framed);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_METHOD), head->method);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_HOST), head->authority);
	if (head->is_framed)
		connect_add(&w, SPAN_LIT(CONNECT_KEY_FRAMES), SPAN_LIT("1"));
	for (unsigned int i = 0; i < head->field_count; i++)
		connect_add_header(&w, head->fields[i].name, head->fields[i].value);
	char text[24];
	if (has_length)
		connect_add_header(&w, SPAN_LIT("Content-Length"),
				   print_u64(head->content_length, text));
	if (is_chunked)
		connect_add_header(&w, SPAN_LIT("Transfer-Encoding"), SPAN_LIT("chunked"));
	return connect_finish(&w, ret);
}

int tunnel_head_write_response(const struct http_head *head, struct arena *arena, void *buf,
			       size_t cap, struct span *ret)
{
	struct connect_writer w;
	connect_writer_init(&w, buf, cap);
	connect_response_begin(&w, span_of(NULL, 0), 1 + head->field_count + head->has_length);
	char text[24];
	connect_add(&w, SPAN_LIT(CONNECT_KEY_STATUS), print_u64(head->status, text));
	for (unsigned int i = 0; i < head->field_count; i++) {
		const struct http_field *f = &head->fields[i];
		uint8_t *name = arena_alloc(arena, f->name.len);
		if (!name)
			return -ENOMEM;
		struct packer p = packer_over(name, f->name.len);
		http_name_canonical(&p, f->name);
		connect_add_header(&w, packer_span(&p), f->value);
	}
	if (head->has_length)
		connect_add_header(&w, SPAN_LIT("Content-Length"),
				   print_u64(head->content_length, text));
	return connect_finish(&w, ret);
}

int tunnel_head_write_error(struct span error, bool is_limited, void *buf, size_t cap,
			    struct span *ret)
{
	struct connect_writer w;
	connect_writer_init(&w, buf, cap);
	connect_response_begin(&w, error, is_limited ? 1 : 0);
	if (is_limited)
		connect_add(&w, SPAN_LIT(CONNECT_KEY_LIMITED), SPAN_LIT("true"));
	return connect_finish(&w, ret);
}

int tunnel_head_from_response(struct connect_response *resp, bool is_head,
			      const struct http_limits *limits, struct arena *arena,
			      struct http_head *ret)
{
	struct http_head head = { .minor = 1, .status = resp->status };
	struct framing framing = {};
	if (resp->status < 100 || resp->status > 999 || resp->meta.bad_key.ptr)
		return -EBADMSG;
	int r = copy_fields(&resp->meta, limits, arena, &head, &framing);
	if (r < 0)
		return r;
	head.has_length = framing.has_length;
	head.content_length = framing.length;
	if (resp->status == 101)
		head.body = HTTP_BODY_UPGRADE;
	else if (is_head || resp->status < 200 || resp->status == 204 || resp->status == 304)
		head.body = HTTP_BODY_NONE;
	else
		head.body = framing.has_length ? HTTP_BODY_LENGTH : HTTP_BODY_UNKNOWN;
	*ret = head;
	return 0;
}
