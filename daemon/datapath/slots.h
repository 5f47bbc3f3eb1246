/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places in the maps of the XDP program, and who has each. One that was given back rests before it
 * is used again, those that have rested longest first: a frame that is still in a ring finds the
 * flow that it was for, or none. One worker's; private to datapath/.
 */
#ifndef DAEMON_DATAPATH_SLOTS_H
#define DAEMON_DATAPATH_SLOTS_H

#include <stdint.h>

#include "util/time.h"

enum : uint32_t { SLOT_NONE = UINT32_MAX };

struct slot {
	void *user;    /* NULL: free */
	uint32_t next; /* in the list of free ones */
	nsec_t freed;  /* 0: never used */
};

struct slots {
	struct slot *all;
	uint32_t count;
	uint32_t first, last; /* of the free ones */
	nsec_t rest;
};

/* 0 or -ENOMEM. */
[[nodiscard]] int slots_init(struct slots *s, uint32_t count, nsec_t rest);
/* Harmless on a zeroed one. */
void slots_done(struct slots *s);
/* SLOT_NONE: all are in use, or were a moment ago. user isn't NULL. */
uint32_t slots_get(struct slots *s, void *user, nsec_t now);
void slots_put(struct slots *s, uint32_t slot, nsec_t now);

/* Whose it is; NULL: nobody's, or there is no such slot. */
static inline void *slots_user(const struct slots *s, uint32_t slot)
{
	return slot < s->count ? s->all[slot].user : NULL;
}

#endif
