/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of the routed mode: the address and port of each, and bursts to the device. Private to
 * datapath/.
 */
#ifndef DAEMON_DATAPATH_TUN_PATH_H
#define DAEMON_DATAPATH_TUN_PATH_H

#include "daemon/datapath/sock.h"
#include "daemon/datapath/tun_ground.h"
#include "daemon/net/udp_burst.h"

enum { TUN_KEY_LEN = 20 };

/* An address and port that are a path's as long as it lives. */
struct tun_place {
	struct ip_port local;
	struct flow_path *path;
	uint32_t mtu; /* IPv6: that a hop has told of; 0: none has */
	struct map_node node;
	uint8_t key[TUN_KEY_LEN];
};

/* Joins it with its datapath, whose statistics are used. */
void tun_ground_join(struct tun_ground *g, struct datapath *d);
/* Where runs of its paths wait for the end of the turn. */
struct path_sock *tun_ground_sock(struct tun_ground *g);

/* 0; -EADDRNOTAVAIL, no port is free where a bounded search looked; -ENOMEM. */
[[nodiscard]] int tun_path_open(struct tun_ground *g, struct flow_path *path);
/* Also of a path between two workers, on any thread then. */
void tun_path_close(struct flow_path *path);
void tun_path_detach(struct tun_ground *g, struct flow_path *path);
/* On the other worker. 0, -ENOMEM. */
[[nodiscard]] int tun_path_attach(struct tun_ground *g, struct flow_path *path);

/* A hop takes no more than this (0: it doesn't say). In IPv4 that hop cuts what is longer. */
void tun_path_note_mtu(struct flow_path *path, uint32_t mtu);
/* Sends runs as udp_burst_send() does; peers are in the paths. */
void tun_path_send(struct tun_ground *g, struct udp_run *runs, struct flow_path *const *paths,
		   unsigned int count);

#endif
