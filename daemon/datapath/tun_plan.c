/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses the routed mode has: arithmetic on the last 32 bits of an address.
 */
#include "daemon/datapath/tun_plan.h"

#include "util/endian.h"
#include "util/macro.h"

enum {
	DEVICE = 1, /* from the prefix's beginning */
	FIRST_OURS = 2,
	LOW_BITS = 32, /* what is counted with */
	ENDS_V4 = 3,   /* the first, the device's and the last, which is broadcast */
};

const struct tun_prefix *tun_plan_prefix(const struct tun_plan *p, enum ip_family family)
{
	return family == IP_FAMILY_V6 ? &p->v6 : &p->v4;
}

/* Where the last 32 bits are. */
static size_t low_at(enum ip_family family)
{
	return ip_family_len(family) - sizeof(uint32_t);
}

static struct ip_addr address_at(const struct tun_prefix *prefix, uint32_t offset)
{
	struct ip_addr a = prefix->net;
	uint8_t *low = a.bytes + low_at(a.family);
	store_be32(low, load_be32(low) + offset);
	return a;
}

/* How far from the beginning; false: it isn't in the prefix, or further than can be counted. */
static bool offset_of(const struct tun_prefix *prefix, const struct ip_addr *addr, uint32_t *ret)
{
	size_t at = low_at(addr->family);
	if (!ip_addr_is_in(addr, &prefix->net, (unsigned int)at * 8))
		return false;
	*ret = load_be32(addr->bytes + at) - load_be32(prefix->net.bytes + at);
	return true;
}

bool tun_plan_contains(const struct tun_plan *p, const struct ip_addr *addr)
{
	const struct tun_prefix *prefix = tun_plan_prefix(p, addr->family);
	return addr->family != IP_FAMILY_NONE && ip_addr_is_in(addr, &prefix->net, prefix->bits);
}

/* Addresses of a prefix, as far as can be counted. */
static uint64_t size_of(const struct tun_prefix *prefix)
{
	size_t bits = ip_family_len(prefix->net.family) * 8 - prefix->bits;
	return UINT64_C(1) << MIN(bits, (size_t)LOW_BITS - 1);
}

unsigned int tun_plan_count(const struct tun_plan *p, enum ip_family family)
{
	const struct tun_prefix *prefix = tun_plan_prefix(p, family);
	uint64_t size = prefix->net.family == IP_FAMILY_NONE ? 0 : size_of(prefix);
	uint64_t ends = family == IP_FAMILY_V4 ? ENDS_V4 : FIRST_OURS;
	uint64_t each = size > ends ? (size - ends) / p->workers : 0;
	if (!p->keeps_source || each == 0)
		return (unsigned int)MIN(each, (uint64_t)TUN_PLAN_ADDRESSES);
	return (unsigned int)MIN(MAX(each / 2, (uint64_t)1), (uint64_t)TUN_PLAN_ADDRESSES_KEEP);
}

struct ip_addr tun_plan_address(const struct tun_plan *p, enum ip_family family,
				unsigned int worker, unsigned int at)
{
	return address_at(tun_plan_prefix(p, family),
			  FIRST_OURS + worker * tun_plan_count(p, family) + at);
}

struct ip_addr tun_plan_device(const struct tun_plan *p, enum ip_family family)
{
	return address_at(tun_plan_prefix(p, family), DEVICE);
}

bool tun_plan_may_keep(const struct tun_plan *p, const struct ip_addr *addr)
{
	const struct tun_prefix *prefix = tun_plan_prefix(p, addr->family);
	uint32_t offset = 0;
	if (!p->keeps_source || !tun_plan_contains(p, addr))
		return false;
	if (!offset_of(prefix, addr, &offset))
		return true;
	bool is_last = addr->family == IP_FAMILY_V4 && offset + 1 == size_of(prefix);
	return offset >= FIRST_OURS + p->workers * tun_plan_count(p, addr->family) && !is_last;
}
