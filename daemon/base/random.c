/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random bytes from the kernel. Nothing sensible can be done without them, and every caller would
 * have to handle what never happens: so failure ends the process.
 */
#include "daemon/base/random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *buf, size_t len)
{
	uint8_t *p = buf;
	while (len) {
		ssize_t n = getrandom(p, len, 0);
		if (n < 0 && errno != EINTR)
			abort();
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

uint64_t random_u64(void)
{
	uint64_t v;
	random_bytes(&v, sizeof(v));
	return v;
}

uint64_t random_below(uint64_t bound)
{
	if (bound == 0)
		return 0;
	/* The lowest 2^64 mod bound values would make the small results likelier: drawn again. */
	uint64_t least = -bound % bound;
	uint64_t v = random_u64();
	while (v < least)
		v = random_u64();
	return v % bound;
}
