/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects to rtnetlink messages (rtnetlink(7)). Lines are written for rules and local routes alone:
 * everything else hangs on a device that goes with its descriptor.
 */
#include "netlink/object.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

enum { FLAGS_NEW = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL };

static uint8_t af_of(enum ip_family family)
{
	return family == IP_FAMILY_V6 ? AF_INET6 : AF_INET;
}

static struct span addr_span(const struct ip_addr *a)
{
	return span_of(a->bytes, ip_family_len(a->family));
}

static void write_link(struct nl_builder *b, const struct netlink_object *o, bool is_new)
{
	const struct ifinfomsg info = {
		.ifi_family = AF_UNSPEC,
		.ifi_index = (int)o->ifindex,
		.ifi_flags = is_new ? IFF_UP : 0,
		.ifi_change = IFF_UP,
	};
	nl_begin(b, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, span_of(&info, sizeof(info)));
	if (is_new && o->mtu)
		nl_put_u32(b, IFLA_MTU, o->mtu);
}

static void write_address(struct nl_builder *b, const struct netlink_object *o, bool is_new)
{
	const struct ifaddrmsg info = {
		.ifa_family = af_of(o->addr.family),
		.ifa_prefixlen = o->prefix_len,
		.ifa_flags = o->addr.family == IP_FAMILY_V6 ? IFA_F_NODAD : 0,
		.ifa_scope = RT_SCOPE_UNIVERSE,
		.ifa_index = o->ifindex,
	};
	nl_begin(b, is_new ? RTM_NEWADDR : RTM_DELADDR,
		 is_new ? FLAGS_NEW : NLM_F_REQUEST | NLM_F_ACK, span_of(&info, sizeof(info)));
	nl_put(b, IFA_LOCAL, addr_span(&o->addr));
	nl_put(b, IFA_ADDRESS, addr_span(&o->addr));
}

static void write_route(struct nl_builder *b, const struct netlink_object *o, bool is_new)
{
	const struct rtmsg info = {
		.rtm_family = af_of(o->family),
		.rtm_dst_len = o->prefix_len,
		.rtm_table = RT_TABLE_UNSPEC, /* the attribute says */
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = o->is_local ? RT_SCOPE_HOST
			     : is_new    ? RT_SCOPE_LINK
					 : RT_SCOPE_NOWHERE,
		.rtm_type = o->is_local ? RTN_LOCAL : RTN_UNICAST,
	};
	nl_begin(b, is_new ? RTM_NEWROUTE : RTM_DELROUTE,
		 is_new ? FLAGS_NEW : NLM_F_REQUEST | NLM_F_ACK, span_of(&info, sizeof(info)));
	nl_put_u32(b, RTA_TABLE, o->table ? o->table : RT_TABLE_MAIN);
	if (o->prefix_len)
		nl_put(b, RTA_DST, addr_span(&o->addr));
	if (o->ifindex)
		nl_put_u32(b, RTA_OIF, o->ifindex);
}

static void write_rule(struct nl_builder *b, const struct netlink_object *o, bool is_new)
{
	const struct fib_rule_hdr info = {
		.family = af_of(o->family),
		.table = RT_TABLE_UNSPEC, /* the attribute says */
		.action = FR_ACT_TO_TBL,
	};
	nl_begin(b, is_new ? RTM_NEWRULE : RTM_DELRULE,
		 is_new ? FLAGS_NEW : NLM_F_REQUEST | NLM_F_ACK, span_of(&info, sizeof(info)));
	nl_put_u32(b, FRA_PRIORITY, o->priority);
	nl_put_u32(b, FRA_FWMARK, o->mark);
	nl_put_u32(b, FRA_FWMASK, UINT32_MAX);
	nl_put_u32(b, FRA_TABLE, o->table);
}

static void write_object(struct nl_builder *b, const struct netlink_object *o, bool is_new)
{
	static void (*const writers[])(struct nl_builder *, const struct netlink_object *, bool) = {
		[NETLINK_OBJECT_LINK_UP] = write_link,
		[NETLINK_OBJECT_ADDRESS] = write_address,
		[NETLINK_OBJECT_ROUTE] = write_route,
		[NETLINK_OBJECT_RULE] = write_rule,
	};
	writers[o->kind](b, o, is_new);
}

void netlink_object_make(struct nl_builder *b, const struct netlink_object *o)
{
	write_object(b, o, true);
}

void netlink_object_remove(struct nl_builder *b, const struct netlink_object *o)
{
	write_object(b, o, false);
}

bool netlink_object_outlives(const struct netlink_object *o)
{
	return o->kind == NETLINK_OBJECT_RULE || (o->kind == NETLINK_OBJECT_ROUTE && o->is_local);
}

void netlink_object_print(struct packer *p, const struct netlink_object *o)
{
	char line[NETLINK_OBJECT_LINE_MAX];
	if (o->kind == NETLINK_OBJECT_ROUTE)
		(void)snprintf(line, sizeof(line), "local %u table %u\n", (unsigned int)o->family,
			       o->table);
	else
		(void)snprintf(line, sizeof(line), "rule %u priority %u mark %u table %u\n",
			       (unsigned int)o->family, o->priority, o->mark, o->table);
	packer_str(p, line);
}

/* "WORD NUMBER" off the front of a line, with the blank before it. */
static bool take_field(struct span *line, const char *word, uint32_t *ret)
{
	struct span name = span_str(word);
	if (!span_starts_with(*line, name))
		return false;
	*line = span_skip(*line, name.len);
	uint64_t v = 0;
	size_t digits = 0;
	for (; digits < line->len && line->ptr[digits] >= '0' && line->ptr[digits] <= '9' &&
	       v <= UINT32_MAX;
	     digits++)
		v = v * 10 + (uint64_t)(line->ptr[digits] - '0');
	if (digits == 0 || v > UINT32_MAX)
		return false;
	*line = span_skip(*line, digits);
	*ret = (uint32_t)v;
	return true;
}

int netlink_object_read(struct span *text, struct netlink_object *ret)
{
	if (text->len == 0)
		return -ENODATA;
	size_t len = span_find(*text, '\n');
	if (len == text->len)
		return -EBADMSG;
	struct span line = span_first(*text, len);
	uint32_t family = 0;
	bool is_local = span_starts_with(line, SPAN_LIT("local "));
	struct netlink_object o = {
		.kind = is_local ? NETLINK_OBJECT_ROUTE : NETLINK_OBJECT_RULE,
		.is_local = is_local,
	};
	bool is_known = is_local ? take_field(&line, "local ", &family)
				 : take_field(&line, "rule ", &family) &&
					   take_field(&line, " priority ", &o.priority) &&
					   take_field(&line, " mark ", &o.mark);
	if (!is_known || !take_field(&line, " table ", &o.table) || line.len > 0 ||
	    (family != IP_FAMILY_V4 && family != IP_FAMILY_V6))
		return -EBADMSG;
	o.family = (enum ip_family)family;
	*ret = o;
	*text = span_skip(*text, len + 1);
	return 0;
}
