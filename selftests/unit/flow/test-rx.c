/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rx: windows grow with use; queues hold few buffers for few bytes.
 */
#include "daemon/flow/rx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A reader that keeps up gets a larger window; one that doesn't keeps the first. */
static void test_window_grows_with_use(void **state)
{
	(void)state;
	struct rx_window w;
	rx_window_init(&w, 64, 0);
	assert_int_equal(rx_window_advance(&w, 63, 1024, 10, 100), 0);
	assert_int_equal(rx_window_advance(&w, 1, 1024, 20, 100), 64);
	assert_int_equal(w.size, 128);
	assert_int_equal(rx_window_advance(&w, 128, 1024, 1000, 100), 0);
	assert_int_equal(rx_window_advance(&w, 128, 200, 1100, 100), 72);
	assert_int_equal(rx_window_advance(&w, 200, 200, 1101, 100), 0);
}

static void test_store_and_take(void **state)
{
	(void)state;
	struct slab *slab;
	assert_int_equal(slab_new(4 << 20, &slab), 0);
	struct bufq rx, to;
	bufq_init(&rx, slab);
	bufq_init(&to, slab);
	uint8_t bytes[40000];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i % 251);
	assert_int_equal(rx_store(&rx, span_of(bytes, sizeof(bytes))), 0);
	assert_int_equal(rx.len, sizeof(bytes));
	assert_int_equal(rx_take(&to, &rx, 100), 100);
	/* Byte by byte they go behind one another into the same buffer. */
	struct slab_stats before, after;
	slab_get_stats(slab, &before);
	for (unsigned int i = 0; i < 500; i++)
		assert_int_equal(rx_take(&to, &rx, 1), 1);
	slab_get_stats(slab, &after);
	assert_true(after.in_use <= before.in_use + SLAB_SMALL_LEN);
	assert_int_equal(rx_take(&to, &rx, sizeof(bytes)), sizeof(bytes) - 600);
	assert_int_equal(rx_take(&to, &rx, 1), 0);
	uint8_t got[sizeof(bytes)];
	assert_int_equal(bufq_copy_out(&to, got, sizeof(got)), sizeof(got));
	assert_memory_equal(got, bytes, sizeof(bytes));
	bufq_clear(&to);
	slab_free(slab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window_grows_with_use),
		cmocka_unit_test(test_store_and_take),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
