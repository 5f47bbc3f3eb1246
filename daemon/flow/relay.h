/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins two streams of one worker: what comes in on one goes out on the other, both ways, with
 * half-close, resets and stops passed on. Used where a stream crosses a boundary without being
 * looked at: bridges, upgraded connections, TCP. An idle relay holds no buffer.
 */
#ifndef DAEMON_FLOW_RELAY_H
#define DAEMON_FLOW_RELAY_H

#include "daemon/base/loop.h"
#include "daemon/flow/pump.h"
#include "util/list.h"

struct relay;

struct relay_params {
	struct stream *a; /* taken */
	struct stream *b; /* taken */
	/* What was read from the streams before, goes out first; emptied. NULL: nothing. */
	struct bufq *from_a;
	struct bufq *from_b;
	/* How long a's end is kept from b while b hasn't ended, for a far side that would take it
	 * as the end of both directions (spec §4); 0: not at all. */
	nsec_t hold_end;
	/* Once one direction has ended: breaks off when the other is silent for so long; 0: never.
	 */
	nsec_t half_silence;
	/* Both directions have ended and the streams are closed; what became of each stands in its
	 * pump. The relay frees itself afterwards. May be NULL. */
	void (*on_end)(struct relay *relay, void *user);
	void *user;
};

struct relay {
	struct stream *a;
	struct stream *b;
	struct pump a_to_b;
	struct pump b_to_a;
	struct loop_task again;
	struct timer timer; /* of the end that is held, else of the silence */
	nsec_t hold_end;
	nsec_t half_silence;
	uint64_t moved; /* by both when the timer of the silence was started */
	bool is_held;   /* a's end is not passed on yet */
	void (*on_end)(struct relay *relay, void *user);
	void *user;
	struct loop_garbage garbage;
};

/* Takes both streams, also on failure. Returns 0 or -ENOMEM. */
[[nodiscard]] int relay_new(const struct relay_params *params, struct relay **ret);
/* Breaks both off; on_end isn't called. */
void relay_cut(struct relay *relay);

#endif
