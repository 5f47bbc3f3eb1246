/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP flows at the daemon: a pipe that writes down what would go to the edge, and real origins on
 * loopback. What is expected of both is in docs/protocol.md §11.
 */
#include "daemon/session/flow_table.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/net/sockaddr.h"
#include "daemon/session/udp_session.h"
#include "util/cleanup.h"

enum { KEPT = 600, TURNS = 400 };

/* A link's end. */
struct fake {
	struct datagram_pipe pipe;
	struct flow_port port;
	size_t max;
	int error; /* what sending gives; 0: it works */
	unsigned int count;
	struct {
		uint8_t bytes[1500];
		size_t len;
	} sent[KEPT];
};

struct fixture {
	struct worker_set *set;
	struct metric_registry *reg;
	struct worker *worker;
	struct datapath *datapath;
	struct flow_table table;
	bool is_allowed;
	int origin; /* a bound socket */
	struct ip_port origin_at;
	struct fake edge, other;
};

static int fake_send(struct datagram_pipe *pipe, struct span datagram)
{
	struct fake *f = CONTAINER_OF(pipe, struct fake, pipe);
	if (f->error < 0)
		return f->error;
	if (datagram.len > f->max)
		return -EMSGSIZE;
	assert_true(f->count < KEPT && datagram.len <= sizeof(f->sent[0].bytes));
	memcpy(f->sent[f->count].bytes, datagram.ptr, datagram.len);
	f->sent[f->count++].len = datagram.len;
	return 0;
}

static size_t fake_max(struct datagram_pipe *pipe)
{
	return CONTAINER_OF(pipe, struct fake, pipe)->max;
}

static const struct datagram_ops fake_ops = { .send = fake_send, .max = fake_max };

static void fake_open(struct flow_table *t, struct fake *f, unsigned int index, bool is_ours)
{
	*f = (struct fake){ .pipe.ops = &fake_ops, .max = 1435 };
	flow_port_open(t, &f->port, &f->pipe, index, is_ours);
}

static bool may_reach(void *arg, const struct ip_addr *addr)
{
	(void)addr;
	return ((struct fixture *)arg)->is_allowed;
}

static int open_origin(enum ip_family family, struct ip_port *ret_at)
{
	struct ip_port any = { .ip = { .family = family } };
	if (family == IP_FAMILY_V4)
		memcpy(any.ip.bytes, (const uint8_t[]){ 127, 0, 0, 1 }, 4);
	else
		any.ip.bytes[15] = 1;
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(&any, &sa);
	int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, ret_at), 0);
	return fd;
}

static int start(void **state)
{
	static struct fixture fx;
	fx = (struct fixture){ .is_allowed = true };
	assert_int_equal(metric_registry_new(1000, &fx.reg), 0);
	struct worker_params workers = { .count = 1, .memory = 8 << 20, .metrics = fx.reg };
	assert_int_equal(worker_set_new(&workers, &fx.set), 0);
	fx.worker = worker_set_get(fx.set, 0);
	assert_int_equal(datapath_new(fx.worker, &fx.datapath), 0);
	flow_table_init(&fx.table, &(struct flow_table_params){ .worker = fx.worker,
								.datapath = fx.datapath,
								.may_reach = may_reach,
								.arg = &fx });
	flow_table_set_limits(&fx.table, 1000, 1000);
	fx.origin = open_origin(IP_FAMILY_V4, &fx.origin_at);
	fake_open(&fx.table, &fx.edge, 0, false);
	fake_open(&fx.table, &fx.other, 1, false);
	*state = &fx;
	return 0;
}

static int end(void **state)
{
	struct fixture *fx = *state;
	flow_table_done(&fx->table);
	flow_port_close(&fx->edge.port);
	flow_port_close(&fx->other.port);
	datapath_free(fx->datapath);
	assert_int_equal(loop_turn(fx->worker->loop, 0), 0);
	worker_set_free(fx->set);
	metric_registry_free(fx->reg);
	(void)fd_close(fx->origin);
	return 0;
}

/* ---- the edge's side ---- */

static struct dgram_id id_of(unsigned int n)
{
	struct dgram_id id = {};
	memset(id.bytes, 0xee, sizeof(id.bytes));
	id.bytes[0] = (uint8_t)(n >> 8);
	id.bytes[15] = (uint8_t)n;
	return id;
}

static void give(struct fixture *fx, struct fake *from, const void *bytes, size_t len)
{
	/* In memory of its own length: reading beyond it is seen. */
	_cleanup_(freep) uint8_t *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	if (len)
		memcpy(copy, bytes, len);
	flow_table_datagram(&fx->table, &from->port, span_of(copy, len));
}

static void register_as(struct fixture *fx, struct fake *from, const struct dgram3_register *reg)
{
	uint8_t buf[2000];
	struct packer p = packer_over(buf, sizeof(buf));
	assert_int_equal(dgram3_register_write(&p, reg), 0);
	give(fx, from, buf, packer_span(&p).len);
}

static void register_to(struct fixture *fx, struct fake *from, unsigned int n,
			const struct ip_port *dest)
{
	register_as(fx, from, &(struct dgram3_register){ .id = id_of(n), .dest = *dest });
}

static void payload(struct fixture *fx, struct fake *from, unsigned int n, struct span bytes)
{
	uint8_t buf[2000];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_payload d = { .id = id_of(n), .payload = bytes };
	assert_int_equal(dgram3_payload_write(&p, &d, 1800), 0);
	give(fx, from, buf, packer_span(&p).len);
}

static void assert_response(const struct fake *f, unsigned int at, unsigned int n,
			    enum dgram3_code code)
{
	struct dgram3_response r;
	struct dgram_id id = id_of(n);
	assert_true(f->count > at);
	assert_int_equal(f->sent[at].len, 20);
	assert_int_equal(dgram3_response_read(span_of(f->sent[at].bytes, 20), &r), 0);
	assert_int_equal(r.code, code);
	assert_true(dgram_id_eq(&r.id, &id));
	assert_int_equal(r.text.len, 0);
}

static void assert_payload(const struct fake *f, unsigned int at, unsigned int n, struct span bytes)
{
	struct dgram3_payload d;
	struct dgram_id id = id_of(n);
	assert_true(f->count > at);
	assert_int_equal(dgram3_payload_read(span_of(f->sent[at].bytes, f->sent[at].len), 1500, &d),
			 0);
	assert_true(dgram_id_eq(&d.id, &id));
	assert_int_equal(d.payload.len, bytes.len);
	assert_true(bytes.len == 0 || memcmp(d.payload.ptr, bytes.ptr, bytes.len) == 0);
}

/* Turns until f has been sent so many, or no longer than that takes a fraction of a second. */
static void turn_until(struct fixture *fx, const struct fake *f, unsigned int count)
{
	for (unsigned int i = 0; i < TURNS && f->count < count; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 10 * NSEC_PER_MSEC), 0);
	assert_int_equal(f->count, count);
}

static uint64_t drops(const struct fixture *fx, unsigned int index, enum flow_drop reason)
{
	return fx->table.by_index[index].drops[reason];
}

static void turn_until_counted(struct fixture *fx, const uint64_t *counter, uint64_t value)
{
	for (unsigned int i = 0; i < TURNS && *counter != value; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 10 * NSEC_PER_MSEC), 0);
	assert_int_equal(*counter, value);
}

/* ---- the origin's side ---- */

static size_t receive(int fd, void *buf, size_t size, struct sockaddr_storage *ret_from)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	socklen_t len = sizeof(*ret_from);
	assert_int_equal(poll(&p, 1, 5000), 1);
	ssize_t n = recvfrom(fd, buf, size, 0, (struct sockaddr *)ret_from, &len);
	assert_true(n >= 0);
	return (size_t)n;
}

static void assert_received(int fd, struct span bytes, struct sockaddr_storage *ret_from)
{
	uint8_t buf[2000];
	assert_int_equal(receive(fd, buf, sizeof(buf), ret_from), bytes.len);
	assert_true(bytes.len == 0 || memcmp(buf, bytes.ptr, bytes.len) == 0);
}

static void assert_silent(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 0);
}

static void answer(int fd, const struct sockaddr_storage *to, struct span bytes)
{
	socklen_t len =
		to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	assert_int_equal(sendto(fd, bytes.ptr, bytes.len, 0, (const struct sockaddr *)to, len),
			 (ssize_t)bytes.len);
}

static bool same_port(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	struct ip_port x, y;
	assert_int_equal(sockaddr_to_ip_port((const struct sockaddr *)a, sizeof(*a), &x), 0);
	assert_int_equal(sockaddr_to_ip_port((const struct sockaddr *)b, sizeof(*b), &y), 0);
	return x.port == y.port;
}

/* ---- tests ---- */

/* The bytes of a recorded sequence, registration to answer. */
static void test_recorded_bytes(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage from;
	uint8_t reg[] = { 0x00, 0x00, 0,    0,    0x00, 0x05, 0x00, 0x11, 0x22,
			  0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb,
			  0xcc, 0xdd, 0xee, 0x01, 0x7f, 0x00, 0x00, 0x01 };
	static const uint8_t ok[] = { 0x03, 0x00, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
				      0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x01, 0x00, 0x00 };
	static const uint8_t hello[] = { 0x01, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
					 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x01, 'h',  'i' };
	reg[2] = (uint8_t)(fx->origin_at.port >> 8);
	reg[3] = (uint8_t)fx->origin_at.port;
	give(fx, &fx->edge, reg, sizeof(reg));
	give(fx, &fx->edge, hello, sizeof(hello)); /* without waiting for the answer */
	assert_int_equal(fx->edge.sent[0].len, sizeof(ok));
	assert_memory_equal(fx->edge.sent[0].bytes, ok, sizeof(ok));
	assert_received(fx->origin, SPAN_LIT("hi"), &from);
	answer(fx->origin, &from, SPAN_LIT("hi"));
	turn_until(fx, &fx->edge, 2);
	assert_int_equal(fx->edge.sent[1].len, sizeof(hello));
	assert_memory_equal(fx->edge.sent[1].bytes, hello, sizeof(hello));
	assert_int_equal(fx->table.by_index[0].total, 1);
	assert_int_equal(fx->table.by_index[0].active, 1);
}

static void test_ipv6_and_mapped(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage from;
	struct ip_port at,
		mapped = { .ip = { .family = IP_FAMILY_V6 }, .port = fx->origin_at.port };
	int fd = open_origin(IP_FAMILY_V6, &at);
	register_to(fx, &fx->edge, 1, &at);
	payload(fx, &fx->edge, 1, SPAN_LIT("six"));
	assert_received(fd, SPAN_LIT("six"), &from);
	answer(fd, &from, SPAN_LIT("back"));
	turn_until(fx, &fx->edge, 2);
	assert_payload(&fx->edge, 1, 1, SPAN_LIT("back"));
	(void)fd_close(fd);
	ip_addr_to_mapped(&fx->origin_at.ip, mapped.ip.bytes);
	register_to(fx, &fx->edge, 2, &mapped);
	payload(fx, &fx->edge, 2, SPAN_LIT("four"));
	assert_received(fx->origin, SPAN_LIT("four"), &from);
	assert_int_equal(from.ss_family, AF_INET);
}

/* The first payload may come with the registration; a repeat brings it again and isn't believed. */
static void test_bundled_payload(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage from;
	struct dgram3_register reg = { .id = id_of(1),
				       .dest = fx->origin_at,
				       .payload = SPAN_LIT("first") };
	register_as(fx, &fx->edge, &reg);
	register_as(fx, &fx->edge, &reg);
	payload(fx, &fx->edge, 1, SPAN_LIT("second"));
	assert_received(fx->origin, SPAN_LIT("first"), &from);
	assert_received(fx->origin, SPAN_LIT("second"), &from);
	assert_silent(fx->origin);
	assert_response(&fx->edge, 0, 1, DGRAM3_CODE_OK);
	assert_response(&fx->edge, 1, 1, DGRAM3_CODE_OK);
	assert_int_equal(fx->table.by_index[0].repeated, 1);
	assert_int_equal(fx->table.by_index[0].total, 1);
}

/* Payloads are taken from everywhere; answers go where the flow was registered last. */
static void test_moves(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage from, again;
	register_to(fx, &fx->edge, 1, &fx->origin_at);
	payload(fx, &fx->other, 1, SPAN_LIT("one"));
	assert_received(fx->origin, SPAN_LIT("one"), &from);
	answer(fx->origin, &from, SPAN_LIT("1"));
	turn_until(fx, &fx->edge, 2);
	register_to(fx, &fx->other, 1, &fx->origin_at);
	assert_response(&fx->other, 0, 1, DGRAM3_CODE_OK);
	payload(fx, &fx->edge, 1, SPAN_LIT("two"));
	assert_received(fx->origin, SPAN_LIT("two"), &again);
	assert_true(same_port(&from, &again));
	answer(fx->origin, &again, SPAN_LIT("2"));
	turn_until(fx, &fx->other, 2);
	assert_payload(&fx->other, 1, 1, SPAN_LIT("2"));
	assert_int_equal(fx->edge.count, 2);
	assert_int_equal(fx->table.by_index[1].moved, 1);
	flow_port_close(&fx->edge.port); /* the link that it came on first */
	payload(fx, &fx->other, 1, SPAN_LIT("three"));
	assert_received(fx->origin, SPAN_LIT("three"), &again);
	flow_port_close(&fx->other.port);
	assert_int_equal(fx->table.flows.count, 0);
	assert_int_equal(fx->table.by_index[0].active, 0);
}

/* The first destination stays, whatever a repeat says. */
static void test_repeat_keeps_destination(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage from;
	struct ip_port elsewhere;
	int fd = open_origin(IP_FAMILY_V4, &elsewhere);
	register_to(fx, &fx->edge, 1, &fx->origin_at);
	register_to(fx, &fx->edge, 1, &elsewhere);
	payload(fx, &fx->edge, 1, SPAN_LIT("where to"));
	assert_received(fx->origin, SPAN_LIT("where to"), &from);
	assert_silent(fd);
	(void)fd_close(fd);
}

static void test_limit(void **state)
{
	struct fixture *fx = *state;
	flow_table_set_limits(&fx->table, 2, 1000);
	for (unsigned int n = 1; n <= 3; n++)
		register_to(fx, &fx->edge, n, &fx->origin_at);
	register_to(fx, &fx->edge, 1, &fx->origin_at);
	assert_response(&fx->edge, 0, 1, DGRAM3_CODE_OK);
	assert_response(&fx->edge, 1, 2, DGRAM3_CODE_OK);
	assert_response(&fx->edge, 2, 3, DGRAM3_CODE_TOO_MANY);
	assert_response(&fx->edge, 3, 1, DGRAM3_CODE_OK);
	assert_int_equal(drops(fx, 0, FLOW_DROP_TOO_MANY), 1);
	flow_table_done(&fx->table);
	register_to(fx, &fx->edge, 3, &fx->origin_at);
	assert_response(&fx->edge, 4, 3, DGRAM3_CODE_OK);
	assert_int_equal(fx->table.flows.count, 1);
}

/* What can't be dialled takes no place: as often as one likes. */
static void test_failures_leak_nothing(void **state)
{
	struct fixture *fx = *state;
	struct ip_port nowhere = {
		.ip = { .family = IP_FAMILY_V6, .bytes = { 0xfe, 0x80, [15] = 1 } }, .port = 9
	};
	flow_table_set_limits(&fx->table, 1, 1000);
	for (unsigned int n = 1; n <= 5; n++)
		register_to(fx, &fx->edge, n, &nowhere);
	assert_response(&fx->edge, 4, 5, DGRAM3_CODE_NO_SOCKET);
	assert_int_equal(drops(fx, 0, FLOW_DROP_NO_SOCKET), 5);
	fx->edge.port.is_ours = true;
	register_to(fx, &fx->edge, 6, &nowhere);
	assert_response(&fx->edge, 5, 6, DGRAM3_CODE_UNREACHABLE);
	register_to(fx, &fx->edge, 7, &fx->origin_at);
	assert_response(&fx->edge, 6, 7, DGRAM3_CODE_OK);
}

static void test_denied(void **state)
{
	struct fixture *fx = *state;
	fx->is_allowed = false;
	register_to(fx, &fx->edge, 1, &fx->origin_at);
	fx->edge.port.is_ours = true;
	register_to(fx, &fx->edge, 2, &fx->origin_at);
	payload(fx, &fx->edge, 1, SPAN_LIT("x"));
	assert_response(&fx->edge, 0, 1, DGRAM3_CODE_NO_SOCKET);
	assert_response(&fx->edge, 1, 2, DGRAM3_CODE_UNREACHABLE);
	assert_int_equal(drops(fx, 0, FLOW_DROP_DENIED), 2);
	assert_int_equal(drops(fx, 0, FLOW_DROP_NO_FLOW), 1);
	assert_silent(fx->origin);
}

static void test_registration_rate(void **state)
{
	struct fixture *fx = *state;
	flow_table_set_limits(&fx->table, 1000, 3);
	for (unsigned int n = 1; n <= 5; n++)
		register_to(fx, &fx->edge, n, &fx->origin_at);
	register_to(fx, &fx->edge, 1, &fx->origin_at); /* a repeat isn't new */
	assert_int_equal(fx->edge.count, 4);
	assert_int_equal(drops(fx, 0, FLOW_DROP_RATE), 2);
}

static void test_malformed(void **state)
{
	struct fixture *fx = *state;
	static const uint8_t icmp[] = { 0x02, 0x45 }, unknown[] = { 0x04 };
	uint8_t buf[64] = {}, big[17 + 1281] = { 0x01 };
	struct packer p = packer_over(buf, sizeof(buf));
	uint64_t bad = 0;
	assert_int_equal(
		dgram3_register_write(
			&p, &(struct dgram3_register){ .id = id_of(1), .dest = fx->origin_at }),
		0);
	for (size_t len = 0; len < 26; len++, bad++)
		give(fx, &fx->edge, buf, len);
	for (size_t len = 1; len < 17; len++, bad++)
		give(fx, &fx->edge, big, len);
	give(fx, &fx->edge, big, sizeof(big));
	give(fx, &fx->edge, unknown, sizeof(unknown));
	buf[0] = 0x03;
	give(fx, &fx->edge, buf, 20);
	assert_int_equal(drops(fx, 0, FLOW_DROP_MALFORMED), bad + 3);
	give(fx, &fx->edge, icmp, sizeof(icmp));
	assert_int_equal(drops(fx, 0, FLOW_DROP_ICMP), 1);
	give(fx, &fx->edge, big, sizeof(big) - 1);
	assert_int_equal(drops(fx, 0, FLOW_DROP_NO_FLOW), 1);
	assert_int_equal(fx->edge.count, 0);
	assert_int_equal(fx->table.flows.count, 0);
}

static void test_sizes(void **state)
{
	struct fixture *fx = *state;
	static uint8_t bytes[1500];
	struct sockaddr_storage from;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7);
	register_to(fx, &fx->edge, 1, &fx->origin_at);
	static const size_t sizes[] = { 0, 1, 1280 };
	unsigned int count = 1;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++, count++) {
		payload(fx, &fx->edge, 1, span_of(bytes, sizes[i]));
		assert_received(fx->origin, span_of(bytes, sizes[i]), &from);
		answer(fx->origin, &from, span_of(bytes, sizes[i]));
		turn_until(fx, &fx->edge, count + 1);
		assert_payload(&fx->edge, count, 1, span_of(bytes, sizes[i]));
	}
	const uint64_t *too_big = &fx->table.by_index[0].drops[FLOW_DROP_TOO_BIG];
	answer(fx->origin, &from, span_of(bytes, 1281));
	turn_until_counted(fx, too_big, 1);
	fx->edge.port.is_ours = true; /* another edge of ours takes more */
	answer(fx->origin, &from, span_of(bytes, 1380));
	turn_until(fx, &fx->edge, ++count);
	answer(fx->origin, &from, span_of(bytes, 1381));
	turn_until_counted(fx, too_big, 2);
	fx->edge.max = 17 + 900; /* the path is narrower: known before it is sent */
	answer(fx->origin, &from, span_of(bytes, 900));
	turn_until(fx, &fx->edge, ++count);
	answer(fx->origin, &from, span_of(bytes, 901));
	turn_until_counted(fx, too_big, 3);
	fx->edge.max = 0;
	answer(fx->origin, &from, span_of(bytes, 0));
	turn_until_counted(fx, too_big, 4);
	assert_int_equal(fx->table.flows.count, 1);
}

static void test_link_takes_nothing(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage from;
	fx->edge.error = -ENOBUFS;
	register_to(fx, &fx->edge, 1, &fx->origin_at); /* the response is lost, the flow isn't */
	payload(fx, &fx->edge, 1, SPAN_LIT("a"));
	assert_received(fx->origin, SPAN_LIT("a"), &from);
	answer(fx->origin, &from, SPAN_LIT("b"));
	turn_until_counted(fx, &fx->table.by_index[0].drops[FLOW_DROP_LINK_FULL], 2);
	fx->edge.error = -EPROTO;
	answer(fx->origin, &from, SPAN_LIT("c"));
	turn_until_counted(fx, &fx->table.by_index[0].drops[FLOW_DROP_LINK_DOWN], 1);
	fx->edge.error = 0;
	answer(fx->origin, &from, SPAN_LIT("d"));
	turn_until(fx, &fx->edge, 1);
	assert_payload(&fx->edge, 0, 1, SPAN_LIT("d"));
}

/* Nobody listens: the flow ends without a word; the one beside it on the same socket goes on. */
static void test_refused_by_origin(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage from;
	struct ip_port closed;
	int fd = open_origin(IP_FAMILY_V4, &closed);
	(void)fd_close(fd);
	register_to(fx, &fx->edge, 1, &fx->origin_at);
	register_to(fx, &fx->edge, 2, &closed);
	assert_int_equal(datapath_get_stats(fx->datapath)->anchors, 1);
	payload(fx, &fx->edge, 2, SPAN_LIT("anyone?"));
	payload(fx, &fx->edge, 1, SPAN_LIT("you")); /* before the error is read */
	turn_until_counted(fx, &fx->table.by_index[0].failed, 1);
	assert_received(fx->origin, SPAN_LIT("you"), &from);
	payload(fx, &fx->edge, 2, SPAN_LIT("again"));
	assert_int_equal(drops(fx, 0, FLOW_DROP_NO_FLOW), 1);
	answer(fx->origin, &from, SPAN_LIT("me"));
	turn_until(fx, &fx->edge, 3);
	assert_payload(&fx->edge, 2, 1, SPAN_LIT("me"));
	assert_int_equal(fx->table.flows.count, 1);
}

/* Flows to one origin are told apart by their local ports, which stay what they are. */
static void test_many_to_one(void **state)
{
	struct fixture *fx = *state;
	enum { COUNT = 200 };
	static struct sockaddr_storage from[COUNT];
	uint8_t name[2] = {};
	for (unsigned int n = 0; n < COUNT; n++)
		register_to(fx, &fx->edge, n, &fx->origin_at);
	for (unsigned int n = 0; n < COUNT; n++) {
		name[0] = (uint8_t)n;
		payload(fx, &fx->edge, n, span_of(name, 2));
		assert_received(fx->origin, span_of(name, 2), &from[n]);
		assert_true(n == 0 || !same_port(&from[n], &from[n - 1]));
	}
	assert_int_equal(datapath_get_stats(fx->datapath)->anchors, COUNT);
	for (unsigned int n = 0; n < COUNT; n++) {
		name[1] = (uint8_t)n;
		answer(fx->origin, &from[n], span_of(name, 2));
		turn_until(fx, &fx->edge, COUNT + n + 1);
		assert_payload(&fx->edge, COUNT + n, n, span_of(name, 2));
	}
	/* One more origin finds its places on the same sockets. */
	struct ip_port second;
	int fd = open_origin(IP_FAMILY_V4, &second);
	for (unsigned int n = 0; n < COUNT; n++)
		register_to(fx, &fx->other, COUNT + n, &second);
	assert_int_equal(fx->table.flows.count, 2 * COUNT);
	assert_int_equal(datapath_get_stats(fx->datapath)->anchors, COUNT);
	flow_table_done(&fx->table);
	assert_true(datapath_get_stats(fx->datapath)->anchors < COUNT);
	(void)fd_close(fd);
}

/* Who wasn't asked isn't heard. */
static void test_strangers(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage from;
	struct ip_port at;
	int fd = open_origin(IP_FAMILY_V4, &at);
	register_to(fx, &fx->edge, 1, &fx->origin_at);
	payload(fx, &fx->edge, 1, SPAN_LIT("x"));
	assert_received(fx->origin, SPAN_LIT("x"), &from);
	answer(fd, &from, SPAN_LIT("hello"));
	turn_until_counted(fx, &datapath_get_stats(fx->datapath)->strangers, 1);
	assert_int_equal(fx->edge.count, 1);
	flow_table_done(&fx->table); /* and who answers too late */
	answer(fx->origin, &from, SPAN_LIT("late"));
	turn_until_counted(fx, &datapath_get_stats(fx->datapath)->strangers, 2);
	(void)fd_close(fd);
}

static void set_idle(struct fixture *fx, nsec_t idle)
{
	struct udp_session *s = MAP_ENTRY(map_first(&fx->table.flows), struct udp_session, node);
	s->idle = idle;
	timer_start(fx->worker->loop, &s->timer, nsec_add(s->active, idle));
}

/* What moves keeps a flow; what is dropped doesn't. */
static void test_idle(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage from;
	nsec_t idle = 60 * NSEC_PER_MSEC, begun = nsec_clock(CLOCK_MONOTONIC);
	register_as(
		fx, &fx->edge,
		&(struct dgram3_register){ .id = id_of(1), .dest = fx->origin_at, .idle_sec = 7 });
	struct udp_session *s = MAP_ENTRY(map_first(&fx->table.flows), struct udp_session, node);
	assert_int_equal(s->idle, 7 * NSEC_PER_SEC);
	set_idle(fx, idle);
	nsec_t moved = begun;
	while (nsec_clock(CLOCK_MONOTONIC) < begun + 2 * idle) {
		payload(fx, &fx->edge, 1, SPAN_LIT("x"));
		assert_received(fx->origin, SPAN_LIT("x"), &from);
		moved = loop_now(fx->worker->loop);
		assert_int_equal(loop_turn(fx->worker->loop, NSEC_PER_MSEC), 0);
		assert_int_equal(fx->table.flows.count, 1);
	}
	while (fx->table.flows.count) {
		answer(fx->origin, &from, span_of((const uint8_t[1400]){}, 1400));
		assert_int_equal(loop_turn(fx->worker->loop, NSEC_PER_MSEC), 0);
	}
	assert_true(loop_now(fx->worker->loop) >= moved + idle);
	assert_int_equal(fx->table.by_index[0].active, 0);
	assert_int_equal(fx->table.by_index[0].failed, 0);
	assert_int_equal(fx->edge.count, 1);
}

/* 210 s where the edge names no time. */
static void test_idle_default(void **state)
{
	struct fixture *fx = *state;
	register_to(fx, &fx->edge, 1, &fx->origin_at);
	struct udp_session *s = MAP_ENTRY(map_first(&fx->table.flows), struct udp_session, node);
	assert_int_equal(s->idle, 210 * NSEC_PER_SEC);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		T(test_recorded_bytes),
		T(test_ipv6_and_mapped),
		T(test_bundled_payload),
		T(test_moves),
		T(test_repeat_keeps_destination),
		T(test_limit),
		T(test_failures_leak_nothing),
		T(test_denied),
		T(test_registration_rate),
		T(test_malformed),
		T(test_sizes),
		T(test_link_takes_nothing),
		T(test_refused_by_origin),
		T(test_many_to_one),
		T(test_strangers),
		T(test_idle),
		T(test_idle_default),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
