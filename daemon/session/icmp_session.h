/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP of the edge's users at the daemon, on one worker, for both versions of datagrams: whole IP
 * packets come in and go back (docs/protocol.md §12.2). Echo requests go on to their destination
 * with what is left of their TTL; replies, and errors from anywhere on the way, are put back into
 * the terms of who asked. What ends here is answered as a router does, at a limited rate.
 */
#ifndef DAEMON_SESSION_ICMP_SESSION_H
#define DAEMON_SESSION_ICMP_SESSION_H

#include "daemon/base/ratelimit.h"
#include "daemon/datapath/icmp_path.h"
#include "daemon/session/echo_map.h"

enum { ICMP_INDEX_MAX = 64 }; /* connection indexes with counters of their own */

/* Why a packet, or something from the network, went no further. */
enum icmp_drop : uint8_t {
	ICMP_DROP_MALFORMED,   /* no whole packet with ICMP of its family in it */
	ICMP_DROP_KIND,        /* anything but an echo request */
	ICMP_DROP_NOT_SERVED,  /* its family has no socket */
	ICMP_DROP_DENIED,      /* the destination isn't allowed; answered */
	ICMP_DROP_TTL,         /* its hops end here; answered */
	ICMP_DROP_UNREACHABLE, /* this host knows no way; answered */
	ICMP_DROP_TOO_BIG,     /* for the way from here, and it mustn't be cut; answered */
	ICMP_DROP_ORIGIN_FULL, /* the kernel takes no more now */
	ICMP_DROP_ORIGIN,      /* it refused to send */
	ICMP_DROP_ANSWER_RATE, /* an answer of ours beyond the limit */
	ICMP_DROP_FORGOTTEN,   /* an echo that still waited when there was no room for more */
	ICMP_DROP_STRANGER,    /* from the network: about no echo that waits */
	ICMP_DROP_REPLY_BIG,   /* towards the edge: larger than the link takes */
	ICMP_DROP_LINK_FULL,
	ICMP_DROP_LINK_DOWN,
	ICMP_DROP_NO_ADDRESS, /* routed: none of ours is free towards the destination */
	ICMP_DROP_MAX_,
};
const char *icmp_drop_name(enum icmp_drop reason);

/* One link, as far as ICMP goes; embedded in whoever owns it. */
struct icmp_port {
	/* Sends a packet (borrowed): 0, -EMSGSIZE, -ENOBUFS queue full, -EPROTO not up. */
	int (*send)(struct icmp_port *port, struct span packet);
	/* The longest that can be sent now. NULL: not known. */
	size_t (*max)(struct icmp_port *port);
	unsigned int index; /* of the connection */
};

/* Another way to the network than sockets (icmp_routed.h). */
struct icmp_ground {
	/* Whether what is for an address goes this way. */
	bool (*reaches)(struct icmp_ground *g, const struct ip_addr *dst);
	/* A packet that may go on and has hops left. */
	void (*forward)(struct icmp_ground *g, struct icmp_port *port, const struct ip_packet *p);
	void (*remove_port)(struct icmp_ground *g, struct icmp_port *port);
};

struct icmp_session_params {
	struct worker *worker;
	/* May the edge reach this address? (docs/config.md [network]) */
	bool (*may_reach)(void *arg, const struct ip_addr *addr);
	void *arg;
};

struct icmp_stats {
	uint64_t requests, replies;                   /* that went on, and back */
	uint64_t made[ICMP_KIND_BAD_PARAMETER + 1];   /* errors of ours, by kind */
	uint64_t passed[ICMP_KIND_BAD_PARAMETER + 1]; /* … of the network */
};

/* What may be reached is asked of the kernel, and so remembered for a moment. */
struct icmp_verdict {
	struct ip_addr dst;
	bool is_allowed;
	bool is_own; /* an address of this host */
	nsec_t until;
};

struct icmp_session {
	struct icmp_session_params p;
	struct icmp_path *path;     /* owned */
	struct icmp_ground *ground; /* NULL: everything goes by path */
	struct echo_map v4, v6;
	struct timer sweep; /* while echoes wait */
	struct ratelimit answers;
	bool is_silent; /* no answers of ours at all */
	struct icmp_verdict verdicts[64];
	struct icmp_stats stats;
	uint64_t drops[ICMP_INDEX_MAX][ICMP_DROP_MAX_];
};

/* 0, -ENOMEM, or what epoll said. Families without a socket aren't served. */
[[nodiscard]] int icmp_session_init(struct icmp_session *s,
				    const struct icmp_session_params *params);
/* Ports may still be removed after it. */
void icmp_session_done(struct icmp_session *s);
/* Answers of ours a second, 0: none. What may be reached is asked anew from now on. */
void icmp_session_set_limits(struct icmp_session *s, unsigned int answers);

/* Takes a packet that came by a port, borrowed for the call. */
void icmp_session_packet(struct icmp_session *s, struct icmp_port *port, struct span packet);
/* The link has ended: nobody waits for answers there. */
void icmp_session_remove_port(struct icmp_session *s, struct icmp_port *port);
void icmp_session_drop(struct icmp_session *s, unsigned int index, enum icmp_drop reason);
/* Sends a packet to the edge: 0, or a negative errno (counted). */
int icmp_session_give(struct icmp_session *s, struct icmp_port *port, struct span packet);
/* Echoes that wait for an answer. */
unsigned int icmp_session_count(const struct icmp_session *s, enum ip_family family);

#endif
