/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request, its answers at once: the kernel handles a request while it is sent, and a dump while
 * it is read, so the socket is never found empty before the end.
 */
#include "netlink/lookup.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <libmnl/libmnl.h>

#include "netlink/event.h"
#include "util/endian.h"
#include "util/macro.h"

enum {
	ANSWER_MAX = 32768,
	REQUEST_MAX = 256,
	DUMP_MAX = 4096, /* datagrams of one dump */
};

struct lookup {
	int fd;
	uint32_t seq;
	alignas(struct nlmsghdr) uint8_t answer[ANSWER_MAX];
};

/* What becomes of an answer. Negative: it can't be used. */
typedef int (*answer_fn)(void *user, const struct nlmsghdr *nlh);

int lookup_new(int fd, struct lookup **ret)
{
	struct lookup *l = calloc(1, sizeof(*l));
	if (!l) {
		(void)fd_close(fd);
		return -ENOMEM;
	}
	l->fd = fd;
	*ret = l;
	return 0;
}

int lookup_open(struct lookup **ret)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	/* So that what isn't understood in a request for a dump is refused and not overlooked. */
	static const int on = 1;
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	return lookup_new(fd, ret);
}

void lookup_close(struct lookup *l)
{
	if (!l)
		return;
	(void)fd_close(l->fd);
	free(l);
}

/* ---- requests and answers ---- */

static int send_request(struct lookup *l, struct nlmsghdr *nlh)
{
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	nlh->nlmsg_seq = ++l->seq;
	nlh->nlmsg_flags |= NLM_F_REQUEST;
	ssize_t n = sendto(l->fd, nlh, nlh->nlmsg_len, 0, (const struct sockaddr *)&kernel,
			   sizeof(kernel));
	return n < 0 ? -errno : 0;
}

static int error_in(const struct nlmsghdr *nlh)
{
	int error = 0;
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(error))
		return -EBADMSG;
	memcpy(&error, mnl_nlmsg_get_payload(nlh), sizeof(error));
	return MIN(error, 0);
}

/* 1: the last answer has come. */
static int take_datagram(struct lookup *l, size_t len, answer_fn take, void *user)
{
	struct span left = span_of(l->answer, len);
	for (struct span m; (m = netlink_next_message(&left)).len > 0;) {
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)m.ptr;
		if (nlh->nlmsg_seq != l->seq)
			continue; /* of a question that was given up */
		if (nlh->nlmsg_type == NLMSG_DONE)
			return 1;
		int r = nlh->nlmsg_type == NLMSG_ERROR ? error_in(nlh) : take(user, nlh);
		if (r < 0)
			return r;
		if (!(nlh->nlmsg_flags & NLM_F_MULTI))
			return 1;
	}
	return 0;
}

static int ask(struct lookup *l, struct nlmsghdr *nlh, answer_fn take, void *user)
{
	int r = send_request(l, nlh);
	for (unsigned int i = 0; r == 0 && i < DUMP_MAX; i++) {
		ssize_t n = recv(l->fd, l->answer, sizeof(l->answer), MSG_TRUNC);
		if (n < 0)
			return -errno;
		if ((size_t)n > sizeof(l->answer))
			return -EMSGSIZE;
		r = take_datagram(l, (size_t)n, take, user);
	}
	return MIN(r, 0);
}

static struct nlmsghdr *request(uint8_t buf[REQUEST_MAX], uint16_t type)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = type;
	return nlh;
}

/* The fixed part of an answer of this type, or NULL. */
static const void *fixed_part(const struct nlmsghdr *nlh, uint16_t type, size_t len)
{
	if (nlh->nlmsg_type != type || mnl_nlmsg_get_payload_len(nlh) < len)
		return NULL;
	return mnl_nlmsg_get_payload(nlh);
}

static const struct nlattr *find_in(struct span attrs, uint16_t type)
{
	const struct nlattr *attr = NULL;
	while ((attr = netlink_next_attr(&attrs)) && mnl_attr_get_type(attr) != type)
		;
	return attr;
}

static const struct nlattr *find_attr(const struct nlmsghdr *nlh, size_t fixed_len, uint16_t type)
{
	return find_in(
		span_skip(span_of(mnl_nlmsg_get_payload(nlh), mnl_nlmsg_get_payload_len(nlh)),
			  MNL_ALIGN(fixed_len)),
		type);
}

static const struct nlattr *find_nested(const struct nlattr *nest, uint16_t type)
{
	return find_in(span_of(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest)), type);
}

static uint32_t u32_in(const struct nlattr *attr, uint32_t otherwise)
{
	return attr && mnl_attr_get_payload_len(attr) == sizeof(uint32_t) ? mnl_attr_get_u32(attr)
									  : otherwise;
}

static bool addr_in(const struct nlattr *attr, enum ip_family family, struct ip_addr *ret)
{
	if (!attr || mnl_attr_get_payload_len(attr) != ip_family_len(family))
		return false;
	*ret = ip_addr_from(family, mnl_attr_get_payload(attr));
	return true;
}

static uint8_t af_of(enum ip_family family)
{
	return family == IP_FAMILY_V4 ? AF_INET : AF_INET6;
}

/* ---- routes ---- */

/* A router of the other family stands in an attribute of its own. */
static bool via_in(const struct nlattr *attr, struct ip_addr *ret)
{
	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(struct rtvia))
		return false;
	const struct rtvia *via = mnl_attr_get_payload(attr);
	enum ip_family family = via->rtvia_family == AF_INET ? IP_FAMILY_V4 : IP_FAMILY_V6;
	if (mnl_attr_get_payload_len(attr) != sizeof(*via) + ip_family_len(family))
		return false;
	*ret = ip_addr_from(family, via->rtvia_addr);
	return true;
}

static int take_route(void *user, const struct nlmsghdr *nlh)
{
	struct lookup_route *route = user;
	const struct rtmsg *rt = fixed_part(nlh, RTM_NEWROUTE, sizeof(*rt));
	if (!rt)
		return -EBADMSG;
	uint32_t table = u32_in(find_attr(nlh, sizeof(*rt), RTA_TABLE), rt->rtm_table);
	const struct nlattr *metrics = find_attr(nlh, sizeof(*rt), RTA_METRICS);
	const struct nlattr *gateway = find_attr(nlh, sizeof(*rt), RTA_GATEWAY);
	route->ifindex = u32_in(find_attr(nlh, sizeof(*rt), RTA_OIF), 0);
	route->mtu = metrics ? u32_in(find_nested(metrics, RTAX_MTU), 0) : 0;
	if (!via_in(find_attr(nlh, sizeof(*rt), RTA_VIA), &route->next) && gateway &&
	    !addr_in(gateway, route->next.family, &route->next))
		return -EBADMSG;
	route->is_plain = rt->rtm_type == RTN_UNICAST &&
			  (table == RT_TABLE_MAIN || table == RT_TABLE_LOCAL) &&
			  !find_attr(nlh, sizeof(*rt), RTA_ENCAP);
	return 0;
}

int lookup_route(struct lookup *l, const struct ip_port *local, const struct ip_port *remote,
		 struct lookup_route *ret)
{
	alignas(struct nlmsghdr) uint8_t buf[REQUEST_MAX];
	enum ip_family family = remote->ip.family;
	struct lookup_route route = { .next = remote->ip };
	struct nlmsghdr *nlh = request(buf, RTM_GETROUTE);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	rt->rtm_family = af_of(family);
	rt->rtm_dst_len = rt->rtm_src_len = (uint8_t)(ip_family_len(family) * 8);
	/* IPv6 names the table unasked, and refuses to be asked. */
	rt->rtm_flags = family == IP_FAMILY_V4 ? RTM_F_LOOKUP_TABLE : 0;
	mnl_attr_put(nlh, RTA_DST, ip_family_len(family), remote->ip.bytes);
	mnl_attr_put(nlh, RTA_SRC, ip_family_len(family), local->ip.bytes);
	mnl_attr_put_u8(nlh, RTA_IP_PROTO, IPPROTO_UDP);
	mnl_attr_put_u16(nlh, RTA_SPORT, htobe16(local->port));
	mnl_attr_put_u16(nlh, RTA_DPORT, htobe16(remote->port));
	if (remote->scope)
		mnl_attr_put_u32(nlh, RTA_OIF, remote->scope);
	int r = ask(l, nlh, take_route, &route);
	if (r == 0)
		*ret = route;
	return r;
}

struct defaults {
	lookup_default_fn take;
	void *user;
};

static int take_default(void *user, const struct nlmsghdr *nlh)
{
	const struct defaults *d = user;
	const struct rtmsg *rt = fixed_part(nlh, RTM_NEWROUTE, sizeof(*rt));
	if (!rt)
		return -EBADMSG;
	uint32_t oif = u32_in(find_attr(nlh, sizeof(*rt), RTA_OIF), 0);
	if (rt->rtm_dst_len == 0 && rt->rtm_table == RT_TABLE_MAIN && oif)
		d->take(d->user, oif);
	return 0;
}

int lookup_defaults(struct lookup *l, lookup_default_fn take, void *user)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct defaults d = { take, user };
	int r = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(families) && r == 0; i++) {
		alignas(struct nlmsghdr) uint8_t buf[REQUEST_MAX];
		struct nlmsghdr *nlh = request(buf, RTM_GETROUTE);
		struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
		nlh->nlmsg_flags = NLM_F_DUMP;
		rt->rtm_family = families[i];
		r = ask(l, nlh, take_default, &d);
	}
	return r;
}

/* ---- neighbours ---- */

struct neighbour {
	struct lookup_neighbour about;
	bool is_known;
};

/* The kernel counts in hundredths of a second, for everybody. */
static nsec_t age_in(const struct nlattr *attr)
{
	struct nda_cacheinfo info;
	if (!attr || mnl_attr_get_payload_len(attr) < sizeof(info))
		return NSEC_NEVER;
	memcpy(&info, mnl_attr_get_payload(attr), sizeof(info));
	return info.ndm_confirmed * (NSEC_PER_SEC / 100);
}

static int take_neighbour(void *user, const struct nlmsghdr *nlh)
{
	static constexpr unsigned int fixed = NUD_PERMANENT | NUD_NOARP;
	static constexpr unsigned int known =
		NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | fixed;
	struct neighbour *n = user;
	const struct ndmsg *nd = fixed_part(nlh, RTM_NEWNEIGH, sizeof(*nd));
	if (!nd)
		return -EBADMSG;
	const struct nlattr *mac = find_attr(nlh, sizeof(*nd), NDA_LLADDR);
	n->is_known =
		(nd->ndm_state & known) && mac && mnl_attr_get_payload_len(mac) == LOOKUP_MAC_LEN;
	if (n->is_known)
		memcpy(n->about.mac, mnl_attr_get_payload(mac), LOOKUP_MAC_LEN);
	n->about.is_fixed = nd->ndm_state & fixed;
	n->about.confirmed = age_in(find_attr(nlh, sizeof(*nd), NDA_CACHEINFO));
	return 0;
}

int lookup_neighbour(struct lookup *l, unsigned int ifindex, const struct ip_addr *next,
		     struct lookup_neighbour *ret)
{
	alignas(struct nlmsghdr) uint8_t buf[REQUEST_MAX];
	struct neighbour n = {};
	struct nlmsghdr *nlh = request(buf, RTM_GETNEIGH);
	struct ndmsg *nd = mnl_nlmsg_put_extra_header(nlh, sizeof(*nd));
	nd->ndm_family = af_of(next->family);
	nd->ndm_ifindex = (int)ifindex;
	mnl_attr_put(nlh, NDA_DST, ip_family_len(next->family), next->bytes);
	int r = ask(l, nlh, take_neighbour, &n);
	if (r < 0)
		return r;
	if (!n.is_known)
		return -EHOSTUNREACH;
	*ret = n.about;
	return 0;
}

/* ---- interfaces ---- */

static void copy_text(const struct nlattr *attr, char *ret, size_t size)
{
	size_t len = attr ? MIN((size_t)mnl_attr_get_payload_len(attr), size - 1) : 0;
	if (len > 0)
		memcpy(ret, mnl_attr_get_payload(attr), len);
	ret[len] = '\0';
}

static int read_link(const struct nlmsghdr *nlh, struct lookup_link *ret)
{
	const struct ifinfomsg *info = fixed_part(nlh, RTM_NEWLINK, sizeof(*info));
	if (!info)
		return -EBADMSG;
	const struct nlattr *mac = find_attr(nlh, sizeof(*info), IFLA_ADDRESS);
	const struct nlattr *about = find_attr(nlh, sizeof(*info), IFLA_LINKINFO);
	*ret = (struct lookup_link){
		.ifindex = (unsigned int)info->ifi_index,
		.mtu = u32_in(find_attr(nlh, sizeof(*info), IFLA_MTU), 0),
		.master = u32_in(find_attr(nlh, sizeof(*info), IFLA_MASTER), 0),
		.is_up = info->ifi_flags & IFF_UP && info->ifi_flags & IFF_RUNNING,
		.is_ethernet = info->ifi_type == ARPHRD_ETHER && mac &&
			       mnl_attr_get_payload_len(mac) == LOOKUP_MAC_LEN,
	};
	if (ret->is_ethernet)
		memcpy(ret->mac, mnl_attr_get_payload(mac), LOOKUP_MAC_LEN);
	/* The number is of another network's interface when that is named. */
	if (!find_attr(nlh, sizeof(*info), IFLA_LINK_NETNSID))
		ret->lower = u32_in(find_attr(nlh, sizeof(*info), IFLA_LINK), 0);
	copy_text(find_attr(nlh, sizeof(*info), IFLA_IFNAME), ret->name, sizeof(ret->name));
	copy_text(about ? find_nested(about, IFLA_INFO_KIND) : NULL, ret->kind, sizeof(ret->kind));
	return 0;
}

static int take_link(void *user, const struct nlmsghdr *nlh)
{
	return read_link(nlh, user);
}

int lookup_link(struct lookup *l, const char *name, struct lookup_link *ret)
{
	alignas(struct nlmsghdr) uint8_t buf[REQUEST_MAX];
	struct lookup_link link = {};
	struct nlmsghdr *nlh = request(buf, RTM_GETLINK);
	(void)mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	if (strlen(name) >= IF_NAMESIZE)
		return -ENODEV;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	int r = ask(l, nlh, take_link, &link);
	if (r == 0)
		*ret = link;
	return r;
}

struct links {
	lookup_link_fn take;
	void *user;
};

static int take_links(void *user, const struct nlmsghdr *nlh)
{
	const struct links *all = user;
	struct lookup_link link;
	int r = read_link(nlh, &link);
	if (r == 0)
		all->take(all->user, &link);
	return r;
}

int lookup_links(struct lookup *l, lookup_link_fn take, void *user)
{
	alignas(struct nlmsghdr) uint8_t buf[REQUEST_MAX];
	struct links all = { take, user };
	struct nlmsghdr *nlh = request(buf, RTM_GETLINK);
	(void)mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	nlh->nlmsg_flags = NLM_F_DUMP;
	return ask(l, nlh, take_links, &all);
}
