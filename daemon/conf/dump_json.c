/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local configuration as updateLocalConfiguration carries it: the reference's names, only what
 * is not its default, times in seconds (edge-protocol §7.5). What the reference has no name for
 * isn't in it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-json.h>

#include "daemon/conf/conf.h"
#include "daemon/conf/dump.h"
#include "daemon/conf/schema.h"
#include "daemon/wire/endpoint.h"
#include "util/macro.h"

static void variant_unrefp(sd_json_variant **v)
{
	sd_json_variant_unref(*v);
}

/* What a setting of the reference is when nobody has set it. */
#define REFERENCE_DEFAULTS                               \
	{                                                \
		.connect_timeout = 30 * NSEC_PER_SEC,    \
		.tls_timeout = 10 * NSEC_PER_SEC,        \
		.tcp_keep_alive = 30 * NSEC_PER_SEC,     \
		.keep_alive_timeout = 90 * NSEC_PER_SEC, \
		.keep_alive_connections = 100,           \
		.proxy_address = "127.0.0.1",            \
	}
static const struct conf_origin reference_defaults = REFERENCE_DEFAULTS;

/* ---- single members ---- */

static int put_seconds(sd_json_variant **o, const char *key, nsec_t value, nsec_t usual)
{
	if (value == usual)
		return 0;
	if (value % NSEC_PER_SEC == 0)
		return sd_json_variant_set_field_unsigned(o, key, value / NSEC_PER_SEC);
	_cleanup_(variant_unrefp) sd_json_variant *v = NULL;
	int r = sd_json_variant_new_real(&v, (double)value / (double)NSEC_PER_SEC);
	return r < 0 ? r : sd_json_variant_set_field(o, key, v);
}

static int put_number(sd_json_variant **o, const char *key, uint64_t value, uint64_t usual)
{
	return value == usual ? 0 : sd_json_variant_set_field_unsigned(o, key, value);
}

static int put_true(sd_json_variant **o, const char *key, bool value)
{
	return value ? sd_json_variant_set_field_boolean(o, key, true) : 0;
}

static int put_string(sd_json_variant **o, const char *key, const char *value, const char *usual)
{
	if (!value || strcmp(value, usual) == 0)
		return 0;
	return sd_json_variant_set_field_string(o, key, value);
}

static int put_ip_rule(sd_json_variant **list, const struct conf_ip_rule *rule)
{
	char text[ADDR_TEXT_MAX + 8];
	struct packer p = packer_over(text, sizeof(text) - 1);
	ip_addr_print(&p, &rule->prefix.ip);
	(void)snprintf(text + p.len, sizeof(text) - p.len, "/%u", rule->prefix.bits);

	_cleanup_(variant_unrefp) sd_json_variant *o = NULL;
	_cleanup_(variant_unrefp) sd_json_variant *ports = NULL;
	int r = sd_json_variant_set_field_string(&o, "prefix", text);
	for (size_t i = 0; r >= 0 && i < rule->port_count; i++) {
		_cleanup_(variant_unrefp) sd_json_variant *port = NULL;
		r = sd_json_variant_new_unsigned(&port, rule->ports[i]);
		if (r >= 0)
			r = sd_json_variant_append_array(&ports, port);
	}
	if (r >= 0 && ports)
		r = sd_json_variant_set_field(&o, "ports", ports);
	if (r >= 0)
		r = put_true(&o, "allow", rule->allow);
	return r < 0 ? r : sd_json_variant_append_array(list, o);
}

static int put_ip_rules(sd_json_variant **o, const struct conf_origin *s)
{
	_cleanup_(variant_unrefp) sd_json_variant *list = NULL;
	for (size_t i = 0; i < s->ip_rule_count; i++) {
		int r = put_ip_rule(&list, &s->ip_rules[i]);
		if (r < 0)
			return r;
	}
	return list ? sd_json_variant_set_field(o, "ipRules", list) : 0;
}

/* ---- settings and rules ---- */

/* sd-json keeps the order in which fields are set; each step does nothing after an error. */
#define STEP(call)                 \
	do {                       \
		int r_ = (call);   \
		if (r_ < 0)        \
			return r_; \
	} while (0)

static int settings_json(const struct conf_origin *s, sd_json_variant **ret)
{
	const struct conf_origin *d = &reference_defaults;
	_cleanup_(variant_unrefp) sd_json_variant *o = NULL;
	STEP(sd_json_variant_new_object(&o, NULL, 0));
	STEP(put_seconds(&o, "connectTimeout", s->connect_timeout, d->connect_timeout));
	STEP(put_seconds(&o, "tlsTimeout", s->tls_timeout, d->tls_timeout));
	STEP(put_seconds(&o, "tcpKeepAlive", s->tcp_keep_alive, d->tcp_keep_alive));
	STEP(put_true(&o, "noHappyEyeballs", s->no_happy_eyeballs));
	STEP(put_number(&o, "keepAliveConnections", s->keep_alive_connections,
			d->keep_alive_connections));
	STEP(put_seconds(&o, "keepAliveTimeout", s->keep_alive_timeout, d->keep_alive_timeout));
	STEP(put_string(&o, "httpHostHeader", s->http_host_header, ""));
	STEP(put_string(&o, "originServerName", s->origin_server_name, ""));
	STEP(put_true(&o, "matchSNItoHost", s->match_sni_to_host));
	STEP(put_string(&o, "caPool", s->ca_pool, ""));
	STEP(put_true(&o, "noTLSVerify", s->no_tls_verify));
	STEP(put_true(&o, "disableChunkedEncoding", s->disable_chunked_encoding));
	STEP(put_true(&o, "bastionMode", s->bastion_mode));
	STEP(put_string(&o, "proxyAddress", s->proxy_address, d->proxy_address));
	STEP(put_number(&o, "proxyPort", s->proxy_port, 0));
	STEP(put_string(&o, "proxyType", s->proxy_type, ""));
	STEP(put_ip_rules(&o, s));
	STEP(put_true(&o, "http2Origin", s->http2_origin));
	*ret = o;
	o = NULL;
	return 0;
}

static int rule_json(const struct conf_rule *rule, sd_json_variant **list)
{
	_cleanup_(variant_unrefp) sd_json_variant *o = NULL;
	_cleanup_(variant_unrefp) sd_json_variant *settings = NULL;
	STEP(settings_json(&rule->origin, &settings));
	STEP(put_string(&o, "hostname", rule->hostname, ""));
	STEP(put_string(&o, "path", rule->path, ""));
	STEP(sd_json_variant_set_field_string(&o, "service", rule->service.text));
	STEP(sd_json_variant_set_field(&o, "originRequest", settings));
	return sd_json_variant_append_array(list, o);
}

/* The reference's word for a level; it has no notice. */
static const char *level_word(enum log_level level)
{
	static const char *const words[] = {
		[LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warn",
		[LOG_LEVEL_NOTICE] = "info", [LOG_LEVEL_INFO] = "info",
		[LOG_LEVEL_DEBUG] = "debug",
	};
	return words[level];
}

/* What was given for an option of a section without a name, or NULL. */
static const char *given_text(const struct conf *c, const char *kind, const char *key)
{
	for (size_t i = 0; i < c->common.section_count; i++) {
		const struct conf_section *s = &c->common.sections[i];
		if (strcmp(s->schema->kind, kind) != 0)
			continue;
		for (size_t k = 0; k < s->value_count; k++)
			if (strcmp(s->values[k].option->key, key) == 0 && s->values[k].item_count)
				return s->values[k].items[0].text;
	}
	return NULL;
}

/* The reference's flags that were set explicitly and that we have. */
static int flags_json(const struct conf *c, sd_json_variant **o)
{
	static const struct {
		const char *kind;
		const char *key;
		const char *flag;
	} flags[] = {
		{ "log", "level", "loglevel" },
		{ "metrics", "listen", "metrics" },
		{ "tunnel", "protocol", "protocol" },
		{ "edge", "ip-version", "edge-ip-version" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		const char *text = given_text(c, flags[i].kind, flags[i].key);
		if (text && i == 0)
			text = level_word(c->common.log.level);
		if (text)
			STEP(sd_json_variant_set_field_string(o, flags[i].flag, text));
	}
	return 0;
}

/* What a daemon without rules answers. */
static const struct conf_rule no_rule = {
	.hostname = "",
	.path = "",
	.service = { .text = "http_status:503" },
	.origin = REFERENCE_DEFAULTS,
};

static int local_json(const struct conf *c, sd_json_variant **ret)
{
	_cleanup_(variant_unrefp) sd_json_variant *o = NULL;
	_cleanup_(variant_unrefp) sd_json_variant *flags = NULL;
	_cleanup_(variant_unrefp) sd_json_variant *rules = NULL;
	_cleanup_(variant_unrefp) sd_json_variant *routing = NULL;
	STEP(flags_json(c, &flags));
	if (flags)
		STEP(sd_json_variant_set_field(&o, "__configuration_flags", flags));
	STEP(sd_json_variant_new_array(&rules, NULL, 0));
	for (size_t i = 0; i < c->rule_count; i++)
		STEP(rule_json(&c->rules[i], &rules));
	if (!c->rule_count)
		STEP(rule_json(&no_rule, &rules));
	STEP(sd_json_variant_set_field(&o, "ingress", rules));
	STEP(sd_json_variant_new_object(&routing, NULL, 0));
	STEP(sd_json_variant_set_field(&o, "warp-routing", routing));
	*ret = o;
	o = NULL;
	return 0;
}

int conf_dump_local_json(const struct conf *c, char **ret_json, size_t *ret_len)
{
	_cleanup_(variant_unrefp) sd_json_variant *v = NULL;
	char *text = NULL;
	int r = local_json(c, &v);
	if (r >= 0)
		r = sd_json_variant_format(v, 0, &text);
	if (r < 0)
		return -ENOMEM;
	size_t len = strlen(text);
	if (len > c->common.limits.configuration) {
		free(text);
		return -E2BIG;
	}
	*ret_json = text;
	*ret_len = len;
	return 0;
}
