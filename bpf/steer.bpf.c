/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which worker of adit-edge gets a packet. adit_tunq: by queues of a TUN device, for private
 * networks. adit_steer: by sockets of one address (SO_REUSEPORT), for QUIC where the kernel takes
 * no classic filter (daemon/link/quic_steer.h). User space loads each by itself.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/steer.h"
#include "abi/tunq_abi.h"

#define MAPPED           0x0000ffff /* of IPv4 in IPv6, the third word */
#define IPV4_IS_FRAGMENT 0x3fff
#define HASH_STEP        0x9e3779b1 /* 2^32 divided by the golden ratio, odd */

#define UDP_HEADER 8

char _license[] SEC("license") = "Dual BSD/GPL";

/* ---- queues of a TUN device ------------------------------------------------------------------ */

/* User space sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct adit_tunq_key);
	__type(value, __u32);
} queues SEC(".maps");

/* Where the header behind IP begins; 0: it isn't there, or the packet can't be read. */
static __always_inline __u32 read_ipv4(struct __sk_buff *skb, struct adit_tunq_key *key)
{
	struct iphdr ip;
	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0)
		return 0;
	key->src[2] = key->dst[2] = bpf_htonl(MAPPED);
	key->src[3] = ip.saddr;
	key->dst[3] = ip.daddr;
	key->proto = ip.protocol;
	return ip.frag_off & bpf_htons(IPV4_IS_FRAGMENT) ? 0 : ip.ihl * 4U;
}

static __always_inline __u32 read_ipv6(struct __sk_buff *skb, struct adit_tunq_key *key)
{
	struct ipv6hdr ip;
	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0)
		return 0;
	__builtin_memcpy(key->src, &ip.saddr, sizeof(key->src));
	__builtin_memcpy(key->dst, &ip.daddr, sizeof(key->dst));
	key->proto = ip.nexthdr;
	return sizeof(ip);
}

static __always_inline __u32 hash(const struct adit_tunq_key *key)
{
	const __u32 *words = (const __u32 *)key;
	__u32 h = 0;
	for (int i = 0; i < (int)(sizeof(*key) / sizeof(*words)); i++) {
		h = (h ^ words[i]) * HASH_STEP;
		h ^= h >> 15;
	}
	return h;
}

/*
 * A flow goes to the queue that user space has entered for it, the one of the worker that has its
 * link; any other by its hash, so that all packets of a flow stay together. The packet begins with
 * its IP header. What is returned is taken modulo the number of queues.
 */
SEC("socket")
int adit_tunq(struct __sk_buff *skb)
{
	struct adit_tunq_key key = {};
	__u8 first = 0;
	if (bpf_skb_load_bytes(skb, 0, &first, sizeof(first)) < 0)
		return 0;
	__u32 at = first >> 4 == 6 ? read_ipv6(skb, &key) : read_ipv4(skb, &key);
	__be16 ports[2] = {};
	if (at && key.proto == IPPROTO_UDP &&
	    bpf_skb_load_bytes(skb, at, ports, sizeof(ports)) == 0) {
		key.sport = ports[0];
		key.dport = ports[1];
	}
	__u32 *queue = bpf_map_lookup_elem(&queues, &key);
	return queue ? (int)*queue : (int)(hash(&key) & 0xffff);
}

/* ---- sockets of an address ------------------------------------------------------------------- */

/* User space sets the size, and the number of workers. A slot empties when its socket closes. */
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} workers SEC(".maps");

const volatile __u32 worker_count = 1;

/* From the UDP payload. */
static __always_inline long load(const struct sk_reuseport_md *md, __u32 at, void *to, __u32 len)
{
	return bpf_skb_load_bytes(md, UDP_HEADER + at, to, len);
}

/* As quic_cid_owner() and the classic filter have it; what is cut short is for nobody: 0. */
static __always_inline __u32 worker_of(const struct sk_reuseport_md *md)
{
	union {
		__u8 bytes[STEER_FOREIGN_MIN];
		__be32 words[2];
	} id;
	__u8 byte = 0;
	if (load(md, 0, &byte, sizeof(byte)) < 0)
		return 0;
	if (!(byte & STEER_LONG_FORM)) {
		long r = load(md, STEER_SHORT_CID + STEER_CID_WORKER, &byte, sizeof(byte));
		return r < 0 ? 0 : byte;
	}
	if (load(md, STEER_LONG_CID_LEN, &byte, sizeof(byte)) < 0 || byte < STEER_FOREIGN_MIN ||
	    load(md, STEER_LONG_CID, &id, sizeof(id)) < 0)
		return 0;
	__u8 worker = id.bytes[STEER_CID_WORKER];
	if (byte == STEER_CID_LEN &&
	    id.bytes[STEER_CID_CHECK] == STEER_CHECK(worker, id.bytes[STEER_CID_GENERATION]))
		return worker;
	return STEER_HASH(bpf_ntohl(id.words[0]), bpf_ntohl(id.words[1]));
}

/*
 * The data begins with the UDP header. Where the worker has no socket the kernel chooses one of the
 * others, and its worker hands the packet on if it has an owner.
 */
SEC("sk_reuseport")
int adit_steer(struct sk_reuseport_md *md)
{
	__u32 worker = worker_of(md) % worker_count;
	(void)bpf_sk_select_reuseport(md, &workers, &worker, 0);
	return SK_PASS;
}
