/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an HTTP/2 connection counts and measures.
 */
#ifndef DAEMON_HTTP_H2_STATS_H
#define DAEMON_HTTP_H2_STATS_H

#include "util/time.h"

/* A snapshot. */
struct h2_stats {
	nsec_t heard; /* when bytes came last */
	uint64_t rx_bytes, tx_bytes, rx_frames, tx_frames;
	uint64_t rtt_nsec; /* of SETTINGS and PINGs, smoothed; 0: not known yet */
	unsigned int streams;
	unsigned int running; /* of them: without those of h2_hold() */
	uint64_t streams_total;
	uint64_t credit_stalls; /* times the connection's send credit was 0 with data waiting */
	uint64_t resets_by_peer;
	uint64_t floods; /* 1 when it was closed for frames without use, resets, CONTINUATIONs */
	bool has_unsent; /* bytes wait for the stream beneath */
};

#endif
