/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echo requests on their way, by the sequence number with which they left: all of a worker's leave
 * by one socket, whose identifier the kernel chose, so that the number is what tells them apart.
 *
 * Numbers are given in turn, so one comes again after 65536 others at the earliest, and the oldest
 * echo is the first one to be forgotten. Memory grows with what waits and goes when nothing does.
 */
#ifndef DAEMON_SESSION_ECHO_MAP_H
#define DAEMON_SESSION_ECHO_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "util/addr.h"
#include "util/time.h"

enum {
	ECHO_MAP_MAX = 65536,
	ECHO_LIFE_SEC = 20, /* an answer that takes longer finds nobody */
};

struct icmp_port;

/* A request as it came, to be recognised by its sender. */
struct echo {
	struct icmp_port *port; /* where answers go; NULL: answered, or nobody is there any more */
	nsec_t sent;            /* turn in which it left; set by echo_map_add() */
	struct ip_addr src;
	struct ip_addr dst;
	uint16_t id;
	uint16_t seq;
	uint16_t checksum;
	uint16_t len; /* of the ICMP message */
	uint8_t ttl;  /* with which it left */
	uint8_t tos;
	uint32_t dont_fragment : 1;
	uint32_t label : 31; /* IPv4: id of the packet; IPv6: flow label */
};
static_assert(sizeof(struct echo) <= 64, "docs/limits.md says how much a ring takes");

struct echo_map {
	struct echo *ring;    /* owned; size entries */
	uint32_t size;        /* a power of two, or 0 */
	uint32_t first, next; /* numbers of the oldest and of the one to come, with their carries */
	unsigned int count;   /* that wait */
	uint64_t forgotten;   /* that still waited when there was no room */
};

/*
 * Takes in a copy, and says which sequence number it has. 0, or -ENOMEM when there is none for the
 * first.
 */
[[nodiscard]] int echo_map_add(struct echo_map *m, nsec_t now, const struct echo *e,
			       uint16_t *ret_seq);
/* The one that waits under this number, until the next call; NULL: none. */
struct echo *echo_map_find(const struct echo_map *m, uint16_t seq, nsec_t now);
/* It waits no longer. */
void echo_map_remove(struct echo_map *m, struct echo *e);
/* Those of a port that goes. */
void echo_map_remove_port(struct echo_map *m, const struct icmp_port *port);
/* Those whose time is over; frees the memory when none is left. */
void echo_map_expire(struct echo_map *m, nsec_t now);
/* Frees the memory; the map stays usable. */
void echo_map_done(struct echo_map *m);

#endif
