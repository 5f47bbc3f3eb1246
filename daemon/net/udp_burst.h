/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many datagrams to many peers on one UDP socket in one system call: sendmmsg, and UDP_SEGMENT for
 * runs of equal length.
 */
#ifndef DAEMON_NET_UDP_BURST_H
#define DAEMON_NET_UDP_BURST_H

#include <sys/uio.h>

#include "daemon/net/udp.h"

enum {
	UDP_BURST = 64,        /* runs of one call */
	UDP_RUN = 64,          /* datagrams of a run */
	UDP_RUN_BYTES = 65000, /* … of more than one */
};

/*
 * Datagrams to one peer, all as long as the first except the last, which may be shorter but not
 * empty. One alone may have any length. On a socket without GSO they are sent one by one.
 */
struct udp_run {
	const struct ip_port *peer; /* NULL: the socket is connected */
	struct iovec *iov;          /* one for each; not written */
	unsigned int count;
	unsigned int sent; /* of them: set by udp_burst_send() */
	int result;        /* 0, or why not all: -EAGAIN no room, -EMSGSIZE … */
};

/* What the kernel is given; one for a worker. */
struct udp_burst;
[[nodiscard]] int udp_burst_new(struct udp_burst **ret);
void udp_burst_free(struct udp_burst *burst);

/*
 * Sends runs, at most UDP_BURST. When there is no more room the rest is -EAGAIN. A kept error of
 * another datagram (want_errors) harms nothing: that call is made again.
 */
void udp_burst_send(struct udp_burst *burst, struct udp_socket *sock, struct udp_run *runs,
		    unsigned int count, struct udp_stats *stats);

#endif
