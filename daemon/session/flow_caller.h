/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge's end of UDP flows, on one worker: registers them at daemons, repeats what gets lost,
 * holds payloads until the answer, and brings answers to whoever has the flow (docs/protocol.md
 * §11). How a daemon is spoken to is its link's business, struct call_port.
 *
 * Version 3: a flow can vanish at the daemon without a word. So a payload after which nothing was
 * heard for a while has its registration before it once more: that harms no flow that lives, and
 * makes anew one that doesn't.
 *
 * Version 2: calls make and end a session, which is the link's. Each has an id of its own, so what
 * is said late about an earlier one concerns nobody.
 */
#ifndef DAEMON_SESSION_FLOW_CALLER_H
#define DAEMON_SESSION_FLOW_CALLER_H

#include "daemon/base/bufq.h"
#include "daemon/base/map.h"
#include "daemon/base/worker.h"
#include "daemon/session/call_fsm.h"
#include "daemon/session/call_port.h"
#include "daemon/wire/dgram_v3.h"
#include "util/list.h"

/* Why a datagram went no further. */
enum call_drop : uint8_t {
	CALL_DROP_MALFORMED, /* from the daemon: nothing that one may send */
	CALL_DROP_NO_FLOW,   /* from the daemon, for no flow of this worker (version 2: link) */
	CALL_DROP_ICMP,      /* from the daemon; ICMP isn't served */
	CALL_DROP_REFUSED,   /* to it: the daemon has refused the flow, or doesn't answer */
	CALL_DROP_HELD,      /* to it: too much waits for the daemon's answer */
	CALL_DROP_TOO_BIG,   /* to it: larger than the link takes */
	CALL_DROP_LINK_FULL, /* to it: the link's queue is full */
	CALL_DROP_NO_LINK,   /* to it: there is no link any more */
	CALL_DROP_MAX_,
};
const char *call_drop_name(enum call_drop reason);

struct flow_call;

/* Whose flows they are. Callbacks come from the loop. */
struct flow_call_user {
	/* From the daemon; borrowed for the call. */
	void (*on_payload)(struct flow_call *c, struct span payload);
	/* Nothing has moved for the idle time: the user closes it. */
	void (*on_idle)(struct flow_call *c);
	/* It waits for an answer, or something came a moment ago, and its link has gone: the user
	 * may bind it to another, or close it. */
	void (*on_lost)(struct flow_call *c);
	/* The daemon has refused it, or doesn't answer. Doesn't close it; NULL: nobody asks. */
	void (*on_refused)(struct flow_call *c);
};

struct flow_caller {
	struct worker *worker;
	struct map calls; /* by id */
	size_t held_max;  /* bytes of a flow that wait for its answer */
	/* An IP packet from a daemon, borrowed for the call; NULL: they are dropped. */
	void (*on_packet)(void *packet_user, struct call_port *port, struct span packet);
	void *packet_user;
	uint64_t drops[CALL_DROP_MAX_];
	uint64_t registrations; /* sent, repeats included */
	uint64_t repeats;
	uint64_t refusals;   /* by code, or because no answer came */
	uint64_t unanswered; /* of those, the latter */
	uint64_t ended;      /* sessions of version 2, by their daemons */
	uint64_t untold;     /* … by us, and the daemon may not know */
};

/* Embedded in whoever has the flow; zeroed before it is opened first. */
struct flow_call {
	struct flow_caller *caller; /* NULL: not open */
	const struct flow_call_user *user;
	struct call_port *port; /* NULL: its link has gone */
	struct dgram_id id;
	struct ip_port dest;
	nsec_t idle;
	nsec_t active;  /* turn in which a payload moved last */
	nsec_t heard;   /* … in which the daemon was heard, or asked to be */
	nsec_t refused; /* … in which it was refused */
	nsec_t bound;   /* … in which it came to its link */
	enum call_state state;
	uint8_t tries;
	bool was_up;
	bool is_eager;     /* it is to be registered without waiting for a payload */
	bool is_bundled;   /* the first held payload goes with the registration */
	bool has_session;  /* version 2: it was asked for, and not refused or ended since */
	bool was_answered; /* … and has brought a payload */
	uint16_t held_count;
	struct bufq held; /* of them: length (2), bytes */
	struct timer timer;
	struct map_node node;
	struct list in_port;
};

void flow_caller_init(struct flow_caller *f, struct worker *worker, size_t held_max);
/* All flows must have been closed. */
void flow_caller_done(struct flow_caller *f);
/* Takes a datagram of the daemon, borrowed for the call. */
void flow_caller_datagram(struct flow_caller *f, struct call_port *port, struct span datagram);

/* Version 2: what became of a session that was asked for, and that the daemon has ended one. */
void flow_caller_answered(struct flow_caller *f, const struct call_port *port,
			  const struct dgram_id *id, enum call_event answer);
void flow_caller_ended(struct flow_caller *f, const struct call_port *port,
		       const struct dgram_id *id);

/* The link has ended; its flows live on without one. Harmless on one that isn't open. */
void call_port_close(struct call_port *port);

struct flow_call_params {
	const struct flow_call_user *user;
	const struct ip_port *dest;
	const struct dgram_id *id;
	bool was_up; /* a daemon may have it already, by another worker's link */
	nsec_t idle;
};

/*
 * Makes a flow, also of one that was closed; it is registered when it has a link and a payload. 0,
 * -ENOMEM, -EEXIST for an id that this worker has.
 */
[[nodiscard]] int flow_call_open(struct flow_caller *f, struct flow_call *c,
				 const struct flow_call_params *params);
/* In version 3 nothing is sent, the daemon's end goes by its idle time; in version 2 it is told.
 * Harmless on one that isn't open. */
void flow_call_close(struct flow_call *c);
/* From now on it goes by this link. */
void flow_call_bind(struct flow_call *c, struct call_port *port);
/* Has it registered on its link now: the daemon may have it, and an origin may be sending to it. */
void flow_call_claim(struct flow_call *c);
/* A payload for the daemon, borrowed for the call: sent, held or dropped and counted. */
void flow_call_send(struct flow_call *c, struct span payload);
/* The longest that will get there: what the version allows, and after a while on its link, when the
 * size of the path is known, what that carries. */
size_t flow_call_payload_max(const struct flow_call *c);

#endif
