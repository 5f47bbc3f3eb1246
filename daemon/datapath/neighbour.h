/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The neighbours that promoted flows are sent to, and whether they are still there. The kernel
 * looks after a neighbour only for packets of its own, and one that it has heard of it doesn't ask
 * again for up to 45 s; so the short cut asks, as the kernel would: the neighbour itself, and when
 * the kernel hasn't heard an answer a second later, everybody. What is answered tells the kernel,
 * and its news tell us. One promoter's; private to datapath/.
 */
#ifndef DAEMON_DATAPATH_NEIGHBOUR_H
#define DAEMON_DATAPATH_NEIGHBOUR_H

#include "daemon/base/map.h"
#include "daemon/datapath/solicit.h"
#include "util/list.h"
#include "util/time.h"

struct lookup;
struct neighbour;

/* A neighbour's name: all bytes count. */
struct neighbour_key {
	uint32_t ifindex;
	uint8_t addr[16];
	uint8_t family, pad[3];
};

struct neighbour {
	struct neighbour_key key;
	struct map_node in_map;
	struct list node;
	unsigned int way;
	struct solicit question; /* whose target, and address on the link, it is */
	struct list flows;       /* the promoter's: while there is one, it is looked after */
	nsec_t due, asked;       /* next time; since when an answer is waited for, 0: it isn't */
	unsigned int tries;
};

struct neighbour_ops {
	/* Sends its question. False: there is no room now. */
	bool (*ask)(void *user, const struct neighbour *n);
	/* It doesn't answer, or has another address on the link; may free it. */
	void (*on_lost)(void *user, struct neighbour *n);
};

struct neighbours {
	const struct neighbour_ops *ops;
	void *user;
	struct lookup *lookup; /* borrowed */
	struct map map;
	struct list all; /* who was asked last is last */
};

/* limit: of neighbours. */
void neighbours_init(struct neighbours *set, const struct neighbour_ops *ops, void *user,
		     struct lookup *lookup, size_t limit);
/* None must be left. */
void neighbours_done(struct neighbours *set);

/* The target on an interface, made if there is none. NULL: no memory. */
struct neighbour *neighbour_get(struct neighbours *set, unsigned int way, unsigned int ifindex,
				const struct solicit *question);
/* NULL when there is none. */
struct neighbour *neighbour_find(const struct neighbours *set, unsigned int ifindex,
				 const struct ip_addr *addr);
/* Nothing is sent to it any more. */
void neighbour_free(struct neighbours *set, struct neighbour *n);

/* Once a second. */
void neighbours_tick(struct neighbours *set, nsec_t now);

#endif
