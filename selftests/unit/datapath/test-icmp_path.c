/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ping and raw sockets on a loopback of the test's own; skipped without the rights for one. Errors
 * are forged by somebody who has seen the echoes.
 */
#include "daemon/datapath/icmp_path.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/net/sockaddr.h"
#include "selftests/lib/own_net.h"
#include "util/cleanup.h"

enum { TURNS = 200, ROOM = 2048 };

static const struct ip_addr here_v4 = { IP_FAMILY_V4, { 127, 0, 0, 1 } };
static const struct ip_addr there_v4 = { IP_FAMILY_V4, { 127, 0, 0, 2 } };
/* … about whose way the kernel is told things that it remembers. */
static const struct ip_addr other_v4 = { IP_FAMILY_V4, { 127, 0, 0, 3 } };
static const struct ip_addr here_v6 = { IP_FAMILY_V6, { [15] = 1 } };

static bool is_usable;
static struct loop *loop;
static struct worker worker;
static struct icmp_path *path;
static unsigned int replies, errors;
static struct icmp_path_reply reply;
static struct icmp_path_error error;
static uint8_t reply_data[ROOM], error_message[ROOM];

static void on_reply(void *arg, const struct icmp_path_reply *r)
{
	assert_ptr_equal(arg, &worker);
	assert_true(r->data.len <= ROOM);
	reply = *r;
	if (r->data.len > 0)
		memcpy(reply_data, r->data.ptr, r->data.len);
	reply.data.ptr = reply_data;
	replies++;
}

static void on_error(void *arg, const struct icmp_path_error *e)
{
	assert_ptr_equal(arg, &worker);
	assert_true(e->message.len >= ICMP_HEAD_LEN && e->message.len <= ROOM);
	error = *e;
	memcpy(error_message, e->message.ptr, e->message.len);
	error.message.ptr = error_message;
	errors++;
}

/* Who may have ping sockets: groups from first to last. */
static void set_range(const char *text)
{
	_cleanup_(fd_closep) int fd =
		open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static int group_setup(void **state)
{
	(void)state;
	is_usable = own_net_enter() && own_net_run("ip link set lo up") == 0;
	return 0;
}

static int open_with(const char *range)
{
	if (!is_usable)
		return 0;
	set_range(range);
	replies = errors = 0;
	assert_int_equal(loop_new(&loop), 0);
	worker = (struct worker){ .loop = loop, .index = 3 };
	const struct icmp_path_user user = { .on_reply = on_reply,
					     .on_error = on_error,
					     .arg = &worker };
	assert_int_equal(icmp_path_new(&worker, &user, &path), 0);
	return 0;
}

static int setup_ping(void **state)
{
	(void)state;
	return open_with("0 2147483647");
}

static int setup_raw(void **state)
{
	(void)state;
	return open_with("1 0");
}

static int teardown(void **state)
{
	(void)state;
	if (!is_usable)
		return 0;
	icmp_path_free(path);
	loop_free(loop);
	return 0;
}

static void need(enum icmp_path_kind kind)
{
	if (!is_usable)
		skip();
	assert_int_equal(icmp_path_kind(path, IP_FAMILY_V4), kind);
	assert_int_equal(icmp_path_kind(path, IP_FAMILY_V6), kind);
}

static void turn_until(const unsigned int *counter, unsigned int wanted)
{
	for (unsigned int i = 0; i < TURNS && *counter < wanted; i++)
		assert_int_equal(loop_turn(loop, 10 * NSEC_PER_MSEC), 0);
	assert_int_equal(*counter, wanted);
}

static int send_echo(const struct ip_addr *dst, uint16_t seq, size_t len)
{
	static uint8_t data[ROOM];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + seq);
	const struct icmp_path_send send = {
		.dst = *dst, .ttl = 9, .dont_fragment = true, .seq = seq, .data = span_of(data, len)
	};
	return icmp_path_send(path, &send);
}

static void expect_reply(unsigned int count, const struct ip_addr *from, uint16_t seq, size_t len)
{
	turn_until(&replies, count);
	assert_true(ip_addr_eq(&reply.src, from));
	assert_true(reply.seq == seq && reply.code == 0);
	assert_int_equal(reply.data.len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(reply.data.ptr[i], (uint8_t)(i * 7 + seq));
}

static void check_echoes(enum icmp_path_kind kind)
{
	static const size_t sizes[] = { 0, 1, 56, 1252, ICMP_PATH_MAX - 28 };
	const struct ip_addr *hosts[] = { &here_v4, &there_v4, &here_v6 };
	unsigned int count = 0;
	need(kind);
	for (size_t h = 0; h < ARRAY_SIZE(hosts); h++)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			uint16_t seq = (uint16_t)(0xfff0 + count);
			assert_int_equal(send_echo(hosts[h], seq, sizes[i]), 0);
			expect_reply(++count, hosts[h], seq, sizes[i]);
		}
	const struct icmp_path_stats *v4 = icmp_path_stats(path, IP_FAMILY_V4);
	const struct icmp_path_stats *v6 = icmp_path_stats(path, IP_FAMILY_V6);
	assert_true(v4->tx == 10 && v4->rx == 10 && v6->tx == 5 && v6->rx == 5);
	assert_true(v4->cut == 0 && errors == 0);
	assert_int_equal(send_echo(&here_v4, 1, ICMP_PATH_MAX - ICMP_HEAD_LEN + 1), -EMSGSIZE);
}

static void test_ping_echoes(void **state)
{
	(void)state;
	check_echoes(ICMP_PATH_KIND_PING);
}

static void test_raw_echoes(void **state)
{
	(void)state;
	check_echoes(ICMP_PATH_KIND_RAW);
}

/* ---- errors ---- */

/* A raw socket that sees echoes where they arrive. */
static int open_witness(void)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	assert_true(fd >= 0);
	return fd;
}

/* The next echo request as a packet. */
static size_t witness(int fd, uint8_t packet[ROOM])
{
	for (;;) {
		ssize_t n = recv(fd, packet, ROOM, 0);
		struct ip_packet p;
		struct icmp_message m;
		assert_true(n > 0);
		if (ip_read(span_of(packet, (size_t)n), &p) == 0 && icmp_read(&p, &m) == 0 &&
		    m.kind == ICMP_KIND_ECHO_REQUEST)
			return (size_t)n;
	}
}

/* An error about it, quoting so many bytes, as the ICMP message that a raw socket sends. */
static void forge(int fd, uint8_t type, uint8_t code, uint16_t mtu, struct span quote)
{
	uint8_t room[ROOM] = { type, code };
	struct packer p = packer_over(room, sizeof(room));
	assert_non_null(packer_room(&p, ICMP_HEAD_LEN));
	store_be16(room + 6, mtu);
	if (type == 12)
		room[4] = 20; /* where */
	packer_bytes(&p, quote);
	store_be16(room + 2, (uint16_t)~ip_sum_fold(ip_sum(0, packer_span(&p))));
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(&(struct ip_port){ .ip = here_v4 }, &sa);
	assert_int_equal(sendto(fd, room, p.len, 0, (struct sockaddr *)&sa, len), (ssize_t)p.len);
}

static void check_errors(enum icmp_path_kind kind)
{
	static const struct {
		uint8_t type, code;
		uint16_t mtu;
		enum icmp_kind kind;
		uint32_t word;
	} rows[] = {
		{ 3, 1, 0, ICMP_KIND_UNREACHABLE, 0 },
		{ 3, 13, 0, ICMP_KIND_UNREACHABLE, 0 },
		{ 3, 4, 1300, ICMP_KIND_TOO_BIG, 1300 },
		{ 11, 0, 0, ICMP_KIND_TIME_EXCEEDED, 0 },
		{ 12, 0, 0, ICMP_KIND_BAD_PARAMETER, UINT32_C(20) << 24 },
	};
	uint8_t packet[ROOM];
	need(kind);
	_cleanup_(fd_closep) int fd = open_witness();
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		uint16_t seq = (uint16_t)(500 + i);
		assert_int_equal(send_echo(&other_v4, seq, 100), 0);
		size_t len = witness(fd, packet);
		turn_until(&replies, 2 * i + 1); /* the kernel answers it, too */
		/* Of the message 8 bytes are enough; fewer, and those of others, are none of ours.
		 */
		forge(fd, rows[i].type, rows[i].code, rows[i].mtu, span_of(packet, 20 + 8 + i));
		turn_until(&errors, i + 1);
		assert_true(error.kind == rows[i].kind && error.code == rows[i].code);
		assert_int_equal(error.mtu, rows[i].word);
		assert_true(ip_addr_eq(&error.src, &here_v4) && ip_addr_eq(&error.dst, &other_v4));
		assert_true(error.seq == seq && error.message.len == 8 + i);
		assert_memory_equal(error.message.ptr, packet + 20, 8 + i);
		for (size_t cut = 0; cut < 28; cut++)
			forge(fd, rows[i].type, rows[i].code, 0, span_of(packet, cut));
		packet[24] ^= 0xff; /* another identifier */
		forge(fd, rows[i].type, rows[i].code, 0, span_of(packet, len));
		/* What the kernel has kept of an error doesn't keep the next echo back. */
		assert_int_equal(send_echo(&other_v4, seq, 100), 0);
		(void)witness(fd, packet);
		turn_until(&replies, 2 * i + 2);
		assert_int_equal(errors, i + 1);
	}
	assert_int_equal(icmp_path_stats(path, IP_FAMILY_V4)->rx_errors, ARRAY_SIZE(rows));
}

static void test_ping_errors(void **state)
{
	(void)state;
	check_errors(ICMP_PATH_KIND_PING);
}

static void test_raw_errors(void **state)
{
	(void)state;
	check_errors(ICMP_PATH_KIND_RAW);
}

/* Redirects and the like are for the kernel. */
static void test_other_kinds(void **state)
{
	(void)state;
	uint8_t packet[ROOM];
	need(ICMP_PATH_KIND_PING);
	_cleanup_(fd_closep) int fd = open_witness();
	assert_int_equal(send_echo(&there_v4, 1, 10), 0);
	size_t len = witness(fd, packet);
	forge(fd, 5, 1, 0, span_of(packet, len));
	forge(fd, 4, 0, 0, span_of(packet, len));
	turn_until(&replies, 1);
	assert_int_equal(send_echo(&there_v4, 2, 10), 0);
	turn_until(&replies, 2);
	assert_int_equal(errors, 0);
}

/* ---- what can't be sent ---- */

static void test_not_sent(void **state)
{
	(void)state;
	static const struct ip_addr nowhere = { IP_FAMILY_V4, { 10, 1, 1, 1 } };
	static const struct ip_addr nowhere_v6 = { IP_FAMILY_V6, { 0xfd } };
	static const struct ip_addr forbidden = { IP_FAMILY_V4, { 10, 2, 1, 1 } };
	struct icmp_path_send large = { .dst = there_v4, .ttl = 9, .dont_fragment = true };
	static const uint8_t data[1500];
	struct icmp_path_way way;
	need(ICMP_PATH_KIND_PING);
	assert_int_equal(send_echo(&nowhere, 1, 10), -ENETUNREACH);
	assert_int_equal(send_echo(&nowhere_v6, 1, 10), -ENETUNREACH);
	assert_int_equal(icmp_path_find_way(&nowhere, &way), -ENETUNREACH);
	assert_int_equal(own_net_run("ip route add prohibit 10.2.0.0/16"), 0);
	assert_int_equal(send_echo(&forbidden, 1, 10), -EACCES);
	assert_int_equal(own_net_run("ip route del prohibit 10.2.0.0/16"), 0);
	assert_int_equal(own_net_run("ip link set lo mtu 1400"), 0);
	assert_int_equal(icmp_path_find_way(&there_v4, &way), 0);
	assert_true(way.mtu == 1400 && way.src.bytes[0] == 127);
	large.data = span_of(data, sizeof(data));
	assert_int_equal(icmp_path_send(path, &large), -EMSGSIZE);
	large.dont_fragment = false;
	assert_int_equal(icmp_path_send(path, &large), 0);
	turn_until(&replies, 1);
	assert_int_equal(reply.data.len, sizeof(data));
	assert_int_equal(own_net_run("ip link set lo mtu 65536"), 0);
	assert_int_equal(icmp_path_stats(path, IP_FAMILY_V4)->tx, 1);
	assert_int_equal(errors, 0);
}

#define PING(f) cmocka_unit_test_setup_teardown(f, setup_ping, teardown)
#define RAW(f)  cmocka_unit_test_setup_teardown(f, setup_raw, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PING(test_ping_echoes), PING(test_ping_errors), PING(test_other_kinds),
		PING(test_not_sent),    RAW(test_raw_echoes),   RAW(test_raw_errors),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
