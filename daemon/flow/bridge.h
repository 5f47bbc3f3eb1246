/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream of two halves on two workers (spec §5): per direction a bounded single-producer,
 * single-consumer ring of buffer references and a byte credit. The producer's slab owns the bytes
 * until the consumer gives the reference back. Wake-ups are coalesced: at most one message per turn
 * and direction.
 */
#ifndef DAEMON_FLOW_BRIDGE_H
#define DAEMON_FLOW_BRIDGE_H

#include "daemon/base/worker.h"
#include "daemon/flow/stream.h"

enum {
	BRIDGE_SLOTS = 64,               /* buffer references in flight per direction */
	BRIDGE_WINDOW = 256 * 1024,      /* bytes in flight per direction */
	BRIDGE_WINDOW_TIGHT = 64 * 1024, /* the same when half of the producer's memory is used */
};

/* adit_bridge_messages_total{from,to}: series by sender and receiver, defined once at start. */
struct bridge_metrics {
	unsigned int workers;
	metric_id *messages; /* [from * workers + to]; owned */
};
[[nodiscard]] int bridge_metrics_init(struct bridge_metrics *m, struct metric_registry *reg,
				      unsigned int workers);
void bridge_metrics_done(struct bridge_metrics *m);

/*
 * Makes a bridge between two different workers. Called on either worker's thread; each half is then
 * used on its own worker only. stream_close() on both halves frees it. Messages between workers are
 * counted in the sender's shard.
 * Returns 0 or -ENOMEM.
 */
[[nodiscard]] int bridge_new(struct worker *a, struct worker *b,
			     const struct bridge_metrics *metrics, struct stream **ret_a,
			     struct stream **ret_b);

#endif
