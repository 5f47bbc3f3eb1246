/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we want to be in the kernel's network, as values: a device that is up, an address, a route,
 * a rule; the message that makes or removes it, and the line that remembers it. No I/O.
 */
#ifndef NETLINK_OBJECT_H
#define NETLINK_OBJECT_H

#include "netlink/builder.h"
#include "util/addr.h"
#include "util/packer.h"

enum netlink_object_kind : uint8_t {
	NETLINK_OBJECT_INVALID_,
	NETLINK_OBJECT_LINK_UP, /* removed: down */
	NETLINK_OBJECT_ADDRESS,
	NETLINK_OBJECT_ROUTE,
	NETLINK_OBJECT_RULE, /* packets with a mark go by a table */
};

struct netlink_object {
	enum netlink_object_kind kind;
	enum ip_family family; /* of ROUTE and RULE */
	unsigned int ifindex;  /* not of RULE; of a route to remove it may be 0 */
	struct ip_addr addr;   /* ADDRESS: its own. ROUTE: the destination */
	uint8_t prefix_len;
	bool is_local;     /* ROUTE: everything in its table is delivered on this host */
	uint32_t mtu;      /* LINK_UP; 0: as it is */
	uint32_t table;    /* ROUTE (0: main), RULE */
	uint32_t mark;     /* RULE */
	uint32_t priority; /* RULE */
};

enum { NETLINK_OBJECT_LINE_MAX = 96 };

/* Appends the message, with NLM_F_ACK; what is there already is refused (-EEXIST). */
void netlink_object_make(struct nl_builder *b, const struct netlink_object *o);
void netlink_object_remove(struct nl_builder *b, const struct netlink_object *o);
/* Whether it stays when the process and its devices have gone. */
bool netlink_object_outlives(const struct netlink_object *o);

/* A line with its '\n' for one that outlives us: "rule 4 priority 7844 mark 44311 table 7844",
 * "local 4 table 7844". */
void netlink_object_print(struct packer *p, const struct netlink_object *o);
/* Takes the next line off a text. 0, -ENODATA at its end, -EBADMSG for any other line. */
[[nodiscard]] int netlink_object_read(struct span *text, struct netlink_object *ret);

#endif
