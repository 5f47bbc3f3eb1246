/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams that are another worker's, on their way to it: in batches by mailbox, in the order in
 * which they came, at most so many under way. A message is allocated for a batch, and one that has
 * come back is used again.
 */
#ifndef DAEMON_BASE_FERRY_H
#define DAEMON_BASE_FERRY_H

#include "daemon/base/worker.h"
#include "util/span.h"

struct ferry_batch;

/* What is carried; static. */
struct ferry_kind {
	unsigned int batches; /* under way, of a worker that they leave */
	size_t bytes;         /* of a batch, with the room before each datagram */
	size_t room;
	size_t head_len; /* of a head, which goes with each datagram: the size of its type */
	/* On the worker that they have come to; from is what ferry_init() was given. The datagram
	 * is the callee's to write, and the room before it. */
	void (*take)(const void *from, const struct worker *here, const void *head, uint8_t *bytes,
		     size_t len);
	/* Lets go of what a head refers to, once for each that was added, taken or not; NULL: they
	 * refer to nothing. On any thread; after the workers have ended too. */
	void (*forget)(const void *head);
};

/* Those that leave one worker. */
struct ferry {
	const struct ferry_kind *kind;
	struct worker *worker;
	const void *from;
	struct loop_task flush;
	struct ferry_batch *building[WORKER_MAX]; /* by the worker that it is for */
	struct ferry_batch *spare;                /* one that has come back */
	unsigned int under_way;
	bool is_done;
};

void ferry_init(struct ferry *f, const struct ferry_kind *kind, struct worker *worker,
		const void *from);
/* Drops what hasn't left, and takes nothing any more. Batches may be under way: f and from are
 * there until the workers have ended. */
void ferry_done(struct ferry *f);
/* Copies both, and has the head from then on; they leave at the end of the turn. False: too much is
 * under way, it is longer than a batch, or no memory. */
[[nodiscard]] bool ferry_add(struct ferry *f, unsigned int to, const void *head,
			     struct span datagram);

#endif
