/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the receiving sides of multiplexed streams share: windows that grow with need, and queues
 * that don't hold a buffer for each few bytes.
 */
#ifndef DAEMON_FLOW_RX_H
#define DAEMON_FLOW_RX_H

#include "daemon/base/bufq.h"
#include "util/time.h"

/* How many bytes the peer may have on their way, and how fast they were used up. */
struct rx_window {
	uint64_t size;
	uint64_t epoch_bytes; /* consumed since epoch_start */
	nsec_t epoch_start;
};

void rx_window_init(struct rx_window *w, uint64_t size, nsec_t now);
/*
 * n bytes of the window were used up. Returns by how much it may grow: it doubles up to max when it
 * was emptied within two round trips.
 */
uint64_t rx_window_advance(struct rx_window *w, uint64_t n, uint64_t max, nsec_t now, nsec_t rtt);

/* Copies what came to the end of q; large buffers only for who has more than a little waiting.
 * Returns 0, or -ENOBUFS (then q holds part of it). */
[[nodiscard]] int rx_store(struct bufq *q, struct span data);
/*
 * Moves at most max bytes. A few are copied: a reader who collects a message that comes byte by
 * byte would hold a buffer for each of them. Returns how many: 0 of a filled queue when there is no
 * slice node.
 */
size_t rx_take(struct bufq *to, struct bufq *rx, size_t max);

#endif
