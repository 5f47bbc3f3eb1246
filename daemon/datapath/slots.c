/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places in the maps of the XDP program: a queue of free ones.
 */
#include "daemon/datapath/slots.h"

#include <errno.h>
#include <stdlib.h>

#include "util/macro.h"

static void append(struct slots *s, uint32_t slot, nsec_t freed)
{
	s->all[slot] = (struct slot){ .next = SLOT_NONE, .freed = freed };
	if (s->first == SLOT_NONE)
		s->first = slot;
	else
		s->all[s->last].next = slot;
	s->last = slot;
}

int slots_init(struct slots *s, uint32_t count, nsec_t rest)
{
	struct slot *all = calloc(MAX(count, 1U), sizeof(*all));
	if (!all)
		return -ENOMEM;
	*s = (struct slots){
		.all = all, .count = count, .first = SLOT_NONE, .last = SLOT_NONE, .rest = rest
	};
	for (uint32_t i = 0; i < count; i++)
		append(s, i, 0);
	return 0;
}

void slots_done(struct slots *s)
{
	free(s->all);
	*s = (struct slots){};
}

uint32_t slots_get(struct slots *s, void *user, nsec_t now)
{
	uint32_t slot = s->first;
	if (slot == SLOT_NONE ||
	    (s->all[slot].freed != 0 && nsec_add(s->all[slot].freed, s->rest) > now))
		return SLOT_NONE;
	s->first = s->all[slot].next;
	s->all[slot].user = user;
	return slot;
}

void slots_put(struct slots *s, uint32_t slot, nsec_t now)
{
	append(s, slot, now);
}
