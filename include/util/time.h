/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only type of time inside adit: nanoseconds of CLOCK_MONOTONIC. Other units live at the
 * border.
 */
#ifndef INCLUDE_UTIL_TIME_H
#define INCLUDE_UTIL_TIME_H

#include <stdint.h>
#include <time.h>

typedef uint64_t nsec_t;

#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC  UINT64_C(1000000000)
#define NSEC_NEVER    UINT64_MAX

static inline nsec_t nsec_from_timespec(struct timespec ts)
{
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + (nsec_t)ts.tv_nsec;
}

static inline struct timespec nsec_to_timespec(nsec_t t)
{
	return (struct timespec){ .tv_sec = (time_t)(t / NSEC_PER_SEC),
				  .tv_nsec = (long)(t % NSEC_PER_SEC) };
}

/* Reads the clock. Workers use loop_now() instead (style L7). */
static inline nsec_t nsec_clock(clockid_t clock)
{
	struct timespec ts = {};
	(void)clock_gettime(clock, &ts);
	return nsec_from_timespec(ts);
}

/* a + b without passing NSEC_NEVER. */
static inline nsec_t nsec_add(nsec_t a, nsec_t b)
{
	return b > NSEC_NEVER - a ? NSEC_NEVER : a + b;
}

static inline nsec_t nsec_sub(nsec_t a, nsec_t b)
{
	return a > b ? a - b : 0;
}

#endif
