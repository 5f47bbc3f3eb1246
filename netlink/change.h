/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells of everything that can change what a packet meets on its way out of this host or into it:
 * interfaces, addresses, routes, rules, neighbours, policies of IPsec, and the rulesets of
 * nftables. Unlike the monitor (monitor.h) it tells of each message at once: who goes around the
 * kernel must not be late.
 */
#ifndef NETLINK_CHANGE_H
#define NETLINK_CHANGE_H

#include "netlink/lookup.h"

enum change_kind : uint8_t {
	CHANGE_KIND_WAY,       /* routes, addresses, rules, rulesets, or messages were lost */
	CHANGE_KIND_LINK,      /* an interface, which may mean all of that too */
	CHANGE_KIND_NEIGHBOUR, /* one neighbour */
	CHANGE_KIND_POLICY,    /* policies of IPsec: is_known: there are some */
};

struct change_event {
	enum change_kind kind;
	unsigned int ifindex; /* NEIGHBOUR: where */
	struct ip_addr addr;  /* … who */
	bool is_known;        /* … mac is its address; else it has gone or doesn't answer */
	uint8_t mac[LOOKUP_MAC_LEN];
};

struct change;

/*
 * Joins the groups; those of nftables and IPsec need CAP_NET_ADMIN now, and nothing later. A kernel
 * without them has nothing to tell. 0, -EPERM, or what the kernel said.
 */
[[nodiscard]] int change_open(struct change **ret);
/* Accepts NULL. */
void change_close(struct change *c);
DEFINE_CLEANUP(struct change *, change_close)

enum { CHANGE_FDS = 3 };
/* Readable when change_read() has something to do. -EBADF: there is none. Borrowed. */
int change_fd(const struct change *c, unsigned int index);

/* Whether the host has policies of IPsec, as far as has been read. */
bool change_has_policies(const struct change *c);

typedef void (*change_fn)(void *user, const struct change_event *event);
/* Reads what is there, within a bound; several of one kind but NEIGHBOUR are told once. */
void change_read(struct change *c, change_fn take, void *user);

/* Reads one message of rtnetlink: 0, -ENOMSG (about something else), -EBADMSG. */
[[nodiscard]] int change_parse(struct span message, struct change_event *ret);

#endif
