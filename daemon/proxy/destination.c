/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses may the edge reach? Ranges that lead back to this host or its link are apart: an
 * entry that was meant for a network shouldn't open them by the way.
 */
#include "daemon/proxy/destination.h"

#include "daemon/conf/conf.h"
#include "util/macro.h"

enum range : uint8_t {
	RANGE_ORDINARY,
	RANGE_LOCAL, /* loopback and link-local */
	RANGE_NEVER,
};

struct row {
	uint8_t bytes[2];
	uint8_t bits;
	enum ip_family family;
	enum range range;
};

/* The first that fits decides. */
static const struct row rows[] = {
	{ { 0 }, 8, IP_FAMILY_V4, RANGE_NEVER },   /* "this host", RFC 1122 §3.2.1.3 */
	{ { 127 }, 8, IP_FAMILY_V4, RANGE_LOCAL }, /* loopback */
	{ { 169, 254 }, 16, IP_FAMILY_V4, RANGE_LOCAL },
	{ { 224 }, 3, IP_FAMILY_V4, RANGE_NEVER }, /* multicast, reserved, broadcast */
	{ { 0xfe, 0x80 }, 10, IP_FAMILY_V6, RANGE_LOCAL },
	{ { 0xff }, 8, IP_FAMILY_V6, RANGE_NEVER }, /* multicast */
};

static struct conf_prefix prefix_of(const struct row *row)
{
	struct conf_prefix p = { .ip.family = row->family, .bits = row->bits };
	memcpy(p.ip.bytes, row->bytes, sizeof(row->bytes));
	return p;
}

static enum range range_of(const struct ip_addr *addr, struct conf_prefix *ret)
{
	if (ip_addr_is_any(addr))
		return RANGE_NEVER;
	if (addr->family == IP_FAMILY_V6 && ip_addr_is_loopback(addr)) {
		*ret = (struct conf_prefix){ .ip = *addr, .bits = 128 };
		return RANGE_LOCAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		*ret = prefix_of(&rows[i]);
		if (conf_prefix_contains(ret, addr))
			return rows[i].range;
	}
	return RANGE_ORDINARY;
}

static bool contains(const struct conf_prefix *list, size_t count, const struct ip_addr *addr)
{
	for (size_t i = 0; i < count; i++)
		if (conf_prefix_contains(&list[i], addr))
			return true;
	return false;
}

/* An entry that has the address and lies within the range. */
static bool is_meant(const struct conf_network *n, const struct ip_addr *addr,
		     const struct conf_prefix *range)
{
	for (size_t i = 0; i < n->allow_count; i++)
		if (conf_prefix_contains(&n->allow[i], addr) &&
		    conf_prefix_contains(range, &n->allow[i].ip) && n->allow[i].bits >= range->bits)
			return true;
	return false;
}

/* An entry that has the address and isn't the whole world. */
static bool is_named(const struct conf_network *n, const struct ip_addr *addr)
{
	for (size_t i = 0; i < n->allow_count; i++)
		if (n->allow[i].bits > 0 && conf_prefix_contains(&n->allow[i], addr))
			return true;
	return false;
}

bool destination_is_allowed(const struct conf *conf, const struct ip_addr *addr, bool is_own)
{
	const struct conf_network *n = &conf->network;
	struct ip_addr a = ip_addr_unmap(*addr);
	struct conf_prefix range = {};
	enum range kind = range_of(&a, &range);
	if (kind == RANGE_NEVER || contains(n->deny, n->deny_count, &a))
		return false;
	if (kind == RANGE_LOCAL)
		return is_meant(n, &a, &range);
	if (is_own)
		return is_named(n, &a);
	if (!n->allow_count)
		return conf->edge.kind == CONF_EDGE_KIND_VENDOR;
	return contains(n->allow, n->allow_count, &a);
}
