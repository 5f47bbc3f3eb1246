/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a UDP flow reaches its origin: a local port that stays its own for as long as it lives, and
 * what was sent and received on it. Today every path is an anchor, a bound socket (anchor.h), which
 * needs no privilege and always works. One struct datapath for each worker.
 */
#ifndef DAEMON_DATAPATH_PATH_H
#define DAEMON_DATAPATH_PATH_H

#include "daemon/base/map.h"
#include "daemon/base/worker.h"
#include "daemon/net/udp.h"

enum {
	PATH_HEADROOM = UDP_HEADROOM, /* bytes before a received datagram that its reader may use */
	PATH_REMOTE_LEN = 19,
};

struct anchor;
struct datapath;
struct flow_path;

/* Whose flows they are. Callbacks come from the loop; the path may be closed in one. */
struct path_user {
	/* From the origin: data and PATH_HEADROOM bytes before it are the callee's to write. */
	void (*on_datagram)(struct flow_path *path, uint8_t *data, size_t len);
	/* The network says why something that was sent didn't arrive: a negative errno; with
	 * -EMSGSIZE, what the path takes. */
	void (*on_error)(struct flow_path *path, const struct udp_error *error);
};

/* Embedded in the flow; zeroed before it is opened. */
struct flow_path {
	const struct path_user *user;
	struct anchor *anchor; /* NULL: not open */
	struct ip_port remote;
	struct map_node node; /* in the anchor's, by remote */
	uint8_t key[PATH_REMOTE_LEN];
};

struct datapath_stats {
	struct udp_stats udp;
	uint64_t anchors;      /* sockets, now */
	uint64_t opened;       /* … ever */
	uint64_t rx_datagrams; /* that had a flow */
	uint64_t tx_datagrams;
	uint64_t strangers; /* from addresses that no flow talks to; dropped */
	uint64_t errors;    /* reports of the network that had a flow */
};

/* 0 or -ENOMEM. */
[[nodiscard]] int datapath_new(struct worker *worker, struct datapath **ret);
/* All paths must have been closed. Accepts NULL. */
void datapath_free(struct datapath *d);
const struct datapath_stats *datapath_get_stats(const struct datapath *d);

/*
 * Opens a path to remote, which is no IPv4-mapped address. Nothing is sent. 0; -ENETUNREACH,
 * -EHOSTUNREACH, -EINVAL (no such address can be reached), -EACCES, -EPERM; -EMFILE, -ENFILE,
 * -ENOMEM, -EADDRNOTAVAIL, -EADDRINUSE (no socket).
 */
[[nodiscard]] int flow_path_open(struct datapath *d, struct flow_path *path,
				 const struct path_user *user, const struct ip_port *remote);
/* What arrives from now on is a stranger's. Harmless on one that isn't open. */
void flow_path_close(struct flow_path *path);
/* Sends one datagram at once: 0, -EAGAIN (no room: drop it), -EMSGSIZE, or why it can't. */
[[nodiscard]] int flow_path_send(struct flow_path *path, struct span datagram);
/* The flow's own address and port. */
const struct ip_port *flow_path_local(const struct flow_path *path);

#endif
