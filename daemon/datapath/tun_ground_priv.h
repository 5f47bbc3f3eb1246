/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tun_ground.c (what is read) and tun_path.c (who has which port, what is sent) share.
 */
#ifndef DAEMON_DATAPATH_TUN_GROUND_PRIV_H
#define DAEMON_DATAPATH_TUN_GROUND_PRIV_H

#include "daemon/base/ferry.h"
#include "daemon/base/ratelimit.h"
#include "daemon/datapath/tun_path.h"
#include "daemon/net/tun.h"

struct tun_ground {
	struct tun_ground_params p;
	struct datapath *datapath;
	struct loop_io io;
	struct path_sock sock; /* no socket: a list of paths */
	struct map places;     /* of paths of this worker, by local address and port */
	struct ferry ferry;    /* what another worker has */
	tun_icmp_fn take_icmp;
	void *icmp_arg;
	struct ratelimit errors;
	bool is_silent;
	uint16_t next_id; /* of IPv4 packets, which may be fragmented */
	struct tun_ground_stats stats;
	uint8_t room[PATH_HEADROOM];
	uint8_t packet[TUN_PACKET_MAX];
};

/* By address and port: the path that it is; NULL: not this worker's. */
struct flow_path *tun_path_find(const struct tun_ground *g, const struct ip_port *local);
/* The worker that has it: -ENOENT nobody, -EINPROGRESS this one, or will have. */
int tun_path_owner(const struct tun_ground *g, const struct ip_port *local);

#endif
