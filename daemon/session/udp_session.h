/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One UDP flow or session at the daemon: both directions. Private to session/.
 */
#ifndef DAEMON_SESSION_UDP_SESSION_H
#define DAEMON_SESSION_UDP_SESSION_H

#include "daemon/session/flow_table.h"
#include "daemon/session/session_key.h"
#include "util/cache.h"

/* What a datagram needs comes first; with the beginning of the path it is one fetch from memory. */
struct udp_session {
	alignas(CACHE_PAIR) struct map_node node;
	struct session_key key;
	struct flow_table *table;
	struct flow_port *port; /* where answers go; NULL: its link has ended */
	nsec_t active;          /* turn in which something moved last */
	uint64_t rx, tx;        /* datagrams from and to the origin */
	struct flow_path path;

	unsigned int index; /* of the connection that it was on last */
	nsec_t lost;        /* when that ended */
	uint8_t born;       /* index of the connection that registered it first */
	nsec_t idle;
	struct timer timer;
	struct list in_port;
	struct loop_garbage garbage;
	struct message message; /* on which it goes to another worker */
	uint64_t wanted_by;     /* … for this port of it */
};

static_assert(offsetof(struct udp_session, path.place) <= CACHE_PAIR);

struct udp_session_params {
	struct dgram_id id;
	struct ip_port dest;
	nsec_t idle;
};

/* scope: as in its key. NULL: there is none. */
struct udp_session *udp_session_find(const struct flow_table *t, const struct dgram_id *id,
				     uint64_t scope);
/*
 * Opens the path to the destination, in the version of the port; the caller has checked that the id
 * is new. 0, -ENOMEM, -E2BIG at the table's limit, or what flow_path_open() said.
 */
[[nodiscard]] int udp_session_new(struct flow_table *t, struct flow_port *port,
				  const struct udp_session_params *params,
				  struct udp_session **ret);
/* reason: for the log. The edge is told nothing. */
void udp_session_end(struct udp_session *s, const char *reason);
/* Something moved: the idle time begins again. */
void udp_session_touch(struct udp_session *s);
/* Answers go to this link from now on. */
void udp_session_move(struct udp_session *s, struct flow_port *port);
/* The link has ended: a flow of version 3 ends a little later, unless it is moved to another. */
void udp_session_lose_port(struct udp_session *s);
/*
 * Gives a flow of version 3 to another worker's table, for its port of that serial; it is that
 * worker's from now on. 0, or a negative errno: it stays.
 */
[[nodiscard]] int udp_session_hand_over(struct udp_session *s, struct flow_table *to,
					uint64_t port);
/* To the origin; counted when it can't be. */
void udp_session_write(struct udp_session *s, struct span payload);

#endif
