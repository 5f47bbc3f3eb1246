/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of memory a processor fetches at once: a line, and most often the other one of its pair.
 */
#ifndef INCLUDE_UTIL_CACHE_H
#define INCLUDE_UTIL_CACHE_H

#include <stddef.h>
#include <stdint.h>

#define CACHE_LINE ((size_t)64)
#define CACHE_PAIR (2 * CACHE_LINE)

/* Asks for a pair that will be needed: it comes while something else is done. */
static inline void cache_fetch_pair(const void *ptr)
{
	__builtin_prefetch(ptr);
	__builtin_prefetch((const uint8_t *)ptr + CACHE_LINE);
}

#endif
