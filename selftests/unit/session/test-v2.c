/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of version 2 at the daemon: a pipe that writes down what would go to the edge, real
 * origins on loopback, and what the edge would be told. What is expected is in docs/protocol.md
 * §11.3, §11.4.
 */
#include "daemon/session/v2.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/net/sockaddr.h"
#include "daemon/session/udp_session.h"
#include "daemon/wire/dgram_v2.h"
#include "util/cleanup.h"

enum { KEPT = 64, TURNS = 400 };

/* A link's end. */
struct fake {
	struct datagram_pipe pipe;
	struct flow_port port;
	size_t max;
	int error;
	unsigned int count, ends;
	struct dgram_id ended; /* the last one */
	char text[128];
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
	int origin;
	struct ip_port origin_at;
	struct fake edge, other;
};

static int fake_send(struct datagram_pipe *pipe, enum datagram_kind kind UNUSED,
		     struct span datagram)
{
	struct fake *f = CONTAINER_OF(pipe, struct fake, pipe);
	if (f->error < 0)
		return f->error;
	assert_true(f->count < KEPT && datagram.len <= f->max);
	memcpy(f->sent[f->count].bytes, datagram.ptr, datagram.len);
	f->sent[f->count++].len = datagram.len;
	return 0;
}

static size_t fake_max(struct datagram_pipe *pipe)
{
	return CONTAINER_OF(pipe, struct fake, pipe)->max;
}

static void on_session_end(struct flow_port *port, const struct dgram_id *id, const char *reason)
{
	struct fake *f = CONTAINER_OF(port, struct fake, port);
	f->ends++;
	f->ended = *id;
	assert_true(strlen(reason) < sizeof(f->text));
	memcpy(f->text, reason, strlen(reason) + 1);
}

static void fake_open(struct flow_table *t, struct fake *f, bool is_v2)
{
	static const struct datagram_ops ops = { .send = fake_send, .max = fake_max };
	static const struct flow_port_user user = { .on_session_end = on_session_end };
	*f = (struct fake){ .pipe.ops = &ops, .max = 1435 };
	flow_port_open(t, &f->port, &f->pipe, 3, true);
	if (is_v2)
		f->port.v2 = &user;
}

static bool may_reach(void *arg, const struct ip_addr *addr)
{
	(void)addr;
	return ((struct fixture *)arg)->is_allowed;
}

static int open_origin(struct ip_port *ret_at)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(sockaddr_to_ip_port((struct sockaddr *)&sa, len, ret_at), 0);
	return fd;
}

/* Of the test that runs: who waits for an origin turns it. */
static struct loop *turned;

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
	fx.origin = open_origin(&fx.origin_at);
	fake_open(&fx.table, &fx.edge, true);
	fake_open(&fx.table, &fx.other, true);
	turned = fx.worker->loop;
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
	id.bytes[15] = (uint8_t)n;
	return id;
}

static const char *ask(struct fixture *fx, struct fake *from, unsigned int n)
{
	const struct dgram2_register reg = { .id = id_of(n),
					     .dest = fx->origin_at,
					     .idle = 60 * NSEC_PER_SEC };
	return v2_register(&from->port, &reg);
}

static void give(struct fake *from, const void *bytes, size_t len)
{
	_cleanup_(freep) uint8_t *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	if (len)
		memcpy(copy, bytes, len);
	v2_datagram(&from->port, span_of(copy, len));
}

static void payload(struct fake *from, unsigned int n, struct span bytes)
{
	uint8_t buf[1600];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram_id id = id_of(n);
	packer_bytes(&p, bytes);
	packer_bytes(&p, dgram_id_span(&id));
	packer_u8(&p, DGRAM2_TYPE_PAYLOAD);
	give(from, buf, packer_span(&p).len);
}

static void turn_until(struct fixture *fx, const unsigned int *counter, unsigned int value)
{
	for (unsigned int i = 0; i < TURNS && *counter < value; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 10 * NSEC_PER_MSEC), 0);
	assert_int_equal(*counter, value);
}

static void assert_payload(const struct fake *f, unsigned int at, unsigned int n, struct span bytes)
{
	struct dgram2 d;
	struct dgram_id id = id_of(n);
	assert_true(f->count > at);
	assert_int_equal(dgram2_read(span_of(f->sent[at].bytes, f->sent[at].len), &d), 0);
	assert_int_equal(d.type, DGRAM2_TYPE_PAYLOAD);
	assert_true(dgram_id_eq(&d.id, &id));
	assert_int_equal(d.content.len, bytes.len);
	assert_true(bytes.len == 0 || memcmp(d.content.ptr, bytes.ptr, bytes.len) == 0);
}

static uint64_t drops(const struct fixture *fx, enum flow_drop reason)
{
	return fx->table.by_index[3].drops[reason];
}

/* ---- the origin's side ---- */

static void assert_received(int fd, struct span bytes, struct sockaddr_storage *ret_from)
{
	uint8_t buf[2000];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	socklen_t len = sizeof(*ret_from);
	/* What sessions send leaves at the end of a turn. */
	for (unsigned int i = 0; i < 5000 && poll(&p, 1, 0) == 0; i++)
		assert_int_equal(loop_turn(turned, NSEC_PER_MSEC), 0);
	ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)ret_from, &len);
	assert_int_equal(n, bytes.len);
	assert_true(bytes.len == 0 || memcmp(buf, bytes.ptr, bytes.len) == 0);
}

static void answer(int fd, const struct sockaddr_storage *to, struct span bytes)
{
	assert_int_equal(sendto(fd, bytes.ptr, bytes.len, 0, (const struct sockaddr *)to,
				sizeof(struct sockaddr_in)),
			 bytes.len);
}

/* ---- tests ---- */

static void test_both_ways(void **state)
{
	struct fixture *fx = *state;
	static const uint8_t large[1400] = { 1, 2, 3 };
	struct sockaddr_storage from;
	assert_null(ask(fx, &fx->edge, 1));
	payload(&fx->edge, 1, SPAN_LIT("hello"));
	assert_received(fx->origin, SPAN_LIT("hello"), &from);
	payload(&fx->edge, 1, span_of(NULL, 0));
	assert_received(fx->origin, span_of(NULL, 0), &from);
	payload(&fx->edge, 1, span_of(large, 1400)); /* no limit of its own */
	assert_received(fx->origin, span_of(large, 1400), &from);
	answer(fx->origin, &from, SPAN_LIT("yes"));
	answer(fx->origin, &from, span_of(NULL, 0));
	answer(fx->origin, &from, span_of(large, 1280));
	turn_until(fx, &fx->edge.count, 3);
	assert_payload(&fx->edge, 0, 1, SPAN_LIT("yes"));
	assert_payload(&fx->edge, 1, 1, span_of(NULL, 0));
	assert_payload(&fx->edge, 2, 1, span_of(large, 1280));
	answer(fx->origin, &from, span_of(large, 1281));
	answer(fx->origin, &from, SPAN_LIT("after"));
	turn_until(fx, &fx->edge.count, 4);
	assert_int_equal(drops(fx, FLOW_DROP_TOO_BIG), 1);
	assert_int_equal(fx->table.sessions.too_big, 1);
	fx->edge.max = 17 + 4; /* what the link takes now */
	answer(fx->origin, &from, SPAN_LIT("12345"));
	answer(fx->origin, &from, SPAN_LIT("1234"));
	turn_until(fx, &fx->edge.count, 5);
	assert_payload(&fx->edge, 4, 1, SPAN_LIT("1234"));
	assert_int_equal(drops(fx, FLOW_DROP_TOO_BIG), 2);
	assert_int_equal(fx->table.sessions.active, 1);
	assert_int_equal(fx->table.by_index[3].active, 0);
	assert_int_equal(fx->other.count, 0);
}

static void test_refusals(void **state)
{
	struct fixture *fx = *state;
	fx->is_allowed = false;
	assert_non_null(ask(fx, &fx->edge, 1));
	assert_int_equal(drops(fx, FLOW_DROP_DENIED), 1);
	fx->is_allowed = true;
	struct dgram2_register reg = { .id = id_of(1), .idle = NSEC_PER_SEC };
	reg.dest.ip.family = IP_FAMILY_V6;
	reg.dest.ip.bytes[0] = 0xfe; /* link-local without a scope */
	reg.dest.ip.bytes[1] = 0x80;
	assert_non_null(v2_register(&fx->edge.port, &reg));
	assert_int_equal(drops(fx, FLOW_DROP_NO_SOCKET), 1);
	fx->edge.max = 0;
	assert_non_null(ask(fx, &fx->edge, 1));
	assert_int_equal(drops(fx, FLOW_DROP_LINK_DOWN), 1);
	fx->edge.max = 1435;
	flow_table_set_limits(&fx->table, 1, 1000);
	assert_null(ask(fx, &fx->edge, 1));
	assert_string_equal(ask(fx, &fx->edge, 2), DGRAM2_ERROR_TOO_MANY);
	assert_null(ask(fx, &fx->edge, 1)); /* it takes its own place */
	assert_int_equal(drops(fx, FLOW_DROP_TOO_MANY), 1);
	flow_table_set_limits(&fx->table, 1000, 2);
	unsigned int refused = 0;
	for (unsigned int n = 10; n < 20; n++)
		refused += ask(fx, &fx->edge, n) != NULL;
	assert_true(refused > 0);
	assert_int_equal(drops(fx, FLOW_DROP_RATE), refused);
	assert_int_equal(fx->edge.ends, 0);
}

/* What a refused registration leaves behind is no session, whatever was there before. */
static void test_replaced(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_storage first, second;
	struct ip_port at;
	int other = open_origin(&at);
	assert_null(ask(fx, &fx->edge, 1));
	payload(&fx->edge, 1, SPAN_LIT("one"));
	assert_received(fx->origin, SPAN_LIT("one"), &first);
	struct ip_port before = fx->origin_at;
	fx->origin_at = at;
	assert_null(ask(fx, &fx->edge, 1));
	assert_int_equal(fx->table.sessions.active, 1);
	assert_int_equal(fx->table.sessions.total, 2);
	payload(&fx->edge, 1, SPAN_LIT("two"));
	assert_received(other, SPAN_LIT("two"), &second);
	answer(fx->origin, &first, SPAN_LIT("late")); /* to the first, which has gone */
	answer(other, &second, SPAN_LIT("now"));
	turn_until(fx, &fx->edge.count, 1);
	assert_payload(&fx->edge, 0, 1, SPAN_LIT("now"));
	fx->is_allowed = false;
	fx->origin_at = before;
	assert_non_null(ask(fx, &fx->edge, 1));
	assert_int_equal(fx->table.sessions.active, 0);
	assert_int_equal(fx->edge.ends, 0);
	(void)fd_close(other);
}

static void test_ends(void **state)
{
	struct fixture *fx = *state;
	struct dgram_id one = id_of(1), two = id_of(2), never = id_of(3);
	assert_null(ask(fx, &fx->edge, 1));
	assert_null(ask(fx, &fx->edge, 2));
	v2_unregister(&fx->edge.port, &never);
	v2_unregister(&fx->other.port, &one); /* another link's */
	assert_int_equal(fx->table.sessions.active, 2);
	v2_unregister(&fx->edge.port, &one);
	assert_int_equal(fx->table.sessions.active, 1);
	assert_int_equal(fx->edge.ends, 0); /* it knows */

	struct udp_session *s = udp_session_find(&fx->table, &two, fx->edge.port.serial);
	assert_non_null(s);
	s->idle = 1500 * NSEC_PER_MSEC;
	s->active = nsec_sub(loop_now(fx->worker->loop), 1600 * NSEC_PER_MSEC);
	timer_start(fx->worker->loop, &s->timer, 0);
	turn_until(fx, &fx->edge.ends, 1);
	assert_true(dgram_id_eq(&fx->edge.ended, &two));
	assert_string_equal(fx->edge.text, "session idle for 1.5s");
	assert_int_equal(fx->table.sessions.active, 0);
	payload(&fx->edge, 2, SPAN_LIT("late"));
	assert_int_equal(drops(fx, FLOW_DROP_NO_FLOW), 1);
}

/* Whatever comes is a sign of life, also what is dropped. */
static void test_signs_of_life(void **state)
{
	struct fixture *fx = *state;
	static const uint8_t large[1300];
	struct sockaddr_storage from;
	struct dgram_id id = id_of(1);
	assert_null(ask(fx, &fx->edge, 1));
	struct udp_session *s = udp_session_find(&fx->table, &id, fx->edge.port.serial);
	s->active = 0;
	payload(&fx->edge, 1, SPAN_LIT("x"));
	assert_int_equal(s->active, loop_now(fx->worker->loop));
	assert_received(fx->origin, SPAN_LIT("x"), &from);
	s->active = 0;
	answer(fx->origin, &from, span_of(large, sizeof(large)));
	for (unsigned int i = 0; i < TURNS && s->active == 0; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 10 * NSEC_PER_MSEC), 0);
	assert_int_not_equal(s->active, 0);
	assert_int_equal(drops(fx, FLOW_DROP_TOO_BIG), 1);
	s->active = 0;
	fx->edge.error = -ENOBUFS;
	answer(fx->origin, &from, SPAN_LIT("y"));
	for (unsigned int i = 0; i < TURNS && s->active == 0; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 10 * NSEC_PER_MSEC), 0);
	assert_int_equal(drops(fx, FLOW_DROP_LINK_FULL), 1);
}

static void test_refused_by_origin(void **state)
{
	struct fixture *fx = *state;
	struct ip_port closed;
	(void)fd_close(open_origin(&closed));
	fx->origin_at = closed;
	assert_null(ask(fx, &fx->edge, 1));
	payload(&fx->edge, 1, SPAN_LIT("anyone?"));
	turn_until(fx, &fx->edge.ends, 1);
	assert_non_null(strstr(fx->edge.text, "refused"));
	assert_int_equal(fx->table.sessions.active, 0);
	assert_int_equal(fx->table.by_index[3].failed, 0); /* a count of version 3 */
}

/* The same id on two links are two sessions; a link takes its own along. */
static void test_scope(void **state)
{
	struct fixture *fx = *state;
	struct fake three;
	fake_open(&fx->table, &three, false);
	assert_true(fx->edge.port.serial != fx->other.port.serial);
	assert_ptr_equal(flow_port_find(&fx->table, fx->other.port.serial), &fx->other.port);
	assert_ptr_equal(flow_port_find(&fx->table, three.port.serial), &three.port);
	assert_null(flow_port_find(&fx->table, 0));
	assert_null(ask(fx, &fx->edge, 1));
	payload(&fx->other, 1, SPAN_LIT("not yours"));
	assert_int_equal(drops(fx, FLOW_DROP_NO_FLOW), 1);
	assert_null(ask(fx, &fx->other, 1));
	uint8_t buf[100];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_register reg = { .id = id_of(1), .dest = fx->origin_at };
	assert_int_equal(dgram3_register_write(&p, &reg), 0);
	flow_table_datagram(&fx->table, &three.port, packer_span(&p));
	assert_int_equal(fx->table.flows.count, 3);
	assert_int_equal(fx->table.sessions.active, 2);
	assert_int_equal(fx->table.by_index[3].active, 1);
	uint64_t serial = fx->edge.port.serial;
	flow_port_close(&fx->edge.port);
	assert_null(flow_port_find(&fx->table, serial));
	assert_int_equal(fx->table.sessions.active, 1);
	assert_int_equal(fx->edge.ends, 0); /* there is nobody to tell */
	payload(&fx->other, 1, SPAN_LIT("mine"));
	struct sockaddr_storage from;
	assert_received(fx->origin, SPAN_LIT("mine"), &from);
	flow_port_close(&three.port); /* its flow waits a while for another link */
	assert_int_equal(fx->table.flows.count, 2);
	assert_int_equal(fx->table.by_index[3].active, 1);
}

static void grow_older(struct fake *f, nsec_t by)
{
	for (size_t i = 0; i < STRAYS_MAX; i++)
		if (f->port.strays.places[i].since)
			f->port.strays.places[i].since -= by;
}

static void expect_told(struct fake *f, unsigned int ends, unsigned int n)
{
	struct dgram_id id = id_of(n);
	assert_int_equal(f->ends, ends);
	assert_true(dgram_id_eq(&f->ended, &id));
	assert_string_equal(f->text, "there is no such session");
}

/* An end that the edge hasn't heard of is told when payloads go on coming, not about one of them.
 */
static void test_unaware(void **state)
{
	struct fixture *fx = *state;
	struct fake *f = &fx->edge;
	payload(f, 1, SPAN_LIT("late"));
	payload(f, 1, SPAN_LIT("later"));
	payload(&fx->other, 1, SPAN_LIT("x"));
	grow_older(f, 100 * NSEC_PER_MSEC);
	payload(f, 1, SPAN_LIT("x"));
	assert_int_equal(f->ends, 0);
	grow_older(f, NSEC_PER_SEC);
	payload(f, 1, SPAN_LIT("x"));
	expect_told(f, 1, 1);
	payload(f, 1, SPAN_LIT("x")); /* a second later again, not at once */
	assert_int_equal(f->ends, 1);
	/* Two ids in one place: the second waits until the first is answered or has been still. */
	payload(f, 1 + STRAYS_MAX, SPAN_LIT("x"));
	grow_older(f, NSEC_PER_SEC);
	payload(f, 1 + STRAYS_MAX, SPAN_LIT("x"));
	assert_int_equal(f->ends, 1);
	payload(f, 1, SPAN_LIT("x"));
	expect_told(f, 2, 1);
	payload(f, 1 + STRAYS_MAX, SPAN_LIT("x"));
	grow_older(f, 3 * NSEC_PER_SEC);
	payload(f, 1, SPAN_LIT("x"));
	grow_older(f, NSEC_PER_SEC);
	payload(f, 1 + STRAYS_MAX, SPAN_LIT("x"));
	assert_int_equal(f->ends, 2);
	payload(f, 1, SPAN_LIT("x"));
	expect_told(f, 3, 1);
	/* A session is none of these, nor is the other link's business. */
	assert_null(ask(fx, f, 1));
	payload(f, 1, SPAN_LIT("x"));
	grow_older(f, NSEC_PER_SEC);
	payload(f, 1, SPAN_LIT("x"));
	assert_true(f->ends == 3 && fx->other.ends == 0);
	assert_int_equal(drops(fx, FLOW_DROP_NO_FLOW), 13);
}

static void test_malformed(void **state)
{
	struct fixture *fx = *state;
	uint8_t bytes[30] = {};
	uint64_t bad = 0;
	assert_null(ask(fx, &fx->edge, 1));
	for (size_t len = 0; len < 17; len++, bad++)
		give(&fx->edge, bytes, len);
	for (unsigned int type = 3; type < 256; type++, bad++) { /* 3: with a whole trace, too */
		bytes[29] = (uint8_t)type;
		give(&fx->edge, bytes, sizeof(bytes));
	}
	bytes[25] = DGRAM2_TYPE_TRACED;
	for (size_t skip = 1; skip < 25; skip++, bad++)
		give(&fx->edge, bytes + skip, 26 - skip);
	assert_int_equal(drops(fx, FLOW_DROP_MALFORMED), bad);
	give(&fx->edge, bytes, 26);
	bytes[0] = DGRAM2_TYPE_PACKET;
	give(&fx->edge, bytes, 1);
	assert_int_equal(drops(fx, FLOW_DROP_MALFORMED), bad + 2);
	assert_int_equal(fx->edge.count, 0);
	assert_int_equal(fx->table.sessions.active, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		T(test_both_ways), T(test_refusals),      T(test_replaced),
		T(test_ends),      T(test_signs_of_life), T(test_refused_by_origin),
		T(test_scope),     T(test_malformed),     T(test_unaware),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
