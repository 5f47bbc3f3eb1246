/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks all workers for something and answers when the last has done it: status, metrics (style C1:
 * a reader never looks into a worker, the worker tells).
 */
#ifndef DAEMON_BASE_GATHER_H
#define DAEMON_BASE_GATHER_H

#include "daemon/base/worker.h"

struct gather_ops {
	/* Runs on every worker's thread, one after the other. */
	void (*visit)(struct worker *worker, void *arg);
	/* All have: runs where the mailbox is delivered, and sees what the visits wrote. */
	void (*on_done)(void *arg);
	/* Instead of on_done when the process ends before: the threads have ended, only memory is
	 * given back. */
	void (*on_cancel)(void *arg);
};

/*
 * Asks all workers of the set. ops is static; arg must live until on_done or on_cancel, one of
 * which comes. Returns 0 or -ENOMEM (nothing runs).
 */
[[nodiscard]] int gather_start(struct worker_set *set, struct mailbox *mailbox,
			       const struct gather_ops *ops, void *arg);

#endif
