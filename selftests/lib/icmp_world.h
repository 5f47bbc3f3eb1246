/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network around ICMP at a daemon: sockets, the kernel's routes and the clock are the test's,
 * whose line test-MODULE_wraps (selftests.mk) names what comes here.
 */
#ifndef SELFTESTS_LIB_ICMP_WORLD_H
#define SELFTESTS_LIB_ICMP_WORLD_H

#include "daemon/session/icmp_session.h"

enum { ICMP_WORLD_KEPT = 40, ICMP_WORLD_ROOM = 2048 };

struct icmp_kept {
	uint8_t bytes[ICMP_WORLD_ROOM];
	size_t len;
};

struct icmp_world {
	struct icmp_session session;
	struct loop *loop;
	struct worker worker;
	struct icmp_path_user user; /* of the path that the session opened */
	nsec_t now;
	enum icmp_path_kind kind;
	int send_error, way_error;     /* 0: it works */
	struct ip_addr own_v4, own_v6; /* sources of every way, whose MTU is 900 */
	bool is_allowed;
	unsigned int asked; /* how often that was */
	unsigned int sends; /* what left: the latest ICMP_WORLD_KEPT */
	struct icmp_path_send sent[ICMP_WORLD_KEPT];
	struct icmp_kept data[ICMP_WORLD_KEPT];
};

/* As 10.77.0.1 and fd77::1, with a thousand answers of its own a second. */
extern struct icmp_world icmp_world;
void icmp_world_start(void);
void icmp_world_end(void);
/* The destination's answer to what was sent as that many-th. */
void icmp_world_reply(unsigned int at);

#endif
