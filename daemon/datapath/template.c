/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers that are nearly ready. Sums lack the length, which is one addition more.
 */
#include "daemon/datapath/template.h"

#include <string.h>

#include "daemon/wire/ip_udp.h"
#include "util/endian.h"
#include "util/macro.h"

enum {
	ETHER_HEAD_LEN = 14,
	ETHER_TYPE_AT = 12,
	ETHER_IPV4 = 0x0800,
	ETHER_IPV6 = 0x86dd,
	IP4_LEN_AT = 2,
	IP4_CHECKSUM_AT = 10,
	IP6_LEN_AT = 4,
	UDP_LEN_AT = 4,
	TTL = 64,
};

void template_make(struct frame_template *t, const struct template_params *p)
{
	*t = (struct frame_template){};
	bool is_v6 = p->remote.ip.family == IP_FAMILY_V6;
	memcpy(t->bytes, p->next_mac, TEMPLATE_MAC_LEN);
	memcpy(t->bytes + TEMPLATE_MAC_LEN, p->local_mac, TEMPLATE_MAC_LEN);
	store_be16(t->bytes + ETHER_TYPE_AT, is_v6 ? ETHER_IPV6 : ETHER_IPV4);

	const struct ip_head head = {
		.src = p->local.ip,
		.dst = p->remote.ip,
		.protocol = IP_PROTOCOL_UDP,
		.ttl = TTL,
		.dont_fragment = true,
	};
	const struct ip_udp udp = { .src_port = p->local.port, .dst_port = p->remote.port };
	struct packer out = packer_over(t->bytes + ETHER_HEAD_LEN, TEMPLATE_MAX - ETHER_HEAD_LEN);
	/* There is room for either family, and both addresses are of one. */
	(void)ip_udp_write_partial(&out, &head, &udp, 0);
	t->udp = (uint8_t)(ETHER_HEAD_LEN + ip_head_len(p->remote.ip.family));
	t->len = (uint8_t)(t->udp + UDP_HEAD_LEN);
	t->mtu = (uint16_t)MIN(p->mtu, (unsigned int)UINT16_MAX);

	uint8_t *ip = t->bytes + ETHER_HEAD_LEN;
	if (!is_v6) {
		store_be16(ip + IP4_LEN_AT, 0);
		store_be16(ip + IP4_CHECKSUM_AT, 0);
		t->ip_sum = ip_sum_fold(ip_sum(0, span_of(ip, IP4_HEAD_LEN)));
	}
	t->pseudo_sum = ip_sum_fold(ip_sum_pseudo(&p->local.ip, &p->remote.ip, IP_PROTOCOL_UDP, 0));
}

size_t template_room(const struct frame_template *t)
{
	size_t heads = (size_t)t->len - ETHER_HEAD_LEN;
	return t->mtu > heads ? t->mtu - heads : 0;
}

void template_write(const struct frame_template *t, size_t len, uint8_t *ret)
{
	memcpy(ret, t->bytes, t->len);
	uint8_t *ip = ret + ETHER_HEAD_LEN;
	uint8_t *udp = ret + t->udp;
	uint16_t udp_len = (uint16_t)(UDP_HEAD_LEN + len);
	if (t->udp == ETHER_HEAD_LEN + IP4_HEAD_LEN) {
		uint16_t ip_len = (uint16_t)(IP4_HEAD_LEN + udp_len);
		store_be16(ip + IP4_LEN_AT, ip_len);
		store_be16(ip + IP4_CHECKSUM_AT,
			   (uint16_t)~ip_sum_fold((uint64_t)t->ip_sum + ip_len));
	} else {
		store_be16(ip + IP6_LEN_AT, udp_len);
	}
	store_be16(udp + UDP_LEN_AT, udp_len);
	/* Not inverted: the device adds the rest to it (Linux: CHECKSUM_PARTIAL). */
	store_be16(udp + TEMPLATE_CSUM_OFFSET, ip_sum_fold((uint64_t)t->pseudo_sum + udp_len));
}
