/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of an edge over fake streams: what is served, what is refused with an answer, what is
 * reset; every way of cutting the first message, and in the smallest pieces.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/conf/load.h"
#include "daemon/conf/pattern.h"
#include "daemon/demux/demux_config.h"
#include "daemon/net/resolve.h"
#include "daemon/origin/origin.h"
#include "daemon/proxy/proxy_tcp.h"
#include "daemon/wire/preamble.h"
#include "daemon/wire/rpc_tunnel.h"
#include "selftests/lib/fake_stream.h"
#include "util/macro.h"

enum { TURNS = 40, WINDOW = 1 << 20 };

#define TOKEN                                                                                             \
	"eyJhIjoiMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAiLCJ0IjoiNmZmNDJhZTItNzY1ZC00YWRmLTgxMTItM"   \
	"zFjNTVjMTU1MWVmIiwicyI6IkFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE9IiwieCI6eyJ2" \
	"IjoxLCJlZGdlIjpbIjEyNy4wLjAuMTo3ODQ0Il19fQ=="

struct fixture {
	struct worker_set *set;
	struct worker *worker;
	struct metric_registry *reg;
	struct proxy_metrics metrics;
	struct proxy_rules *rules;
	struct resolver *resolver;
	struct origin_worker *origins;
	struct pattern_scratch *scratch;
	struct proxy_env proxy;
	struct demux demux;
};

static struct proxy_rules *load_rules(const struct proxy_metrics *m)
{
	static const char *const set[] = { "tunnel.url=http_status:418",
					   "network.allow=192.0.2.0/24" };
	struct conf_source src = { .set = set,
				   .set_count = ARRAY_SIZE(set),
				   .token = span_str(TOKEN) };
	struct conf_report report = {};
	struct conf *conf = NULL;
	struct proxy_rules *rules = NULL;
	int r = conf_load(&src, &report, &conf);
	conf_report_done(&report);
	assert_int_equal(r, 0);
	struct proxy_rules_error error = {};
	assert_int_equal(proxy_rules_new(conf, m, &rules, &error), 0);
	conf_unref(conf);
	return rules;
}

static int start(void **state)
{
	static struct fixture fx;
	fx = (struct fixture){};
	struct worker_params workers = { .count = 1, .memory = 8 << 20 };
	assert_int_equal(metric_registry_new(10000, &fx.reg), 0);
	workers.metrics = fx.reg;
	assert_int_equal(proxy_metrics_init(&fx.metrics, fx.reg), 0);
	assert_int_equal(worker_set_new(&workers, &fx.set), 0);
	fx.worker = worker_set_get(fx.set, 0);
	fx.rules = load_rules(&fx.metrics);
	assert_int_equal(resolver_new(fx.worker->loop, &fx.resolver), 0);
	struct origin_worker_params origins = { .loop = fx.worker->loop,
						.slab = fx.worker->slab,
						.resolver = fx.resolver,
						.workers = 1 };
	assert_int_equal(origin_worker_new(&origins, &fx.origins), 0);
	fx.scratch = pattern_scratch_new();
	assert_non_null(fx.scratch);
	fx.proxy = (struct proxy_env){
		.worker = fx.worker,
		.origins = fx.origins,
		.rules = fx.rules,
		.scratch = fx.scratch,
		.metrics = &fx.metrics,
		.limits = &http_limits_default,
		.connector_id = SPAN_LIT("id"),
		.active_max = 4,
	};
	list_init(&fx.proxy.exchanges);
	list_init(&fx.proxy.flows);
	demux_init(&fx.demux, &fx.proxy);
	*state = &fx;
	return 0;
}

static void turn(struct fixture *fx)
{
	for (int i = 0; i < TURNS; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 0), 0);
}

static int end(void **state)
{
	struct fixture *fx = *state;
	proxy_http_abort_all(&fx->proxy);
	proxy_tcp_abort_all(&fx->proxy);
	demux_done(&fx->demux);
	turn(fx);
	assert_int_equal(fx->proxy.active, 0);
	struct slab_stats stats;
	slab_get_stats(fx->worker->slab, &stats);
	assert_int_equal(stats.in_use, 0); /* every buffer has come back */
	origin_worker_free(fx->origins);
	resolver_free(fx->resolver);
	pattern_scratch_free(fx->scratch);
	proxy_rules_unref(fx->rules);
	worker_set_free(fx->set);
	metric_registry_free(fx->reg);
	return 0;
}

/* ---- playing the edge ---------------------------------------------------------------------- */

/* A stream that the edge has opened; step: the most that a read gives, 0 for all. */
static struct stream *open_stream(struct fixture *fx, size_t step)
{
	struct stream *ours, *peer;
	assert_int_equal(fake_pair_new(fx->worker->loop, fx->worker->slab, WINDOW, &ours, &peer),
			 0);
	fake_stream_set_step(ours, step);
	demux_stream(&fx->demux, ours, true, 0);
	return peer;
}

static uint8_t message_buf[4096];

/* Preamble and ConnectRequest. */
static struct span request_of(enum connect_type type, const char *dest)
{
	struct connect_writer w;
	struct span built;
	connect_writer_init(&w, message_buf, sizeof(message_buf));
	connect_request_begin(&w, type, span_str(dest), 2);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_METHOD), SPAN_LIT("GET"));
	connect_add(&w, SPAN_LIT(CONNECT_KEY_HOST), SPAN_LIT("h.test"));
	assert_int_equal(connect_finish(&w, &built), 0);
	return built;
}

/* What has come back on peer; a ConnectResponse is decoded. Returns what the stream said last. */
static int take_answer(struct stream *peer, uint8_t out[1024], struct connect_response *ret)
{
	size_t len = 0;
	int r = fake_stream_take(peer, out, 1024, &len);
	if (len > 0) {
		assert_memory_equal(out, message_buf, 6); /* the data signature */
		assert_int_equal(connect_response_decode(
					 span_of(out + PREAMBLE_MAX, len - PREAMBLE_MAX), ret),
				 0);
	}
	return r;
}

/* ---- tests --------------------------------------------------------------------------------- */

static void test_served(void **state)
{
	struct fixture *fx = *state;
	static const size_t steps[] = { 0, 1, 7 };
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct span m = request_of(CONNECT_TYPE_HTTP, "https://h.test/a?b");
		struct stream *peer = open_stream(fx, steps[i]);
		uint8_t out[1024];
		struct connect_response resp = {};
		fake_stream_put(peer, m.ptr, m.len);
		for (size_t n = 0; n < m.len / TURNS + 2; n++)
			turn(fx);
		assert_int_equal(take_answer(peer, out, &resp), 0);
		assert_int_equal(resp.status, 418);
		assert_int_equal(resp.error.len, 0);
		stream_close(peer);
		turn(fx);
	}
	assert_int_equal(fx->demux.stats.malformed + fx->demux.stats.cut_short, 0);
	assert_int_equal(metric_value(fx->reg, fx->metrics.total), ARRAY_SIZE(steps));
}

/* A service that makes no WebSocket of it answers as it does, and the bytes behind are dropped. */
static void test_websocket_declined(void **state)
{
	struct fixture *fx = *state;
	struct span m = request_of(CONNECT_TYPE_WEBSOCKET, "https://h.test/a");
	struct stream *peer = open_stream(fx, 0);
	uint8_t out[1024];
	struct connect_response resp = {};
	fake_stream_put(peer, m.ptr, m.len);
	fake_stream_put(peer, "frame", 5);
	turn(fx);
	assert_int_equal(take_answer(peer, out, &resp), 0);
	assert_int_equal(resp.status, 418);
	assert_int_equal(stream_write_error(peer), -EPIPE);
	stream_close(peer);
	turn(fx);
}

static void test_refused_with_an_answer(void **state)
{
	struct fixture *fx = *state;
	static const struct {
		enum connect_type type;
		const char *dest;
		const char *error;
	} cases[] = {
		{ CONNECT_TYPE_WEBSOCKET, "/%zz", "bad-request: " },
		{ CONNECT_TYPE_TCP, "127.0.0.1:22", "access-denied: " },
		{ CONNECT_TYPE_TCP, "localhost:22", "bad-request: not an ip:port" },
		{ CONNECT_TYPE_TCP, "192.0.2.1:0", "bad-request: not an ip:port" },
		{ (enum connect_type)3, "/", "bad-request: " },
		{ (enum connect_type)65535, "/", "bad-request: " },
		{ CONNECT_TYPE_HTTP, "/%zz", "bad-request: " },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct span m = request_of(cases[i].type, cases[i].dest);
		struct stream *peer = open_stream(fx, 0);
		uint8_t out[1024];
		struct connect_response resp = {};
		fake_stream_put(peer, m.ptr, m.len);
		turn(fx);
		assert_int_equal(take_answer(peer, out, &resp), 0);
		assert_true(span_starts_with(resp.error, span_str(cases[i].error)));
		assert_int_equal(resp.status, 0);
		stream_close(peer);
		turn(fx);
	}
}

static int push_config(struct fixture *fx, const char *text, char out[256])
{
	struct stream *ours, *peer;
	size_t len = 0;
	assert_int_equal(fake_pair_new(fx->worker->loop, fx->worker->slab, WINDOW, &ours, &peer),
			 0);
	demux_config_start(&fx->demux, ours);
	fake_stream_put(peer, text, strlen(text));
	turn(fx);
	stream_finish(peer);
	turn(fx);
	int r = fake_stream_take(peer, (uint8_t *)out, 255, &len);
	out[len] = '\0';
	stream_close(peer);
	turn(fx);
	return r;
}

/* Over HTTP/2: answered as over RPC, or refused where it is none. */
static void test_pushed_config(void **state)
{
	struct fixture *fx = *state;
	char out[256];
	assert_int_equal(push_config(fx, "{\"version\":3,\"config\":{}}", out), 0);
	assert_string_equal(out, "{\"lastAppliedVersion\":-1,\"err\":{\"message\":"
				 "\"the configuration of this tunnel is its local file\"}}");
	/* A version that isn't newer needs no words. */
	assert_int_equal(push_config(fx, "{\"version\":-1}", out), 0);
	assert_string_equal(out, "{\"lastAppliedVersion\":-1,\"err\":null}");
	assert_int_equal(push_config(fx, "hello", out), -ECONNRESET);
	assert_string_equal(out, "");
	assert_int_equal(fx->demux.config_count, 0);
}

/* What is only logged may be missing: an empty text has no bytes anywhere. */
static void test_flow_without_an_id(void **state)
{
	struct fixture *fx = *state;
	struct connect_writer w;
	struct span m;
	connect_writer_init(&w, message_buf, sizeof(message_buf));
	connect_request_begin(&w, CONNECT_TYPE_TCP, SPAN_LIT("192.0.2.1:9"), 1);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_FLOW_ID), span_of(NULL, 0));
	assert_int_equal(connect_finish(&w, &m), 0);
	struct stream *peer = open_stream(fx, 0);
	uint8_t out[1024];
	struct connect_response resp = {};
	fake_stream_put(peer, m.ptr, m.len);
	turn(fx);
	proxy_tcp_abort_all(&fx->proxy);
	turn(fx);
	assert_int_equal(take_answer(peer, out, &resp), 0);
	assert_true(resp.error.len > 0);
	assert_false(span_starts_with(resp.error, SPAN_LIT("access-denied")));
	stream_close(peer);
	turn(fx);
}

static void test_garbage(void **state)
{
	struct fixture *fx = *state;
	static const struct {
		const char *bytes;
		size_t len;
	} cases[] = {
		{ "GET / HTTP/1.1\r\n", 16 },
		{ "\x0a\x36\xcd\x12\xa1\x3f", 6 }, /* one bit off */
		/* one segment of 4 GiB words; 514 segments; a first segment without words */
		{ "\x0a\x36\xcd\x12\xa1\x3e\x30\x31\0\0\0\0\xff\xff\xff\xff", 16 },
		{ "\x0a\x36\xcd\x12\xa1\x3e\x30\x31\x01\x02\0\0\x01\0\0\0", 16 },
		{ "\x0a\x36\xcd\x12\xa1\x3e\x30\x31\0\0\0\0\0\0\0\0", 16 },
		/* a root pointer that leads out of the message */
		{ "\x0a\x36\xcd\x12\xa1\x3e\x30\x31\0\0\0\0\x01\0\0\0\xfc\xff\xff\x0f\x01\0\x01\0",
		  24 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stream *peer = open_stream(fx, 0);
		uint8_t out[64];
		size_t len = 0;
		fake_stream_put(peer, cases[i].bytes, cases[i].len);
		turn(fx);
		if (fake_stream_take(peer, out, sizeof(out), &len) != -ECONNRESET)
			fail_msg("case %zu", i);
		assert_int_equal(len, 0);
		assert_int_equal(fx->demux.stats.malformed, i + 1);
		stream_close(peer);
		turn(fx);
	}
	assert_true(list_is_empty(&fx->demux.undecided));
}

/* A stream that ends anywhere inside its first message is reset; one that is whole is served. */
static void test_cut_short(void **state)
{
	struct fixture *fx = *state;
	struct span m = request_of(CONNECT_TYPE_HTTP, "/");
	for (size_t n = 0; n < m.len; n++) {
		struct stream *peer = open_stream(fx, 0);
		uint8_t out[64];
		size_t len = 0;
		if (n)
			fake_stream_put(peer, m.ptr, n);
		stream_finish(peer);
		turn(fx);
		if (fake_stream_take(peer, out, sizeof(out), &len) != -ECONNRESET)
			fail_msg("cut at %zu", n);
		assert_int_equal(fx->demux.stats.cut_short + fx->demux.stats.malformed, n + 1);
		stream_close(peer);
		turn(fx);
	}
	assert_int_equal(metric_value(fx->reg, fx->metrics.total), 0);
}

/* The peer goes away while its message is half there; nothing stays. */
static void test_reset_by_the_edge(void **state)
{
	struct fixture *fx = *state;
	struct span m = request_of(CONNECT_TYPE_HTTP, "/");
	for (size_t n = 1; n < m.len; n += 5) {
		struct stream *peer = open_stream(fx, 0);
		fake_stream_put(peer, m.ptr, n);
		turn(fx);
		stream_reset(peer, STREAM_CODE_NONE);
		turn(fx);
		assert_true(list_is_empty(&fx->demux.undecided));
		stream_close(peer);
		turn(fx);
	}
}

/* Streams in every stage are given back when the worker ends: see end(). */
static void test_done_with_open_streams(void **state)
{
	struct fixture *fx = *state;
	struct span m = request_of(CONNECT_TYPE_HTTP, "/");
	static const uint8_t rpc[] = { 0x52, 0xbb, 0x82, 0x5c, 0xdb, 0x65 };
	struct stream *peers[3];
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		peers[i] = open_stream(fx, 0);
	fake_stream_put(peers[1], m.ptr, m.len / 2);
	fake_stream_put(peers[2], rpc, sizeof(rpc));
	turn(fx);
	assert_int_equal(list_is_empty(&fx->demux.rpc), false);
	demux_done(&fx->demux);
	turn(fx);
	assert_true(list_is_empty(&fx->demux.rpc));
	assert_true(list_is_empty(&fx->demux.undecided));
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		stream_close(peers[i]);
	turn(fx);
}

static void test_overloaded(void **state)
{
	struct fixture *fx = *state;
	struct span m = request_of(CONNECT_TYPE_HTTP, "/");
	fx->proxy.active_max = 0;
	struct stream *peer = open_stream(fx, 0);
	uint8_t out[1024];
	struct connect_response resp = {};
	fake_stream_put(peer, m.ptr, m.len);
	turn(fx);
	assert_int_equal(take_answer(peer, out, &resp), 0);
	assert_true(span_starts_with(resp.error, SPAN_LIT("overloaded: ")));
	stream_close(peer);
	turn(fx);
}

int main(void)
{
	conf_global_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_served, start, end),
		cmocka_unit_test_setup_teardown(test_websocket_declined, start, end),
		cmocka_unit_test_setup_teardown(test_refused_with_an_answer, start, end),
		cmocka_unit_test_setup_teardown(test_pushed_config, start, end),
		cmocka_unit_test_setup_teardown(test_flow_without_an_id, start, end),
		cmocka_unit_test_setup_teardown(test_garbage, start, end),
		cmocka_unit_test_setup_teardown(test_cut_short, start, end),
		cmocka_unit_test_setup_teardown(test_reset_by_the_edge, start, end),
		cmocka_unit_test_setup_teardown(test_done_with_open_streams, start, end),
		cmocka_unit_test_setup_teardown(test_overloaded, start, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
