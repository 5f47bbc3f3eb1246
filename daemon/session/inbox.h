/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload of a turn on its way to its flows. Thousands of flows are more than a processor's caches
 * hold, and one after the other each would be waited for: its chain in the table, itself, what its
 * path needs. So payload is kept until the turn's work, and each step is taken for all of it before
 * the next one, while memory answers. Who ends or moves flows in between drains the inbox first:
 * nothing overtakes anything.
 */
#ifndef DAEMON_SESSION_INBOX_H
#define DAEMON_SESSION_INBOX_H

#include "daemon/base/loop.h"
#include "daemon/session/session_key.h"

enum {
	INBOX_ITEMS = 32, /* payloads; the next one drains it early */
	INBOX_BYTES = 16 * 1024,
};

struct flow_port;
struct flow_table;
struct udp_session;

struct inbox_item {
	struct session_key key;
	uint64_t hash;          /* of the key */
	struct flow_port *port; /* that it came on */
	struct span datagram;
};

/* Embedded in a table. */
struct inbox {
	struct flow_table *table;
	struct loop_task task;
	unsigned int count;
	size_t used;
	struct inbox_item items[INBOX_ITEMS];
	uint8_t bytes[INBOX_BYTES];
};

void inbox_init(struct inbox *b, struct flow_table *table);
/* What it holds is forgotten. */
void inbox_done(struct inbox *b);
/* A payload of version 3 for this id, borrowed for the call; flow_table_payload() has it in this
 * turn. */
void inbox_add(struct inbox *b, struct flow_port *port, const struct dgram_id *id,
	       struct span datagram);
void inbox_drain(struct inbox *b);

/* What the table does with it (flow_table.c). s: its flow; NULL: it isn't in this table. */
void flow_table_payload(struct flow_table *t, struct flow_port *port, struct udp_session *s,
			struct span datagram);

#endif
