/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a connection id of adit-edge says which worker owns it, so that the kernel can steer packets
 * (spec §5): byte 0 worker, byte 1 generation of the process, byte 2 a check over both, the rest is
 * random. A destination id that isn't ours (a client's first choice) is steered by a hash of its
 * first eight bytes, which RFC 9000 §7.2 guarantees. User space, the filter and the steering
 * program (bpf/steer.bpf.c) compute the same from the same header. Valid as C17 for BPF and as C23.
 */
#ifndef INCLUDE_ABI_STEER_H
#define INCLUDE_ABI_STEER_H

#include <linux/types.h>

#define STEER_ABI_VERSION 1

#define STEER_CID_LEN        12 /* bytes of our connection ids; 8 to 18 would do */
#define STEER_CID_WORKER     0
#define STEER_CID_GENERATION 1
#define STEER_CID_CHECK      2
#define STEER_CID_RANDOM     3 /* from here on random */

#define STEER_MAX_WORKERS 256

#define STEER_PROG "adit_steer"
#define STEER_MAP  "workers" /* sockets of an address by worker: __u32 to __u64, a descriptor */

/* Offsets in a UDP payload (RFC 8999 §5). */
#define STEER_LONG_FORM    0x80 /* bit of byte 0 */
#define STEER_SHORT_CID    1
#define STEER_LONG_CID_LEN 5
#define STEER_LONG_CID     6
#define STEER_FOREIGN_MIN  8 /* bytes of a foreign id that the hash needs */

#define STEER_CHECK_SALT 0xa7U
#define STEER_CHECK(worker, generation) \
	((__u8)((__u32)(worker) ^ (__u32)(generation) ^ STEER_CHECK_SALT))

/* a and b: the first two big-endian 32-bit words of a foreign id. */
#define STEER_HASH_FACTOR 0x9e3779b1U
#define STEER_HASH_SHIFT  16
#define STEER_HASH(a, b) \
	((__u32)(((__u32)(a) ^ (__u32)(b)) * STEER_HASH_FACTOR) >> STEER_HASH_SHIFT)

_Static_assert(STEER_CID_LEN >= 8 && STEER_CID_LEN <= 18, "length of connection ids");
_Static_assert(STEER_CID_RANDOM < STEER_CID_LEN, "room for random bytes");

#endif
