/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsers of addresses, names, URLs and the like. Those of headers, rules and tunnels are in
 * parse_rule.c.
 */
#include "daemon/conf/parse.h"

#include <errno.h>

#include "daemon/base/secret.h"
#include "daemon/conf/arena.h"
#include "daemon/conf/conf.h"
#include "daemon/wire/endpoint.h"
#include "daemon/wire/http_field.h"
#include "daemon/wire/uri.h"
#include "util/macro.h"

/* What a list field looks like: the pointer, and its count right behind it. */
struct list_field {
	void *array;
	size_t count;
};

void *parse_list_add(struct schema_context *x, void *field, size_t size)
{
	struct list_field *l = field;
	return conf_array_add(x->arena, (void *)&l->array, &l->count, size);
}

int parse_keep_text(struct schema_context *x, struct span text, void *field)
{
	const char *copy = conf_strdup(x->arena, text);
	if (!copy)
		return -ENOMEM;
	*(const char **)field = copy;
	return 0;
}

/* The same in lower case, without its last dot. */
static int keep_name(struct schema_context *x, struct span text, const char **ret)
{
	if (text.len && text.ptr[text.len - 1] == '.')
		text.len--;
	char *copy = conf_strdup(x->arena, text);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < text.len; i++)
		copy[i] = (char)span_lower_byte(text.ptr[i]);
	*ret = copy;
	return 0;
}

/* ---- addresses ---- */

static int addr_from_endpoint(struct schema_context *x, const struct endpoint *e,
			      struct conf_addr *ret)
{
	struct conf_addr a = { .addr = e->addr };
	if (e->kind == ENDPOINT_KIND_NAME) {
		a.addr.ip = (struct ip_addr){};
		int r = keep_name(x, e->name, &a.host);
		if (r < 0)
			return r;
	} else {
		char text[ADDR_TEXT_MAX];
		struct packer p = packer_over(text, sizeof(text));
		ip_addr_print(&p, &e->addr.ip);
		a.host = conf_strdup(x->arena, packer_span(&p));
		if (!a.host)
			return -ENOMEM;
	}
	*ret = a;
	return 0;
}

static int addr_parse(struct schema_context *x, struct span text, bool must_be_ip,
		      struct conf_addr *ret, const char **ret_reason)
{
	struct endpoint e;
	if (endpoint_parse(text, &e, ret_reason) < 0)
		return -EINVAL;
	if (e.kind == ENDPOINT_KIND_UNIX) {
		*ret_reason = "a socket path";
		return -EINVAL;
	}
	if (must_be_ip && e.kind != ENDPOINT_KIND_IP) {
		*ret_reason = "a name";
		return -EINVAL;
	}
	return addr_from_endpoint(x, &e, ret);
}

int parse_addr_into(struct schema_context *x, struct span text, struct conf_addr *ret,
		    const char **ret_reason)
{
	return addr_parse(x, text, false, ret, ret_reason);
}

static int addr_list_add(struct schema_context *x, struct span text, bool must_be_ip, void *field,
			 const char **ret_reason)
{
	struct conf_addr a;
	int r = addr_parse(x, text, must_be_ip, &a, ret_reason);
	if (r < 0)
		return r;
	if (!must_be_ip && a.addr.port == 0) {
		*ret_reason = "port 0";
		return -EINVAL;
	}
	struct conf_addr *slot = parse_list_add(x, field, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = a;
	return 0;
}

PARSER(addr_list)
{
	return addr_list_add(x, text, false, field, ret_reason);
}

PARSER(listen_list)
{
	return addr_list_add(x, text, true, field, ret_reason);
}

PARSER(addr)
{
	struct conf_addr a;
	int r = addr_parse(x, text, false, &a, ret_reason);
	if (r < 0)
		return r;
	struct conf_addr *copy = conf_alloc(x->arena, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = a;
	*(const struct conf_addr **)field = copy;
	return 0;
}

/* "localhost:PORT" as "127.0.0.1:PORT", into buf; anything else unchanged. */
static struct span localhost_to_ip(struct span text, char *buf, size_t size)
{
	static const struct span name = SPAN_LIT("localhost:");
	struct packer p = packer_over(buf, size);
	packer_str(&p, "127.0.0.1:");
	packer_bytes(&p, span_skip(text, name.len));
	return span_starts_with(text, name) && packer_finish(&p) == 0 ? packer_span(&p) : text;
}

PARSER(metrics_listen)
{
	struct conf_metrics *m = field;
	char buf[32];
	if (span_eq_str(text, "auto") || span_eq_str(text, "off")) {
		m->listen = span_eq_str(text, "auto") ? CONF_SWITCH_AUTO : CONF_SWITCH_OFF;
		return 0;
	}
	/* The reference, whose variable this is, takes the name. */
	if (x->is_environment)
		text = localhost_to_ip(text, buf, sizeof(buf));
	int r = addr_parse(x, text, true, &m->address, ret_reason);
	if (r == 0)
		m->listen = CONF_SWITCH_ON;
	return r;
}

PARSER(prefix_list)
{
	struct conf_prefix p;
	if (conf_parse_prefix(text, &p) < 0) {
		p = (struct conf_prefix){};
		if (ip_addr_parse(text, &p.ip) < 0) {
			*ret_reason = NULL;
			return -EINVAL;
		}
		p.bits = (uint8_t)(ip_family_len(p.ip.family) * 8);
	}
	struct conf_prefix *slot = parse_list_add(x, field, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = p;
	return 0;
}

/* One of each family; its sizes leave room for some addresses, and for arithmetic with them. */
PARSER(tun_prefix_list)
{
	struct conf_prefix p;
	if (conf_parse_prefix(text, &p) < 0)
		return -EINVAL;
	bool is_v4 = p.ip.family == IP_FAMILY_V4;
	if (p.bits < (is_v4 ? 8 : 16) || p.bits > (is_v4 ? 29 : 120)) {
		*ret_reason = "its size";
		return -EINVAL;
	}
	if (!conf_prefix_is_routable(&p)) {
		*ret_reason = "loopback, link-local or multicast";
		return -EINVAL;
	}
	struct list_field *l = field;
	const struct conf_prefix *before = l->array;
	for (size_t i = 0; i < l->count; i++)
		if (before[i].ip.family == p.ip.family) {
			*ret_reason = "a second one of its family";
			return -EINVAL;
		}
	struct conf_prefix *slot = parse_list_add(x, field, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = p;
	return 0;
}

PARSER(dot_server)
{
	struct endpoint e;
	size_t at = span_find(text, '@');
	if (at == 0 || at == text.len ||
	    endpoint_parse(span_skip(text, at + 1), &e, ret_reason) < 0 ||
	    e.kind != ENDPOINT_KIND_IP) {
		return -EINVAL;
	}
	return parse_keep_text(x, text, field);
}

/* ---- names and words ---- */

static bool is_label_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

/* Labels of 1 to 63 letters, digits, '-' and '_'; one last dot may follow. */
static bool is_host_name(struct span s)
{
	if (s.len && s.ptr[s.len - 1] == '.')
		s.len--;
	if (s.len == 0 || s.len > ENDPOINT_HOST_MAX)
		return false;
	size_t label = 0;
	for (size_t i = 0; i < s.len; i++) {
		label = s.ptr[i] == '.' ? 0 : label + 1;
		if (label > 63 || (s.ptr[i] != '.' && !is_label_byte(s.ptr[i])) ||
		    (s.ptr[i] == '.' && (i == 0 || s.ptr[i - 1] == '.')))
			return false;
	}
	return true;
}

PARSER(host_name)
{
	(void)ret_reason;
	if (!is_host_name(text))
		return -EINVAL;
	return keep_name(x, text, (const char **)field);
}

PARSER(region)
{
	(void)ret_reason;
	if (!span_eq_str(text, "us") && !span_eq_str(text, "fed"))
		return -EINVAL;
	return parse_keep_text(x, text, field);
}

PARSER(proxy_type)
{
	(void)ret_reason;
	if (!span_eq_str(text, "socks"))
		return -EINVAL;
	return parse_keep_text(x, text, field);
}

static bool is_interface(struct span s)
{
	if (s.len == 0 || s.len > 15 || span_eq_str(s, ".") || span_eq_str(s, ".."))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] > '~' || s.ptr[i] == '/' || s.ptr[i] == ':')
			return false;
	return true;
}

PARSER(interface)
{
	(void)ret_reason;
	if (!is_interface(text))
		return -EINVAL;
	return parse_keep_text(x, text, field);
}

PARSER(account)
{
	if (text.len == 0 || text.len > 64) {
		*ret_reason = "its length";
		return -EINVAL;
	}
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] <= ' ' || text.ptr[i] > '~' || text.ptr[i] == '"' ||
		    text.ptr[i] == '\\')
			return -EINVAL;
	return parse_keep_text(x, text, field);
}

PARSER(string_list)
{
	(void)ret_reason;
	void *slot = parse_list_add(x, field, sizeof(char *));
	return slot ? parse_keep_text(x, text, slot) : -ENOMEM;
}

PARSER(interface_list)
{
	if (!is_interface(text))
		return -EINVAL;
	return parse_string_list(x, text, field, ret_reason);
}

PARSER(policy)
{
	static const char *const words[] = { "round-robin", "least-connections", "random",
					     "hash-client" };
	static const struct span cookie = SPAN_LIT("hash-cookie ");
	(void)x;
	(void)field;
	(void)ret_reason;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (span_eq_str(text, words[i]))
			return 0;
	bool is_cookie = span_starts_with(text, cookie) &&
			 http_token_is_valid(span_trim(span_skip(text, cookie.len)));
	return is_cookie ? 0 : -EINVAL;
}

/* ---- URLs ---- */

static void on_secret_free(void *secret)
{
	secret_free(secret);
}

/* A part of user information without its percent escapes, kept as long as the configuration. */
static int keep_escaped(struct schema_context *x, struct span text, const struct secret **ret,
			const char **ret_reason)
{
	uint8_t plain[CONF_PROXY_NAME_MAX];
	struct packer p = packer_over(plain, sizeof(plain));
	int r = uri_path_decode(text, &p);
	for (size_t i = 0; r == 0 && i < p.len; i++)
		if (plain[i] < ' ' || plain[i] == 0x7f)
			r = -EBADMSG;
	struct secret *s = NULL;
	if (r == 0)
		r = secret_new(packer_span(&p), &s);
	secret_wipe(plain, sizeof(plain));
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		*ret_reason = r == -ENOBUFS ? "user or password of over 255 bytes"
					    : "user or password with a wrong percent escape or "
					      "control characters";
		return -EINVAL;
	}
	r = conf_arena_own(x->arena, on_secret_free, s);
	if (r < 0) {
		secret_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

/* user:password@ in front of the host; a colon in the user is written %3A. */
static int parse_user_info(struct schema_context *x, const struct uri *u, struct conf_proxy *proxy,
			   const char **ret_reason)
{
	size_t host_at = (size_t)(u->host.ptr - u->authority.ptr);
	if (host_at == 0)
		return 0;
	struct span info = span_first(u->authority, host_at - 1);
	size_t colon = span_find(info, ':');
	int r = keep_escaped(x, span_first(info, colon), &proxy->user, ret_reason);
	if (r == 0)
		r = keep_escaped(x, span_skip(info, colon + 1), &proxy->password, ret_reason);
	if (r < 0)
		return r;
	struct span user = secret_span(proxy->user);
	if (user.len == 0) {
		*ret_reason = "an empty user";
		return -EINVAL;
	}
	/* Basic credentials end the user at the first one (RFC 7617 §2). */
	if (!proxy->is_socks5 && span_find(user, ':') < user.len) {
		*ret_reason = "a colon in the user";
		return -EINVAL;
	}
	return 0;
}

PARSER(proxy_url)
{
	struct uri u;
	uint64_t port = 0;
	if (uri_parse(text, &u) < 0 || u.host.len == 0 || u.query.len ||
	    (u.path.len && !span_eq_str(u.path, "/")) || conf_parse_uint(u.port, &port) < 0 ||
	    port == 0 || port > UINT16_MAX) {
		*ret_reason = "no URL of a host and a port";
		return -EINVAL;
	}
	struct conf_proxy proxy = {
		.is_socks5 = span_eq_nocase(u.scheme, SPAN_LIT("socks5")),
		.port = (uint16_t)port,
	};
	if (!proxy.is_socks5 && !span_eq_nocase(u.scheme, SPAN_LIT("http"))) {
		*ret_reason = "its scheme";
		return -EINVAL;
	}
	bool has_brackets = u.host.ptr[0] == '[';
	struct ip_addr ip;
	struct span host = has_brackets ? span_first(span_skip(u.host, 1), u.host.len - 2) : u.host;
	if (has_brackets ? ip_addr_parse(host, &ip) < 0 || ip.family != IP_FAMILY_V6
			 : !is_host_name(host) && ip_addr_parse(host, &ip) < 0) {
		*ret_reason = "its host";
		return -EINVAL;
	}
	int r = parse_user_info(x, &u, &proxy, ret_reason);
	if (r < 0)
		return r;
	struct conf_proxy *copy = conf_alloc(x->arena, sizeof(*copy));
	proxy.host = conf_strdup(x->arena, host);
	if (!copy || !proxy.host)
		return -ENOMEM;
	*copy = proxy;
	*(const struct conf_proxy **)field = copy;
	return 0;
}

PARSER(https_url)
{
	(void)ret_reason;
	struct uri u;
	if (uri_parse(text, &u) < 0 || u.host.len == 0 ||
	    !span_eq_nocase(u.scheme, SPAN_LIT("https")))
		return -EINVAL;
	return parse_keep_text(x, text, field);
}

PARSER(prefix_path)
{
	(void)ret_reason;
	if (text.len == 0 || text.ptr[0] != '/')
		return -EINVAL;
	return parse_keep_text(x, text, field);
}
