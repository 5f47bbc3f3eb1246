/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of QUIC links: migration, addresses that change, paths that get narrower or silent, keys
 * that are renewed.
 */
#include "daemon/link/quic_path.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "selftests/lib/quic_pair.h"
#include "selftests/lib/talk.h"
#include "selftests/lib/udp_relay.h"
#include "util/macro.h"

static struct quic_pair pair;
static struct udp_relay relay;

static void echo(struct pair_end *end, struct stream *stream)
{
	(void)end;
	talk_echo(stream);
}

static void run_relay(void *arg)
{
	udp_relay_run(arg);
}

static void start(unsigned int workers)
{
	pair_init(&pair, workers);
	pair.on_server_stream = echo;
}

static void connect_directly(void)
{
	pair_start(&pair);
	pair_connect(&pair);
}

static void connect_by_relay(size_t max_len)
{
	pair_start(&pair);
	udp_relay_init(&relay, &pair.addr, &pair.relay);
	relay.max_len = max_len;
	pair.on_turn = run_relay;
	pair.turn_arg = &relay;
	pair_connect(&pair);
}

static void finish(void)
{
	pair_done(&pair);
	if (pair.on_turn)
		udp_relay_done(&relay);
}

static struct link_stats stats_of(struct link *link)
{
	struct link_stats s;
	link_get_stats(link, &s);
	return s;
}

static void talk_open(struct talk *t, size_t total)
{
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(pair.client.link, &s), 0);
	talk_start(t, s, total);
}

struct progress {
	struct talk *talk;
	size_t got;
};

static bool has_got(void *arg)
{
	struct progress *p = arg;
	return p->talk->got >= p->got;
}

static void wait_for_part(struct talk *t, size_t got)
{
	struct progress p = { t, got };
	assert_true(pair_until(&pair, has_got, &p, 20000));
}

static void wait_for_end(struct talk *t)
{
	assert_true(pair_until(&pair, talk_is_done, t, 20000));
	stream_close(t->stream);
}

/* ---- migration ----------------------------------------------------------------------------- */

static void test_client_migrates(void **state)
{
	(void)state;
	start(2);
	connect_directly();
	struct talk t;
	talk_open(&t, 4 << 20);
	wait_for_part(&t, 1 << 20);
	uint16_t before = stats_of(pair.client.link).local.port;
	assert_int_equal(link_migrate(pair.client.link), 0);
	wait_for_end(&t);

	struct link_stats c = stats_of(pair.client.link);
	struct link_stats s = stats_of(pair.accepted[0]->link);
	assert_int_not_equal(c.local.port, before);
	assert_int_equal(s.peer.port, c.local.port);
	assert_true(c.is_migrated && s.is_migrated);
	/* The server's end can't begin one. */
	assert_int_equal(link_migrate(pair.accepted[0]->link), -EPROTO);
	finish();
}

static void test_client_migrates_again_and_again(void **state)
{
	(void)state;
	start(1);
	connect_directly();
	struct talk t;
	talk_open(&t, 8 << 20);
	for (unsigned int i = 1; i <= 5; i++) {
		wait_for_part(&t, i * 1000000);
		/* A spare connection id must have come; it does within a round trip or two. */
		int r = link_migrate(pair.client.link);
		for (unsigned int tries = 0; r == -EAGAIN && tries < 100; tries++) {
			pair_run(&pair, 5);
			r = link_migrate(pair.client.link);
		}
		assert_int_equal(r, 0);
	}
	wait_for_end(&t);
	finish();
}

static void test_nat_forgets(void **state)
{
	(void)state;
	start(2);
	connect_by_relay(0);
	struct talk t;
	talk_open(&t, 3 << 20);
	wait_for_part(&t, 1 << 20);
	uint16_t before = stats_of(pair.accepted[0]->link).peer.port;
	udp_relay_rebind(&relay);
	wait_for_end(&t);
	assert_int_not_equal(stats_of(pair.accepted[0]->link).peer.port, before);
	assert_true(stats_of(pair.accepted[0]->link).is_migrated);

	/* And its own socket has followed: it works from there, too. */
	talk_open(&t, 100000);
	wait_for_end(&t);
	finish();
}

/* ---- path mtu ------------------------------------------------------------------------------ */

static bool has_mtu(void *arg)
{
	return stats_of(pair.client.link).mtu == *(unsigned int *)arg &&
	       stats_of(pair.accepted[0]->link).mtu == *(unsigned int *)arg;
}

static void expect_mtu(size_t max_len, unsigned int mtu)
{
	start(1);
	connect_by_relay(max_len);
	assert_true(pair_until(&pair, has_mtu, &mtu, 10000));
	struct talk t;
	talk_open(&t, 1 << 20);
	wait_for_end(&t);
	/* Probes for more are lost without anybody drawing conclusions. */
	assert_int_equal(stats_of(pair.client.link).mtu, mtu);
	assert_int_equal(stats_of(pair.client.link).blackholes, 0);
	assert_int_equal(stats_of(pair.accepted[0]->link).blackholes, 0);
	finish();
}

static void test_mtu_of_wide_path(void **state)
{
	(void)state;
	expect_mtu(0, 1472);
}

static void test_mtu_of_ipv6_path(void **state)
{
	(void)state;
	expect_mtu(1452, 1452);
}

static void test_mtu_of_narrow_path(void **state)
{
	(void)state;
	expect_mtu(1272, 1272);
}

static bool has_blackhole(void *arg)
{
	(void)arg;
	return stats_of(pair.client.link).blackholes + stats_of(pair.accepted[0]->link).blackholes >
	       0;
}

static void test_path_gets_narrower(void **state)
{
	(void)state;
	start(1);
	connect_by_relay(0);
	unsigned int mtu = 1472;
	assert_true(pair_until(&pair, has_mtu, &mtu, 10000));
	struct talk t;
	talk_open(&t, 4 << 20);
	wait_for_part(&t, 1 << 20);

	relay.max_len = 1272;
	wait_for_part(&t, t.got + 200000);
	assert_true(pair_until(&pair, has_blackhole, NULL, 10000));
	wait_for_end(&t);
	finish();
}

/* Silence that ends by itself is no narrow path. */
static void test_outage_is_no_narrow_path(void **state)
{
	(void)state;
	start(1);
	connect_by_relay(0);
	unsigned int mtu = 1472;
	assert_true(pair_until(&pair, has_mtu, &mtu, 10000));
	struct talk t;
	talk_open(&t, 4 << 20);
	wait_for_part(&t, 1 << 20);
	relay.is_cut = true;
	pair_run(&pair, 300);
	relay.is_cut = false;
	wait_for_end(&t);
	assert_false(has_blackhole(NULL));
	finish();
}

static void test_loss(void **state)
{
	(void)state;
	start(1);
	connect_by_relay(0);
	relay.lose_one_in = 50;
	struct talk t;
	talk_open(&t, 1 << 20);
	wait_for_end(&t);
	assert_true(stats_of(pair.client.link).lost_packets > 0);
	finish();
}

/* ---- time ---------------------------------------------------------------------------------- */

static bool is_client_closed(void *arg)
{
	(void)arg;
	return pair.client.is_closed;
}

static void test_idle_timeout(void **state)
{
	(void)state;
	start(1);
	pair.client_settings.idle_timeout = 300 * NSEC_PER_MSEC;
	pair.client_settings.keep_alive = 10 * NSEC_PER_SEC;
	connect_by_relay(0);
	relay.is_cut = true;
	assert_true(pair_until(&pair, is_client_closed, NULL, 10000));
	assert_int_equal(pair.client.info.end, LINK_END_IDLE);
	finish();
}

static bool has_heard_since(void *arg)
{
	return stats_of(pair.client.link).heard > *(const nsec_t *)arg;
}

/* Nobody has anything to say, and yet each hears the other long before the silence is too long. */
static void test_keep_alive(void **state)
{
	(void)state;
	start(1);
	pair.client_settings.idle_timeout = 5 * NSEC_PER_SEC;
	pair.client_settings.keep_alive = 20 * NSEC_PER_MSEC;
	connect_directly();
	/* The discovery of the path's size is over by then. */
	pair_run(&pair, 300);
	for (unsigned int i = 0; i < 3; i++) {
		nsec_t heard = stats_of(pair.client.link).heard;
		assert_true(pair_until(&pair, has_heard_since, &heard, 10000));
	}
	if (pair.client.is_closed)
		fail_msg("closed: %s", pair.client.info.reason);
	finish();
}

static void test_handshake_timeout(void **state)
{
	(void)state;
	start(1);
	pair.client_settings.handshake_timeout = 200 * NSEC_PER_MSEC;
	pair_start(&pair);
	udp_relay_init(&relay, &pair.addr, &pair.relay);
	relay.is_cut = true;
	pair.on_turn = run_relay;
	pair.turn_arg = &relay;
	assert_int_equal(pair_dial(&pair, &pair.client), 0);
	assert_true(pair_until(&pair, is_client_closed, NULL, 10000));
	assert_int_equal(pair.client.info.end, LINK_END_HANDSHAKE);
	finish();
}

static bool is_server_closed(void *arg)
{
	(void)arg;
	return pair.accepted[0]->is_closed;
}

/* A draining end doesn't wait long for a peer that the kernel says is gone. */
static void test_drain_without_a_peer(void **state)
{
	(void)state;
	start(1);
	connect_directly();
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(pair.accepted[0]->link, &s), 0);
	assert_int_equal(talk_write(s, "x", 1), 1);
	pair_run(&pair, 50);
	link_drain(pair.accepted[0]->link);
	const struct quic_link *client = (const struct quic_link *)pair.client.link;
	assert_int_equal(dup2(pair.null_fd, client->sock->udp.fd), client->sock->udp.fd);
	assert_int_equal(talk_write(s, "y", 1), 1);
	assert_true(pair_until(&pair, is_server_closed, NULL, 10000));
	assert_int_equal(pair.accepted[0]->info.end, LINK_END_REFUSED);
	stream_close(s);
	finish();
}

/* ---- a peer that may be gone --------------------------------------------------------------- */

static bool is_suspect(void *arg)
{
	return ((const struct link *)arg)->state == LINK_STATE_SUSPECT;
}

static bool is_trusted(void *arg)
{
	return ((const struct link *)arg)->state == LINK_STATE_UP;
}

static struct quic_link *quic_of(struct pair_end *end)
{
	return (struct quic_link *)end->link;
}

/* As if the link had waited for an answer for so long. */
static void wait_in_mind(struct quic_link *link, nsec_t time)
{
	assert_true(link->silence.since > time);
	link->silence.since -= time;
	timer_stop(&link->silence_timer);
	quic_path_on_silence(&link->silence_timer);
}

static bool has_asked(void *arg)
{
	return !((const struct quic_link *)arg)->wants_ping;
}

/* Who is there says so when it is asked: anybody can forge an ICMP message. */
static void test_forged_refusal(void **state)
{
	(void)state;
	start(1);
	connect_directly();
	struct quic_link *ends[] = { quic_of(pair.accepted[0]), quic_of(&pair.client) };
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++) {
		struct link *link = &ends[i]->base;
		/* What was on its way clears the link before its owner is told of a doubt. */
		nsec_t heard;
		do {
			heard = stats_of(link).heard;
			quic_path_refused(ends[i], i ? -EHOSTUNREACH : -ECONNREFUSED);
			pair_turn(&pair);
		} while (stats_of(link).suspicions == 0 && stats_of(link).heard > heard);
		assert_int_equal(stats_of(link).suspicions, 1);
		assert_true(pair_until(&pair, is_trusted, link, 10000));
		assert_int_equal(stats_of(link).suspicions, 1);
		assert_int_equal(link->suspicion, LINK_SUSPICION_NONE);
		/* The keep-alive is what it was, once the question has left. */
		assert_true(pair_until(&pair, has_asked, ends[i], 10000));
	}
	struct talk t;
	talk_open(&t, 100000);
	wait_for_end(&t);
	finish();
}

static void test_silence(void **state)
{
	(void)state;
	start(1);
	connect_by_relay(0);
	struct link *link = pair.accepted[0]->link;
	struct stream *s = NULL, *late = NULL;
	assert_int_equal(link_open_stream(link, &s), 0);
	pair_run(&pair, 50);
	relay.is_cut = true;
	assert_int_equal(talk_write(s, "x", 1), 1);
	pair_run(&pair, 20);
	assert_true(is_trusted(link));
	wait_in_mind(quic_of(pair.accepted[0]), 3 * NSEC_PER_SEC);
	assert_true(pair_until(&pair, is_suspect, link, 10000));
	assert_int_equal(link->suspicion, LINK_SUSPICION_SILENT);
	/* It is still good for those who have no other. */
	assert_int_equal(link_open_stream(link, &late), 0);
	relay.is_cut = false;
	assert_true(pair_until(&pair, is_trusted, link, 10000));
	stream_close(s);
	stream_close(late);
	finish();
}

static bool is_doubted(void *arg)
{
	return ((const struct link *)arg)->suspicion != LINK_SUSPICION_NONE;
}

static bool is_cleared(void *arg)
{
	return !is_doubted(arg);
}

/* What still runs on a link that drains is told of a doubt, and of its end. */
static void test_silence_while_draining(void **state)
{
	(void)state;
	start(1);
	connect_by_relay(0);
	struct link *link = pair.accepted[0]->link;
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(link, &s), 0);
	pair_run(&pair, 50);
	relay.is_cut = true;
	assert_int_equal(talk_write(s, "x", 1), 1);
	link_drain(link);
	pair_run(&pair, 20);
	assert_int_equal(link->state, LINK_STATE_DRAINING);
	assert_false(is_doubted(link));
	wait_in_mind(quic_of(pair.accepted[0]), 3 * NSEC_PER_SEC);
	assert_true(pair_until(&pair, is_doubted, link, 10000));
	assert_int_equal(link->state, LINK_STATE_DRAINING);
	relay.is_cut = false;
	assert_true(pair_until(&pair, is_cleared, link, 10000));
	assert_int_equal(link->state, LINK_STATE_DRAINING);
	assert_int_equal(stats_of(link).suspicions, 1);
	stream_close(s);
	finish();
}

/* The kernel's word and silence together are the end, at the end that was dialled. */
static void test_refusal_and_silence(void **state)
{
	(void)state;
	start(1);
	connect_directly();
	struct link *link = pair.accepted[0]->link;
	pair_run(&pair, 50);
	const struct quic_link *client = quic_of(&pair.client);
	assert_int_equal(dup2(pair.null_fd, client->sock->udp.fd), client->sock->udp.fd);
	link_probe(link);
	assert_true(pair_until(&pair, is_suspect, link, 10000));
	assert_int_equal(link->suspicion, LINK_SUSPICION_REFUSED);
	wait_in_mind(quic_of(pair.accepted[0]), 14 * NSEC_PER_SEC);
	pair_run(&pair, 20);
	assert_true(
		is_suspect(link)); /* a NAT may have forgotten it: its keep-alive isn't overdue */
	wait_in_mind(quic_of(pair.accepted[0]), 4 * NSEC_PER_SEC);
	assert_true(pair_until(&pair, is_server_closed, NULL, 10000));
	assert_int_equal(pair.accepted[0]->info.end, LINK_END_REFUSED);
	finish();
}

/* Who dialled doesn't give up, and doesn't spin. */
static void test_client_keeps_a_silent_link(void **state)
{
	(void)state;
	start(1);
	connect_by_relay(0);
	pair_run(&pair, 50);
	relay.is_cut = true;
	link_probe(pair.client.link);
	pair_run(&pair, 20);
	struct quic_link *link = quic_of(&pair.client);
	quic_path_refused(link, -ECONNREFUSED);
	wait_in_mind(link, 100 * NSEC_PER_SEC);
	pair_run(&pair, 20);
	assert_true(is_suspect(&link->base));
	assert_false(timer_is_armed(&link->silence_timer));
	assert_false(pair.client.is_closed);
	finish();
}

static void test_drain_while_suspect(void **state)
{
	(void)state;
	start(1);
	connect_directly();
	struct link *link = pair.accepted[0]->link;
	struct stream *s = NULL;
	assert_int_equal(link_open_stream(link, &s), 0);
	quic_path_refused(quic_of(pair.accepted[0]), -ECONNREFUSED);
	link_drain(link);
	pair_run(&pair, 50);
	assert_int_equal(link->state, LINK_STATE_DRAINING);
	stream_close(s);
	assert_true(pair_until(&pair, is_server_closed, NULL, 10000));
	finish();
}

/* ---- keys, ecn ----------------------------------------------------------------------------- */

static void test_key_update(void **state)
{
	(void)state;
	start(1);
	connect_directly();
	struct talk t;
	talk_open(&t, 4 << 20);
	unsigned int updates = 0;
	for (unsigned int i = 1; i <= 3; i++) {
		wait_for_part(&t, i << 20);
		updates += quic_update_key(i % 2 ? pair.client.link : pair.accepted[0]->link) == 0;
	}
	assert_true(updates >= 1);
	wait_for_end(&t);
	assert_false(pair.client.is_closed || pair.accepted[0]->is_closed);
	finish();
}

static bool is_ecn_valid(void *arg)
{
	(void)arg;
	return stats_of(pair.client.link).ecn == 1 && stats_of(pair.accepted[0]->link).ecn == 1;
}

static void test_ecn_is_validated(void **state)
{
	(void)state;
	start(1);
	connect_directly();
	struct talk t;
	talk_open(&t, 1 << 20);
	wait_for_end(&t);
	assert_true(pair_until(&pair, is_ecn_valid, NULL, 10000));
	finish();
}

static bool is_ecn_given_up(void *arg)
{
	(void)arg;
	return stats_of(pair.client.link).ecn == -1;
}

/* The relay sends afresh, without the bits, as a path does that clears them. */
static void test_ecn_is_cleared(void **state)
{
	(void)state;
	start(1);
	connect_by_relay(0);
	struct talk t;
	talk_open(&t, 2 << 20);
	wait_for_end(&t);
	assert_true(pair_until(&pair, is_ecn_given_up, NULL, 10000));
	finish();
}

static void test_ecn_off(void **state)
{
	(void)state;
	start(1);
	pair.client_settings.use_ecn = false;
	connect_directly();
	struct talk t;
	talk_open(&t, 1 << 20);
	wait_for_end(&t);
	assert_int_equal(stats_of(pair.client.link).ecn, 0);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_migrates),
		cmocka_unit_test(test_client_migrates_again_and_again),
		cmocka_unit_test(test_nat_forgets),
		cmocka_unit_test(test_mtu_of_wide_path),
		cmocka_unit_test(test_mtu_of_ipv6_path),
		cmocka_unit_test(test_mtu_of_narrow_path),
		cmocka_unit_test(test_path_gets_narrower),
		cmocka_unit_test(test_outage_is_no_narrow_path),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_idle_timeout),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_handshake_timeout),
		cmocka_unit_test(test_drain_without_a_peer),
		cmocka_unit_test(test_forged_refusal),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_silence_while_draining),
		cmocka_unit_test(test_refusal_and_silence),
		cmocka_unit_test(test_client_keeps_a_silent_link),
		cmocka_unit_test(test_drain_while_suspect),
		cmocka_unit_test(test_key_update),
		cmocka_unit_test(test_ecn_is_validated),
		cmocka_unit_test(test_ecn_is_cleared),
		cmocka_unit_test(test_ecn_off),
	};
	return cmocka_run_group_tests_name("quic_path", tests, NULL, NULL);
}
