/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of the emulated link: frames go in, and come out late, fewer, twice or in another
 * order. Pure: time and the seed come from the caller.
 */
#ifndef SELFTESTS_LIB_WAN_PATH_H
#define SELFTESTS_LIB_WAN_PATH_H

#include <stddef.h>
#include <stdint.h>

#include "util/heap.h"
#include "util/span.h"
#include "util/time.h"

enum { WAN_FRAME_MAX = 2048, WAN_FRAMES = 8192, WAN_MILLION = 1000000 };

/* What may be changed at any time; 0 is a perfect wire. Parts are of WAN_MILLION. */
struct wan_settings {
	uint64_t delay;   /* ns */
	uint64_t jitter;  /* ns more at most, evenly; keeps the order */
	uint64_t loss;    /* part that is lost */
	uint64_t twice;   /* part that arrives twice */
	uint64_t reorder; /* part that arrives 5 ms later than what follows it */
	uint64_t rate;    /* bits a second; 0: any */
	uint64_t queue;   /* bytes that may wait for their turn at that rate */
	uint64_t mtu;     /* longer packets vanish without a word; 0: none */
};

/* IP packets but neighbour discovery, which only meets the delay. */
struct wan_counters {
	uint64_t received, sent, lost, full, large, twice, late;
	uint64_t received_bytes, sent_bytes;
};

struct wan_packet {
	struct heap_node node;
	struct wan_packet *next; /* in the list of free ones */
	nsec_t due;
	uint64_t number; /* equal times keep their order */
	size_t len;
	bool is_counted;
	uint8_t frame[WAN_FRAME_MAX];
};

struct wan_path {
	struct wan_settings set;
	struct wan_counters count;
	struct wan_packet *packets; /* all there are: WAN_FRAMES */
	struct wan_packet *unused;
	struct heap waiting;
	uint64_t random, number;
	nsec_t idle_at;  /* when the wire has sent all that was put on it */
	nsec_t last_due; /* of the packets in order */
};

/* Returns 0 or -ENOMEM. */
[[nodiscard]] int wan_path_init(struct wan_path *p, uint64_t seed);
void wan_path_done(struct wan_path *p);

/* Where the next frame is to be read to (WAN_FRAME_MAX bytes). */
uint8_t *wan_path_space(struct wan_path *p);
/* The frame in that place has len bytes and comes in now. */
void wan_path_take(struct wan_path *p, size_t len, nsec_t now);

/* When the next frame is to come out; NSEC_NEVER: none waits. */
nsec_t wan_path_due(const struct wan_path *p);
/* Takes out the next frame, valid until the next call; false if none is due yet. */
bool wan_path_give(struct wan_path *p, nsec_t now, struct span *ret_frame);

#endif
