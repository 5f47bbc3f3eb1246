/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel says about links, addresses and routes (rtnetlink(7)), as values: one message in,
 * one event out. No I/O.
 */
#ifndef NETLINK_EVENT_H
#define NETLINK_EVENT_H

#include "util/addr.h"

enum netlink_event_kind : uint8_t {
	NETLINK_EVENT_KIND_INVALID_,
	NETLINK_EVENT_KIND_LINK,
	NETLINK_EVENT_KIND_ADDRESS,
	NETLINK_EVENT_KIND_ROUTE,
};

struct netlink_event {
	enum netlink_event_kind kind;
	bool is_new;           /* there or changed; false: it has gone */
	bool is_up;            /* LINK: packets pass. ADDRESS: may be a source. ROUTE: always */
	bool matters;          /* packets to another host can depend on it */
	enum ip_family family; /* NONE for a link */
	unsigned int ifindex;  /* 0: a route without a device of its own */
	struct ip_addr addr;   /* ADDRESS: its own. ROUTE: the destination, 0 for the default one */
	uint8_t prefix_len;    /* bits of addr */
	uint64_t key;          /* the same for every message about this object */
	uint64_t value;        /* the same while nothing of it changes that we look at */
};

struct nlattr;

/* Takes the first message out of a datagram; empty when no whole one is left. */
struct span netlink_next_message(struct span *left);
/* Takes the first attribute out of what follows a message's fixed part, or out of a nest; NULL when
 * no whole one is left. */
const struct nlattr *netlink_next_attr(struct span *left);

/*
 * Reads one message: header, fixed part, attributes.
 *
 * message: aligned as the kernel gives it (4 bytes), exactly nlmsg_len long.
 *
 * Loopback, link-local and multicast destinations, the table of own addresses and cached routes
 * don't matter. Lifetimes are no part of the value: an address or route that is only announced
 * again stays the same.
 *
 * Returns 0, -ENOMSG for a message that is about something else, -EBADMSG when it is malformed.
 */
[[nodiscard]] int netlink_event_parse(struct span message, struct netlink_event *ret);

#endif
