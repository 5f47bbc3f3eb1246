/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 heads around llhttp: what is put in order before it parses an origin's answer, and what
 * is checked after it, because llhttp takes more than we may pass on (other protocols' versions,
 * several transfer codings, any target). A message whose framing two readers could see differently
 * is refused here (RFC 9112 §6.3, §11.2).
 */
#include <errno.h>

#include "daemon/http/h1_priv.h"
#include "util/macro.h"

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static bool is_line_end(uint8_t c)
{
	return c == '\r' || c == '\n';
}

/* ---- before: answers ---- */

/* Length of the line at text[0], with its end. */
static size_t line_len(const uint8_t *text, size_t len)
{
	size_t n = span_find(span_of(text, len), '\n');
	return n < len ? n + 1 : len;
}

/* Moves one line to out; a continuation line is joined to what stands there. Returns the new out.
 */
static size_t put_line(uint8_t *text, size_t out, const uint8_t *line, size_t len)
{
	size_t skip = 0;
	if (is_blank(line[0])) {
		while (out && (is_line_end(text[out - 1]) || is_blank(text[out - 1])))
			out--;
		text[out++] = ' ';
		while (skip < len && is_blank(line[skip]))
			skip++;
		memmove(text + out, line + skip, len - skip);
		return out + len - skip;
	}

	size_t colon = span_find(span_of(line, len), ':');
	size_t name = colon;
	while (colon < len && name && is_blank(line[name - 1]))
		name--;
	memmove(text + out, line, name);
	memmove(text + out + name, line + colon, len - colon);
	return out + name + len - colon;
}

static size_t unfold(uint8_t *text, size_t len)
{
	/* The status line stays as it is, and nothing can be joined to it. */
	size_t in = line_len(text, len);
	if (in < len && is_blank(text[in]))
		return 0;
	size_t out = in;
	while (in < len) {
		size_t n = line_len(text + in, len - in);
		out = put_line(text, out, text + in, n);
		in += n;
	}
	return out;
}

static bool is_length_line(const uint8_t *line, size_t len, struct span *ret_value)
{
	size_t colon = span_find(span_of(line, len), ':');
	if (!span_eq_nocase(span_of(line, colon), SPAN_LIT("content-length")) || colon == len)
		return false;
	while (len && is_line_end(line[len - 1]))
		len--;
	*ret_value = span_trim(span_skip(span_of(line, len), colon + 1));
	return true;
}

static size_t drop_repeated_length(uint8_t *text, size_t len)
{
	struct span first = {};
	size_t out = 0;
	for (size_t in = 0; in < len;) {
		size_t n = line_len(text + in, len - in);
		struct span value;
		bool is_length = is_length_line(text + in, n, &value);
		if (!is_length || !first.ptr || !span_eq(first, value)) {
			memmove(text + out, text + in, n);
			if (is_length && !first.ptr)
				(void)is_length_line(text + out, n, &first);
			out += n;
		}
		in += n;
	}
	return out;
}

size_t h1_head_tidy(uint8_t *text, size_t len)
{
	return drop_repeated_length(text, unfold(text, len));
}

/* ---- after: both ---- */

static int refuse(struct h1_rx *rx, unsigned int status)
{
	rx->status = status;
	return -EBADMSG;
}

/* What a head says about its framing. */
struct framing_fields {
	struct span length;
	struct span coding;
	struct span host;
	unsigned int lengths;
	unsigned int codings;
	unsigned int hosts;
};

/* Takes the fields over that are not framing, in order. */
static int sort_fields(struct h1_rx *rx, struct framing_fields *ret)
{
	struct http_head *head = &rx->head;
	head->fields = rx->fields;
	for (unsigned int i = 0; i < rx->field_count; i++) {
		struct http_field f = rx->fields[i];
		f.value = span_trim(f.value);
		if (!http_token_is_valid(f.name) || !http_value_is_valid(f.value))
			return refuse(rx, 400);
		if (span_eq_nocase(f.name, SPAN_LIT("content-length"))) {
			ret->length = f.value;
			ret->lengths++;
		} else if (span_eq_nocase(f.name, SPAN_LIT("transfer-encoding"))) {
			ret->coding = f.value;
			ret->codings++;
		} else if (rx->kind == H1_KIND_REQUEST &&
			   span_eq_nocase(f.name, SPAN_LIT("host"))) {
			ret->host = f.value;
			ret->hosts++;
		} else {
			head->fields[head->field_count++] = f;
		}
	}
	return 0;
}

static void decide_keep_alive(struct h1_rx *rx)
{
	const struct http_head *head = &rx->head;
	bool close = http_head_lists(head, "connection", SPAN_LIT("close"));
	bool keep = http_head_lists(head, "connection", SPAN_LIT("keep-alive"));
	rx->keep_alive = !close && (head->minor >= 1 || keep);
}

/* The same for both kinds: one coding, chunked; a length that is a number. */
static int check_framing(struct h1_rx *rx, const struct framing_fields *f)
{
	struct http_head *head = &rx->head;
	if (f->codings > 1)
		return refuse(rx, 400);
	if (f->codings && !span_eq_nocase(f->coding, SPAN_LIT("chunked")))
		return refuse(rx, 501);
	if (f->lengths > 1)
		return refuse(rx, 400);
	if (f->lengths) {
		uint64_t length;
		if (http_length_parse(f->length, &length) < 0)
			return refuse(rx, 400);
		head->content_length = length;
		head->has_length = true;
	}
	return 0;
}

/* ---- requests ---- */

/* Bytes of reg-name, IP-literal and port (RFC 3986 §3.2). */
static bool is_authority(struct span s)
{
	static const char others[] = "-._~!$&'()*+,;=%:[]";
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = span_lower_byte(s.ptr[i]);
		bool is_alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		if (!is_alnum && (c == 0 || !memchr(others, c, sizeof(others) - 1)))
			return false;
	}
	return true;
}

/* http://host/path: the target's host wins over Host (RFC 9112 §3.2.2). */
static bool split_absolute(struct http_head *head)
{
	struct span t = head->target;
	size_t colon = span_find(t, ':');
	struct span scheme = span_first(t, colon);
	if (!span_eq_nocase(scheme, SPAN_LIT("http")) && !span_eq_nocase(scheme, SPAN_LIT("https")))
		return false;
	t = span_skip(t, colon);
	if (!span_starts_with(t, SPAN_LIT("://")))
		return false;
	t = span_skip(t, 3);
	size_t end = MIN(span_find(t, '/'), span_find(t, '?'));
	if (!end)
		return false;
	head->authority = span_first(t, end);
	head->target = span_skip(t, end);
	return true;
}

/* "?q" behind a bare authority needs the path that it lacks. */
static int add_slash(struct h1_rx *rx)
{
	struct span old = rx->head.target;
	if (old.len && old.ptr[0] == '/')
		return 0;
	uint8_t *p = arena_alloc(rx->arena, old.len + 1);
	if (!p)
		return -ENOMEM;
	p[0] = '/';
	if (old.len)
		memcpy(p + 1, old.ptr, old.len);
	rx->head.target = span_of(p, old.len + 1);
	return 0;
}

static int check_target(struct h1_rx *rx)
{
	struct http_head *head = &rx->head;
	for (size_t i = 0; i < rx->target.len; i++)
		if (rx->target.ptr[i] <= ' ' || rx->target.ptr[i] >= 0x7f ||
		    rx->target.ptr[i] == '#')
			return refuse(rx, 400);
	head->target = rx->target;
	if (span_eq_str(rx->target, "*"))
		return span_eq_str(rx->method, "OPTIONS") ? 0 : refuse(rx, 400);
	if (rx->target.len && rx->target.ptr[0] == '/')
		return 0;
	if (!split_absolute(head))
		return refuse(rx, 400);
	return add_slash(rx);
}

static int check_version(struct h1_rx *rx)
{
	/* llhttp takes RTSP/1.0 and ICE/1.0, too, and a line without any version. */
	if (!rx->version.len || !span_eq(span_of(rx->version.ptr - 5, 5), SPAN_LIT("HTTP/")))
		return refuse(rx, 400);
	if (rx->parser.http_major != 1)
		return refuse(rx, 505);
	if (span_eq_str(rx->method, "CONNECT"))
		return refuse(rx, 501);
	return 0;
}

static int finish_request(struct h1_rx *rx)
{
	struct http_head *head = &rx->head;
	int r = check_version(rx);
	if (r < 0)
		return r;
	head->method = rx->method;
	head->minor = rx->parser.http_minor;

	struct framing_fields f = {};
	r = sort_fields(rx, &f);
	if (r < 0)
		return r;
	if (f.hosts > 1 || (!f.hosts && head->minor >= 1))
		return refuse(rx, 400);
	head->authority = f.host;
	r = check_target(rx);
	if (r < 0)
		return r;
	if (!is_authority(head->authority))
		return refuse(rx, 400);
	r = check_framing(rx, &f);
	if (r < 0)
		return r;
	if (f.codings && (f.lengths || head->minor == 0))
		return refuse(rx, 400);

	decide_keep_alive(rx);
	if (f.codings)
		head->body = HTTP_BODY_UNKNOWN;
	else if (head->content_length)
		head->body = HTTP_BODY_LENGTH;
	return 0;
}

/* ---- answers ---- */

static int finish_response(struct h1_rx *rx)
{
	struct http_head *head = &rx->head;
	head->status = rx->parser.status_code;
	head->minor = rx->parser.http_minor;
	if (rx->parser.http_major != 1 || head->status < 100)
		return -EBADMSG;

	struct framing_fields f = {};
	int r = sort_fields(rx, &f);
	if (r < 0)
		return r;
	r = check_framing(rx, &f);
	if (r < 0)
		return r;
	decide_keep_alive(rx);
	if (f.codings && (f.lengths || head->minor == 0)) {
		/* The length is ignored and the connection closed after (spec §7). */
		head->has_length = false;
		head->content_length = 0;
		rx->keep_alive = false;
	}
	if (head->status < 200 || head->status == 204)
		head->has_length = false;

	if (rx->is_answer_to_head || http_status_is_bodiless(head->status)) {
		head->body = HTTP_BODY_NONE;
	} else if (f.codings) {
		head->body = HTTP_BODY_UNKNOWN;
	} else if (head->has_length) {
		head->body = head->content_length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
	} else {
		head->body = HTTP_BODY_UNKNOWN;
		rx->until_close = true;
		rx->keep_alive = false;
	}
	return 0;
}

int h1_head_finish(struct h1_rx *rx)
{
	rx->status = 400;
	int r = rx->kind == H1_KIND_REQUEST ? finish_request(rx) : finish_response(rx);
	if (r < 0)
		return r;
	/* Where our reading and llhttp's would differ, nobody may guess. */
	if (rx->is_complete != (rx->head.body == HTTP_BODY_NONE))
		return refuse(rx, 400);
	return 0;
}
