/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash (Aumasson, Bernstein 2012): a keyed hash whose collisions can't be found without the key.
 */
#ifndef DAEMON_BASE_SIPHASH_H
#define DAEMON_BASE_SIPHASH_H

#include "util/span.h"

struct siphash_key {
	uint64_t k0;
	uint64_t k1;
};

/* rounds_mid, rounds_end: 2, 4 for SipHash-2-4, 1, 3 for the faster one that hash tables use. */
uint64_t siphash(struct siphash_key key, struct span bytes, unsigned int rounds_mid,
		 unsigned int rounds_end);

/* SipHash-1-3 with a key of this process: differs from run to run. Any thread. */
uint64_t siphash_process(struct span bytes);

#endif
