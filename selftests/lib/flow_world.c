/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP flows at a daemon of two workers.
 */
#include "selftests/lib/flow_world.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"

/* The test's that runs: who waits for an origin turns its workers. */
static struct flow_world world;

static int fake_send(struct datagram_pipe *pipe, enum datagram_kind kind UNUSED,
		     struct span datagram)
{
	struct fake_edge *f = CONTAINER_OF(pipe, struct fake_edge, pipe);
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
	return CONTAINER_OF(pipe, struct fake_edge, pipe)->max;
}

static const struct datagram_ops fake_ops = { .send = fake_send, .max = fake_max };

static void fake_open(struct fake_edge *f, struct flow_table *table, unsigned int index)
{
	*f = (struct fake_edge){ .pipe.ops = &fake_ops, .table = table, .max = 1435 };
	flow_port_open(table, &f->port, &f->pipe, index, false);
}

static bool may_reach(void *arg, const struct ip_addr *addr)
{
	(void)addr;
	return ((struct flow_world *)arg)->is_allowed;
}

int world_open_origin(enum ip_family family, struct ip_port *ret_at)
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

static void start_table(struct flow_world *fx, struct flow_table *t, struct worker *worker,
			struct datapath **ret_datapath)
{
	assert_int_equal(datapath_new(worker, ret_datapath), 0);
	flow_table_init(t, &(struct flow_table_params){ .worker = worker,
							.datapath = *ret_datapath,
							.may_reach = may_reach,
							.arg = fx,
							.owners = fx->owners,
							.tables = fx->tables });
	flow_table_set_limits(t, 1000, 1000);
	fx->tables[worker->index] = t;
}

int world_start(void **state)
{
	struct flow_world *fx = &world;
	*fx = (struct flow_world){ .is_allowed = true };
	assert_int_equal(metric_registry_new(1000, &fx->reg), 0);
	struct worker_params workers = { .count = 2, .memory = 8 << 20, .metrics = fx->reg };
	assert_int_equal(worker_set_new(&workers, &fx->set), 0);
	assert_int_equal(owners_new(1000, &fx->owners), 0);
	fx->worker = worker_set_get(fx->set, 0);
	fx->second = worker_set_get(fx->set, 1);
	start_table(fx, &fx->table, fx->worker, &fx->datapath);
	start_table(fx, &fx->second_table, fx->second, &fx->second_datapath);
	fx->origin = world_open_origin(IP_FAMILY_V4, &fx->origin_at);
	fake_open(&fx->edge, &fx->table, 0);
	fake_open(&fx->other, &fx->table, 1);
	fake_open(&fx->far, &fx->second_table, 2);
	*state = fx;
	return 0;
}

int world_end(void **state)
{
	struct flow_world *fx = *state;
	flow_table_done(&fx->table);
	flow_table_done(&fx->second_table);
	flow_port_close(&fx->edge.port);
	flow_port_close(&fx->other.port);
	flow_port_close(&fx->far.port);
	assert_int_equal(loop_turn(fx->second->loop, 0), 0);
	assert_int_equal(loop_turn(fx->worker->loop, 0), 0);
	datapath_free(fx->datapath);
	datapath_free(fx->second_datapath);
	worker_set_free(fx->set);
	owners_free(fx->owners);
	metric_registry_free(fx->reg);
	(void)fd_close(fx->origin);
	return 0;
}

/* A turn of each worker; the first waits for what comes. */
void world_turn(struct flow_world *fx, nsec_t wait)
{
	assert_int_equal(loop_turn(fx->worker->loop, wait), 0);
	assert_int_equal(loop_turn(fx->second->loop, 0), 0);
}

/* ---- the edge's side ---- */

struct dgram_id world_id_of(unsigned int n)
{
	struct dgram_id id = {};
	memset(id.bytes, 0xee, sizeof(id.bytes));
	id.bytes[0] = (uint8_t)(n >> 8);
	id.bytes[15] = (uint8_t)n;
	return id;
}

void world_give(struct flow_world *fx, struct fake_edge *from, const void *bytes, size_t len)
{
	/* In memory of its own length: reading beyond it is seen. */
	_cleanup_(freep) uint8_t *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	if (len)
		memcpy(copy, bytes, len);
	(void)fx;
	flow_table_datagram(from->table, &from->port, span_of(copy, len));
}

void world_register_as(struct flow_world *fx, struct fake_edge *from,
		       const struct dgram3_register *reg)
{
	uint8_t buf[2000];
	struct packer p = packer_over(buf, sizeof(buf));
	assert_int_equal(dgram3_register_write(&p, reg), 0);
	world_give(fx, from, buf, packer_span(&p).len);
}

void world_register_to(struct flow_world *fx, struct fake_edge *from, unsigned int n,
		       const struct ip_port *dest)
{
	world_register_as(fx, from,
			  &(struct dgram3_register){ .id = world_id_of(n), .dest = *dest });
}

void world_payload(struct flow_world *fx, struct fake_edge *from, unsigned int n, struct span bytes)
{
	uint8_t buf[2000];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_payload d = { .id = world_id_of(n), .payload = bytes };
	assert_int_equal(dgram3_payload_write(&p, &d, 1800), 0);
	world_give(fx, from, buf, packer_span(&p).len);
}

void world_assert_response(const struct fake_edge *f, unsigned int at, unsigned int n,
			   enum dgram3_code code)
{
	struct dgram3_response r;
	struct dgram_id id = world_id_of(n);
	assert_true(f->count > at);
	assert_int_equal(f->sent[at].len, 20);
	assert_int_equal(dgram3_response_read(span_of(f->sent[at].bytes, 20), &r), 0);
	assert_int_equal(r.code, code);
	assert_true(dgram_id_eq(&r.id, &id));
	assert_int_equal(r.text.len, 0);
}

void world_assert_payload(const struct fake_edge *f, unsigned int at, unsigned int n,
			  struct span bytes)
{
	struct dgram3_payload d;
	struct dgram_id id = world_id_of(n);
	assert_true(f->count > at);
	assert_int_equal(dgram3_payload_read(span_of(f->sent[at].bytes, f->sent[at].len), 1500, &d),
			 0);
	assert_true(dgram_id_eq(&d.id, &id));
	assert_int_equal(d.payload.len, bytes.len);
	assert_true(bytes.len == 0 || memcmp(d.payload.ptr, bytes.ptr, bytes.len) == 0);
}

/* Turns until f has been sent so many, or no longer than that takes a fraction of a second. */
void world_turn_until(struct flow_world *fx, const struct fake_edge *f, unsigned int count)
{
	for (unsigned int i = 0; i < TURNS && f->count < count; i++)
		world_turn(fx, 10 * NSEC_PER_MSEC);
	assert_int_equal(f->count, count);
}

uint64_t world_drops(const struct flow_world *fx, unsigned int index, enum flow_drop reason)
{
	return fx->table.by_index[index].drops[reason];
}

void world_turn_until_counted(struct flow_world *fx, const uint64_t *counter, uint64_t value)
{
	for (unsigned int i = 0; i < TURNS && *counter != value; i++)
		world_turn(fx, 10 * NSEC_PER_MSEC);
	assert_int_equal(*counter, value);
}

/* ---- the origin's side ---- */

static size_t receive(int fd, void *buf, size_t size, struct sockaddr_storage *ret_from)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	socklen_t len = sizeof(*ret_from);
	/* What flows send leaves at the end of a turn. */
	for (unsigned int i = 0; i < TURNS && poll(&p, 1, 0) == 0; i++)
		world_turn(&world, NSEC_PER_MSEC);
	ssize_t n = recvfrom(fd, buf, size, 0, (struct sockaddr *)ret_from, &len);
	assert_true(n >= 0);
	return (size_t)n;
}

void world_assert_received(int fd, struct span bytes, struct sockaddr_storage *ret_from)
{
	uint8_t buf[2000];
	assert_int_equal(receive(fd, buf, sizeof(buf), ret_from), bytes.len);
	assert_true(bytes.len == 0 || memcmp(buf, bytes.ptr, bytes.len) == 0);
}

void world_assert_silent(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 0);
}

void world_answer(int fd, const struct sockaddr_storage *to, struct span bytes)
{
	socklen_t len =
		to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	assert_int_equal(sendto(fd, bytes.ptr, bytes.len, 0, (const struct sockaddr *)to, len),
			 (ssize_t)bytes.len);
}

bool world_same_port(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	struct ip_port x, y;
	assert_int_equal(sockaddr_to_ip_port((const struct sockaddr *)a, sizeof(*a), &x), 0);
	assert_int_equal(sockaddr_to_ip_port((const struct sockaddr *)b, sizeof(*b), &y), 0);
	return x.port == y.port;
}

/* Turns until both workers have nothing more to say to each other. */
void world_settle(struct flow_world *fx)
{
	for (unsigned int i = 0; i < 8; i++)
		world_turn(fx, 0);
}

uint64_t world_strangers(const struct flow_world *fx)
{
	return datapath_get_stats(fx->datapath)->strangers +
	       datapath_get_stats(fx->second_datapath)->strangers;
}

/* A flow of edge's that has sent "one". */
void world_begin_flow(struct flow_world *fx, unsigned int n, struct sockaddr_storage *ret_from)
{
	world_register_to(fx, &fx->edge, n, &fx->origin_at);
	world_payload(fx, &fx->edge, n, SPAN_LIT("one"));
	world_assert_received(fx->origin, SPAN_LIT("one"), ret_from);
}
