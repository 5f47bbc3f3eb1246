/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets towards origins: an anchor's, or a path's own, which is connected to the path's remote
 * and bound to the anchor's port. Private to datapath/.
 */
#ifndef DAEMON_DATAPATH_SOCK_H
#define DAEMON_DATAPATH_SOCK_H

#include "daemon/datapath/path.h"

struct anchor;
struct promoter;

struct datapath {
	struct worker *worker;
	struct udp_batch *batch; /* receive memory of all sockets */
	struct path_tx *tx;
	struct list groups;
	struct promoter *promoter; /* NULL: there is no short cut */
	struct tun_ground *tun;    /* NULL: nothing is routed */
	struct datapath_stats stats;
};

struct path_sock {
	struct datapath *datapath; /* NULL: on the way to another worker */
	struct udp_socket udp;     /* fd is -EBADF once it is closed */
	struct loop_io io;
	struct anchor *anchor;  /* of this worker, whose port it is; NULL: another worker's */
	struct flow_path *path; /* whose it is; NULL: an anchor's */
	struct list tx;         /* paths that have something to send through it */
	struct list in_tx;
	struct loop_garbage garbage;
};

/* Opens s at local (port 0: the kernel's choice), and connects it where peer isn't NULL. */
[[nodiscard]] int path_sock_open(struct path_sock *s, struct datapath *d,
				 const struct ip_port *local, const struct ip_port *peer);
/* Releases its memory by free() when the turn is over. */
void path_sock_close(struct path_sock *s);

/*
 * Gives the path a socket of its own. What arrived in it before it was connected is delivered like
 * what arrives at the anchor. 0 or a negative errno.
 */
[[nodiscard]] int path_own_open(struct flow_path *path);
void path_own_close(struct flow_path *path);
/* The socket through which a path sends; in the routed mode what stands for one (tun_path.h). */
struct path_sock *path_sock_of(const struct flow_path *path);
/* Which socket a path has. */
enum path_kind path_sock_kind(const struct flow_path *path);
/* Delivers what waits in a socket, within a bound. */
void path_sock_read(struct path_sock *s);

#endif
