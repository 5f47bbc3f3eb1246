/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The option table: which sections each program has, and look-ups. The rows are in schema_common.c,
 * schema_aditd.c and schema_edge.c, one table for each section. Looking a key up walks its table:
 * they are short, and files are read seldom.
 */
#include "daemon/conf/schema.h"

#include <stdio.h>

#include "daemon/conf/schema_priv.h"

#define ADITD(name) .kind = (name), .programs = CONF_PROGRAM_ADITD
#define EDGE(name)  .kind = (name), .programs = CONF_PROGRAM_EDGE
#define BOTH(name)  .kind = (name), .programs = CONF_PROGRAM_ADITD | CONF_PROGRAM_EDGE
#define ONE         .naming = SCHEMA_NAMING_NONE
#define NAMED       .naming = SCHEMA_NAMING_REQUIRED
#define LATER       .is_later = true
#define IN(t, f)    .is_stored = true, .offset = offsetof(t, f)
#define ROWS(name)  .tables = { { .rows = (name) } }

static_assert(offsetof(struct conf, common) == 0 && offsetof(struct edge_conf, common) == 0);

/* clang-format off */
const struct schema_section schema_sections[] = {
	{ ADITD("tunnel"), ONE, IN(struct conf, tunnel), ROWS(schema_tunnel), .help = "The tunnel: who we are and how we connect." },
	{ ADITD("edge"), ONE, IN(struct conf, edge), ROWS(schema_edge), .help = "Where the tunnel goes. Without it: what the token says." },
	{ ADITD("ingress"), NAMED, .is_stored = true,
	  .tables = { { .rows = schema_ingress },
		      { .rows = schema_origin_defaults, .offset = offsetof(struct conf_rule, origin), .is_inherited = true },
		      { .rows = schema_access, .prefix = "access-", .is_inherited = true } },
	  .help = "A rule. The order of these sections is the order of the rules; the first that fits a request takes it. The name labels metrics, logs and status. Any option of `[origin-defaults]` may stand in a rule, and those of `[access]` with `access-` before them." },
	{ ADITD("origin-defaults"), ONE, IN(struct conf, origin_defaults), ROWS(schema_origin_defaults), .help = "Settings of all rules that don't say otherwise." },
	{ ADITD("origins"), NAMED, LATER, ROWS(schema_origins), .help = "A group of origins, used by `service = origins:NAME`." },
	{ ADITD("access"), ONE, LATER, ROWS(schema_access), .help = "Which requests are let in, for all rules that don't say otherwise." },
	{ ADITD("network"), ONE, IN(struct conf, network), ROWS(schema_network), .help = "What the edge may reach through this daemon besides the rules, by TCP and UDP. Without `allow`: nothing through an edge of ours; through another one every unicast address that isn't loopback, link-local or this host's own, which only an entry of `allow` within that network, or for own addresses any but the whole world, opens." },
	{ ADITD("datapath"), ONE, IN(struct conf, datapath), ROWS(schema_datapath), .help = "How datagrams reach their origin." },
	{ ADITD("gateway"), ONE, LATER, ROWS(schema_gateway), .help = "Routes pushed by a controller." },
	{ ADITD("forward"), NAMED, LATER, ROWS(schema_forward), .help = "A local listener that leads to a hostname behind some edge." },

	{ EDGE("edge"), ONE, IN(struct edge_conf, edge), ROWS(schema_edge_edge), .help = "The side to which tunnels connect." },
	{ EDGE("http"), ONE, IN(struct edge_conf, front), ROWS(schema_edge_http), .help = "Public HTTP in clear." },
	{ EDGE("https"), ONE, IN(struct edge_conf, front), ROWS(schema_edge_https), .help = "Public HTTP with TLS." },
	{ EDGE("front"), ONE, IN(struct edge_conf, front), ROWS(schema_edge_front), .help = "What both public listeners have in common." },
	{ EDGE("tunnel"), NAMED, .is_stored = true, ROWS(schema_edge_tunnel), .help = "A tunnel that is declared here; it hides what the registry says about the same." },
	{ EDGE("tcp"), NAMED, .is_stored = true, ROWS(schema_edge_tcp), .help = "A public TCP port that leads through a tunnel. The daemon must allow the destination in its `[network]`." },
	{ EDGE("udp"), NAMED, .is_stored = true, ROWS(schema_edge_udp), .help = "A public UDP port that leads through a tunnel. The daemon must allow the destination in its `[network]`." },
	{ EDGE("network"), NAMED, .is_stored = true, ROWS(schema_edge_network), .help = "A private network behind a tunnel, which this host routes: needs CAP_NET_ADMIN at the start. The daemon must allow the destinations in its `[network]`." },

	{ BOTH("log"), ONE, IN(struct conf_common, log), ROWS(schema_log), .help = "What is logged, where and how." },
	{ BOTH("metrics"), ONE, IN(struct conf_common, metrics), ROWS(schema_metrics), .help = "Metrics and readiness." },
	{ BOTH("process"), ONE, IN(struct conf_common, process), ROWS(schema_process), .help = "Threads and memory." },
	{ ADITD("limits"), ONE, IN(struct conf_common, limits), ROWS(schema_limits), .help = "Limits; docs/limits.md says what happens at each." },
	{ EDGE("limits"), ONE, IN(struct conf_common, limits),
	  .tables = { { .rows = schema_limits }, { .rows = schema_edge_limits } }, .help = "Limits; docs/limits.md says what happens at each." },
	{ BOTH("debug"), ONE, IN(struct conf_common, debug), ROWS(schema_debug), .help = "For looking at the protocol. Never in production." },
	{},
};
/* clang-format on */

const struct schema_section *schema_find_section(enum conf_program program, struct span kind)
{
	for (const struct schema_section *s = schema_sections; s->kind; s++)
		if ((s->programs & program) && span_eq_str(kind, s->kind))
			return s;
	return NULL;
}

static const struct schema_option *table_find(const struct schema_table *t, struct span key)
{
	struct span prefix = span_str(t->prefix);
	if (!t->rows || !span_starts_with(key, prefix))
		return NULL;
	key = span_skip(key, prefix.len);
	for (const struct schema_option *o = t->rows; o->key; o++)
		if (span_eq_str(key, o->key) && (!t->is_inherited || (o->flags & SCHEMA_INHERIT)))
			return o;
	return NULL;
}

const struct schema_option *schema_find_option(const struct schema_section *s, struct span key,
					       const struct schema_table **ret_table)
{
	for (size_t i = 0; i < SCHEMA_TABLES_MAX; i++) {
		const struct schema_option *o = table_find(&s->tables[i], key);
		if (o) {
			*ret_table = &s->tables[i];
			return o;
		}
	}
	return NULL;
}

/* ---- what an option accepts ---- */

static void append(char *buf, size_t size, const char *text)
{
	size_t len = strlen(buf);
	if (len < size)
		(void)snprintf(buf + len, size - len, "%s", text);
}

/* The largest unit that leaves no rest. */
static void append_scaled(char *buf, size_t size, uint64_t v, bool is_time)
{
	static const struct {
		uint64_t value;
		const char *unit;
	} times[] = { { 3600 * SEC, "h" },
		      { 60 * SEC, "m" },
		      { SEC, "s" },
		      { NSEC_PER_MSEC, "ms" } },
	  sizes[] = { { GIB, "G" }, { MIB, "M" }, { KIB, "K" }, { 1, "" } };
	char text[32];
	if (v == 0) {
		append(buf, size, "0");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		uint64_t value = is_time ? times[i].value : sizes[i].value;
		if (v % value)
			continue;
		(void)snprintf(text, sizeof(text), "%llu%s", (unsigned long long)(v / value),
			       is_time ? times[i].unit : sizes[i].unit);
		append(buf, size, text);
		return;
	}
}

static void append_words(char *buf, size_t size, const struct schema_word *words)
{
	for (const struct schema_word *w = words; w && w->word; w++) {
		if (w->is_alias)
			continue;
		if (w != words)
			append(buf, size, w[1].word && !w[1].is_alias ? ", " : " or ");
		append(buf, size, w->word);
	}
}

static void append_range(char *buf, size_t size, const struct schema_option *o)
{
	char text[64];
	append_words(buf, size, o->words);
	if (o->words)
		append(buf, size, ", or ");
	if (o->type == SCHEMA_TYPE_UINT || o->type == SCHEMA_TYPE_U16) {
		(void)snprintf(text, sizeof(text), "%llu to %llu", (unsigned long long)o->min,
			       (unsigned long long)o->max);
		append(buf, size, text);
		return;
	}
	bool is_time = o->type == SCHEMA_TYPE_DURATION;
	append_scaled(buf, size, o->min, is_time);
	append(buf, size, " to ");
	append_scaled(buf, size, o->max, is_time);
	append(buf, size, is_time ? ", with a unit: ms s m h" : ", units K M G");
}

const char *schema_accepts(const struct schema_option *o, char *buf, size_t size)
{
	buf[0] = '\0';
	if (o->accepts) {
		append(buf, size, o->accepts);
		return buf;
	}
	switch (o->type) {
	case SCHEMA_TYPE_BOOL:
		append(buf, size, "yes or no");
		break;
	case SCHEMA_TYPE_WORD:
		append_words(buf, size, o->words);
		break;
	case SCHEMA_TYPE_UINT:
	case SCHEMA_TYPE_U16:
	case SCHEMA_TYPE_SIZE:
	case SCHEMA_TYPE_DURATION:
		append_range(buf, size, o);
		break;
	case SCHEMA_TYPE_PATH:
		append(buf, size, "an absolute path");
		break;
	case SCHEMA_TYPE_STRING:
	case SCHEMA_TYPE_PARSED:
		append(buf, size, "text");
		break;
	}
	return buf;
}
