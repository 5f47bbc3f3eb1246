/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selftests/data/supervisor.json: thresholds of accounts, choice of the transport and waits of the
 * reference, with what selftests/data/overrides.json sets aside. Its address_choice_bias is in
 * test-edge_addrs.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "data/supervisor.h"

#include "daemon/aditd/discovery_record.h"
#include "daemon/aditd/transport.h"
#include "daemon/base/backoff.h"
#include "daemon/base/random.h"
#include "daemon/conf/load.h"
#include "selftests/unit/conf/conf_files.h"
#include "util/macro.h"

static bool is_in(const struct vector_case *c, const char *list)
{
	return strncmp(c->name, list, strlen(list)) == 0;
}

static const char *need(const struct vector_case *c, const char *key)
{
	const char *value = vector_get(c, key);
	if (!value)
		fail_msg("%s: no %s", c->name, key);
	return value;
}

/* ---- account_threshold ----------------------------------------------------------------------- */

static void test_thresholds(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!is_in(c, "account_threshold/rows/"))
			continue;
		count++;
		assert_int_equal(transport_threshold(span_str(need(c, "account_tag"))),
				 strtoul(need(c, "threshold_observed"), NULL, 10));
	}
	assert_int_equal(count, 8);
}

/* ---- protocol_selector ----------------------------------------------------------------------- */

/* What the flag means to us, or a negative errno. */
static int read_flag(const char *flag, enum conf_protocol *ret)
{
	char variable[64], option[64];
	(void)snprintf(variable, sizeof(variable), "TUNNEL_TRANSPORT_PROTOCOL=%s", flag);
	(void)snprintf(option, sizeof(option), "tunnel.protocol=%s", flag);
	const char *environment[] = { variable, NULL };
	const char *set[] = { option };
	struct conf_source src = { .token = SPAN_LIT(CONF_FILES_TOKEN) };
	/* Only the environment may have a word of the reference; an empty variable is none. */
	if (strcmp(flag, "h2mux") == 0) {
		src.environ = environment;
	} else {
		src.set = set;
		src.set_count = 1;
	}
	struct conf_report report = {};
	struct conf *conf = NULL;
	int r = conf_load(&src, &report, &conf);
	if (r == 0)
		*ret = conf->tunnel.protocol;
	conf_unref(conf);
	conf_report_done(&report);
	return r;
}

/* The recorded list as the record that discovery reads. */
static bool read_percent(const struct vector_case *c, struct transport_percent *ret)
{
	char json[512] = "[";
	const char *count = vector_get(c, "percentages/#");
	if (!count)
		return false;
	for (unsigned int i = 0; i < strtoul(count, NULL, 10); i++) {
		char name[40], percent[40];
		(void)snprintf(name, sizeof(name), "percentages/%u/protocol", i);
		(void)snprintf(percent, sizeof(percent), "percentages/%u/percentage", i);
		size_t len = strlen(json);
		(void)snprintf(json + len, sizeof(json) - len,
			       "%s{\"protocol\":\"%s\",\"percentage\":%s}", i ? "," : "",
			       need(c, name), need(c, percent));
	}
	size_t len = strlen(json);
	(void)snprintf(json + len, sizeof(json) - len, "]");
	struct discovery_records records = {};
	assert_int_equal(discovery_read_protocols(span_str(json), &records), 0);
	*ret = (struct transport_percent){ records.quic_percent, records.http2_percent };
	return true;
}

static void check_choice(const struct vector_case *c, enum conf_protocol protocol)
{
	struct transport_percent percent;
	bool has_percent = read_percent(c, &percent);
	unsigned int threshold = transport_threshold(span_str(need(c, "account_tag")));
	bool has_token = vector_is(c, "token_flag_set", "true");
	/* A token of whatever origin: recorded for --token alone, where the record isn't asked. */
	struct transport_choice got =
		transport_choose(protocol, has_percent && !has_token ? &percent : NULL, threshold);
	/* "auto false true null": "current quic, fallback http2". */
	const char *current = vector_override(c) ? "quic" : need(c, "current");
	assert_string_equal(link_protocol_name(got.first), current);
	/* "under auto always true ... (static choices stay as recorded)" */
	if (protocol == CONF_PROTOCOL_AUTO)
		assert_true(got.has_other);
	else
		assert_int_equal(got.has_other, vector_is(c, "has_fallback", "true"));
}

static void test_selector(void **state)
{
	(void)state;
	unsigned int chosen = 0, refused = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		enum conf_protocol protocol = CONF_PROTOCOL_AUTO;
		if (!is_in(c, "protocol_selector/"))
			continue;
		int r = read_flag(need(c, "flag"), &protocol);
		if (vector_get(c, "error")) {
			/* "an empty value means the default: auto" */
			assert_int_equal(r, vector_override(c) ? 0 : -EINVAL);
			assert_int_equal(protocol, CONF_PROTOCOL_AUTO);
			refused++;
			continue;
		}
		assert_int_equal(r, 0);
		check_choice(c, protocol);
		chosen++;
	}
	assert_int_equal(chosen, 19);
	assert_int_equal(refused, 3);
}

/* ---- backoff, backoff_overflow ----------------------------------------------------------------
 */

static void check_draws(nsec_t cap, unsigned int count)
{
	struct backoff b;
	backoff_init(&b, NSEC_PER_SEC, cap);
	nsec_t limit = MIN(NSEC_PER_SEC, cap);
	for (unsigned int k = 0; k < count; k++) {
		assert_in_range(backoff_next(&b, random_u64()), limit / 2, limit);
		limit = MIN(2 * limit, cap);
	}
}

/*
 * One back-off an index: "with cap 30 s: 0.5-1, 1-2, 2-4, 4-8, 8-16, 15-30"; "retries 0 keeps a
 * spacing: m = 1 s"; "no crash and no overflow ... at the cap all of 1000 draws lie in [1/2 cap,
 * cap]". The second level (10 5) and giving up (1 3) don't exist. That the core draws from this,
 * and prints what it draws, is in test-supervisor_core.c.
 */
static void test_waits(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		count += is_in(c, "backoff");
		for (int round = 0; is_in(c, "backoff/1 5") && round < 200; round++)
			check_draws(30 * NSEC_PER_SEC,
				    (unsigned int)strtoul(need(c, "rows/#"), NULL, 10));
		if (is_in(c, "backoff/1 0"))
			check_draws(NSEC_PER_SEC, 1000);
		if (is_in(c, "backoff_overflow/"))
			check_draws(30 * NSEC_PER_SEC,
				    1000 + (unsigned int)strtoul(need(c, "max_retries"), NULL, 10));
	}
	assert_int_equal(count, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_thresholds),
		cmocka_unit_test(test_selector),
		cmocka_unit_test(test_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
