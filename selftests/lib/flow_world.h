/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP flows at a daemon of two workers: pipes that write down what would go to the edge, real
 * origins on loopback. One thread turns both workers.
 */
#ifndef SELFTESTS_LIB_FLOW_WORLD_H
#define SELFTESTS_LIB_FLOW_WORLD_H

#include <sys/socket.h>

#include "daemon/session/flow_table.h"
#include "daemon/session/udp_session.h"

enum { KEPT = 600, TURNS = 400 };

/* A link's end. */
struct fake_edge {
	struct datagram_pipe pipe;
	struct flow_port port;
	struct flow_table *table; /* of its worker */
	size_t max;
	int error; /* what sending gives; 0: it works */
	unsigned int count;
	struct {
		uint8_t bytes[1500];
		size_t len;
	} sent[KEPT];
};

struct flow_world {
	struct worker_set *set;
	struct metric_registry *reg;
	struct worker *worker;
	struct datapath *datapath;
	struct flow_table table;
	bool is_allowed;
	int origin; /* a bound socket */
	struct ip_port origin_at;
	struct fake_edge edge, other;
	struct worker *second; /* worker, with a link of its own */
	struct datapath *second_datapath;
	struct flow_table second_table;
	struct fake_edge far;
	struct owners *owners;
	struct flow_table *tables[2];
};

/* Setup and teardown of a test: *state is a struct flow_world. */
int world_open_origin(enum ip_family family, struct ip_port *ret_at);
int world_start(void **state);
int world_end(void **state);
void world_turn(struct flow_world *fx, nsec_t wait);
struct dgram_id world_id_of(unsigned int n);
void world_give(struct flow_world *fx, struct fake_edge *from, const void *bytes, size_t len);
void world_register_as(struct flow_world *fx, struct fake_edge *from,
		       const struct dgram3_register *reg);
void world_register_to(struct flow_world *fx, struct fake_edge *from, unsigned int n,
		       const struct ip_port *dest);
void world_payload(struct flow_world *fx, struct fake_edge *from, unsigned int n,
		   struct span bytes);
void world_assert_response(const struct fake_edge *f, unsigned int at, unsigned int n,
			   enum dgram3_code code);
void world_assert_payload(const struct fake_edge *f, unsigned int at, unsigned int n,
			  struct span bytes);
void world_turn_until(struct flow_world *fx, const struct fake_edge *f, unsigned int count);
uint64_t world_drops(const struct flow_world *fx, unsigned int index, enum flow_drop reason);
void world_turn_until_counted(struct flow_world *fx, const uint64_t *counter, uint64_t value);
void world_assert_received(int fd, struct span bytes, struct sockaddr_storage *ret_from);
void world_assert_silent(int fd);
void world_answer(int fd, const struct sockaddr_storage *to, struct span bytes);
bool world_same_port(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
void world_settle(struct flow_world *fx);
uint64_t world_strangers(const struct flow_world *fx);
void world_begin_flow(struct flow_world *fx, unsigned int n, struct sockaddr_storage *ret_from);

#endif
