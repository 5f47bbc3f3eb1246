/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token bucket, kept as the one moment at which it will be full again: no division, no fractions,
 * nothing to refill.
 */
#include "daemon/base/ratelimit.h"

#include <stdckdint.h>

#include "util/macro.h"

static nsec_t cost_of(const struct ratelimit *limit, uint32_t count)
{
	nsec_t cost;
	return ckd_mul(&cost, limit->interval, (nsec_t)count) ? NSEC_NEVER : cost;
}

void ratelimit_init(struct ratelimit *limit, nsec_t interval, uint32_t burst)
{
	*limit = (struct ratelimit){ .interval = interval };
	limit->depth = cost_of(limit, burst);
}

void ratelimit_set_rate(struct ratelimit *limit, uint32_t per_second)
{
	struct ratelimit now;
	ratelimit_init(&now, MAX(NSEC_PER_SEC / per_second, (nsec_t)1), per_second);
	if (limit->interval != now.interval || limit->depth != now.depth)
		*limit = now;
}

nsec_t ratelimit_ready_at(const struct ratelimit *limit, nsec_t now, uint32_t count)
{
	nsec_t cost = cost_of(limit, count);
	if (cost > limit->depth)
		return NSEC_NEVER;
	/* With these tokens taken it may be full in depth from then at the latest. */
	nsec_t full_at = nsec_add(MAX(limit->full_at, now), cost);
	return MAX(now, nsec_sub(full_at, limit->depth));
}

bool ratelimit_take(struct ratelimit *limit, nsec_t now, uint32_t count)
{
	if (ratelimit_ready_at(limit, now, count) > now)
		return false;
	limit->full_at = nsec_add(MAX(limit->full_at, now), cost_of(limit, count));
	return true;
}
