/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of one worker whose daemon hasn't proved who it is, over every transport: how
 * many there are, and how many of one address (spec §13).
 */
#ifndef DAEMON_LINK_STRANGERS_H
#define DAEMON_LINK_STRANGERS_H

#include <stdatomic.h>

#include "util/addr.h"
#include "util/list.h"

struct stranger {
	struct list node; /* linked while it counts */
	struct ip_addr ip;
	bool is_validated; /* it has proved that the address is its own */
};

struct strangers {
	struct list all;
	_Atomic unsigned int count; /* written by the owner, read by anybody */
	unsigned int max, max_per_addr;
};

struct strangers_limits {
	unsigned int max, max_per_addr; /* of the process */
	unsigned int workers;           /* that share them */
};

void strangers_init(struct strangers *s, const struct strangers_limits *limits);
/* The caller's to unlink by strangers_remove(). */
void strangers_add(struct strangers *s, struct stranger *stranger, const struct ip_addr *ip);
/* Idempotent. True when it counted until now. */
bool strangers_remove(struct strangers *s, struct stranger *stranger);

static inline unsigned int strangers_count(const struct strangers *s)
{
	return atomic_load_explicit(&s->count, memory_order_relaxed);
}
/* Of an IPv4 address, or of the /64 that an IPv6 host can choose from; with only_validated only
 * those that proved it is theirs. */
unsigned int strangers_of(const struct strangers *s, const struct ip_addr *ip, bool only_validated);

static inline bool strangers_are_full(const struct strangers *s)
{
	return strangers_count(s) >= s->max;
}

#endif
