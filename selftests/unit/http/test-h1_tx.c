/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sender when there is no memory: nothing is promised that doesn't follow, and nothing is lost.
 */
#include "daemon/http/h1_tx.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BUDGET = 1 << 20 };

static void take_all(struct slab *slab, struct slice **all)
{
	struct slice *one = NULL;
	while ((one = slice_get(slab))) {
		one->next = *all;
		*all = one;
	}
}

static void give_all(struct slab *slab, struct slice **all)
{
	while (*all) {
		struct slice *one = *all;
		*all = one->next;
		slice_put(slab, one);
	}
}

static void test_chunk_without_slices(void **state)
{
	(void)state;
	struct slab *slab = NULL;
	struct h1_tx tx;
	struct bufq body;
	struct slice *all = NULL;
	char out[64] = "";
	assert_int_equal(slab_new(BUDGET, &slab), 0);
	h1_tx_init(&tx, slab);
	bufq_init(&body, slab);
	const struct http_head head = { .status = 200, .body = HTTP_BODY_UNKNOWN };
	assert_int_equal(h1_tx_response(&tx, &head, &(struct h1_answer_to){ .minor = 1 }), 0);
	bufq_clear(&tx.out);
	assert_int_equal(bufq_append_copy(&body, SPAN_LIT("abcd")), 0);

	take_all(slab, &all);
	assert_int_equal(h1_tx_body(&tx, &body, 2), -ENOBUFS); /* for a piece of the buffer */
	assert_int_equal(h1_tx_body(&tx, &body, 4), -ENOBUFS); /* for the chunk's line */
	assert_int_equal(tx.out.len, 0);
	assert_int_equal(body.len, 4);
	give_all(slab, &all);

	assert_int_equal(h1_tx_body(&tx, &body, 4), 4);
	(void)bufq_copy_out(&tx.out, out, sizeof(out) - 1);
	assert_string_equal(out, "4\r\nabcd\r\n");
	h1_tx_done(&tx);
	slab_free(slab);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_chunk_without_slices) };
	return cmocka_run_group_tests_name("h1_tx", tests, NULL, NULL);
}
