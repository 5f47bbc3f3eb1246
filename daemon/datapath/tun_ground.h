/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routed mode of a worker: its queue of a TUN device, by which this host's own routing takes
 * packets to origins and brings them back (docs/operations.md). UDP flows have an address of the
 * device's prefix and a port as their source, and no socket. ICMP comes and goes in whole packets,
 * and is whose set_icmp() was called.
 *
 * What is read by a worker that hasn't the flow goes to the one that has (base/ferry); the kernel
 * is told then, where there is a program for that.
 */
#ifndef DAEMON_DATAPATH_TUN_GROUND_H
#define DAEMON_DATAPATH_TUN_GROUND_H

#include "daemon/base/owners.h"
#include "daemon/base/worker.h"
#include "daemon/datapath/tun_plan.h"
#include "daemon/wire/icmp.h"

struct tun_ground;
struct tun_steer;

/* Why a packet that was read went no further. */
enum tun_drop : uint8_t {
	TUN_DROP_MALFORMED,
	TUN_DROP_STRAY,     /* to no address of the prefix, or that nobody has now */
	TUN_DROP_FRAGMENT,  /* nothing here puts pieces together */
	TUN_DROP_PROTOCOL,  /* neither UDP nor ICMP */
	TUN_DROP_STRANGER,  /* from an address that the flow doesn't talk to */
	TUN_DROP_ICMP_KIND, /* a question: only answers and errors enter the tunnel */
	TUN_DROP_FOREIGN,   /* ICMP that nobody has asked for */
	TUN_DROP_CROSSING,  /* too much is on its way to the worker that has the flow */
	TUN_DROP_MOVING,    /* the flow is on its way between two workers */
	TUN_DROP_FULL,      /* ICMP to the network: the device takes no more */
	TUN_DROP_ERRORS,    /* errors of our own over their rate */
	TUN_DROP_MAX_,
};
const char *tun_drop_name(enum tun_drop reason);

struct tun_ground_stats {
	uint64_t rx_packets, tx_packets; /* ICMP of users */
	uint64_t errors;                 /* ICMP errors that we made */
	uint64_t crossed;                /* packets handed to the worker that has their flow */
	uint64_t read[2]; /* packets that were somebody's, IPv4 and IPv6: the way back is there */
	bool has_gone;    /* the device was taken away: nothing comes any more */
	uint64_t drops[TUN_DROP_MAX_];
};

struct tun_ground_params {
	struct worker *worker;
	const struct tun_plan *plan;
	int fd; /* queue of the device; taken */
	bool has_bursts;
	const struct tun_steer *steer; /* NULL: the kernel learns from what is written */
	struct owners *owners;         /* of the process; NULL with one worker */
	void *const *grounds;          /* struct tun_ground of all workers, before the first runs */
};

/* Before the worker runs. 0 or a negative errno: fd stays the caller's. */
[[nodiscard]] int tun_ground_new(const struct tun_ground_params *params, struct tun_ground **ret);
/* Paths must have been closed, and the workers have ended. Accepts NULL. */
void tun_ground_free(struct tun_ground *g);
const struct tun_ground_stats *tun_ground_get_stats(const struct tun_ground *g);
const struct tun_plan *tun_ground_plan(const struct tun_ground *g);
/* ICMP errors of ours a second; 0: none. */
void tun_ground_set_limits(struct tun_ground *g, unsigned int errors);
/* Whether packets to an address go this way: it isn't this host's, nor behind the device. */
bool tun_ground_reaches(const struct tun_ground *g, const struct ip_addr *dst);

/* ---- ICMP ---- */

/* An ICMP packet of the network, the callee's to write; is_last: it isn't to be handed on. */
struct tun_icmp {
	uint8_t *packet;
	size_t len;
	const struct ip_packet *ip;
	const struct icmp_message *message;
	bool is_last;
};
typedef void (*tun_icmp_fn)(void *arg, const struct tun_icmp *icmp);
void tun_ground_set_icmp(struct tun_ground *g, tun_icmp_fn take, void *arg);
/* Writes a whole packet: 0, or a negative errno (counted). */
int tun_ground_write(struct tun_ground *g, struct span packet);
/* Answers a packet that was read with an error, if one may and the rate allows it. */
void tun_ground_report(struct tun_ground *g, struct span packet, struct icmp_error *e);
/* Gives a packet to the worker that has it. */
void tun_ground_hand_on(struct tun_ground *g, const struct tun_icmp *icmp, unsigned int worker);
/* An ICMP packet that was read is somebody's. */
void tun_ground_note(struct tun_ground *g, enum ip_family family);
void tun_ground_drop(struct tun_ground *g, enum tun_drop reason);

#endif
