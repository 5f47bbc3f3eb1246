/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What on this host keeps packets from being forwarded: the switch of a family, base chains of
 * nftables that drop what nobody accepts. Looks, changes nothing.
 */
#ifndef NETLINK_FORWARD_H
#define NETLINK_FORWARD_H

#include "netlink/nft.h"

struct nl;

/* The file of the switch. */
const char *forward_sysctl(enum ip_family family);
/* Whether it is off; false where it can't be read. */
bool forward_is_off(enum ip_family family);

/*
 * Calls take for each base chain whose policy is to drop, at any hook; that it does drop isn't
 * said: that isn't known without reading its rules as the kernel does. nft: a socket of
 * NETLINK_NETFILTER. 0 or what nl_dump() said.
 */
typedef void (*forward_chain_fn)(void *user, const struct nft_chain *chain);
[[nodiscard]] int forward_dropping_chains(struct nl *nft, forward_chain_fn take, void *user);

#endif
