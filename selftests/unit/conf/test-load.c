/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading whole configurations: the annotated examples, precedence of sources, credentials, rules
 * in their order, the dump that loads again, the JSON for the edge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/base/secret.h"
#include "daemon/conf/credential.h"
#include "daemon/conf/dump.h"
#include "daemon/conf/load.h"
#include "daemon/conf/pattern.h"
#include "selftests/unit/conf/conf_files.h"
#include "util/macro.h"

static void print_report(const struct conf_report *r)
{
	char buf[2048];
	for (size_t i = 0; i < r->count; i++)
		print_message("  %s\n", conf_message_print(&r->messages[i], buf, sizeof(buf)));
}

static size_t warnings_with(const struct conf_report *r, const char *text)
{
	size_t n = 0;
	for (size_t i = 0; i < r->count; i++)
		n += strstr(r->messages[i].text, text) != NULL;
	return n;
}

/* Loads a text with a token file put in front; fails the test on errors. */
static struct conf *load_text(const char *text, struct conf_report *report)
{
	char all[8192];
	(void)snprintf(all, sizeof(all), "[tunnel]\ntoken-file = %s/token\n%s", conf_files_folder(),
		       text);
	struct conf_source src = { .path = conf_files_write("x.conf", all, 0644) };
	struct conf *c = NULL;
	int r = conf_load(&src, report, &c);
	if (r < 0)
		print_report(report);
	assert_int_equal(r, 0);
	return c;
}

/* ---- examples ---- */

static void check_example_tunnel(const struct conf *c)
{
	assert_string_equal(c->tunnel.credentials_file, "/etc/adit/home.json");
	assert_int_equal(c->tunnel.protocol, CONF_PROTOCOL_HTTP2); /* auto, by a proxy */
	assert_int_equal(c->tunnel.connections, 0);
	assert_true(c->tunnel.grace_period == 30 * NSEC_PER_SEC);
	assert_int_equal(c->edge.kind, CONF_EDGE_KIND_ADIT);
	assert_int_equal(c->edge.address_count, 2);
	assert_string_equal(c->edge.addresses[0].host, "edge.example.com");
	assert_int_equal(c->edge.addresses[0].addr.ip.family, IP_FAMILY_NONE);
	assert_int_equal(c->edge.addresses[1].addr.ip.family, IP_FAMILY_V6);
	assert_string_equal(c->edge.addresses[1].host, "2001:db8::7");
	assert_int_equal(c->edge.addresses[1].addr.port, 7844);
	assert_false(c->edge.has_pin);
	assert_int_equal(c->common.log.level, LOG_LEVEL_INFO);
	assert_int_equal(c->common.metrics.listen, CONF_SWITCH_AUTO);
	assert_int_equal(c->common.process.workers, 0);
	assert_int_equal(c->common.limits.streams_per_link, 16384);
}

static void test_example_aditd(void **state)
{
	(void)state;
	struct conf_report report = {};
	struct conf_source src = { .path = "selftests/data/config/aditd.conf", .check = true };
	struct conf *c = NULL;
	int r = conf_load(&src, &report, &c);
	if (r < 0)
		print_report(&report);
	assert_int_equal(r, 0);
	assert_int_equal(report.errors, 0);
	check_example_tunnel(c);

	assert_int_equal(c->rule_count, 3);
	const struct conf_rule *blog = &c->rules[0];
	assert_string_equal(blog->name, "blog");
	assert_string_equal(blog->hostname, "blog.example.com");
	assert_string_equal(blog->path, "^/api/");
	assert_non_null(blog->pattern);
	assert_int_equal(blog->service.kind, SERVICE_KIND_HTTP);
	assert_int_equal(blog->service.port, 3000);
	assert_int_equal(blog->service.ip.family, IP_FAMILY_V4);
	assert_true(blog->origin.connect_timeout == 5 * NSEC_PER_SEC);
	assert_true(c->rules[1].origin.connect_timeout == 30 * NSEC_PER_SEC);
	assert_int_equal(c->rules[1].host.kind, HOST_KIND_SUFFIX);
	assert_string_equal(c->rules[1].service.path, "/run/motors.sock");
	assert_int_equal(c->rules[2].service.status, 404);
	assert_false(c->rules[2].is_implied);
	assert_int_equal(blog->origin.set_header_count, 1);
	assert_string_equal(blog->origin.set_headers[0].value, "no-store, max-age=0");
	assert_int_equal(blog->origin.ip_rule_count, 1);
	assert_int_equal(blog->origin.ip_rules[0].port_count, 2);
	assert_int_equal(blog->origin.ip_rules[0].ports[1], 443);

	assert_int_equal(c->network.allow_count, 1);
	assert_int_equal(c->network.allow[0].bits, 16);
	assert_int_equal(c->network.deny_count, 1);

	assert_int_equal(c->datapath.mode, CONF_DATAPATH_AUTO);
	assert_int_equal(c->datapath.interface_count, 1);
	assert_string_equal(c->datapath.interfaces[0], "eth1");
	assert_int_equal(c->datapath.promote, 500);
	assert_int_equal(c->datapath.max_flows, 65536);

	/* One line for each thing that isn't built, and none for [access] required = no as an
	 * error. */
	assert_int_equal(warnings_with(&report, "[gateway]: has no effect"), 1);
	conf_report_done(&report);
	conf_unref(c);
}

/* The proxy's credentials, and that they stay where they are. */
static void test_proxy(void **state)
{
	(void)state;
	struct conf_report report = {};
	struct conf *c = load_text(
		"[edge]\nproxy = socks5://al%40ice:open%20ses%3Ame@[2001:db8::1]:1080\n", &report);
	const struct conf_proxy *p = c->edge.proxy;
	assert_non_null(p);
	assert_true(p->is_socks5);
	assert_string_equal(p->host, "2001:db8::1");
	assert_int_equal(p->port, 1080);
	assert_true(span_eq_str(secret_span(p->user), "al@ice"));
	assert_true(span_eq_str(secret_span(p->password), "open ses:me"));
	assert_int_equal(warnings_with(&report, "others can read the password"), 1);

	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	assert_non_null(f);
	assert_int_equal(conf_dump(&c->common, f), 0);
	assert_int_equal(fclose(f), 0);
	assert_non_null(strstr(text, "proxy = socks5://***@[2001:db8::1]:1080"));
	assert_null(strstr(text, "ses"));
	free(text);
	conf_report_done(&report);
	conf_unref(c);

	report = (struct conf_report){};
	c = load_text("[edge]\nproxy = http://proxy.example:3128/\n", &report);
	assert_false(c->edge.proxy->is_socks5);
	assert_int_equal(c->tunnel.protocol, CONF_PROTOCOL_HTTP2);
	assert_string_equal(c->edge.proxy->host, "proxy.example");
	assert_null(c->edge.proxy->user);
	assert_int_equal(warnings_with(&report, "others can read"), 0);
	conf_report_done(&report);
	conf_unref(c);
}

/* The longest prefix decides, of whatever section; families are apart. */
static void test_find_network(void **state)
{
	(void)state;
	static const struct conf_prefix lan[] = { { { IP_FAMILY_V4, { 10 } }, 8 },
						  { { IP_FAMILY_V6, { 0xfd } }, 8 } };
	static const struct conf_prefix host[] = { { { IP_FAMILY_V4, { 10, 2, 3, 4 } }, 32 },
						   { { IP_FAMILY_V4, { 10, 9 } }, 16 } };
	static const struct conf_edge_network networks[] = {
		{ .name = "host", .prefixes = host, .prefix_count = 2 },
		{ .name = "lan", .prefixes = lan, .prefix_count = 2 },
	};
	const struct edge_conf c = { .networks = networks, .network_count = 2 };
	static const struct {
		struct ip_addr addr;
		size_t found;
	} cases[] = {
		{ { IP_FAMILY_V4, { 10, 2, 3, 4 } }, 0 },
		{ { IP_FAMILY_V4, { 10, 2, 3, 5 } }, 1 },
		{ { IP_FAMILY_V4, { 10, 9, 255, 1 } }, 0 },
		{ { IP_FAMILY_V4, { 11 } }, 2 },
		{ { IP_FAMILY_V6, { 0xfd, 1 } }, 1 },
		{ { IP_FAMILY_V6, { 10, 2, 3, 4 } }, 2 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(edge_conf_find_network(&c, &cases[i].addr), cases[i].found);
}

static void test_example_edge(void **state)
{
	(void)state;
	struct conf_report report = {};
	struct conf_source src = { .path = "selftests/data/config/adit-edge.conf", .check = true };
	struct edge_conf *c = NULL;
	int r = edge_conf_load(&src, &report, &c);
	if (r < 0)
		print_report(&report);
	assert_int_equal(r, 0);
	assert_string_equal(c->edge.domain, "example.com");
	assert_int_equal(c->edge.listen_count, 2);
	assert_string_equal(c->edge.advertise->host, "edge.example.com");
	assert_string_equal(c->edge.location, "fra1");
	assert_int_equal(c->front.http.listen_count, 2);
	assert_int_equal(c->front.https.listens[1].addr.port, 443);
	assert_true(c->front.redirect_http);
	assert_int_equal(c->front.trusted_proxy_count, 0);
	assert_true(c->front.idle_timeout == 75 * NSEC_PER_SEC);
	assert_int_equal(c->tunnel_count, 1);
	const struct conf_edge_tunnel *t = &c->tunnels[0];
	assert_string_equal(t->name, "home");
	assert_true(t->has_secret_sha256);
	assert_int_equal(t->secret_sha256[0], 0xe3);
	assert_int_equal(t->host_count, 2);
	assert_int_equal(t->hosts[1].host.kind, HOST_KIND_SUFFIX);
	assert_ptr_equal(&c->tunnels[edge_conf_find_tunnel(c, t->name)], t);
	assert_int_equal(edge_conf_find_tunnel(c, "nobody"), c->tunnel_count);
	assert_int_equal(c->tcp_port_count, 1);
	assert_string_equal(c->tcp_ports[0].name, "ssh");
	assert_int_equal(c->tcp_ports[0].listens[0].addr.port, 2222);
	assert_string_equal(c->tcp_ports[0].tunnel, "home");
	assert_int_equal(c->tcp_ports[0].dest->addr.port, 22);
	assert_int_equal(c->udp_port_count, 1);
	assert_string_equal(c->udp_ports[0].name, "dns");
	assert_int_equal(c->udp_ports[0].listens[0].addr.port, 5353);
	assert_string_equal(c->udp_ports[0].tunnel, "home");
	assert_int_equal(c->udp_ports[0].dest->addr.port, 53);
	assert_true(c->udp_ports[0].idle == 60 * NSEC_PER_SEC);
	assert_int_equal(warnings_with(&report, "[udp dns]"), 0);
	assert_int_equal(c->network_count, 1);
	assert_string_equal(c->networks[0].tunnel, "home");
	assert_int_equal(edge_conf_prefixes(c), 1);
	assert_int_equal(warnings_with(&report, "[network lan]"), 0);
	conf_report_done(&report);
	edge_conf_unref(edge_conf_ref(c));
	edge_conf_unref(c);
}

/* ---- sources ---- */

static void test_precedence(void **state)
{
	(void)state;
	char token_file[300];
	(void)snprintf(token_file, sizeof(token_file), "TUNNEL_TOKEN_FILE=%s/token",
		       conf_files_folder());
	const char *variables[] = { token_file,
				    "TUNNEL_GRACE_PERIOD=1m30s",
				    "TUNNEL_LOGLEVEL=warn",
				    "TUNNEL_METRICS=localhost:2000",
				    "TUNNEL_EDGE=a:1,[::1]:2",
				    "NO_COLOR=1",
				    "TUNNEL_POST_QUANTUM=true",
				    "TUNNEL_EDGE_IP_VERSION=",
				    "TUNNEL_URL=http://[::1]:3",
				    NULL };
	const char *set[] = { "tunnel.grace-period=3s", "edge.address=b:1", "edge.address=c:2" };
	struct conf_source src = {
		.path = conf_files_write("x.conf",
					 "[tunnel]\ngrace-period = 1s\n[log]\ncolor = yes\n", 0644),
		.environ = variables,
	};
	struct conf_report report = {};
	struct conf *c = NULL;
	assert_int_equal(conf_load(&src, &report, &c), 0);
	assert_true(c->tunnel.grace_period == 90 * NSEC_PER_SEC);
	assert_int_equal(c->common.log.level, LOG_LEVEL_WARNING);
	assert_int_equal(c->common.log.color, CONF_SWITCH_OFF);
	assert_int_equal(c->common.metrics.listen, CONF_SWITCH_ON);
	assert_int_equal(c->common.metrics.address.addr.port, 2000);
	assert_int_equal(c->tunnel.post_quantum, CONF_POST_QUANTUM_REQUIRE);
	assert_int_equal(c->edge.address_count, 2);
	assert_int_equal(c->rule_count, 1);
	assert_string_equal(c->rules[0].name, "url");
	assert_string_equal(c->rules[0].service.host, "::1");
	conf_unref(c);

	src.set = set;
	src.set_count = 3;
	assert_int_equal(conf_load(&src, &report, &c), 0);
	assert_true(c->tunnel.grace_period == 3 * NSEC_PER_SEC);
	assert_int_equal(c->edge.address_count, 2);
	assert_string_equal(c->edge.addresses[0].host, "b");
	conf_unref(c);
	conf_report_done(&report);
}

static void test_set_errors(void **state)
{
	(void)state;
	static const struct {
		const char *set;
		const char *message;
	} cases[] = {
		{ "tunnel", "section.key=value" },
		{ "=x", "section.key=value" },
		{ "nothing.key=1", "unknown section" },
		{ "tunnel.key=1", "unknown key" },
		{ "tunnel.name.protocol=quic", "a name that this section doesn't have" },
		{ "ingress.service=http_status:404", "a name is missing" },
		{ "tunnel.protocol=pigeon", "accepted: auto, quic or http2" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct conf_source src = { .set = &cases[i].set,
					   .set_count = 1,
					   .token = SPAN_LIT(CONF_FILES_TOKEN) };
		struct conf_report report = {};
		struct conf *c = NULL;
		assert_int_equal(conf_load(&src, &report, &c), -EINVAL);
		assert_int_equal(warnings_with(&report, cases[i].message), 1);
		conf_report_done(&report);
	}
	/* Names may have dots; a section that the file lacks is made. */
	const char *set[] = { "ingress.a.b.service=http_status:204" };
	struct conf_source src = { .set = set,
				   .set_count = 1,
				   .token = SPAN_LIT(CONF_FILES_TOKEN) };
	struct conf_report report = {};
	struct conf *c = NULL;
	assert_int_equal(conf_load(&src, &report, &c), 0);
	assert_string_equal(c->rules[0].name, "a.b");
	conf_unref(c);
	conf_report_done(&report);
}

static void test_missing_file(void **state)
{
	(void)state;
	struct conf_source src = { .path = "/nonexistent/adit.conf",
				   .token = SPAN_LIT(CONF_FILES_TOKEN) };
	struct conf_report report = {};
	struct conf *c = NULL;
	assert_int_equal(conf_load(&src, &report, &c), -EINVAL);
	src.path_is_optional = true;
	assert_int_equal(conf_load(&src, &report, &c), 0);
	assert_int_equal(c->rule_count, 0);
	assert_null(c->common.file); /* nobody is told that it was read */
	conf_unref(c);
	src.path = conf_files_folder();
	assert_int_equal(conf_load(&src, &report, &c), -EINVAL);
	conf_report_done(&report);
}

/* ---- rules ---- */

static void test_rule_inheritance(void **state)
{
	(void)state;
	struct conf_report report = {};
	struct conf *c =
		load_text("[origin-defaults]\nset-header = A: 1\n  B: 2\nconnect-timeout = 7s\n"
			  "[ingress z]\nhostname = Z.example.com.\nservice = hello_world\n"
			  "set-header = C: 3\nconnect-timeout =\n"
			  "[ingress a]\nhostname = *foo\nservice = http://u:p@h:1?q\n",
			  &report);
	assert_int_equal(c->rule_count, 3);
	assert_int_equal(c->rules[0].origin.set_header_count, 1);
	assert_string_equal(c->rules[0].origin.set_headers[0].name, "C");
	assert_true(c->rules[0].origin.connect_timeout == 7 * NSEC_PER_SEC);
	assert_true(span_eq_str(c->rules[0].host.text, "z.example.com"));
	assert_int_equal(c->rules[1].origin.set_header_count, 2);
	assert_string_equal(c->rules[1].service.text, "http://h:1");
	assert_true(c->rules[2].is_implied);
	assert_int_equal(c->rules[2].service.status, 404);
	assert_int_equal(warnings_with(&report, "http_status:404 is added"), 1);
	assert_int_equal(warnings_with(&report, "no wildcard"), 1);
	size_t at = 9;
	assert_int_equal(conf_find_rule(c, SPAN_LIT("a"), &at), 0);
	assert_int_equal(at, 1);
	assert_int_equal(conf_find_rule(c, SPAN_LIT("b"), &at), -ESTALE);
	conf_unref(c);
	conf_report_done(&report);
}

/* 100 000 rules load, one more doesn't. */
static void test_many_rules(void **state)
{
	(void)state;
	size_t size = 8 * 1024 * 1024;
	char *text = malloc(size);
	assert_non_null(text);
	for (size_t count = CONF_RULES_MAX; count <= CONF_RULES_MAX + 1; count++) {
		size_t n = 0;
		for (size_t i = 0; i < count; i++)
			n += (size_t)snprintf(text + n, size - n,
					      "[ingress r%zu]\nhostname = h%zu.example.com\n"
					      "service = http_status:204\n",
					      i, i);
		struct conf_source src = { .path = conf_files_write_bytes("many.conf", text, n,
									  0644),
					   .token = SPAN_LIT(CONF_FILES_TOKEN) };
		struct conf_report report = {};
		struct conf *c = NULL;
		int r = conf_load(&src, &report, &c);
		assert_int_equal(r, count > CONF_RULES_MAX ? -EINVAL : 0);
		if (r == 0) {
			char *json = NULL;
			size_t len = 0;
			assert_int_equal(c->rule_count, CONF_RULES_MAX + 1);
			assert_int_equal(conf_dump_local_json(c, &json, &len), -E2BIG);
		}
		conf_unref(c);
		conf_report_done(&report);
	}
	free(text);
}

/* ---- credentials ---- */

static int load_credential(const char *const *variables, const char *token, const char *text,
			   struct conf_report *report, struct conf **ret)
{
	struct conf_source src = { .path = conf_files_write("x.conf", text, 0644),
				   .environ = variables,
				   .token = span_str(token) };
	return conf_load(&src, report, ret);
}

static void test_credential_sources(void **state)
{
	(void)state;
	char handed[300];
	(void)snprintf(handed, sizeof(handed), "CREDENTIALS_DIRECTORY=%s", conf_files_folder());
	const char *by_token[] = { "TUNNEL_TOKEN=" CONF_FILES_TOKEN, NULL };
	const char *by_bad_token[] = { "TUNNEL_TOKEN=xyz", NULL };
	const char *by_systemd[] = { handed, NULL };
	struct conf_report report = {};
	struct conf *c = NULL;

	assert_int_equal(load_credential(by_token, NULL, "", &report, &c), 0);
	assert_int_equal(warnings_with(&report, "can be seen by others"), 1);
	assert_int_equal(c->credential->secret_len, 32);
	assert_int_equal(c->edge.address_count, 1);
	assert_string_equal(c->edge.addresses[0].host, "127.0.0.1");
	assert_int_equal(c->edge.kind, CONF_EDGE_KIND_ADIT);
	conf_unref(c);

	/* The command line's wins over a bad one in the environment. */
	assert_int_equal(load_credential(by_bad_token, CONF_FILES_TOKEN, "", &report, &c), 0);
	conf_unref(c);
	assert_int_equal(load_credential(by_bad_token, NULL, "", &report, &c), -EINVAL);
	assert_int_equal(load_credential(by_systemd, NULL, "", &report, &c), 0);
	conf_unref(c);
	assert_int_equal(load_credential(NULL, NULL, "", &report, &c), -EINVAL);
	assert_int_equal(warnings_with(&report, "no credential"), 1);
	conf_report_done(&report);
}

/* One warning for each place where a token could be seen, and the place's own name. */
static void test_visible_token(void **state)
{
	(void)state;
	static const struct {
		const char *file; /* of the command line */
		struct conf_source src;
		const char *place;
		int result;
	} cases[] = {
		{ NULL, { .token = SPAN_LIT(CONF_FILES_TOKEN) }, "command line", 0 },
		{ NULL,
		  { .token = SPAN_LIT(CONF_FILES_TOKEN), .token_is_variable = true },
		  "environment variable TUNNEL_TOKEN",
		  0 },
		{ NULL,
		  { .token = SPAN_LIT("xyz"), .token_is_variable = true },
		  "environment variable TUNNEL_TOKEN",
		  -EINVAL },
		/* The command line's file wins over the environment's token, which is warned about
		   all the same. */
		{ "token",
		  { .token = SPAN_LIT("xyz"), .token_is_variable = true },
		  "environment variable TUNNEL_TOKEN",
		  0 },
		{ "garbage", { .token = SPAN_LIT(CONF_FILES_TOKEN) }, "command line", 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char set[300];
		const char *sets[] = { set };
		struct conf_source src = cases[i].src;
		struct conf_report report = {};
		struct conf *c = NULL;
		if (cases[i].file) {
			(void)snprintf(set, sizeof(set), "tunnel.token-file=%s/%s",
				       conf_files_folder(), cases[i].file);
			src.set = sets;
			src.set_count = 1;
		}
		assert_int_equal(conf_load(&src, &report, &c), cases[i].result);
		assert_int_equal(warnings_with(&report, "can be seen by others"), 1);
		for (size_t k = 0; k < report.count; k++)
			assert_string_equal(report.messages[k].file, cases[i].place);
		conf_unref(c);
		conf_report_done(&report);
	}
}

static void test_credential_json(void **state)
{
	(void)state;
	char text[600];
	(void)conf_files_write("home.json",
			       "{\"AccountTag\":\"acc\",\"TunnelSecret\":\"c2VjcmV0\",\"TunnelID\":"
			       "\"6ff42ae2-765d-4adf-8112-31c55c1551ef\",\"Endpoint\":\"\"}",
			       0400);
	(void)snprintf(text, sizeof(text), "[tunnel]\ncredentials-file = %s/home.json\n",
		       conf_files_folder());
	struct conf_report report = {};
	struct conf *c = NULL;
	/* It names no edge: the vendor's, which is found by DNS. */
	assert_int_equal(load_credential(NULL, NULL, text, &report, &c), 0);
	assert_int_equal(c->edge.kind, CONF_EDGE_KIND_VENDOR);
	assert_int_equal(c->edge.address_count, 0);
	assert_null(c->edge.region);
	conf_unref(c);
	(void)snprintf(
		text + strlen(text), sizeof(text) - strlen(text),
		"[edge]\naddress = e:1\npin = sha256/4iy4LktA1YN5iOCU5jzM1Ax3KqTrbZyOJPG9oTHkcWY=\n");
	assert_int_equal(load_credential(NULL, NULL, text, &report, &c), 0);
	assert_true(span_eq_str(tunnel_credential_secret(c->credential), "secret"));
	assert_true(span_eq_str(tunnel_credential_account(c->credential), "acc"));
	assert_true(c->edge.has_pin);
	assert_int_equal(c->edge.pin[0], 0xe2);
	conf_unref(c);
	conf_report_done(&report);
}

/* The vendor's edge is found by DNS, in the region that file or credential names; one's own isn't.
 */
static void test_discovery(void **state)
{
	(void)state;
	static const struct {
		const char *endpoint, *edge, *error, *region;
	} cases[] = {
		{ "", "kind = vendor\n", NULL, NULL },
		{ "us", "", NULL, "us" },
		{ "", "region = fed\n", NULL, "fed" },
		{ "us", "region = us\n", "together with an endpoint in the credential", NULL },
		{ "no/label", "", "its endpoint is no region", NULL },
		{ "", "kind = adit\n", "[edge] address: missing", NULL },
		{ "", "pin = sha256/4iy4LktA1YN5iOCU5jzM1Ax3KqTrbZyOJPG9oTHkcWY=\n",
		  "[edge] address: missing", NULL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char json[400], text[600];
		(void)snprintf(json, sizeof(json),
			       "{\"AccountTag\":\"acc\",\"TunnelSecret\":\"c2VjcmV0\",\"TunnelID\":"
			       "\"6ff42ae2-765d-4adf-8112-31c55c1551ef\",\"Endpoint\":\"%s\"}",
			       cases[i].endpoint);
		(void)conf_files_write("vendor.json", json, 0400);
		(void)snprintf(text, sizeof(text),
			       "[tunnel]\ncredentials-file = %s/vendor.json\n[edge]\n%s",
			       conf_files_folder(), cases[i].edge);
		struct conf_report report = {};
		struct conf *c = NULL;
		assert_int_equal(load_credential(NULL, NULL, text, &report, &c),
				 cases[i].error ? -EINVAL : 0);
		if (cases[i].error)
			assert_int_equal(warnings_with(&report, cases[i].error), 1);
		else if (cases[i].region)
			assert_string_equal(c->edge.region, cases[i].region);
		else
			assert_null(c->edge.region);
		conf_unref(c);
		conf_report_done(&report);
	}
}

/* ---- output ---- */

static char *dump(const struct conf_common *c)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);
	assert_non_null(to);
	assert_int_equal(conf_dump(c, to), 0);
	(void)fclose(to);
	return text;
}

static void test_dump_loads_again(void **state)
{
	(void)state;
	struct conf_report report = {};
	struct conf_source src = { .path = "selftests/data/config/aditd.conf", .check = true };
	struct conf *first = NULL;
	struct conf *second = NULL;
	assert_int_equal(conf_load(&src, &report, &first), 0);
	char *text = dump(&first->common);
	assert_non_null(strstr(text, "\naddress = edge.example.com:7844, [2001:db8::7]:7844"));
	src.path = conf_files_write("dump.conf", text, 0644);
	int r = conf_load(&src, &report, &second);
	if (r < 0)
		print_report(&report);
	assert_int_equal(r, 0);
	assert_int_equal(second->rule_count, first->rule_count);
	assert_int_equal(second->rules[0].origin.ip_rules[0].port_count, 2);
	free(text);
	conf_unref(first);
	conf_unref(second);
	conf_report_done(&report);
}

static void test_dump_masks(void **state)
{
	(void)state;
	struct conf_report report = {};
	struct conf *c = load_text("[ingress a]\nservice = http://user:swordfish@h:1\n", &report);
	char *text = dump(&c->common);
	assert_null(strstr(text, "swordfish"));
	assert_non_null(strstr(text, "service = http://***@h:1"));
	free(text);
	conf_unref(c);
	conf_report_done(&report);
}

/* docs/config.md is what the schema says. */
static void test_docs(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len, committed_len;
	FILE *to = open_memstream(&text, &len);
	assert_non_null(to);
	assert_int_equal(conf_dump_docs(to), 0);
	(void)fclose(to);
	char *committed = conf_files_slurp("docs/config.md", &committed_len);
	if (strcmp(text, committed) != 0)
		fail_msg("docs/config.md is out of date: make it again with `aditd --dump-docs`");
	free(committed);
	free(text);
}

static void test_json(void **state)
{
	(void)state;
	/* A fraction looks odd, as the library prints it, but is the number 1.5 of JSON. */
	static const char want[] =
		"{\"__configuration_flags\":{\"loglevel\":\"debug\",\"protocol\":\"quic\"},\"ingress\":["
		"{\"hostname\":\"app.example.com\",\"path\":\"^/a\",\"service\":\"http://127.0.0.1:8080\","
		"\"originRequest\":{\"connectTimeout\":1.500000000000000000000e+00,\"tcpKeepAlive\":5,\"keepAliveConnections\":7,"
		"\"httpHostHeader\":\"h\",\"noTLSVerify\":true,\"proxyPort\":80,\"ipRules\":["
		"{\"prefix\":\"10.0.0.0/8\",\"ports\":[80,443],\"allow\":true},{\"prefix\":\"::/0\"}],"
		"\"http2Origin\":true}},{\"service\":\"http_status:404\",\"originRequest\":{}}],"
		"\"warp-routing\":{}}";
	struct conf_report report = {};
	struct conf *c =
		load_text("protocol = quic\n[log]\nlevel = debug\n"
			  "[ingress a]\nhostname = app.example.com\npath = ^/a\n"
			  "service = http://127.0.0.1:8080\nconnect-timeout = 1500ms\n"
			  "tcp-keep-alive = 5s\nkeep-alive-connections = 7\nhttp-host-header = h\n"
			  "no-tls-verify = yes\nproxy-port = 80\nhttp2-origin = yes\n"
			  "ip-rule = allow 10.1.0.0/8 443,80\n  deny ::/0\n",
			  &report);
	char *json = NULL;
	size_t len = 0;
	assert_int_equal(conf_dump_local_json(c, &json, &len), 0);
	assert_string_equal(json, want);
	assert_int_equal(len, sizeof(want) - 1);
	free(json);
	conf_unref(c);

	/* Without rules: what the reference's default rule is. */
	c = load_text("", &report);
	assert_int_equal(conf_dump_local_json(c, &json, &len), 0);
	assert_string_equal(json,
			    "{\"ingress\":[{\"service\":\"http_status:503\",\"originRequest\":{}}],"
			    "\"warp-routing\":{}}");
	free(json);
	conf_unref(c);
	conf_report_done(&report);
}

/* ---- snapshots ---- */

static void test_references(void **state)
{
	(void)state;
	struct conf_report report = {};
	struct conf *c = load_text("[ingress a]\npath = a+\nservice = http_status:200\n", &report);
	struct conf *other = conf_ref(c);
	conf_unref(c);
	assert_string_equal(other->rules[0].path, "a+");
	conf_unref(other);
	conf_unref(NULL);
	edge_conf_unref(NULL);
	conf_report_done(&report);
}

/* A full report counts what it doesn't keep. */
static void test_report_is_bounded(void **state)
{
	(void)state;
	struct conf_report r = {};
	for (size_t i = 0; i < CONF_REPORT_MAX + 5; i++)
		conf_report_add(&r, CONF_SEVERITY_ERROR, "f", 1, "x");
	assert_int_equal(r.count, CONF_REPORT_MAX);
	assert_int_equal(r.errors, CONF_REPORT_MAX + 5);
	assert_int_equal(r.lost, 5);
	char buf[64];
	assert_string_equal(conf_message_print(&r.messages[0], buf, sizeof(buf)), "f:1: error: x");
	conf_report_done(&r);
	conf_report_add(&r, CONF_SEVERITY_WARNING, NULL, 0, "y");
	assert_string_equal(conf_message_print(&r.messages[0], buf, sizeof(buf)), "warning: y");
	conf_report_done(&r);
	conf_report_done(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example_aditd),
		cmocka_unit_test(test_example_edge),
		cmocka_unit_test(test_find_network),
		cmocka_unit_test(test_proxy),
		cmocka_unit_test(test_precedence),
		cmocka_unit_test(test_set_errors),
		cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_rule_inheritance),
		cmocka_unit_test(test_many_rules),
		cmocka_unit_test(test_credential_sources),
		cmocka_unit_test(test_visible_token),
		cmocka_unit_test(test_credential_json),
		cmocka_unit_test(test_discovery),
		cmocka_unit_test(test_dump_loads_again),
		cmocka_unit_test(test_dump_masks),
		cmocka_unit_test(test_docs),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_report_is_bounded),
	};
	conf_global_init();
	return cmocka_run_group_tests(tests, conf_files_setup, conf_files_teardown);
}
