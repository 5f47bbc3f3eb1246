/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links over HTTP/2 against one another: the control stream, requests as the rest of the program
 * sees them, trailers, ends of each kind, draining, and a peer that falls silent.
 */
#include "daemon/link/h2link.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/link/close.h"
#include "selftests/lib/h2link_world.h"
#include "util/cleanup.h"
#include "util/macro.h"

#define NAME "h2.cftunnel.com"

/* ---- tests --------------------------------------------------------------------------------- */

static void test_control_stream(void **state)
{
	(void)state;
	struct stream *second = NULL;
	assert_string_equal(hw.daemon.link->ops->protocol, "http2");
	hw_write_all(hw.daemon_control, SPAN_LIT("the daemon speaks first"));
	hw_expect_bytes(hw.edge_control, SPAN_LIT("the daemon speaks first"));
	hw_write_all(hw.edge_control, SPAN_LIT("and is answered"));
	hw_expect_bytes(hw.daemon_control, SPAN_LIT("and is answered"));
	/* The daemon opens no others. */
	assert_int_equal(link_open_stream(hw.daemon.link, &second), -EAGAIN);
	assert_int_equal(link_max_datagram(hw.daemon.link), 0);
	struct link_stats stats;
	link_get_stats(hw.daemon.link, &stats);
	assert_true(stats.group[0] && stats.rtt_nsec > 0 && stats.since > 0);
	stream_finish(hw.edge_control);
	hw_expect_end(hw.daemon_control);
}

static void test_request(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct hw_request req = {
		.type = CONNECT_TYPE_HTTP,
		.dest = "https://h.test/a/../b?q=1",
		.meta = { { .name = SPAN_LIT("X-Mixed-Case"), .value = SPAN_LIT("v") },
			  { .name = SPAN_LIT("Cookie"), .value = SPAN_LIT("a=1; b=2") },
			  { .name = SPAN_LIT("Connection"), .value = SPAN_LIT("close") } },
		.count = 3,
	};
	struct stream *s = hw_ask(&req, &d);
	struct connect_request got;
	assert_int_equal(connect_request_decode(hw_take_message(d), &got), 0);
	assert_int_equal(got.type, CONNECT_TYPE_HTTP);
	assert_true(span_eq_str(got.dest, "https://h.test/a/../b?q=1"));
	assert_true(span_eq_str(got.method, "GET") && span_eq_str(got.host, "h.test"));
	assert_true(got.is_framed);
	assert_true(span_eq_str(hw_find(&got.meta, true, "X-Mixed-Case"), "v"));
	assert_true(span_eq_str(hw_find(&got.meta, true, "Cookie"), "a=1; b=2"));
	assert_null(hw_find(&got.meta, true, "Connection").ptr);
	assert_null(hw_find(&got.meta, true, "Transfer-Encoding").ptr);
	hw_expect_end(d); /* no body: the head was the end */

	const struct connect_meta fields[] = {
		{ .name = SPAN_LIT("Content-Length"), .value = SPAN_LIT("5") },
		{ .name = SPAN_LIT("X-Answer"), .value = SPAN_LIT("a;b:c") },
		{ .name = SPAN_LIT("Cf-Proxy-Forged"), .value = SPAN_LIT("1") },
	};
	hw_answer(d, "203", fields, ARRAY_SIZE(fields));
	hw_write_all(d, SPAN_LIT("\x00\x05hello")); /* a frame of DATA */
	stream_finish(d);
	struct connect_response resp;
	assert_int_equal(connect_response_decode(hw_take_message(s), &resp), 0);
	assert_int_equal(resp.status, 203);
	assert_int_equal(resp.error.len, 0);
	assert_true(span_eq_str(hw_find(&resp.meta, true, "X-Answer"), "a;b:c"));
	assert_true(span_eq_str(hw_find(&resp.meta, true, "Content-Length"), "5"));
	assert_null(hw_find(&resp.meta, true, "Cf-Proxy-Forged").ptr);
	hw_expect_bytes(s, SPAN_LIT("hello")); /* not asked for in frames here */
	hw_expect_end(s);
	stream_close(d);
	stream_close(s);
}

/* Frames on both sides, trailers as HTTP/2 has them in between. */
static void test_trailers(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct hw_request req = {
		.type = CONNECT_TYPE_HTTP,
		.dest = "https://h.test/",
		.meta = { { .name = SPAN_LIT("Transfer-Encoding"), .value = SPAN_LIT("chunked") },
			  { .name = SPAN_LIT("TE"), .value = SPAN_LIT("trailers") } },
		.count = 2,
		.is_framed = true,
	};
	struct stream *s = hw_ask(&req, &d);
	struct connect_request got;
	assert_int_equal(connect_request_decode(hw_take_message(d), &got), 0);
	assert_true(span_eq_str(hw_find(&got.meta, true, "Transfer-Encoding"), "chunked"));
	assert_true(span_eq_str(hw_find(&got.meta, true, "TE"), "trailers"));
	/* DATA "up", TRAILERS x: y */
	static const char up[] = "\x00\x02up\x01\x04\x01x\x01y";
	hw_write_all(s, span_of(up, sizeof(up) - 1));
	stream_finish(s);
	hw_expect_bytes(d, span_of(up, sizeof(up) - 1));
	hw_expect_end(d);

	hw_answer(d, "200", NULL, 0);
	static const char down[] = "\x00\x04"
				   "down\x01\x04\x01z\x01w";
	hw_write_all(d, span_of(down, sizeof(down) - 1));
	stream_finish(d);
	struct connect_response resp;
	assert_int_equal(connect_response_decode(hw_take_message(s), &resp), 0);
	hw_expect_bytes(s, span_of(down, sizeof(down) - 1));
	hw_expect_end(s);
	stream_close(d);
	stream_close(s);
}

static void test_broken_answer(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct hw_request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = hw_ask(&req, &d);
	(void)hw_take_message(d);
	hw_answer(d, "200", NULL, 0);
	hw_write_all(d, SPAN_LIT("\x00\x07partial\x02\x01\x09")); /* ABORT, origin-reset */
	stream_finish(d);
	(void)hw_take_message(s);
	hw_expect_bytes(s, SPAN_LIT("partial"));
	size_t len = 0;
	assert_int_equal(hw_read_some(s, 1, &len), -ECONNRESET);
	stream_close(d);
	stream_close(s);
}

static void test_error_answer(void **state)
{
	(void)state;
	uint8_t buf[512];
	struct connect_writer w;
	struct span bytes = {};
	struct stream *d = NULL;
	const struct hw_request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = hw_ask(&req, &d);
	(void)hw_take_message(d);
	connect_writer_init(&w, buf, sizeof(buf));
	connect_response_begin(&w, SPAN_LIT("origin-refused: no"), 0);
	assert_int_equal(connect_finish(&w, &bytes), 0);
	hw_write_all(d, bytes);
	stream_finish(d);
	stream_close(d);
	struct connect_response resp;
	assert_int_equal(connect_response_decode(hw_take_message(s), &resp), 0);
	assert_true(span_eq_str(resp.error, "origin-refused: no"));
	stream_close(s);
}

static void test_websocket(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct hw_request req = {
		.type = CONNECT_TYPE_WEBSOCKET,
		.dest = "https://h.test/ws",
		.meta = { { .name = SPAN_LIT("Sec-WebSocket-Key"), .value = SPAN_LIT("k") } },
		.count = 1,
	};
	struct stream *s = hw_ask(&req, &d);
	struct connect_request got;
	assert_int_equal(connect_request_decode(hw_take_message(d), &got), 0);
	assert_int_equal(got.type, CONNECT_TYPE_WEBSOCKET);
	assert_null(hw_find(&got.meta, true, "cf-cloudflared-proxy-connection-upgrade").ptr);
	const struct connect_meta fields[] = {
		{ .name = SPAN_LIT("Upgrade"), .value = SPAN_LIT("websocket") },
		{ .name = SPAN_LIT("Sec-WebSocket-Accept"), .value = SPAN_LIT("x") },
	};
	hw_answer(d, "101", fields, ARRAY_SIZE(fields));
	struct connect_response resp;
	assert_int_equal(connect_response_decode(hw_take_message(s), &resp), 0);
	assert_int_equal(resp.status, 101);
	hw_write_all(s, SPAN_LIT("to the origin"));
	stream_finish(s);
	hw_expect_bytes(d, SPAN_LIT("to the origin"));
	hw_expect_end(d);
	hw_write_all(d, SPAN_LIT("still there"));
	hw_expect_bytes(s, SPAN_LIT("still there"));
	stream_finish(d);
	hw_expect_end(s);
	stream_close(d);
	stream_close(s);
}

static void test_websocket_declined(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct hw_request req = { .type = CONNECT_TYPE_WEBSOCKET,
					.dest = "https://h.test/ws" };
	struct stream *s = hw_ask(&req, &d);
	(void)hw_take_message(d);
	hw_answer(d, "200", NULL, 0);
	struct connect_response resp;
	assert_int_equal(connect_response_decode(hw_take_message(s), &resp), 0);
	assert_int_equal(resp.status, 200);
	stream_close(d);
	stream_close(s);
}

static void test_tcp(void **state)
{
	(void)state;
	uint8_t buf[256];
	struct connect_writer w;
	struct span bytes = {};
	struct stream *d = NULL;
	const struct hw_request req = { .type = CONNECT_TYPE_TCP,
					.dest = "[2001:db8::1]:22",
					.flow_id = "0123-tst" };
	struct stream *s = hw_ask(&req, &d);
	struct connect_request got;
	assert_int_equal(connect_request_decode(hw_take_message(d), &got), 0);
	assert_int_equal(got.type, CONNECT_TYPE_TCP);
	assert_true(span_eq_str(got.dest, "[2001:db8::1]:22"));
	assert_true(span_eq_str(hw_find(&got.meta, false, CONNECT_KEY_FLOW_ID), "0123-tst"));
	connect_writer_init(&w, buf, sizeof(buf));
	connect_response_begin(&w, span_of(NULL, 0), 0);
	assert_int_equal(connect_finish(&w, &bytes), 0);
	hw_write_all(d, bytes);
	hw_write_all(d, SPAN_LIT("SSH-2.0"));
	struct connect_response resp;
	assert_int_equal(connect_response_decode(hw_take_message(s), &resp), 0);
	assert_int_equal(resp.error.len, 0);
	hw_expect_bytes(s, SPAN_LIT("SSH-2.0"));
	stream_reset(s, STREAM_CODE_NONE);
	size_t len = 0;
	assert_int_equal(hw_read_some(d, 1, &len), -ECONNRESET);
	stream_close(d);
	stream_close(s);
}

/* The daemon answers with 60 000 bytes of fields; what the edge's user reads. */
static struct stream *answer_with_much(struct connect_response *ret)
{
	static char value[12000];
	struct stream *d = NULL;
	struct connect_meta fields[5];
	const struct hw_request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = hw_ask(&req, &d);
	(void)hw_take_message(d);
	memset(value, 'v', sizeof(value));
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++)
		fields[i] = (struct connect_meta){ .name = SPAN_LIT("X-Large"),
						   .value = span_of(value, sizeof(value)) };
	hw_answer(d, "200", fields, ARRAY_SIZE(fields));
	stream_close(d);
	assert_int_equal(connect_response_decode(hw_take_message(s), ret), 0);
	return s;
}

/* More than one field of HPACK may be: between our ends it is several. */
static void test_large_head(void **state)
{
	(void)state;
	struct connect_response resp;
	struct stream *s = answer_with_much(&resp);
	assert_int_equal(resp.meta.header_count, 5);
	assert_int_equal(hw_find(&resp.meta, true, "X-Large").len, 12000);
	stream_close(s);
}

/* The edge has said that it takes no such head. */
static void test_too_large_head(void **state)
{
	(void)state;
	struct connect_response resp;
	struct stream *s = answer_with_much(&resp);
	assert_true(span_starts_with(resp.error, SPAN_LIT("origin-protocol: ")));
	stream_close(s);
}

static bool is_daemon_closed(void)
{
	return hw.daemon.is_closed && hw.edge.is_closed;
}

static bool is_edge_draining(void)
{
	return hw.edge.is_draining;
}
/* Running streams end; then both sides close. */
static void test_daemon_drains(void **state)
{
	(void)state;
	struct stream *d = NULL, *late = NULL;
	const struct hw_request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = hw_ask(&req, &d);
	(void)hw_take_message(d);
	link_drain(hw.daemon.link);
	assert_true(hw.daemon.is_draining);
	assert_true(hw_until(is_edge_draining, 3000));
	assert_int_equal(link_open_stream(hw.edge.link, &late), -EPROTO);
	assert_false(hw.daemon.is_closed);
	hw_answer(d, "204", NULL, 0);
	stream_finish(d);
	stream_close(d);
	(void)hw_take_message(s);
	hw_expect_end(s);
	stream_close(s);
	assert_true(hw_until(is_daemon_closed, 3000));
	assert_int_equal(hw.daemon.info.end, LINK_END_LOCAL);
}

/* What crossed the daemon's GOAWAY wasn't looked at, and says so. */
static void test_refused_while_draining(void **state)
{
	(void)state;
	uint8_t buf[512];
	struct connect_writer w;
	struct span bytes = {};
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(hw.edge.link, &s), 0);
	connect_writer_init(&w, buf, sizeof(buf));
	connect_request_begin(&w, CONNECT_TYPE_HTTP, SPAN_LIT("https://h.test/"), 0);
	assert_int_equal(connect_finish(&w, &bytes), 0);
	link_drain(hw.daemon.link);
	hw_write_all(s, bytes);
	size_t len = 0;
	assert_int_equal(hw_read_some(s, 1, &len), -ECONNRESET);
	assert_int_equal(s->error_code, LINK_CODE_REFUSED);
	stream_close(s);
}

/* GOAWAY of the edge is what the end of the control stream is. */
static void test_edge_goes_away(void **state)
{
	(void)state;
	link_drain(hw.edge.link);
	hw_expect_end(hw.daemon_control);
}

static void test_close(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct hw_request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = hw_ask(&req, &d);
	link_close(hw.edge.link, 0, "enough");
	assert_false(hw.edge.is_closed); /* not from inside the call */
	assert_true(hw_until(is_daemon_closed, 3000));
	assert_int_equal(hw.edge.info.end, LINK_END_LOCAL);
	assert_int_equal(hw.daemon.info.end, LINK_END_PEER);
	size_t len = 0;
	assert_int_equal(hw_read_some(s, 1, &len), -ECONNRESET);
	stream_close(s);
	stream_close(d);
}

static bool is_one_closed(void)
{
	return hw.daemon.is_closed || hw.edge.is_closed;
}

static void test_wrong_name(void **state)
{
	(void)state;
	const struct h2link_dial params = { .settings = &hw.settings,
					    .peer = hw.addr,
					    .tls = hw.client_tls,
					    .trust = &hw.trust,
					    .server_name = "other.test" };
	assert_int_equal(h2link_dial(hw.worker, &params, &hw_sink, &hw.daemon, &hw.daemon.link), 0);
	assert_true(hw_until(is_one_closed, 3000));
	assert_int_equal(hw.daemon.info.end, LINK_END_CERTIFICATE);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	tcp_listener_stop(&hw.listener);
	hw_dial();
	assert_true(hw_until(is_one_closed, 3000));
	assert_int_equal(hw.daemon.info.end, LINK_END_REFUSED);
}

/* Somebody accepts and says nothing. */
static void keep_silent(struct tcp_listener *l, int fd, const struct ip_port *peer,
			const struct ip_port *local)
{
	(void)l;
	(void)fd; /* closed with the process */
	(void)peer;
	(void)local;
}

static void test_no_tls(void **state)
{
	(void)state;
	hw.listener.on_accept = keep_silent;
	hw.settings.connect_timeout = hw.settings.handshake_timeout = 100 * NSEC_PER_MSEC;
	hw_dial();
	assert_true(hw_until(is_one_closed, 3000));
	assert_int_equal(hw.daemon.info.end, LINK_END_HANDSHAKE);
}

static void test_never_registers(void **state)
{
	(void)state;
	hw.settings.open_timeout = 10 * NSEC_PER_SEC;
	hw_dial();
	assert_true(hw_until(hw_are_both_up, 3000));
	assert_true(hw_until(is_one_closed, 8000));
	assert_int_equal(hw.edge.info.end, LINK_END_HANDSHAKE);
}

static bool has_pinged(void)
{
	struct link_stats stats;
	link_get_stats(hw.daemon.link, &stats);
	return stats.heard > stats.since + 200 * NSEC_PER_MSEC;
}

static void test_keep_alive(void **state)
{
	(void)state;
	hw.settings.keep_alive = 250 * NSEC_PER_MSEC;
	link_probe(hw.daemon.link);
	assert_true(hw_until(has_pinged, 5000));
	assert_false(hw.daemon.is_closed || hw.daemon.is_suspect);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_control_stream, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_request, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_trailers, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_broken_answer, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_error_answer, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_websocket, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_websocket_declined, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_tcp, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_large_head, hw_setup_edge, hw_teardown),
		cmocka_unit_test_setup_teardown(test_too_large_head, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_daemon_drains, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_refused_while_draining, hw_setup_up,
						hw_teardown),
		cmocka_unit_test_setup_teardown(test_edge_goes_away, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_close, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_keep_alive, hw_setup_up, hw_teardown),
		cmocka_unit_test_setup_teardown(test_wrong_name, hw_setup, hw_teardown),
		cmocka_unit_test_setup_teardown(test_nobody_listens, hw_setup, hw_teardown),
		cmocka_unit_test_setup_teardown(test_no_tls, hw_setup, hw_teardown),
		cmocka_unit_test_setup_teardown(test_never_registers, hw_setup, hw_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
