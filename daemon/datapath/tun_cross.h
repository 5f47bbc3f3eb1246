/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of the TUN device that were read by one worker and are another's: in batches, by mailbox.
 * It is the exception: a program in the kernel, or what it learns from packets that were written,
 * brings a flow's packets to its worker. Private to datapath/.
 */
#ifndef DAEMON_DATAPATH_TUN_CROSS_H
#define DAEMON_DATAPATH_TUN_CROSS_H

#include "daemon/base/worker.h"
#include "util/span.h"

struct tun_batch;

/* The packet is the callee's to write, and TUN_CROSS_ROOM bytes before it. */
typedef void (*tun_cross_fn)(void *user, uint8_t *packet, size_t len, size_t segment_len);

enum { TUN_CROSS_ROOM = 64 };

struct tun_cross {
	struct worker *worker;
	tun_cross_fn take;
	void *const *users; /* by worker: whom take is called for, on its thread */
	struct loop_task flush;
	struct tun_batch *building[WORKER_MAX];
	struct tun_batch *spare;
	unsigned int under_way;
	bool is_done;
};

/* users: filled in before the workers run. */
void tun_cross_init(struct tun_cross *x, struct worker *worker, tun_cross_fn take,
		    void *const *users);
/* The worker has ended. */
void tun_cross_done(struct tun_cross *x);
/* Copies; false: too much is under way, or it is too long. */
[[nodiscard]] bool tun_cross_add(struct tun_cross *x, unsigned int to, struct span packet,
				 size_t segment_len);

#endif
