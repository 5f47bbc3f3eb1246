/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv4 and IPv6 packets. Lengths are trusted downwards only: a field never makes a span longer than
 * the bytes that came.
 */
#include "daemon/wire/ip.h"

#include <errno.h>

#include "util/endian.h"
#include "util/macro.h"

enum {
	FLAG_DONT_FRAGMENT = 0x4000,
	FLAG_MORE_FRAGMENTS = 0x2000,
	OFFSET_MASK = 0x1fff,
	FLOW_LABEL_MASK = 0xfffff,

	OPTION_END = 0,
	OPTION_NOTHING = 1,
	/* Where things are in a header. */
	IP4_TTL = 8,
	IP4_CHECKSUM = 10,
	IP4_SRC = 12,
	IP4_DST = 16,
	IP6_HOP_LIMIT = 7,
	IP6_SRC = 8,
	IP6_DST = 24,
};

/* ---- sums ---- */

uint64_t ip_sum(uint64_t sum, struct span s)
{
	while (s.len >= 4) {
		sum += load_be32(s.ptr);
		s = span_skip(s, 4);
	}
	if (s.len >= 2) {
		sum += load_be16(s.ptr);
		s = span_skip(s, 2);
	}
	if (s.len)
		sum += (uint64_t)s.ptr[0] << 8;
	return sum;
}

uint64_t ip_sum_pseudo(const struct ip_addr *src, const struct ip_addr *dst,
		       enum ip_protocol protocol, size_t len)
{
	uint64_t sum = ip_sum(0, span_of(src->bytes, ip_family_len(src->family)));
	sum = ip_sum(sum, span_of(dst->bytes, ip_family_len(dst->family)));
	return sum + protocol + len;
}

uint16_t ip_sum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint16_t ip_checksum_update(uint16_t checksum, struct span before, struct span after)
{
	uint64_t sum = (uint16_t)~checksum;
	sum += (uint16_t)~ip_sum_fold(ip_sum(0, before));
	return (uint16_t)~ip_sum_fold(ip_sum(sum, after));
}

/* ---- reading ---- */

/* An option of two bytes is legal, of fewer it would never end. */
static int check_options(struct span options)
{
	while (options.len && options.ptr[0] != OPTION_END) {
		size_t len = 1;
		if (options.ptr[0] != OPTION_NOTHING) {
			if (options.len < 2 || options.ptr[1] < 2 || options.ptr[1] > options.len)
				return -EBADMSG;
			len = options.ptr[1];
		}
		options = span_skip(options, len);
	}
	return 0;
}

static int read_v4(struct span in, struct ip_packet *ret)
{
	if (in.len < IP4_HEAD_LEN)
		return -ENODATA;
	size_t header_len = (size_t)(in.ptr[0] & 0x0f) * 4;
	size_t total = load_be16(in.ptr + 2);
	if (total == 0)
		total = in.len;
	if (header_len < IP4_HEAD_LEN || header_len > total)
		return -EBADMSG;
	if (header_len > in.len)
		return -ENODATA;

	struct span packet = span_first(in, total);
	uint16_t fragment = load_be16(in.ptr + 6);
	*ret = (struct ip_packet){
		.src = ip_addr_from(IP_FAMILY_V4, in.ptr + IP4_SRC),
		.dst = ip_addr_from(IP_FAMILY_V4, in.ptr + IP4_DST),
		.protocol = (enum ip_protocol)in.ptr[9],
		.ttl = in.ptr[IP4_TTL],
		.tos = in.ptr[1],
		.id = load_be16(in.ptr + 4),
		.dont_fragment = fragment & FLAG_DONT_FRAGMENT,
		.is_fragment = fragment & (FLAG_MORE_FRAGMENTS | OFFSET_MASK),
		.fragment_offset = (uint16_t)((fragment & OFFSET_MASK) * 8),
		.header = span_first(packet, header_len),
		.payload = span_skip(packet, header_len),
		.whole = in,
	};
	return check_options(span_skip(ret->header, IP4_HEAD_LEN));
}

/* Steps over hop-by-hop options, which may only be the first extension (RFC 8200 §4.1). */
static int skip_hop_by_hop(struct ip_packet *p)
{
	if (p->protocol != IP_PROTOCOL_HOP_BY_HOP)
		return 0;
	if (p->payload.len < 2)
		return -ENODATA;
	size_t len = ((size_t)p->payload.ptr[1] + 1) * 8;
	if (len > p->payload.len)
		return -ENODATA;
	p->protocol = (enum ip_protocol)p->payload.ptr[0];
	p->header.len += len;
	p->payload = span_skip(p->payload, len);
	return 0;
}

static int read_v6(struct span in, struct ip_packet *ret)
{
	if (in.len < IP6_HEAD_LEN)
		return -ENODATA;
	size_t payload_len = load_be16(in.ptr + 4);
	if (payload_len == 0)
		return -EBADMSG; /* nothing, or a jumbogram */
	*ret = (struct ip_packet){
		.src = ip_addr_from(IP_FAMILY_V6, in.ptr + IP6_SRC),
		.dst = ip_addr_from(IP_FAMILY_V6, in.ptr + IP6_DST),
		.protocol = (enum ip_protocol)in.ptr[6],
		.ttl = in.ptr[IP6_HOP_LIMIT],
		.tos = (uint8_t)(load_be16(in.ptr) >> 4),
		.flow_label = load_be32(in.ptr) & FLOW_LABEL_MASK,
		.dont_fragment = true,
		.header = span_first(in, IP6_HEAD_LEN),
		.payload = span_first(span_skip(in, IP6_HEAD_LEN), payload_len),
		.whole = in,
	};
	int r = skip_hop_by_hop(ret);
	if (r < 0)
		return r;
	ret->is_fragment = ret->protocol == IP_PROTOCOL_FRAGMENT;
	if (ret->is_fragment && ret->payload.len >= 4)
		ret->fragment_offset = load_be16(ret->payload.ptr + 2) & 0xfff8;
	return 0;
}

int ip_read(struct span in, struct ip_packet *ret)
{
	struct ip_packet p = {};
	int r = -EBADMSG;
	if (in.len == 0)
		return -ENODATA;
	if (in.ptr[0] >> 4 == 4)
		r = read_v4(in, &p);
	else if (in.ptr[0] >> 4 == 6)
		r = read_v6(in, &p);
	if (r < 0)
		return r;
	*ret = p;
	return 0;
}

bool ip_checksum_ok(const struct ip_packet *p)
{
	return p->src.family != IP_FAMILY_V4 || ip_sum_fold(ip_sum(0, p->header)) == 0xffff;
}

/* ---- may it be answered? ---- */

static bool is_multicast(const struct ip_addr *a)
{
	return a->family == IP_FAMILY_V6 ? a->bytes[0] == 0xff : (a->bytes[0] & 0xf0) == 0xe0;
}

/*
 * Names one host that an answer can reach: neither "any" nor several, nor the host where it is
 * looked at, nor reserved in IPv4 (RFC 1812 §5.3.7).
 */
static bool is_one_host(const struct ip_addr *a)
{
	if (ip_addr_is_loopback(a))
		return false;
	if (a->family == IP_FAMILY_V4)
		return a->bytes[0] != 0 && a->bytes[0] < 0xe0;
	return !ip_addr_is_any(a) && !is_multicast(a);
}

/* An ICMP message that is an error, or that could be one since its type is cut off. */
static bool is_about_icmp_error(const struct ip_packet *p)
{
	if (p->protocol != IP_PROTOCOL_ICMP4 && p->protocol != IP_PROTOCOL_ICMP6)
		return false;
	if (p->payload.len == 0)
		return true;
	uint8_t type = p->payload.ptr[0];
	if (p->protocol == IP_PROTOCOL_ICMP6)
		return type < 128 || type == 137; /* redirect */
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

bool ip_may_report(const struct ip_packet *p, bool is_too_big)
{
	if (p->fragment_offset || !is_one_host(&p->src) || is_about_icmp_error(p))
		return false;
	if (p->dst.family == IP_FAMILY_V6)
		return is_too_big || !is_multicast(&p->dst);
	return p->dst.bytes[0] < 0xe0;
}

/* ---- writing ---- */

size_t ip_head_len(enum ip_family family)
{
	return family == IP_FAMILY_V4 ? IP4_HEAD_LEN : family == IP_FAMILY_V6 ? IP6_HEAD_LEN : 0;
}

static void write_v4(uint8_t *at, const struct ip_head *h, size_t payload_len)
{
	at[0] = 0x45;
	at[1] = h->tos;
	store_be16(at + 2, (uint16_t)(IP4_HEAD_LEN + payload_len));
	store_be16(at + 4, h->id);
	store_be16(at + 6, h->dont_fragment ? FLAG_DONT_FRAGMENT : 0);
	at[IP4_TTL] = h->ttl;
	at[9] = h->protocol;
	store_be16(at + IP4_CHECKSUM, 0);
	memcpy(at + IP4_SRC, h->src.bytes, 4);
	memcpy(at + IP4_DST, h->dst.bytes, 4);
	uint16_t sum = ip_sum_fold(ip_sum(0, span_of(at, IP4_HEAD_LEN)));
	store_be16(at + IP4_CHECKSUM, (uint16_t)~sum);
}

static void write_v6(uint8_t *at, const struct ip_head *h, size_t payload_len)
{
	store_be32(at,
		   UINT32_C(6) << 28 | (uint32_t)h->tos << 20 | (h->flow_label & FLOW_LABEL_MASK));
	store_be16(at + 4, (uint16_t)payload_len);
	at[6] = h->protocol;
	at[IP6_HOP_LIMIT] = h->ttl;
	memcpy(at + IP6_SRC, h->src.bytes, 16);
	memcpy(at + IP6_DST, h->dst.bytes, 16);
}

int ip_head_write(struct packer *p, const struct ip_head *h, size_t payload_len)
{
	size_t len = ip_head_len(h->src.family);
	if (len == 0 || h->src.family != h->dst.family)
		return -EINVAL;
	if (payload_len > UINT16_MAX - (h->src.family == IP_FAMILY_V4 ? IP4_HEAD_LEN : 0U))
		return -EMSGSIZE;
	uint8_t *at = packer_room(p, len);
	if (!at)
		return packer_finish(p);
	if (h->src.family == IP_FAMILY_V4)
		write_v4(at, h, payload_len);
	else
		write_v6(at, h, payload_len);
	return 0;
}

/* ---- changing ---- */

static void update_checksum(uint8_t *at, struct span before, struct span after)
{
	store_be16(at, ip_checksum_update(load_be16(at), before, after));
}

void ip_decrement_ttl(uint8_t *packet)
{
	if (packet[0] >> 4 == 6) {
		packet[IP6_HOP_LIMIT]--;
		return;
	}
	uint8_t before[2] = { packet[IP4_TTL], packet[IP4_TTL + 1] };
	packet[IP4_TTL]--;
	update_checksum(packet + IP4_CHECKSUM, span_of(before, 2), span_of(packet + IP4_TTL, 2));
}

/* Where the checksum over the addresses is in this packet's payload, or SIZE_MAX: nowhere. */
static size_t checksum_offset(const struct ip_packet *p)
{
	size_t at = SIZE_MAX;
	if (p->fragment_offset)
		return at;
	if (p->protocol == IP_PROTOCOL_TCP)
		at = 16;
	else if (p->protocol == IP_PROTOCOL_UDP)
		at = 6;
	else if (p->protocol == IP_PROTOCOL_ICMP6 && p->src.family == IP_FAMILY_V6)
		at = 2;
	return at < p->payload.len && p->payload.len - at >= 2 ? at : SIZE_MAX;
}

/* One address: in the header, under the header's checksum, and under the payload's. */
static void put_address(uint8_t *packet, const struct ip_packet *p, size_t at,
			const struct ip_addr *to)
{
	uint8_t before[16];
	size_t len = ip_family_len(p->src.family);
	memcpy(before, packet + at, len);
	memcpy(packet + at, to->bytes, len);
	struct span was = span_of(before, len);
	struct span is = span_of(packet + at, len);
	if (p->src.family == IP_FAMILY_V4)
		update_checksum(packet + IP4_CHECKSUM, was, is);

	size_t offset = checksum_offset(p);
	if (offset == SIZE_MAX)
		return;
	uint8_t *check = packet + p->header.len + offset;
	bool is_udp = p->protocol == IP_PROTOCOL_UDP;
	if (is_udp && load_be16(check) == 0)
		return; /* none was made */
	update_checksum(check, was, is);
	if (is_udp && load_be16(check) == 0)
		store_be16(check, 0xffff);
}

/* IPv6 extension headers behind which we don't look: a checksum there can't follow. */
static bool is_extension(const struct ip_packet *p)
{
	static const uint8_t numbers[] = {
		IP_PROTOCOL_HOP_BY_HOP, 43, IP_PROTOCOL_FRAGMENT, 51, 60, 135, 139, 140
	};
	return p->src.family == IP_FAMILY_V6 &&
	       memchr(numbers, p->protocol, sizeof(numbers)) != NULL;
}

int ip_readdress(uint8_t *packet, size_t len, const struct ip_addr *src, const struct ip_addr *dst)
{
	struct ip_packet p;
	int r = ip_read(span_of(packet, len), &p);
	if (r < 0)
		return r;
	bool is_v4 = p.src.family == IP_FAMILY_V4;
	if (is_extension(&p))
		return -EBADMSG;
	if ((src && src->family != p.src.family) || (dst && dst->family != p.src.family))
		return -EINVAL;
	if (src)
		put_address(packet, &p, is_v4 ? IP4_SRC : IP6_SRC, src);
	if (dst)
		put_address(packet, &p, is_v4 ? IP4_DST : IP6_DST, dst);
	return 0;
}
