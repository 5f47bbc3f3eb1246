/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses the routed mode has. Of each prefix the first is nobody's, the second the
 * device's; then come those that flows have as their source, as many for each worker, and what
 * remains is for users of the edge who keep theirs. No state, no I/O.
 */
#ifndef DAEMON_DATAPATH_TUN_PLAN_H
#define DAEMON_DATAPATH_TUN_PLAN_H

#include "util/addr.h"

enum {
	TUN_PLAN_PORT_FIRST = 1024,
	TUN_PLAN_PORTS = 65536 - TUN_PLAN_PORT_FIRST,
	TUN_PLAN_ADDRESSES = 256,    /* of a worker, at most */
	TUN_PLAN_ADDRESSES_KEEP = 4, /* … where users keep theirs */
};

struct tun_prefix {
	struct ip_addr net; /* family NONE: there is none */
	uint8_t bits;
};

struct tun_plan {
	struct tun_prefix v4, v6;
	bool keeps_source; /* of who has an address in the prefix that isn't ours */
	unsigned int workers;
	unsigned int port_first, ports; /* of UDP flows */
};

/* Of a family; its net's family is NONE where that isn't served. */
const struct tun_prefix *tun_plan_prefix(const struct tun_plan *p, enum ip_family family);
bool tun_plan_contains(const struct tun_plan *p, const struct ip_addr *addr);
/* Addresses that each worker has; 0: the prefix is too small. */
unsigned int tun_plan_count(const struct tun_plan *p, enum ip_family family);
/* One of them; at is less than that count. */
struct ip_addr tun_plan_address(const struct tun_plan *p, enum ip_family family,
				unsigned int worker, unsigned int at);
struct ip_addr tun_plan_device(const struct tun_plan *p, enum ip_family family);
/* Whether a user of the edge with this address keeps it. */
bool tun_plan_may_keep(const struct tun_plan *p, const struct ip_addr *addr);

#endif
