/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routing: verdicts, the order of rules over exact names, wildcards and rules for any host (against
 * a plain walk of the list), the table of public hostnames, the explanation.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/conf/arena.h"
#include "daemon/conf/load.h"
#include "daemon/route/hosts.h"
#include "daemon/route/match_ingress.h"
#include "daemon/route/route.h"
#include "util/macro.h"

#define TOKEN                                                                                             \
	"eyJhIjoiMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJ0IjoiNmZmNDJhZTItNzY1ZC00YWRmLTgxMTItM"   \
	"zFjNTVjMTU1MWVmIiwicyI6IkFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE9IiwieCI6eyJ2" \
	"IjoxLCJlZGdlIjpbIjEyNy4wLjAuMTo3ODQ0Il19fQ=="

/* Rules by --set: no file is needed. */
static struct conf *load(const char *const *set, size_t count)
{
	struct conf_source src = { .set = set, .set_count = count, .token = span_str(TOKEN) };
	struct conf_report report = {};
	struct conf *c = NULL;
	int r = conf_load(&src, &report, &c);
	for (size_t i = 0; r < 0 && i < report.count; i++)
		print_message("%s\n", report.messages[i].text);
	assert_int_equal(r, 0);
	conf_report_done(&report);
	return c;
}

static struct route_result ask(const struct route *r, const char *host, const char *path)
{
	struct pattern_scratch *s = pattern_scratch_new();
	assert_non_null(s);
	struct route_query q = { .host = span_str(host), .path = span_str(path) };
	struct route_result result;
	route_match(r, s, &q, &result);
	pattern_scratch_free(s);
	return result;
}

static void test_verdicts(void **state)
{
	(void)state;
	static const char *const set[] = {
		"ingress.slow.hostname=slow.example.com", "ingress.slow.path=^(a+)+$",
		"ingress.slow.service=http_status:201",   "ingress.wild.hostname=*.example.com",
		"ingress.wild.service=http_status:202",
	};
	struct route *r = NULL;
	struct conf *c = load(set, ARRAY_SIZE(set));
	assert_int_equal(route_new(c, &r), 0);
	conf_unref(c); /* the route has its own */
	assert_ptr_equal(route_conf(r), c);
	struct route_result got = ask(r, "SLOW.example.com.:443", "aaa");
	assert_int_equal(got.verdict, ROUTE_VERDICT_FOUND);
	assert_int_equal(got.index, 0);
	assert_string_equal(got.rule->name, "slow");
	assert_int_equal(ask(r, "slow.example.com", "b").index, 1);
	assert_int_equal(ask(r, "example.com", "/").verdict, ROUTE_VERDICT_NO_HOST);
	assert_int_equal(ask(r, "", "/").verdict, ROUTE_VERDICT_NO_HOST);

	char path[3000], text[400];
	memset(path, 'a', sizeof(path));
	path[sizeof(path) - 2] = '!';
	path[sizeof(path) - 1] = '\0';
	got = ask(r, "slow.example.com", path);
	assert_int_equal(got.verdict, ROUTE_VERDICT_COST);
	assert_string_equal(got.rule->name, "slow");

	/* A host that is too long for any name still reaches rules for any host. */
	char host[2000];
	memset(host, '.', sizeof(host));
	host[sizeof(host) - 1] = '\0';
	assert_int_equal(ask(r, host, "/").verdict, ROUTE_VERDICT_NO_HOST);
	host[255] = '\0';
	assert_int_equal(ask(r, host, "/").verdict, ROUTE_VERDICT_NO_HOST);

	struct pattern_scratch *s = pattern_scratch_new();
	struct route_query q = { .host = SPAN_LIT("slow.example.com"), .path = SPAN_LIT("/") };
	assert_string_equal(route_explain(r, s, &q, text, sizeof(text)),
			    "1 slow: slow.example.com fits, path not found\n"
			    "2 wild: *.example.com fits, any path\n"
			    "rule wild: http_status:202\n");
	q.path = span_str(path);
	assert_non_null(strstr(route_explain(r, s, &q, text, sizeof(text)), "path too costly"));
	assert_int_equal(strlen(route_explain(r, s, &q, text, 10)), 9);
	q.host = SPAN_LIT("x");
	assert_non_null(strstr(route_explain(r, s, &q, text, sizeof(text)), "doesn't fit"));
	pattern_scratch_free(s);
	route_free(r);
	route_free(NULL);
}

static void test_no_rules(void **state)
{
	(void)state;
	struct route *r = NULL;
	struct conf *c = load(NULL, 0);
	assert_int_equal(route_new(c, &r), 0);
	conf_unref(c);
	assert_int_equal(ask(r, "a", "/").verdict, ROUTE_VERDICT_NO_RULES);
	char text[100];
	struct pattern_scratch *s = pattern_scratch_new();
	struct route_query q = { .host = SPAN_LIT("a") };
	assert_string_equal(route_explain(r, s, &q, text, sizeof(text)),
			    "no rule is configured: 503\n");
	pattern_scratch_free(s);
	route_free(r);
}

/* What the reference's loop over the list gives. */
static size_t walk_list(const struct conf_rule *rules, size_t count, struct span host)
{
	for (size_t i = 0; i < count; i++) {
		const struct host_pattern *h = &rules[i].host;
		if (h->kind == HOST_KIND_ANY ||
		    (h->kind == HOST_KIND_EXACT && span_eq(h->text, host)) ||
		    (h->kind == HOST_KIND_SUFFIX && span_ends_with(host, h->text)))
			return i;
	}
	return count;
}

/* Random lists of rules over few names: the compiled form agrees with the walk for every host. */
static void test_order(void **state)
{
	(void)state;
	static const char *const names[] = { "a",       "b.a", "c.b.a", "d.c.b.a", "*.a", "*.b.a",
					     "*.c.b.a", "*.x", "x.a",   "x.b.a",   "*",   "" };
	static const char *const hosts[] = { "a",   "b.a", "c.b.a", "d.c.b.a", "x",
					     "y.x", ".a",  "x.a",   "x.b.a",   "z" };
	srandom(7);
	for (int round = 0; round < 300; round++) {
		struct conf_rule rules[12] = {};
		size_t count = (size_t)(random() % 12);
		struct conf_arena *a = conf_arena_new();
		const char *reason;
		assert_non_null(a);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(
				host_pattern_parse(a, span_str(names[random() % ARRAY_SIZE(names)]),
						   &rules[i].host, &reason),
				0);
		struct match_ingress *m = NULL;
		assert_int_equal(match_ingress_new(rules, count, &m), 0);
		for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
			size_t got = count;
			int r = match_ingress_find(m, NULL, span_str(hosts[i]), SPAN_LIT("/"),
						   &got);
			assert_true(r == 0 || (r == -ESTALE && got == count));
			assert_int_equal(got, walk_list(rules, count, span_str(hosts[i])));
		}
		match_ingress_free(m);
		conf_arena_free(a);
	}
}

static void test_public_hosts(void **state)
{
	(void)state;
	static const char *const names[] = { "a.example.com", "*.example.com", "*.b.example.com",
					     ("B\xc3\xbc"
					      "cher.example") };
	struct host_pattern patterns[ARRAY_SIZE(names)];
	struct hosts_entry entries[ARRAY_SIZE(names)];
	struct conf_arena *a = conf_arena_new();
	const char *reason;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(host_pattern_parse(a, span_str(names[i]), &patterns[i], &reason),
				 0);
		entries[i] = (struct hosts_entry){ .host = &patterns[i], .value = (uint32_t)i };
	}
	struct hosts *h = NULL;
	assert_int_equal(hosts_new(entries, ARRAY_SIZE(entries), &h), 0);
	static const struct {
		const char *host;
		int want; /* -1: none */
	} rows[] = {
		{ "a.example.com", 0 },
		{ "A.EXAMPLE.COM.:8443", 0 },
		{ "c.example.com", 1 },
		{ "x.b.example.com", 2 },
		{ "y.x.b.example.com", 2 },
		{ "b.example.com", 1 },
		{ "example.com", -1 },
		{ "xn--bcher-kva.example:443", 3 },
		{ "", -1 },
		{ ".", -1 },
		{ "[::1]:80", -1 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t value = 99;
		int r = hosts_find(h, span_str(rows[i].host), &value);
		assert_int_equal(r, rows[i].want < 0 ? -ESTALE : 0);
		if (r == 0)
			assert_int_equal(value, rows[i].want);
	}
	hosts_free(h);
	assert_int_equal(hosts_new(NULL, 0, &h), 0);
	uint32_t value;
	assert_int_equal(hosts_find(h, SPAN_LIT("a"), &value), -ESTALE);
	hosts_free(h);
	hosts_free(NULL);
	conf_arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_no_rules),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_public_hosts),
	};
	conf_global_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
