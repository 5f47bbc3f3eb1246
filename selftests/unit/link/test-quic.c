/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QUIC links over loopback: handshake, bytes both ways, ends of streams and links.
 */
#include "daemon/link/quic.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/lib/quic_pair.h"
#include "util/macro.h"

static struct quic_pair pair;

static bool is_client_closed(void *arg)
{
	(void)arg;
	return pair.client.is_closed;
}

static bool is_server_closed(void *arg)
{
	(void)arg;
	return pair.accepted_count && pair.accepted[0]->is_closed;
}

static void test_handshake_and_close(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair_start(&pair);
	pair_connect(&pair);

	struct link_stats s;
	link_get_stats(pair.client.link, &s);
	assert_string_equal(s.group, "X25519MLKEM768");
	assert_string_equal(s.cipher, "TLS_AES_128_GCM_SHA256");
	assert_int_equal(s.peer.port, pair.addr.port);

	link_close(pair.client.link, 7, "enough");
	assert_true(pair_until(&pair, is_client_closed, NULL, 1000));
	assert_true(pair_until(&pair, is_server_closed, NULL, 1000));
	assert_int_equal(pair.client.info.end, LINK_END_LOCAL);
	assert_int_equal(pair.accepted[0]->info.end, LINK_END_PEER);
	assert_int_equal(pair.accepted[0]->info.code, 7);
	assert_false(pair.accepted[0]->info.is_transport_code);
	assert_string_equal(pair.accepted[0]->info.reason, "enough");
	pair_done(&pair);
}

/* ---- echo ---------------------------------------------------------------------------------- */

/* Echoes a stream under its credit, and ends it when the peer does. */
struct echo {
	struct stream *stream;
	struct bufq held;
	bool is_at_end;
};

static void echo_run(struct stream *s, void *user)
{
	struct echo *e = user;
	for (;;) {
		while (!bufq_is_empty(&e->held)) {
			ssize_t n = stream_write(s, &e->held, SIZE_MAX);
			if (n == -EAGAIN)
				return;
			if (n < 0) {
				bufq_clear(&e->held);
				stream_close(s);
				free(e);
				return;
			}
		}
		if (e->is_at_end) {
			stream_finish(s);
			stream_close(s);
			free(e);
			return;
		}
		ssize_t n = stream_read(s, &e->held, 64 * 1024);
		if (n == -EAGAIN)
			return;
		if (n <= 0)
			e->is_at_end = true;
	}
}

static const struct stream_user echo_user = { echo_run, echo_run };

static void echo_start(struct pair_end *end, struct stream *stream)
{
	(void)end;
	struct echo *e = calloc(1, sizeof(*e));
	assert_non_null(e);
	e->stream = stream;
	bufq_init(&e->held, stream->slab);
	stream_set_user(stream, &echo_user, e);
}

/* Sends total bytes of a pattern and checks that they come back. */
struct talk {
	struct stream *stream;
	size_t total, sent, got;
	bool is_done;
};

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 2654435761U >> 13);
}

static void talk_run(struct stream *s, void *user)
{
	static uint8_t buf[64 * 1024];
	struct talk *t = user;
	while (t->sent < t->total) {
		size_t n = MIN(t->total - t->sent, sizeof(buf));
		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(t->sent + i);
		ssize_t w = pair_write(s, buf, n);
		if (w == -EAGAIN)
			break;
		assert_true(w > 0);
		t->sent += (size_t)w;
		if (t->sent == t->total)
			stream_finish(s);
	}
	for (;;) {
		ssize_t n = pair_read(s, buf, sizeof(buf));
		if (n == -EAGAIN)
			return;
		assert_true(n >= 0);
		if (n == 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], pattern(t->got + (size_t)i));
		t->got += (size_t)n;
	}
	assert_int_equal(t->got, t->total);
	t->is_done = true;
}

static const struct stream_user talk_user = { talk_run, talk_run };

static void talk_start(struct talk *t, struct link *link, size_t total)
{
	*t = (struct talk){ .total = total };
	assert_int_equal(link_open_stream(link, &t->stream), 0);
	stream_set_user(t->stream, &talk_user, t);
}

static bool is_talk_done(void *arg)
{
	return ((struct talk *)arg)->is_done;
}

static void test_echo_4m(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.on_server_stream = echo_start;
	pair_start(&pair);
	pair_connect(&pair);

	struct talk t;
	talk_start(&t, pair.client.link, 4 << 20);
	assert_true(pair_until(&pair, is_talk_done, &t, 20000));
	stream_close(t.stream);

	const struct udp_stats *u = quic_worker_udp_stats(pair.client_qw);
	assert_true(u->tx_gso > 0);
	assert_true(u->rx_gro > 0);
	pair_done(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake_and_close),
		cmocka_unit_test(test_echo_4m),
	};
	return cmocka_run_group_tests_name("quic", tests, NULL, NULL);
}
