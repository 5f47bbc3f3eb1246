/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to the kernel about the way to a host (rtnetlink(7)): route, neighbour, interface. The
 * kernel answers within the call, so nothing waits. One thread; needs no capability.
 */
#ifndef NETLINK_LOOKUP_H
#define NETLINK_LOOKUP_H

#include <net/if.h>

#include "util/addr.h"
#include "util/cleanup.h"
#include "util/time.h"

enum { LOOKUP_MAC_LEN = 6, LOOKUP_KIND_LEN = 16 };

struct lookup;

/* 0 or a negative errno. */
[[nodiscard]] int lookup_open(struct lookup **ret);
/* Over a socket that keeps messages apart, which is taken: for tests. 0 or -ENOMEM. */
[[nodiscard]] int lookup_new(int fd, struct lookup **ret);
/* Accepts NULL. */
void lookup_close(struct lookup *l);
DEFINE_CLEANUP(struct lookup *, lookup_close)

struct lookup_route {
	unsigned int ifindex; /* 0: to nowhere */
	unsigned int mtu;     /* of this way; 0: the interface's */
	struct ip_addr next;  /* who on that link is sent to: the host or a router */
	bool is_plain;        /* to one host, from the ordinary tables, as it is */
};
/* How UDP from an own address and port to a remote one goes: 0, -ENETUNREACH, -EHOSTUNREACH … */
[[nodiscard]] int lookup_route(struct lookup *l, const struct ip_port *local,
			       const struct ip_port *remote, struct lookup_route *ret);

struct lookup_neighbour {
	uint8_t mac[LOOKUP_MAC_LEN];
	bool is_fixed;    /* the operator has said it: nobody is asked */
	nsec_t confirmed; /* so long ago it was last heard of, in steps of 10 ms */
};
/* What is known of a neighbour: 0, -ENOENT, -EHOSTUNREACH (it doesn't answer). */
[[nodiscard]] int lookup_neighbour(struct lookup *l, unsigned int ifindex,
				   const struct ip_addr *next, struct lookup_neighbour *ret);

struct lookup_link {
	char name[IF_NAMESIZE];
	unsigned int ifindex;
	unsigned int mtu;
	unsigned int lower;  /* interface that it lies on or is the other end of; 0: none here */
	unsigned int master; /* whose port it is; 0: nobody's */
	bool is_up;
	bool is_ethernet;
	uint8_t mac[LOOKUP_MAC_LEN];
	char kind[LOOKUP_KIND_LEN]; /* "vlan", "veth" …; "": a device */
};
/* 0, -ENODEV, or what the kernel said. */
[[nodiscard]] int lookup_link(struct lookup *l, const char *name, struct lookup_link *ret);

/* Calls take for each interface, or each default route of the main table with its interface. */
typedef void (*lookup_link_fn)(void *user, const struct lookup_link *link);
[[nodiscard]] int lookup_links(struct lookup *l, lookup_link_fn take, void *user);
typedef void (*lookup_default_fn)(void *user, unsigned int ifindex);
[[nodiscard]] int lookup_defaults(struct lookup *l, lookup_default_fn take, void *user);

#endif
