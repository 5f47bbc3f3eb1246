/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of what is wanted in the kernel's network: made in order, one reply in flight, undone
 * backwards when one fails or at the end. What outlives the process is written down by the caller
 * before plan_make() and undone from there after a crash.
 */
#ifndef NETLINK_PLAN_H
#define NETLINK_PLAN_H

#include "netlink/nl.h"
#include "netlink/object.h"

enum { PLAN_MAX = 1024 };

struct plan {
	struct netlink_object *objects;
	size_t count;
	size_t made;            /* the first so many are there */
	char text[NL_TEXT_MAX]; /* what the kernel said about one that it refused */
};

/* 0, -E2BIG over PLAN_MAX, -ENOMEM. */
[[nodiscard]] int plan_add(struct plan *p, const struct netlink_object *o);
/* Forgets; what is there stays. */
void plan_done(struct plan *p);

/* Makes what isn't there yet. On failure nothing of the plan is left, and *ret_failed is which. */
[[nodiscard]] int plan_make(struct plan *p, struct nl *n, const struct netlink_object **ret_failed);
/* Removes what was made; what has gone by itself is no error. 0, or the first refusal (all others
 * were tried). */
[[nodiscard]] int plan_undo(struct plan *p, struct nl *n);
/* Removes one object; 0 also when it isn't there. */
[[nodiscard]] int plan_remove(const struct netlink_object *o, struct nl *n);

/* Lines of what outlives us, for plan_read(). */
void plan_print(struct packer *packer, const struct plan *p);
/* Adds the objects of a text as made, so that plan_undo() removes them. 0, -EBADMSG, as plan_add().
 */
[[nodiscard]] int plan_read(struct plan *p, struct span text);

#endif
