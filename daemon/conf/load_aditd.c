/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshot of aditd: rules in their order, the credential, where the edge is, and what these
 * must agree on.
 */
#include <sys/stat.h>

#include "daemon/conf/credential.h"
#include "daemon/conf/load_priv.h"
#include "daemon/conf/parse.h"

/* ---- rules ---- */

static const char service_accepts[] =
	"http://HOST:PORT, https://HOST:PORT, unix:PATH, unix+tls:PATH, http_status:NUMBER or "
	"hello_world";

static bool is_catch_all(const struct conf_rule *rule)
{
	return host_pattern_is_any(&rule->host) && !rule->pattern;
}

/* Reads a service that was kept as text, and says what is wrong with it. */
static int service_apply(struct loader *l, const struct conf_section *s, const char *key,
			 struct conf_rule *rule)
{
	const struct conf_value *v = load_value(s, key);
	const struct conf_item *at = v ? &v->items[0] : NULL;
	const char *reason = NULL;
	char found[128];
	if (!v && !rule->origin.bastion_mode) {
		load_error(l, s, key, NULL, "missing; accepted: %s", service_accepts);
		return 0;
	}
	struct span text = span_str(at ? at->text : "");
	int r = service_parse(l->arena, text, rule->origin.bastion_mode, &rule->service, &reason);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		load_error(l, s, key, at, "\"%s\" (%s); accepted: %s",
			   load_quote(at ? at->text : "", true, found, sizeof(found)), reason,
			   service_accepts);
		return 0;
	}
	const char *missing = service_missing_kind(&rule->service);
	if (missing)
		load_error(l, s, key, at, "service kind %s isn't in this version; accepted: %s",
			   missing, service_accepts);
	return 0;
}

static void rule_init(struct conf_rule *rule, const struct conf *c, const char *name,
		      unsigned int line)
{
	*rule = (struct conf_rule){
		.name = name,
		.line = line,
		.hostname = "",
		.host = { .kind = HOST_KIND_ANY },
		.path = "",
		.origin = c->origin_defaults,
	};
}

/* A name that looks like a wildcard but is compared letter by letter. */
static void check_host(struct loader *l, const struct conf_section *s, const struct conf_rule *rule)
{
	if (rule->host.kind == HOST_KIND_EXACT && rule->host.text.ptr[0] == '*')
		load_warn(l, s, "hostname", load_item(s, "hostname"),
			  "\"%s\" is no wildcard and matches only itself; *.DOMAIN would be one",
			  rule->hostname);
}

static int rule_from_section(struct loader *l, const struct conf *c, const struct conf_section *s,
			     struct conf_rule *rule)
{
	rule_init(rule, c, s->name, s->line);
	int r = load_apply_values(l, s, rule);
	if (r == 0)
		r = service_apply(l, s, "service", rule);
	if (r == 0)
		check_host(l, s, rule);
	return r;
}

static int rules_add_catch_all(struct loader *l, struct conf *c, struct conf_rule *rules)
{
	const char *reason;
	struct conf_rule *rule = &rules[c->rule_count];
	rule_init(rule, c, "catch-all", 0);
	rule->is_implied = true;
	int r = service_parse(l->arena, SPAN_LIT("http_status:404"), false, &rule->service,
			      &reason);
	if (r < 0)
		return r;
	c->rule_count++;
	conf_report_add(
		l->report, CONF_SEVERITY_WARNING, c->common.file, rules[c->rule_count - 2].line,
		"[ingress %s]: the last rule doesn't take every request; http_status:404 is added "
		"behind it",
		rules[c->rule_count - 2].name);
	return 0;
}

/* Every rule behind a catch-all would be in vain. */
static void check_order(struct loader *l, const struct conf_section *const *sections,
			const struct conf_rule *rules, size_t count)
{
	for (size_t i = 0; i + 1 < count; i++)
		if (is_catch_all(&rules[i]))
			load_error(
				l, sections[i], NULL, NULL,
				"a rule without hostname and path takes every request; accepted: only as "
				"the last one, the next is [ingress %s]",
				rules[i + 1].name);
}

static int rules_from_sections(struct loader *l, struct conf *c, size_t count)
{
	struct conf_rule *rules = conf_alloc(l->arena, (count + 1) * sizeof(*rules));
	const struct conf_section **sections =
		(const struct conf_section **)conf_alloc(l->arena, count * sizeof(*sections));
	if (!rules || !sections)
		return -ENOMEM;
	size_t before = l->report->errors;
	for (size_t i = 0; i < l->section_count; i++) {
		const struct conf_section *s = &l->sections[i];
		if (strcmp(s->schema->kind, "ingress") != 0)
			continue;
		sections[c->rule_count] = s;
		int r = rule_from_section(l, c, s, &rules[c->rule_count++]);
		if (r < 0)
			return r;
	}
	c->rules = rules;
	/* A hostname that was refused would look like none. */
	if (l->report->errors != before)
		return 0;
	check_order(l, sections, rules, count);
	return is_catch_all(&rules[count - 1]) ? 0 : rules_add_catch_all(l, c, rules);
}

/* [tunnel] url is an ingress of one rule. */
static int rules_from_url(struct loader *l, struct conf *c)
{
	const struct conf_section *s = load_find(l, "tunnel");
	const struct conf_value *v = load_value(s, "url");
	struct conf_rule *rule = conf_alloc(l->arena, sizeof(*rule));
	if (!rule)
		return -ENOMEM;
	rule_init(rule, c, "url", v->items[0].line);
	c->rules = rule;
	c->rule_count = 1;
	return service_apply(l, s, "url", rule);
}

static int rules_build(struct loader *l, struct conf *c)
{
	size_t count = load_count(l, "ingress");
	if (count > CONF_RULES_MAX) {
		conf_report_add(l->report, CONF_SEVERITY_ERROR, c->common.file, 0,
				"%zu [ingress] sections; accepted: at most %zu", count,
				CONF_RULES_MAX);
		return 0;
	}
	if (c->tunnel.url && count) {
		const struct conf_section *s = load_find(l, "tunnel");
		load_error(
			l, s, "url", load_item(s, "url"),
			"together with [ingress] sections; accepted: one of both, url is a whole ingress");
		return 0;
	}
	if (c->tunnel.url)
		return rules_from_url(l, c);
	return count ? rules_from_sections(l, c, count) : 0;
}

/* ---- access ---- */

/* Warned about like other missing features, this one would leave open what was meant to be closed.
 */
static void check_access(struct loader *l)
{
	for (size_t i = 0; i < l->section_count; i++) {
		const struct conf_section *s = &l->sections[i];
		for (size_t k = 0; k < s->value_count; k++) {
			const struct conf_value *v = &s->values[k];
			if (strcmp(v->option->key, "required") != 0 || !v->item_count ||
			    strcmp(v->items[0].text, "yes") != 0)
				continue;
			load_error(l, s, v->table->prefix ? "access-required" : "required",
				   &v->items[0],
				   "access tokens can't be checked in this version; accepted: no");
		}
	}
}

/* ---- credential ---- */

static void on_credential_free(void *object)
{
	credential_free(object);
}

static int credential_keep(struct loader *l, struct conf *c,
			   struct tunnel_credential *credential_take)
{
	int r = conf_arena_own(l->arena, on_credential_free, credential_take);
	if (r < 0) {
		credential_free(credential_take);
		return r;
	}
	c->credential = credential_take;
	return 0;
}

/* A token from the command line or the environment. */
static int credential_try_text(struct loader *l, struct conf *c, struct span token,
			       const char *from)
{
	struct tunnel_credential *credential;
	const char *reason = "";
	int r = credential_from_token(token, &credential, &reason);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		conf_report_add(l->report, CONF_SEVERITY_ERROR, from, 0,
				"%s; accepted: a join token", reason);
		return 0;
	}
	return credential_keep(l, c, credential);
}

/* A file named by [tunnel]; the schema has checked its mode. */
static int credential_try_file(struct loader *l, struct conf *c, const char *key, bool is_json)
{
	const struct conf_section *s = load_find(l, "tunnel");
	const struct conf_item *at = load_item(s, key);
	struct tunnel_credential *credential;
	const char *reason = "";
	int r = credential_read(at->text, is_json, false, &credential, &reason);
	if (r == 0)
		return credential_keep(l, c, credential);
	/* Other causes have been told when the value was read. */
	if (r == -EBADMSG || r == -E2BIG)
		load_error(l, s, key, at, "%s: %s; accepted: %s", at->text, reason,
			   is_json ? "JSON with AccountTag, TunnelID and TunnelSecret"
				   : "a join token");
	else if (r == -EACCES)
		load_error(l, s, key, at, "%s: %s; accepted: a file that we may read", at->text,
			   strerrordesc_np(-r));
	return r == -ENOMEM ? r : 0;
}

/* What systemd handed over (LoadCredential=). It decides about the modes there. */
static int credential_try_handed(struct loader *l, struct conf *c, const char *name, bool is_json)
{
	const char *directory = load_environment(l, "CREDENTIALS_DIRECTORY");
	char path[4096];
	if (!directory || c->credential ||
	    snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return 0;
	struct tunnel_credential *credential;
	const char *reason = "";
	int r = credential_read(path, is_json, true, &credential, &reason);
	if (r == 0)
		return credential_keep(l, c, credential);
	if (r != -ENOENT && r != -ENOMEM)
		conf_report_add(l->report, CONF_SEVERITY_ERROR, path, 0, "%s; accepted: %s", reason,
				is_json ? "a credentials file" : "a join token");
	return r == -ENOMEM ? r : 0;
}

/* The file that [tunnel] names; of two the one of higher rank. */
static int credential_from_tunnel(struct loader *l, struct conf *c, enum conf_rank rank)
{
	const struct conf_section *s = load_find(l, "tunnel");
	const struct conf_value *token = load_value(s, "token-file");
	const struct conf_value *file = load_value(s, "credentials-file");
	bool has_token = token && token->rank == rank;
	bool has_file = file && file->rank == rank;
	if (has_token && has_file) {
		load_error(l, s, "credentials-file", &file->items[0],
			   "together with token-file; accepted: one of both");
		return 0;
	}
	if (has_token)
		return credential_try_file(l, c, "token-file", false);
	return has_file ? credential_try_file(l, c, "credentials-file", true) : 0;
}

static bool has_tunnel_file(const struct loader *l, enum conf_rank rank)
{
	const struct conf_section *s = load_find(l, "tunnel");
	const struct conf_value *token = load_value(s, "token-file");
	const struct conf_value *file = load_value(s, "credentials-file");
	return (token && token->rank == rank) || (file && file->rank == rank);
}

static const char from_argument[] = "command line";
static const char from_variable[] = "environment variable TUNNEL_TOKEN";

/* Also of a token that isn't used in the end: it could be seen all the same. */
static void warn_of_visible_token(struct loader *l, struct span token, const char *from)
{
	if (token.ptr)
		conf_report_add(l->report, CONF_SEVERITY_WARNING, from, 0,
				"a token here can be seen by others; [tunnel] token-file is safer");
}

/* The first source that has something decides, even if what it has is bad. */
static int credential_find(struct loader *l, struct conf *c)
{
	const struct conf_source *src = l->src;
	struct span none = {};
	struct span argument = src->token_is_variable ? none : src->token;
	struct span variable =
		src->token_is_variable ? src->token : span_str(load_environment(l, "TUNNEL_TOKEN"));
	warn_of_visible_token(l, argument, from_argument);
	warn_of_visible_token(l, variable, from_variable);
	if (argument.ptr)
		return credential_try_text(l, c, argument, from_argument);
	if (has_tunnel_file(l, CONF_RANK_COMMAND_LINE))
		return credential_from_tunnel(l, c, CONF_RANK_COMMAND_LINE);
	if (variable.ptr)
		return credential_try_text(l, c, variable, from_variable);
	if (has_tunnel_file(l, CONF_RANK_ENVIRONMENT))
		return credential_from_tunnel(l, c, CONF_RANK_ENVIRONMENT);
	if (has_tunnel_file(l, CONF_RANK_FILE))
		return credential_from_tunnel(l, c, CONF_RANK_FILE);

	size_t before = l->report->errors;
	int r = credential_try_handed(l, c, "token", false);
	if (r == 0)
		r = credential_try_handed(l, c, "credentials.json", true);
	if (r == 0 && !c->credential && l->report->errors == before)
		conf_report_add(
			l->report, l->src->check ? CONF_SEVERITY_WARNING : CONF_SEVERITY_ERROR,
			c->common.file, 0,
			"no credential; accepted: [tunnel] token-file or credentials-file, the "
			"environment variable TUNNEL_TOKEN, or token or credentials.json in "
			"$CREDENTIALS_DIRECTORY");
	return r;
}

/* ---- edge ---- */

/* Addresses and pin of the token, where the file has none. */
static int edge_from_token(struct loader *l, struct conf *c)
{
	const struct tunnel_credential *t = c->credential;
	if (t->has_pin && !c->edge.has_pin) {
		memcpy(c->edge.pin, t->pin, sizeof(c->edge.pin));
		c->edge.has_pin = true;
	}
	if (c->edge.address_count || !t->edge_count)
		return 0;

	struct conf_addr *list = conf_alloc(l->arena, t->edge_count * sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < t->edge_count; i++) {
		struct schema_context x = { .arena = l->arena };
		const char *reason = "";
		struct span text = span_of(t->edges[i].text, t->edges[i].len);
		int r = parse_addr_into(&x, text, &list[i], &reason);
		if (r == -ENOMEM)
			return r;
		if (r < 0 || list[i].addr.port == 0) {
			conf_report_add(l->report, CONF_SEVERITY_ERROR, "token", 0,
					"its edge \"%.*s\" is no address; accepted: HOST:PORT",
					(int)text.len, (const char *)text.ptr);
			return 0;
		}
	}
	c->edge.addresses = list;
	c->edge.address_count = t->edge_count;
	return 0;
}

/* Where the vendor's edge is looked for: the file or the credential says it, not both. */
static int region_from_token(struct loader *l, struct conf *c)
{
	const struct tunnel_credential *t = c->credential;
	if (!t->region[0])
		return 0;
	if (c->edge.region) {
		const struct conf_section *s = load_find(l, "edge");
		load_error(l, s, "region", load_item(s, "region"),
			   "together with an endpoint in the credential; accepted: one of both");
		return 0;
	}
	c->edge.region = conf_strdup(l->arena, span_str(t->region));
	return c->edge.region ? 0 : -ENOMEM;
}

static int edge_resolve(struct loader *l, struct conf *c)
{
	const struct tunnel_credential *t = c->credential;
	bool is_named = c->edge.address_count || c->edge.ca_file || c->edge.has_pin;
	bool token_names = t && (t->edge_count || t->has_pin);
	int r = t ? edge_from_token(l, c) : 0;
	if (r == 0 && t)
		r = region_from_token(l, c);
	if (r < 0)
		return r;
	if (c->edge.kind == CONF_EDGE_KIND_AUTO)
		c->edge.kind =
			is_named || token_names ? CONF_EDGE_KIND_ADIT : CONF_EDGE_KIND_VENDOR;
	/* Without a credential (--check elsewhere) nobody knows what the token says. */
	if (t && !c->edge.address_count && c->edge.kind != CONF_EDGE_KIND_VENDOR &&
	    l->report->errors == l->errors_before)
		conf_report_add(
			l->report, CONF_SEVERITY_ERROR, c->common.file, 0,
			"[edge] address: missing, and the token names no edge; accepted: HOST:PORT, or "
			"kind = vendor");
	return 0;
}

/* Whether others than its owner may read it; an unknown file is not our business here. */
static bool is_open_file(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && (st.st_mode & 077) != 0;
}

/* No proxy of ours carries UDP: with one, auto means HTTP/2 only. */
static void settle_proxy(struct loader *l, struct conf *c)
{
	if (!c->edge.proxy)
		return;
	const struct conf_section *s = load_find(l, "edge");
	const struct conf_item *at = load_item(s, "proxy");
	if (c->tunnel.protocol == CONF_PROTOCOL_QUIC)
		load_error(
			l, s, "proxy", at,
			"together with [tunnel] protocol = quic, which no proxy carries; accepted: "
			"protocol = auto or http2");
	c->tunnel.protocol = CONF_PROTOCOL_HTTP2;
	if (c->edge.proxy->user && at && (at->line == 0 || is_open_file(at->file)))
		load_warn(l, s, "proxy", at,
			  "others can read the password here; accepted: a file of mode 0600");
}

/* ---- datapath ---- */

static void check_tun(struct loader *l, const struct conf_datapath *d)
{
	const struct conf_section *s = load_find(l, "datapath");
	const struct conf_item *prefix = load_item(s, "tun-prefix");
	/* One that was no prefix has been told of. */
	if (d->tun && d->tun_prefix_count == 0 && (!prefix || !prefix->text[0]))
		load_error(l, s, "tun", load_item(s, "tun"),
			   "without tun-prefix; accepted: with it, routed packets need addresses");
	if (!d->tun && d->tun_prefix_count > 0)
		load_warn(l, s, "tun-prefix", prefix, "without tun it has no effect");
}

/* ---- the rest ---- */

int conf_load(const struct conf_source *src, struct conf_report *report, struct conf **ret)
{
	_cleanup_(conf_arena_freep) struct conf_arena *arena = conf_arena_new();
	struct conf *c = arena ? conf_alloc(arena, sizeof(*c)) : NULL;
	if (!c)
		return -ENOMEM;
	struct loader l = {
		.src = src,
		.program = CONF_PROGRAM_ADITD,
		.report = report,
		.arena = arena,
		.errors_before = report->errors,
	};
	int r = load_gather(&l);
	if (r == 0)
		r = load_apply_unnamed(&l, c);
	if (r < 0)
		return r;
	load_finish_common(&l, &c->common);
	r = rules_build(&l, c);
	if (r == 0)
		r = load_check_unstored(&l);
	if (r == 0)
		r = credential_find(&l, c);
	if (r == 0)
		r = edge_resolve(&l, c);
	if (r < 0)
		return r;
	check_access(&l);
	settle_proxy(&l, c);
	check_tun(&l, &c->datapath);
	load_check_common(&l, &c->common);
	if (report->errors != l.errors_before)
		return -EINVAL;
	(void)TAKE_PTR(arena); /* the snapshot's own now */
	*ret = c;
	return 0;
}
