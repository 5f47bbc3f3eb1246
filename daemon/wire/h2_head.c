/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What heads mean on the HTTP/2 transport. The reader of the meta field is a scanner of flat JSON
 * objects and not a JSON parser: the field has two members, and what doesn't look so is no answer
 * of a daemon.
 */
#include "daemon/wire/h2_head.h"

#include "daemon/wire/base64.h"
#include "util/cursor.h"
#include "util/macro.h"

/* ---- classes ---- */

enum h2_class h2_class_of(struct span upgrade, bool has_src)
{
	if (span_eq_str(upgrade, H2_UPGRADE_CONFIG))
		return H2_CLASS_CONFIG;
	if (span_eq_str(upgrade, H2_UPGRADE_WEBSOCKET))
		return H2_CLASS_WEBSOCKET;
	if (has_src)
		return H2_CLASS_TCP;
	return span_eq_str(upgrade, H2_UPGRADE_CONTROL) ? H2_CLASS_CONTROL : H2_CLASS_HTTP;
}

/* The value of the first field of a name; empty when there is none. */
static struct span first_value(const struct http_field *fields, unsigned int count,
			       struct span name)
{
	for (unsigned int i = 0; i < count; i++)
		if (span_eq_nocase(fields[i].name, name))
			return fields[i].value;
	return (struct span){};
}

enum h2_class h2_class_of_fields(const struct http_field *fields, unsigned int count)
{
	return h2_class_of(first_value(fields, count, SPAN_LIT(H2_FIELD_UPGRADE)),
			   first_value(fields, count, SPAN_LIT(H2_FIELD_SRC)).len > 0);
}

/* ---- the visitor's fields ---- */

unsigned int h2_place_of(struct span name)
{
	/* What speaks between edge and daemon: an origin must not forge it. */
	static const char *const ours[] = { "cf-int-", "cf-cloudflared-", "cf-proxy-", ":" };

	if (span_eq_nocase(name, SPAN_LIT("content-length")))
		return H2_PLACE_INSIDE | H2_PLACE_OUTSIDE;
	if (span_eq_nocase(name, SPAN_LIT(H2_FIELD_TRACING)))
		return H2_PLACE_OUTSIDE;
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		struct span prefix = span_str(ours[i]);
		if (span_eq_nocase(span_first(name, prefix.len), prefix))
			return 0;
	}
	return H2_PLACE_INSIDE;
}

size_t h2_pair_len(const struct http_field *f)
{
	return BASE64_RAW_LEN(f->name.len) + BASE64_RAW_LEN(f->value.len) + 2;
}

void h2_pair_add(struct packer *p, const struct http_field *f)
{
	if (p->len > 0)
		packer_u8(p, ';');
	base64_raw_encode(p, f->name);
	packer_u8(p, ':');
	base64_raw_encode(p, f->value);
}

/* Decodes a token; its bytes are what was appended to p. */
static int decode_token(struct span text, struct packer *p, struct span *ret)
{
	size_t start = p->len;
	int r = base64_raw_decode(text, p);
	if (r < 0)
		return r;
	*ret = span_skip(packer_span(p), start);
	return 0;
}

int h2_pair_next(struct span *list, struct packer *p, struct http_field *ret)
{
	struct span rest = *list;
	struct span item = {};
	while (rest.len > 0 && item.len == 0) {
		item = span_first(rest, span_find(rest, ';'));
		rest = span_skip(rest, item.len + 1);
	}
	if (item.len == 0) {
		*list = rest;
		return 0;
	}

	size_t colon = span_find(item, ':');
	if (colon == item.len)
		return -EBADMSG;
	struct packer out = *p;
	struct http_field f = {};
	int r = decode_token(span_first(item, colon), &out, &f.name);
	if (r == 0)
		r = decode_token(span_skip(item, colon + 1), &out, &f.value);
	if (r < 0)
		return r;
	*p = out;
	*list = rest;
	*ret = f;
	return 1;
}

/* ---- who made the answer ---- */

static const char *const meta_texts[] = {
	[H2_META_NONE] = "",
	[H2_META_ORIGIN] = "{\"src\":\"origin\"}",
	[H2_META_DAEMON] = "{\"src\":\"cloudflared\"}",
	[H2_META_FLOW_LIMITED] = "{\"src\":\"cloudflared\",\"flow_rate_limited\":true}",
};

struct span h2_meta_text(enum h2_meta meta)
{
	return span_str(meta_texts[meta]);
}

/* The next byte behind blanks, which stays; 0 at the end. */
static uint8_t json_peek(struct cursor *c)
{
	while (cursor_left(c) > 0 && span_find(SPAN_LIT(" \t\r\n"), *c->pos) < 4)
		c->pos++;
	return cursor_left(c) > 0 ? *c->pos : 0;
}

static void json_expect(struct cursor *c, uint8_t want)
{
	if (json_peek(c) != want)
		cursor_fail(c, -EBADMSG);
	else
		c->pos++;
}

/* What stands between quotes, with its escapes as they are. */
static struct span json_string(struct cursor *c)
{
	json_expect(c, '"');
	const uint8_t *start = c->pos;
	while (cursor_left(c) > 0 && *c->pos != '"') {
		if (*c->pos < 0x20)
			cursor_fail(c, -EBADMSG);
		(void)cursor_take(c, *c->pos == '\\' ? 2 : 1);
	}
	struct span s = span_of(start, (size_t)(c->pos - start));
	json_expect(c, '"');
	return s;
}

/* Letters, digits, sign and point: true, false, null or a number. */
static struct span json_word(struct cursor *c)
{
	const uint8_t *start = c->pos;
	while (cursor_left(c) > 0 &&
	       (*c->pos == '+' || *c->pos == '-' || *c->pos == '.' ||
		(*c->pos >= '0' && *c->pos <= '9') || (*c->pos >= 'A' && *c->pos <= 'Z') ||
		(*c->pos >= 'a' && *c->pos <= 'z')))
		c->pos++;
	if (c->pos == start)
		cursor_fail(c, -EBADMSG);
	return span_of(start, (size_t)(c->pos - start));
}

struct meta_seen {
	enum h2_meta src;
	bool is_limited;
};

static void read_member(struct cursor *c, struct meta_seen *seen)
{
	struct span name = json_string(c);
	json_expect(c, ':');
	bool is_text = json_peek(c) == '"';
	struct span value = is_text ? json_string(c) : json_word(c);

	if (span_eq_str(name, "src"))
		seen->src = !is_text                            ? H2_META_NONE
			    : span_eq_str(value, "origin")      ? H2_META_ORIGIN
			    : span_eq_str(value, "cloudflared") ? H2_META_DAEMON
								: H2_META_NONE;
	else if (span_eq_str(name, "flow_rate_limited"))
		seen->is_limited = !is_text && span_eq_str(value, "true");
}

int h2_meta_decode(struct span text, enum h2_meta *ret)
{
	if (text.len > H2_META_MAX)
		return -EMSGSIZE;

	struct cursor c = cursor_over(text);
	struct meta_seen seen = {};
	json_expect(&c, '{');
	bool is_more = json_peek(&c) != '}';
	while (is_more && !c.error) {
		read_member(&c, &seen);
		is_more = json_peek(&c) == ',';
		if (is_more)
			c.pos++;
	}
	json_expect(&c, '}');
	(void)json_peek(&c); /* past blanks */
	if (cursor_finish(&c) < 0)
		return -EBADMSG;
	*ret = seen.src == H2_META_DAEMON && seen.is_limited ? H2_META_FLOW_LIMITED : seen.src;
	return 0;
}
