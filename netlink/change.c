/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket each for rtnetlink, nfnetlink and xfrm. Of a ruleset it is enough that something
 * happened; of neighbours there are many messages, so these are told with what they say; policies
 * of IPsec are counted, for they may only be asked for with a privilege.
 */
#include "netlink/change.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <linux/neighbour.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>

#include <libmnl/libmnl.h>

#include "netlink/event.h"
#include "util/macro.h"

enum {
	DATAGRAM_MAX = 32768,
	BUDGET = 64, /* datagrams of one socket in a read */
};

enum { FD_ROUTE, FD_RULESET, FD_POLICY };

struct change {
	int fds[CHANGE_FDS];
	unsigned int policies;
	alignas(struct nlmsghdr) uint8_t buf[DATAGRAM_MAX];
};

static int open_socket(int protocol, const unsigned int *groups)
{
	static const struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	_cleanup_(fd_closep) int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
		return -errno;
	for (; *groups; groups++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, groups, sizeof(*groups)) <
		    0)
			return -errno;
	return TAKE_FD(fd);
}

/* 1: it was the last answer. */
static int count_policies(struct change *c, size_t len)
{
	struct span left = span_of(c->buf, len);
	for (struct span m; (m = netlink_next_message(&left)).len > 0;) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)m.ptr;
		if (nlh->nlmsg_type == NLMSG_DONE)
			return 1;
		if (nlh->nlmsg_type == NLMSG_ERROR)
			return -EPERM;
		c->policies += nlh->nlmsg_type == XFRM_MSG_NEWPOLICY;
	}
	return 0;
}

/* Those that are there at the start. */
static int ask_policies(struct change *c)
{
	static const struct nlmsghdr all = {
		.nlmsg_len = sizeof(all),
		.nlmsg_type = XFRM_MSG_GETPOLICY,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
	};
	if (send(c->fds[FD_POLICY], &all, sizeof(all), 0) < 0)
		return -errno;
	int r = 0;
	while (r == 0) {
		ssize_t n = recv(c->fds[FD_POLICY], c->buf, sizeof(c->buf), 0);
		r = n < 0 ? -errno : count_policies(c, (size_t)n);
	}
	return MIN(r, 0);
}

/* A kernel without the protocol has nothing to tell. */
static int open_more(struct change *c, unsigned int index, int protocol, unsigned int group)
{
	const unsigned int groups[] = { group, 0 };
	int r = open_socket(protocol, groups);
	c->fds[index] = r < 0 ? -EBADF : r;
	return r == -EPROTONOSUPPORT ? 0 : MIN(r, 0);
}

int change_open(struct change **ret)
{
	static const unsigned int route[] = {
		RTNLGRP_LINK,        RTNLGRP_NEIGH,      RTNLGRP_IPV4_IFADDR,
		RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
		RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,  0,
	};
	_cleanup_(change_closep) struct change *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->fds[FD_RULESET] = c->fds[FD_POLICY] = -EBADF;
	c->fds[FD_ROUTE] = open_socket(NETLINK_ROUTE, route);
	if (c->fds[FD_ROUTE] < 0)
		return c->fds[FD_ROUTE];
	int r = open_more(c, FD_RULESET, NETLINK_NETFILTER, NFNLGRP_NFTABLES);
	if (r == 0)
		r = open_more(c, FD_POLICY, NETLINK_XFRM, XFRMNLGRP_POLICY);
	if (r == 0 && c->fds[FD_POLICY] >= 0)
		r = ask_policies(c);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

void change_close(struct change *c)
{
	if (!c)
		return;
	for (unsigned int i = 0; i < CHANGE_FDS; i++)
		(void)fd_close(c->fds[i]);
	free(c);
}

int change_fd(const struct change *c, unsigned int index)
{
	return c->fds[index];
}

/* ---- reading ---- */

static int parse_neighbour(const struct nlmsghdr *nlh, struct change_event *e)
{
	static constexpr unsigned int known =
		NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP;
	const struct ndmsg *nd = mnl_nlmsg_get_payload(nlh);
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*nd))
		return -EBADMSG;
	enum ip_family family = nd->ndm_family == AF_INET    ? IP_FAMILY_V4
				: nd->ndm_family == AF_INET6 ? IP_FAMILY_V6
							     : IP_FAMILY_NONE;
	if (family == IP_FAMILY_NONE)
		return -ENOMSG;
	e->kind = CHANGE_KIND_NEIGHBOUR;
	e->ifindex = (unsigned int)nd->ndm_ifindex;
	bool has_mac = false;
	struct span left = span_skip(span_of(nd, mnl_nlmsg_get_payload_len(nlh)), sizeof(*nd));
	for (const struct nlattr *attr; (attr = netlink_next_attr(&left));) {
		size_t len = mnl_attr_get_payload_len(attr);
		if (mnl_attr_get_type(attr) == NDA_DST && len == ip_family_len(family)) {
			e->addr = ip_addr_from(family, mnl_attr_get_payload(attr));
		} else if (mnl_attr_get_type(attr) == NDA_LLADDR && len == LOOKUP_MAC_LEN) {
			memcpy(e->mac, mnl_attr_get_payload(attr), LOOKUP_MAC_LEN);
			has_mac = true;
		}
	}
	e->is_known = has_mac && nd->ndm_state & known && nlh->nlmsg_type == RTM_NEWNEIGH;
	return e->addr.family == family ? 0 : -EBADMSG;
}

int change_parse(struct span message, struct change_event *ret)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)message.ptr;
	struct change_event e = {};
	int r = 0;
	switch (nlh->nlmsg_type) {
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		r = parse_neighbour(nlh, &e);
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		e.kind = CHANGE_KIND_LINK;
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
	case RTM_NEWRULE:
	case RTM_DELRULE:
		e.kind = CHANGE_KIND_WAY;
		break;
	default:
		r = -ENOMSG;
	}
	if (r == 0)
		*ret = e;
	return r;
}

bool change_has_policies(const struct change *c)
{
	return c->policies > 0;
}

static void take_policies(struct change *c, size_t len)
{
	struct span left = span_of(c->buf, len);
	for (struct span m; (m = netlink_next_message(&left)).len > 0;) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)m.ptr;
		if (nlh->nlmsg_type == XFRM_MSG_NEWPOLICY)
			c->policies++;
		else if (nlh->nlmsg_type == XFRM_MSG_DELPOLICY && c->policies > 0)
			c->policies--;
		else if (nlh->nlmsg_type == XFRM_MSG_FLUSHPOLICY)
			c->policies = 0;
	}
}

/* What a read has found so far of what is told once. */
struct findings {
	bool has_way, has_link, has_policy;
	change_fn take;
	void *user;
};

static void take_messages(const struct change *c, size_t len, struct findings *f)
{
	struct span left = span_of(c->buf, len);
	struct change_event e;
	for (struct span m; (m = netlink_next_message(&left)).len > 0;) {
		if (change_parse(m, &e) < 0)
			continue;
		if (e.kind == CHANGE_KIND_NEIGHBOUR)
			f->take(f->user, &e);
		f->has_way |= e.kind == CHANGE_KIND_WAY;
		f->has_link |= e.kind == CHANGE_KIND_LINK;
	}
}

static void read_socket(struct change *c, unsigned int index, struct findings *f)
{
	for (unsigned int i = 0; i < BUDGET; i++) {
		struct sockaddr_nl from = {};
		socklen_t from_len = sizeof(from);
		ssize_t n = recvfrom(c->fds[index], c->buf, sizeof(c->buf), MSG_TRUNC,
				     (struct sockaddr *)&from, &from_len);
		if (n < 0 && (errno == EAGAIN || errno == EBADF))
			return;
		/* Lost, cut, or of a ruleset: something has changed. What was lost of policies
		 * could have been a new one. */
		if (index == FD_POLICY && n >= 0 && (size_t)n <= sizeof(c->buf))
			take_policies(c, (size_t)n);
		else if (index == FD_POLICY)
			c->policies++;
		if (index == FD_POLICY)
			f->has_policy = true;
		else if (n < 0 || (size_t)n > sizeof(c->buf) || index == FD_RULESET)
			f->has_way = f->has_link = true;
		else if (from.nl_pid == 0)
			take_messages(c, (size_t)n, f);
	}
}

void change_read(struct change *c, change_fn take, void *user)
{
	struct findings f = { .take = take, .user = user };
	for (unsigned int i = 0; i < CHANGE_FDS; i++)
		if (c->fds[i] >= 0)
			read_socket(c, i, &f);
	if (f.has_policy)
		take(user, &(struct change_event){ .kind = CHANGE_KIND_POLICY,
						   .is_known = change_has_policies(c) });
	if (f.has_link)
		take(user, &(struct change_event){ .kind = CHANGE_KIND_LINK });
	else if (f.has_way)
		take(user, &(struct change_event){ .kind = CHANGE_KIND_WAY });
}
