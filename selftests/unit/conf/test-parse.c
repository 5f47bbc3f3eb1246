/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of single options, good and bad, by --set: also those of sections that have no effect yet.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/conf/load.h"
#include "selftests/unit/conf/conf_files.h"
#include "util/macro.h"

struct row {
	const char *set; /* KIND.KEY=VALUE */
	bool is_good;
};

/* Options of what must be complete to be good; last, so that a row's own value comes first. */
static size_t with_rest(const char *set, const char *all[8])
{
	size_t n = 0;
	all[n++] = set;
	if (strncmp(set, "origins.", 8) == 0 && strncmp(set, "origins.g.member", 16) != 0)
		all[n++] = "origins.g.member=http://a:1";
	if (strncmp(set, "forward.f.l", 11) == 0)
		all[n++] = "forward.f.hostname=h";
	if (strncmp(set, "forward.f.h", 11) == 0)
		all[n++] = "forward.f.listen=127.0.0.1:1";
	if (strncmp(set, "ingress.r.", 10) == 0)
		all[n++] = "ingress.r.service=hello_world";
	return n;
}

static void check_aditd(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *all[8];
		struct conf_source src = { .set = all,
					   .set_count = with_rest(rows[i].set, all),
					   .token = SPAN_LIT(CONF_FILES_TOKEN) };
		struct conf_report report = {};
		struct conf *c = NULL;
		int r = conf_load(&src, &report, &c);
		if (r != (rows[i].is_good ? 0 : -EINVAL))
			fail_msg("%s: %d %s", rows[i].set, r,
				 report.count ? report.messages[0].text : "");
		conf_unref(r == 0 ? c : NULL);
		conf_report_done(&report);
	}
}

static void test_addresses(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "edge.address=a:1,1.2.3.4:5,[::1]:6", true },
		{ "edge.address=a:0", false },
		{ "edge.address=unix:/x", false },
		{ "edge.address=a", false },
		{ "edge.address=a:1,,b:2,", true },
		{ "edge.server-name=A.example.", true },
		{ "edge.server-name=a..b", false },
		{ "edge.server-name=-", true },
		{ "edge.server-name=a b", false },
		{ "edge.region=us", true },
		{ "edge.region=eu", false },
		{ "edge.proxy=socks5://u:p@h:1/", true },
		{ "edge.proxy=ftp://h:1", false },
		{ "edge.proxy=http://h", false },
		{ "edge.proxy=http://h:1/x", false },
		{ "edge.proxy=http://h:1?x", false },
		{ "edge.proxy=http://h:0", false },
		{ "edge.proxy=http://h:65536", false },
		{ "edge.proxy=http://h_1.example:65535", true },
		{ "edge.proxy=http://a,b:1", false },
		{ "edge.proxy=http://[::1]:1", true },
		{ "edge.proxy=http://[1.2.3.4]:1", false },
		{ "edge.proxy=http://[]:1", false },
		{ "edge.proxy=http://u@h:1", true },
		{ "edge.proxy=http://:p@h:1", false },
		{ "edge.proxy=http://@h:1", false },
		{ "edge.proxy=http://u%3Av:p@h:1", false },
		{ "edge.proxy=socks5://u%3Av:p@h:1", true },
		{ "edge.proxy=http://u:p%4@h:1", false },
		{ "edge.proxy=http://u:p%0a@h:1", false },
		{ "edge.bind-interface=eth0", true },
		{ "edge.bind-interface=sixteen-letters-", false },
		{ "edge.bind-interface=a/b", false },
		{ "edge.bind-interface=..", false },
		{ "edge.dns-over-tls=a@1.1.1.1:853", true },
		{ "edge.dns-over-tls=1.1.1.1:853", false },
		{ "edge.dns-over-tls=a@b:853", false },
		{ "edge.fwmark=4294967295", true },
		{ "edge.fwmark=4294967296", false },
		{ "edge.pin=sha256/AAAA", false },
		{ "edge.kind=vendor", true },
		{ "metrics.listen=off", true },
		{ "metrics.listen=0.0.0.0:0", true },
		{ "metrics.listen=localhost:1", false },
		{ "metrics.listen=unix:/x", false },
		{ "network.allow=10.0.0.0/8, 10.0.0.1, ::1", true },
		{ "network.allow=x", false },
		{ "datapath.tun-prefix=10.0.0.0/8", true },
		{ "datapath.tun-prefix=10.0.0.0/29, fd00::/120", true },
		{ "datapath.tun-prefix=10.0.0.1", false },
		{ "datapath.tun-prefix=10.0.0.0/30", false },
		{ "datapath.tun-prefix=10.0.0.0/7", false },
		{ "datapath.tun-prefix=fd00::/121", false },
		{ "datapath.tun-prefix=10.0.0.0/24, 10.0.1.0/24", false },
		{ "datapath.tun-prefix=127.0.0.0/24", false },
		{ "datapath.tun=adit0", false },
		{ "datapath.interface=eth0,eth1", true },
		{ "datapath.interface=a:b", false },
		{ "datapath.tun-source=prefix", true },
		{ "gateway.listen=127.0.0.1:1", true },
		{ "gateway.token-file=/nonexistent", true },
		{ "gateway.mode=standalone", true },
		{ "forward.f.listen=h:1", false },
		{ "forward.f.hostname=h", true },
		{ "edge.ca-file=/nonexistent", false },
		{ "edge.ca-file=x", false },
	};
	check_aditd(rows, ARRAY_SIZE(rows));
}

static void test_rules(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "ingress.r.set-header=A: b", true },
		{ "ingress.r.set-header=A", false },
		{ "ingress.r.set-header=A b: c", false },
		{ "ingress.r.set-header=A:", true },
		{ "ingress.r.set-header=Host: x", false },
		{ "ingress.r.add-header=Connection: x", false },
		{ "ingress.r.remove-header=Server", true },
		{ "ingress.r.remove-header=content-length", false },
		{ "ingress.r.strip-prefix=/a", true },
		{ "ingress.r.strip-prefix=a", false },
		{ "ingress.r.ip-rule=deny ::/0", true },
		{ "ingress.r.ip-rule=allow 10.0.0.0/8 80,443", true },
		{ "ingress.r.ip-rule=permit ::/0", false },
		{ "ingress.r.ip-rule=allow 10.0.0.1", false },
		{ "ingress.r.ip-rule=allow ::/0 0", false },
		{ "ingress.r.ip-rule=allow ::/0 65536", false },
		{ "ingress.r.proxy-type=socks", true },
		{ "ingress.r.proxy-type=socks5", false },
		{ "ingress.r.proxy-port=65536", false },
		{ "ingress.r.proxy-protocol=v2", true },
		{ "ingress.r.ca-pool=relative", false },
		{ "ingress.r.path=(", false },
		{ "ingress.r.access-required=no", true },
		{ "ingress.r.access-required=yes", false },
		{ "ingress.r.required=no", false },
		{ "access.required=yes", false },
		{ "ingress.r.access-issuer=https://t", true },
		{ "access.issuer=http://t", false },
		{ "access.audience=a", true },
		{ "access.keys-url=https://t/x", true },
		{ "ingress.r.bastion-mode=yes", true },
		{ "origin-defaults.bastion-mode=maybe", false },
		{ "tunnel.url=http://a", true },
		{ "tunnel.url=nothing", false },
		{ "tunnel.url=https://a", true },
		{ "tunnel.protocol=http2", true },
	};
	check_aditd(rows, ARRAY_SIZE(rows));
}

static void test_groups_and_log(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "origins.g.member=http://a:1 weight=3, http://b", true },
		{ "origins.g.member=http://a weight=x", false },
		{ "origins.g.member=http://a heavy", false },
		{ "origins.g.member=nothing", false },
		{ "origins.g.policy=hash-cookie sid", true },
		{ "origins.g.policy=hash-cookie", false },
		{ "origins.g.policy=fair", false },
		{ "origins.g.check=http GET / expect=200-299 every=5s timeout=2s rise=2 fall=3",
		  true },
		{ "origins.g.check=tcp expect=204", true },
		{ "origins.g.check=ping", false },
		{ "origins.g.check=http GET", false },
		{ "origins.g.check=http GET x", false },
		{ "origins.g.check=tcp expect=299-200", false },
		{ "origins.g.check=tcp expect=x", false },
		{ "origins.g.check=tcp expect=200-x", false },
		{ "origins.g.check=tcp every=0", false },
		{ "origins.g.check=tcp rise=0", false },
		{ "origins.g.check=tcp more=1", false },
		{ "log.level=debug,link:info,origin:error", true },
		{ "log.level=link:all", false },
		{ "log.level=warn", false },
		{ "log.color=yes", true },
		{ "process.memory=auto", true },
		{ "process.memory=7M", false },
		{ "limits.stream-window=8M", false },
		{ "limits.link-window=31M", false },
		{ "limits.head-line=1M", false },
	};
	check_aditd(rows, ARRAY_SIZE(rows));
}

/* A list of areas arrives as the log wants it. */
static void test_log_areas(void **state)
{
	(void)state;
	static const char *const set[] = { "log.level=link:debug, notice, origin:error" };
	struct conf_source src = { .set = set,
				   .set_count = 1,
				   .token = SPAN_LIT(CONF_FILES_TOKEN) };
	struct conf_report report = {};
	struct conf *c = NULL;
	assert_int_equal(conf_load(&src, &report, &c), 0);
	assert_int_equal(c->common.log.level, LOG_LEVEL_NOTICE);
	assert_string_equal(c->common.log.areas, "link:debug, origin:error");
	conf_unref(c);
	conf_report_done(&report);
}

#define TUNNEL "[tunnel home]\nid = 6ff42ae2-765d-4adf-8112-31c55c1551ef\naccount = acc\n"

static int load_edge(const char *text, struct edge_conf **ret)
{
	struct conf_source src = { .path = conf_files_write("edge.conf", text, 0644) };
	struct conf_report report = {};
	int r = edge_conf_load(&src, &report, ret);
	conf_report_done(&report);
	return r;
}

static void test_edge(void **state)
{
	(void)state;
	char text[1000];
	struct edge_conf *c = NULL;
	(void)conf_files_write("secret", "c2VjcmV0\n", 0600);
	(void)snprintf(text, sizeof(text),
		       TUNNEL "secret-file = %s/secret\n[http]\n[https]\nredirect-http =\n",
		       conf_files_folder());
	assert_int_equal(load_edge(text, &c), 0);
	assert_false(c->tunnels[0].has_secret_sha256);
	assert_int_equal(c->tunnels[0].max_connections, 64);
	assert_int_equal(c->front.http.listens[0].addr.port, 80);
	assert_int_equal(c->front.https.listens[1].addr.port, 443);
	edge_conf_unref(c);
	assert_int_equal(load_edge("[edge]\n", &c), 0);
	assert_int_equal(c->front.http.listen_count, 0);
	assert_int_equal(c->edge.listen_count, 2);
	edge_conf_unref(c);

	(void)snprintf(text, sizeof(text), TUNNEL "secret-file = %s/garbage\n",
		       conf_files_folder());
	assert_int_equal(load_edge(text, &c), -EINVAL);
	(void)snprintf(text, sizeof(text), TUNNEL "secret-file = %s/loose\n", conf_files_folder());
	assert_int_equal(load_edge(text, &c), -EINVAL);
	(void)snprintf(text, sizeof(text),
		       TUNNEL "secret-file = %s/secret\nsecret-sha256 = "
			      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",
		       conf_files_folder());
	assert_int_equal(load_edge(text, &c), -EINVAL);
	assert_int_equal(load_edge(TUNNEL "account = b c\nsecret-sha256 = 00\nhostname = *\n", &c),
			 -EINVAL);
	assert_int_equal(load_edge("[tcp ssh]\nlisten = 0.0.0.0:22\n", &c), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),      cmocka_unit_test(test_rules),
		cmocka_unit_test(test_groups_and_log), cmocka_unit_test(test_log_areas),
		cmocka_unit_test(test_edge),
	};
	conf_global_init();
	return cmocka_run_group_tests(tests, conf_files_setup, conf_files_teardown);
}
