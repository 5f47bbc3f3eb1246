/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream to a daemon whose link lives on a worker that stops before it has heard of the stream.
 */
#include "daemon/edge/origin_tunnel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BUDGET = 4 << 20, TURNS = 4 };

/* What was written comes back to its slab, which is looked at when the workers are freed. */
static void test_worker_stops_before_it_hears(void **state)
{
	(void)state;
	struct worker_set *set = NULL;
	struct worker_params params = { .count = 2, .memory = BUDGET };
	assert_int_equal(worker_set_new(&params, &set), 0);
	struct worker *own = worker_set_get(set, 0);
	struct edge_tunnel *tunnel = edge_tunnel_new();
	assert_non_null(tunnel);
	struct edge_link *el = edge_link_new(tunnel);
	edge_tunnel_unref(tunnel);
	assert_non_null(el);
	el->worker = worker_set_get(set, 1);

	struct stream *near = NULL;
	struct bufq request;
	bufq_init(&request, own->slab);
	assert_int_equal(bufq_append_copy(&request, SPAN_LIT("request")), 0);
	assert_int_equal(origin_tunnel_open(own, el, NULL, &near), 0);
	assert_int_equal(stream_write(near, &request, request.len), 7);
	assert_int_equal(edge_link_load(el), 1);
	stream_close(near);
	origin_tunnel_closed(el);
	for (unsigned int i = 0; i < TURNS; i++)
		assert_int_equal(loop_turn(own->loop, 0), 0);

	edge_link_unref(el);
	worker_set_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_worker_stops_before_it_hears) };
	return cmocka_run_group_tests_name("origin_tunnel", tests, NULL, NULL);
}
