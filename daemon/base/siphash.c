/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash, as its paper gives it: 64-bit words in little endian, the last with the length on top.
 */
#include "daemon/base/siphash.h"

#include <pthread.h>

#include "daemon/base/random.h"
#include "util/endian.h"

struct state {
	uint64_t v0;
	uint64_t v1;
	uint64_t v2;
	uint64_t v3;
};

static uint64_t rotate(uint64_t v, unsigned int bits)
{
	return v << bits | v >> (64 - bits);
}

static void mix(struct state *s, unsigned int rounds)
{
	for (unsigned int i = 0; i < rounds; i++) {
		s->v0 += s->v1;
		s->v2 += s->v3;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v1;
		s->v0 += s->v3;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 = rotate(s->v2, 32);
	}
}

static void absorb(struct state *s, uint64_t word, unsigned int rounds)
{
	s->v3 ^= word;
	mix(s, rounds);
	s->v0 ^= word;
}

uint64_t siphash(struct siphash_key key, struct span bytes, unsigned int rounds_mid,
		 unsigned int rounds_end)
{
	struct state s = {
		.v0 = key.k0 ^ UINT64_C(0x736f6d6570736575),
		.v1 = key.k1 ^ UINT64_C(0x646f72616e646f6d),
		.v2 = key.k0 ^ UINT64_C(0x6c7967656e657261),
		.v3 = key.k1 ^ UINT64_C(0x7465646279746573),
	};
	uint64_t last = (uint64_t)bytes.len << 56;

	while (bytes.len >= 8) {
		absorb(&s, load_le64(bytes.ptr), rounds_mid);
		bytes = span_skip(bytes, 8);
	}
	for (size_t i = 0; i < bytes.len; i++)
		last |= (uint64_t)bytes.ptr[i] << (8 * i);
	absorb(&s, last, rounds_mid);
	s.v2 ^= 0xff;
	mix(&s, rounds_end);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static struct siphash_key process_key;

static void make_process_key(void)
{
	random_bytes(&process_key, sizeof(process_key));
}

uint64_t siphash_process(struct span bytes)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, make_process_key);
	return siphash(process_key, bytes, 1, 3);
}
