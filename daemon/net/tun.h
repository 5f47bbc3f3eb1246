/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TUN devices: queues, one for each worker, and packets in and out, UDP in bursts that the kernel
 * cuts (USO). The device goes when its last queue is closed.
 */
#ifndef DAEMON_NET_TUN_H
#define DAEMON_NET_TUN_H

#include <sys/uio.h>

#include "util/cleanup.h"
#include "util/span.h"

enum {
	TUN_NAME_MAX = 16,         /* with NUL, as the kernel has it */
	TUN_PACKET_MAX = 65535,    /* bursts included */
	TUN_SEGMENTS_MAX = 64,     /* datagrams of a burst that is sent */
	TUN_BURST_MAX = 64 * 1000, /* bytes of one, headers included */
	TUN_PIECES_MAX = 4,        /* of a packet that is sent */
};

/*
 * Makes a device with so many queues; "adit%d" lets the kernel choose the number. Needs
 * CAP_NET_ADMIN. 0 with count non-blocking descriptors and the name, or a negative errno (-EBUSY:
 * there is a device of that name). Where the
 * kernel has no USO (before 6.2) bursts aren't there: *ret_has_bursts.
 */
struct tun_device {
	char name[TUN_NAME_MAX];
	bool has_bursts;
};
[[nodiscard]] int tun_open(const char *name, unsigned int count, int *ret_fds,
			   struct tun_device *ret);

/* What was read. */
struct tun_packet {
	struct span
		bytes; /* of the IP packet; a burst has the headers of its first datagram once */
	size_t segment_len; /* burst: UDP payload of each datagram, the last may have less; else 0
			     */
};
/*
 * Reads one packet into buf (TUN_PACKET_MAX). The checksum behind IP may not be there, except that
 * it always is in a packet that isn't UDP. 0; -EAGAIN, -EBADMSG for what the kernel shouldn't give.
 */
[[nodiscard]] int tun_read(int fd, uint8_t *buf, struct tun_packet *ret);

/* What is sent: an IP packet in pieces. */
struct tun_send {
	struct span pieces[TUN_PIECES_MAX];
	unsigned int piece_count;
	const struct iovec *more; /* … and behind those */
	unsigned int more_count;  /* at most TUN_SEGMENTS_MAX */
	size_t udp_at; /* where its UDP header is; the checksum there is the pseudo-header's sum,
			* to be completed; 0: the packet is whole as it is */
	size_t segment_len; /* as in tun_packet */
};
/* 0, -EAGAIN (the kernel takes no more), -EINVAL, -EIO and others for what it doesn't take. */
[[nodiscard]] int tun_write(int fd, const struct tun_send *s);

#endif
