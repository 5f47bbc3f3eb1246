/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program that chooses among the sockets of an address: there is no test run for its kind, so
 * real packets go to real sockets on loopback. That it chooses as quic_cid_owner() does is a test
 * of link/test-quic_cid. Loading it needs root rights; without them these tests are skipped.
 */
#include "daemon/net/port_steer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "abi/steer.h"
#include "util/endian.h"
#include "util/macro.h"

enum {
	WORKERS = 3,
	MEMBERS = WORKERS + 1, /* one more than the program knows of */
	PACKET_MAX = 64,
	WAIT_MSEC = 5000,
	NOBODY = -1,
	SHORT = 0x40, /* first bytes of packets (RFC 9000 §17) */
	INITIAL = 0xc0,
	ZERO_RTT = 0xd0,
	HANDSHAKE = 0xe0,
};

struct group {
	struct sockaddr_storage addr;
	socklen_t len;
	int fds[MEMBERS]; /* of the workers; behind them one that isn't in the map */
	int sender;
};

static bool has_rights = true;

static int new_socket(int family)
{
	int on = 1;
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	return fd;
}

static int new_member(struct group *g)
{
	int fd = new_socket(g->addr.ss_family);
	assert_int_equal(bind(fd, (struct sockaddr *)&g->addr, g->len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&g->addr, &g->len), 0);
	return fd;
}

static int new_sender(const struct group *g)
{
	int fd = socket(g->addr.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&g->addr, g->len), 0);
	return fd;
}

static void group_open(struct group *g, int family)
{
	*g = (struct group){};
	if (family == AF_INET6) {
		*(struct sockaddr_in6 *)&g->addr =
			(struct sockaddr_in6){ .sin6_family = AF_INET6,
					       .sin6_addr = IN6ADDR_LOOPBACK_INIT };
		g->len = sizeof(struct sockaddr_in6);
	} else {
		*(struct sockaddr_in *)&g->addr =
			(struct sockaddr_in){ .sin_family = AF_INET,
					      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		g->len = sizeof(struct sockaddr_in);
	}
	for (unsigned int i = 0; i < MEMBERS; i++)
		g->fds[i] = i < WORKERS ? new_member(g) : -EBADF;
	g->sender = new_sender(g);

	const char *why = NULL;
	int r = has_rights ? port_steer_attach(g->fds, WORKERS, &why) : -EPERM;
	if (r < 0 && r != -EPERM)
		fail_msg("%s: %s", strerror(-r), why);
	if (r < 0 && has_rights)
		print_message("%s\n", why);
	has_rights = r == 0;
}

static void group_close(struct group *g)
{
	for (unsigned int i = 0; i < MEMBERS; i++)
		if (g->fds[i] >= 0)
			(void)close(g->fds[i]);
	(void)close(g->sender);
}

/* Every test has a group and ends here if it can't have the program. */
static void need_group(struct group *g, int family)
{
	group_open(g, family);
	if (has_rights)
		return;
	group_close(g);
	skip();
}

/* ---- packets ---- */

struct packet {
	uint8_t bytes[PACKET_MAX];
	size_t len;
};

static struct packet packet_of(uint8_t first, const uint8_t *id, size_t id_len)
{
	struct packet p = { .bytes = { first }, .len = PACKET_MAX };
	size_t at = STEER_SHORT_CID;
	if (first & STEER_LONG_FORM) {
		p.bytes[STEER_LONG_CID_LEN] = (uint8_t)id_len;
		at = STEER_LONG_CID;
	}
	memcpy(p.bytes + at, id, id_len);
	return p;
}

static void make_id(uint8_t worker, uint8_t generation, uint8_t ret[STEER_CID_LEN])
{
	for (unsigned int i = STEER_CID_RANDOM; i < STEER_CID_LEN; i++)
		ret[i] = (uint8_t)rand();
	ret[STEER_CID_WORKER] = worker;
	ret[STEER_CID_GENERATION] = generation;
	ret[STEER_CID_CHECK] = STEER_CHECK(worker, generation);
}

/* Who has got it: a member's number. */
static int send_from(const struct group *g, int sender, const struct packet *p)
{
	assert_int_equal(send(sender, p->bytes, p->len, 0), p->len);
	struct pollfd polls[MEMBERS];
	for (unsigned int i = 0; i < MEMBERS; i++)
		polls[i] = (struct pollfd){ .fd = g->fds[i], .events = POLLIN };
	if (poll(polls, MEMBERS, WAIT_MSEC) != 1)
		return NOBODY;
	for (unsigned int i = 0; i < MEMBERS; i++) {
		uint8_t buf[PACKET_MAX];
		if (polls[i].revents && recv(g->fds[i], buf, sizeof(buf), 0) == (ssize_t)p->len)
			return (int)i;
	}
	return NOBODY;
}

static int send_packet(const struct group *g, const struct packet *p)
{
	return send_from(g, g->sender, p);
}

static const int families[] = { AF_INET, AF_INET6 };
static const uint8_t kinds[] = { SHORT, INITIAL, ZERO_RTT, HANDSHAKE };

/* ---- tests ---- */

/* An id of ours names its worker, of whatever kind the packet is and wherever it comes from. */
static void test_own_ids(void **state UNUSED)
{
	for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
		struct group g;
		need_group(&g, families[f]);
		for (unsigned int i = 0; i < 240; i++) {
			uint8_t id[STEER_CID_LEN];
			make_id((uint8_t)(i % WORKERS), (uint8_t)i, id);
			int sender = new_sender(&g);
			struct packet p = packet_of(kinds[i % 4], id, sizeof(id));
			assert_int_equal(send_from(&g, sender, &p), i % WORKERS);
			(void)close(sender);
		}
		group_close(&g);
	}
}

/* A client's choice goes by its hash: always the same, from wherever; all workers have some. */
static void test_foreign_ids(void **state UNUSED)
{
	struct group g;
	need_group(&g, AF_INET);
	unsigned int hits[WORKERS] = {};
	for (unsigned int i = 0; i < 600; i++) {
		uint8_t id[20];
		for (unsigned int k = 0; k < sizeof(id); k++)
			id[k] = (uint8_t)rand();
		size_t len = STEER_FOREIGN_MIN + i % 13;
		if (len == STEER_CID_LEN) /* of our length, but the check is wrong */
			id[STEER_CID_CHECK] = (uint8_t)~STEER_CHECK(id[STEER_CID_WORKER],
								    id[STEER_CID_GENERATION]);
		unsigned int owner = STEER_HASH(load_be32(id), load_be32(id + 4)) % WORKERS;
		struct packet p = packet_of(INITIAL, id, len);
		assert_int_equal(send_packet(&g, &p), owner);
		int sender = new_sender(&g);
		assert_int_equal(send_from(&g, sender, &p), owner);
		(void)close(sender);
		hits[owner]++;
	}
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_true(hits[i] > 120 && hits[i] < 280);
	group_close(&g);
}

/* Nothing is lost to it, however short: what is no packet is the first worker's. */
static void test_cut(void **state UNUSED)
{
	for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
		struct group g;
		need_group(&g, families[f]);
		uint8_t id[STEER_CID_LEN];
		make_id(2, 1, id);
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
			struct packet p = packet_of(kinds[k], id, sizeof(id));
			bool is_short = kinds[k] == SHORT;
			size_t enough = is_short ? STEER_SHORT_CID + STEER_CID_WORKER + 1
						 : STEER_LONG_CID + STEER_FOREIGN_MIN;
			for (size_t len = 1; len < 32; len++) {
				p.len = len;
				assert_int_equal(send_packet(&g, &p), len < enough ? 0 : 2);
			}
		}
		struct packet tiny = packet_of(INITIAL, id, STEER_FOREIGN_MIN - 1);
		assert_int_equal(send_packet(&g, &tiny), 0);
		group_close(&g);
	}
}

/* Pitfall 32: the slot of a socket that is closed is empty; its packets reach one of the others. */
static void test_closed(void **state UNUSED)
{
	struct group g;
	need_group(&g, AF_INET);
	(void)close(g.fds[1]);
	g.fds[1] = -EBADF;
	unsigned int hits[MEMBERS] = {};
	for (unsigned int i = 0; i < 60; i++) {
		uint8_t id[STEER_CID_LEN];
		int sender = new_sender(&g); /* the kernel's hash is over addresses */
		make_id((uint8_t)(i % WORKERS), 0, id);
		struct packet p = packet_of(kinds[i % 4], id, sizeof(id));
		int owner = send_from(&g, sender, &p);
		(void)close(sender);
		if (i % WORKERS != 1)
			assert_int_equal(owner, i % WORKERS);
		assert_int_not_equal(owner, NOBODY);
		hits[owner]++;
	}
	assert_int_equal(hits[0] + hits[2], 60);
	group_close(&g);
}

/* Pitfall 31: a socket between bind() and connect() draws nobody's packets. */
static void test_newcomer(void **state UNUSED)
{
	struct group g;
	need_group(&g, AF_INET6);
	g.fds[WORKERS] = new_member(&g);
	for (unsigned int i = 0; i < 300; i++) {
		uint8_t id[STEER_CID_LEN] = { [0] = (uint8_t)i, [7] = (uint8_t)rand() };
		int sender = new_sender(&g);
		struct packet p = packet_of(kinds[i % 4], id, sizeof(id));
		int owner = send_from(&g, sender, &p);
		(void)close(sender);
		assert_true(owner >= 0 && owner < WORKERS);
	}
	group_close(&g);
}

/* Pitfall 30: a connected socket has its peer's packets without a question; from another place of
 * the peer's (migration) they go by connection id. */
static void test_connected(void **state UNUSED)
{
	struct group g;
	need_group(&g, AF_INET);
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	g.fds[WORKERS] = new_member(&g);
	assert_int_equal(getsockname(g.sender, (struct sockaddr *)&peer, &len), 0);
	assert_int_equal(connect(g.fds[WORKERS], (struct sockaddr *)&peer, len), 0);
	int elsewhere = new_sender(&g);
	for (unsigned int i = 0; i < 60; i++) {
		uint8_t id[STEER_CID_LEN];
		make_id((uint8_t)(i % WORKERS), 9, id);
		struct packet p = packet_of(kinds[i % 4], id, sizeof(id));
		assert_int_equal(send_packet(&g, &p), WORKERS);
		assert_int_equal(send_from(&g, elsewhere, &p), i % WORKERS);
	}
	(void)close(elsewhere);
	group_close(&g);
}

/* What can't be: the reason is told, and the sockets go on as they were. */
static void test_refused(void **state UNUSED)
{
	struct group g, other;
	need_group(&g, AF_INET);
	uint8_t id[STEER_CID_LEN];
	const char *why = NULL;
	make_id(2, 0, id);
	struct packet p = packet_of(SHORT, id, sizeof(id));

	int loose[] = { new_socket(AF_INET) }; /* not bound: in no group */
	assert_int_equal(port_steer_attach(loose, 1, &why), -EINVAL);
	assert_string_equal(why, "the kernel doesn't take a socket into the program's map");
	assert_int_equal(port_steer_attach(g.fds, WORKERS, &why), -EBUSY); /* already */
	assert_int_equal(send_packet(&g, &p), 2);
	(void)close(loose[0]);

	/* Two addresses at a time: each has its own. */
	need_group(&other, AF_INET);
	assert_int_equal(send_packet(&g, &p), 2);
	assert_int_equal(send_packet(&other, &p), 2);
	group_close(&g);
	assert_int_equal(send_packet(&other, &p), 2);
	group_close(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_ids),  cmocka_unit_test(test_foreign_ids),
		cmocka_unit_test(test_cut),      cmocka_unit_test(test_closed),
		cmocka_unit_test(test_newcomer), cmocka_unit_test(test_connected),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests_name("port_steer", tests, NULL, NULL);
}
