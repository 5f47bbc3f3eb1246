/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks and says. A chain whose policy is to drop may still accept what is ours: that isn't known
 * without reading its rules as the kernel does, so it is a notice and no more.
 */
#include "daemon/edge/net_report.h"

#include <stdlib.h>

#include <linux/netlink.h>

#include "daemon/base/file.h"
#include "daemon/base/log.h"
#include "netlink/nft.h"
#include "netlink/nl.h"
#include "util/cleanup.h"

enum { MESSAGE_MAX = 256 };

static bool is_off(const char *sysctl)
{
	_cleanup_(freep) char *text = NULL;
	return file_read(sysctl, 16, &text, NULL) == 0 && text[0] == '0';
}

static void look_at_forwarding(const struct net_report *r)
{
	static const char v4[] = "/proc/sys/net/ipv4/ip_forward";
	static const char v6[] = "/proc/sys/net/ipv6/conf/all/forwarding";
	static const char text[] =
		"forwarding is off: by UDP and ICMP nobody but this host reaches "
		"private networks";
	if (r->has_v4 && is_off(v4))
		log_warning(r->log, "network", text, KV_STR("sysctl", v4));
	if (r->has_v6 && is_off(v6))
		log_warning(r->log, "network", text, KV_STR("sysctl", v6));
}

static int on_chain(void *user, struct span message)
{
	const struct net_report *r = user;
	struct nft_chain c;
	if (nft_chain_parse(message, &c) < 0 || !c.is_drop ||
	    (c.family == IP_FAMILY_V4 && !r->has_v4) || (c.family == IP_FAMILY_V6 && !r->has_v6))
		return 0;
	const char *family = c.family == IP_FAMILY_V4   ? "ip"
			     : c.family == IP_FAMILY_V6 ? "ip6"
							: "inet";
	if (c.hook == NFT_HOOK_FORWARD)
		log_warning(r->log, "network",
			    "what a chain doesn't accept isn't forwarded: UDP and ICMP of private "
			    "networks have to be",
			    KV_STR("family", family), KV_SPAN("table", c.table),
			    KV_SPAN("chain", c.name));
	else if (c.hook == NFT_HOOK_INPUT)
		log_warning(
			r->log, "network",
			"what a chain doesn't accept doesn't come in: TCP to private networks has to",
			KV_STR("family", family), KV_SPAN("table", c.table),
			KV_SPAN("chain", c.name));
	return 0;
}

void net_report(const struct net_report *report, struct nl *nft)
{
	alignas(struct nlmsghdr) uint8_t buf[MESSAGE_MAX];
	struct net_report r = *report;
	struct nl_builder b;
	look_at_forwarding(&r);
	nl_builder_init(&b, buf, sizeof(buf));
	nft_chains_ask(&b);
	int e = nl_dump(nft, &b, on_chain, &r);
	if (e < 0)
		log_info(r.log, "network", "cannot list the chains of nftables", KV_ERR(e));
}
