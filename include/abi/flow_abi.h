/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What bpf/flow.bpf.c and user space share: the maps of the short cut around a flow's socket. Valid
 * as C17 for BPF and as C23; numbers in host order where they aren't __be.
 */
#ifndef INCLUDE_ABI_FLOW_ABI_H
#define INCLUDE_ABI_FLOW_ABI_H

#include <linux/types.h>

/*
 * Names of the maps. The program counts for a slot only what passed in FLOW_STATE_PROBE; all frames
 * of a flow come on one queue, so nothing is lost. What a worker is handed it counts itself: here
 * that would be another fetch from memory for each frame.
 */
#define FLOW_MAP_FLOWS    "flows"    /* hash: struct adit_flow_key to struct adit_flow_val */
#define FLOW_MAP_PROBES   "probes"   /* array by slot, mapped: __u64 frames */
#define FLOW_MAP_XSKS     "xsks"     /* AF_XDP sockets, by FLOW_SOCKET() */
#define FLOW_MAP_VERDICTS "verdicts" /* array by verdict and CPU: __u64 frames */

/* … and of the programs: for one buffer a frame, and for drivers that use several. */
#define FLOW_PROG      "adit_flow"
#define FLOW_PROG_MULT "adit_flow_mult"

#define FLOW_SOCKET_QUEUES  64
#define FLOW_SOCKET_WORKERS 64
/* A frame can only go to a socket of the queue that it came on. */
#define FLOW_SOCKET(worker, queue) ((__u32)(worker) * FLOW_SOCKET_QUEUES + (__u32)(queue))

#define FLOW_HDR_LEN 17 /* 0x01 and the request id: a datagram of version 3 begins with them */

struct adit_flow_key {
	__be32 local[4], remote[4]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 lport, rport;
	__u8 proto, pad[3]; /* IPPROTO_UDP; 0 */
};

#define FLOW_STATE_PROBE 0 /* count and pass */
#define FLOW_STATE_HIT   1 /* to the worker's socket */

/* Written by user space only. */
struct adit_flow_val {
	__u8 hdr[FLOW_HDR_LEN];
	__u8 state;
	__u16 worker;
	__u32 slot;
};

/* Before what the worker's socket receives: FLOW_HDR_LEN bytes and the payload. */
struct adit_rx_meta {
	__u32 slot;
	__u16 kind; /* FLOW_RX_UDP */
	__u16 len;  /* bytes that follow */
};
#define FLOW_RX_UDP 1

/* What became of a frame with UDP in it. All but the first two pass unchanged to the kernel. */
#define FLOW_VERDICT_TAKEN     0 /* to the worker's socket, which may have no room */
#define FLOW_VERDICT_LOST      1 /* dropped: it changed and then couldn't be handed over */
#define FLOW_VERDICT_PROBE     2
#define FLOW_VERDICT_MISS      3 /* no flow of ours */
#define FLOW_VERDICT_FRAGMENT  4
#define FLOW_VERDICT_OPTIONS   5 /* IPv4 with them, IPv6 with a header of them before UDP's */
#define FLOW_VERDICT_LENGTH    6 /* a length says more than there is, or less than a header */
#define FLOW_VERDICT_BUFFERS   7 /* in more than one buffer */
#define FLOW_VERDICT_NO_SOCKET 8 /* of a flow in FLOW_STATE_HIT, on a queue without its socket */
#define FLOW_VERDICT_REFUSED   9 /* the driver makes no room before a frame */
#define FLOW_VERDICTS          10

_Static_assert(sizeof(struct adit_flow_key) == 40, "key");
_Static_assert(__builtin_offsetof(struct adit_flow_key, lport) == 32, "key");
_Static_assert(__builtin_offsetof(struct adit_flow_key, proto) == 36, "key");
_Static_assert(sizeof(struct adit_flow_val) == 24, "value");
_Static_assert(__builtin_offsetof(struct adit_flow_val, state) == 17, "value");
_Static_assert(__builtin_offsetof(struct adit_flow_val, slot) == 20, "value");
_Static_assert(sizeof(struct adit_rx_meta) == 8, "metadata, in steps of 4");

#endif
