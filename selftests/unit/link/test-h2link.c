/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links over HTTP/2 against one another: the control stream, requests as the rest of the program
 * sees them, trailers, ends of each kind, draining, and a peer that falls silent.
 */
#include "daemon/link/h2link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/flow/frame.h"
#include "daemon/flow/framed.h"
#include "daemon/link/close.h"
#include "daemon/net/tcp.h"
#include "daemon/wire/capnp.h"
#include "daemon/wire/connect.h"
#include "selftests/lib/testcert.h"
#include "util/cleanup.h"
#include "util/macro.h"

#define NAME "h2.cftunnel.com"

enum { MEMORY = 64 * 1024 * 1024, STREAMS_MAX = 64, TEXT_MAX = 512 * 1024 };

/* One end as its user sees it. */
struct end {
	struct link *link;
	unsigned int ups;
	bool is_suspect, is_draining, is_closed;
	struct link_close_info info;
	struct stream *streams[STREAMS_MAX];
	uint64_t ids[STREAMS_MAX];
	unsigned int count;
	struct stream *config;
};

struct fixture {
	struct worker_set *set;
	struct worker *worker;
	struct test_cert ca, cert;
	SSL_CTX *client_tls, *server_tls;
	struct tls_trust trust;
	struct h2link_settings settings;
	struct tcp_listener listener;
	struct ip_port addr;
	struct end daemon, edge;
	struct stream *edge_control, *daemon_control;
};

static struct fixture fx;

static void on_state(struct link *link, enum link_state state, void *user)
{
	struct end *e = user;
	e->ups += state == LINK_STATE_UP;
	e->is_suspect = state == LINK_STATE_SUSPECT;
	e->is_draining |= state == LINK_STATE_DRAINING;
	if (state == LINK_STATE_CLOSED) {
		assert_false(e->is_closed);
		e->is_closed = true;
		e->info = link->close_info;
	}
}

static void on_stream(struct link *link, struct stream *stream, uint64_t id, void *user)
{
	(void)link;
	struct end *e = user;
	assert_true(e->count < STREAMS_MAX);
	e->ids[e->count] = id;
	e->streams[e->count++] = stream;
}

static void on_datagram(struct link *link, struct span payload, void *user)
{
	(void)link;
	(void)payload;
	(void)user;
	fail();
}

static void on_config(struct link *link, struct stream *stream, void *user)
{
	(void)link;
	((struct end *)user)->config = stream;
}

static const struct link_sink sink = {
	.on_state = on_state,
	.on_stream = on_stream,
	.on_datagram = on_datagram,
	.on_config = on_config,
};

/* ---- making -------------------------------------------------------------------------------- */

static void on_accept(struct tcp_listener *l, int fd, const struct ip_port *peer,
		      const struct ip_port *local)
{
	(void)l;
	(void)local;
	const struct h2link_accept accept = { .settings = &fx.settings,
					      .fd = fd,
					      .tls = fx.server_tls,
					      .peer = *peer,
					      .register_timeout = 5 * NSEC_PER_SEC };
	assert_int_equal(h2link_accept(fx.worker, &accept, &sink, &fx.edge, &fx.edge.link), 0);
}

static void turn(void)
{
	assert_int_equal(loop_turn(fx.worker->loop, NSEC_PER_MSEC), 0);
}

static bool until(bool (*check)(void), unsigned int msec)
{
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + msec * NSEC_PER_MSEC;
	while (!check()) {
		if (nsec_clock(CLOCK_MONOTONIC) > end)
			return false;
		turn();
	}
	return true;
}

static void listen_on_loopback(void)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	fx.addr = (struct ip_port){ .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
	int fd = tcp_listen(&fx.addr, false, 16);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	fx.addr.port = ntohs(((struct sockaddr_in *)(void *)&sa)->sin_port);
	fx.listener.on_accept = on_accept;
	assert_int_equal(tcp_listener_start(&fx.listener, fx.worker->loop, fd), 0);
}

static void dial(void)
{
	const struct h2link_dial params = { .settings = &fx.settings,
					    .peer = fx.addr,
					    .tls = fx.client_tls,
					    .trust = &fx.trust,
					    .server_name = NAME,
					    .is_ours = true };
	assert_int_equal(h2link_dial(fx.worker, &params, &sink, &fx.daemon, &fx.daemon.link), 0);
}

static bool are_both_up(void)
{
	return fx.daemon.ups > 0 && fx.edge.ups > 0;
}

static int setup(void **state)
{
	(void)state;
	fx = (struct fixture){ .settings = h2link_settings_default };
	const struct worker_params wp = { .count = 1, .memory = MEMORY };
	assert_int_equal(worker_set_new(&wp, &fx.set), 0);
	fx.worker = worker_set_get(fx.set, 0);
	fx.ca = test_ca_new("adit test CA");
	fx.cert = test_cert_new(&fx.ca, "DNS:" NAME);
	fx.server_tls = test_cert_server_ctx(&fx.cert);
	fx.client_tls = test_cert_client_ctx(&fx.ca);
	listen_on_loopback();
	return 0;
}

static int bring_up(void)
{
	dial();
	assert_true(until(are_both_up, 3000));
	assert_int_equal(fx.edge.count, 1);
	assert_int_equal(fx.edge.ids[0], 0);
	fx.edge_control = fx.edge.streams[0];
	fx.edge.streams[0] = NULL;
	assert_int_equal(link_open_stream(fx.daemon.link, &fx.daemon_control), 0);
	link_set_registered(fx.edge.link);
	return 0;
}

static int setup_up(void **state)
{
	setup(state);
	return bring_up();
}

/* An edge takes larger heads than a daemon. */
static int setup_edge(void **state)
{
	setup(state);
	fx.settings.h2.head_max = 192 * 1024;
	fx.settings.h2.line_max = 64 * 1024;
	return bring_up();
}

static void end_free(struct end *e)
{
	for (unsigned int i = 0; i < e->count; i++)
		stream_close(e->streams[i]);
	stream_close(e->config);
	link_free(e->link);
}

static int teardown(void **state)
{
	(void)state;
	tcp_listener_stop(&fx.listener);
	stream_close(fx.edge_control);
	stream_close(fx.daemon_control);
	end_free(&fx.daemon);
	end_free(&fx.edge);
	for (unsigned int i = 0; i < 8; i++)
		turn();
	struct slab_stats stats;
	slab_get_stats(fx.worker->slab, &stats);
	assert_int_equal(stats.in_use, 0);
	assert_int_equal(stats.reserved, 0);
	worker_set_free(fx.set);
	tlsctx_free(fx.client_tls);
	tlsctx_free(fx.server_tls);
	test_cert_free(&fx.cert);
	test_cert_free(&fx.ca);
	return 0;
}

/* ---- streams ------------------------------------------------------------------------------- */

static void write_all(struct stream *s, struct span bytes)
{
	struct bufq q;
	bufq_init(&q, fx.worker->slab);
	assert_int_equal(bufq_append_copy(&q, bytes), 0);
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	while (!bufq_is_empty(&q)) {
		ssize_t n = stream_write(s, &q, q.len);
		assert_true(n > 0 || n == -EAGAIN);
		assert_true(nsec_clock(CLOCK_MONOTONIC) < end);
		turn();
	}
	bufq_clear(&q);
}

static uint8_t text[TEXT_MAX];

/* Reads until the end, an error or len bytes; the last return, and how many bytes are in text. */
static ssize_t read_some(struct stream *s, size_t len, size_t *ret_len)
{
	struct bufq q;
	bufq_init(&q, fx.worker->slab);
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	ssize_t n = -EAGAIN;
	while ((n > 0 || n == -EAGAIN) && q.len < len) {
		n = stream_read(s, &q, len - q.len);
		assert_true(nsec_clock(CLOCK_MONOTONIC) < end);
		if (n == -EAGAIN)
			turn();
	}
	assert_true(q.len <= sizeof(text));
	*ret_len = bufq_copy_out(&q, text, q.len);
	bufq_clear(&q);
	return n;
}

static void expect_bytes(struct stream *s, struct span want)
{
	size_t len = 0;
	(void)read_some(s, want.len, &len);
	assert_int_equal(len, want.len);
	assert_memory_equal(text, want.ptr, want.len);
}

static void expect_end(struct stream *s)
{
	size_t len = 0;
	assert_int_equal(read_some(s, 1, &len), 0);
	assert_int_equal(len, 0);
}

struct request {
	enum connect_type type;
	const char *dest;
	struct connect_meta meta[8];
	unsigned int count;
	bool is_framed;
	const char *flow_id;
};

/* The edge's user writes a ConnectRequest; the stream, and the one that the daemon gets. */
static struct stream *ask(const struct request *req, struct stream **ret_daemon)
{
	uint8_t buf[8192];
	struct connect_writer w;
	struct span bytes = {};
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(fx.edge.link, &s), 0);
	connect_writer_init(&w, buf, sizeof(buf));
	connect_request_begin(&w, req->type, span_str(req->dest),
			      2 + req->count + req->is_framed + (req->flow_id != NULL));
	connect_add(&w, SPAN_LIT(CONNECT_KEY_METHOD), SPAN_LIT("GET"));
	connect_add(&w, SPAN_LIT(CONNECT_KEY_HOST), SPAN_LIT("h.test"));
	if (req->is_framed)
		connect_add(&w, SPAN_LIT(CONNECT_KEY_FRAMES), SPAN_LIT("1"));
	if (req->flow_id)
		connect_add(&w, SPAN_LIT(CONNECT_KEY_FLOW_ID), span_str(req->flow_id));
	for (unsigned int i = 0; i < req->count; i++)
		connect_add_header(&w, req->meta[i].name, req->meta[i].value);
	assert_int_equal(connect_finish(&w, &bytes), 0);
	write_all(s, bytes);
	fx.daemon.count = 0;
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 3 * NSEC_PER_SEC;
	while (!fx.daemon.count && nsec_clock(CLOCK_MONOTONIC) < end)
		turn();
	assert_int_equal(fx.daemon.count, 1);
	*ret_daemon = TAKE_PTR(fx.daemon.streams[0]);
	return s;
}

/* Reads preamble and message into text. */
static struct span take_message(struct stream *s)
{
	struct bufq q;
	struct preamble_reader pre = {};
	size_t len = 0;
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	bufq_init(&q, fx.worker->slab);
	bool has_preamble = false;
	for (;;) {
		if (!has_preamble)
			has_preamble = frame_preamble(&q, &pre) == 0;
		if (has_preamble && frame_next(&q, CAPNP_CONNECT_MAX, &len) == 0)
			break;
		ssize_t n = stream_read(s, &q, 1);
		assert_true(n > 0 || n == -EAGAIN);
		assert_true(nsec_clock(CLOCK_MONOTONIC) < end);
		if (n == -EAGAIN)
			turn();
	}
	assert_int_equal(q.len, len);
	assert_int_equal(bufq_copy_out(&q, text, len), len);
	bufq_clear(&q);
	return span_of(text, len);
}

static void answer(struct stream *s, const char *status, const struct connect_meta *fields,
		   unsigned int count)
{
	uint8_t *buf = malloc(TEXT_MAX);
	struct connect_writer w;
	struct span bytes = {};
	connect_writer_init(&w, buf, TEXT_MAX);
	connect_response_begin(&w, span_of(NULL, 0), 1 + count);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_STATUS), span_str(status));
	for (unsigned int i = 0; i < count; i++)
		connect_add_header(&w, fields[i].name, fields[i].value);
	assert_int_equal(connect_finish(&w, &bytes), 0);
	write_all(s, bytes);
	free(buf);
}

/* The value of an entry: of a field of this name, in any case, or of a key. */
static struct span find(struct connect_metadata *meta, bool is_header, const char *name)
{
	struct connect_iter it = {};
	struct connect_meta m;
	while (connect_next(meta, &it, &m))
		if (m.is_header == is_header && span_eq_nocase(m.name, span_str(name)))
			return m.value;
	return span_of(NULL, 0);
}

/* ---- tests --------------------------------------------------------------------------------- */

static void test_control_stream(void **state)
{
	(void)state;
	struct stream *second = NULL;
	assert_string_equal(fx.daemon.link->ops->protocol, "http2");
	write_all(fx.daemon_control, SPAN_LIT("the daemon speaks first"));
	expect_bytes(fx.edge_control, SPAN_LIT("the daemon speaks first"));
	write_all(fx.edge_control, SPAN_LIT("and is answered"));
	expect_bytes(fx.daemon_control, SPAN_LIT("and is answered"));
	/* The daemon opens no others. */
	assert_int_equal(link_open_stream(fx.daemon.link, &second), -EAGAIN);
	assert_int_equal(link_max_datagram(fx.daemon.link), 0);
	struct link_stats stats;
	link_get_stats(fx.daemon.link, &stats);
	assert_true(stats.group[0] && stats.rtt_nsec > 0 && stats.since > 0);
	stream_finish(fx.edge_control);
	expect_end(fx.daemon_control);
}

static void test_request(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct request req = {
		.type = CONNECT_TYPE_HTTP,
		.dest = "https://h.test/a/../b?q=1",
		.meta = { { .name = SPAN_LIT("X-Mixed-Case"), .value = SPAN_LIT("v") },
			  { .name = SPAN_LIT("Cookie"), .value = SPAN_LIT("a=1; b=2") },
			  { .name = SPAN_LIT("Connection"), .value = SPAN_LIT("close") } },
		.count = 3,
	};
	struct stream *s = ask(&req, &d);
	struct connect_request got;
	assert_int_equal(connect_request_decode(take_message(d), &got), 0);
	assert_int_equal(got.type, CONNECT_TYPE_HTTP);
	assert_true(span_eq_str(got.dest, "https://h.test/a/../b?q=1"));
	assert_true(span_eq_str(got.method, "GET") && span_eq_str(got.host, "h.test"));
	assert_true(got.is_framed);
	assert_true(span_eq_str(find(&got.meta, true, "X-Mixed-Case"), "v"));
	assert_true(span_eq_str(find(&got.meta, true, "Cookie"), "a=1; b=2"));
	assert_null(find(&got.meta, true, "Connection").ptr);
	assert_null(find(&got.meta, true, "Transfer-Encoding").ptr);
	expect_end(d); /* no body: the head was the end */

	const struct connect_meta fields[] = {
		{ .name = SPAN_LIT("Content-Length"), .value = SPAN_LIT("5") },
		{ .name = SPAN_LIT("X-Answer"), .value = SPAN_LIT("a;b:c") },
		{ .name = SPAN_LIT("Cf-Proxy-Forged"), .value = SPAN_LIT("1") },
	};
	answer(d, "203", fields, ARRAY_SIZE(fields));
	write_all(d, SPAN_LIT("\x00\x05hello")); /* a frame of DATA */
	stream_finish(d);
	struct connect_response resp;
	assert_int_equal(connect_response_decode(take_message(s), &resp), 0);
	assert_int_equal(resp.status, 203);
	assert_int_equal(resp.error.len, 0);
	assert_true(span_eq_str(find(&resp.meta, true, "X-Answer"), "a;b:c"));
	assert_true(span_eq_str(find(&resp.meta, true, "Content-Length"), "5"));
	assert_null(find(&resp.meta, true, "Cf-Proxy-Forged").ptr);
	expect_bytes(s, SPAN_LIT("hello")); /* not asked for in frames here */
	expect_end(s);
	stream_close(d);
	stream_close(s);
}

/* Frames on both sides, trailers as HTTP/2 has them in between. */
static void test_trailers(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct request req = {
		.type = CONNECT_TYPE_HTTP,
		.dest = "https://h.test/",
		.meta = { { .name = SPAN_LIT("Transfer-Encoding"), .value = SPAN_LIT("chunked") },
			  { .name = SPAN_LIT("TE"), .value = SPAN_LIT("trailers") } },
		.count = 2,
		.is_framed = true,
	};
	struct stream *s = ask(&req, &d);
	struct connect_request got;
	assert_int_equal(connect_request_decode(take_message(d), &got), 0);
	assert_true(span_eq_str(find(&got.meta, true, "Transfer-Encoding"), "chunked"));
	assert_true(span_eq_str(find(&got.meta, true, "TE"), "trailers"));
	/* DATA "up", TRAILERS x: y */
	static const char up[] = "\x00\x02up\x01\x04\x01x\x01y";
	write_all(s, span_of(up, sizeof(up) - 1));
	stream_finish(s);
	expect_bytes(d, span_of(up, sizeof(up) - 1));
	expect_end(d);

	answer(d, "200", NULL, 0);
	static const char down[] = "\x00\x04"
				   "down\x01\x04\x01z\x01w";
	write_all(d, span_of(down, sizeof(down) - 1));
	stream_finish(d);
	struct connect_response resp;
	assert_int_equal(connect_response_decode(take_message(s), &resp), 0);
	expect_bytes(s, span_of(down, sizeof(down) - 1));
	expect_end(s);
	stream_close(d);
	stream_close(s);
}

static void test_broken_answer(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = ask(&req, &d);
	(void)take_message(d);
	answer(d, "200", NULL, 0);
	write_all(d, SPAN_LIT("\x00\x07partial\x02\x01\x09")); /* ABORT, origin-reset */
	stream_finish(d);
	(void)take_message(s);
	expect_bytes(s, SPAN_LIT("partial"));
	size_t len = 0;
	assert_int_equal(read_some(s, 1, &len), -ECONNRESET);
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
	const struct request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = ask(&req, &d);
	(void)take_message(d);
	connect_writer_init(&w, buf, sizeof(buf));
	connect_response_begin(&w, SPAN_LIT("origin-refused: no"), 0);
	assert_int_equal(connect_finish(&w, &bytes), 0);
	write_all(d, bytes);
	stream_finish(d);
	stream_close(d);
	struct connect_response resp;
	assert_int_equal(connect_response_decode(take_message(s), &resp), 0);
	assert_true(span_eq_str(resp.error, "origin-refused: no"));
	stream_close(s);
}

static void test_websocket(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct request req = {
		.type = CONNECT_TYPE_WEBSOCKET,
		.dest = "https://h.test/ws",
		.meta = { { .name = SPAN_LIT("Sec-WebSocket-Key"), .value = SPAN_LIT("k") } },
		.count = 1,
	};
	struct stream *s = ask(&req, &d);
	struct connect_request got;
	assert_int_equal(connect_request_decode(take_message(d), &got), 0);
	assert_int_equal(got.type, CONNECT_TYPE_WEBSOCKET);
	assert_null(find(&got.meta, true, "cf-cloudflared-proxy-connection-upgrade").ptr);
	const struct connect_meta fields[] = {
		{ .name = SPAN_LIT("Upgrade"), .value = SPAN_LIT("websocket") },
		{ .name = SPAN_LIT("Sec-WebSocket-Accept"), .value = SPAN_LIT("x") },
	};
	answer(d, "101", fields, ARRAY_SIZE(fields));
	struct connect_response resp;
	assert_int_equal(connect_response_decode(take_message(s), &resp), 0);
	assert_int_equal(resp.status, 101);
	write_all(s, SPAN_LIT("to the origin"));
	stream_finish(s);
	expect_bytes(d, SPAN_LIT("to the origin"));
	expect_end(d);
	write_all(d, SPAN_LIT("still there"));
	expect_bytes(s, SPAN_LIT("still there"));
	stream_finish(d);
	expect_end(s);
	stream_close(d);
	stream_close(s);
}

static void test_websocket_declined(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct request req = { .type = CONNECT_TYPE_WEBSOCKET, .dest = "https://h.test/ws" };
	struct stream *s = ask(&req, &d);
	(void)take_message(d);
	answer(d, "200", NULL, 0);
	struct connect_response resp;
	assert_int_equal(connect_response_decode(take_message(s), &resp), 0);
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
	const struct request req = { .type = CONNECT_TYPE_TCP,
				     .dest = "[2001:db8::1]:22",
				     .flow_id = "0123-tst" };
	struct stream *s = ask(&req, &d);
	struct connect_request got;
	assert_int_equal(connect_request_decode(take_message(d), &got), 0);
	assert_int_equal(got.type, CONNECT_TYPE_TCP);
	assert_true(span_eq_str(got.dest, "[2001:db8::1]:22"));
	assert_true(span_eq_str(find(&got.meta, false, CONNECT_KEY_FLOW_ID), "0123-tst"));
	connect_writer_init(&w, buf, sizeof(buf));
	connect_response_begin(&w, span_of(NULL, 0), 0);
	assert_int_equal(connect_finish(&w, &bytes), 0);
	write_all(d, bytes);
	write_all(d, SPAN_LIT("SSH-2.0"));
	struct connect_response resp;
	assert_int_equal(connect_response_decode(take_message(s), &resp), 0);
	assert_int_equal(resp.error.len, 0);
	expect_bytes(s, SPAN_LIT("SSH-2.0"));
	stream_reset(s, STREAM_CODE_NONE);
	size_t len = 0;
	assert_int_equal(read_some(d, 1, &len), -ECONNRESET);
	stream_close(d);
	stream_close(s);
}

/* The daemon answers with 60 000 bytes of fields; what the edge's user reads. */
static struct stream *answer_with_much(struct connect_response *ret)
{
	static char value[12000];
	struct stream *d = NULL;
	struct connect_meta fields[5];
	const struct request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = ask(&req, &d);
	(void)take_message(d);
	memset(value, 'v', sizeof(value));
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++)
		fields[i] = (struct connect_meta){ .name = SPAN_LIT("X-Large"),
						   .value = span_of(value, sizeof(value)) };
	answer(d, "200", fields, ARRAY_SIZE(fields));
	stream_close(d);
	assert_int_equal(connect_response_decode(take_message(s), ret), 0);
	return s;
}

/* More than one field of HPACK may be: between our ends it is several. */
static void test_large_head(void **state)
{
	(void)state;
	struct connect_response resp;
	struct stream *s = answer_with_much(&resp);
	assert_int_equal(resp.meta.header_count, 5);
	assert_int_equal(find(&resp.meta, true, "X-Large").len, 12000);
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
	return fx.daemon.is_closed && fx.edge.is_closed;
}

static bool is_edge_draining(void)
{
	return fx.edge.is_draining;
}
/* Running streams end; then both sides close. */
static void test_daemon_drains(void **state)
{
	(void)state;
	struct stream *d = NULL, *late = NULL;
	const struct request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = ask(&req, &d);
	(void)take_message(d);
	link_drain(fx.daemon.link);
	assert_true(fx.daemon.is_draining);
	assert_true(until(is_edge_draining, 3000));
	assert_int_equal(link_open_stream(fx.edge.link, &late), -EPROTO);
	assert_false(fx.daemon.is_closed);
	answer(d, "204", NULL, 0);
	stream_finish(d);
	stream_close(d);
	(void)take_message(s);
	expect_end(s);
	stream_close(s);
	assert_true(until(is_daemon_closed, 3000));
	assert_int_equal(fx.daemon.info.end, LINK_END_LOCAL);
}

/* GOAWAY of the edge is what the end of the control stream is. */
static void test_edge_goes_away(void **state)
{
	(void)state;
	link_drain(fx.edge.link);
	expect_end(fx.daemon_control);
}

static void test_close(void **state)
{
	(void)state;
	struct stream *d = NULL;
	const struct request req = { .type = CONNECT_TYPE_HTTP, .dest = "https://h.test/" };
	struct stream *s = ask(&req, &d);
	link_close(fx.edge.link, 0, "enough");
	assert_false(fx.edge.is_closed); /* not from inside the call */
	assert_true(until(is_daemon_closed, 3000));
	assert_int_equal(fx.edge.info.end, LINK_END_LOCAL);
	assert_int_equal(fx.daemon.info.end, LINK_END_PEER);
	size_t len = 0;
	assert_int_equal(read_some(s, 1, &len), -ECONNRESET);
	stream_close(s);
	stream_close(d);
}

static bool is_one_closed(void)
{
	return fx.daemon.is_closed || fx.edge.is_closed;
}

static void test_wrong_name(void **state)
{
	(void)state;
	const struct h2link_dial params = { .settings = &fx.settings,
					    .peer = fx.addr,
					    .tls = fx.client_tls,
					    .trust = &fx.trust,
					    .server_name = "other.test" };
	assert_int_equal(h2link_dial(fx.worker, &params, &sink, &fx.daemon, &fx.daemon.link), 0);
	assert_true(until(is_one_closed, 3000));
	assert_int_equal(fx.daemon.info.end, LINK_END_CERTIFICATE);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	tcp_listener_stop(&fx.listener);
	dial();
	assert_true(until(is_one_closed, 3000));
	assert_int_equal(fx.daemon.info.end, LINK_END_REFUSED);
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
	fx.listener.on_accept = keep_silent;
	fx.settings.connect_timeout = fx.settings.handshake_timeout = 100 * NSEC_PER_MSEC;
	dial();
	assert_true(until(is_one_closed, 3000));
	assert_int_equal(fx.daemon.info.end, LINK_END_HANDSHAKE);
}

static void test_never_registers(void **state)
{
	(void)state;
	fx.settings.open_timeout = 10 * NSEC_PER_SEC;
	dial();
	assert_true(until(are_both_up, 3000));
	assert_true(until(is_one_closed, 8000));
	assert_int_equal(fx.edge.info.end, LINK_END_HANDSHAKE);
}

static bool has_pinged(void)
{
	struct link_stats stats;
	link_get_stats(fx.daemon.link, &stats);
	return stats.heard > stats.since + 200 * NSEC_PER_MSEC;
}

static void test_keep_alive(void **state)
{
	(void)state;
	fx.settings.keep_alive = 250 * NSEC_PER_MSEC;
	link_probe(fx.daemon.link);
	assert_true(until(has_pinged, 5000));
	assert_false(fx.daemon.is_closed || fx.daemon.is_suspect);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_control_stream, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_request, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_trailers, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_broken_answer, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_error_answer, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_websocket, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_websocket_declined, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_tcp, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_large_head, setup_edge, teardown),
		cmocka_unit_test_setup_teardown(test_too_large_head, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_daemon_drains, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_edge_goes_away, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_close, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_keep_alive, setup_up, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_listens, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_tls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_never_registers, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
