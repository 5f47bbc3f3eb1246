/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exponential back-off with jitter.
 */
#include "daemon/base/backoff.h"

#include <limits.h>

void backoff_init(struct backoff *b, nsec_t base, nsec_t max)
{
	*b = (struct backoff){ .base = base, .max = max };
}

void backoff_reset(struct backoff *b)
{
	b->attempt = 0;
}

nsec_t backoff_limit(const struct backoff *b)
{
	unsigned int shift = b->attempt < 63 ? b->attempt : 63;
	return b->base > b->max >> shift ? b->max : b->base << shift;
}

nsec_t backoff_next(struct backoff *b, uint64_t random)
{
	nsec_t limit = backoff_limit(b);
	nsec_t half = limit / 2;
	if (b->attempt < UINT_MAX)
		b->attempt++;
	nsec_t spread = limit - half;
	return half + (spread == UINT64_MAX ? random : random % (spread + 1));
}
