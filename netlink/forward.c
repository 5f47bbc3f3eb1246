/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keeps packets from being forwarded.
 */
#include "netlink/forward.h"

#include <fcntl.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "netlink/nl.h"
#include "util/cleanup.h"

enum { MESSAGE_MAX = 256 };

const char *forward_sysctl(enum ip_family family)
{
	return family == IP_FAMILY_V6 ? "/proc/sys/net/ipv6/conf/all/forwarding"
				      : "/proc/sys/net/ipv4/ip_forward";
}

bool forward_is_off(enum ip_family family)
{
	char first = '1';
	_cleanup_(fd_closep) int fd = open(forward_sysctl(family), O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &first, 1) == 1 && first == '0';
}

struct look {
	forward_chain_fn take;
	void *user;
};

static int on_chain(void *user, struct span message)
{
	const struct look *l = user;
	struct nft_chain c;
	if (nft_chain_parse(message, &c) == 0 && c.is_drop)
		l->take(l->user, &c);
	return 0;
}

int forward_dropping_chains(struct nl *nft, forward_chain_fn take, void *user)
{
	alignas(struct nlmsghdr) uint8_t buf[MESSAGE_MAX];
	struct look l = { .take = take, .user = user };
	struct nl_builder b;
	nl_builder_init(&b, buf, sizeof(buf));
	nft_chains_ask(&b);
	return nl_dump(nft, &b, on_chain, &l);
}
