/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting those who haven't proved who they are: shares of workers, addresses, what is taken off.
 */
#include "daemon/link/strangers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "util/macro.h"

static const struct ip_addr v4 = { IP_FAMILY_V4, { 127, 0, 0, 1 } },
			    other = { IP_FAMILY_V4, { 127, 0, 0, 2 } },
			    v6 = { IP_FAMILY_V6, { 0xfd, [7] = 1, [15] = 1 } },
			    same_net = { IP_FAMILY_V6, { 0xfd, [7] = 1, [15] = 2 } },
			    next_net = { IP_FAMILY_V6, { 0xfd, [7] = 2, [15] = 1 } };

static void test_shares(void **state)
{
	(void)state;
	static const struct {
		struct strangers_limits limits;
		unsigned int max, max_per_addr;
	} cases[] = {
		{ { 1024, 16, 1 }, 1024, 16 }, { { 1024, 16, 2 }, 512, 8 },
		{ { 1024, 16, 3 }, 342, 6 },   { { 1, 1, 4 }, 1, 2 },
		{ { 1024, 16, 64 }, 16, 2 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct strangers s;
		strangers_init(&s, &cases[i].limits);
		assert_int_equal(s.max, cases[i].max);
		assert_int_equal(s.max_per_addr, cases[i].max_per_addr);
	}
}

static void test_addresses(void **state)
{
	(void)state;
	struct strangers s;
	struct stranger a = { .is_validated = true }, b = {}, c = {}, d = {}, e = {};
	strangers_init(&s, &(struct strangers_limits){ 5, 16, 1 });
	strangers_add(&s, &a, &v4);
	strangers_add(&s, &b, &v4);
	strangers_add(&s, &c, &v6);
	strangers_add(&s, &d, &same_net);
	assert_int_equal(strangers_of(&s, &v4, false), 2);
	assert_int_equal(strangers_of(&s, &v4, true), 1);
	assert_int_equal(strangers_of(&s, &other, false), 0);
	assert_int_equal(strangers_of(&s, &v6, false), 2);
	assert_int_equal(strangers_of(&s, &next_net, false), 0);
	assert_false(strangers_are_full(&s));
	strangers_add(&s, &e, &next_net);
	assert_true(strangers_are_full(&s));
}

static void test_removal(void **state)
{
	(void)state;
	struct strangers s;
	struct stranger a = {}, b = {}, never = {};
	strangers_init(&s, &(struct strangers_limits){ 2, 16, 1 });
	strangers_add(&s, &a, &v4);
	strangers_add(&s, &b, &v4);
	assert_true(strangers_remove(&s, &a));
	assert_false(strangers_remove(&s, &a));
	assert_false(strangers_remove(&s, &never));
	assert_int_equal(strangers_count(&s), 1);
	assert_int_equal(strangers_of(&s, &v4, false), 1);
	assert_true(strangers_remove(&s, &b));
	assert_int_equal(strangers_count(&s), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_removal),
	};
	return cmocka_run_group_tests_name("strangers", tests, NULL, NULL);
}
