/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places in the maps of the XDP program.
 */
#include "daemon/datapath/slots.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define REST NSEC_PER_SEC

static char users[4];

/* All of them, in order, and not one more. */
static void test_all(void **state)
{
	(void)state;
	struct slots s;
	assert_int_equal(slots_init(&s, 3, REST), 0);
	for (uint32_t i = 0; i < 3; i++) {
		assert_null(slots_user(&s, i));
		assert_int_equal(slots_get(&s, &users[i], 0), i);
	}
	for (uint32_t i = 0; i < 3; i++)
		assert_ptr_equal(slots_user(&s, i), &users[i]);
	assert_int_equal(slots_get(&s, &users[3], 0), SLOT_NONE);
	assert_null(slots_user(&s, 3));
	assert_null(slots_user(&s, SLOT_NONE));
	slots_done(&s);
}

/* Nobody gets one at once that somebody else has just had, and the oldest comes first. */
static void test_rest(void **state)
{
	(void)state;
	struct slots s;
	nsec_t now = 5 * NSEC_PER_SEC;
	assert_int_equal(slots_init(&s, 2, REST), 0);
	(void)slots_get(&s, &users[0], now);
	slots_put(&s, 0, now);
	assert_null(slots_user(&s, 0));
	assert_int_equal(slots_get(&s, &users[1], now), 1); /* never used */
	assert_int_equal(slots_get(&s, &users[0], now + REST - 1), SLOT_NONE);
	slots_put(&s, 1, now + REST / 2);
	assert_int_equal(slots_get(&s, &users[0], now + REST), 0);
	assert_int_equal(slots_get(&s, &users[1], now + REST), SLOT_NONE);
	assert_int_equal(slots_get(&s, &users[1], now + REST + REST / 2), 1);
	slots_done(&s);
}

static void test_none(void **state)
{
	(void)state;
	struct slots s;
	assert_int_equal(slots_init(&s, 0, REST), 0);
	assert_int_equal(slots_get(&s, &users[0], NSEC_PER_SEC), SLOT_NONE);
	assert_null(slots_user(&s, 0));
	slots_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
