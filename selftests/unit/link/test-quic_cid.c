/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connection ids: their form, the table, and that the kernel's programs and ours send every packet
 * to the same worker.
 */
#include "daemon/link/quic_cid.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <ngtcp2/ngtcp2.h>

#include "daemon/net/port_steer.h"
#include "util/macro.h"

static void test_form(void **state)
{
	(void)state;
	for (unsigned int w = 0; w < 256; w++) {
		ngtcp2_cid a, b;
		quic_cid_make(w, w * 7, &a);
		quic_cid_make(w, w * 7, &b);
		assert_int_equal(a.datalen, STEER_CID_LEN);
		assert_true(quic_cid_is_ours(span_of(a.data, a.datalen)));
		assert_false(ngtcp2_cid_eq(&a, &b));
		a.data[STEER_CID_CHECK] ^= 1;
		assert_false(quic_cid_is_ours(span_of(a.data, a.datalen)));
		assert_false(quic_cid_is_ours(span_of(b.data, b.datalen - 1)));
	}
}

static void test_table(void **state)
{
	(void)state;
	enum { COUNT = 5000 };
	static ngtcp2_cid cids[COUNT];
	static char links[COUNT]; /* addresses are all that matters */
	struct quic_cid_table t;
	assert_int_equal(quic_cid_table_init(&t), 0);
	for (unsigned int i = 0; i < COUNT; i++) {
		quic_cid_make(i % 4, 1, &cids[i]);
		assert_int_equal(quic_cid_add(&t, &cids[i], (struct quic_link *)&links[i]), 0);
	}
	assert_int_equal(quic_cid_add(&t, &cids[7], (struct quic_link *)&links[8]), -EEXIST);
	for (unsigned int i = 0; i < COUNT; i += 2)
		quic_cid_remove(&t, &cids[i]);
	quic_cid_remove(&t, &cids[0]);
	assert_int_equal(t.count, COUNT / 2);
	for (unsigned int i = 0; i < COUNT; i++) {
		const struct quic_link *l =
			quic_cid_find(&t, span_of(cids[i].data, cids[i].datalen));
		assert_ptr_equal(l, i % 2 ? &links[i] : NULL);
	}
	assert_null(quic_cid_find(&t, span_of(NULL, 0)));
	quic_cid_table_done(&t);
	quic_cid_table_done(&t);
}

static void test_packets_cut_short(void **state)
{
	(void)state;
	uint8_t packet[64] = { 0xc0, 0, 0, 0, 1, 20 };
	struct quic_cid_view v;
	for (size_t len = 0; len <= sizeof(packet); len++) {
		/* An exact copy, so that a byte too far is seen. */
		uint8_t *exact = malloc(len ? len : 1);
		assert_non_null(exact);
		memcpy(exact, packet, len);
		int r = quic_cid_of_packet(span_of(exact, len), &v);
		assert_int_equal(r, len < 26 ? -EBADMSG : 0);
		if (r == 0)
			(void)quic_cid_owner(&v, 3);
		if (len)
			exact[0] = 0x40;
		r = quic_cid_of_packet(span_of(exact, len), &v);
		assert_int_equal(r, len < 1 + STEER_CID_LEN ? -EBADMSG : 0);
		free(exact);
	}
	packet[5] = 21;
	assert_int_equal(quic_cid_of_packet(span_of(packet, sizeof(packet)), &v), -EBADMSG);
}

/* ---- the kernel's programs ----------------------------------------------------------------- */

enum { WORKERS = 3, ROUNDS = 2000 };

struct group {
	int fds[WORKERS];
	int sender;
};

/* 0 or -EPERM: no rights for it. */
static int group_open(struct group *g, bool by_program)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	for (unsigned int i = 0; i < WORKERS; i++) {
		g->fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		int on = 1;
		assert_int_equal(setsockopt(g->fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)),
				 0);
		assert_int_equal(bind(g->fds[i], (struct sockaddr *)&sa, sizeof(sa)), 0);
		assert_int_equal(getsockname(g->fds[i], (struct sockaddr *)&sa, &len), 0);
	}
	const char *why = NULL;
	int r = by_program ? port_steer_attach(g->fds, WORKERS, &why)
			   : quic_cid_attach_steering(g->fds[0], WORKERS);
	if (r != -EPERM || !by_program)
		assert_int_equal(r, 0);
	g->sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(g->sender, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return r;
}

static void group_close(struct group *g)
{
	for (unsigned int i = 0; i < WORKERS; i++)
		(void)close(g->fds[i]);
	(void)close(g->sender);
}

static unsigned int kernel_owner(const struct group *g, struct span packet)
{
	assert_int_equal(send(g->sender, packet.ptr, packet.len, 0), packet.len);
	struct pollfd polls[WORKERS];
	for (unsigned int i = 0; i < WORKERS; i++)
		polls[i] = (struct pollfd){ .fd = g->fds[i], .events = POLLIN };
	assert_int_equal(poll(polls, WORKERS, 1000), 1);
	for (unsigned int i = 0; i < WORKERS; i++) {
		uint8_t buf[64];
		if (polls[i].revents && recv(g->fds[i], buf, sizeof(buf), 0) >= 0)
			return i;
	}
	fail();
	return 0;
}

static void agree(const struct group *g)
{
	unsigned int hits[WORKERS] = {};
	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint8_t packet[40];
		for (size_t k = 0; k < sizeof(packet); k++)
			packet[k] = (uint8_t)rand();
		packet[0] = (uint8_t)(i % 2 ? packet[0] | 0x80 : packet[0] & 0x7f);
		packet[5] = (uint8_t)(8 + i % 13);
		if (i % 3 == 0) {
			ngtcp2_cid cid;
			quic_cid_make(i % 7, i, &cid);
			packet[5] = STEER_CID_LEN;
			memcpy(packet + (i % 2 ? STEER_LONG_CID : STEER_SHORT_CID), cid.data,
			       cid.datalen);
		}
		struct span s = span_of(packet, sizeof(packet));
		struct quic_cid_view v;
		assert_int_equal(quic_cid_of_packet(s, &v), 0);
		unsigned int mine = quic_cid_owner(&v, WORKERS);
		assert_int_equal(kernel_owner(g, s), mine);
		hits[mine]++;
	}
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_true(hits[i] > ROUNDS / WORKERS / 2);
}

static void test_filter_agrees(void **state)
{
	(void)state;
	struct group g;
	assert_int_equal(group_open(&g, false), 0);
	agree(&g);
	group_close(&g);
}

static void test_program_agrees(void **state)
{
	(void)state;
	struct group g;
	int r = group_open(&g, true);
	if (r == 0)
		agree(&g);
	group_close(&g);
	if (r < 0)
		skip(); /* needs root rights */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_packets_cut_short),
		cmocka_unit_test(test_filter_agrees),
		cmocka_unit_test(test_program_agrees),
	};
	return cmocka_run_group_tests_name("quic_cid", tests, NULL, NULL);
}
