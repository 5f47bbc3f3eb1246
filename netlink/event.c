/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink messages to events. libmnl walks the attributes; what it hands over is checked for its
 * length here, because a short one would be read past its end. Identity and contents are hashed, so
 * that who remembers objects needs 16 bytes for each whatever it is.
 */
#include "netlink/event.h"

#include <errno.h>
#include <net/if.h>

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include <libmnl/libmnl.h>

/* FNV-1a, 64 bits. The kernel is no adversary. */
static constexpr uint64_t hash_start = UINT64_C(0xcbf29ce484222325);

static uint64_t hash(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;
	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

static uint64_t hash_u32(uint64_t h, uint32_t v)
{
	return hash(h, &v, sizeof(v));
}

/* An attribute with its type, so that two of them can't be taken for each other. */
static uint64_t hash_attr(uint64_t h, const struct nlattr *attr)
{
	h = hash_u32(h, mnl_attr_get_type(attr));
	return hash(h, mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
}

/* The fixed part behind the header, or NULL when the message is too short for it. */
static const void *fixed_part(const struct nlmsghdr *nlh, size_t len)
{
	return mnl_nlmsg_get_payload_len(nlh) >= len ? mnl_nlmsg_get_payload(nlh) : NULL;
}

/* What follows it. (libmnl's own end of a message is rounded up to 4 bytes: too far for an odd
 * one.) */
static struct span attrs_of(const struct nlmsghdr *nlh, size_t fixed_len)
{
	return span_skip(span_of(mnl_nlmsg_get_payload(nlh), mnl_nlmsg_get_payload_len(nlh)),
			 fixed_len);
}

const struct nlattr *netlink_next_attr(struct span *left)
{
	const struct nlattr *attr = (const struct nlattr *)(const void *)left->ptr;
	if (!mnl_attr_ok(attr, (int)left->len))
		return NULL;
	*left = span_skip(*left, MNL_ALIGN(mnl_attr_get_len(attr)));
	return attr;
}

static bool is_u32(const struct nlattr *attr)
{
	return mnl_attr_get_payload_len(attr) == sizeof(uint32_t);
}

static enum ip_family family_of(uint8_t family)
{
	return family == AF_INET    ? IP_FAMILY_V4
	       : family == AF_INET6 ? IP_FAMILY_V6
				    : IP_FAMILY_NONE;
}

/* False when the attribute has another length than an address of this family. */
static bool read_addr(const struct nlattr *attr, enum ip_family family, struct ip_addr *ret)
{
	if (mnl_attr_get_payload_len(attr) != ip_family_len(family))
		return false;
	*ret = (struct ip_addr){ .family = family };
	memcpy(ret->bytes, mnl_attr_get_payload(attr), ip_family_len(family));
	return true;
}

/* Link-local or multicast: no way to an edge in another network begins there. */
static bool is_local_scope(const struct ip_addr *a)
{
	if (a->family == IP_FAMILY_V4)
		return a->bytes[0] >= 224 || (a->bytes[0] == 169 && a->bytes[1] == 254);
	return a->bytes[0] == 0xff || (a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80);
}

static int parse_link(const struct nlmsghdr *nlh, struct netlink_event *e)
{
	const struct ifinfomsg *info = fixed_part(nlh, sizeof(*info));
	if (!info || info->ifi_index <= 0)
		return -EBADMSG;
	static constexpr unsigned int running = IFF_UP | IFF_RUNNING;
	e->kind = NETLINK_EVENT_KIND_LINK;
	e->ifindex = (unsigned int)info->ifi_index;
	e->is_up = e->is_new && (info->ifi_flags & running) == running;
	/* Messages of a bridge about its ports (family AF_BRIDGE) repeat what was said before. */
	e->matters = !(info->ifi_flags & IFF_LOOPBACK) && info->ifi_family == AF_UNSPEC;
	e->key = hash_u32(hash_start, e->ifindex);
	e->value = e->is_up;
	return 0;
}

static int parse_address(const struct nlmsghdr *nlh, struct netlink_event *e)
{
	const struct ifaddrmsg *info = fixed_part(nlh, sizeof(*info));
	if (!info)
		return -EBADMSG;
	e->kind = NETLINK_EVENT_KIND_ADDRESS;
	e->family = family_of(info->ifa_family);
	if (e->family == IP_FAMILY_NONE)
		return -ENOMSG;
	e->ifindex = info->ifa_index;
	e->prefix_len = info->ifa_prefixlen;

	uint32_t flags = info->ifa_flags;
	struct ip_addr local = {}, address = {};
	struct span left = attrs_of(nlh, sizeof(*info));
	for (const struct nlattr *attr; (attr = netlink_next_attr(&left));) {
		uint16_t type = mnl_attr_get_type(attr);
		if (type == IFA_FLAGS && is_u32(attr))
			flags = mnl_attr_get_u32(attr);
		else if ((type == IFA_LOCAL && !read_addr(attr, e->family, &local)) ||
			 (type == IFA_ADDRESS && !read_addr(attr, e->family, &address)) ||
			 type == IFA_FLAGS)
			return -EBADMSG;
	}
	/* On a point-to-point link ADDRESS is the peer's. */
	e->addr = local.family ? local : address;
	if (e->addr.family == IP_FAMILY_NONE)
		return -EBADMSG;
	e->is_up = e->is_new && !(flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED));
	e->matters = info->ifa_scope < RT_SCOPE_LINK && !ip_addr_is_loopback(&e->addr);
	e->key = hash(hash_u32(hash_start, e->ifindex), e->addr.bytes, sizeof(e->addr.bytes));
	e->value = (uint64_t)e->is_up << 1 | !!(flags & IFA_F_DEPRECATED);
	return 0;
}

/* A route's attributes: its destination, and what makes it that route and no other. */
struct route_attrs {
	struct ip_addr dst;
	uint32_t table, priority, oif;
	uint64_t rest; /* hash of the others */
};

static bool read_u32(const struct nlattr *attr, uint32_t *ret)
{
	if (!is_u32(attr))
		return false;
	*ret = mnl_attr_get_u32(attr);
	return true;
}

static bool read_route_attr(const struct nlattr *attr, enum ip_family family, struct route_attrs *a)
{
	switch (mnl_attr_get_type(attr)) {
	case RTA_DST:
		return read_addr(attr, family, &a->dst);
	case RTA_TABLE:
		return read_u32(attr, &a->table);
	case RTA_PRIORITY:
		return read_u32(attr, &a->priority);
	case RTA_CACHEINFO: /* ages and lifetimes */
	case RTA_EXPIRES:
		return true;
	case RTA_OIF:
		if (!read_u32(attr, &a->oif))
			return false;
		break;
	default:
		break;
	}
	a->rest = hash_attr(a->rest, attr);
	return true;
}

static int parse_route(const struct nlmsghdr *nlh, struct netlink_event *e)
{
	const struct rtmsg *info = fixed_part(nlh, sizeof(*info));
	if (!info)
		return -EBADMSG;
	e->kind = NETLINK_EVENT_KIND_ROUTE;
	e->family = family_of(info->rtm_family);
	if (e->family == IP_FAMILY_NONE)
		return -ENOMSG;

	struct route_attrs a = {
		.dst = { .family = e->family },
		.table = info->rtm_table,
		.rest = hash_u32(hash_start, info->rtm_flags),
	};
	struct span left = attrs_of(nlh, sizeof(*info));
	for (const struct nlattr *attr; (attr = netlink_next_attr(&left));) {
		if (!read_route_attr(attr, e->family, &a))
			return -EBADMSG;
	}
	e->is_up = e->is_new;
	e->ifindex = a.oif;
	e->addr = a.dst;
	e->prefix_len = info->rtm_dst_len;
	e->matters = a.table != RT_TABLE_LOCAL && !(info->rtm_flags & RTM_F_CLONED) &&
		     !is_local_scope(&a.dst) && !ip_addr_is_loopback(&a.dst) &&
		     info->rtm_type != RTN_MULTICAST && info->rtm_type != RTN_ANYCAST;
	uint64_t key = hash(hash_start, a.dst.bytes, sizeof(a.dst.bytes));
	key = hash_u32(hash_u32(key, a.table), a.priority);
	e->key = hash_u32(hash_u32(key, info->rtm_dst_len), info->rtm_tos);
	e->value = hash_u32(hash_u32(a.rest, info->rtm_type), info->rtm_protocol);
	return 0;
}

/* mnl_nlmsg_ok() takes a length of 2 GiB and more for a negative one, and lets it pass. */
static bool is_whole(struct span s)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)s.ptr;
	return s.len >= sizeof(*nlh) && nlh->nlmsg_len >= sizeof(*nlh) && nlh->nlmsg_len <= s.len;
}

struct span netlink_next_message(struct span *left)
{
	if (!is_whole(*left))
		return (struct span){};
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)left->ptr;
	struct span message = span_first(*left, nlh->nlmsg_len);
	*left = span_skip(*left, NLMSG_ALIGN((size_t)nlh->nlmsg_len));
	return message;
}

int netlink_event_parse(struct span message, struct netlink_event *ret)
{
	static const struct {
		int (*parse)(const struct nlmsghdr *nlh, struct netlink_event *e);
		bool is_new;
	} types[] = {
		[RTM_NEWLINK] = { parse_link, true },    [RTM_DELLINK] = { parse_link, false },
		[RTM_NEWADDR] = { parse_address, true }, [RTM_DELADDR] = { parse_address, false },
		[RTM_NEWROUTE] = { parse_route, true },  [RTM_DELROUTE] = { parse_route, false },
	};
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)message.ptr;
	if (!is_whole(message))
		return -EBADMSG;
	if (nlh->nlmsg_type >= sizeof(types) / sizeof(types[0]) || !types[nlh->nlmsg_type].parse)
		return -ENOMSG;

	struct netlink_event e = { .is_new = types[nlh->nlmsg_type].is_new };
	int r = types[nlh->nlmsg_type].parse(nlh, &e);
	if (r < 0)
		return r;
	/* Objects of different kinds or families are never the same one. */
	e.key = hash_u32(e.key, (uint32_t)e.kind << 8 | e.family);
	*ret = e;
	return 0;
}
