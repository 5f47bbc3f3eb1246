/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random bytes from the kernel (getrandom(2)); good for keys.
 */
#ifndef DAEMON_BASE_RANDOM_H
#define DAEMON_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fills buf. Waits only in the first moments of a boot; ends the process when there is no
 * randomness. */
void random_bytes(void *buf, size_t len);
uint64_t random_u64(void);
/* Uniform in 0 … bound-1; 0 for a bound of 0. */
uint64_t random_below(uint64_t bound);

#endif
