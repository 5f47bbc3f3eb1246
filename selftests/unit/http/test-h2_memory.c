/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 while memory runs out: every allocation fails in turn, alone and with those after it, the
 * library's too, and so do slice nodes. Whatever was asked for comes to an end, the connections
 * close, nothing is leaked (the pair looks after buffers and grants, the sanitizer after the rest).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

#include <cmocka.h>

#include "daemon/flow/stream_io.h"
#include "selftests/lib/h2_pair.h"
#include "selftests/lib/scarce.h"
#include "util/macro.h"

enum {
	BUDGET = 8 << 20,
	BODY = 20 * 1000,
	CALLS = 4,
	LASTS = 5, /* turns that a lack of memory lasts */
};

static struct h2_pair pair;
static struct h2_end_point *const client = &pair.client, *const server = &pair.server;

static const struct http_field field = { .name = SPAN_LIT("x-sum"), .value = SPAN_LIT("17") };
static const struct http_trailers fields = { .fields = &field, .count = 1 };

/* ---- the library's memory ---------------------------------------------------------------------
 */

static void *lib_malloc(size_t size, void *user UNUSED)
{
	return malloc(size);
}

static void lib_free(void *p, void *user UNUSED)
{
	free(p);
}

static void *lib_calloc(size_t count, size_t size, void *user UNUSED)
{
	return calloc(count, size);
}

static void *lib_realloc(void *p, size_t size, void *user UNUSED)
{
	return realloc(p, size);
}

static nghttp2_mem memory = {
	.malloc = lib_malloc,
	.free = lib_free,
	.calloc = lib_calloc,
	.realloc = lib_realloc,
};

int __wrap_nghttp2_session_client_new2(nghttp2_session **ret, const nghttp2_session_callbacks *cb,
				       void *user, const nghttp2_option *option);
int __wrap_nghttp2_session_server_new2(nghttp2_session **ret, const nghttp2_session_callbacks *cb,
				       void *user, const nghttp2_option *option);
int __wrap_nghttp2_option_new(nghttp2_option **ret);
int __real_nghttp2_option_new(nghttp2_option **ret);
int __wrap_nghttp2_session_callbacks_new(nghttp2_session_callbacks **ret);
int __real_nghttp2_session_callbacks_new(nghttp2_session_callbacks **ret);

int __wrap_nghttp2_session_client_new2(nghttp2_session **ret, const nghttp2_session_callbacks *cb,
				       void *user, const nghttp2_option *option)
{
	return nghttp2_session_client_new3(ret, cb, user, option, &memory);
}

int __wrap_nghttp2_session_server_new2(nghttp2_session **ret, const nghttp2_session_callbacks *cb,
				       void *user, const nghttp2_option *option)
{
	return nghttp2_session_server_new3(ret, cb, user, option, &memory);
}

int __wrap_nghttp2_option_new(nghttp2_option **ret)
{
	return scarce_fails() ? NGHTTP2_ERR_NOMEM : __real_nghttp2_option_new(ret);
}

int __wrap_nghttp2_session_callbacks_new(nghttp2_session_callbacks **ret)
{
	return scarce_fails() ? NGHTTP2_ERR_NOMEM : __real_nghttp2_session_callbacks_new(ret);
}

/* ---- two connections and what they do ---------------------------------------------------------
 */

static void check(int r)
{
	assert_true(r == 0 || scarce_has_failed());
}

/* A body and trailers, or what an operator of a server does who can't: the stream goes. */
static void send_all(struct h2_call *call, int r)
{
	if (r == 0)
		r = h2_set_trailers(call->s, &fields);
	check(r);
	if (r < 0) {
		h2_call_close(call);
		return;
	}
	h2_call_write_pattern(call, BODY);
	h2_call_finish(call);
}

static void answer(struct h2_call *call)
{
	send_all(call, h2_call_respond(call, 200, &fields, false));
}

static void ask_all(void)
{
	for (unsigned int i = 0; i < CALLS; i++) {
		bool is_get = i % 2;
		struct h2_call *call;
		int r = h2_call_open(client, is_get ? "GET" : "POST", &fields, is_get, &call);
		check(r);
		if (r == 0 && !is_get)
			send_all(call, 0);
	}
}

static bool has_ended(const struct h2_call *call)
{
	ssize_t r = call->rx_status;
	return !call->s || r == 0 || (r < 0 && r != -EAGAIN && r != -ENOBUFS);
}

static bool are_over(const struct h2_end_point *e)
{
	for (unsigned int i = 0; i < e->count; i++)
		if (!has_ended(&e->calls[i]))
			return false;
	return true;
}

/* A user for whose bytes there was no buffer tries again; nobody would wake it. */
static void write_again(struct h2_end_point *e)
{
	for (unsigned int i = 0; i < e->count; i++) {
		struct h2_call *call = &e->calls[i];
		if (call->s && call->endless && bufq_is_empty(&call->tx) && !call->tx_status)
			h2_call_write_pattern(call, call->endless);
	}
}

static unsigned int turns_left;

static void turn(const struct scarce *plan)
{
	static nsec_t deadline;
	nsec_t now = nsec_clock(CLOCK_MONOTONIC);
	if (turns_left == LASTS)
		deadline = now + 10 * NSEC_PER_SEC;
	if (now > deadline)
		fail_msg("hangs: allocation %u and %u more, nodes %u",
			 (unsigned int)plan->allocation, (unsigned int)plan->run,
			 (unsigned int)plan->nodes);
	assert_int_equal(loop_turn(pair.loop, NSEC_PER_MSEC), 0);
	write_again(client);
	write_again(server);
	if (!scarce_has_failed() || !turns_left)
		return;
	turns_left--;
	if (!turns_left)
		scarce_relent();
}

static void run(const struct scarce *plan)
{
	h2_pair_init(&pair, BUDGET);
	h2_pair_start(&pair);
	server->on_request = answer;
	turns_left = LASTS;
	scarce_begin(plan);
	ask_all();
	for (unsigned int i = 0; i < 3; i++)
		turn(plan);
	if (client->count > 3)
		h2_call_close(&client->calls[3]); /* somebody doesn't wait */
	while (!are_over(client) || !are_over(server))
		turn(plan);
	if (!scarce_has_failed())
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(client->calls[i].rx_sum, h2_pattern_sum(BODY));
	h2_ping(server->conn);
	h2_drain(client->conn);
	while (!client->closed || !server->closed)
		turn(plan);
	scarce_relent();
	h2_pair_done(&pair);
}

static void test_nothing_fails(void **state UNUSED)
{
	run(&(struct scarce){});
	assert_false(scarce_has_failed());
	assert_in_range(scarce_allocations(), 20, 10000);
	assert_in_range(scarce_nodes(), 20, 10000);
}

static void test_every_allocation(void **state UNUSED)
{
	static const uint64_t runs[] = { 0, 3 };
	for (unsigned int i = 0; i < ARRAY_SIZE(runs); i++) {
		struct scarce plan = { .run = runs[i] };
		do {
			plan.allocation++;
			run(&plan);
		} while (scarce_has_failed());
		assert_true(plan.allocation > 20);
	}
}

static void test_every_node(void **state UNUSED)
{
	struct scarce plan = {};
	do {
		plan.nodes++;
		run(&plan);
	} while (scarce_has_failed());
}

/* ---- the beginning ----------------------------------------------------------------------------
 */

/* Whether something failed. */
static bool begin(enum h2_role role, uint64_t allocation)
{
	static const struct h2_events none = {};
	int fds[2];
	struct stream *below;
	h2_pair_init(&pair, BUDGET);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	assert_int_equal(stream_io_new(pair.loop, pair.slab, fds[0], NULL, &below), 0);
	struct h2_params params = {
		.role = role, .below = below, .settings = &pair.settings, .events = &none
	};
	struct h2_conn *conn = NULL;
	scarce_begin(&(struct scarce){ .allocation = allocation });
	int r = h2_new(pair.loop, pair.slab, &params, &conn);
	scarce_relent();
	assert_true(r == 0 || (r == -ENOMEM && !conn && scarce_has_failed()));
	h2_free(conn);
	assert_int_equal(loop_turn(pair.loop, 0), 0);
	/* The stream was taken either way. */
	char byte;
	while (recv(fds[1], &byte, 1, 0) > 0)
		;
	assert_int_equal(recv(fds[1], &byte, 1, 0), 0);
	assert_int_equal(close(fds[1]), 0);
	h2_pair_done(&pair);
	return scarce_has_failed();
}

static void test_beginning(void **state UNUSED)
{
	for (enum h2_role role = H2_ROLE_CLIENT; role <= H2_ROLE_SERVER; role++) {
		uint64_t allocation = 1;
		while (begin(role, allocation))
			allocation++;
		assert_true(allocation > 5);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_fails),
		cmocka_unit_test(test_every_allocation),
		cmocka_unit_test(test_every_node),
		cmocka_unit_test(test_beginning),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
