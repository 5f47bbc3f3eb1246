/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP of the edge's users in the routed mode, on one worker: whole packets of every type go on and
 * come back, one hop older. A user has an address towards the network: his own, where he may keep
 * it, else one of ours that nobody else has towards the same host. What comes from there enters the
 * tunnel if it answers something, or is an error about it.
 */
#ifndef DAEMON_SESSION_ICMP_ROUTED_H
#define DAEMON_SESSION_ICMP_ROUTED_H

#include "daemon/base/map.h"
#include "daemon/datapath/tun_ground.h"
#include "daemon/session/icmp_session.h"
#include "util/list.h"

enum {
	ICMP_ROUTED_MAX = 4096, /* pairs of a user and a host */
	ICMP_ROUTED_IDLE_SEC = 60,
};

struct icmp_routed {
	struct icmp_ground ground; /* for the session */
	struct icmp_session *session;
	struct tun_ground *tun;
	struct worker *worker;
	struct owners *owners; /* NULL with one worker */
	struct map asked;      /* by link, user and host */
	struct map outside;    /* by the address that the user has there, and the host */
	struct list by_age;    /* the one that was silent longest is the first */
	struct timer sweep;    /* while there are some */
};

/* Joins a worker's session and its queue, which outlive it. */
void icmp_routed_init(struct icmp_routed *r, struct icmp_session *session, struct tun_ground *tun,
		      struct owners *owners);
/* Harmless on one of zeros. */
void icmp_routed_done(struct icmp_routed *r);
/* Pairs now. */
size_t icmp_routed_count(const struct icmp_routed *r);

#endif
