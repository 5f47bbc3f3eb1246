/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids without a session whose payloads come nevertheless. Each has one place where it can be: ids
 * are random, and who finds his place taken is looked after a little later.
 */
#include "daemon/session/strays.h"

enum {
	UNAWARE_SEC = 1,
	FORGET_SEC = 3,
};

static struct stray *place_of(struct strays *s, const struct dgram_id *id)
{
	unsigned int at = 0;
	for (size_t i = 0; i < sizeof(id->bytes); i++)
		at = at * 31 + id->bytes[i];
	return &s->places[at % STRAYS_MAX];
}

bool strays_note(struct strays *s, const struct dgram_id *id, nsec_t now)
{
	struct stray *place = place_of(s, id);
	if (place->since && dgram_id_eq(&place->id, id)) {
		if (now < nsec_add(place->since, UNAWARE_SEC * NSEC_PER_SEC))
			return false;
		place->since = 0;
		return true;
	}
	if (!place->since || now >= nsec_add(place->since, FORGET_SEC * NSEC_PER_SEC))
		*place = (struct stray){ .id = *id, .since = now };
	return false;
}
