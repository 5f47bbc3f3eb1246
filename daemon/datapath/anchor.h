/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anchors: unconnected UDP sockets, each bound to a local address and a port that the kernel chose.
 * Flows to different remotes share one; two flows to the same remote never do, because the remote
 * is what tells them apart. Private to datapath/.
 */
#ifndef DAEMON_DATAPATH_ANCHOR_H
#define DAEMON_DATAPATH_ANCHOR_H

#include "daemon/datapath/path.h"
#include "util/list.h"

struct anchor_group;

struct datapath {
	struct worker *worker;
	struct udp_batch *batch; /* receive memory of all anchors */
	struct list groups;
	struct datapath_stats stats;
};

struct anchor {
	struct anchor_group *group;
	struct udp_socket sock; /* fd is -EBADF once it is closed */
	struct loop_io io;
	struct map paths; /* by remote */
	struct list node;
	struct loop_garbage garbage;
};

/* Finds an anchor that has this local address and no flow to the path's remote, or opens one. */
[[nodiscard]] int anchor_take(struct datapath *d, const struct ip_addr *local,
			      struct flow_path *path);
/* Takes the path off its anchor; an anchor without paths is kept as a spare, or closed. */
void anchor_give(struct flow_path *path);
/* Closes the spares. */
void anchor_close_all(struct datapath *d);

#endif
