/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which service answers a request? Joins a snapshot with the engine that was compiled of it, and
 * turns the engine's answer into what the proxy needs to know.
 */
#include "daemon/route/route.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "daemon/route/match_ingress.h"
#include "daemon/wire/uri.h"
#include "util/macro.h"

struct route {
	struct conf *conf; /* a reference of ours; the engine borrows its rules */
	struct match_ingress *ingress;
};

int route_new(struct conf *c, struct route **ret)
{
	_cleanup_(route_freep) struct route *r = calloc(1, sizeof(*r));
	if (!r || match_ingress_new(c->rules, c->rule_count, &r->ingress) < 0)
		return -ENOMEM;
	r->conf = conf_ref(c);
	*ret = TAKE_PTR(r);
	return 0;
}

void route_free(struct route *r)
{
	if (!r)
		return;
	match_ingress_free(r->ingress);
	conf_unref(r->conf);
	free(r);
}

struct conf *route_conf(const struct route *r)
{
	return r->conf;
}

void route_match(const struct route *r, struct pattern_scratch *s, const struct route_query *q,
		 struct route_result *ret)
{
	*ret = (struct route_result){ .verdict = ROUTE_VERDICT_NO_RULES };
	if (r->conf->rule_count == 0)
		return;

	size_t index = 0;
	int error = match_ingress_find(r->ingress, s, q->host, q->path, &index);
	/* The last rule is a catch-all, so this can't be; the reference would take it as well. */
	if (error == -ESTALE)
		index = r->conf->rule_count - 1;
	ret->rule = &r->conf->rules[index];
	ret->index = index;
	ret->verdict = error == -E2BIG         ? ROUTE_VERDICT_COST
		       : ret->rule->is_implied ? ROUTE_VERDICT_NO_HOST
					       : ROUTE_VERDICT_FOUND;
}

/* ---- in words ---- */

struct text {
	char *buf;
	size_t size;
	size_t len;
};

PRINTF_LIKE(2, 3)
static void say(struct text *t, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	int n = t->len < t->size ? vsnprintf(t->buf + t->len, t->size - t->len, format, ap) : 0;
	va_end(ap);
	t->len += n > 0 ? (size_t)n : 0;
}

static bool host_fits(const struct host_pattern *h, struct span host)
{
	switch (h->kind) {
	case HOST_KIND_ANY:
		return true;
	case HOST_KIND_EXACT:
		return span_eq(h->text, host) || (h->ascii.len && span_eq(h->ascii, host));
	case HOST_KIND_SUFFIX:
		return span_ends_with(host, h->text);
	}
	return false;
}

static const char *path_word(const struct conf_rule *rule, struct pattern_scratch *s,
			     struct span path)
{
	if (!rule->pattern)
		return "any path";
	int r = pattern_match(rule->pattern, s, path);
	return r > 0 ? "path found" : r == 0 ? "path not found" : "path too costly";
}

const char *route_explain(const struct route *r, struct pattern_scratch *s,
			  const struct route_query *q, char *buf, size_t size)
{
	struct text t = { .buf = buf, .size = size };
	uint8_t name[ROUTE_HOST_MAX];
	struct packer p = packer_over(name, sizeof(name));
	struct route_result result;
	route_match(r, s, q, &result);
	buf[0] = '\0';
	if (uri_host_normalize(q->host, &p) < 0)
		p.len = 0;
	if (!result.rule) {
		say(&t, "no rule is configured: 503\n");
		return buf;
	}
	for (size_t i = 0; i <= result.index && t.len < size; i++) {
		const struct conf_rule *rule = &r->conf->rules[i];
		bool fits = host_fits(&rule->host, packer_span(&p));
		say(&t, "%zu %s: %s%s%s%s\n", i + 1, rule->name,
		    rule->hostname[0] ? rule->hostname : "any host",
		    fits ? " fits" : " doesn't fit", fits ? ", " : "",
		    fits ? path_word(rule, s, q->path) : "");
	}
	if (result.verdict == ROUTE_VERDICT_COST)
		say(&t, "rule %s is too costly for this path: 503\n", result.rule->name);
	else
		say(&t, "rule %s: %s\n", result.rule->name, result.rule->service.text);
	return buf;
}
