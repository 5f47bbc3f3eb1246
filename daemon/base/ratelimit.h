/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token bucket. Embedded, one thread's; a zeroed one lets everything pass.
 */
#ifndef DAEMON_BASE_RATELIMIT_H
#define DAEMON_BASE_RATELIMIT_H

#include "util/time.h"

struct ratelimit {
	nsec_t interval; /* one token comes in this time */
	nsec_t depth;    /* the time in which an empty bucket fills */
	nsec_t full_at;  /* when it will be full, if nobody takes any more */
};

/* burst: tokens that the bucket holds, and has now. */
void ratelimit_init(struct ratelimit *limit, nsec_t interval, uint32_t burst);
/* So many tokens a second, 1 or more, and a second's worth of them held. What was taken stays taken
 * where that is the rate already. */
void ratelimit_set_rate(struct ratelimit *limit, uint32_t per_second);
/* Takes count tokens, or none and returns false. */
bool ratelimit_take(struct ratelimit *limit, nsec_t now, uint32_t count);
/* When count tokens will be there: now or later; NSEC_NEVER when the bucket holds fewer. */
nsec_t ratelimit_ready_at(const struct ratelimit *limit, nsec_t now, uint32_t count);

#endif
