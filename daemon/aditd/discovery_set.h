/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole set of edge addresses as discovery finds it, and the text in which the last good one is
 * kept in the state directory.
 */
#ifndef DAEMON_ADITD_DISCOVERY_SET_H
#define DAEMON_ADITD_DISCOVERY_SET_H

#include "daemon/aditd/edge_addrs.h"
#include "util/packer.h"

enum { DISCOVERY_CACHE_MAX = 16 * 1024 }; /* bytes of the text */

struct edge_set {
	unsigned int count;
	struct edge_addr addrs[EDGE_ADDRS_MAX];
};

/* What is there already stays in its region; what there is no room for is left out. */
void edge_set_add(struct edge_set *set, const struct ip_port *addr, uint8_t region);
/* The same addresses in the same regions, in whatever order. */
bool edge_set_eq(const struct edge_set *a, const struct edge_set *b);

/* One bit for each region and family, for edge_set_keep(). */
static inline uint8_t edge_set_bit(uint8_t region, enum ip_family family)
{
	return (uint8_t)(1U << (region * 2U + (family == IP_FAMILY_V6)));
}
/* Adds what old knows of the regions and families in bits. */
void edge_set_keep(struct edge_set *set, const struct edge_set *old, uint8_t bits);

/*
 * The text of a set. source: where it comes from, one line; a set of another configuration is of no
 * use. The packer says when it doesn't fit.
 */
void edge_set_print(const struct edge_set *set, struct span source, struct packer *p);
/* Returns 0, -ESTALE for a set from another source, -EBADMSG for anything that wasn't printed by
 * us. */
[[nodiscard]] int edge_set_parse(struct span text, struct span source, struct edge_set *ret);

#endif
