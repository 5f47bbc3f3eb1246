/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selftests/data/ingress.json: rule sets recorded from the reference. Hostnames, paths and services
 * of accepted sets are read by our parsers and matched as recorded; rejected ones are rejected.
 * Reading YAML and JSON is not what is tested: the texts are taken from the recorded rules, or line
 * by line.
 *
 * Set aside besides selftests/data/overrides.json, with the reason:
 *   service_port_out_of_range   refused when it is loaded: no such port can ever be dialled
 *   service_query, _fragment, _userinfo   accepted, but printed without the parts that are ignored,
 * of which one may be a password
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "data/ingress.h"

#include "daemon/conf/arena.h"
#include "daemon/conf/pattern.h"
#include "daemon/conf/rule.h"
#include "daemon/route/match_ingress.h"
#include "util/macro.h"
#include "util/packer.h"

constexpr size_t RULES = 16;

struct rule_set {
	struct conf_arena *arena;
	struct conf_rule rules[RULES];
	size_t count;
};

static const char *field(const struct vector_case *c, const char *list, size_t i, const char *key)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "%s/%zu/%s", list, i, key);
	return vector_get(c, path);
}

static bool is_set(const char *text)
{
	return text && strcmp(text, "null") != 0;
}

static bool case_is(const struct vector_case *c, const char *name)
{
	return strcmp(c->name, name) == 0;
}

static void check_service(const struct vector_case *c, const char *text)
{
	const char *reason = NULL;
	struct conf_arena *a = conf_arena_new();
	assert_non_null(a);
	struct conf_service s;
	int r = service_parse(a, span_str(text), false, &s, &reason);
	if (case_is(c, "rule_sets/service_port_out_of_range"))
		assert_int_equal(r, -EINVAL);
	else if (r < 0)
		fail_msg("%s: %s: %s", c->name, text, reason);
	else if (!case_is(c, "rule_sets/service_query") &&
		 !case_is(c, "rule_sets/service_fragment") &&
		 !case_is(c, "rule_sets/service_userinfo"))
		assert_string_equal(s.text, text);
	conf_arena_free(a);
}

static void rule_read(const struct vector_case *c, struct rule_set *set, size_t i)
{
	const char *reason = NULL;
	struct conf_rule *rule = &set->rules[i];
	const char *hostname = field(c, "rules", i, "hostname");
	const char *path = field(c, "rules", i, "path");
	int r = host_pattern_parse(set->arena, span_str(hostname), &rule->host, &reason);
	if (r < 0)
		fail_msg("%s: %s: %s", c->name, hostname, reason);
	if (is_set(path)) {
		struct pattern_error error = {};
		if (pattern_new(span_str(path), &rule->pattern, &error) < 0)
			fail_msg("%s: %s: %s", c->name, path, error.reason);
	}
	check_service(c, field(c, "rules", i, "service"));
	set->count++;
}

/* What holds instead of a recorded match (the override's own words are prose). */
static size_t expected_rule(const struct vector_case *c, const char *host, size_t recorded)
{
	static const struct {
		const char *name;
		const char *host;
		size_t rule;
	} ours[] = {
		{ "host_case_sensitivity", "LOWER.example.com", 0 },
		{ "host_case_sensitivity", "Lower.Example.Com", 0 },
		{ "host_case_sensitivity", "MIXED.EXAMPLE.COM", 1 },
		{ "host_case_sensitivity", "a.wild.example.com", 2 },
		{ "host_port_stripping", "a.example.com.", 0 },
		{ "wildcard_edges", "a.example.com.", 0 },
		{ "wildcard_edges", "trailing.dot.", 2 },
		{ "underscore_host", "my_host.example.com", 0 },
		{ "rule_trailing_dot", "a.example.com", 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (strcmp(c->name + strlen("rule_sets/"), ours[i].name) == 0 &&
		    strcmp(host, ours[i].host) == 0)
			return ours[i].rule;
	return recorded;
}

static size_t check_matches(const struct vector_case *c, const struct rule_set *set)
{
	_cleanup_(match_ingress_freep) struct match_ingress *m = NULL;
	_cleanup_(pattern_scratch_freep) struct pattern_scratch *s = pattern_scratch_new();
	assert_non_null(s);
	assert_int_equal(match_ingress_new(set->rules, set->count, &m), 0);
	size_t n = 0;
	for (; field(c, "matches", n, "host"); n++) {
		const char *host = field(c, "matches", n, "host");
		const char *path = field(c, "matches", n, "path");
		size_t want = expected_rule(
			c, host, strtoul(field(c, "matches", n, "rule_index"), NULL, 10));
		size_t got = set->count - 1;
		/* Not asserted: an upper-case U-label is no valid Host (override). */
		if (strcmp(host, "B\xc3\x9c"
				 "CHER.example") == 0)
			continue;
		int r = match_ingress_find(m, s, span_str(host), span_str(path), &got);
		assert_true(r == 0 || r == -ESTALE);
		if (got != want)
			fail_msg("%s: %s %s: rule %zu instead of %zu", c->name, host, path, got,
				 want);
	}
	return n;
}

static size_t check_accepted(const struct vector_case *c)
{
	struct rule_set set = { .arena = conf_arena_new() };
	assert_non_null(set.arena);
	for (size_t i = 0; field(c, "rules", i, "service"); i++) {
		assert_true(i < RULES);
		rule_read(c, &set, i);
	}
	size_t matches = check_matches(c, &set);
	for (size_t i = 0; i < set.count; i++)
		pattern_free(set.rules[i].pattern);
	conf_arena_free(set.arena);
	return matches;
}

/* Undoes the quotes of a YAML scalar as far as these inputs use them. */
static struct span unquote(struct span s, char *buf, size_t size)
{
	struct packer p = packer_over(buf, size);
	s = span_trim(s);
	if (s.len < 2 || (s.ptr[0] != '"' && s.ptr[0] != '\''))
		return s;
	bool has_escapes = s.ptr[0] == '"';
	for (size_t i = 1; i + 1 < s.len; i++) {
		if (has_escapes && s.ptr[i] == '\\' && i + 2 < s.len)
			packer_u8(&p, s.ptr[++i] == 't' ? '\t' : s.ptr[i]);
		else
			packer_u8(&p, s.ptr[i]);
	}
	return packer_span(&p);
}

/* True when our parsers refuse the value of a line "- key: value". */
static bool line_is_refused(struct conf_arena *a, struct span line, bool *ret_has_service)
{
	char buf[512];
	const char *reason;
	struct conf_service service;
	struct host_pattern host;
	struct pattern_error error;
	while (line.len && (line.ptr[0] == ' ' || line.ptr[0] == '-'))
		line = span_skip(line, 1);
	size_t colon = span_find(line, ':');
	struct span key = span_first(line, colon);
	struct span value = unquote(span_skip(line, colon + 1), buf, sizeof(buf));
	if (span_eq_str(key, "service")) {
		*ret_has_service = true;
		return service_parse(a, value, false, &service, &reason) < 0;
	}
	if (span_eq_str(key, "hostname"))
		return host_pattern_parse(a, value, &host, &reason) < 0;
	if (span_eq_str(key, "path")) {
		char *out = NULL;
		int r = pattern_translate(value, &out, &error);
		free(out);
		return r < 0;
	}
	return false;
}

static void check_rejected(const struct vector_case *c)
{
	struct conf_arena *a = conf_arena_new();
	struct span rest = span_str(vector_get(c, "input"));
	bool is_refused = false;
	bool has_service = false;
	while (rest.len) {
		size_t end = span_find(rest, '\n');
		is_refused = line_is_refused(a, span_first(rest, end), &has_service) || is_refused;
		rest = span_skip(rest, end + 1);
	}
	/* A rule without a service is refused by the loader. */
	if (!is_refused && has_service)
		fail_msg("%s: accepted", c->name);
	conf_arena_free(a);
}

/* The classes that hostname, path or service decide; the others are the loader's or the parser's.
 */
static bool is_ours(const char *error_class)
{
	static const char *const ours[] = { "bad_wildcard",     "hostname_contains_port",
					    "bad_http_status",  "service_missing_scheme_or_host",
					    "service_has_path", "service_url_parse_error",
					    "bad_path_regex" };
	for (size_t i = 0; error_class && i < ARRAY_SIZE(ours); i++)
		if (strcmp(error_class, ours[i]) == 0)
			return true;
	return false;
}

static bool is_list(const struct vector_case *c, const char *list)
{
	return strncmp(c->name, list, strlen(list)) == 0 && c->name[strlen(list)] == '/';
}

static void test_rule_sets(void **state)
{
	(void)state;
	size_t accepted = 0, rejected = 0, matches = 0, skipped = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!is_list(c, "rule_sets"))
			continue;
		/* In bastion mode any text is a service; test-rule has that. */
		bool is_bastion = strstr(c->name, "bastion") != NULL;
		if (vector_is(c, "result", "accepted") && !is_bastion) {
			matches += check_accepted(c);
			accepted++;
		} else if (is_ours(vector_get(c, "error_class"))) {
			check_rejected(c);
			rejected++;
		} else {
			skipped++;
		}
	}
	print_message(
		"%zu sets accepted with %zu matches, %zu rejected, %zu not of these parsers\n",
		accepted, matches, rejected, skipped);
	assert_int_equal(matches, 116);
	assert_true(accepted >= 75 && rejected >= 40);
}

static void test_path_expressions(void **state)
{
	(void)state;
	size_t n = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!is_list(c, "path_expression_compiles"))
			continue;
		struct pattern *p = NULL;
		int r = pattern_new(span_str(vector_get(c, "expression")), &p, NULL);
		if ((r == 0) != vector_is(c, "compiles", "true"))
			fail_msg("%s: %d", vector_get(c, "expression"), r);
		pattern_free(p);
		n++;
	}
	assert_int_equal(n, 21);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rule_sets),
		cmocka_unit_test(test_path_expressions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
