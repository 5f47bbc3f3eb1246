/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one thread with its loop, mailbox, buffers and counters. Everything from net/ to
 * origin/ lives on exactly one worker (style C1).
 */
#ifndef DAEMON_BASE_WORKER_H
#define DAEMON_BASE_WORKER_H

#include <stdatomic.h>
#include <stddef.h>

#include "daemon/base/log.h"
#include "daemon/base/loop.h"
#include "daemon/base/mailbox.h"
#include "daemon/base/metric.h"
#include "daemon/base/slab.h"

enum {
	WORKER_MAX = 256,
	WORKER_PAGES_MEMORY = 1024 * 1024,
};

struct worker_set;

struct worker {
	unsigned int index; /* 0 … count-1 */
	struct loop *loop;
	struct mailbox *mailbox;
	struct slab *slab;
	struct slab *pages; /* for the operator's: they answer when the other is used up */
	struct metric_shard *metrics; /* written by this worker only */
	const struct log *log;
	struct worker_set *set; /* its siblings */
	void *app;              /* the program's per-worker state; set before start */
};

struct worker_params {
	unsigned int count;
	size_t memory; /* buffer budget of each, bytes */
	const struct log *log;
	struct metric_registry *metrics;
};

/*
 * Creates the workers with loops and mailboxes; no thread yet, so that apps can be attached.
 * Returns 0, -EINVAL for a count of 0 or over WORKER_MAX, -ENOMEM, or what the kernel said.
 */
[[nodiscard]] int worker_set_new(const struct worker_params *params, struct worker_set **ret);
unsigned int worker_set_count(const struct worker_set *set);
/* NULL for an index over the count. */
struct worker *worker_set_get(struct worker_set *set, unsigned int index);
/*
 * Starts the threads, signals blocked. on_start and on_stop run on each worker's thread before the
 * first and after the last turn (either may be NULL). Returns 0 or a negative errno.
 */
[[nodiscard]] int worker_set_start(struct worker_set *set, void (*on_start)(struct worker *worker),
				   void (*on_stop)(struct worker *worker));
/* Asks all loops to end and joins the threads. */
void worker_set_stop(struct worker_set *set);
/* After worker_set_stop(). Accepts NULL. */
void worker_set_free(struct worker_set *set);

/* CPUs of the affinity mask, at most the cgroup's quota rounded up; at least 1 (spec §2.2 workers).
 */
unsigned int worker_default_count(void);

/*
 * Posts fn(worker, arg) to a worker; any thread. Returns 0 or -ENOMEM. When the worker stops before
 * it got to it, fn is not called and arg is not freed: what must not leak sends its own message.
 */
[[nodiscard]] int worker_call(struct worker *worker, void (*fn)(struct worker *worker, void *arg),
			      void *arg);

#endif
