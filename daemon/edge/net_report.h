/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What on this host is in the way of private networks, said at the start: forwarding that is off,
 * chains of nftables that drop what nobody accepts. Nothing of it is changed. Used by net_host
 * only.
 */
#ifndef DAEMON_EDGE_NET_REPORT_H
#define DAEMON_EDGE_NET_REPORT_H

#include "util/addr.h"

struct log;
struct nl;

struct net_report {
	struct log *log;
	bool has_v4; /* there are prefixes of this family */
	bool has_v6;
};

/* nft: a netlink socket of nfnetlink. */
void net_report(const struct net_report *r, struct nl *nft);

#endif
