/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostnames and services of ingress rules. As lenient as the reference where a name can mean only
 * one thing, but letters of a host have no case, its last dot means nothing, and parts of a service
 * that would be ignored (user, query, fragment) are left out of what is shown.
 */
#include "daemon/conf/rule.h"

#include <errno.h>
#include <stdio.h>

#include <idn2.h>

#include "daemon/conf/arena.h"
#include "daemon/wire/endpoint.h"
#include "daemon/wire/uri.h"
#include "util/macro.h"

/* ---- hostnames ---- */

/* A copy in lower case (ASCII) without its last dot. */
static int lower_copy(struct conf_arena *a, struct span text, struct span *ret)
{
	if (text.len > 1 && text.ptr[text.len - 1] == '.')
		text.len--;
	char *copy = conf_strdup(a, text);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < text.len; i++)
		copy[i] = (char)span_lower_byte(text.ptr[i]);
	*ret = span_of(copy, text.len);
	return 0;
}

static bool is_ascii(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] >= 0x80)
			return false;
	return true;
}

/* The IDNA form (UTS 46, non-transitional); empty when there is none, which is no fault. */
static int ascii_form(struct conf_arena *a, const char *text, struct span *ret)
{
	static const int flags = IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL | IDN2_USE_STD3_ASCII_RULES;
	uint8_t *form = NULL;
	int r = idn2_lookup_u8((const uint8_t *)text, &form, flags);
	if (r == IDN2_MALLOC)
		return -ENOMEM;
	if (r != IDN2_OK)
		return 0;
	r = lower_copy(a, span_str((const char *)form), ret);
	idn2_free(form);
	return r;
}

static const char *host_fault(struct span text)
{
	if (text.len > ENDPOINT_HOST_MAX)
		return "longer than 253 bytes";
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] <= ' ' || text.ptr[i] == 0x7f || text.ptr[i] == ',')
			return "more than one name";
		if (text.ptr[i] == '.' && i > 0 && text.ptr[i - 1] == '.')
			return "an empty label";
		if (text.ptr[i] == '*' && i > 0)
			return "\"*\" behind the first character";
	}
	if (uri_host_strip_port(text).len != text.len)
		return "a port";
	return NULL;
}

int host_pattern_parse(struct conf_arena *a, struct span text, struct host_pattern *ret,
		       const char **ret_reason)
{
	struct host_pattern h = { .kind = HOST_KIND_ANY };
	if (text.len == 0 || span_eq_str(text, "*")) {
		*ret = h;
		return 0;
	}
	const char *fault = host_fault(text);
	if (fault) {
		*ret_reason = fault;
		return -EINVAL;
	}

	bool is_suffix = span_starts_with(text, SPAN_LIT("*."));
	h.kind = is_suffix ? HOST_KIND_SUFFIX : HOST_KIND_EXACT;
	int r = lower_copy(a, span_skip(text, is_suffix ? 1 : 0), &h.text);
	/* Names with a star have no such form. */
	if (r == 0 && !is_suffix && !is_ascii(h.text))
		r = ascii_form(a, (const char *)h.text.ptr, &h.ascii);
	if (r < 0)
		return r;
	*ret = h;
	return 0;
}

/* ---- services ---- */

static int fault(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return -EINVAL;
}

/* "http_status:N", N from 100 to 999; "+" and leading zeros as the reference takes them. */
static int status_parse(struct conf_arena *a, struct span number, struct conf_service *s,
			const char **ret_reason)
{
	if (span_starts_with(number, SPAN_LIT("+")))
		number = span_skip(number, 1);
	uint64_t status;
	if (conf_parse_uint(number, &status) < 0 || status < 100 || status > 999)
		return fault(ret_reason, "no status from 100 to 999");
	char text[32];
	(void)snprintf(text, sizeof(text), "http_status:%u", (unsigned int)status);
	s->kind = SERVICE_KIND_STATUS;
	s->status = (uint16_t)status;
	s->text = conf_strdup(a, span_str(text));
	return s->text ? 0 : -ENOMEM;
}

static int unix_parse(struct conf_arena *a, struct span text, size_t prefix, struct conf_service *s,
		      const char **ret_reason)
{
	struct span path = span_skip(text, prefix);
	if (path.len > ENDPOINT_PATH_MAX)
		return fault(ret_reason, "a socket path over 107 bytes");
	s->kind = SERVICE_KIND_UNIX;
	s->text = conf_strdup(a, text);
	s->path = s->text ? s->text + prefix : NULL;
	return s->text ? 0 : -ENOMEM;
}

static bool is_host_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c >= 0x80 || strchr("-._~!$&'()*+,;=", c);
}

/* Copies the host without brackets. "%25" begins a zone (RFC 6874). */
static int url_host(struct conf_arena *a, struct span host, struct conf_service *s,
		    const char **ret_reason)
{
	bool is_bracketed = host.ptr[0] == '[';
	if (is_bracketed)
		host = span_skip(span_first(host, host.len - 1), 1);
	char *copy = conf_strdup(a, host);
	if (!copy)
		return -ENOMEM;
	char *zone = is_bracketed ? strstr(copy, "%25") : NULL;
	size_t len = zone ? (size_t)(zone - copy) : host.len;
	if (is_bracketed) {
		if (ip_addr_parse(span_of(copy, len), &s->ip) < 0 || s->ip.family != IP_FAMILY_V6)
			return fault(ret_reason, "no IPv6 address in the brackets");
		if (zone) {
			memmove(zone + 1, zone + 3, strlen(zone + 3) + 1);
			s->ip = (struct ip_addr){}; /* only together with its zone */
		}
	} else {
		for (size_t i = 0; i < host.len; i++)
			if (!is_host_byte(host.ptr[i]))
				return fault(ret_reason, "a character that no host has");
		if (ip_addr_parse(host, &s->ip) < 0)
			s->ip = (struct ip_addr){};
	}
	s->host = copy;
	return 0;
}

/* What each scheme means; any other is a stream without a port of its own. */
static const struct scheme {
	const char *name;
	uint16_t port;
	enum service_kind kind;
	bool tls;
} schemes[] = {
	{ "http", 80, SERVICE_KIND_HTTP, false },   { "https", 443, SERVICE_KIND_HTTP, true },
	{ "ws", 80, SERVICE_KIND_HTTP, false },     { "wss", 443, SERVICE_KIND_HTTP, true },
	{ "ssh", 22, SERVICE_KIND_STREAM, false },  { "rdp", 3389, SERVICE_KIND_STREAM, false },
	{ "smb", 445, SERVICE_KIND_STREAM, false }, { "tcp", 7864, SERVICE_KIND_STREAM, false },
};

static int url_scheme(struct conf_arena *a, struct span text, struct conf_service *s)
{
	char *copy = conf_strdup(a, text);
	if (!copy)
		return -ENOMEM;
	for (char *p = copy; *p; p++)
		*p = (char)span_lower_byte((uint8_t)*p);
	s->scheme = copy;
	s->kind = SERVICE_KIND_STREAM;
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
		if (strcmp(copy, schemes[i].name) == 0) {
			s->kind = schemes[i].kind;
			s->tls = schemes[i].tls;
			s->port = schemes[i].port;
		}
	return 0;
}

/* "scheme://host:port"; a stream with its port always, as the reference prints it. */
static int url_print(struct conf_arena *a, const struct uri *u, struct conf_service *s)
{
	char port[8] = "";
	if (u->port.len || (s->kind == SERVICE_KIND_STREAM && s->port))
		(void)snprintf(port, sizeof(port), ":%u", s->port);
	size_t size = strlen(s->scheme) + 3 + u->host.len + strlen(port);
	char *text = conf_alloc(a, size + 1);
	if (!text)
		return -ENOMEM;
	struct packer p = packer_over(text, size);
	packer_str(&p, s->scheme);
	packer_str(&p, "://");
	packer_bytes(&p, u->host);
	packer_str(&p, port);
	s->text = text;
	return 0;
}

static int url_parse(struct conf_arena *a, struct span text, struct conf_service *s,
		     const char **ret_reason)
{
	struct uri u;
	if (uri_parse(text, &u) < 0)
		return fault(ret_reason, "no service and no URL of scheme and host");
	if (u.scheme.len == 0 || u.host.len == 0)
		return fault(ret_reason, "no scheme or no host");
	if (u.path.len)
		return fault(ret_reason, "a path, which a service can't have");
	int r = url_scheme(a, u.scheme, s);
	if (r == 0)
		r = url_host(a, u.host, s, ret_reason);
	if (r < 0)
		return r;
	if (u.port.len) {
		uint64_t port;
		if (conf_parse_uint(u.port, &port) < 0 || port == 0 || port > 65535)
			return fault(ret_reason, "no port from 1 to 65535");
		s->port = (uint16_t)port;
	}
	return url_print(a, &u, s);
}

/* The services that are a word. */
static bool word_parse(struct span text, struct conf_service *s)
{
	static const struct {
		const char *word;
		enum service_kind kind;
		const char *text;
	} words[] = {
		{ "hello_world", SERVICE_KIND_HELLO, "hello_world" },
		{ "hello-world", SERVICE_KIND_HELLO, "hello_world" },
		{ "socks-proxy", SERVICE_KIND_SOCKS, "socks-proxy" },
		{ "bastion", SERVICE_KIND_BASTION, "bastion" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (span_eq_str(text, words[i].word)) {
			s->kind = words[i].kind;
			s->text = words[i].text;
			return true;
		}
	return false;
}

static int origins_parse(struct conf_arena *a, struct span text, struct conf_service *s)
{
	s->kind = SERVICE_KIND_ORIGINS;
	s->text = conf_strdup(a, text);
	s->path = s->text ? s->text + strlen("origins:") : NULL;
	return s->text ? 0 : -ENOMEM;
}

int service_parse(struct conf_arena *a, struct span text, bool bastion, struct conf_service *ret,
		  const char **ret_reason)
{
	struct conf_service s = {};
	int r = 0;
	if (span_starts_with(text, SPAN_LIT("unix:"))) {
		r = unix_parse(a, text, strlen("unix:"), &s, ret_reason);
	} else if (span_starts_with(text, SPAN_LIT("unix+tls:"))) {
		s.tls = true;
		r = unix_parse(a, text, strlen("unix+tls:"), &s, ret_reason);
	} else if (span_starts_with(text, SPAN_LIT("http_status:"))) {
		r = status_parse(a, span_skip(text, strlen("http_status:")), &s, ret_reason);
	} else if (span_starts_with(text, SPAN_LIT("origins:"))) {
		r = origins_parse(a, text, &s);
	} else if (!word_parse(text, &s)) {
		if (bastion)
			(void)word_parse(SPAN_LIT("bastion"), &s);
		else
			r = url_parse(a, text, &s, ret_reason);
	}
	if (r < 0)
		return r;
	*ret = s;
	return 0;
}

const char *service_missing_kind(const struct conf_service *s)
{
	switch (s->kind) {
	case SERVICE_KIND_HTTP:
	case SERVICE_KIND_UNIX:
	case SERVICE_KIND_STATUS:
	case SERVICE_KIND_HELLO:
		return NULL;
	case SERVICE_KIND_SOCKS:
		return "socks-proxy";
	case SERVICE_KIND_BASTION:
		return "bastion";
	case SERVICE_KIND_STREAM:
		return s->scheme;
	case SERVICE_KIND_ORIGINS:
		return "origins";
	}
	return NULL;
}
