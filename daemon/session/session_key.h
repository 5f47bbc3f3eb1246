/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a UDP flow is found by at the daemon. Private to session/.
 */
#ifndef DAEMON_SESSION_SESSION_KEY_H
#define DAEMON_SESSION_SESSION_KEY_H

#include "daemon/wire/dgram.h"
#include "util/span.h"

/* An id of version 3 is the whole daemon's, one of version 2 its link's. */
struct session_key {
	struct dgram_id id;
	uint64_t scope; /* 0: version 3; else the link's serial */
};
static_assert(sizeof(struct session_key) == DGRAM_ID_LEN + sizeof(uint64_t)); /* no padding */

static inline struct span session_key_span(const struct session_key *key)
{
	return span_of(key, sizeof(*key));
}

#endif
