/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registration: one answer for everything that is wrong, places counted and given back, draining,
 * the texts of refusals.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/conf/load.h"
#include "daemon/edge/enroll.h"
#include "util/macro.h"
#include "util/time.h"

#define ID_HOME  "6ff42ae2-765d-4adf-8112-31c55c1551ef"
#define ID_OTHER "6ff42ae2-765d-4adf-8112-31c55c155100"
#define ACCOUNT  "0123456789abcdef0123456789abcdef"
/* SHA-256 of 32 zero bytes, and of 32 bytes 0xff. */
#define SHA_ZERO "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
#define SHA_ONES "af9613760f72635fbdb44a5a0a63c39f12af30f950a6ee5c971be188e89c4051"

static uint8_t zeros[32];

static const char *const settings[] = {
	"tunnel.home.id=" ID_HOME,
	"tunnel.home.account=" ACCOUNT,
	"tunnel.home.secret-sha256=" SHA_ZERO,
	"tunnel.home.hostname=a.test",
	"tunnel.home.max-connections=2",
	"tunnel.other.id=" ID_OTHER,
	"tunnel.other.account=" ACCOUNT,
	"tunnel.other.secret-sha256=" SHA_ONES,
	"tunnel.other.hostname=b.test",
};

struct fixture {
	struct metric_registry *reg;
	struct front_families front;
	struct tunnel_families links;
	struct roster *roster;
};

static int start(void **state)
{
	static struct fixture fx;
	struct conf_source src = { .set = settings, .set_count = ARRAY_SIZE(settings) };
	struct conf_report report = {};
	struct edge_conf *conf = NULL;
	const char *reason = NULL;
	int r = edge_conf_load(&src, &report, &conf);
	for (size_t i = 0; r < 0 && i < report.count; i++)
		print_message("%s\n", report.messages[i].text);
	conf_report_done(&report);
	assert_int_equal(r, 0);
	assert_int_equal(metric_registry_new(1000, &fx.reg), 0);
	assert_int_equal(front_families_define(&fx.front, fx.reg), 0);
	assert_int_equal(tunnel_families_define(&fx.links, fx.reg), 0);
	struct roster_params params = {
		.conf = conf, .front = &fx.front, .links = &fx.links, .worker_count = 2
	};
	assert_int_equal(roster_new(&params, &reason, &fx.roster), 0);
	edge_conf_unref(conf); /* it has a reference of its own */
	*state = &fx;
	return 0;
}

static int end(void **state)
{
	struct fixture *fx = *state;
	roster_unref(fx->roster);
	metric_registry_free(fx->reg);
	return 0;
}

static struct tunnel_register good(void)
{
	return (struct tunnel_register){ .account_tag = SPAN_LIT(ACCOUNT),
					 .secret = span_of(zeros, sizeof(zeros)),
					 .tunnel_id =
						 SPAN_LIT("\x6f\xf4\x2a\xe2\x76\x5d\x4a\xdf"
							  "\x81\x12\x31\xc5\x5c\x15\x51\xef") };
}

static void test_one_answer(void **state)
{
	const struct roster *r = ((struct fixture *)*state)->roster;
	struct tunnel_register wrong[8];
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		wrong[i] = good();
	wrong[0].secret = span_of(zeros, 31);
	wrong[1].secret = span_of(NULL, 0);
	wrong[2].secret = SPAN_LIT("\xff");
	wrong[3].account_tag = SPAN_LIT("0123456789abcdef0123456789abcdee");
	wrong[4].account_tag = span_of(NULL, 0);
	wrong[5].tunnel_id = SPAN_LIT("\x6f\xf4\x2a\xe2\x76\x5d\x4a\xdf"
				      "\x81\x12\x31\xc5\x5c\x15\x51\xee"); /* unknown */
	wrong[6].tunnel_id = SPAN_LIT("\x6f\xf4\x2a\xe2\x76\x5d\x4a\xdf"
				      "\x81\x12\x31\xc5\x5c\x15\x51\x00"); /* another's */
	wrong[7].tunnel_id = SPAN_LIT("short");
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct edge_tunnel *tunnel = NULL;
		assert_int_equal(enroll_check(r, false, &wrong[i], &tunnel),
				 ENROLL_REFUSAL_UNKNOWN);
		assert_null(tunnel);
	}
	/* Wrong stays wrong while draining: draining tells strangers nothing. */
	struct edge_tunnel *tunnel = NULL;
	assert_int_equal(enroll_check(r, true, &wrong[0], &tunnel), ENROLL_REFUSAL_UNKNOWN);
	assert_int_equal(atomic_load(&r->tunnels[0].shared->connections), 0);
}

static void test_places(void **state)
{
	const struct roster *r = ((struct fixture *)*state)->roster;
	struct tunnel_register reg = good();
	struct edge_tunnel *tunnel = NULL, *again = NULL;
	assert_int_equal(enroll_check(r, false, &reg, &tunnel), ENROLL_REFUSAL_NONE);
	assert_string_equal(roster_name_of(r, tunnel), "home");
	assert_int_equal(enroll_check(r, false, &reg, &again), ENROLL_REFUSAL_NONE);
	assert_ptr_equal(tunnel, again);
	assert_int_equal(enroll_check(r, false, &reg, &again), ENROLL_REFUSAL_TOO_MANY);
	assert_int_equal(atomic_load(&tunnel->connections), 2);
	assert_int_equal(atomic_load(&tunnel->refs), 3);
	enroll_release(tunnel);
	edge_tunnel_unref(again);
	assert_int_equal(enroll_check(r, true, &reg, &again), ENROLL_REFUSAL_DRAINING);
	assert_int_equal(enroll_check(r, false, &reg, &again), ENROLL_REFUSAL_NONE);
	assert_int_equal(atomic_load(&tunnel->connections), 2);
	edge_tunnel_unref(again);
	edge_tunnel_unref(tunnel);
}

static const struct {
	enum enroll_refusal refusal;
	const char *cause;
	bool should_retry;
	unsigned int retry_after_sec;
} refusals[] = {
	{ ENROLL_REFUSAL_UNKNOWN, "Unauthorized: tunnel or secret not known", false, 0 },
	{ ENROLL_REFUSAL_TOO_MANY, "too many connections", true, 30 },
	{ ENROLL_REFUSAL_DRAINING, "edge is draining", true, 1 },
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		struct tunnel_registered answer = {};
		enroll_refuse(refusals[i].refusal, &answer);
		assert_int_equal(answer.verdict, TUNNEL_VERDICT_ERROR);
		assert_true(span_eq_str(answer.cause, refusals[i].cause));
		assert_int_equal(answer.should_retry, refusals[i].should_retry);
		assert_int_equal(answer.retry_after_ns,
				 (int64_t)(refusals[i].retry_after_sec * NSEC_PER_SEC));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_answer, start, end),
		cmocka_unit_test_setup_teardown(test_places, start, end),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
