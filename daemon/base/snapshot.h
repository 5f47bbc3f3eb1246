/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Immutable data shared by reference (style C2): the control thread builds a whole new one and
 * posts it to the workers; each swaps its pointer at the top of a turn, and who began with the old
 * one keeps it. The last reference frees it, on whatever thread that is.
 */
#ifndef DAEMON_BASE_SNAPSHOT_H
#define DAEMON_BASE_SNAPSHOT_H

#include <stdint.h>

struct mailbox;

/* Embedded in the data. */
struct snapshot {
	_Atomic uint32_t refs;
	void (*on_free)(struct snapshot *snapshot);
};

/* One reference, the caller's. */
void snapshot_init(struct snapshot *snapshot, void (*on_free)(struct snapshot *snapshot));
/* Any thread. */
struct snapshot *snapshot_ref(struct snapshot *snapshot);
/* Any thread. Accepts NULL. */
void snapshot_unref(struct snapshot *snapshot);

/* Where a worker keeps the one that is in force; its thread's. */
struct snapshot_slot {
	struct snapshot *current; /* a reference; NULL before the first */
	/* After the swap; old is NULL the first time, and may be unreferenced after the call. May
	 * be NULL. */
	void (*on_swap)(struct snapshot_slot *slot, struct snapshot *old);
};

/* Drops the reference. Its worker must have stopped. */
void snapshot_slot_done(struct snapshot_slot *slot);

struct snapshot_target {
	struct mailbox *mailbox;    /* of the worker */
	struct snapshot_slot *slot; /* lives until the mailbox is freed */
};

/* Posts a reference to all targets, or to none when out of memory. Returns 0 or -ENOMEM. */
[[nodiscard]] int snapshot_publish(struct snapshot *snapshot, const struct snapshot_target *targets,
				   unsigned int count);

#endif
