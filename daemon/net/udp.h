/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batched datagrams on a UDP socket: recvmmsg with GRO, sendmsg with GSO, ECN and local addresses
 * (udp(7), ip(7), ipv6(7); design §4). Non-blocking; no knowledge of QUIC.
 */
#ifndef DAEMON_NET_UDP_H
#define DAEMON_NET_UDP_H

#include <stddef.h>
#include <stdint.h>

#include "util/addr.h"
#include "util/span.h"

enum {
	UDP_BATCH = 16,        /* messages of one recvmmsg; each may hold many segments */
	UDP_MSG_MAX = 65535,   /* bytes of one message */
	UDP_GSO_SEGMENTS = 44, /* segments we put into one send */
	UDP_HEADROOM = 64, /* bytes before each received message that its reader may overwrite */
};

enum udp_ecn : uint8_t { UDP_ECN_NOT_ECT = 0, UDP_ECN_ECT1 = 1, UDP_ECN_ECT0 = 2, UDP_ECN_CE = 3 };

struct udp_params {
	struct ip_port local;       /* family must be set; port 0 and any address are fine */
	const struct ip_port *peer; /* connect to it; NULL: unconnected */
	bool reuse_port;
	/* The first of a group on a port that nobody has: what no connected one of them takes is
	 * its own. */
	bool is_group_head;
	bool want_gro;
	bool is_v6_only;
	bool may_fragment; /* the kernel cuts what is larger than the path; else DF is set */
	bool want_errors;  /* ICMP errors are kept for udp_read_error() */
	uint32_t fwmark;   /* 0: none */
	const char *bind_interface; /* NULL: none */
	int rcvbuf;                 /* bytes wanted; *BUFFORCE is tried first */
	int sndbuf;
};

struct udp_socket {
	int fd;       /* owned */
	bool has_gso; /* the kernel took UDP_SEGMENT; switched off after EIO/EINVAL from a device */
	bool has_gro;
	bool is_connected;
	struct ip_port local; /* as bound (port known, address maybe any) */
	int rcvbuf_got;       /* what the kernel gave, in the unit of what was wanted */
	int sndbuf_got;
};

/* Counters of one worker's UDP work; plain, owner thread only. */
struct udp_stats {
	uint64_t rx_calls, rx_messages, rx_segments, rx_bytes,
		rx_gro; /* rx_gro: segments that came in aggregates */
	uint64_t tx_calls, tx_segments, tx_bytes,
		tx_gso; /* tx_gso: segments that left in aggregates */
	uint64_t tx_again, tx_errors, rx_errors;
};

/*
 * One received message: segment_len-sized datagrams back to back, the last may be shorter. It and
 * UDP_HEADROOM bytes before it are the reader's to write.
 */
struct udp_msg {
	uint8_t *data;
	size_t len;
	size_t segment_len; /* == len for a single datagram */
	struct ip_port peer;
	struct ip_addr local; /* destination address of the packet (family NONE when unknown) */
	enum udp_ecn ecn;
};

/* Receive memory of one worker, shared by all of its sockets. */
struct udp_batch;
[[nodiscard]] int udp_batch_new(struct udp_batch **ret);
void udp_batch_free(struct udp_batch *batch);

/*
 * Opens, binds and maybe connects. IP_MTU_DISCOVER is IP_PMTUDISC_PROBE, pktinfo and TOS reception
 * are on. Returns 0 or a negative errno. ret must be closed with udp_close().
 */
[[nodiscard]] int udp_open(const struct udp_params *params, struct udp_socket *ret);
void udp_close(struct udp_socket *sock);
/* Connects (or re-connects) an open socket to one peer. */
[[nodiscard]] int udp_connect(struct udp_socket *sock, const struct ip_port *peer);
/* The address that the kernel chose on a connected socket. */
[[nodiscard]] int udp_local_addr(const struct udp_socket *sock, struct ip_port *ret);
/*
 * The address from which the kernel would send to peer now, through an interface and with a mark if
 * they are given, and the size of packets on that way (NULL: not asked for). 0 or a negative errno:
 * -ENETUNREACH (no way), -ENODEV, -EPERM.
 */
[[nodiscard]] int udp_find_source(const struct ip_port *peer, const char *bind_interface,
				  uint32_t fwmark, struct ip_addr *ret, uint32_t *ret_mtu);

/*
 * Receives at most UDP_BATCH messages. The result is valid until the next call with this batch.
 * Returns their count, -EAGAIN, or an error of the socket (-ECONNREFUSED, -EHOSTUNREACH …: once).
 */
[[nodiscard]] int udp_recv(struct udp_socket *sock, struct udp_batch *batch,
			   struct udp_stats *stats, const struct udp_msg **ret);

/* An ICMP error about something that was sent. */
struct udp_error {
	int error;           /* negative errno: -ECONNREFUSED, -EHOSTUNREACH, -EMSGSIZE … */
	struct ip_port peer; /* whom it was sent to */
	uint32_t mtu;        /* with -EMSGSIZE: what the path takes */
};
/*
 * The next error that the kernel has kept (want_errors): 0, or -EAGAIN. While there are some the
 * socket polls as EPOLLERR, and one call that sends or receives may fail with the latest.
 */
[[nodiscard]] int udp_read_error(struct udp_socket *sock, struct udp_error *ret);

/*
 * Sends data as segments of segment_len bytes (the last may be shorter), at most UDP_GSO_SEGMENTS.
 * peer may be NULL on a connected socket (a different one overrides it for this send); local
 * chooses the source address (NULL or family NONE: kernel's choice). Returns 0, -EAGAIN (nothing
 * was sent), -EMSGSIZE, or another error. Without GSO it sends one by one; when that blocks in the
 * middle *ret_sent (bytes, always set) says how far it got.
 */
struct udp_send {
	struct span data;
	size_t segment_len;
	const struct ip_port *peer;
	const struct ip_addr *local;
	enum udp_ecn ecn;
};
[[nodiscard]] int udp_send(struct udp_socket *sock, const struct udp_send *send,
			   struct udp_stats *stats, size_t *ret_sent);

#endif
