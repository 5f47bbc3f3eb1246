/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a path is said to have shrunk, and when not.
 */
#include "daemon/link/quic_mtu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { PTO = 100, OTHER = 8 };

static void send_large(struct quic_mtu *m, int64_t stream, uint64_t end, nsec_t now)
{
	quic_mtu_sent(m, now);
	quic_mtu_sample(m, stream, end, now);
}

static void test_answered_packets_are_fine(void **state)
{
	(void)state;
	struct quic_mtu m = {};
	for (nsec_t now = 1000; now < 100000; now += 500) {
		send_large(&m, 4, now, now);
		quic_mtu_check(&m, now + 150, PTO);
		assert_false(m.is_capped);
		assert_int_equal(quic_mtu_acked(&m, 4, now, now + 150, PTO), QUIC_MTU_FINE);
	}
	assert_int_equal(m.strikes, 0);
}

static void test_small_ones_answered_large_ones_not(void **state)
{
	(void)state;
	struct quic_mtu m = {};
	send_large(&m, 4, 5000, 1000);
	assert_int_equal(quic_mtu_acked(&m, OTHER, 10, 1100, PTO), QUIC_MTU_FINE);
	assert_int_equal(quic_mtu_acked(&m, OTHER, 20, 1299, PTO), QUIC_MTU_FINE);
	assert_int_equal(quic_mtu_acked(&m, OTHER, 30, 1300, PTO), QUIC_MTU_SHRUNK);
	/* Said once; packets stay small until the path is another. */
	assert_true(m.is_capped);
	assert_int_equal(quic_mtu_acked(&m, OTHER, 40, 9000, PTO), QUIC_MTU_FINE);
	assert_true(m.is_capped);
	quic_mtu_reset(&m);
	assert_false(m.is_capped);
}

static void test_silence_twice(void **state)
{
	(void)state;
	struct quic_mtu m = {};
	send_large(&m, 4, 5000, 1000);
	quic_mtu_check(&m, 1199, PTO);
	assert_false(m.is_capped);
	quic_mtu_check(&m, 1200, PTO);
	assert_true(m.is_capped);
	assert_int_equal(quic_mtu_acked(&m, 4, 1000, 1250, PTO), QUIC_MTU_FINE);
	assert_false(m.is_capped);

	/* Repeated data in large packets: nothing new to sample, still unanswered. */
	quic_mtu_sent(&m, 1260);
	quic_mtu_check(&m, 1460, PTO);
	assert_true(m.is_capped);
	assert_int_equal(quic_mtu_acked(&m, 4, 2000, 1500, PTO), QUIC_MTU_SHRUNK);
}

static void test_outage_once(void **state)
{
	(void)state;
	struct quic_mtu m = {};
	send_large(&m, 4, 5000, 1000);
	quic_mtu_check(&m, 1200, PTO);
	assert_int_equal(quic_mtu_acked(&m, 4, 1000, 5000, PTO), QUIC_MTU_FINE);
	send_large(&m, 4, 7000, 5010);
	assert_int_equal(quic_mtu_acked(&m, 4, 7000, 5100, PTO), QUIC_MTU_FINE);
	assert_int_equal(m.strikes, 0);
}

static void test_reset_stream_is_not_missed(void **state)
{
	(void)state;
	struct quic_mtu m = {};
	send_large(&m, 4, 5000, 1000);
	quic_mtu_forget(&m, 4);
	assert_int_equal(quic_mtu_acked(&m, OTHER, 10, 9000, PTO), QUIC_MTU_FINE);
}

static void test_datagrams(void **state)
{
	(void)state;
	struct quic_mtu m = {};
	send_large(&m, QUIC_MTU_STREAM_NONE, 7, 1000);
	/* A later number says nothing about an earlier one. */
	assert_int_equal(quic_mtu_acked(&m, QUIC_MTU_STREAM_NONE, 8, 1300, PTO), QUIC_MTU_SHRUNK);
	quic_mtu_reset(&m);
	send_large(&m, QUIC_MTU_STREAM_NONE, 7, 1000);
	assert_int_equal(quic_mtu_acked(&m, QUIC_MTU_STREAM_NONE, 7, 1300, PTO), QUIC_MTU_FINE);
	for (unsigned int i = 0; i < 3 * QUIC_MTU_SAMPLES; i++)
		send_large(&m, QUIC_MTU_STREAM_NONE, i, 2000);
	assert_int_equal(m.count, QUIC_MTU_SAMPLES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answered_packets_are_fine),
		cmocka_unit_test(test_small_ones_answered_large_ones_not),
		cmocka_unit_test(test_silence_twice),
		cmocka_unit_test(test_outage_once),
		cmocka_unit_test(test_reset_stream_is_not_missed),
		cmocka_unit_test(test_datagrams),
	};
	return cmocka_run_group_tests_name("quic_mtu", tests, NULL, NULL);
}
