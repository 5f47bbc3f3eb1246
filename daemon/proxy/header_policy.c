/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of spec §7 as data: per crossing the names and prefixes that are removed; what is set
 * needs values and is code below it.
 */
#include "daemon/proxy/header_policy.h"

#include "daemon/conf/rule.h"
#include "util/macro.h"

/* A name, or a prefix when it ends in a star. */
static const char *const visitor_removed[] = { "Expect", "X-Original-Host", "Cf-*", NULL };
static const char *const visitor_untrusted[] = { "X-Forwarded-*", "Forwarded", "X-Real-IP",
						 "True-Client-IP", NULL };
static const char *const origin_removed[] = { "X-Original-Host", "Cf-Warp-Tag-*", "Cf-Trace-Id",
					      "Cf-Cloudflared-Proxy-*", NULL };
/* Looks like the transport's response meta, or frames the message. */
static const char *const meta_removed[] = { "Cf-Int-*", "Cf-Cloudflared-*", "Cf-Proxy-*", NULL };

/* What a field behind the body may not change any more (RFC 9110 §6.5.1). */
static const char *const trailer_removed[] = {
	"Content-*",  "Host",
	"Expect",     "If-*",
	"Range",      "Max-Forwards",
	"Cookie",     "Authorization",
	"Set-Cookie", "WWW-Authenticate",
	"Age",        "Cache-Control",
	"Expires",    "Date",
	"Location",   "Retry-After",
	"Vary",       NULL,
};
static const char *const *const crossing_removed[][2] = {
	[HEADER_CROSSING_VISITOR] = { visitor_removed, visitor_untrusted },
	[HEADER_CROSSING_REQUEST] = { origin_removed, origin_removed },
	[HEADER_CROSSING_RESPONSE] = { meta_removed, meta_removed },
};

enum { POLICY_ADDED_MAX = 8 }; /* fields that a crossing itself sets at most */

static bool name_matches(struct span name, const char *pattern)
{
	struct span p = span_str(pattern);
	if (p.len > 0 && p.ptr[p.len - 1] == '*') {
		p.len--;
		return name.len >= p.len && span_eq_nocase(span_first(name, p.len), p);
	}
	return span_eq_nocase(name, p);
}

static bool is_listed(struct span name, const char *const *list)
{
	for (; *list; list++)
		if (name_matches(name, *list))
			return true;
	return false;
}

/* TE: trailers says only that the sender takes trailers; it survives. */
static bool is_te_trailers(const struct http_field *f)
{
	return span_eq_nocase(f->name, SPAN_LIT("TE")) &&
	       span_eq_nocase(span_trim(f->value), SPAN_LIT("trailers"));
}

static bool passes_hop(const struct http_head *in, const struct http_field *f)
{
	if (in->is_framed && span_eq_nocase(f->name, SPAN_LIT("Trailer")))
		return true;
	return !http_head_is_hop_by_hop(in, f->name) || is_te_trailers(f);
}

static struct http_field *fields_alloc(struct arena *arena, size_t count)
{
	return arena_alloc(arena, count * sizeof(struct http_field));
}

static void add(struct http_head *h, const char *name, struct span value)
{
	h->fields[h->field_count++] = (struct http_field){ .name = span_str(name), .value = value };
}

/*
 * X-Forwarded-For: the visitor alone, or appended to all that a trusted proxy said. Its fields are
 * one list (RFC 9110 §5.3): with the first one alone, a proxy that adds a field of its own behind
 * the visitor's would be overruled by the visitor.
 */
static int set_forwarded_for(const struct http_head *in, const struct header_visitor *v,
			     struct arena *arena, struct http_head *ret)
{
	const struct span name = SPAN_LIT("X-Forwarded-For");
	size_t len = v->address.len;
	for (unsigned int i = 0; i < in->field_count && v->is_trusted_proxy; i++)
		if (span_eq_nocase(in->fields[i].name, name))
			len += in->fields[i].value.len + 2;
	uint8_t *text = arena_alloc(arena, len);
	if (!text)
		return -ENOMEM;
	struct packer p = packer_over(text, len);
	for (unsigned int i = 0; i < in->field_count && v->is_trusted_proxy; i++) {
		const struct http_field *f = &in->fields[i];
		if (!span_eq_nocase(f->name, name) || f->value.len == 0)
			continue;
		packer_bytes(&p, f->value);
		packer_str(&p, ", ");
	}
	packer_bytes(&p, v->address);
	add(ret, "X-Forwarded-For", packer_span(&p));
	return 0;
}

int header_policy_visitor_to_tunnel(const struct http_head *in,
				    const struct header_visitor *visitor, struct arena *arena,
				    struct http_head *ret)
{
	ret->field_count = 0;
	ret->fields = fields_alloc(arena, (size_t)in->field_count + POLICY_ADDED_MAX);
	if (!ret->fields)
		return -ENOMEM;
	bool had_proto = false, had_host = false;
	for (unsigned int i = 0; i < in->field_count; i++) {
		const struct http_field *f = &in->fields[i];
		if (!passes_hop(in, f) || is_listed(f->name, visitor_removed) ||
		    span_eq_nocase(f->name, SPAN_LIT("X-Forwarded-For")) ||
		    (!visitor->is_trusted_proxy && is_listed(f->name, visitor_untrusted)))
			continue;
		had_proto |= span_eq_nocase(f->name, SPAN_LIT("X-Forwarded-Proto"));
		had_host |= span_eq_nocase(f->name, SPAN_LIT("X-Forwarded-Host"));
		ret->fields[ret->field_count++] = *f;
	}
	int r = set_forwarded_for(in, visitor, arena, ret);
	if (r < 0)
		return r;
	if (!had_proto)
		add(ret, "X-Forwarded-Proto",
		    visitor->is_tls ? SPAN_LIT("https") : SPAN_LIT("http"));
	if (!had_host)
		add(ret, "X-Forwarded-Host", in->authority);
	add(ret, "Cf-Connecting-IP", visitor->address);
	add(ret, "Cf-Ray", visitor->ray);
	add(ret, "Cf-Visitor",
	    visitor->is_tls ? SPAN_LIT("{\"scheme\":\"https\"}")
			    : SPAN_LIT("{\"scheme\":\"http\"}"));
	return 0;
}

static bool is_removed_by_rule(const struct conf_origin *o, struct span name)
{
	for (size_t i = 0; i < o->remove_header_count; i++)
		if (span_eq_nocase(name, span_str(o->remove_headers[i])))
			return true;
	for (size_t i = 0; i < o->set_header_count; i++)
		if (span_eq_nocase(name, span_str(o->set_headers[i].name)))
			return true;
	return false;
}

int header_policy_tunnel_to_origin(const struct http_head *in, const struct conf_rule *rule,
				   struct span connector_id, struct arena *arena,
				   struct http_head *ret)
{
	const struct conf_origin *o = &rule->origin;
	ret->field_count = 0;
	ret->fields = fields_alloc(arena, (size_t)in->field_count + o->set_header_count +
						  o->add_header_count + POLICY_ADDED_MAX);
	if (!ret->fields)
		return -ENOMEM;
	bool has_new_host = o->http_host_header && rule->service.kind == SERVICE_KIND_HTTP;
	bool is_upgrade = in->body == HTTP_BODY_UPGRADE;
	for (unsigned int i = 0; i < in->field_count; i++) {
		const struct http_field *f = &in->fields[i];
		if (!passes_hop(in, f) || is_listed(f->name, origin_removed) ||
		    span_eq_nocase(f->name, SPAN_LIT("Host")) || is_removed_by_rule(o, f->name) ||
		    (has_new_host && span_eq_nocase(f->name, SPAN_LIT("X-Forwarded-Host"))) ||
		    (is_upgrade && span_eq_nocase(f->name, SPAN_LIT("Sec-WebSocket-Version"))))
			continue;
		ret->fields[ret->field_count++] = *f;
	}
	for (size_t i = 0; i < o->set_header_count; i++)
		add(ret, o->set_headers[i].name, span_str(o->set_headers[i].value));
	for (size_t i = 0; i < o->add_header_count; i++)
		add(ret, o->add_headers[i].name, span_str(o->add_headers[i].value));
	if (has_new_host)
		add(ret, "X-Forwarded-Host", in->authority);
	add(ret, "Cf-Warp-Tag-Id", connector_id);
	if (is_upgrade) {
		add(ret, "Upgrade", SPAN_LIT("websocket"));
		add(ret, "Sec-WebSocket-Version", SPAN_LIT("13"));
	}
	ret->authority = has_new_host ? span_str(o->http_host_header) : in->authority;
	return 0;
}

/* Both ways back are the same: hop-by-hop and whatever could be taken for the transport's own. */
static int copy_response(const struct http_head *in, struct arena *arena, struct http_head *ret)
{
	bool is_upgrade = in->status == 101; /* the upgrade's own fields stay (spec §7) */
	ret->field_count = 0;
	ret->fields = fields_alloc(arena, (size_t)in->field_count + POLICY_ADDED_MAX);
	if (!ret->fields)
		return -ENOMEM;
	for (unsigned int i = 0; i < in->field_count; i++) {
		const struct http_field *f = &in->fields[i];
		bool stays = is_upgrade && (span_eq_nocase(f->name, SPAN_LIT("Upgrade")) ||
					    span_eq_nocase(f->name, SPAN_LIT("Connection")));
		if ((stays || passes_hop(in, f)) && !is_listed(f->name, meta_removed))
			ret->fields[ret->field_count++] = *f;
	}
	return 0;
}

int header_policy_origin_to_tunnel(const struct http_head *in, struct arena *arena,
				   struct http_head *ret)
{
	return copy_response(in, arena, ret);
}

int header_policy_tunnel_to_visitor(const struct http_head *in, struct arena *arena,
				    struct http_head *ret)
{
	return copy_response(in, arena, ret);
}

int header_policy_trailers(const struct http_trailers *in, enum header_crossing crossing,
			   struct arena *arena, struct http_trailers *ret)
{
	struct http_field *kept = fields_alloc(arena, MAX(in->count, 1U));
	unsigned int count = 0;
	if (!kept)
		return -ENOMEM;
	for (unsigned int i = 0; i < in->count; i++) {
		struct span name = in->fields[i].name;
		if (!http_field_is_hop_by_hop(name) && !is_listed(name, trailer_removed) &&
		    !is_listed(name, crossing_removed[crossing][0]) &&
		    !is_listed(name, crossing_removed[crossing][1]))
			kept[count++] = in->fields[i];
	}
	*ret = (struct http_trailers){ .fields = kept, .count = count };
	return (int)(in->count - count);
}
