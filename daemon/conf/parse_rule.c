/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsers of what rules, groups of origins, tunnels and the log are made of.
 */
#include <errno.h>

#include "daemon/conf/arena.h"
#include "daemon/conf/parse.h"
#include "daemon/conf/pattern.h"
#include "daemon/conf/schema_priv.h"
#include "daemon/wire/hex.h"
#include "daemon/wire/http_field.h"

/* Takes the next word off text; empty at its end. */
static struct span word_next(struct span *text)
{
	*text = span_trim(*text);
	size_t n = 0;
	while (n < text->len && text->ptr[n] != ' ' && text->ptr[n] != '\t')
		n++;
	struct span word = span_first(*text, n);
	*text = span_skip(*text, n);
	return word;
}

/* ---- headers ---- */

/* Fields that frame a message or belong to one hop are made by us, never by a rule. */
static bool header_name_check(struct span name, const char **ret_reason)
{
	if (!http_token_is_valid(name)) {
		*ret_reason = "no field name";
		return false;
	}
	if (http_field_is_hop_by_hop(name) || span_eq_nocase(name, SPAN_LIT("content-length")) ||
	    span_eq_nocase(name, SPAN_LIT("host"))) {
		*ret_reason = "a field that frames the message";
		return false;
	}
	return true;
}

PARSER(header_list)
{
	size_t colon = span_find(text, ':');
	struct span name = span_first(text, colon);
	struct span value = span_trim(span_skip(text, colon + 1));
	if (colon == text.len) {
		*ret_reason = "no \":\"";
		return -EINVAL;
	}
	if (!header_name_check(name, ret_reason))
		return -EINVAL;
	if (!http_value_is_valid(value)) {
		*ret_reason = "its value";
		return -EINVAL;
	}
	struct conf_header *h = parse_list_add(x, field, sizeof(*h));
	if (!h || parse_keep_text(x, name, (void *)&h->name) < 0 ||
	    parse_keep_text(x, value, (void *)&h->value) < 0)
		return -ENOMEM;
	return 0;
}

PARSER(header_name_list)
{
	if (!header_name_check(text, ret_reason))
		return -EINVAL;
	return parse_string_list(x, text, field, ret_reason);
}

/* ---- ip-rule ---- */

/* Sorted as it grows; lists are short. */
static int ports_parse(struct schema_context *x, struct span text, struct conf_ip_rule *rule)
{
	uint16_t *ports = NULL;
	size_t count = 0;
	struct span one;
	while (http_list_next(&text, &one)) {
		uint64_t port;
		if (conf_parse_uint(one, &port) < 0 || port == 0 || port > 65535)
			return -EINVAL;
		if (!conf_array_add(x->arena, (void *)&ports, &count, sizeof(*ports)))
			return -ENOMEM;
		size_t at = count - 1;
		for (; at > 0 && ports[at - 1] > port; at--)
			ports[at] = ports[at - 1];
		ports[at] = (uint16_t)port;
	}
	rule->ports = ports;
	rule->port_count = count;
	return 0;
}

PARSER(ip_rule_list)
{
	struct conf_ip_rule rule = {};
	struct span verdict = word_next(&text);
	struct span prefix = word_next(&text);
	rule.allow = span_eq_str(verdict, "allow");
	if (!rule.allow && !span_eq_str(verdict, "deny")) {
		*ret_reason = "neither allow nor deny";
		return -EINVAL;
	}
	if (conf_parse_prefix(prefix, &rule.prefix) < 0) {
		*ret_reason = "its prefix";
		return -EINVAL;
	}
	int r = ports_parse(x, span_trim(text), &rule);
	if (r < 0) {
		*ret_reason = "its ports";
		return r;
	}
	struct conf_ip_rule *slot = parse_list_add(x, field, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = rule;
	return 0;
}

/* ---- groups of origins (checked only) ---- */

PARSER(member)
{
	(void)field;
	struct conf_service service;
	struct span text_service = word_next(&text);
	int r = service_parse(x->arena, text_service, false, &service, ret_reason);
	if (r < 0)
		return r;
	for (struct span w = word_next(&text); w.len; w = word_next(&text)) {
		uint64_t weight;
		if (!span_starts_with(w, SPAN_LIT("weight=")) ||
		    conf_parse_uint(span_skip(w, 7), &weight) < 0 || weight > 1000000) {
			*ret_reason = "what follows the service";
			return -EINVAL;
		}
	}
	return 0;
}

/* "200" or "200-299". */
static bool is_status_range(struct span s)
{
	size_t dash = span_find(s, '-');
	uint64_t low, high;
	if (conf_parse_uint(span_first(s, dash), &low) < 0)
		return false;
	high = low;
	if (dash < s.len && conf_parse_uint(span_skip(s, dash + 1), &high) < 0)
		return false;
	return low >= 100 && low <= high && high <= 599;
}

/* One NAME=VALUE of a check. */
static bool is_check_setting(struct span w)
{
	size_t equals = span_find(w, '=');
	struct span name = span_first(w, equals);
	struct span value = span_skip(w, equals + 1);
	nsec_t time;
	uint64_t count;
	if (span_eq_str(name, "expect"))
		return is_status_range(value);
	if (span_eq_str(name, "every") || span_eq_str(name, "timeout"))
		return conf_parse_duration(value, &time) == 0 && time > 0;
	if (span_eq_str(name, "rise") || span_eq_str(name, "fall"))
		return conf_parse_uint(value, &count) == 0 && count > 0 && count <= 1000;
	return false;
}

PARSER(check)
{
	(void)x;
	(void)field;
	struct span kind = word_next(&text);
	if (span_eq_str(kind, "http")) {
		struct span method = word_next(&text);
		struct span path = word_next(&text);
		if (!http_token_is_valid(method) || path.len == 0 || path.ptr[0] != '/') {
			*ret_reason = "its method or path";
			return -EINVAL;
		}
	} else if (!span_eq_str(kind, "tcp")) {
		*ret_reason = "its kind";
		return -EINVAL;
	}
	for (struct span w = word_next(&text); w.len; w = word_next(&text))
		if (!is_check_setting(w)) {
			*ret_reason = "one of its settings";
			return -EINVAL;
		}
	return 0;
}

/* ---- log ---- */

static bool level_parse(const struct schema_context *x, struct span text, enum log_level *ret)
{
	static const struct {
		const char *word;
		enum log_level level;
		bool is_alias; /* words of the reference, from the environment only */
	} levels[] = {
		{ "error", LOG_LEVEL_ERROR, false },   { "warning", LOG_LEVEL_WARNING, false },
		{ "notice", LOG_LEVEL_NOTICE, false }, { "info", LOG_LEVEL_INFO, false },
		{ "debug", LOG_LEVEL_DEBUG, false },   { "warn", LOG_LEVEL_WARNING, true },
		{ "fatal", LOG_LEVEL_ERROR, true },
	};
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if (span_eq_str(text, levels[i].word) &&
		    (!levels[i].is_alias || x->is_environment)) {
			*ret = levels[i].level;
			return true;
		}
	return false;
}

/* Items "LEVEL" and "AREA:LEVEL"; the latter are collected as text for struct log_params. */
PARSER(log_level)
{
	struct conf_log *log = field;
	size_t colon = span_find(text, ':');
	enum log_level level;
	if (colon == text.len)
		return level_parse(x, text, &log->level) ? 0 : -EINVAL;
	if (!http_token_is_valid(span_first(text, colon)) ||
	    !level_parse(x, span_skip(text, colon + 1), &level)) {
		*ret_reason = NULL;
		return -EINVAL;
	}
	size_t old = log->areas ? strlen(log->areas) : 0;
	char *areas = conf_alloc(x->arena, old + 2 + text.len + 1);
	if (!areas)
		return -ENOMEM;
	struct packer p = packer_over(areas, old + 2 + text.len);
	if (old) {
		packer_str(&p, log->areas);
		packer_str(&p, ", ");
	}
	packer_bytes(&p, text);
	log->areas = areas;
	return 0;
}

PARSER(pin)
{
	(void)x;
	(void)ret_reason;
	struct conf_edge *edge = field;
	if (conf_parse_pin(text, edge->pin) < 0)
		return -EINVAL;
	edge->has_pin = true;
	return 0;
}

/* ---- rules ---- */

PARSER(rule_host)
{
	struct conf_rule *rule = field;
	int r = host_pattern_parse(x->arena, text, &rule->host, ret_reason);
	return r < 0 ? r : parse_keep_text(x, text, (void *)&rule->hostname);
}

static void on_pattern_free(void *object)
{
	pattern_free(object);
}

PARSER(rule_path)
{
	struct conf_rule *rule = field;
	struct pattern_error error = {};
	_cleanup_(pattern_freep) struct pattern *p = NULL;
	int r = pattern_new(text, &p, &error);
	if (r < 0) {
		*ret_reason = error.reason;
		return r;
	}
	r = conf_arena_own(x->arena, on_pattern_free, p);
	if (r < 0)
		return r;
	rule->pattern = TAKE_PTR(p);
	return parse_keep_text(x, text, (void *)&rule->path);
}

/* ---- tunnels of the edge ---- */

PARSER(tunnel_id)
{
	(void)x;
	(void)ret_reason;
	struct conf_edge_tunnel *t = field;
	return uuid_parse(text, &t->id) < 0 ? -EINVAL : 0;
}

PARSER(secret_hash)
{
	(void)x;
	(void)ret_reason;
	struct conf_edge_tunnel *t = field;
	uint8_t hash[32];
	struct packer p = packer_over(hash, sizeof(hash));
	if (hex_decode(text, &p) < 0 || p.len != sizeof(hash))
		return -EINVAL;
	memcpy(t->secret_sha256, hash, sizeof(hash));
	t->has_secret_sha256 = true;
	return 0;
}

PARSER(tunnel_host)
{
	struct conf_edge_tunnel *t = field;
	struct conf_edge_host host = {};
	int r = host_pattern_parse(x->arena, text, &host.host, ret_reason);
	if (r < 0)
		return r;
	if (host_pattern_is_any(&host.host)) {
		*ret_reason = "any host";
		return -EINVAL;
	}
	r = parse_keep_text(x, text, (void *)&host.text);
	if (r < 0)
		return r;
	struct conf_edge_host *slot = parse_list_add(x, (void *)&t->hosts, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	*slot = host;
	return 0;
}
