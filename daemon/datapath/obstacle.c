/* SPDX-License-Identifier: Apache-2.0 */
/* What a frame would miss, or would meet that we don't know of. */
#include "daemon/datapath/obstacle.h"

#include <string.h>

enum { MTU_MAX = 1500 }; /* what is larger doesn't fit a chunk */

struct upper {
	unsigned int ifindex;
	bool is_found;
};

static void find_upper(void *user, const struct lookup_link *link)
{
	struct upper *u = user;
	/* The other end of a veth pair isn't on top of this one. */
	u->is_found |= link->lower == u->ifindex && link->ifindex != u->ifindex &&
		       strcmp(link->kind, "veth") != 0;
}

const char *obstacle_find(struct lookup *lookup, const struct lookup_link *link)
{
	struct upper upper = { .ifindex = link->ifindex };
	if (!link->is_ethernet)
		return "it is no Ethernet";
	if (link->kind[0] && strcmp(link->kind, "veth") != 0)
		return "it is no device of its own but a bridge, a VLAN, a tunnel or the like";
	if (link->master)
		return "it is a port of a bridge, a bond or the like";
	if (link->mtu > MTU_MAX)
		return "its MTU is over 1500";
	if (lookup_links(lookup, find_upper, &upper) < 0 || upper.is_found)
		return "another interface, such as a VLAN, lies on it";
	return NULL;
}
