/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS towards origins. A context costs milliseconds and a megabyte (the system's store), so it is
 * made once per snapshot and distinct trust, not per connection.
 */
#include "daemon/origin/origin_tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/net/tlsctx.h"
#include "daemon/wire/endpoint.h"
#include "util/cleanup.h"

struct origin_tls {
	const struct conf_rule *rules; /* of the snapshot, borrowed: only to count from */
	size_t count;
	SSL_CTX *of_rule[]; /* each holds a reference of its own; NULL without TLS */
};

static bool is_same_trust(const struct conf_origin *a, const struct conf_origin *b)
{
	if (a->no_tls_verify != b->no_tls_verify || !a->ca_pool != !b->ca_pool)
		return false;
	return !a->ca_pool || strcmp(a->ca_pool, b->ca_pool) == 0;
}

static SSL_CTX *find_same(const struct origin_tls *tls, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (tls->of_rule[i] &&
		    is_same_trust(&tls->rules[i].origin, &tls->rules[index].origin))
			return tls->of_rule[i];
	return NULL;
}

int origin_tls_new(const struct conf *conf, struct origin_tls **ret,
		   const struct conf_rule **ret_rule, const char **ret_reason)
{
	struct origin_tls *tls =
		calloc(1, sizeof(*tls) + conf->rule_count * sizeof(tls->of_rule[0]));
	if (!tls)
		return -ENOMEM;
	tls->rules = conf->rules;
	tls->count = conf->rule_count;
	for (size_t i = 0; i < tls->count; i++) {
		const struct conf_rule *rule = &conf->rules[i];
		if (!rule->service.tls)
			continue;
		SSL_CTX *same = find_same(tls, i);
		int r = same ? tlsctx_ref(same, &tls->of_rule[i])
			     : tlsctx_new_origin_client(rule->origin.ca_pool,
							!rule->origin.no_tls_verify,
							&tls->of_rule[i], ret_reason);
		if (r < 0) {
			*ret_rule = rule;
			origin_tls_free(tls);
			return r;
		}
	}
	*ret = tls;
	return 0;
}

void origin_tls_free(struct origin_tls *tls)
{
	if (!tls)
		return;
	for (size_t i = 0; i < tls->count; i++)
		tlsctx_free(tls->of_rule[i]);
	free(tls);
}

SSL_CTX *origin_tls_context(const struct origin_tls *tls, const struct conf_rule *rule)
{
	return tls ? tls->of_rule[rule - tls->rules] : NULL;
}

/* ---- names --------------------------------------------------------------------------------- */

bool origin_tls_name_varies(const struct conf_rule *rule)
{
	if (!rule->service.tls)
		return false;
	if (rule->service.kind == SERVICE_KIND_UNIX)
		return !rule->origin.origin_server_name || rule->origin.match_sni_to_host;
	return rule->origin.match_sni_to_host;
}

/* Host without port and brackets; empty for what can't be one. */
static struct span host_of(struct span authority)
{
	struct ip_addr ip;
	if (!span_starts_with(authority, SPAN_LIT("[")))
		return span_first(authority, span_find(authority, ':'));
	struct span inner = span_skip(authority, 1);
	inner = span_first(inner, span_find(inner, ']'));
	return ip_addr_parse(inner, &ip) < 0 ? span_first(inner, 0) : inner;
}

static bool is_name_or_address(const char *text)
{
	struct ip_addr ip;
	struct span s = span_str(text);
	if (ip_addr_parse(s, &ip) == 0)
		return true;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		bool is_alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		if (!is_alnum && c != '-' && c != '_' && c != '.')
			return false;
	}
	return s.len > 0 && s.ptr[0] != '.';
}

int origin_tls_name(const struct conf_rule *rule, struct span authority,
		    char ret[ORIGIN_TLS_NAME_MAX])
{
	struct span name = host_of(authority);
	if (!origin_tls_name_varies(rule))
		name = span_str(rule->origin.origin_server_name ? rule->origin.origin_server_name
								: rule->service.host);
	if (name.len && name.ptr[name.len - 1] == '.')
		name.len--;
	if (name.len >= ORIGIN_TLS_NAME_MAX)
		return -EINVAL;
	char text[ORIGIN_TLS_NAME_MAX];
	for (size_t i = 0; i < name.len; i++)
		text[i] = (char)span_lower_byte(name.ptr[i]);
	text[name.len] = '\0';
	if (!is_name_or_address(text))
		return -EINVAL;
	memcpy(ret, text, name.len + 1);
	return 0;
}
