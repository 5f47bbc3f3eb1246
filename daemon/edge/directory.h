/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which links does a tunnel have? Every worker keeps its own copy, brought up to date by messages,
 * so that a request looks at nothing that another thread writes but the load counters (spec §5).
 */
#ifndef DAEMON_EDGE_DIRECTORY_H
#define DAEMON_EDGE_DIRECTORY_H

#include "daemon/edge/edge_link.h"

struct directory;

/* One per worker. Returns 0 or -ENOMEM. */
[[nodiscard]] int directory_new(struct worker *worker, struct directory **ret);
/* Gives all references back. Accepts NULL. */
void directory_free(struct directory *d);

/*
 * Tells all workers of a set about a link (takes a reference for each), or that it is gone. dirs:
 * one per worker, in order. Returns 0 or -ENOMEM (then nobody was told).
 */
[[nodiscard]] int directory_announce(struct worker_set *set, struct directory *const *dirs,
				     struct edge_link *el);
void directory_withdraw(struct worker_set *set, struct directory *const *dirs,
			struct edge_link *el);

/*
 * Tells all workers that a link has become suspect. The others of the same connector are asked for
 * a sign of life, so that the end of a process is noticed on all its links at once.
 */
void directory_doubt(struct worker_set *set, struct directory *const *dirs, struct edge_link *el);
/* on_doubt hears of suspect links on this worker (NULL: nobody). */
void directory_watch(struct directory *d, void (*on_doubt)(struct edge_link *el, void *user),
		     void *user);

/* Usable links of a tunnel in this copy. */
unsigned int directory_count(const struct directory *d, const struct edge_tunnel *tunnel);

/*
 * Chooses the link for a new request, equally loaded ones in turn: one of this worker unless it is
 * more than twice as loaded as the best. A suspect one is taken only if there is no other, and
 * avoid (may be NULL) last; others of avoid's connector, whose process may have ended, after those
 * of another.
 * NULL when the tunnel has none.
 */
struct edge_link *directory_pick(struct directory *d, const struct edge_tunnel *tunnel,
				 const struct edge_link *avoid);

/* A usable link that carries UDP flows, in turn: not a suspect one while there is another, one of
 * this worker before others. NULL when the tunnel has none. */
struct edge_link *directory_pick_flows(struct directory *d, const struct edge_tunnel *tunnel);

/* The older link of the same connector and index as el, or NULL. */
struct edge_link *directory_find_older(const struct directory *d, const struct edge_link *el);

#endif
