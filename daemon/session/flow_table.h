/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UDP flows at the daemon, of either version: who registered what, on one worker
 * (docs/protocol.md §11). Here is what version 3 says: a registration makes a flow, a repeat is
 * answered again and moves the flow to the link that it came on, silence or an error of the
 * origin ends it without a word. What version 2 says is session/v2.h.
 *
 * A flow is registered before the next datagram is looked at, so a payload right behind its
 * registration finds it. Nothing is read from a clock for a datagram: what moves notes the time of
 * the turn, and a timer that looks at it comes once in a flow's idle time.
 *
 * A flow of version 3 is on the worker of the link that it was registered on last, and goes there
 * whole, its local port in a socket of its own (flow_path_detach()). So what it carries crosses no
 * thread; the alternative, to leave it where its anchor is and to send every datagram both ways
 * through mailboxes, would have been paid for by each. Which worker has a flow says an index that
 * all read without a lock (base/owners). What arrives elsewhere - a registration that moves it, a
 * payload on another link - goes there by mailbox, in batches and in order (base/ferry): the flow
 * leaves by the same mailbox before what comes after it, so nothing overtakes it.
 */
#ifndef DAEMON_SESSION_FLOW_TABLE_H
#define DAEMON_SESSION_FLOW_TABLE_H

#include "daemon/base/ferry.h"
#include "daemon/base/owners.h"
#include "daemon/base/ratelimit.h"
#include "daemon/datapath/path.h"
#include "daemon/flow/datagram.h"
#include "daemon/session/inbox.h"
#include "daemon/session/strays.h"
#include "daemon/wire/dgram_v3.h"
#include "util/list.h"

enum { FLOW_INDEX_MAX = 64 }; /* connection indexes with counters of their own */

/* Why a datagram went no further. */
enum flow_drop : uint8_t {
	FLOW_DROP_MALFORMED,   /* it is no datagram of the link's version that an edge may send */
	FLOW_DROP_NO_FLOW,     /* payload for an id that isn't registered */
	FLOW_DROP_TOO_MANY,    /* registration: as many flows as there may be; answered */
	FLOW_DROP_RATE,        /* registration: too many in this second; it will be repeated */
	FLOW_DROP_DENIED,      /* registration: the destination isn't allowed; answered */
	FLOW_DROP_NO_SOCKET,   /* registration: unreachable, or no descriptor left; answered */
	FLOW_DROP_ORIGIN_FULL, /* the kernel takes no more towards the origin now */
	FLOW_DROP_ORIGIN,      /* it refused to send */
	FLOW_DROP_TOO_BIG,     /* from the origin: larger than the link takes */
	FLOW_DROP_LINK_FULL,   /* from the origin: the link's queue is full */
	FLOW_DROP_LINK_DOWN,   /* … or it isn't up any more */
	FLOW_DROP_UNTOLD,      /* an answer: as many wait at the link as may */
	FLOW_DROP_VERSION,     /* the link has announced no version yet */
	FLOW_DROP_CROSSING,    /* too much is on its way to the worker that has the flow */
	FLOW_DROP_MOVING,      /* the flow itself is on its way between two workers */
	FLOW_DROP_MAX_,
};
const char *flow_drop_name(enum flow_drop reason);

/* By the index of the connection that a flow is bound to; active and total by that of its birth. */
struct flow_counters {
	uint64_t active, total;
	uint64_t failed;   /* ended by an error of the origin */
	uint64_t repeated; /* registrations answered again */
	uint64_t moved;    /* registrations that moved a flow here from another link */
	uint64_t drops[FLOW_DROP_MAX_];
	uint64_t unsupported_register, unsupported_unregister; /* calls of version 2 on version 3 */
};

/* Sessions of version 2. */
struct session_counters {
	uint64_t active, total;
	uint64_t too_big; /* from origins; dropped, and among the drops above */
};

struct flow_port;
struct udp_session;

/* A link of version 2: a session has ended by itself, which its edge is to be told (again). */
struct flow_port_user {
	void (*on_session_end)(struct flow_port *port, const struct dgram_id *id,
			       const char *reason);
};

/* What one link is to the table; embedded in whoever owns the link. */
struct flow_port {
	struct flow_table *table;
	struct datagram_pipe *pipe;      /* NULL: not open */
	const struct flow_port_user *v2; /* NULL: the link speaks version 3 */
	uint64_t serial;                 /* the link's, of this table; never 0 */
	unsigned int index;
	bool is_ours;      /* the edge is one of ours: larger payloads, more codes */
	struct list flows; /* whose answers go here */
	unsigned int count;
	struct list in_table;
	struct strays strays; /* version 2 */
};

struct flow_table_params {
	struct worker *worker;
	struct datapath *datapath;
	/* May the edge reach this address? (docs/config.md [network]) */
	bool (*may_reach)(void *arg, const struct ip_addr *addr);
	void *arg;
	/* Of the process, where it has more than one worker; else NULL. */
	struct owners *owners;
	struct flow_table *const *tables; /* by worker */
};

struct flow_table {
	struct flow_table_params p;
	struct map flows;  /* by id and, in version 2, link */
	struct list ports; /* open ones */
	uint64_t last_serial;
	size_t limit; /* of flows that are made here; more may come from other workers */
	struct ratelimit registrations;
	struct session_counters sessions;
	struct flow_counters by_index[FLOW_INDEX_MAX];
	uint64_t crossed;     /* datagrams handed to the worker that has their flow */
	uint64_t handed_over; /* flows given to another worker */
	struct ferry ferry;   /* what crosses */
	bool is_done;
	struct inbox inbox; /* payload of this turn */
};

void flow_table_init(struct flow_table *t, const struct flow_table_params *params);
/* Ends all flows. */
void flow_table_end_all(struct flow_table *t);
/* … and takes nothing any more. Ports may be closed before or after. */
void flow_table_done(struct flow_table *t);
/* At most so many flows, and registrations a second; those that run stay. */
void flow_table_set_limits(struct flow_table *t, unsigned int flows, unsigned int registrations);

/* It speaks version 3 unless v2 is set after. */
void flow_port_open(struct flow_table *t, struct flow_port *port, struct datagram_pipe *pipe,
		    unsigned int index, bool is_ours);
/*
 * The link has ended, and sessions of version 2 with it. Flows that are bound to it end a little
 * later, if no other registers them. Harmless on one that isn't open.
 */
void flow_port_close(struct flow_port *port);
/* The open port with this serial; NULL: its link has ended. */
struct flow_port *flow_port_find(const struct flow_table *t, uint64_t serial);

/* Takes a datagram of an edge that speaks version 3, borrowed for the call. */
void flow_table_datagram(struct flow_table *t, struct flow_port *port, struct span datagram);
void flow_table_drop(struct flow_table *t, unsigned int index, enum flow_drop reason);
void flow_table_drop_many(struct flow_table *t, unsigned int index, enum flow_drop reason,
			  unsigned int count);
/* A flow was registered on port and had been before: it is moved there and answered for, and its
 * idle time begins anew. */
void flow_table_accept(struct flow_table *t, struct flow_port *port, struct udp_session *s);

#endif
