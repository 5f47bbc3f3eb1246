/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a link counts and measures.
 */
#ifndef DAEMON_LINK_LINK_STATS_H
#define DAEMON_LINK_LINK_STATS_H

#include "util/addr.h"
#include "util/time.h"

/* A snapshot for status and metrics. */
struct link_stats {
	nsec_t since;      /* when it came up; 0 before */
	nsec_t heard;      /* when the last packet came from the peer */
	uint64_t rtt_nsec; /* smoothed */
	uint64_t min_rtt_nsec, latest_rtt_nsec;
	uint64_t cwnd, bytes_in_flight;
	int8_t congestion; /* 0 slow start, 1 avoidance, 2 nothing more to send, -1 unknown */
	uint64_t rx_packets, tx_packets, lost_packets, rx_bytes, tx_bytes;
	uint64_t rx_datagrams, tx_datagrams, dropped_datagrams;
	uint64_t blackholes;  /* times the path MTU was found to have shrunk */
	uint64_t suspicions;  /* times the peer seemed to be gone */
	unsigned int mtu;     /* UDP payload bytes of the current path */
	unsigned int streams; /* open now */
	unsigned int running; /* of them: all but the control stream */
	uint64_t streams_total;
	uint64_t dropped_trailers; /* bodies whose trailers had no place (HTTP/2) */
	int8_t ecn;                /* 1 validated, 0 testing or off, -1 failed */
	bool is_migrated;
	uint64_t credit_stalls; /* times link-level send credit was 0 with data waiting */
	struct ip_port local, peer;
	char group[24]; /* TLS group, e.g. X25519MLKEM768 */
	char cipher[32];
};

#endif
