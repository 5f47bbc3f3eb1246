/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What differs between two configurations, and what a running program keeps of the one that it was
 * started with: every option of the schema is walked.
 */
#include "daemon/conf/diff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/conf/credential.h"
#include "daemon/conf/load.h"
#include "daemon/conf/schema.h"
#include "selftests/unit/conf/conf_files.h"
#include "util/macro.h"

/* The same account and tunnel, other secret; the same secret, another tunnel. */
#define TOKEN_OTHER_SECRET                                                                                \
	"eyJhIjoiMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJ0IjoiNmZmNDJhZTItNzY1ZC00YWRmLTgxMTItM"   \
	"zFjNTVjMTU1MWVmIiwicyI6IkFRRUJBUUVCQVFFQkFRRUJBUUVCQVFFQkFRRUJBUUVCQVFFQkFRRUJBUUU9IiwieCI6eyJ2" \
	"IjoxLCJlZGdlIjpbIjEyNy4wLjAuMTo3ODQ0Il19fQ=="
#define TOKEN_OTHER_TUNNEL                                                                                \
	"eyJhIjoiMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJ0IjoiNmZmNDJhZTItNzY1ZC00YWRmLTgxMTItM"   \
	"zFjNTVjMTU1MTAwIiwicyI6IkFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE9IiwieCI6eyJ2" \
	"IjoxLCJlZGdlIjpbIjEyNy4wLjAuMTo3ODQ1Il19fQ=="

static void fail_with(const struct conf_report *r)
{
	char buf[2048];
	for (size_t i = 0; i < r->count; i++)
		print_message("  %s\n", conf_message_print(&r->messages[i], buf, sizeof(buf)));
	fail();
}

static struct conf *load_with(const char *text, const char *const *set, size_t count,
			      const char *token)
{
	struct conf_report report = {};
	struct conf_source src = { .path = conf_files_write("x.conf", text, 0644),
				   .set = set,
				   .set_count = count,
				   .token = span_str(token) };
	struct conf *c = NULL;
	if (conf_load(&src, &report, &c) < 0)
		fail_with(&report);
	conf_report_done(&report);
	return c;
}

static struct conf *load(const char *text)
{
	return load_with(text, NULL, 0, CONF_FILES_TOKEN);
}

static struct edge_conf *load_edge(const char *text, const char *const *set, size_t count)
{
	struct conf_report report = {};
	struct conf_source src = { .path = conf_files_write("e.conf", text, 0644),
				   .set = set,
				   .set_count = count };
	struct edge_conf *c = NULL;
	if (edge_conf_load(&src, &report, &c) < 0)
		fail_with(&report);
	conf_report_done(&report);
	return c;
}

/* Compares with "name, name"; order counts. */
static void expect(const struct conf_names *names, const char *text)
{
	char found[4096] = "";
	for (size_t i = 0; i < names->count; i++) {
		size_t len = strlen(found);
		(void)snprintf(found + len, sizeof(found) - len, "%s%s", i ? ", " : "",
			       names->items[i]);
	}
	assert_string_equal(found, text);
}

/* ---- differences ---- */

#define RULES "[ingress a]\nhostname = a.test\nservice = http_status:200\n"
#define REST  "[ingress rest]\nservice = http_status:404\n"

static const struct {
	const char *boot, *old, *now; /* old NULL: as boot */
	const char *changed, *need_restart;
} diffs[] = {
	{ RULES REST, NULL, RULES REST, "", "" },
	/* What a default says is no difference; a comment or a blank is none either. */
	{ RULES REST, NULL, RULES "connect-timeout =\n\n; x\n" REST "[log]\nlevel = info\n", "",
	  "" },
	{ REST, NULL, REST "[log]\nlevel = info, link:debug\naccess = on\n",
	  "log.level, log.access", "" },
	{ RULES REST, NULL, RULES "connect-timeout = 5s\n" REST, "ingress.a.connect-timeout", "" },
	{ RULES REST, NULL, REST, "ingress.a (removed)", "" },
	{ REST, NULL, RULES REST, "ingress.a (new)", "" },
	{ RULES "[ingress b]\nhostname = b.test\nservice = http_status:200\n" REST, NULL,
	  "[ingress b]\nhostname = b.test\nservice = http_status:200\n" RULES REST,
	  "ingress (order)", "" },
	{ REST, NULL, REST "[metrics]\nlisten = 127.0.0.1:9\n[log]\nformat = json\n", "",
	  "log.format, metrics.listen" },
	/* What needs a restart is told until there was one, whatever the last reload said. */
	{ REST, REST "[process]\nworkers = 3\n", REST "[process]\nworkers = 3\n", "",
	  "process.workers" },
	{ REST, REST "[process]\nworkers = 3\n", REST, "", "" },
	{ REST, REST "[log]\naccess = on\n", REST, "log.access", "" },
	/* Sections and options without effect in this version. */
	{ REST, NULL, REST "[limits]\nmetric-series = 7\n", "", "" },
	{ REST, NULL, REST "[datapath]\ntun = a0\ntun-prefix = 10.9.0.0/24\nmasquerade = yes\n", "",
	  "datapath.tun, datapath.tun-prefix, datapath.masquerade" },
	{ REST, NULL, REST "[datapath]\npromote = 7\ninterface = eth1, eth2\n", "",
	  "datapath.interface, datapath.promote" },
	{ REST, NULL, REST "[network]\nallow = 10.0.0.0/8\n", "network.allow", "" },
	{ REST, NULL,
	  REST "[origin-defaults]\nconnect-timeout = 1s\n[limits]\nstreams = 7\n[tunnel]\n"
	       "grace-period = 1s\nconnections = 2\n",
	  "tunnel.grace-period, origin-defaults.connect-timeout, limits.streams",
	  "tunnel.connections" },
};

static void test_diff(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_SIZE(diffs); i++) {
		struct conf_changes changes = {};
		struct conf *boot = load(diffs[i].boot);
		struct conf *old = load(diffs[i].old ? diffs[i].old : diffs[i].boot);
		struct conf *now = load(diffs[i].now);
		assert_int_equal(conf_diff(&boot->common, &old->common, &now->common, &changes), 0);
		expect(&changes.changed, diffs[i].changed);
		expect(&changes.need_restart, diffs[i].need_restart);
		conf_changes_done(&changes);
		conf_changes_done(&changes);
		conf_unref(boot);
		conf_unref(old);
		conf_unref(now);
	}
}

static void test_lists(void **state UNUSED)
{
	static const char tunnel[] =
		"[tunnel home]\nid = 6ff42ae2-765d-4adf-8112-31c55c1551ef\naccount = a\nsecret-sha256 "
		"= 66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925\n";
	char text[2048];
	struct conf_changes changes = {};
	/* The default's list written down, over two lines. */
	(void)snprintf(text, sizeof(text),
		       "[edge]\nlisten = 0.0.0.0:7844\n  [::]:7844\n%shostname = a.test, b.test\n",
		       tunnel);
	struct edge_conf *boot = load_edge(text, NULL, 0);
	(void)snprintf(text, sizeof(text), "%shostname = a.test\nhostname = c.test\n[http]\n",
		       tunnel);
	struct edge_conf *now = load_edge(text, NULL, 0);
	assert_int_equal(conf_diff(&boot->common, &boot->common, &now->common, &changes), 0);
	assert_int_equal(edge_conf_keep_fixed(now, boot, &changes), 0);
	expect(&changes.changed, "tunnel.home.hostname");
	expect(&changes.need_restart, "http (new)");
	assert_int_equal(now->front.http.listen_count, 0);
	conf_changes_done(&changes);
	edge_conf_unref(boot);
	edge_conf_unref(now); /* which had the last reference of boot */
}

/* ---- what is kept ---- */

/* Options that need a restart, with a value that isn't the default. */
static const char *const aditd_sets[] = {
	"tunnel.protocol=http2",
	"tunnel.congestion=bbr",
	"tunnel.connections=3",
	"tunnel.post-quantum=require",
	"tunnel.datagram=v2",
	"tunnel.ecn=no",
	"edge.kind=vendor",
	"edge.address=192.0.2.1:1",
	"edge.ca-file=/etc/passwd",
	"edge.pin=sha256/AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
	"edge.server-name=x.test",
	"edge.region=us",
	"edge.ip-version=6",
	"edge.proxy=http://proxy:3128",
	"edge.bind-interface=lo",
	"edge.fwmark=7",
	"edge.dns-over-tls=one.one.one.one@1.1.1.1:853",
	"datapath.mode=sockets",
	"datapath.interface=lo",
	"datapath.promote=7",
	"datapath.max-flows=100",
	"datapath.tun=adit9",
	"datapath.tun-prefix=10.9.0.0/24",
	"datapath.tun-source=prefix",
	"datapath.masquerade=yes",
	"log.format=json",
	"log.color=yes",
	"metrics.listen=off",
	"process.workers=3",
	"process.memory=64M",
	"debug.qlog=/tmp",
	"debug.tls-key-log=/tmp/keys",
};

static const char *const edge_sets[] = {
	"edge.domain=x.test",
	"edge.listen=192.0.2.1:1",
	"edge.advertise=x.test:1",
	"edge.server-name=x.test",
	"edge.keep-alive=3s",
	"edge.retry=always",
	"edge.ecn=no",
	"http.listen=192.0.2.1:2",
	"https.listen=192.0.2.1:3",
	"https.certificates=/tmp",
	"log.format=json",
	"log.color=yes",
	"metrics.listen=off",
	"process.workers=3",
	"process.memory=64M",
	"debug.qlog=/tmp",
	"debug.tls-key-log=/tmp/keys",
	"limits.unregistered=1",
	"limits.unregistered-per-address=1",
	"limits.register-timeout=2s",
	"limits.retry-unregistered=1",
	"limits.retry-initials=1",
};

static size_t size_of(const struct schema_option *o)
{
	switch (o->type) {
	case SCHEMA_TYPE_BOOL:
	case SCHEMA_TYPE_WORD:
		return 1;
	case SCHEMA_TYPE_UINT:
		return sizeof(unsigned int);
	case SCHEMA_TYPE_U16:
		return sizeof(uint16_t);
	case SCHEMA_TYPE_SIZE:
	case SCHEMA_TYPE_DURATION:
		return sizeof(uint64_t);
	case SCHEMA_TYPE_STRING:
	case SCHEMA_TYPE_PATH:
		return sizeof(char *);
	case SCHEMA_TYPE_PARSED:
		return 1; /* at least its first byte: of a pointer, or of a struct that it fills */
	}
	return 0;
}

static bool is_in(const char *kind, const char *key, const char *const *sets, size_t count)
{
	char head[128];
	(void)snprintf(head, sizeof(head), "%s.%s=", kind, key);
	for (size_t i = 0; i < count; i++)
		if (strncmp(sets[i], head, strlen(head)) == 0)
			return true;
	return false;
}

/* Every stored option without a name: where a restart is needed the bytes are those of boot. */
static void check_kept(enum conf_program program, const void *boot, const void *now,
		       const char *const *sets, size_t set_count)
{
	for (const struct schema_section *s = schema_sections; s->kind; s++) {
		if (!(s->programs & program) || s->naming != SCHEMA_NAMING_NONE || !s->is_stored)
			continue;
		for (size_t t = 0; t < SCHEMA_TABLES_MAX; t++)
			for (const struct schema_option *o = s->tables[t].rows; o && o->key; o++) {
				if (o->flags & (SCHEMA_RELOAD | SCHEMA_UNSTORED))
					continue;
				if (!is_in(s->kind, o->key, sets, set_count))
					fail_msg("[%s] %s is not tried here", s->kind, o->key);
				size_t at = s->offset + s->tables[t].offset + o->offset;
				if (memcmp((const char *)boot + at, (const char *)now + at,
					   size_of(o)) != 0)
					fail_msg("[%s] %s was not kept", s->kind, o->key);
			}
	}
}

static void test_kept(void **state UNUSED)
{
	struct conf_changes changes = {};
	struct conf *boot = load(REST), *old = load(REST);
	struct conf *now = load_with(REST, aditd_sets, ARRAY_SIZE(aditd_sets), CONF_FILES_TOKEN);
	assert_int_equal(conf_diff(&boot->common, &old->common, &now->common, &changes), 0);
	assert_int_equal(conf_keep_fixed(now, boot, old, &changes), 0);
	/* All of them are told, but those without effect in this version. */
	assert_int_equal(changes.changed.count, 0);
	size_t later = 0;
	for (const struct schema_section *s = schema_sections; s->kind; s++)
		for (const struct schema_option *o = s->tables[0].rows; o->key; o++)
			later += (o->flags & SCHEMA_LATER) && !(o->flags & SCHEMA_RELOAD) &&
				 (s->programs & CONF_PROGRAM_ADITD) &&
				 is_in(s->kind, o->key, aditd_sets, ARRAY_SIZE(aditd_sets));
	assert_int_equal(changes.need_restart.count, ARRAY_SIZE(aditd_sets) - later);
	conf_changes_done(&changes);
	check_kept(CONF_PROGRAM_ADITD, boot, now, aditd_sets, ARRAY_SIZE(aditd_sets));
	conf_unref(old);
	conf_unref(boot);
	assert_int_equal(now->edge.addresses[0].addr.port, 7844); /* now keeps it alive */
	conf_unref(now);
}

static void test_kept_at_the_edge(void **state UNUSED)
{
	struct conf_changes changes = {};
	struct edge_conf *boot = load_edge("[http]\n[https]\n", NULL, 0);
	struct edge_conf *now = load_edge("[http]\n[https]\n[edge]\nlocation = ams\n", edge_sets,
					  ARRAY_SIZE(edge_sets));
	assert_int_equal(conf_diff(&boot->common, &boot->common, &now->common, &changes), 0);
	assert_int_equal(edge_conf_keep_fixed(now, boot, &changes), 0);
	expect(&changes.changed, "edge.location");
	assert_int_equal(changes.need_restart.count, ARRAY_SIZE(edge_sets) - 2); /* 2 later ones */
	conf_changes_done(&changes);
	check_kept(CONF_PROGRAM_EDGE, boot, now, edge_sets, ARRAY_SIZE(edge_sets));
	assert_string_equal(now->edge.location, "ams");
	edge_conf_unref(boot);
	edge_conf_unref(now);
}

static const struct {
	const char *token;
	const char *changed, *need_restart;
	bool is_new; /* the credential that is used from then on */
} credentials[] = {
	{ CONF_FILES_TOKEN, "", "", true },
	{ TOKEN_OTHER_SECRET, "credential (secret)", "", true },
	{ TOKEN_OTHER_TUNNEL, "", "credential (another edge), credential (another tunnel)", false },
};

static void test_credential(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_SIZE(credentials); i++) {
		struct conf_changes changes = {};
		struct conf *boot = load(REST);
		struct conf *now = load_with(REST, NULL, 0, credentials[i].token);
		const struct tunnel_credential *fresh = now->credential;
		assert_int_equal(conf_keep_fixed(now, boot, boot, &changes), 0);
		expect(&changes.changed, credentials[i].changed);
		expect(&changes.need_restart, credentials[i].need_restart);
		assert_int_equal(now->credential == fresh, credentials[i].is_new);
		assert_true(uuid_eq(&now->credential->tunnel_id, &boot->credential->tunnel_id));
		assert_int_equal(now->edge.addresses[0].addr.port, 7844);
		conf_changes_done(&changes);
		conf_unref(boot);
		conf_unref(now);
	}
}

/* A thousand in a row: only the first and the last are there. */
static void test_chain(void **state UNUSED)
{
	struct conf *boot = load(REST), *old = conf_ref(boot);
	for (unsigned int i = 0; i < 1000; i++) {
		struct conf_changes changes = {};
		struct conf *now = load(i % 2 ? REST : RULES REST);
		assert_int_equal(conf_keep_fixed(now, boot, old, &changes), 0);
		conf_changes_done(&changes);
		conf_unref(old);
		old = now;
		assert_int_equal(atomic_load(&boot->common.refs), 2);
	}
	conf_unref(old);
	conf_unref(boot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_diff),  cmocka_unit_test(test_lists),
		cmocka_unit_test(test_kept),  cmocka_unit_test(test_kept_at_the_edge),
		cmocka_unit_test(test_chain), cmocka_unit_test(test_credential),
	};
	conf_global_init();
	return cmocka_run_group_tests(tests, conf_files_setup, conf_files_teardown);
}
