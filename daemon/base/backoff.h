/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exponential back-off with jitter. Embedded; randomness is injected, so tests know the answer.
 */
#ifndef DAEMON_BASE_BACKOFF_H
#define DAEMON_BASE_BACKOFF_H

#include "util/time.h"

struct backoff {
	nsec_t base; /* limit of the first delay; each next one is double */
	nsec_t max;  /* no delay is longer */
	unsigned int attempt;
};

void backoff_init(struct backoff *b, nsec_t base, nsec_t max);
/* After success: starts over. */
void backoff_reset(struct backoff *b);
/* The upper limit of the next delay. */
nsec_t backoff_limit(const struct backoff *b);
/*
 * The next delay: between half and all of the limit, by random (any 64 bits, uniform). Half stays
 * certain so that nobody hammers; the rest spreads those who failed together.
 */
nsec_t backoff_next(struct backoff *b, uint64_t random);

#endif
