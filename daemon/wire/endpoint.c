/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as people write them. IP addresses are read and printed here, not by inet_pton(): what
 * that accepts differs between libcs, and it wants NUL-terminated text.
 */
#include "daemon/wire/endpoint.h"

#include "daemon/wire/hex.h"

#include <errno.h>

#define V6_GROUPS 8

/* ---- numbers ---- */

/* Decimal digits only, at most max; leading zeros are refused. */
static int number_parse(struct span s, uint32_t max, uint32_t *ret)
{
	uint64_t v = 0;
	if (s.len == 0 || s.len > 10 || (s.len > 1 && s.ptr[0] == '0'))
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return -EINVAL;
		v = v * 10 + (uint64_t)(s.ptr[i] - '0');
	}
	if (v > max)
		return -EINVAL;
	*ret = (uint32_t)v;
	return 0;
}

static void number_print(struct packer *p, uint32_t v)
{
	char text[10];
	size_t at = sizeof(text);
	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	packer_bytes(p, span_of(text + at, sizeof(text) - at));
}

/* ---- IP addresses ---- */

static uint16_t v6_group(const uint8_t *b, int i)
{
	return load_be16(b + 2 * (size_t)i);
}

static void v6_group_set(uint8_t *b, int i, uint16_t v)
{
	store_be16(b + 2 * (size_t)i, v);
}

static int v4_parse(struct span s, uint8_t ret[4])
{
	for (int i = 0; i < 4; i++) {
		size_t end = i < 3 ? span_find(s, '.') : s.len;
		uint32_t v = 0;
		if ((i < 3 && end == s.len) || number_parse(span_first(s, end), 255, &v) < 0)
			return -EINVAL;
		ret[i] = (uint8_t)v;
		s = span_skip(s, end + 1);
	}
	return 0;
}

/* One group of one to four digits off the front. */
static int group_parse(struct span *s, uint16_t *ret)
{
	unsigned int v = 0;
	size_t n = 0;
	while (n < s->len && n < 5 && hex_digit(s->ptr[n]) >= 0)
		v = v << 4 | (unsigned int)hex_digit(s->ptr[n++]);
	if (n == 0 || n > 4)
		return -EINVAL;
	*s = span_skip(*s, n);
	*ret = (uint16_t)v;
	return 0;
}

/* Where "::" stands and what was read on both sides of it. */
struct v6_groups {
	uint16_t group[V6_GROUPS];
	int count;
	int gap; /* groups before "::", or -1 */
};

/* What comes next: a group, or an IPv4 address at the very end. */
static int v6_item(struct span *s, struct v6_groups *g)
{
	uint8_t v4[4];
	if (span_find(*s, ':') == s->len && span_find(*s, '.') != s->len) {
		if (g->count > V6_GROUPS - 2 || v4_parse(*s, v4) < 0)
			return -EINVAL;
		g->group[g->count++] = load_be16(v4);
		g->group[g->count++] = load_be16(v4 + 2);
		*s = (struct span){};
		return 0;
	}
	if (g->count == V6_GROUPS)
		return -EINVAL;
	return group_parse(s, &g->group[g->count++]);
}

static int v6_scan(struct span s, struct v6_groups *g)
{
	if (span_starts_with(s, SPAN_LIT("::"))) {
		g->gap = 0;
		s = span_skip(s, 2);
	}
	while (s.len > 0) {
		int r = v6_item(&s, g);
		if (r < 0)
			return r;
		if (s.len == 0)
			break;
		if (span_starts_with(s, SPAN_LIT("::")) && g->gap < 0) {
			g->gap = g->count;
			s = span_skip(s, 2);
		} else if (s.ptr[0] == ':' && s.len > 1) {
			s = span_skip(s, 1);
		} else {
			return -EINVAL;
		}
	}
	return 0;
}

static int v6_parse(struct span s, uint8_t ret[16])
{
	struct v6_groups g = { .gap = -1 };
	int r = v6_scan(s, &g);
	if (r < 0)
		return r;
	if (g.gap < 0 ? g.count != V6_GROUPS : g.count >= V6_GROUPS)
		return -EINVAL;

	memset(ret, 0, 16);
	int head = g.gap < 0 ? g.count : g.gap;
	for (int i = 0; i < head; i++)
		v6_group_set(ret, i, g.group[i]);
	for (int i = head; i < g.count; i++)
		v6_group_set(ret, V6_GROUPS - g.count + i, g.group[i]);
	return 0;
}

int ip_addr_parse(struct span text, struct ip_addr *ret)
{
	struct ip_addr a = {};
	bool is_v6 = span_find(text, ':') != text.len;
	int r = is_v6 ? v6_parse(text, a.bytes) : v4_parse(text, a.bytes);
	if (r < 0)
		return r;
	a.family = is_v6 ? IP_FAMILY_V6 : IP_FAMILY_V4;
	*ret = a;
	return 0;
}

static void v4_print(struct packer *p, const uint8_t *b)
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			packer_u8(p, '.');
		number_print(p, b[i]);
	}
}

static void group_print(struct packer *p, uint16_t v)
{
	static const char digits[] = "0123456789abcdef";
	int shift = v > 0xfff ? 12 : v > 0xff ? 8 : v > 0xf ? 4 : 0;
	for (; shift >= 0; shift -= 4)
		packer_u8(p, (uint8_t)digits[v >> shift & 15]);
}

/* The first longest run of zero groups; its length, less than 2 counts as none (RFC 5952 §4.2). */
static int longest_zeros(const uint8_t *b, int *ret_at)
{
	int best = 0;
	*ret_at = -1;
	for (int i = 0; i < V6_GROUPS; i++) {
		int n = 0;
		while (i + n < V6_GROUPS && v6_group(b, i + n) == 0)
			n++;
		if (n > best && n > 1) {
			best = n;
			*ret_at = i;
		}
		i += n;
	}
	return best;
}

static void v6_print(struct packer *p, const uint8_t *b)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	if (memcmp(b, mapped, sizeof(mapped)) == 0) {
		packer_str(p, "::ffff:");
		v4_print(p, b + 12);
		return;
	}

	int gap = -1;
	int zeros = longest_zeros(b, &gap);
	for (int i = 0; i < V6_GROUPS; i++) {
		if (i == gap) {
			packer_str(p, "::");
			i += zeros - 1;
			continue;
		}
		if (i > 0 && i != gap + zeros)
			packer_u8(p, ':');
		group_print(p, v6_group(b, i));
	}
}

void ip_addr_print(struct packer *p, const struct ip_addr *a)
{
	switch (a->family) {
	case IP_FAMILY_NONE:
		break;
	case IP_FAMILY_V4:
		v4_print(p, a->bytes);
		break;
	case IP_FAMILY_V6:
		v6_print(p, a->bytes);
		break;
	}
}

/* ---- addresses with a port ---- */

/* Splits "host:port" or "[host]:port"; brackets are taken off. */
static int port_split(struct span text, struct span *ret_host, struct span *ret_port,
		      bool *ret_bracketed)
{
	bool is_bracketed = text.len > 0 && text.ptr[0] == '[';
	size_t end = is_bracketed ? span_find(text, ']') : span_find(text, ':');
	if (end == text.len)
		return -EINVAL;
	struct span host = span_first(text, end);
	struct span rest = span_skip(text, end);
	if (is_bracketed) {
		host = span_skip(host, 1);
		rest = span_skip(rest, 1);
	}
	if (rest.len == 0 || rest.ptr[0] != ':')
		return -EINVAL;
	*ret_host = host;
	*ret_port = span_skip(rest, 1);
	*ret_bracketed = is_bracketed;
	return 0;
}

/* What stands in brackets: a v6 address, perhaps with "%number". */
static int scoped_parse(struct span host, struct ip_port *ret)
{
	size_t percent = span_find(host, '%');
	if (ip_addr_parse(span_first(host, percent), &ret->ip) < 0 ||
	    ret->ip.family != IP_FAMILY_V6)
		return -EINVAL;
	if (percent == host.len)
		return 0;
	return number_parse(span_skip(host, percent + 1), UINT32_MAX, &ret->scope);
}

int ip_port_parse(struct span text, struct ip_port *ret)
{
	struct ip_port a = {};
	struct span host;
	struct span port;
	uint32_t number = 0;
	bool is_bracketed = false;
	if (port_split(text, &host, &port, &is_bracketed) < 0 ||
	    number_parse(port, UINT16_MAX, &number) < 0)
		return -EINVAL;
	a.port = (uint16_t)number;
	int r = is_bracketed ? scoped_parse(host, &a) : ip_addr_parse(host, &a.ip);
	if (r < 0)
		return r;
	*ret = a;
	return 0;
}

void ip_port_print(struct packer *p, const struct ip_port *a)
{
	bool is_v6 = a->ip.family == IP_FAMILY_V6;
	if (is_v6)
		packer_u8(p, '[');
	ip_addr_print(p, &a->ip);
	if (is_v6 && a->scope) {
		packer_u8(p, '%');
		number_print(p, a->scope);
	}
	packer_str(p, is_v6 ? "]:" : ":");
	number_print(p, a->port);
}

/* ---- endpoints ---- */

/* A last label of digits only would be a mistyped IPv4 address. */
static bool name_is_valid(struct span s)
{
	size_t label = 0;
	bool has_letter = false;
	if (s.len > 0 && s.ptr[s.len - 1] == '.')
		s.len--;
	if (s.len == 0 || s.len > ENDPOINT_HOST_MAX)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = span_lower_byte(s.ptr[i]);
		bool is_plain =
			(c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
		has_letter = c != '.' && (has_letter || c < '0' || c > '9');
		if (c == '.' && label > 0)
			label = 0;
		else if (!is_plain || ++label > 63)
			return false;
	}
	return label > 0 && has_letter;
}

static int refuse(const char *reason, const char **ret_reason)
{
	*ret_reason = reason;
	return -EINVAL;
}

static int unix_parse(struct span path, struct endpoint *ret, const char **ret_reason)
{
	if (path.len == 0)
		return refuse("a path must follow unix:", ret_reason);
	if (path.len > ENDPOINT_PATH_MAX)
		return refuse("a socket path has at most 107 bytes", ret_reason);
	if (span_find(path, 0) != path.len)
		return refuse("a socket path holds no NUL", ret_reason);
	*ret = (struct endpoint){ .kind = ENDPOINT_KIND_UNIX, .name = path };
	return 0;
}

int endpoint_parse(struct span text, struct endpoint *ret, const char **ret_reason)
{
	if (span_starts_with(text, SPAN_LIT("unix:")))
		return unix_parse(span_skip(text, 5), ret, ret_reason);

	struct endpoint e = { .kind = ENDPOINT_KIND_IP };
	struct span host;
	struct span port;
	uint32_t number = 0;
	bool is_bracketed = false;
	if (port_split(text, &host, &port, &is_bracketed) < 0)
		return refuse("expected host:port, [v6]:port or unix:path", ret_reason);
	if (!is_bracketed && span_find(port, ':') != port.len)
		return refuse("an IPv6 address must stand in brackets", ret_reason);
	if (number_parse(port, UINT16_MAX, &number) < 0)
		return refuse("a port is a number from 0 to 65535", ret_reason);
	e.addr.port = (uint16_t)number;

	if (is_bracketed) {
		if (scoped_parse(host, &e.addr) < 0)
			return refuse("no IPv6 address in the brackets", ret_reason);
	} else if (ip_addr_parse(host, &e.addr.ip) < 0) {
		if (!name_is_valid(host))
			return refuse("neither a host name nor an address", ret_reason);
		e.kind = ENDPOINT_KIND_NAME;
		e.name = host;
	}
	*ret = e;
	return 0;
}

static bool is_separator(uint8_t c)
{
	return c == ',' || c == ' ' || c == '\t';
}

bool endpoint_list_next(struct span *list, struct span *ret_item)
{
	size_t from = 0;
	while (from < list->len && is_separator(list->ptr[from]))
		from++;
	*list = span_skip(*list, from);
	size_t end = 0;
	while (end < list->len && !is_separator(list->ptr[end]))
		end++;
	if (end == 0)
		return false;
	*ret_item = span_first(*list, end);
	*list = span_skip(*list, end);
	return true;
}

void endpoint_print(struct packer *p, const struct endpoint *e)
{
	switch (e->kind) {
	case ENDPOINT_KIND_NONE:
		break;
	case ENDPOINT_KIND_IP:
		ip_port_print(p, &e->addr);
		break;
	case ENDPOINT_KIND_NAME:
		packer_bytes(p, e->name);
		packer_u8(p, ':');
		number_print(p, e->addr.port);
		break;
	case ENDPOINT_KIND_UNIX:
		packer_str(p, "unix:");
		packer_bytes(p, e->name);
		break;
	}
}
