/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2: two connections over a socketpair. Heads, bodies, trailers, credit, order, ends.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/lib/h2_pair.h"
#include "util/macro.h"

enum { BUDGET = 64 << 20 };

static struct h2_pair pair;
static struct h2_end_point *const client = &pair.client, *const server = &pair.server;

static int setup(void **state)
{
	(void)state;
	h2_pair_init(&pair, BUDGET);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	h2_pair_done(&pair);
	return 0;
}

#define RUN_UNTIL(condition) H2_RUN_UNTIL(&pair, condition)
#define FIELDS(list, n)      (&(struct http_trailers){ .fields = (list), .count = (n) })
#define FIELD(n, v)          { .name = SPAN_LIT(n), .value = SPAN_LIT(v) }

static void turns(unsigned int count)
{
	while (count--)
		assert_int_equal(loop_turn(pair.loop, 0), 0);
}

/* A request and the server's view of it. */
static struct h2_call *ask(const char *method, bool is_end, struct h2_call **ret_served)
{
	struct h2_call *call;
	unsigned int before = server->count;
	assert_int_equal(h2_call_open(client, method, NULL, is_end, &call), 0);
	RUN_UNTIL(server->count > before);
	*ret_served = &server->calls[before];
	return call;
}

static void answer(struct h2_call *served, struct h2_call *call)
{
	assert_int_equal(h2_call_respond(served, 200, NULL, false), 0);
	RUN_UNTIL(call->has_head);
}

/* ---- messages -------------------------------------------------------------------------------- */

static void test_request_and_answer(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	static const struct http_field asked[] = { FIELD("accept", "*/*"), FIELD("x-a", "\xff\x80"),
						   FIELD("te", "trailers") };
	static const struct http_field given[] = { FIELD("server", "test"), FIELD("x-b", "") };
	struct h2_call *call;
	assert_int_equal(h2_call_open(client, "GET", FIELDS(asked, 3), true, &call), 0);
	RUN_UNTIL(server->count == 1);
	struct h2_call *served = &server->calls[0];
	assert_string_equal(served->head,
			    "GET https host /p?q|accept=*/*|x-a=\xff\x80|te=trailers");
	assert_true(served->is_end);
	assert_int_equal(served->fault, H2_FAULT_NONE);

	assert_int_equal(stream_credit(served->s), 0);
	struct bufq q;
	bufq_init(&q, pair.slab);
	assert_int_equal(stream_write(served->s, &q, 1), -EPROTO);
	assert_int_equal(h2_call_respond(served, 404, FIELDS(given, 2), false), 0);
	assert_int_equal(h2_call_respond(served, 404, FIELDS(given, 2), false), -EPROTO);
	RUN_UNTIL(call->has_head);
	assert_string_equal(call->head, "404|server=test|x-b=");
	assert_false(call->is_end);
	h2_call_write(served, "hello", 5);
	RUN_UNTIL(call->rx_total == 5);
	assert_int_equal(call->rx_status, -EAGAIN);
	h2_call_finish(served);
	RUN_UNTIL(call->rx_status == 0);
	RUN_UNTIL(served->rx_status == 0);
	assert_string_equal(h2_call_text(call), "hello");

	struct h2_stats stats;
	h2_get_stats(client->conn, &stats);
	assert_int_equal(stats.streams, 0);
	assert_int_equal(stats.streams_total, 1);
	assert_true(stats.rtt_nsec > 0 && stats.heard > 0);
	assert_true(stats.rx_bytes > 0 && stats.tx_bytes > 0 && stats.rx_frames > 3);
	assert_false(stats.has_unsent);
}

static void test_answer_without_body(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	struct h2_call *served, *call = ask("GET", true, &served);
	assert_int_equal(h2_call_respond(served, 204, NULL, true), 0);
	RUN_UNTIL(call->has_head);
	assert_true(call->is_end);
	RUN_UNTIL(call->rx_status == 0);
	assert_int_equal(call->rx_total, 0);
	h2_call_close(call);
	h2_call_close(served);
	turns(3);
}

static void test_bodies_both_ways(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	enum { LEN = 3 << 20 };
	struct h2_call *served, *call = ask("POST", false, &served);
	answer(served, call);
	h2_call_write_pattern(call, LEN);
	h2_call_finish(call);
	h2_call_write_pattern(served, LEN);
	h2_call_finish(served);
	RUN_UNTIL(call->rx_status == 0 && served->rx_status == 0);
	uint64_t sum = h2_pattern_sum(LEN);
	assert_int_equal(call->rx_total, LEN);
	assert_int_equal(served->rx_total, LEN);
	assert_int_equal(call->rx_sum, sum);
	assert_int_equal(served->rx_sum, sum);
}

static void test_content_length_that_fits(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	static const struct http_field five = FIELD("content-length", "5");
	struct h2_call *call;
	assert_int_equal(h2_call_open(client, "POST", FIELDS(&five, 1), false, &call), 0);
	h2_call_write(call, "12345", 5);
	h2_call_finish(call);
	RUN_UNTIL(server->count == 1 && server->calls[0].rx_status == 0);
	assert_string_equal(h2_call_text(&server->calls[0]), "12345");
	/* The answer to a HEAD says how long it would be. */
	struct h2_call *served, *head = ask("HEAD", true, &served);
	assert_int_equal(h2_call_respond(served, 200, FIELDS(&five, 1), true), 0);
	RUN_UNTIL(head->rx_status == 0);
	assert_string_equal(head->head, "200|content-length=5");
}

static void test_content_length_that_doesnt_fit(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	static const struct http_field five = FIELD("content-length", "5");
	const char *bodies[] = { "1234", "123456" };
	for (unsigned int i = 0; i < ARRAY_SIZE(bodies); i++) {
		struct h2_call *served, *call, *up;
		assert_int_equal(h2_call_open(client, "POST", FIELDS(&five, 1), false, &up), 0);
		unsigned int at = server->count;
		h2_call_write(up, bodies[i], strlen(bodies[i]));
		h2_call_finish(up);
		RUN_UNTIL(server->count > at && server->calls[at].rx_status == -ECONNRESET);
		assert_int_equal(server->calls[at].s->error_code, H2_CODE_PROTOCOL_ERROR);
		RUN_UNTIL(up->rx_status == -ECONNRESET);
		assert_int_equal(up->s->error_code, H2_CODE_PROTOCOL_ERROR);

		call = ask("GET", true, &served);
		assert_int_equal(h2_call_respond(served, 200, FIELDS(&five, 1), false), 0);
		h2_call_write(served, bodies[i], strlen(bodies[i]));
		h2_call_finish(served);
		RUN_UNTIL(call->rx_status == -ECONNRESET);
		assert_int_equal(call->s->error_code, H2_CODE_PROTOCOL_ERROR);
	}
	assert_int_equal(client->closed + server->closed, 0);
}

static void test_trailers(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	static const struct http_field list[] = { FIELD("x-sum", "17"), FIELD("x-empty", "") };
	static const struct http_trailers trailers = { .fields = list, .count = 2 };
	struct h2_call *served, *call = ask("POST", false, &served);
	answer(served, call);
	assert_int_equal(h2_set_trailers(call->s, &trailers), 0);
	assert_int_equal(h2_set_trailers(served->s, &trailers), 0);
	h2_call_write(call, "body", 4);
	h2_call_finish(call);
	h2_call_finish(served); /* trailers without a body */
	RUN_UNTIL(call->rx_status == 0 && served->rx_status == 0);
	assert_string_equal(h2_call_text(served), "body");
	struct stream *ends[] = { call->s, served->s };
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++) {
		const struct http_trailers *got = h2_trailers(ends[i]);
		assert_int_equal(got->count, 2);
		assert_true(span_eq_str(got->fields[0].name, "x-sum"));
		assert_true(span_eq_str(got->fields[0].value, "17"));
		assert_true(span_eq_str(got->fields[1].name, "x-empty"));
		assert_int_equal(got->fields[1].value.len, 0);
	}
}

static void test_heads_that_cant_be_sent(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	static uint8_t big[70000];
	memset(big, 'a', sizeof(big));
	struct http_field field = { SPAN_LIT("x"), span_of(big, sizeof(big)) };
	struct h2_call *call, *served;
	assert_int_equal(h2_call_open(client, "GET", FIELDS(&field, 1), true, &call), -E2BIG);
	struct http_field some[8];
	for (unsigned int i = 0; i < ARRAY_SIZE(some); i++)
		some[i] = (struct http_field){ SPAN_LIT("x"), span_of(big, 10000) };
	assert_int_equal(h2_call_open(client, "GET", FIELDS(some, 8), true, &call), -E2BIG);
	call = ask("GET", true, &served);
	assert_int_equal(h2_call_respond(served, 200, FIELDS(some, 8), true), -E2BIG);
	assert_int_equal(h2_call_respond(served, 200, FIELDS(some, 2), true), 0);
	RUN_UNTIL(call->has_head);
}

/* ---- ends of streams --------------------------------------------------------------------------
 */

static void test_reset_ends_both_directions(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	struct h2_call *served, *call = ask("POST", false, &served);
	answer(served, call);
	stream_reset(served->s, H2_CODE_CANCEL);
	RUN_UNTIL(call->rx_status == -ECONNRESET && call->tx_status == -EPIPE);
	assert_int_equal(call->s->error_code, H2_CODE_CANCEL);
	RUN_UNTIL(served->rx_status == -ECONNRESET);
	assert_int_equal(stream_credit(served->s), 0);
	struct h2_stats stats;
	h2_get_stats(client->conn, &stats);
	assert_int_equal(stats.resets_by_peer, 1);
	/* Without a code each role has its own. */
	call = ask("POST", false, &served);
	h2_call_close(call);
	RUN_UNTIL(served->rx_status == -ECONNRESET);
	assert_int_equal(served->s->error_code, H2_CODE_CANCEL);
	call = ask("POST", false, &served);
	h2_call_close(served);
	RUN_UNTIL(call->rx_status == -ECONNRESET);
	assert_int_equal(call->s->error_code, H2_CODE_INTERNAL_ERROR);
	/* Before it went out. */
	assert_int_equal(h2_call_open(client, "POST", NULL, false, &call), 0);
	h2_call_close(call);
	turns(5);
	h2_get_stats(client->conn, &stats);
	assert_int_equal(stats.streams, 0);
}

static void test_unwanted_body_is_stopped(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	struct h2_call *served, *call = ask("POST", false, &served);
	h2_call_write_pattern(call, 1 << 20);
	stream_stop(served->s, 0);
	answer(served, call);
	h2_call_write(served, "no", 2);
	h2_call_finish(served);
	h2_call_close(served); /* goes on in the background */
	RUN_UNTIL(call->tx_status == -EPIPE);
	assert_int_equal(call->s->error_code, H2_CODE_NO_ERROR);
	RUN_UNTIL(call->rx_status == 0);
	assert_string_equal(h2_call_text(call), "no");

	call = ask("GET", true, &served);
	answer(served, call);
	h2_call_write_pattern(served, 1 << 20);
	stream_stop(call->s, 0);
	RUN_UNTIL(served->tx_status == -EPIPE);
	assert_int_equal(served->s->error_code, H2_CODE_CANCEL);
}

static void test_broken_body(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	struct h2_call *served, *call = ask("GET", true, &served);
	answer(served, call);
	call->is_quiet = true;
	h2_call_write_pattern(served, 20000);
	h2_finish_broken(served->s, H2_CODE_INTERNAL_ERROR);
	RUN_UNTIL(stream_read_error(call->s) == -ECONNRESET);
	assert_int_equal(call->s->error_code, H2_CODE_INTERNAL_ERROR);
	struct h2_stats stats;
	h2_get_stats(client->conn, &stats);
	assert_true(stats.rx_bytes > 20000); /* what there was came before */
	/* With nothing to send it is said at once. */
	call = ask("GET", true, &served);
	answer(served, call);
	h2_finish_broken(served->s, H2_CODE_INTERNAL_ERROR);
	RUN_UNTIL(call->rx_status == -ECONNRESET);
}

/* ---- credit -----------------------------------------------------------------------------------
 */

static void test_stalled_reader_stops_nobody_else(void **state)
{
	(void)state;
	pair.settings.conn_window = 256 * 1024;
	h2_pair_start(&pair);
	struct h2_call *served[8], *stalled[8];
	for (unsigned int i = 0; i < ARRAY_SIZE(stalled); i++) {
		stalled[i] = ask("GET", true, &served[i]);
		stalled[i]->is_quiet = true;
		answer(served[i], stalled[i]);
		h2_call_write_pattern(served[i], 1 << 20);
	}
	struct h2_call *other, *call = ask("GET", true, &other);
	answer(other, call);
	h2_call_write_pattern(other, 2 << 20);
	h2_call_finish(other);
	RUN_UNTIL(call->rx_status == 0);
	assert_int_equal(call->rx_total, 2 << 20);
	for (unsigned int i = 0; i < ARRAY_SIZE(stalled); i++) {
		assert_int_equal(stalled[i]->rx_total, 0);
		/* Its window and its queue are full, and not more. */
		assert_true(served[i]->tx_total <= 64 * 1024 + 256 * 1024);
		assert_true(stream_credit(served[i]->s) < 4096);
	}
	/* When it reads the rest comes. */
	h2_call_read(stalled[3]);
	RUN_UNTIL(stalled[3]->rx_total == 1 << 20);
}

static void test_window_grows_with_use(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	struct h2_call *served, *call = ask("GET", true, &served);
	answer(served, call);
	h2_call_write_pattern(served, 8 << 20);
	h2_call_finish(served);
	RUN_UNTIL(call->rx_status == 0);
	assert_int_equal(call->rx_sum, h2_pattern_sum(8 << 20));
}

/* Connection credit returns only when bytes are taken while memory is short. */
static void test_short_memory_holds_credit_back(void **state)
{
	(void)state;
	pair.settings.conn_window = 128 * 1024;
	pair.settings.conn_window_max = 128 * 1024;
	h2_pair_start(&pair);
	struct slab_stats stats;
	slab_get_stats(pair.slab, &stats);
	size_t taken = stats.limit / 10 * 8 - stats.reserved;
	slab_reserve(pair.slab, taken);
	struct h2_call *served[4], *call[4];
	for (unsigned int i = 0; i < 4; i++) {
		call[i] = ask("GET", true, &served[i]);
		call[i]->is_quiet = true;
		answer(served[i], call[i]);
		h2_call_write_pattern(served[i], 1 << 20);
	}
	struct h2_stats h2;
	RUN_UNTIL((h2_get_stats(server->conn, &h2), h2.credit_stalls > 0));
	for (unsigned int i = 0; i < 4; i++)
		h2_call_read(call[i]);
	RUN_UNTIL(call[0]->rx_total + call[1]->rx_total > 256 * 1024);
	slab_release(pair.slab, taken);
	RUN_UNTIL(call[0]->rx_total == 1 << 20 && call[3]->rx_total == 1 << 20);
}

static void test_round_robin_and_first(void **state)
{
	(void)state;
	pair.settings.stream_window = 1 << 20;
	h2_pair_start(&pair);
	struct h2_call *served[3], *call[3];
	for (unsigned int i = 0; i < 3; i++) {
		call[i] = ask("GET", true, &served[i]);
		answer(served[i], call[i]);
	}
	/* All bytes are queued before one goes out. */
	for (unsigned int i = 0; i < 3; i++)
		h2_call_write_pattern(served[i], 200 * 1024);
	h2_set_first(served[2]->s);
	uint64_t most = 0;
	while (call[2]->rx_total < 200 * 1024) {
		assert_int_equal(loop_turn(pair.loop, NSEC_PER_MSEC), 0);
		if (call[2]->rx_total < 100 * 1024)
			most = call[0]->rx_total + call[1]->rx_total;
	}
	assert_true(most < 64 * 1024);
	while (call[0]->rx_total < 200 * 1024) {
		uint64_t a = call[0]->rx_total, b = call[1]->rx_total;
		assert_true((a > b ? a - b : b - a) <= 300 * 1024);
		assert_int_equal(loop_turn(pair.loop, NSEC_PER_MSEC), 0);
	}
}

static void test_stream_limit(void **state)
{
	(void)state;
	pair.settings.max_streams = 2;
	h2_pair_start(&pair);
	struct h2_call *served, *a = ask("GET", true, &served), *b;
	assert_int_equal(h2_call_open(client, "GET", NULL, true, &b), 0);
	struct h2_call *c;
	assert_int_equal(h2_call_open(client, "GET", NULL, true, &c), -EAGAIN);
	h2_call_close(a);
	turns(3);
	assert_int_equal(h2_call_open(client, "GET", NULL, true, &c), 0);
}

/* ---- the connection ---------------------------------------------------------------------------
 */

static void test_ping(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	h2_ping(client->conn);
	h2_ping(client->conn); /* one at a time */
	RUN_UNTIL(client->pongs == 1);
	turns(3);
	assert_int_equal(client->pongs, 1);
	h2_ping(server->conn);
	RUN_UNTIL(server->pongs == 1);
}

static void test_drain(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	struct h2_call *control_served, *control = ask("GET", true, &control_served);
	answer(control_served, control);
	h2_hold(control_served->s);
	struct h2_call *served, *call = ask("GET", true, &served);
	answer(served, call);
	struct h2_stats stats;
	h2_get_stats(server->conn, &stats);
	assert_int_equal(stats.streams, 2);
	assert_int_equal(stats.running, 1);
	/* One that is on its way when the other end drains is refused. */
	struct h2_call *late;
	assert_int_equal(h2_call_open(client, "GET", NULL, true, &late), 0);
	h2_drain(server->conn);
	RUN_UNTIL(client->goaways == 1);
	struct h2_call *never;
	assert_int_equal(h2_call_open(client, "GET", NULL, true, &never), -EPROTO);
	RUN_UNTIL(late->rx_status == -ECONNRESET);
	assert_int_equal(late->s->error_code, H2_CODE_REFUSED_STREAM);
	h2_call_write_pattern(served, 100 * 1024);
	turns(3);
	assert_int_equal(server->closed, 0);
	h2_call_finish(served);
	RUN_UNTIL(server->closed == 1 && client->closed == 1);
	assert_int_equal(call->rx_total, 100 * 1024);
	assert_int_equal(call->rx_status, 0);
	assert_int_equal(server->end, H2_END_LOCAL);
	assert_int_equal(client->end, H2_END_PEER);
	assert_int_equal(client->code, H2_CODE_NO_ERROR);
	RUN_UNTIL(control->rx_status == -ECONNRESET);
}

static void test_client_drains(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	struct h2_call *served, *call = ask("GET", true, &served);
	h2_drain(client->conn);
	RUN_UNTIL(server->goaways == 1);
	answer(served, call);
	h2_call_finish(served);
	RUN_UNTIL(server->closed == 1 && client->closed == 1);
	assert_int_equal(call->rx_status, 0);
	assert_int_equal(client->end, H2_END_LOCAL);
}

static void test_close_with_a_code(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	struct h2_call *served, *call = ask("POST", false, &served);
	h2_close(server->conn, H2_CODE_ENHANCE_YOUR_CALM, "enough");
	assert_int_equal(server->closed, 0); /* not from inside a call */
	RUN_UNTIL(server->closed && client->closed);
	assert_int_equal(server->end, H2_END_LOCAL);
	assert_int_equal(client->end, H2_END_PEER);
	assert_int_equal(client->code, H2_CODE_ENHANCE_YOUR_CALM);
	assert_string_equal(client->reason, "enough");
	RUN_UNTIL(call->rx_status == -ECONNRESET && call->tx_status == -ECONNRESET);
	RUN_UNTIL(served->rx_status == -ECONNRESET);
	h2_close(server->conn, 0, "");
	turns(3);
	assert_int_equal(server->closed, 1);
}

static void free_now(struct h2_call *call)
{
	h2_free(call->end->conn);
	call->end->conn = NULL;
}

static void test_freed_in_its_callback(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	server->on_request = free_now;
	struct h2_call *a, *b;
	assert_int_equal(h2_call_open(client, "GET", NULL, true, &a), 0);
	assert_int_equal(h2_call_open(client, "GET", NULL, true, &b), 0);
	RUN_UNTIL(client->closed == 1);
	assert_int_equal(server->count, 1);
	assert_int_equal(server->closed, 0);
	RUN_UNTIL(server->calls[0].rx_status == 0 || server->calls[0].rx_status == -ECONNRESET);
}

static void answer_now(struct h2_call *call)
{
	assert_int_equal(h2_call_respond(call, 200, NULL, false), 0);
	h2_call_write(call, "x", 1);
	h2_call_finish(call);
	h2_call_close(call);
}

static void ask_many(void)
{
	struct h2_call *call[16];
	for (unsigned int i = 0; i < ARRAY_SIZE(call); i++)
		assert_int_equal(h2_call_open(client, "GET", NULL, true, &call[i]), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(call); i++) {
		RUN_UNTIL(call[i]->rx_status == 0);
		assert_int_equal(call[i]->rx_total, 1);
		h2_call_close(call[i]);
	}
	client->count = server->count = 0;
}

static void test_many_requests(void **state)
{
	(void)state;
	h2_pair_start(&pair);
	server->on_request = answer_now;
	for (unsigned int round = 0; round < 100; round++)
		ask_many();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_request_and_answer),
		T(test_answer_without_body),
		T(test_bodies_both_ways),
		T(test_content_length_that_fits),
		T(test_content_length_that_doesnt_fit),
		T(test_trailers),
		T(test_heads_that_cant_be_sent),
		T(test_reset_ends_both_directions),
		T(test_unwanted_body_is_stopped),
		T(test_broken_body),
		T(test_stalled_reader_stops_nobody_else),
		T(test_window_grows_with_use),
		T(test_short_memory_holds_credit_back),
		T(test_round_robin_and_first),
		T(test_stream_limit),
		T(test_ping),
		T(test_drain),
		T(test_client_drains),
		T(test_close_with_a_code),
		T(test_freed_in_its_callback),
		T(test_many_requests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
