/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 receiver. A head is collected whole before llhttp sees it: so limits hold before
 * anything is parsed, every span points into one piece of memory, and only the return of
 * llhttp_execute() decides (its on_headers_complete comes before some framing errors). Bodies are
 * fed to the same parser slice by slice; what it calls body is referenced, never copied.
 */
#include "daemon/http/h1_priv.h"

#include <errno.h>

static int fail(struct h1_rx *rx, int error, unsigned int status)
{
	rx->error = error;
	rx->status = status;
	return error;
}

/* ---- what llhttp finds ---- */

static int on_method(llhttp_t *p, const char *at, size_t len)
{
	struct h1_rx *rx = p->data;
	rx->method =
		span_of(rx->method.len ? (const char *)rx->method.ptr : at, rx->method.len + len);
	return 0;
}

static int on_url(llhttp_t *p, const char *at, size_t len)
{
	struct h1_rx *rx = p->data;
	rx->target =
		span_of(rx->target.len ? (const char *)rx->target.ptr : at, rx->target.len + len);
	return 0;
}

static int on_version(llhttp_t *p, const char *at, size_t len)
{
	struct h1_rx *rx = p->data;
	rx->version = span_of(at, len);
	return 0;
}

/* ---- behind the body ---- */

/* As when the first of it came: limits may change meanwhile, the room that was taken doesn't. */
static size_t trailer_max(struct h1_rx *rx)
{
	if (!rx->trailer_max) {
		const struct http_limits *lim = rx->limits;
		rx->trailer_max = lim->trailer_max ? lim->trailer_max : H1_TRAILER_MAX;
		rx->trailer_field_max =
			lim->trailer_field_max ? lim->trailer_field_max : H1_TRAILER_FIELDS;
	}
	return rx->trailer_max;
}

/* Chunk extensions are dropped, trailers kept; neither without a limit. */
static int count_extra(struct h1_rx *rx, size_t len)
{
	rx->extra_len += len;
	return rx->extra_len > trailer_max(rx) ? HPE_USER : 0;
}

/* Fields after the body: their pieces are put together in the arena. */
static int take_trailer(struct h1_rx *rx, struct span piece, bool is_value)
{
	if (count_extra(rx, piece.len))
		return HPE_USER;
	if (!rx->trailer_text) {
		rx->trailer_text = arena_alloc(rx->arena, trailer_max(rx));
		rx->trailer_fields = arena_calloc(rx->arena, rx->trailer_field_max + 1,
						  sizeof(struct http_field));
		if (!rx->trailer_text || !rx->trailer_fields) {
			rx->error = -ENOMEM;
			return HPE_USER;
		}
	}
	struct http_field *f = &rx->trailer_fields[rx->trailer_count];
	struct span *part = is_value ? &f->value : &f->name;
	uint8_t *at = rx->trailer_text + rx->trailer_len;
	if (piece.len)
		memcpy(at, piece.ptr, piece.len);
	rx->trailer_len += piece.len;
	if (!part->ptr)
		part->ptr = at;
	part->len += piece.len;
	return 0;
}

static int end_trailer(struct h1_rx *rx)
{
	return ++rx->trailer_count > rx->trailer_field_max ? HPE_USER : 0;
}

/* Strict for requests; of an answer a field that can't be sent on is left out. */
static int finish_trailers(struct h1_rx *rx)
{
	unsigned int kept = 0;
	for (unsigned int i = 0; i < rx->trailer_count; i++) {
		struct http_field f = rx->trailer_fields[i];
		f.value = span_trim(f.value);
		if (http_token_is_valid(f.name) && http_value_is_valid(f.value))
			rx->trailer_fields[kept++] = f;
		else if (rx->kind == H1_KIND_REQUEST)
			return HPE_USER;
		else
			rx->has_odd_trailer = true;
	}
	rx->trailers = (struct http_trailers){ .fields = rx->trailer_fields, .count = kept };
	return 0;
}

static int on_field(llhttp_t *p, const char *at, size_t len)
{
	struct h1_rx *rx = p->data;
	if (rx->is_head_done)
		return take_trailer(rx, span_of(at, len), false);
	if (rx->field_count > rx->scan.lines)
		return HPE_USER; /* more fields than lines: never seen */
	struct http_field *f = &rx->fields[rx->field_count];
	if (!f->name.len)
		f->name.ptr = (const uint8_t *)at;
	f->name.len += len;
	return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t len)
{
	struct h1_rx *rx = p->data;
	if (rx->is_head_done)
		return take_trailer(rx, span_of(at, len), true);
	struct http_field *f = &rx->fields[rx->field_count];
	if (!f->value.len)
		f->value.ptr = (const uint8_t *)at;
	f->value.len += len;
	return 0;
}

static int on_value_complete(llhttp_t *p)
{
	struct h1_rx *rx = p->data;
	if (rx->is_head_done)
		return end_trailer(rx);
	rx->field_count++;
	return 0;
}

static int on_extension(llhttp_t *p, const char *at, size_t len)
{
	(void)at;
	return count_extra(p->data, len);
}

static int on_headers_complete(llhttp_t *p)
{
	struct h1_rx *rx = p->data;
	rx->has_fields = true;
	return rx->is_answer_to_head ? 1 : 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
	struct h1_rx *rx = p->data;
	uint64_t max = rx->limits->body_max;
	if (!rx->is_head_done)
		return HPE_USER; /* we were sure that it is all head */
	if (max && (rx->body_len > max || len > max - rx->body_len)) {
		rx->error = -E2BIG;
		return HPE_USER;
	}
	/* The slice's bytes are ours; llhttp only lends them back as const char. */
	uint8_t *start = rx->body_buf->data + ((const uint8_t *)at - rx->body_buf->data);
	if (bufq_append_ref(rx->body_to, rx->body_buf, start, len) < 0) {
		rx->error = -ENOMEM;
		return HPE_USER;
	}
	rx->body_len += len;
	return 0;
}

/* Stops the parser exactly behind the message. */
static int on_message_complete(llhttp_t *p)
{
	struct h1_rx *rx = p->data;
	if (rx->is_head_done && finish_trailers(rx) != 0)
		return HPE_USER;
	rx->is_complete = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_method = on_method,
	.on_url = on_url,
	.on_version = on_version,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_header_value_complete = on_value_complete,
	.on_chunk_extension_name = on_extension,
	.on_chunk_extension_value = on_extension,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* ---- life ---- */

static void init_parser(struct h1_rx *rx)
{
	bool is_request = rx->kind == H1_KIND_REQUEST;
	llhttp_init(&rx->parser, is_request ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	rx->parser.data = rx;
	if (is_request)
		return;
	llhttp_set_lenient_headers(&rx->parser, 1);
	llhttp_set_lenient_chunked_length(&rx->parser, 1);
	llhttp_set_lenient_optional_cr_before_lf(&rx->parser, 1);
}

void h1_rx_init(struct h1_rx *rx, enum h1_kind kind, struct slab *slab,
		const struct http_limits *limits, struct arena *arena)
{
	*rx = (struct h1_rx){ .kind = kind, .limits = limits, .arena = arena };
	bufq_init(&rx->raw, slab);
	init_parser(rx);
}

void h1_rx_done(struct h1_rx *rx)
{
	bufq_clear(&rx->raw);
}

void h1_rx_next(struct h1_rx *rx)
{
	struct bufq raw = rx->raw;
	*rx = (struct h1_rx){
		.kind = rx->kind,
		.limits = rx->limits,
		.arena = rx->arena,
		.is_answer_to_head = rx->is_answer_to_head,
		.raw = raw,
	};
	init_parser(rx);
}

/* ---- the head's end ---- */

/* Empty lines before a request are passed over (RFC 9112 §2.2); an answer has none. */
static int skip_empty_lines(struct h1_rx *rx)
{
	while (!rx->scan.len && rx->raw.len) {
		uint8_t c = bufq_peek(&rx->raw).ptr[0];
		if (c != '\r' && c != '\n')
			break;
		if (rx->kind == H1_KIND_RESPONSE || ++rx->empty_lines > 2 * H1_EMPTY_LINES)
			return fail(rx, -EBADMSG, 400);
		bufq_consume(&rx->raw, 1);
	}
	return 0;
}

static int too_large(struct h1_rx *rx)
{
	return fail(rx, -EMSGSIZE, 431);
}

/* Looks at one run of bytes. Returns 1 when the head ends in it (scan.len says where), 0, or
 * -EMSGSIZE. */
static int scan_run(struct h1_rx *rx, struct span run)
{
	const struct http_limits *lim = rx->limits;
	struct h1_scan *s = &rx->scan;

	while (run.len) {
		size_t n = span_find(run, '\n');
		bool has_end = n < run.len;
		if (n) {
			s->line_len += n;
			s->last_was_cr = run.ptr[n - 1] == '\r';
		}
		s->len += n + has_end;
		s->at_used += n + has_end;
		run = span_skip(run, n + has_end);

		size_t content = s->line_len - s->last_was_cr;
		if (s->len > lim->head_max || content > lim->line_max)
			return too_large(rx);
		if (!has_end)
			break;
		if (!content)
			return 1;
		/* The first line is not a field. */
		if (++s->lines > lim->field_max + 1)
			return too_large(rx);
		s->line_len = 0;
		s->last_was_cr = false;
	}
	return 0;
}

/* Returns 0 when the first scan.len bytes of raw are a head, -EAGAIN, or an error. */
static int find_end(struct h1_rx *rx)
{
	struct h1_scan *s = &rx->scan;
	if (!s->at) {
		s->at = rx->raw.head;
		s->at_used = 0;
	}
	while (s->at) {
		struct span run = span_of(s->at->ptr, s->at->len);
		int r = scan_run(rx, span_skip(run, s->at_used));
		if (r < 0)
			return r;
		if (r > 0)
			return 0;
		if (!s->at->next)
			break; /* the last slice may still grow */
		s->at = s->at->next;
		s->at_used = 0;
	}
	return -EAGAIN;
}

/* ---- the head's bytes ---- */

static int take_text(struct h1_rx *rx, uint8_t **ret)
{
	size_t len = rx->scan.len;
	uint8_t *text = arena_alloc(rx->arena, len);
	rx->fields = arena_calloc(rx->arena, rx->scan.lines + 1, sizeof(struct http_field));
	if (!text || !rx->fields)
		return fail(rx, -ENOMEM, 503);
	(void)bufq_copy_out(&rx->raw, text, len);
	bufq_consume(&rx->raw, len);
	*ret = text;
	return 0;
}

static bool is_token_byte(uint8_t c)
{
	return http_token_is_valid(span_of(&c, 1));
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* A request line that ends as it should, with whatever version. */
static bool has_version(struct span text)
{
	size_t end = span_find(text, '\n');
	if (end == text.len || end < 10)
		return false;
	const uint8_t *v = text.ptr + end - 10;
	return memcmp(v, " HTTP/", 6) == 0 && is_digit(v[6]) && v[7] == '.' && is_digit(v[8]) &&
	       v[9] == '\r';
}

/* What a server says to a request line that llhttp refused. */
static unsigned int refusal(const struct h1_rx *rx, llhttp_errno_t err)
{
	if (err == HPE_INVALID_METHOD) {
		struct span method = span_first(rx->text, span_find(rx->text, ' '));
		return method.len < rx->text.len && http_token_is_valid(method) ? 501 : 400;
	}
	return (err == HPE_OK || err == HPE_INVALID_VERSION) && has_version(rx->text) ? 505 : 400;
}

/* llhttp's lenient reading of one ends a head where we see none. */
static bool has_bare_cr(struct span text)
{
	for (;;) {
		text = span_skip(text, span_find(text, '\r'));
		if (!text.len)
			return false;
		text = span_skip(text, 1);
		if (!text.len || text.ptr[0] != '\n')
			return true;
	}
}

static int parse_head(struct h1_rx *rx)
{
	uint8_t *text = NULL;
	int r = take_text(rx, &text);
	if (r < 0)
		return r;
	if (has_bare_cr(span_of(text, rx->scan.len)))
		return fail(rx, -EBADMSG, 400);
	size_t len = rx->kind == H1_KIND_RESPONSE ? h1_head_tidy(text, rx->scan.len) : rx->scan.len;
	if (!len)
		return fail(rx, -EBADMSG, 400);
	rx->text = span_of(text, len);

	llhttp_errno_t err = llhttp_execute(&rx->parser, (const char *)text, len);
	bool has_stopped = rx->is_complete && (err == HPE_PAUSED || err == HPE_PAUSED_UPGRADE);
	if ((err != HPE_OK && !has_stopped) || !rx->has_fields)
		return fail(rx, -EBADMSG, refusal(rx, err));
	r = h1_head_finish(rx);
	if (r < 0)
		return fail(rx, r, rx->status);
	rx->is_head_done = true;
	return 0;
}

int h1_rx_head(struct h1_rx *rx)
{
	if (rx->error)
		return rx->error;
	int r = skip_empty_lines(rx);
	if (r < 0)
		return r;
	if (!rx->raw.len)
		return -EAGAIN;
	/* No request begins like this: a TLS hello on a clear port is told at once. */
	if (!rx->has_bytes && rx->kind == H1_KIND_REQUEST &&
	    !is_token_byte(bufq_peek(&rx->raw).ptr[0]))
		return fail(rx, -EBADMSG, 400);
	rx->has_bytes = true;
	r = find_end(rx);
	return r < 0 ? r : parse_head(rx);
}

/* ---- the body ---- */

/* Feeds at most max bytes of raw's first slice. */
static void feed(struct h1_rx *rx, struct bufq *to, size_t max)
{
	const struct slice *s = rx->raw.head;
	size_t n = s->len < max ? s->len : max;
	rx->body_to = to;
	rx->body_buf = s->buf;

	const char *start = (const char *)s->ptr;
	llhttp_errno_t err = llhttp_execute(&rx->parser, start, n);
	if (err == HPE_OK) {
		bufq_consume(&rx->raw, n);
		return;
	}
	if (rx->is_complete && (err == HPE_PAUSED || err == HPE_PAUSED_UPGRADE)) {
		bufq_consume(&rx->raw, (size_t)(llhttp_get_error_pos(&rx->parser) - start));
		return;
	}
	int error = rx->error ? rx->error : -EBADMSG;
	(void)fail(rx, error, error == -E2BIG ? 413 : 400);
}

ssize_t h1_rx_body(struct h1_rx *rx, struct bufq *to, size_t max)
{
	size_t before = to->len;
	while (!rx->is_complete && !rx->error && rx->raw.len && to->len - before < max)
		feed(rx, to, max - (to->len - before));

	size_t moved = to->len - before;
	if (moved)
		return (ssize_t)moved;
	if (rx->error)
		return rx->error;
	return rx->is_complete ? 0 : -EAGAIN;
}

int h1_rx_eof(struct h1_rx *rx)
{
	if (rx->error)
		return rx->error;
	if (rx->is_complete)
		return 0;
	if (rx->is_head_done && rx->until_close) {
		rx->is_complete = true;
		return 0;
	}
	return rx->has_bytes ? fail(rx, -EBADMSG, 400) : -ECONNRESET;
}
