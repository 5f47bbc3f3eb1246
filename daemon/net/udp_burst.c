/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many datagrams in one system call. The kernel says how many messages it took and, when asked
 * again, why not the next; a run that it doesn't take as one (a device, or a datagram larger than
 * the path, which only a datagram alone may be) is sent one by one.
 */
#include "daemon/net/udp_burst.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>

#include "daemon/net/sockaddr.h"
#include "daemon/net/tcp.h"
#include "util/macro.h"

struct segment_control {
	alignas(struct cmsghdr) uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
};

struct udp_burst {
	struct mmsghdr headers[UDP_BURST];
	struct sockaddr_storage names[UDP_BURST];
	struct segment_control controls[UDP_BURST];
};

int udp_burst_new(struct udp_burst **ret)
{
	struct udp_burst *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	*ret = b;
	return 0;
}

void udp_burst_free(struct udp_burst *burst)
{
	free(burst);
}

static void prepare(struct udp_burst *b, unsigned int i, const struct udp_socket *sock,
		    const struct udp_run *run)
{
	struct msghdr *h = &b->headers[i].msg_hdr;
	*h = (struct msghdr){ .msg_iov = run->iov, .msg_iovlen = run->count };
	if (run->peer) {
		h->msg_name = &b->names[i];
		h->msg_namelen =
			sockaddr_for_family(run->peer, sock->local.ip.family, &b->names[i]);
	}
	if (run->count < 2)
		return;
	uint16_t segment_len = (uint16_t)run->iov[0].iov_len;
	h->msg_control = &b->controls[i];
	h->msg_controllen = sizeof(b->controls[i].bytes);
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	c->cmsg_level = SOL_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(segment_len));
	memcpy(CMSG_DATA(c), &segment_len, sizeof(segment_len));
}

/* How many messages were taken, at least one, or a negative errno. */
static int call(const struct udp_socket *sock, struct mmsghdr *headers, unsigned int count,
		struct udp_stats *stats)
{
	int n;
	do {
		n = sendmmsg(sock->fd, headers, count, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	stats->tx_calls++;
	if (n > 0)
		return n;
	return n < 0 ? -errno : -EAGAIN;
}

/* Once more when it fails: the error may be one that the kernel has kept of another datagram. */
static int call_again(const struct udp_socket *sock, struct mmsghdr *headers, unsigned int count,
		      struct udp_stats *stats)
{
	int r = call(sock, headers, count, stats);
	if (r > 0 || r == -EAGAIN)
		return r;
	(void)socket_error(sock->fd);
	return call(sock, headers, count, stats);
}

static void count_datagrams(struct udp_stats *stats, const struct udp_run *run)
{
	for (unsigned int i = 0; i < run->count; i++)
		stats->tx_bytes += run->iov[i].iov_len;
	stats->tx_segments += run->count;
	if (run->count > 1)
		stats->tx_gso += run->count;
}

static void count_failure(struct udp_stats *stats, int error)
{
	if (error == -EAGAIN)
		stats->tx_again++;
	else
		stats->tx_errors++;
}

/* A run that wasn't taken as one. */
static void send_apart(struct udp_burst *b, struct udp_socket *sock, struct udp_run *run,
		       struct udp_stats *stats)
{
	for (unsigned int i = 0; i < run->count; i++) {
		struct udp_run one = { .peer = run->peer, .iov = &run->iov[i], .count = 1 };
		prepare(b, 0, sock, &one);
		int r = call_again(sock, b->headers, 1, stats);
		if (r < 0) {
			count_failure(stats, r);
			run->result = r;
			continue;
		}
		count_datagrams(stats, &one);
		run->sent++;
	}
}

static bool is_for_one_by_one(const struct udp_run *run, int error)
{
	return run->count > 1 && (error == -EIO || error == -EINVAL || error == -EMSGSIZE);
}

/* The first run wasn't taken. */
static void fail(struct udp_burst *b, struct udp_socket *sock, struct udp_run *run, int error,
		 struct udp_stats *stats)
{
	if (is_for_one_by_one(run, error)) {
		send_apart(b, sock, run, stats);
		if (error == -EIO && run->result == 0)
			sock->has_gso = false; /* the device can't */
		return;
	}
	count_failure(stats, error);
	run->result = error;
}

/* Prepares what one call takes: 0 where the first run has to be sent one by one. */
static unsigned int prepare_some(struct udp_burst *b, const struct udp_socket *sock,
				 const struct udp_run *runs, unsigned int count)
{
	unsigned int n = 0;
	for (; n < count && n < UDP_BURST && (sock->has_gso || runs[n].count < 2); n++)
		prepare(b, n, sock, &runs[n]);
	return n;
}

void udp_burst_send(struct udp_burst *burst, struct udp_socket *sock, struct udp_run *runs,
		    unsigned int count, struct udp_stats *stats)
{
	for (unsigned int i = 0; i < count; i++) {
		runs[i].sent = 0;
		runs[i].result = 0;
	}
	for (unsigned int at = 0; at < count;) {
		unsigned int ready = prepare_some(burst, sock, &runs[at], count - at);
		int n = ready ? call_again(sock, burst->headers, ready, stats) : -EIO;
		if (n == -EAGAIN) {
			stats->tx_again++;
			for (; at < count; at++)
				runs[at].result = -EAGAIN;
			return;
		}
		if (n < 0)
			fail(burst, sock, &runs[at++], n, stats);
		for (int i = 0; i < n; i++, at++) {
			count_datagrams(stats, &runs[at]);
			runs[at].sent = runs[at].count;
		}
	}
}
