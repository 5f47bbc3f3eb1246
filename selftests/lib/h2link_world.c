/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two links over HTTP/2 against one another.
 */
#include "selftests/lib/h2link_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/flow/frame.h"
#include "daemon/wire/capnp.h"
#include "util/cleanup.h"
#include "util/macro.h"

#define NAME "h2.cftunnel.com"

struct h2link_world hw;

static void on_state(struct link *link, enum link_state state, void *user)
{
	struct hw_end *e = user;
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
	struct hw_end *e = user;
	assert_true(e->count < HW_STREAMS_MAX);
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
	((struct hw_end *)user)->config = stream;
}

const struct link_sink hw_sink = {
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
	const struct h2link_accept accept = { .settings = &hw.settings,
					      .fd = fd,
					      .tls = hw.server_tls,
					      .peer = *peer,
					      .register_timeout = 5 * NSEC_PER_SEC };
	assert_int_equal(h2link_accept(hw.worker, &accept, &hw_sink, &hw.edge, &hw.edge.link), 0);
}

void hw_turn(void)
{
	assert_int_equal(loop_turn(hw.worker->loop, NSEC_PER_MSEC), 0);
}

bool hw_until(bool (*check)(void), unsigned int msec)
{
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + msec * NSEC_PER_MSEC;
	while (!check()) {
		if (nsec_clock(CLOCK_MONOTONIC) > end)
			return false;
		hw_turn();
	}
	return true;
}

static void listen_on_loopback(void)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	hw.addr = (struct ip_port){ .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
	int fd = tcp_listen(&hw.addr, false, 16);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	hw.addr.port = ntohs(((struct sockaddr_in *)(void *)&sa)->sin_port);
	hw.listener.on_accept = on_accept;
	assert_int_equal(tcp_listener_start(&hw.listener, hw.worker->loop, fd), 0);
}

void hw_dial(void)
{
	const struct h2link_dial params = { .settings = &hw.settings,
					    .peer = hw.addr,
					    .tls = hw.client_tls,
					    .trust = &hw.trust,
					    .server_name = NAME,
					    .is_ours = true };
	assert_int_equal(h2link_dial(hw.worker, &params, &hw_sink, &hw.daemon, &hw.daemon.link), 0);
}

bool hw_are_both_up(void)
{
	return hw.daemon.ups > 0 && hw.edge.ups > 0;
}

int hw_setup(void **state)
{
	(void)state;
	hw = (struct h2link_world){ .settings = h2link_settings_default };
	const struct worker_params wp = { .count = 1, .memory = HW_MEMORY };
	assert_int_equal(worker_set_new(&wp, &hw.set), 0);
	hw.worker = worker_set_get(hw.set, 0);
	hw.ca = test_ca_new("adit test CA");
	hw.cert = test_cert_new(&hw.ca, "DNS:" NAME);
	hw.server_tls = test_cert_server_ctx(&hw.cert);
	hw.client_tls = test_cert_client_ctx(&hw.ca);
	listen_on_loopback();
	return 0;
}

static int bring_up(void)
{
	hw_dial();
	assert_true(hw_until(hw_are_both_up, 3000));
	assert_int_equal(hw.edge.count, 1);
	assert_int_equal(hw.edge.ids[0], 0);
	hw.edge_control = hw.edge.streams[0];
	hw.edge.streams[0] = NULL;
	assert_int_equal(link_open_stream(hw.daemon.link, &hw.daemon_control), 0);
	link_set_registered(hw.edge.link);
	return 0;
}

int hw_setup_up(void **state)
{
	hw_setup(state);
	return bring_up();
}

/* An edge takes larger heads than a daemon. */
int hw_setup_edge(void **state)
{
	hw_setup(state);
	hw.settings.h2.head_max = 192 * 1024;
	hw.settings.h2.line_max = 64 * 1024;
	return bring_up();
}

static void end_free(struct hw_end *e)
{
	for (unsigned int i = 0; i < e->count; i++)
		stream_close(e->streams[i]);
	stream_close(e->config);
	link_free(e->link);
}

int hw_teardown(void **state)
{
	(void)state;
	tcp_listener_stop(&hw.listener);
	stream_close(hw.edge_control);
	stream_close(hw.daemon_control);
	end_free(&hw.daemon);
	end_free(&hw.edge);
	for (unsigned int i = 0; i < 8; i++)
		hw_turn();
	struct slab_stats stats;
	slab_get_stats(hw.worker->slab, &stats);
	assert_int_equal(stats.in_use, 0);
	assert_int_equal(stats.reserved, 0);
	worker_set_free(hw.set);
	tlsctx_free(hw.client_tls);
	tlsctx_free(hw.server_tls);
	test_cert_free(&hw.cert);
	test_cert_free(&hw.ca);
	return 0;
}

/* ---- streams ------------------------------------------------------------------------------- */

void hw_write_all(struct stream *s, struct span bytes)
{
	struct bufq q;
	bufq_init(&q, hw.worker->slab);
	assert_int_equal(bufq_append_copy(&q, bytes), 0);
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	while (!bufq_is_empty(&q)) {
		ssize_t n = stream_write(s, &q, q.len);
		assert_true(n > 0 || n == -EAGAIN);
		assert_true(nsec_clock(CLOCK_MONOTONIC) < end);
		hw_turn();
	}
	bufq_clear(&q);
}

uint8_t hw_text[HW_TEXT_MAX];

/* Reads until the end, an error or len bytes; the last return, and how many bytes are in hw_text.
 */
ssize_t hw_read_some(struct stream *s, size_t len, size_t *ret_len)
{
	struct bufq q;
	bufq_init(&q, hw.worker->slab);
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	ssize_t n = -EAGAIN;
	while ((n > 0 || n == -EAGAIN) && q.len < len) {
		n = stream_read(s, &q, len - q.len);
		assert_true(nsec_clock(CLOCK_MONOTONIC) < end);
		if (n == -EAGAIN)
			hw_turn();
	}
	assert_true(q.len <= sizeof(hw_text));
	*ret_len = bufq_copy_out(&q, hw_text, q.len);
	bufq_clear(&q);
	return n;
}

void hw_expect_bytes(struct stream *s, struct span want)
{
	size_t len = 0;
	(void)hw_read_some(s, want.len, &len);
	assert_int_equal(len, want.len);
	assert_memory_equal(hw_text, want.ptr, want.len);
}

void hw_expect_end(struct stream *s)
{
	size_t len = 0;
	assert_int_equal(hw_read_some(s, 1, &len), 0);
	assert_int_equal(len, 0);
}

/* The edge's user writes a ConnectRequest; the stream, and the one that the daemon gets. */
struct stream *hw_ask(const struct hw_request *req, struct stream **ret_daemon)
{
	uint8_t buf[8192];
	struct connect_writer w;
	struct span bytes = {};
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(hw.edge.link, &s), 0);
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
	hw_write_all(s, bytes);
	hw.daemon.count = 0;
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 3 * NSEC_PER_SEC;
	while (!hw.daemon.count && nsec_clock(CLOCK_MONOTONIC) < end)
		hw_turn();
	assert_int_equal(hw.daemon.count, 1);
	*ret_daemon = TAKE_PTR(hw.daemon.streams[0]);
	return s;
}

/* Reads preamble and message into hw_text. */
struct span hw_take_message(struct stream *s)
{
	struct bufq q;
	struct preamble_reader pre = {};
	size_t len = 0;
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC;
	bufq_init(&q, hw.worker->slab);
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
			hw_turn();
	}
	assert_int_equal(q.len, len);
	assert_int_equal(bufq_copy_out(&q, hw_text, len), len);
	bufq_clear(&q);
	return span_of(hw_text, len);
}

void hw_answer(struct stream *s, const char *status, const struct connect_meta *fields,
	       unsigned int count)
{
	uint8_t *buf = malloc(HW_TEXT_MAX);
	struct connect_writer w;
	struct span bytes = {};
	connect_writer_init(&w, buf, HW_TEXT_MAX);
	connect_response_begin(&w, span_of(NULL, 0), 1 + count);
	connect_add(&w, SPAN_LIT(CONNECT_KEY_STATUS), span_str(status));
	for (unsigned int i = 0; i < count; i++)
		connect_add_header(&w, fields[i].name, fields[i].value);
	assert_int_equal(connect_finish(&w, &bytes), 0);
	hw_write_all(s, bytes);
	free(buf);
}

/* The value of an entry: of a field of this name, in any case, or of a key. */
struct span hw_find(struct connect_metadata *meta, bool is_header, const char *name)
{
	struct connect_iter it = {};
	struct connect_meta m;
	while (connect_next(meta, &it, &m))
		if (m.is_header == is_header && span_eq_nocase(m.name, span_str(name)))
			return m.value;
	return span_of(NULL, 0);
}
