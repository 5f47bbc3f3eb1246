/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a UDP flow reaches its origin: a local port that stays its own for as long as it lives, and
 * what was sent and received on it. Every path has a place on an anchor, a bound socket that flows
 * to different remotes share (anchor.h); it may have a connected socket on the same port besides.
 * Neither needs a privilege. In the routed mode its packets go by a TUN device (tun_ground.h). One
 * struct datapath for each worker; a path may go to another worker, and takes its port along.
 */
#ifndef DAEMON_DATAPATH_PATH_H
#define DAEMON_DATAPATH_PATH_H

#include "daemon/base/map.h"
#include "daemon/base/worker.h"
#include "daemon/net/udp.h"
#include "util/list.h"

enum {
	PATH_HEADROOM = UDP_HEADROOM, /* bytes before a received datagram that its reader may use */
	PATH_REMOTE_LEN = 19,
};

struct datapath;
struct flow_path;
struct path_place;
struct path_sock;
struct promoted;
struct shortcut;
struct tun_ground;
struct tun_place;

/* What carries a path's datagrams. */
enum path_kind : uint8_t {
	PATH_KIND_ANCHOR,    /* a socket that it shares */
	PATH_KIND_CONNECTED, /* one of its own */
	PATH_KIND_SHORT_CUT, /* around the kernel; a socket has what that leaves */
	PATH_KIND_TUN,       /* none: it is routed (tun_ground.h) */
	PATH_KIND_MAX_,
};
/* "anchor", "connected", "xdp", "tun": in metrics and status. */
const char *path_kind_name(enum path_kind kind);

/* Whose flows they are. Callbacks come from the loop; the path may be closed in one. */
struct path_user {
	/* From the origin: data and PATH_HEADROOM bytes before it are the callee's to write. */
	void (*on_datagram)(struct flow_path *path, uint8_t *data, size_t len);
	/* The network says why something that was sent didn't arrive: a negative errno; with
	 * -EMSGSIZE, what the path takes. */
	void (*on_error)(struct flow_path *path, const struct udp_error *error);
	/*
	 * What became of so many datagrams of flow_path_send(): 0, they left; -EAGAIN there was no
	 * room; or why they couldn't. It comes at the end of the turn, or from within a call to
	 * flow_path_send(), flow_path_close() or flow_path_detach(), and closes no path.
	 */
	void (*on_sent)(struct flow_path *path, unsigned int count, int error);
	/* What is longer will be dropped by on_datagram(). NULL: nothing is. */
	size_t (*max)(struct flow_path *path);
};

/* How busy a path is, for the short cut (promote.h). */
struct path_pace {
	uint32_t moved, turns; /* datagrams by sockets since the last look; in so many turns */
	nsec_t turn, retry;
	struct list node; /* while moved isn't 0 */
};

/* Embedded in the flow; zeroed before it is opened. What the short cut needs comes first. */
struct flow_path {
	const struct path_user *user;
	struct datapath *datapath; /* NULL: not open, or between two workers */
	struct promoted *fast;     /* NULL: no frame of it goes around the kernel */
	struct path_place *place;  /* on an anchor, maybe of another worker; NULL: none */
	struct tun_place *tun;     /* in the routed mode, instead of that; NULL: none */
	struct path_sock *own;     /* NULL: the anchor's socket is used */
	struct list in_tx;
	uint16_t tx_first, tx_last; /* what waits for the end of the turn; 0: nothing */
	struct {
		nsec_t since;
		unsigned int turns, datagrams; /* since then */
	} busy;
	struct path_pace pace;
	struct ip_port remote;
	nsec_t since;    /* its present kind */
	const char *why; /* … and no shorter way; for who looks at it, static */
};

/* Why a frame of the short cut is dropped. */
enum path_loss : uint8_t {
	PATH_LOSS_RING_FULL, /* the worker is too slow */
	PATH_LOSS_NO_CHUNK,  /* all memory for frames is with the workers */
	PATH_LOSS_TOO_LONG,
	PATH_LOSS_NOT_SENT, /* the interface is full, down, or has gone */
	PATH_LOSS_MAX_,
};
const char *path_loss_name(enum path_loss loss);

struct datapath_stats {
	struct udp_stats udp;
	uint64_t anchors;                      /* sockets that are shared, now */
	uint64_t opened;                       /* … ever */
	uint64_t connected;                    /* sockets of one path, now */
	uint64_t paths[PATH_KIND_MAX_];        /* now */
	uint64_t rx_datagrams[PATH_KIND_MAX_]; /* that had a flow */
	uint64_t tx_datagrams[PATH_KIND_MAX_];
	uint64_t promotions, demotions; /* of paths, to and from the short cut */
	unsigned int open;              /* interfaces with a short cut */
	uint64_t late;                  /* frames of the short cut whose flow had ended; dropped */
	uint64_t frames_lost[PATH_LOSS_MAX_]; /* frames of the short cut that were dropped */
	uint64_t strangers;                   /* from addresses that no flow talks to; dropped */
	uint64_t errors;                      /* reports of the network that had a flow */
};

/* 0 or -ENOMEM. */
[[nodiscard]] int datapath_new(struct worker *worker, struct datapath **ret);
/* Its paths may take the short cut, which outlives it. Before the worker runs. 0 or an errno. */
[[nodiscard]] int datapath_use_shortcut(struct datapath *d, struct shortcut *shortcut);
/* Paths to other hosts are routed, by what outlives the paths. Before the worker runs. */
void datapath_use_tun(struct datapath *d, struct tun_ground *tun);
/* All paths of this worker must have been closed. Accepts NULL. */
void datapath_free(struct datapath *d);
const struct datapath_stats *datapath_get_stats(struct datapath *d);

/*
 * Opens a path to remote, which is no IPv4-mapped address. Nothing is sent. 0; -ENETUNREACH,
 * -EHOSTUNREACH, -EINVAL (no such address can be reached), -EACCES, -EPERM; -EMFILE, -ENFILE,
 * -ENOMEM, -EADDRNOTAVAIL, -EADDRINUSE (no socket).
 */
[[nodiscard]] int flow_path_open(struct datapath *d, struct flow_path *path,
				 const struct path_user *user, const struct ip_port *remote);
/* What arrives is a stranger's then. Harmless if not open; between two workers: on any thread. */
void flow_path_close(struct flow_path *path);
/* Asks for the memory that the next one needs. */
void flow_path_fetch(const struct flow_path *path);
/* Copies one datagram, to be sent with all others of the turn; on_sent says what became of it. */
void flow_path_send(struct flow_path *path, struct span datagram);
/* The flow's own address and port. */
const struct ip_port *flow_path_local(const struct flow_path *path);
enum path_kind flow_path_kind(const struct flow_path *path);
/* It has come to what carries it now. why: a static text. */
void flow_path_note(struct flow_path *path, const char *why);

/*
 * Takes a path off its worker, to be attached to another's. Its packets go on arriving, in a socket
 * of its own. Datagrams of other paths may be delivered from inside. 0, or a negative errno: it
 * stays as it is.
 */
[[nodiscard]] int flow_path_detach(struct flow_path *path);
/* On the other worker's thread. 0, or a negative errno: it has to be closed. */
[[nodiscard]] int flow_path_attach(struct datapath *d, struct flow_path *path);

#endif
