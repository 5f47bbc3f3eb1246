/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bpf/steer.bpf.c and user space share: which queue of a TUN device a flow's packets go to.
 * Valid as C17 for BPF and as C23.
 */
#ifndef INCLUDE_ABI_TUNQ_ABI_H
#define INCLUDE_ABI_TUNQ_ABI_H

#include <linux/types.h>

#define TUNQ_MAP  "queues" /* LRU hash: struct adit_tunq_key to __u32, the queue */
#define TUNQ_PROG "adit_tunq"

/* A packet that is read from the device. */
struct adit_tunq_key {
	__be32 src[4], dst[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 sport, dport;   /* UDP; else 0 */
	__u8 proto, pad[3];    /* of IP; 0 */
};

_Static_assert(sizeof(struct adit_tunq_key) == 40, "key");
_Static_assert(__builtin_offsetof(struct adit_tunq_key, sport) == 32, "key");
_Static_assert(__builtin_offsetof(struct adit_tunq_key, proto) == 36, "key");

#endif
