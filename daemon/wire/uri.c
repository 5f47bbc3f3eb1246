/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URIs taken apart in place. Only what a rule or an origin needs is checked; the path goes on as it
 * was written.
 */
#include "daemon/wire/uri.h"

#include "daemon/wire/hex.h"

#include <errno.h>

static bool is_alpha(uint8_t c)
{
	c = span_lower_byte(c);
	return c >= 'a' && c <= 'z';
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool are_digits(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_digit(s.ptr[i]))
			return false;
	return true;
}

/* No blank and no control character: those would end a request line early. Other bytes pass. */
static bool is_visible(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
			return false;
	return true;
}

/* Takes what is before the first byte c, and c itself, off the front. False when there is no c. */
static bool split_at(struct span *s, uint8_t c, struct span *ret)
{
	size_t at = span_find(*s, c);
	if (at == s->len)
		return false;
	*ret = span_first(*s, at);
	*s = span_skip(*s, at + 1);
	return true;
}

/* "scheme:" in front (RFC 3986 §3.1); 0 length when there is none. */
static struct span scheme_of(struct span s)
{
	size_t n = 0;
	while (n < s.len &&
	       (is_alpha(s.ptr[n]) || (n > 0 && (is_digit(s.ptr[n]) || s.ptr[n] == '+' ||
						 s.ptr[n] == '-' || s.ptr[n] == '.'))))
		n++;
	return n < s.len && s.ptr[n] == ':' ? span_first(s, n) : (struct span){};
}

static int split_authority(struct uri *u)
{
	struct span rest = u->authority;
	/* Everything before the last '@' is user information. */
	for (size_t at = span_find(rest, '@'); at < rest.len; at = span_find(rest, '@'))
		rest = span_skip(rest, at + 1);

	size_t host_len = span_find(rest, ':');
	if (rest.len > 0 && rest.ptr[0] == '[') {
		host_len = span_find(rest, ']') + 1;
		if (host_len > rest.len)
			return -EBADMSG;
	}
	u->host = span_first(rest, host_len);
	rest = span_skip(rest, host_len);
	if (rest.len == 0)
		return 0;
	if (rest.ptr[0] != ':' || !are_digits(span_skip(rest, 1)))
		return -EBADMSG;
	u->port = span_skip(rest, 1);
	return 0;
}

/* A percent sign must be followed by two digits. */
static bool escapes_are_valid(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] == '%' &&
		    (s.len - i < 3 || hex_digit(s.ptr[i + 1]) < 0 || hex_digit(s.ptr[i + 2]) < 0))
			return false;
	return true;
}

int uri_parse(struct span text, struct uri *ret)
{
	struct uri u = {};
	if (!is_visible(text))
		return -EBADMSG;

	struct span rest = span_first(text, span_find(text, '#'));
	u.scheme = scheme_of(rest);
	if (u.scheme.len > 0)
		rest = span_skip(rest, u.scheme.len + 1);
	if (u.scheme.len > 0 && span_starts_with(rest, SPAN_LIT("//"))) {
		rest = span_skip(rest, 2);
		size_t end = 0;
		while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?')
			end++;
		u.authority = span_first(rest, end);
		rest = span_skip(rest, end);
		int r = split_authority(&u);
		if (r < 0)
			return r;
	} else if (u.scheme.len > 0) {
		return -EBADMSG; /* "mailto:x", "host:80": no hierarchy */
	}

	u.target = rest;
	if (split_at(&rest, '?', &u.path))
		u.query = rest;
	else
		u.path = rest;
	if (!escapes_are_valid(u.path))
		return -EBADMSG;
	*ret = u;
	return 0;
}

int uri_path_decode(struct span path, struct packer *p)
{
	if (!escapes_are_valid(path))
		return -EBADMSG;

	struct packer out = *p;
	for (size_t i = 0; i < path.len; i++) {
		uint8_t c = path.ptr[i];
		if (c == '%') {
			c = (uint8_t)(hex_digit(path.ptr[i + 1]) << 4 | hex_digit(path.ptr[i + 2]));
			i += 2;
		}
		packer_u8(&out, c);
	}
	int r = packer_finish(&out);
	if (r < 0)
		return r;
	*p = out;
	return 0;
}

struct span uri_host_strip_port(struct span authority)
{
	struct span s = authority;
	if (s.len > 0 && s.ptr[0] == '[') {
		size_t close = span_find(s, ']');
		struct span after = span_skip(s, close + 1);
		if (close == s.len || after.len == 0 || after.ptr[0] != ':' ||
		    span_find(span_skip(after, 1), ':') != after.len - 1)
			return authority;
		struct span inside = span_skip(span_first(s, close), 1);
		return span_find(inside, '[') == inside.len ? inside : authority;
	}

	struct span host;
	if (!split_at(&s, ':', &host))
		return authority;
	/* A second colon, or a bracket anywhere: it doesn't split. */
	bool is_clean = span_find(s, ':') == s.len && span_find(authority, '[') == authority.len &&
			span_find(authority, ']') == authority.len;
	return is_clean ? host : authority;
}

int uri_host_normalize(struct span authority, struct packer *p)
{
	struct packer out = *p;
	struct span host = uri_host_strip_port(authority);
	if (host.len > 0 && host.ptr[host.len - 1] == '.')
		host.len--;
	for (size_t i = 0; i < host.len; i++)
		packer_u8(&out, span_lower_byte(host.ptr[i]));

	int r = packer_finish(&out);
	if (r < 0)
		return r;
	*p = out;
	return 0;
}
