/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP messages of both families. The numbers of the families meet in two tables; everything else
 * is the same for both but the checksum, which in IPv6 covers the addresses.
 */
#include "daemon/wire/icmp.h"

#include <errno.h>
#include <string.h>

#include "util/cursor.h"
#include "util/endian.h"
#include "util/macro.h"

enum {
	V4_FRAGMENTATION_NEEDED = 4, /* code of unreachable: ICMP_KIND_TOO_BIG */
	CHECKSUM = 2,
};

struct numbers {
	uint8_t v4, v6;
};

/* Type of a kind; two kinds have one type in IPv4. */
static const struct numbers types[] = {
	[ICMP_KIND_ECHO_REQUEST] = { 8, 128 }, [ICMP_KIND_ECHO_REPLY] = { 0, 129 },
	[ICMP_KIND_UNREACHABLE] = { 3, 1 },    [ICMP_KIND_TOO_BIG] = { 3, 2 },
	[ICMP_KIND_TIME_EXCEEDED] = { 11, 3 }, [ICMP_KIND_BAD_PARAMETER] = { 12, 4 },
};

static const struct numbers unreachable_codes[] = {
	[ICMP_UNREACHABLE_NET] = { 0, 0 },
	[ICMP_UNREACHABLE_HOST] = { 1, 3 },
	[ICMP_UNREACHABLE_PORT] = { 3, 4 },
	[ICMP_UNREACHABLE_PROHIBITED] = { 13, 1 },
};

static uint8_t number_of(enum ip_family family, struct numbers n)
{
	return family == IP_FAMILY_V4 ? n.v4 : n.v6;
}

uint8_t icmp_unreachable_code(enum ip_family family, enum icmp_unreachable what)
{
	return number_of(family, unreachable_codes[what]);
}

enum icmp_kind icmp_kind_of(enum ip_family family, uint8_t type, uint8_t code)
{
	if (family == IP_FAMILY_V4 && type == types[ICMP_KIND_TOO_BIG].v4 &&
	    code == V4_FRAGMENTATION_NEEDED)
		return ICMP_KIND_TOO_BIG;
	for (unsigned int k = ICMP_KIND_ECHO_REQUEST; k < ARRAY_SIZE(types); k++)
		if (type == number_of(family, types[k]))
			return (enum icmp_kind)k;
	return ICMP_KIND_OTHER;
}

static enum ip_protocol protocol_of(enum ip_family family)
{
	return family == IP_FAMILY_V4 ? IP_PROTOCOL_ICMP4 : IP_PROTOCOL_ICMP6;
}

bool icmp_too_big(const struct ip_packet *p, size_t mtu, struct icmp_error *ret)
{
	if (!p->dont_fragment)
		return false;
	if (p->src.family == IP_FAMILY_V6)
		mtu = MAX(mtu, (size_t)IP6_MTU_MIN);
	*ret = (struct icmp_error){ .kind = ICMP_KIND_TOO_BIG, .mtu = (uint32_t)mtu };
	return true;
}

bool icmp_is_answer(enum ip_family family, uint8_t type)
{
	/* Echo, timestamp, information, address mask (RFC 792, RFC 950); echo, node information. */
	static const uint8_t v4[] = { 0, 14, 16, 18 }, v6[] = { 129, 140 };
	return family == IP_FAMILY_V4 ? memchr(v4, type, sizeof(v4)) != NULL
				      : memchr(v6, type, sizeof(v6)) != NULL;
}

/* ---- reading ---- */

int icmp_read(const struct ip_packet *p, struct icmp_message *ret)
{
	enum ip_family family = p->src.family;
	if (p->is_fragment || p->protocol != protocol_of(family))
		return -EBADMSG;
	struct cursor c = cursor_over(p->payload);
	struct icmp_message m = { .type = cursor_u8(&c),
				  .code = cursor_u8(&c),
				  .checksum = cursor_be16(&c) };
	if (c.error)
		return c.error;
	m.kind = icmp_kind_of(family, m.type, m.code);
	if ((family == IP_FAMILY_V4 || m.kind != ICMP_KIND_OTHER) && p->payload.len < ICMP_HEAD_LEN)
		return -ENODATA;

	if (m.kind == ICMP_KIND_ECHO_REQUEST || m.kind == ICMP_KIND_ECHO_REPLY) {
		m.id = cursor_be16(&c);
		m.seq = cursor_be16(&c);
	} else if (m.kind != ICMP_KIND_OTHER) {
		uint32_t word = cursor_be32(&c);
		if (m.kind == ICMP_KIND_TOO_BIG)
			m.mtu = family == IP_FAMILY_V4 ? word & 0xffff : word;
	}
	m.data = cursor_rest(&c);
	*ret = m;
	return 0;
}

/* What a message is summed with: nothing in IPv4, the pseudo-header in IPv6. */
static uint64_t sum_before(const struct ip_addr *src, const struct ip_addr *dst, size_t len)
{
	return src->family == IP_FAMILY_V4 ? 0 : ip_sum_pseudo(src, dst, IP_PROTOCOL_ICMP6, len);
}

bool icmp_checksum_ok(const struct ip_packet *p)
{
	uint64_t sum = sum_before(&p->src, &p->dst, p->payload.len);
	return ip_sum_fold(ip_sum(sum, p->payload)) == 0xffff;
}

/* The addresses of a quote, and with them the checksum of what quotes it. */
static int readdress_quote(uint8_t *message, size_t len, const struct ip_addr *src,
			   const struct ip_addr *dst)
{
	uint8_t before[ICMP_ERROR_MAX];
	/* Everything that changes is in the headers. */
	size_t looked_at = MIN(len - ICMP_HEAD_LEN, sizeof(before)) & ~(size_t)1;
	uint8_t *quote = message + ICMP_HEAD_LEN;
	memcpy(before, quote, looked_at);
	int r = ip_readdress(quote, looked_at, src, dst);
	if (r < 0)
		return r;
	uint16_t sum = ip_checksum_update(load_be16(message + CHECKSUM), span_of(before, looked_at),
					  span_of(quote, looked_at));
	store_be16(message + CHECKSUM, sum);
	return 0;
}

int icmp_readdress(uint8_t *packet, size_t len, const struct ip_addr *src,
		   const struct ip_addr *dst)
{
	struct ip_packet p, quote;
	struct icmp_message m;
	int r = ip_read(span_of(packet, len), &p);
	if (r == 0)
		r = icmp_read(&p, &m);
	if (r != 0)
		return r;
	if (icmp_kind_is_error(m.kind) && ip_read(m.data, &quote) == 0) {
		bool has_src = dst && ip_addr_eq(&quote.src, &p.dst);
		bool has_dst = src && ip_addr_eq(&quote.dst, &p.src);
		r = readdress_quote(packet + p.header.len, p.payload.len, has_src ? dst : NULL,
				    has_dst ? src : NULL);
	}
	return r < 0 ? r : ip_readdress(packet, len, src, dst);
}

/* ---- writing ---- */

/* Appends type, code, checksum, four bytes and data. */
static int write_message(struct packer *p, const struct ip_addr *src, const struct ip_addr *dst,
			 const uint8_t head[ICMP_HEAD_LEN], struct span data)
{
	size_t len = ICMP_HEAD_LEN + data.len;
	uint8_t *at = packer_room(p, len);
	if (!at)
		return packer_finish(p);
	memcpy(at, head, ICMP_HEAD_LEN);
	if (data.len)
		memcpy(at + ICMP_HEAD_LEN, data.ptr, data.len);
	store_be16(at + CHECKSUM, 0);
	uint64_t sum = ip_sum(sum_before(src, dst, len), span_of(at, len));
	store_be16(at + CHECKSUM, (uint16_t)~ip_sum_fold(sum));
	return 0;
}

/* The header of what we make ourselves, as the recorded ones are. */
static int write_head(struct packer *p, const struct ip_addr *src, const struct ip_addr *dst,
		      uint8_t ttl, size_t len)
{
	const struct ip_head h = {
		.src = *src, .dst = *dst, .protocol = protocol_of(src->family), .ttl = ttl
	};
	return ip_head_write(p, &h, len);
}

int icmp_echo_write_message(struct packer *p, const struct icmp_echo *e)
{
	enum icmp_kind kind = e->is_reply ? ICMP_KIND_ECHO_REPLY : ICMP_KIND_ECHO_REQUEST;
	uint8_t head[ICMP_HEAD_LEN] = { number_of(e->src.family, types[kind]), e->code };
	if (ip_head_len(e->src.family) == 0 || e->src.family != e->dst.family)
		return -EINVAL;
	if (e->data.len > UINT16_MAX - IP4_HEAD_LEN - ICMP_HEAD_LEN)
		return -EMSGSIZE;
	store_be16(head + 4, e->id);
	store_be16(head + 6, e->seq);
	return write_message(p, &e->src, &e->dst, head, e->data);
}

int icmp_echo_write(struct packer *p, const struct icmp_echo *e)
{
	if (e->data.len > UINT16_MAX - IP4_HEAD_LEN - ICMP_HEAD_LEN)
		return -EMSGSIZE;
	int r = write_head(p, &e->src, &e->dst, e->ttl, ICMP_HEAD_LEN + e->data.len);
	return r < 0 ? r : icmp_echo_write_message(p, e);
}

int icmp_error_write(struct packer *p, const struct icmp_error *e)
{
	bool is_v4 = e->dst.family == IP_FAMILY_V4;
	if (!icmp_kind_is_error(e->kind))
		return -EINVAL;
	uint8_t head[ICMP_HEAD_LEN] = { number_of(e->dst.family, types[e->kind]), e->code };
	if (e->kind == ICMP_KIND_TOO_BIG) {
		head[1] = is_v4 ? V4_FRAGMENTATION_NEEDED : 0;
		store_be32(head + 4, is_v4 ? MIN(e->mtu, (uint32_t)UINT16_MAX) : e->mtu);
	} else if (e->kind == ICMP_KIND_BAD_PARAMETER) {
		store_be32(head + 4, e->mtu);
	}
	struct span quote = span_first(e->quote, is_v4 ? ICMP_QUOTE_MAX_V4 : ICMP_QUOTE_MAX_V6);
	int r = write_head(p, &e->src, &e->dst, ICMP_TTL, ICMP_HEAD_LEN + quote.len);
	return r < 0 ? r : write_message(p, &e->src, &e->dst, head, quote);
}

int icmp_requote_write(struct packer *p, const struct icmp_requote *q, struct span message)
{
	if (message.len < ICMP_HEAD_LEN)
		return -ENODATA;
	const struct ip_head h = { .src = q->src,
				   .dst = q->dst,
				   .protocol = protocol_of(q->src.family),
				   .ttl = q->ttl,
				   .tos = q->tos,
				   .dont_fragment = q->dont_fragment,
				   .id = q->ip_id,
				   .flow_label = q->flow_label };
	int r = ip_head_write(p, &h, MAX(q->len, message.len));
	uint8_t *at = r < 0 ? NULL : packer_room(p, message.len);
	if (!at)
		return r < 0 ? r : packer_finish(p);
	memcpy(at, message.ptr, message.len);
	store_be16(at + CHECKSUM, q->checksum);
	store_be16(at + 4, q->id);
	store_be16(at + 6, q->seq);
	return 0;
}
