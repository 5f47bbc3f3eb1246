/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks and says. A chain whose policy is to drop may still accept what is ours: that isn't known
 * without reading its rules as the kernel does, so it is a notice and no more.
 */
#include "daemon/edge/net_report.h"

#include "daemon/base/log.h"
#include "netlink/forward.h"

static void look_at_forwarding(const struct net_report *r)
{
	static const char text[] =
		"forwarding is off: by UDP and ICMP nobody but this host reaches "
		"private networks";
	if (r->has_v4 && forward_is_off(IP_FAMILY_V4))
		log_warning(r->log, "network", text,
			    KV_STR("sysctl", forward_sysctl(IP_FAMILY_V4)));
	if (r->has_v6 && forward_is_off(IP_FAMILY_V6))
		log_warning(r->log, "network", text,
			    KV_STR("sysctl", forward_sysctl(IP_FAMILY_V6)));
}

static void on_chain(void *user, const struct nft_chain *c)
{
	const struct net_report *r = user;
	if ((c->family == IP_FAMILY_V4 && !r->has_v4) || (c->family == IP_FAMILY_V6 && !r->has_v6))
		return;
	const char *family = c->family == IP_FAMILY_V4   ? "ip"
			     : c->family == IP_FAMILY_V6 ? "ip6"
							 : "inet";
	if (c->hook == NFT_HOOK_FORWARD)
		log_warning(r->log, "network",
			    "what a chain doesn't accept isn't forwarded: UDP and ICMP of private "
			    "networks have to be",
			    KV_STR("family", family), KV_SPAN("table", c->table),
			    KV_SPAN("chain", c->name));
	else if (c->hook == NFT_HOOK_INPUT)
		log_warning(
			r->log, "network",
			"what a chain doesn't accept doesn't come in: TCP to private networks has to",
			KV_STR("family", family), KV_SPAN("table", c->table),
			KV_SPAN("chain", c->name));
}

void net_report(const struct net_report *report, struct nl *nft)
{
	struct net_report r = *report;
	look_at_forwarding(&r);
	int e = forward_dropping_chains(nft, on_chain, &r);
	if (e < 0)
		log_info(r.log, "network", "cannot list the chains of nftables", KV_ERR(e));
}
