/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Finds UDP in an Ethernet frame. Strict: what has tags, options, fragments or lengths that don't
 * add up isn't for a short cut, and the kernel behind us knows what to do with it.
 */
#ifndef BPF_LIB_FRAME_H
#define BPF_LIB_FRAME_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi/flow_abi.h"

#define FRAME_UDP   (-1) /* ret is filled in */
#define FRAME_OTHER (-2) /* no UDP in it; else a verdict */

#define IPV4_FIRST_BYTE  0x45 /* version 4, a header of five words */
#define IPV4_IS_FRAGMENT 0x3fff

struct frame {
	struct adit_flow_key key; /* seen from the flow: local is the destination */
	__u32 payload;            /* where it begins in the frame */
	__u32 len;                /* of the payload */
};

/* The header at `at` belongs to a packet that has l4_len bytes from there, all in the frame. */
static __always_inline int frame_udp(void *at, void *end, __u32 l4_len, struct frame *ret)
{
	struct udphdr *udp = at;
	if (l4_len < sizeof(*udp) || (void *)(udp + 1) > end)
		return FLOW_VERDICT_LENGTH;
	__u32 len = bpf_ntohs(udp->len);
	if (len < sizeof(*udp) || len > l4_len)
		return FLOW_VERDICT_LENGTH;
	ret->key.lport = udp->dest;
	ret->key.rport = udp->source;
	ret->key.proto = IPPROTO_UDP;
	ret->len = len - sizeof(*udp);
	return FRAME_UDP;
}

static __always_inline int frame_ipv4(void *data, void *end, struct frame *ret)
{
	struct iphdr *ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_UDP)
		return FRAME_OTHER;
	if (*(__u8 *)ip != IPV4_FIRST_BYTE)
		return FLOW_VERDICT_OPTIONS;
	if (ip->frag_off & bpf_htons(IPV4_IS_FRAGMENT))
		return FLOW_VERDICT_FRAGMENT;
	__u32 len = bpf_ntohs(ip->tot_len);
	if (len < sizeof(*ip) || len > end - (void *)ip)
		return FLOW_VERDICT_LENGTH;
	ret->key.local[2] = bpf_htonl(0xffff);
	ret->key.local[3] = ip->daddr;
	ret->key.remote[2] = bpf_htonl(0xffff);
	ret->key.remote[3] = ip->saddr;
	ret->payload = ETH_HLEN + sizeof(*ip) + sizeof(struct udphdr);
	return frame_udp(ip + 1, end, len - sizeof(*ip), ret);
}

/* UDP behind one header of options or routing; what is behind more of them is looked at by nobody.
 */
static __always_inline int frame_is_extended_udp(const struct ipv6hdr *ip, void *end)
{
	const struct ipv6_opt_hdr *extension = (void *)(ip + 1);
	return (ip->nexthdr == IPPROTO_HOPOPTS || ip->nexthdr == IPPROTO_ROUTING ||
		ip->nexthdr == IPPROTO_DSTOPTS) &&
	       (void *)(extension + 1) <= end && extension->nexthdr == IPPROTO_UDP;
}

static __always_inline int frame_ipv6(void *data, void *end, struct frame *ret)
{
	struct ipv6hdr *ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end)
		return FRAME_OTHER;
	if (ip->nexthdr == IPPROTO_FRAGMENT)
		return FLOW_VERDICT_FRAGMENT;
	if (frame_is_extended_udp(ip, end))
		return FLOW_VERDICT_OPTIONS;
	if (ip->nexthdr != IPPROTO_UDP)
		return FRAME_OTHER;
	__u32 len = bpf_ntohs(ip->payload_len);
	if (len > end - (void *)(ip + 1))
		return FLOW_VERDICT_LENGTH;
	__builtin_memcpy(ret->key.local, &ip->daddr, sizeof(ret->key.local));
	__builtin_memcpy(ret->key.remote, &ip->saddr, sizeof(ret->key.remote));
	ret->payload = ETH_HLEN + sizeof(*ip) + sizeof(struct udphdr);
	return frame_udp(ip + 1, end, len, ret);
}

/* FRAME_UDP, FRAME_OTHER, or a verdict: it may be UDP, but not for us. ret is zeroed before. */
static __always_inline int frame_parse(struct xdp_md *ctx, struct frame *ret)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end)
		return FRAME_OTHER;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return frame_ipv4(data, end, ret);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return frame_ipv6(data, end, ret);
	return FRAME_OTHER;
}

#endif
