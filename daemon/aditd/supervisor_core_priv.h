/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the supervisor's core: supervisor_core.c (events), core_dial.c (where, when and how
 * to dial).
 */
#ifndef DAEMON_ADITD_SUPERVISOR_CORE_PRIV_H
#define DAEMON_ADITD_SUPERVISOR_CORE_PRIV_H

#include "daemon/aditd/core_return.h"
#include "daemon/aditd/core_spread.h"
#include "daemon/aditd/supervisor_core.h"
#include "daemon/base/backoff.h"
#include "daemon/base/ratelimit.h"

enum {
	CORE_INDEX_MAX = EDGE_INDEXES_MAX,
	CORE_TRIES = 2,
	CORE_USES_MAX = CORE_INDEX_MAX * (CORE_TRIES + 1),
};

/* The other transport joins the race, and the next dial begins although one still runs. */
#define CORE_OVERLAP_NSEC (2500 * NSEC_PER_MSEC)
/* A handshake that came second on the other transport registers if the first registration isn't
 * answered by then. */
#define CORE_HELD_NSEC (2 * NSEC_PER_SEC)

enum core_purpose : uint8_t {
	CORE_PURPOSE_CONNECT, /* the index has nothing better, or it must go elsewhere */
	CORE_PURPOSE_RETURN,  /* from HTTP/2 to QUIC */
	CORE_PURPOSE_SPREAD,  /* to an address with fewer of us */
};

struct core_try {
	enum try_state state;
	enum core_purpose purpose;
	enum link_protocol protocol;
	uint64_t serial;
	struct ip_port peer;
	nsec_t since; /* of state */
};

struct core_index {
	enum index_state state;
	struct core_link link;
	struct core_try tries[CORE_TRIES];
	struct backoff backoff;
	struct ratelimit dials;
	nsec_t wake;           /* end of the wait; NSEC_NEVER: it has none */
	nsec_t last_dial;      /* 0: never */
	nsec_t not_before;     /* length of the next wait at least: what a refusal asked for */
	unsigned int attempts; /* that have failed since the last registration */
	unsigned int refusals; /* for good, in a row */
	bool is_refused;       /* the wait is for a refusal: the network has no part in it */
	bool has_redial;       /* a loss is answered by a dial at once */
	bool wants_move;       /* its address is no longer the edge's */
	struct ip_port left;   /* EDUPCONN came from there; family NONE: nowhere */
	struct {               /* of the dial that runs: the transport that hasn't had its turn */
		bool is_pending;
		enum link_protocol protocol;
		struct ip_port peer;
		nsec_t at; /* NSEC_NEVER: when the first one fails */
	} partner;
};

struct supervisor_core {
	struct core_params p;
	struct edge_addrs addrs;
	struct core_index indexes[CORE_INDEX_MAX];
	struct ratelimit dials;
	struct core_return back;
	struct core_spread spread;
	uint64_t last_serial;
	unsigned int healthy; /* indexes that are UP */
	nsec_t quiet_since;   /* when the last one went */
	bool has_winner;
	enum link_protocol winner; /* of the last registration */
	bool is_stopping;
};

/* ---- supervisor_core.c ---- */

/* The only writer of an index's state. */
void core_step(struct supervisor_core *c, unsigned int index, enum index_event event, nsec_t now);

/* ---- core_try.c: attempts ---- */

/* Uniform in 0 … most. */
nsec_t core_random(const struct supervisor_core *c, nsec_t most);
/* When an index may dial as far as the token buckets go. */
nsec_t core_ready_at(const struct supervisor_core *c, unsigned int index, nsec_t now);
unsigned int core_try_count(const struct core_index *ix);
struct core_try *core_try_find(struct core_index *ix, uint64_t serial);
struct core_try *core_try_in(struct core_index *ix, enum try_state state);
/* What a dial is: protocol, peer and purpose of it. -EAGAIN: no token, no room; -ENOMEM. */
[[nodiscard]] int core_try_dial(struct supervisor_core *c, unsigned int index,
				const struct core_try *what, nsec_t now);
/* Not needed any more. */
void core_try_close(struct supervisor_core *c, unsigned int index, struct core_try *t,
		    const char *why);
void core_try_close_all(struct supervisor_core *c, unsigned int index, const char *why);
/* When one that is held may register although another does: only the other transport. */
nsec_t core_try_held_until(struct core_index *ix);
/* Whose turn it is to register. */
void core_try_promote(struct supervisor_core *c, unsigned int index, nsec_t now);
/* It has failed and is removed: what follows for the index. */
void core_try_failed(struct supervisor_core *c, unsigned int index, const struct core_try *was,
		     nsec_t now);

/* ---- core_dial.c: where, with what and when ---- */

/* Chooses an address for the index. -ENOENT: there is none. */
[[nodiscard]] int core_choose(const struct supervisor_core *c, unsigned int index,
			      const struct edge_query *like, nsec_t now, struct ip_port *ret);
/* Where the indexes are and dial. uses: room for CORE_USES_MAX. Returns how many. */
size_t core_list_uses(const struct supervisor_core *c, struct edge_use *uses);
/* Dials the index somewhere; the other transport may follow. -EAGAIN, -ENOENT, -ENOMEM. */
[[nodiscard]] int core_dial(struct supervisor_core *c, unsigned int index, nsec_t now);
/* Dials the other transport if it is its turn. */
void core_dial_partner(struct supervisor_core *c, unsigned int index, nsec_t now);
/* When core_dial_partner(), or core_dial() beside a dial that runs, is due. NSEC_NEVER: not. */
nsec_t core_partner_at(const struct supervisor_core *c, unsigned int index, nsec_t now);
nsec_t core_overlap_at(const struct supervisor_core *c, unsigned int index, nsec_t now);
/* Draws the next wait of an index. */
nsec_t core_draw(struct supervisor_core *c, unsigned int index, nsec_t now);
/* The same without counting: for a wait that is to be shortened. */
nsec_t core_draw_again(const struct supervisor_core *c, unsigned int index, nsec_t now);

#endif
