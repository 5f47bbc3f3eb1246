/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evenness of the connections over the addresses, as a part of the supervisor's core
 * (supervisor_core_priv.h).
 */
#ifndef DAEMON_ADITD_CORE_SPREAD_H
#define DAEMON_ADITD_CORE_SPREAD_H

#include "util/time.h"

struct supervisor_core;

/* One index at a time moves to where fewer of us are. */
struct core_spread {
	nsec_t next_at;        /* NSEC_NEVER: it is even */
	unsigned int failures; /* in a row */
	unsigned int last;     /* index that was last moved */
};

/* Connections or addresses are others now. */
void core_spread_plan(struct supervisor_core *c, nsec_t now);
void core_spread_run(struct supervisor_core *c, nsec_t now);
/* The network is another one: failures are forgotten. */
void core_spread_hurry(struct supervisor_core *c, nsec_t now);
/* A move has succeeded or failed: when the next one is. */
void core_spread_ended(struct supervisor_core *c, bool is_done, nsec_t now);

#endif
