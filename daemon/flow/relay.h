/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins two streams of one worker: what comes in on one goes out on the other, both ways, with
 * half-close, resets and stops passed on. Used where a stream crosses a boundary without being
 * looked at.
 */
#ifndef DAEMON_FLOW_RELAY_H
#define DAEMON_FLOW_RELAY_H

#include "daemon/base/loop.h"
#include "daemon/flow/pump.h"
#include "util/list.h"

struct relay {
	struct stream *a; /* owned */
	struct stream *b; /* owned */
	struct pump a_to_b;
	struct pump b_to_a;
	struct loop_task again;
	struct loop_garbage garbage;
	/* Both directions have ended and the streams are closed; the relay frees itself afterwards.
	 */
	void (*on_end)(struct relay *relay, void *user);
	void *user;
	struct list node; /* the owner's */
};

/* Takes both streams. on_end may be NULL. Returns 0 or -ENOMEM (both streams are closed then). */
[[nodiscard]] int relay_new(struct stream *a, struct stream *b,
			    void (*on_end)(struct relay *relay, void *user), void *user,
			    struct relay **ret);
/* Breaks both off; on_end isn't called. */
void relay_cut(struct relay *relay);

#endif
