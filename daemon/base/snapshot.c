/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots and their way to the workers. Messages are all made before the first is posted: there
 * is never a configuration that only some workers have heard of.
 */
#include "daemon/base/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "daemon/base/mailbox.h"
#include "util/macro.h"

struct delivery {
	struct message message; /* first: its next also chains what isn't posted yet */
	struct snapshot *snapshot;
	struct snapshot_slot *slot;
};

void snapshot_init(struct snapshot *s, void (*on_free)(struct snapshot *snapshot))
{
	atomic_init(&s->refs, 1);
	s->on_free = on_free;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
	/* Relaxed: whoever has a reference to copy keeps it alive meanwhile. */
	uint32_t before = atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	assert(before > 0 && before < UINT32_MAX);
	return s;
}

void snapshot_unref(struct snapshot *s)
{
	if (!s)
		return;
	/* Release what we did with it, acquire what the others did before it is freed. */
	uint32_t before = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
	assert(before > 0);
	if (before == 1)
		s->on_free(s);
}

void snapshot_slot_done(struct snapshot_slot *slot)
{
	snapshot_unref(slot->current);
	slot->current = NULL;
}

static void on_deliver(struct message *message, void *owner UNUSED)
{
	struct delivery *d = CONTAINER_OF(message, struct delivery, message);
	struct snapshot *old = d->slot->current;
	d->slot->current = d->snapshot;
	if (d->slot->on_swap)
		d->slot->on_swap(d->slot, old);
	snapshot_unref(old);
	free(d);
}

static void on_discard(struct message *message)
{
	struct delivery *d = CONTAINER_OF(message, struct delivery, message);
	snapshot_unref(d->snapshot);
	free(d);
}

static void discard_all(struct message *message)
{
	while (message) {
		struct message *next = message->next;
		on_discard(message);
		message = next;
	}
}

int snapshot_publish(struct snapshot *s, const struct snapshot_target *targets, unsigned int count)
{
	struct message *ready = NULL;
	for (unsigned int i = 0; i < count; i++) {
		struct delivery *d = calloc(1, sizeof(*d));
		if (!d) {
			discard_all(ready);
			return -ENOMEM;
		}
		d->message = (struct message){ .next = ready,
					       .on_deliver = on_deliver,
					       .on_discard = on_discard };
		d->snapshot = snapshot_ref(s);
		ready = &d->message;
	}
	for (unsigned int i = 0; i < count; i++) {
		struct message *next = ready->next;
		CONTAINER_OF(ready, struct delivery, message)->slot = targets[i].slot;
		mailbox_post(targets[i].mailbox, ready);
		ready = next;
	}
	return 0;
}
