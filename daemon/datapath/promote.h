/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of a worker's flows take the short cut (shortcut.h), when, and why not: probe, promote,
 * demote. A busy flow is entered in the interface's program on probe; once a reply was seen there
 * with the flow's own addresses and ports, nothing lies in between that changes them, and the flow
 * is promoted. Whatever happens on the host puts it back on probe; its socket serves it meanwhile,
 * and once in a while a datagram of a promoted one as well, so that routing, the firewall and the
 * neighbour are asked again. One worker's; private to datapath/.
 */
#ifndef DAEMON_DATAPATH_PROMOTE_H
#define DAEMON_DATAPATH_PROMOTE_H

#include "daemon/base/worker.h"
#include "daemon/datapath/path.h"

struct bpf_flow;
struct promoter;
struct xsk_area;

enum {
	PROMOTE_WAYS_MAX = 16, /* interfaces with a short cut */
	PROMOTE_MAC_LEN = 6,
};

/* An interface while its short cut is open. */
struct promote_way {
	unsigned int ifindex; /* 0: closed */
	unsigned int mtu;
	unsigned int queues;
	uint8_t mac[PROMOTE_MAC_LEN];
	struct xsk_area *area;
	struct bpf_flow *flows;
};

struct promote_params {
	struct worker *worker;
	struct datapath_stats *stats;
	uint32_t first_slot, slots; /* this worker's, of all slots of the maps */
	unsigned int rate;          /* datagrams a second from which a flow is worth it; 0: any */
};

/* 0, -ENOMEM, or why the kernel can't be asked for routes. */
[[nodiscard]] int promoter_new(const struct promote_params *params, struct promoter **ret);
/* Ways needn't have been closed if the worker's loop has gone. Accepts NULL. */
void promoter_free(struct promoter *p);

/* ---- from the control thread, each on the worker's own ---- */
[[nodiscard]] int promoter_open_way(struct promoter *p, unsigned int index,
				    const struct promote_way *way);
/* Nothing of the way is used when it returns. */
void promoter_close_way(struct promoter *p, unsigned int index);
/* The host has policies of IPsec, or hasn't any more: no flow, or any, may go around them. */
void promoter_bar(struct promoter *p, bool is_barred);
/* Anything may have changed: every flow has to prove itself again. */
void promoter_way_changed(struct promoter *p);
/* mac: NULL when the neighbour has gone or doesn't answer. */
void promoter_neighbour_changed(struct promoter *p, unsigned int ifindex,
				const struct ip_addr *addr, const uint8_t *mac);

/* Brings the statistics up to date about what the kernel has dropped. */
void promoter_count_losses(struct promoter *p);

/* ---- from the paths of the worker ---- */
/* So many datagrams were sent or received by a socket. */
void promote_note(struct promoter *p, struct flow_path *path, unsigned int count);
/* Asks for the memory that promote_send() needs. */
void promote_fetch(const struct promoted *f);
/* Sends by the short cut: false when the socket has to. */
bool promote_send(struct promoter *p, struct flow_path *path, struct span datagram);
/* The network or the kernel refused something of it: a negative errno. -ENOBUFS is a queue of this
 * host that was full, and says nothing of the way unless it is said again and again. */
void promote_error(struct promoter *p, struct flow_path *path, int error);
/* It closes, or goes to another worker. */
void promote_forget(struct promoter *p, struct flow_path *path);
/* Whether it receives, or sends, by the short cut. */
bool promote_is_receiving(const struct flow_path *path);
bool promote_is_sending(const struct flow_path *path);

#endif
