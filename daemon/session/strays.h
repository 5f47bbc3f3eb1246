/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids without a session whose payloads come nevertheless, on one link of version 2: which edge
 * hasn't heard of an end, say because the call about it failed, and would go on for ever.
 *
 * An id keeps its place until it is told of or has been still, so a flood of ids gives as many as
 * there are places in a second at most.
 */
#ifndef DAEMON_SESSION_STRAYS_H
#define DAEMON_SESSION_STRAYS_H

#include "daemon/wire/dgram.h"
#include "util/time.h"

enum { STRAYS_MAX = 64 }; /* a power of two */

struct strays {
	struct stray {
		struct dgram_id id;
		nsec_t since; /* turn of the first payload; 0: the place is free */
	} places[STRAYS_MAX];
};

/*
 * A payload for this id came at that time. True: another did a second before, so its edge is to be
 * told. A single one was on its way when the end was.
 */
[[nodiscard]] bool strays_note(struct strays *s, const struct dgram_id *id, nsec_t now);

#endif
