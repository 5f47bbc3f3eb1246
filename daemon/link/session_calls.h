/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls about sessions of datagram version 2 to the other end of a link, in either role: each on an
 * RPC stream of its own, so many at a time, the others wait (docs/protocol.md §8.2, §9). A call is
 * over within 5 s of its beginning whatever happens.
 */
#ifndef DAEMON_LINK_SESSION_CALLS_H
#define DAEMON_LINK_SESSION_CALLS_H

#include "daemon/link/link.h"
#include "daemon/wire/dgram.h"

struct dgram2_register;
struct rpc_metrics;
struct session_calls;

enum {
	SESSION_CALLS_AT_ONCE = 128,
	SESSION_CALLS_WAITING = 16384, /* all sessions of a link may end at once */
	SESSION_CALLS_TIMEOUT_SEC = 5,
	SESSION_CALLS_TEXT_MAX = 128,
};

enum session_answer : uint8_t {
	SESSION_ANSWER_ACCEPTED,
	SESSION_ANSWER_REFUSED,
	SESSION_ANSWER_NONE, /* in time, or the call couldn't be made */
};

struct session_calls_ops {
	/* What became of a registration, from the loop. */
	void (*on_registered)(struct session_calls *c, const struct dgram_id *id,
			      enum session_answer answer);
};

/* Embedded in whoever owns the link. */
struct session_calls {
	struct link *link;
	const struct session_calls_ops *ops; /* NULL for who never registers */
	const struct rpc_metrics *metrics;   /* borrowed; NULL: not counted */
	nsec_t timeout;                      /* 5 s */
	struct list running, waiting;
	unsigned int running_count, waiting_count;
	unsigned int waiting_registrations; /* of the latter */
	struct loop_task work;
	struct timer again;
	uint64_t
		*failed; /* borrowed, or NULL: ends that the peer wasn't told, or refused to hear */
};

void session_calls_init(struct session_calls *c, struct link *link,
			const struct session_calls_ops *ops, const struct rpc_metrics *metrics);
/* The link goes: nothing more is said, and nobody is called back. Harmless on a zeroed one. */
void session_calls_done(struct session_calls *c);

/* Asks the daemon for a session: 0, and on_registered() follows; -ENOBUFS as many wait as may,
 * -ENOMEM. */
[[nodiscard]] int session_calls_register(struct session_calls *c,
					 const struct dgram2_register *reg);
/*
 * Tells the peer that a session has ended; text, borrowed, says why. A registration of the same id
 * that waits is forgotten, and one that runs is undone once it is answered; on_registered() doesn't
 * come for it then.
 */
void session_calls_unregister(struct session_calls *c, const struct dgram_id *id, const char *text);

#endif
