/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QUIC links over loopback: handshake, bytes both ways, ends of streams and links.
 */
#include "daemon/link/quic.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
	assert_true(pair_until(&pair, is_client_closed, NULL, 10000));
	assert_true(pair_until(&pair, is_server_closed, NULL, 10000));
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

static bool is_up(void *arg)
{
	return ((struct pair_end *)arg)->is_up;
}

static void expect_echo(const struct ip_addr *listen, const struct ip_addr *dial)
{
	pair_init(&pair, 2);
	pair.on_server_stream = echo_start;
	pair.addr = (struct ip_port){ .ip = *listen };
	pair_start(&pair);
	pair.relay = (struct ip_port){ .ip = *dial, .port = pair.addr.port };
	assert_int_equal(pair_dial(&pair, &pair.client), 0);
	assert_true(pair_until(&pair, is_up, &pair.client, 10000));
	struct talk t;
	struct stream *stream = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &stream), 0);
	talk_start(&t, stream, 100000);
	assert_true(pair_until(&pair, talk_is_done, &t, 10000));
	stream_close(stream);
	struct link_stats s;
	link_get_stats(pair.client.link, &s);
	assert_true(ip_addr_eq(&s.peer.ip, dial));
	assert_true(s.heard > 0 && s.since > 0);
	pair_done(&pair);
}

static void test_ipv6(void **state)
{
	(void)state;
	const struct ip_addr loopback = { .family = IP_FAMILY_V6, .bytes = { [15] = 1 } };
	expect_echo(&loopback, &loopback);
}

/* Answers leave from the address that was asked, not from the one the kernel would choose. */
static void test_wildcard(void **state)
{
	(void)state;
	const struct ip_addr any4 = { .family = IP_FAMILY_V4 };
	const struct ip_addr any6 = { .family = IP_FAMILY_V6 };
	const struct ip_addr v4 = { .family = IP_FAMILY_V4, .bytes = { 127, 9, 8, 7 } };
	const struct ip_addr v6 = { .family = IP_FAMILY_V6, .bytes = { [15] = 1 } };
	expect_echo(&any4, &v4);
	expect_echo(&any6, &v6);
}

static void test_names(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		bool is_good;
	} names[] = { { "quic.cftunnel.com", true },
		      { "probe.cftunnel.com", true },
		      { "elsewhere.example", false } };
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		pair_init(&pair, 1);
		/* DANE-TA checks the name, too. */
		pair.server_name = names[i].name;
		pair_start(&pair);
		assert_int_equal(pair_dial(&pair, &pair.client), 0);
		if (names[i].is_good) {
			assert_true(pair_until(&pair, is_up, &pair.client, 10000));
		} else {
			assert_true(pair_until(&pair, is_client_closed, NULL, 10000));
			assert_int_equal(pair.client.info.end, LINK_END_CERTIFICATE);
			assert_string_equal(pair.client.info.reason, "hostname mismatch");
		}
		pair_done(&pair);
	}
}

/* The links of strangers who never finish are the transport's own; nobody hears of them. */
static void test_freed_at_any_time(void **state)
{
	(void)state;
	for (unsigned int turns = 0; turns < 24; turns++) {
		pair_init(&pair, 1);
		pair_start(&pair);
		assert_int_equal(pair_dial(&pair, &pair.client), 0);
		for (unsigned int i = 0; i < turns; i++)
			pair_turn(&pair);
		if (turns % 2)
			pair_end_free(&pair.client);
		pair_turn(&pair);
		pair_done(&pair);
	}
}

static void test_traces(void **state)
{
	(void)state;
	char dir[] = "/tmp/test-quic.XXXXXX";
	assert_non_null(mkdtemp(dir));
	pair_init(&pair, 1);
	pair.client_settings.qlog_dir = dir;
	pair.server_settings.qlog_dir = dir;
	char keys[64];
	(void)snprintf(keys, sizeof(keys), "%s/keys", dir);
	pair.server_settings.keylog_fd = open(keys, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	pair_start(&pair);
	pair_connect(&pair);
	pair_done(&pair);

	struct stat st;
	assert_int_equal(fstat(pair.server_settings.keylog_fd, &st), 0);
	assert_true(st.st_size > 100);
	(void)close(pair.server_settings.keylog_fd);
	(void)unlink(keys);
	glob_t found;
	char pattern[64];
	(void)snprintf(pattern, sizeof(pattern), "%s/*.sqlog", dir);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_int_equal(found.gl_pathc, 2);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		assert_int_equal(stat(found.gl_pathv[i], &st), 0);
		assert_true(st.st_size > 1000);
		(void)unlink(found.gl_pathv[i]);
	}
	globfree(&found);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake_and_close),
		cmocka_unit_test(test_echo_4m),
		cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_wildcard),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_freed_at_any_time),
		cmocka_unit_test(test_traces),
	};
	return cmocka_run_group_tests_name("quic", tests, NULL, NULL);
}
