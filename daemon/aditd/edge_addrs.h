/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The addresses of the edge: in which region each lies, what was wrong with it lately, and which
 * one a connection index should take (spec §6). Pure: clock and randomness come from outside.
 */
#ifndef DAEMON_ADITD_EDGE_ADDRS_H
#define DAEMON_ADITD_EDGE_ADDRS_H

#include "util/addr.h"
#include "util/time.h"

enum {
	EDGE_ADDRS_MAX = 64,
	EDGE_INDEXES_MAX = 64,
	EDGE_REGIONS = 2,
};

/* As discovery delivers it. TCP and UDP have the same port. */
struct edge_addr {
	struct ip_port addr;
	uint8_t region; /* 0 or 1 */
};

/* What can speak against an address, for a time. */
enum edge_fault : uint8_t {
	EDGE_FAULT_NETWORK,   /* a dial failed on the way there: 60 s; doubts the family, too */
	EDGE_FAULT_SILENT,    /* a connection there went dead: 60 s */
	EDGE_FAULT_BROKEN,    /* it answers, but not as our edge does: 60 s */
	EDGE_FAULT_DUPLICATE, /* the server there has a connection of ours already: 30 s */
	EDGE_FAULT_AWAY,      /* it said that it is going away: last in order for 60 s */
	EDGE_FAULT_MAX_,
};

struct edge_entry {
	struct edge_addr a;
	nsec_t until[EDGE_FAULT_MAX_]; /* 0: nothing */
};

/* Embedded. */
struct edge_addrs {
	struct edge_entry entries[EDGE_ADDRS_MAX];
	unsigned int count;
	struct ip_port own[EDGE_INDEXES_MAX]; /* where an index belongs; family NONE: nowhere */
	enum ip_family only;                  /* NONE: both */
	struct {
		enum ip_family first; /* of the first address: the resolver's preference */
		nsec_t turned_until;  /* the other family goes first until then */
	} regions[EDGE_REGIONS];
	uint64_t (*random_below)(uint64_t bound);
};

/* ip_version: 0 both, 4, 6. random_below: uniform in 0 … bound-1. */
void edge_addrs_init(struct edge_addrs *e, uint8_t ip_version,
		     uint64_t (*random_below)(uint64_t bound));

/*
 * This is the whole set from now on: addresses that stay keep what is known of them. What is there
 * twice counts once; what there is no room for is left out. Returns the indexes (bit 1 << index)
 * whose own address has gone; they own none then. A set without usable addresses changes nothing.
 */
uint64_t edge_addrs_replace(struct edge_addrs *e, const struct edge_addr *set, size_t count);

/* An index that has a connection to an address or is making one. */
struct edge_use {
	struct ip_port addr;
	unsigned int index;
};

struct edge_query {
	unsigned int index;
	const struct edge_use *uses; /* of all indexes, besides what they own */
	size_t use_count;
	const struct ip_port *avoid; /* NULL: none. Taken only if there is no other */
	bool wants_other_region;     /* than that of avoid, rather than the emptiest address */
};

/*
 * The best address: nothing speaks against it, its family is not in doubt, no other index is there,
 * the index's own, in the region with fewer of us, of the preferred family; by chance among equals.
 * Where something speaks against all, the one that it was said of first. -ENOENT: there is none.
 */
[[nodiscard]] int edge_addrs_choose(const struct edge_addrs *e, const struct edge_query *query,
				    nsec_t now, struct ip_port *ret);

/*
 * An address with fewer neighbours than the index has where it is: fewer other indexes, or as many
 * and a region with fewer of us. Nothing speaks against it. -ENOENT: there is none.
 */
[[nodiscard]] int edge_addrs_choose_emptier(const struct edge_addrs *e,
					    const struct edge_query *query,
					    const struct ip_port *where, nsec_t now,
					    struct ip_port *ret);

/* This is where the index belongs; it will be preferred. */
void edge_addrs_set_own(struct edge_addrs *e, unsigned int index, const struct ip_port *addr);
/* Something speaks against an address. Unknown ones are ignored. */
void edge_addrs_blame(struct edge_addrs *e, const struct ip_port *addr, enum edge_fault fault,
		      nsec_t now);
/* A connection works: it is neither dead nor broken, and its family works. */
void edge_addrs_praise(struct edge_addrs *e, const struct ip_port *addr);
/* The way to them is another one now: what failed on the old way is forgotten. */
void edge_addrs_forgive(struct edge_addrs *e);
/* Something of this kind speaks against it now. */
bool edge_addrs_is_blamed(const struct edge_addrs *e, const struct ip_port *addr,
			  enum edge_fault fault, nsec_t now);
bool edge_addrs_has(const struct edge_addrs *e, const struct ip_port *addr);

#endif
