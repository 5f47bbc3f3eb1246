/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flow at the edge, over pipes that write down what daemons would get.
 */
#ifndef SELFTESTS_LIB_CALL_WORLD_H
#define SELFTESTS_LIB_CALL_WORLD_H

#include "daemon/session/flow_caller.h"
#include "daemon/wire/dgram_v2_call.h"

enum { KEPT = 200, IDLE_SEC = 60 };

/* A link's other end. */
struct fake_daemon {
	struct datagram_pipe pipe;
	struct call_port port;
	size_t max;
	int error; /* what sending gives; 0: it works */
	unsigned int count;
	struct {
		uint8_t bytes[1500];
		size_t len;
	} sent[KEPT];
	/* version 2 */
	int call_error;
	unsigned int asked, ended;
	struct dgram2_register reg;
	struct dgram_id end;
};

struct call_world {
	struct worker_set *set;
	struct metric_registry *reg;
	struct worker *worker;
	struct flow_caller caller;
	struct fake_daemon link, other;
	struct flow_call call;
	struct fake_daemon *refuge; /* where a lost flow is bound to */
	bool was_up;                /* of the next flow */
	unsigned int payloads, idles, losses, refusals, packets;
	uint8_t last[1500];
	size_t last_len;
};

extern const struct ip_port calls_dest; /* of the flow */

/* Setup and teardown of a test: *state is a struct call_world, its flow open without a link. */
int calls_start(void **state);
int calls_end(void **state);
/* A datagram of a daemon, in memory of its own length. */
void calls_give(struct call_world *fx, struct fake_daemon *from, const void *bytes, size_t len);
/* Version 3: for the flow. */
void calls_respond(struct call_world *fx, struct fake_daemon *from, enum dgram3_code code);
void calls_answer(struct call_world *fx, struct fake_daemon *from, struct span bytes);
/* What a daemon was sent. */
void calls_assert_registration(const struct call_world *fx, const struct fake_daemon *f,
			       unsigned int at, struct span payload);
void calls_assert_payload(const struct call_world *fx, const struct fake_daemon *f, unsigned int at,
			  struct span bytes);
/* Version 2 from now on. */
void calls_speak_v2(struct fake_daemon *f);
/* … for the session that this link was asked for last. */
void calls_answered(struct call_world *fx, struct fake_daemon *f, enum call_event event);
void calls_answer_v2(struct call_world *fx, struct fake_daemon *from, struct span bytes);
void calls_assert_payload_v2(const struct fake_daemon *f, unsigned int at, struct span bytes);
/* Waits, at most a moment, for the flow's timer. */
void calls_turn_until(struct call_world *fx, const unsigned int *counter, unsigned int value);
/* It expires now. */
void calls_hurry(struct call_world *fx);
/* The flow again, after it was closed. */
int calls_open_call(struct call_world *fx);

#endif
