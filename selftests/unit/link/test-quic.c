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
#include "selftests/lib/talk.h"
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

static void echo_start(struct pair_end *end, struct stream *stream)
{
	(void)end;
	talk_echo(stream);
}

static void test_echo_4m(void **state)
{
	(void)state;
	pair_init(&pair, 1);
	pair.on_server_stream = echo_start;
	pair_start(&pair);
	pair_connect(&pair);

	struct talk t;
	struct stream *stream = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &stream), 0);
	talk_start(&t, stream, 4 << 20);
	assert_true(pair_until(&pair, talk_is_done, &t, 20000));
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
