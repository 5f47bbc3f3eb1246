/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anchors: unconnected UDP sockets, each bound to a local address and a port that the kernel chose.
 * Flows to different remotes share one; two flows to the same remote never do, because the remote
 * is what tells them apart. Private to datapath/.
 */
#ifndef DAEMON_DATAPATH_ANCHOR_H
#define DAEMON_DATAPATH_ANCHOR_H

#include "daemon/datapath/sock.h"

struct anchor_group;

struct anchor {
	struct path_sock sock;
	struct anchor_group *group;
	struct map places; /* by remote */
	struct list node;
};

/*
 * A remote's place on an anchor. It is taken for as long as the path lives, also on another worker:
 * else a new flow to the same remote could be given the same port.
 */
struct path_place {
	struct anchor *anchor;
	struct flow_path *path; /* NULL: it is on another worker */
	struct worker *home;    /* the anchor's */
	struct map_node node;
	uint8_t key[PATH_REMOTE_LEN];
	struct message message; /* on which it comes home to be given back */
};

/* Finds an anchor that has this local address and no flow to the path's remote, or opens one. */
[[nodiscard]] int anchor_take(struct datapath *d, const struct ip_addr *local,
			      struct flow_path *path);
/* Gives a path's place back; an anchor without any is kept as a spare, or closed. Any thread. */
void anchor_give(struct flow_path *path);
/* The path that a remote's packets are for; NULL: nobody's. */
struct flow_path *anchor_find(const struct anchor *a, const struct ip_port *remote);
/* Closes the spares. */
void anchor_close_all(struct datapath *d);

#endif
