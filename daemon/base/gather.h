/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks all workers for something and answers when the last has done it: status, metrics (style C1:
 * a reader never looks into a worker, the worker tells).
 */
#ifndef DAEMON_BASE_GATHER_H
#define DAEMON_BASE_GATHER_H

#include "daemon/base/worker.h"

/*
 * Runs visit(worker, arg) on every worker's thread; when all have, on_done(arg) runs where mailbox
 * is delivered, and sees what the visits wrote. arg must live until then. Returns 0 or -ENOMEM
 * (nothing runs).
 */
[[nodiscard]] int gather_start(struct worker_set *set, struct mailbox *mailbox,
			       void (*visit)(struct worker *worker, void *arg),
			       void (*on_done)(void *arg), void *arg);

#endif
