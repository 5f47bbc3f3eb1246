/* SPDX-License-Identifier: Apache-2.0 */
/* Two frames, byte by byte. */
#include "daemon/datapath/solicit.h"

#include <string.h>

#include "daemon/wire/ip.h"
#include "util/endian.h"

enum {
	ETHER_HEAD_LEN = 14,
	ETHER_TYPE_AT = 12,
	ETHER_ARP = 0x0806,
	ETHER_IPV6 = 0x86dd,
	ETHER_MIN = 60,
	ARP_LEN = 28,
	ARP_ETHERNET = 1,
	ARP_IPV4 = 0x0800,
	ARP_REQUEST = 1,
	ND_LEN = 32, /* type, code, checksum, reserved, target, our address */
	ND_CHECKSUM_AT = 2,
	ND_TARGET_AT = 8,
	ND_OPTION_AT = 24,
	ND_SOLICIT = 135,
	ND_HOPS = 255,
};
static_assert(ETHER_HEAD_LEN + IP6_HEAD_LEN + ND_LEN == SOLICIT_MAX);
static_assert((int)ETHER_MIN < (int)SOLICIT_MAX);

static void write_ether(const struct solicit *s, const uint8_t *everybody, uint16_t type,
			uint8_t *to)
{
	memcpy(to, s->to_all ? everybody : s->mac, SOLICIT_MAC_LEN);
	memcpy(to + SOLICIT_MAC_LEN, s->local_mac, SOLICIT_MAC_LEN);
	store_be16(to + ETHER_TYPE_AT, type);
}

static size_t write_arp(const struct solicit *s, uint8_t *ret)
{
	static const uint8_t everybody[SOLICIT_MAC_LEN] = { 255, 255, 255, 255, 255, 255 };
	uint8_t *arp = ret + ETHER_HEAD_LEN;
	memset(ret, 0, ETHER_MIN);
	write_ether(s, everybody, ETHER_ARP, ret);
	store_be16(arp, ARP_ETHERNET);
	store_be16(arp + 2, ARP_IPV4);
	arp[4] = SOLICIT_MAC_LEN;
	arp[5] = (uint8_t)ip_family_len(IP_FAMILY_V4);
	store_be16(arp + 6, ARP_REQUEST);
	memcpy(arp + 8, s->local_mac, SOLICIT_MAC_LEN);
	memcpy(arp + 14, s->local.bytes, 4);
	memcpy(arp + 24, s->target.bytes, 4);
	return ETHER_MIN;
}

static size_t write_nd(const struct solicit *s, uint8_t *ret)
{
	/* Of each address three bytes are in its group's, and four of that are in the frame's. */
	struct ip_addr group = { .family = IP_FAMILY_V6, .bytes = { 0xff, 2, [11] = 1, 0xff } };
	memcpy(group.bytes + 13, s->target.bytes + 13, 3);
	uint8_t everybody[SOLICIT_MAC_LEN] = { 0x33, 0x33 };
	memcpy(everybody + 2, group.bytes + 12, 4);
	write_ether(s, everybody, ETHER_IPV6, ret);

	const struct ip_head head = {
		.src = s->local,
		.dst = s->to_all ? group : s->target,
		.protocol = IP_PROTOCOL_ICMP6,
		.ttl = ND_HOPS,
	};
	struct packer out = packer_over(ret + ETHER_HEAD_LEN, IP6_HEAD_LEN);
	(void)ip_head_write(&out, &head, ND_LEN); /* there is room, and one family */
	uint8_t *nd = ret + ETHER_HEAD_LEN + IP6_HEAD_LEN;
	memset(nd, 0, ND_LEN);
	nd[0] = ND_SOLICIT;
	memcpy(nd + ND_TARGET_AT, s->target.bytes, sizeof(s->target.bytes));
	nd[ND_OPTION_AT] = nd[ND_OPTION_AT + 1] = 1;
	memcpy(nd + ND_OPTION_AT + 2, s->local_mac, SOLICIT_MAC_LEN);
	uint64_t sum = ip_sum_pseudo(&head.src, &head.dst, IP_PROTOCOL_ICMP6, ND_LEN);
	store_be16(nd + ND_CHECKSUM_AT, (uint16_t)~ip_sum_fold(ip_sum(sum, span_of(nd, ND_LEN))));
	return SOLICIT_MAX;
}

size_t solicit_write(const struct solicit *s, uint8_t *ret)
{
	return s->target.family == IP_FAMILY_V6 ? write_nd(s, ret) : write_arp(s, ret);
}
