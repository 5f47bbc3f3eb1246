/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back to QUIC, as a part of the supervisor's core (supervisor_core_priv.h).
 */
#ifndef DAEMON_ADITD_CORE_RETURN_H
#define DAEMON_ADITD_CORE_RETURN_H

#include "util/time.h"

struct core_link;
struct core_try;
struct supervisor_core;

/* One index at a time. */
struct core_return {
	nsec_t next_at;         /* NSEC_NEVER: nobody is on HTTP/2 */
	unsigned int probes;    /* since QUIC last stayed up */
	unsigned int confirmed; /* probes that have succeeded in a row */
	unsigned int flaps;     /* returns that didn't last */
	unsigned int last;      /* index that was last tried */
	bool is_sequel;         /* QUIC has just worked for another index */
};

/* An index is up on HTTP/2. */
void core_return_plan(struct supervisor_core *c, nsec_t now);
nsec_t core_return_at(const struct supervisor_core *c);
/* The network is another one: the series starts again, by then. */
void core_return_hurry(struct supervisor_core *c, nsec_t soon);
void core_return_run(struct supervisor_core *c, nsec_t now);
/* The probe's handshake is over. False: that was all, close it. */
[[nodiscard]] bool core_return_connected(struct supervisor_core *c, nsec_t now);
void core_return_registered(struct supervisor_core *c, nsec_t now);
void core_return_failed(struct supervisor_core *c, nsec_t now);
/* The edge there has a connection of ours already. was: the probe, removed. */
void core_return_duplicate(struct supervisor_core *c, unsigned int index,
			   const struct core_try *was, nsec_t now);
/* A connection was lost that nobody wanted to lose. */
void core_return_lost(struct supervisor_core *c, const struct core_link *link, nsec_t now);

#endif
