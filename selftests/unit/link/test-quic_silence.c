/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a peer is suspected and when it counts as gone.
 */
#include "daemon/link/quic_silence.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SEC NSEC_PER_SEC
#define PTO (100 * NSEC_PER_MSEC)

static void test_idle_is_no_silence(void **state)
{
	(void)state;
	struct quic_silence s = {};
	assert_int_equal(quic_silence_due(&s, PTO), NSEC_NEVER);
	assert_int_equal(quic_silence_check(&s, 1000 * SEC, PTO), QUIC_SILENCE_FINE);
}

static void test_silence(void **state)
{
	(void)state;
	struct quic_silence s = {};
	assert_true(quic_silence_sent(&s, 10 * SEC));
	assert_false(quic_silence_sent(&s, 11 * SEC)); /* the oldest counts */
	assert_int_equal(quic_silence_due(&s, PTO), 12 * SEC);
	assert_int_equal(quic_silence_due(&s, SEC), 13 * SEC); /* 3 probe timeouts */
	assert_int_equal(quic_silence_check(&s, 12 * SEC - 1, PTO), QUIC_SILENCE_FINE);
	assert_int_equal(quic_silence_check(&s, 12 * SEC, PTO), QUIC_SILENCE_SUSPECT);
	assert_int_equal(s.why, LINK_SUSPICION_SILENT);
	/* However long it lasts, silence alone isn't the end. */
	assert_int_equal(quic_silence_check(&s, 100 * SEC, PTO), QUIC_SILENCE_SUSPECT);
	assert_true(quic_silence_heard(&s));
	assert_false(quic_silence_heard(&s));
	assert_int_equal(quic_silence_check(&s, 200 * SEC, PTO), QUIC_SILENCE_FINE);
	assert_true(quic_silence_sent(&s, 200 * SEC));
	assert_int_equal(quic_silence_check(&s, 201 * SEC, PTO), QUIC_SILENCE_FINE);
}

static void test_answers_start_the_wait_again(void **state)
{
	(void)state;
	struct quic_silence s = {};
	for (unsigned int i = 1; i < 10; i++) {
		assert_true(quic_silence_sent(&s, i * SEC));
		assert_int_equal(quic_silence_check(&s, i * SEC + SEC - 1, PTO), QUIC_SILENCE_FINE);
		assert_false(quic_silence_heard(&s));
	}
}

static void test_refusal_is_suspicion(void **state)
{
	(void)state;
	struct quic_silence s = {};
	quic_silence_refused(&s, -ECONNREFUSED);
	assert_int_equal(quic_silence_check(&s, 10 * SEC, PTO), QUIC_SILENCE_SUSPECT);
	assert_int_equal(s.why, LINK_SUSPICION_REFUSED);
	/* Nothing was asked yet, so nothing can be missing. */
	assert_int_equal(quic_silence_check(&s, 1000 * SEC, PTO), QUIC_SILENCE_SUSPECT);
	assert_true(quic_silence_heard(&s));
	assert_int_equal(quic_silence_check(&s, 1000 * SEC, PTO), QUIC_SILENCE_FINE);
}

static void test_refusal_and_silence(void **state)
{
	(void)state;
	struct quic_silence s = { .patience = 17 * SEC };
	quic_silence_refused(&s, -ECONNREFUSED);
	assert_true(quic_silence_sent(&s, 10 * SEC));
	assert_int_equal(quic_silence_due(&s, PTO), 27 * SEC); /* a keep-alive should have come */
	assert_int_equal(quic_silence_check(&s, 27 * SEC - 1, PTO), QUIC_SILENCE_SUSPECT);
	assert_int_equal(quic_silence_check(&s, 27 * SEC, PTO), QUIC_SILENCE_GONE);
	/* What was said before it was heard counts no more. */
	assert_true(quic_silence_heard(&s));
	assert_true(quic_silence_sent(&s, 20 * SEC));
	assert_int_equal(quic_silence_check(&s, 60 * SEC, PTO), QUIC_SILENCE_SUSPECT);
	assert_int_equal(s.why, LINK_SUSPICION_SILENT);
	assert_int_equal(quic_silence_due(&s, PTO), NSEC_NEVER);
	quic_silence_refused(&s, -ECONNREFUSED);
	assert_int_equal(quic_silence_check(&s, 60 * SEC, PTO), QUIC_SILENCE_GONE);
}

/* A router without a route may have one again. */
static void test_unreachable_is_never_gone(void **state)
{
	(void)state;
	struct quic_silence s = {};
	assert_true(quic_silence_sent(&s, 10 * SEC));
	quic_silence_refused(&s, -EHOSTUNREACH);
	assert_int_equal(s.why, LINK_SUSPICION_REFUSED);
	assert_int_equal(quic_silence_check(&s, 100 * SEC, PTO), QUIC_SILENCE_SUSPECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_is_no_silence),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_answers_start_the_wait_again),
		cmocka_unit_test(test_refusal_is_suspicion),
		cmocka_unit_test(test_refusal_and_silence),
		cmocka_unit_test(test_unreachable_is_never_gone),
	};
	return cmocka_run_group_tests_name("quic_silence", tests, NULL, NULL);
}
