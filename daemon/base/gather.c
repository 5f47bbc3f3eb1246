/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks all workers. One message travels from worker to worker and home again: nothing is counted,
 * nothing is allocated twice, and what one visit wrote is seen by the next.
 */
#include "daemon/base/gather.h"

#include <errno.h>
#include <stdlib.h>

#include "util/macro.h"

struct gather {
	struct message message;
	struct worker_set *set;
	struct mailbox *home;
	const struct gather_ops *ops;
	void *arg;
	unsigned int next; /* worker that it is on its way to */
};

static void gather_discard(struct message *message)
{
	/* A worker has stopped: the process is ending, nobody waits for the answer any more. */
	struct gather *g = CONTAINER_OF(message, struct gather, message);
	g->ops->on_cancel(g->arg);
	free(g);
}

static void gather_home(struct message *message, void *owner)
{
	(void)owner;
	struct gather *g = CONTAINER_OF(message, struct gather, message);
	const struct gather_ops *ops = g->ops;
	void *arg = g->arg;
	free(g);
	ops->on_done(arg);
}

static void gather_visit(struct message *message, void *owner)
{
	(void)owner;
	struct gather *g = CONTAINER_OF(message, struct gather, message);
	g->ops->visit(worker_set_get(g->set, g->next), g->arg);
	if (++g->next < worker_set_count(g->set)) {
		mailbox_post(worker_set_get(g->set, g->next)->mailbox, &g->message);
		return;
	}
	g->message.on_deliver = gather_home;
	mailbox_post(g->home, &g->message);
}

int gather_start(struct worker_set *set, struct mailbox *mailbox, const struct gather_ops *ops,
		 void *arg)
{
	struct gather *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->message.on_deliver = gather_visit;
	g->message.on_discard = gather_discard;
	g->set = set;
	g->home = mailbox;
	g->ops = ops;
	g->arg = arg;
	mailbox_post(worker_set_get(set, 0)->mailbox, &g->message);
	return 0;
}
