/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP datagrams with their IP headers.
 */
#include "daemon/wire/ip_udp.h"

#include <errno.h>

#include "util/cursor.h"

int ip_udp_read(const struct ip_packet *p, struct ip_udp *ret)
{
	if (p->is_fragment || p->protocol != IP_PROTOCOL_UDP)
		return -EBADMSG;
	struct cursor c = cursor_over(p->payload);
	struct ip_udp u = { .src_port = cursor_be16(&c), .dst_port = cursor_be16(&c) };
	uint16_t len = cursor_be16(&c);
	u.checksum = cursor_be16(&c);
	u.payload = cursor_rest(&c);
	if (c.error)
		return c.error;
	if (len < UDP_HEAD_LEN)
		return -EBADMSG;
	u.payload = span_first(u.payload, len - UDP_HEAD_LEN);
	*ret = u;
	return 0;
}

bool ip_udp_checksum_ok(const struct ip_packet *p)
{
	struct ip_udp u;
	if (ip_udp_read(p, &u) < 0)
		return false;
	if (u.checksum == 0)
		return p->src.family == IP_FAMILY_V4;
	size_t len = UDP_HEAD_LEN + u.payload.len;
	uint64_t sum = ip_sum_pseudo(&p->src, &p->dst, IP_PROTOCOL_UDP, len);
	return ip_sum_fold(ip_sum(sum, span_first(p->payload, len))) == 0xffff;
}

int ip_udp_write_partial(struct packer *p, const struct ip_head *h, const struct ip_udp *u,
			 size_t len)
{
	struct ip_head head = *h;
	head.protocol = IP_PROTOCOL_UDP;
	if (len > UINT16_MAX - UDP_HEAD_LEN)
		return -EMSGSIZE;
	int r = ip_head_write(p, &head, UDP_HEAD_LEN + len);
	if (r < 0)
		return r;
	packer_be16(p, u->src_port);
	packer_be16(p, u->dst_port);
	packer_be16(p, (uint16_t)(UDP_HEAD_LEN + len));
	packer_be16(p, ip_sum_fold(ip_sum_pseudo(&h->src, &h->dst, IP_PROTOCOL_UDP,
						 UDP_HEAD_LEN + len)));
	return packer_finish(p);
}

int ip_udp_write(struct packer *p, const struct ip_head *h, const struct ip_udp *u)
{
	int r = ip_udp_write_partial(p, h, u, u->payload.len);
	if (r < 0)
		return r;
	size_t at = p->len - UDP_HEAD_LEN;
	packer_bytes(p, u->payload);
	r = packer_finish(p);
	if (r < 0)
		return r;
	/* The sum of the pseudo-header is in the checksum's place already. */
	uint64_t sum = ip_sum(0, span_skip(packer_span(p), at));
	uint16_t checksum = (uint16_t)~ip_sum_fold(sum);
	store_be16(p->buf + at + 6, checksum ? checksum : 0xffff);
	return 0;
}
