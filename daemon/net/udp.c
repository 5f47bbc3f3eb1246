/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batched datagrams on a UDP socket. One mmapped region of 16 messages of 64 KiB serves all sockets
 * of a worker, because a turn reads one socket to its end before the next; pages that no datagram
 * ever reached cost nothing. GSO is tried and, once a device refused it, not again on that socket.
 */
#include "daemon/net/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"
#include "util/macro.h"

#include <linux/errqueue.h> /* it needs struct timespec and doesn't say so */
#include <linux/filter.h>

enum {
	SLOT_LEN = 68 * 1024, /* of one message; UDP_HEADROOM and UDP_MSG_MAX rounded up to pages */
	GSO_MAX_BYTES = 65000 /* one send: the kernel's 65 507 with room for IPv6 */
};

/* What a received datagram may carry: addresses, ECN by either family, segment length. */
struct rx_control {
	alignas(struct cmsghdr)
		uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
			      CMSG_SPACE(sizeof(struct in_pktinfo)) + 3 * CMSG_SPACE(sizeof(int))];
};

struct udp_batch {
	uint8_t *memory; /* UDP_BATCH slots */
	struct mmsghdr headers[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct sockaddr_storage names[UDP_BATCH];
	struct rx_control control[UDP_BATCH];
	struct udp_msg messages[UDP_BATCH];
};

int udp_batch_new(struct udp_batch **ret)
{
	static_assert((int)SLOT_LEN >= (int)UDP_HEADROOM + (int)UDP_MSG_MAX);

	struct udp_batch *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	void *memory = mmap(NULL, (size_t)UDP_BATCH * SLOT_LEN, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		free(b);
		return -ENOMEM;
	}
	b->memory = memory;
	*ret = b;
	return 0;
}

void udp_batch_free(struct udp_batch *batch)
{
	if (!batch)
		return;
	(void)munmap(batch->memory, (size_t)UDP_BATCH * SLOT_LEN);
	free(batch);
}

/* ---- opening ------------------------------------------------------------------------------- */

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int get_int(int fd, int level, int option, int *ret)
{
	socklen_t len = sizeof(*ret);
	return getsockopt(fd, level, option, ret, &len) < 0 ? -errno : 0;
}

/* Options that both families of a dual-stack socket need: IPv4 packets on it obey SOL_IP. */
static int set_v4_options(int fd, const struct udp_params *p)
{
	int mtu = p->may_fragment ? IP_PMTUDISC_WANT : IP_PMTUDISC_PROBE;
	int r = set_int(fd, SOL_IP, IP_MTU_DISCOVER, mtu);
	if (r == 0 && p->want_errors)
		r = set_int(fd, SOL_IP, IP_RECVERR, 1);
	return r < 0 ? r : set_int(fd, SOL_IP, IP_RECVTOS, 1);
}

static int set_v6_options(int fd, const struct udp_params *p)
{
	int mtu = p->may_fragment ? IPV6_PMTUDISC_WANT : IPV6_PMTUDISC_PROBE;
	int r = set_int(fd, SOL_IPV6, IPV6_V6ONLY, p->is_v6_only);
	if (r == 0)
		r = set_int(fd, SOL_IPV6, IPV6_MTU_DISCOVER, mtu);
	if (r == 0 && p->want_errors)
		r = set_int(fd, SOL_IPV6, IPV6_RECVERR, 1);
	if (r == 0)
		r = set_int(fd, SOL_IPV6, IPV6_RECVTCLASS, 1);
	if (r == 0)
		r = set_int(fd, SOL_IPV6, IPV6_RECVPKTINFO, 1);
	return r < 0 || p->is_v6_only ? r : set_v4_options(fd, p);
}

static int set_family_options(int fd, const struct udp_params *p)
{
	if (p->local.ip.family == IP_FAMILY_V6)
		return set_v6_options(fd, p);
	int r = set_int(fd, SOL_IP, IP_PKTINFO, 1);
	return r < 0 ? r : set_v4_options(fd, p);
}

/*
 * Where the kernel asks which socket of a port takes a packet, the answer is the first: this one.
 * With a program of its own it is given no port that another group has, and without SO_REUSEPORT
 * on it nobody could join.
 */
static int set_group_head(int fd)
{
	struct sock_filter first = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct sock_fprog program = { .len = 1, .filter = &first };
	int r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0)
		r = -errno;
	return r;
}

static int set_routing_options(int fd, const struct udp_params *p)
{
	int r = p->reuse_port ? set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) : 0;
	if (r == 0 && p->is_group_head)
		r = set_group_head(fd);
	if (r == 0 && p->fwmark)
		r = set_int(fd, SOL_SOCKET, SO_MARK, (int)p->fwmark);
	if (r == 0 && p->bind_interface) {
		socklen_t len = (socklen_t)strlen(p->bind_interface);
		if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, p->bind_interface, len) < 0)
			r = -errno;
	}
	return r;
}

/* Asks with and then without privilege; the kernel doubles what is asked for its own overhead. */
static int set_buffer(int fd, int force, int plain, int wanted)
{
	if (wanted > 0 && set_int(fd, SOL_SOCKET, force, wanted) < 0)
		(void)set_int(fd, SOL_SOCKET, plain, wanted);
	int got = 0;
	(void)get_int(fd, SOL_SOCKET, plain, &got);
	return got / 2;
}

static int bind_local(struct udp_socket *sock, const struct ip_port *local)
{
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(local, &sa);
	if (bind(sock->fd, (struct sockaddr *)&sa, len) < 0)
		return -errno;
	sock->local.ip.family = local->ip.family;
	return udp_local_addr(sock, &sock->local);
}

int udp_open(const struct udp_params *params, struct udp_socket *ret)
{
	bool is_v6 = params->local.ip.family == IP_FAMILY_V6;
	_cleanup_(fd_closep) int fd =
		socket(is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;

	int r = set_family_options(fd, params);
	if (r == 0)
		r = set_routing_options(fd, params);
	if (r < 0)
		return r;

	struct udp_socket s = { .fd = fd };
	int segment = 0;
	s.has_gso = get_int(fd, SOL_UDP, UDP_SEGMENT, &segment) == 0;
	s.has_gro = params->want_gro && set_int(fd, SOL_UDP, UDP_GRO, 1) == 0;
	s.rcvbuf_got = set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, params->rcvbuf);
	s.sndbuf_got = set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, params->sndbuf);

	r = bind_local(&s, &params->local);
	if (r == 0 && params->peer)
		r = udp_connect(&s, params->peer);
	if (r < 0)
		return r;
	(void)TAKE_FD(fd);
	*ret = s;
	return 0;
}

void udp_close(struct udp_socket *sock)
{
	sock->fd = fd_close(sock->fd);
}

int udp_connect(struct udp_socket *sock, const struct ip_port *peer)
{
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_for_family(peer, sock->local.ip.family, &sa);
	if (connect(sock->fd, (struct sockaddr *)&sa, len) < 0)
		return -errno;
	sock->is_connected = true;
	return 0;
}

int udp_local_addr(const struct udp_socket *sock, struct ip_port *ret)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	if (getsockname(sock->fd, (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	return sockaddr_to_ip_port((struct sockaddr *)&sa, len, ret);
}

int udp_find_source(const struct ip_port *peer, const char *bind_interface, uint32_t fwmark,
		    struct ip_addr *ret, uint32_t *ret_mtu)
{
	bool is_v4 = peer->ip.family == IP_FAMILY_V4;
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(peer, &sa);
	_cleanup_(fd_closep) int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* Connecting sends nothing: it is the kernel's choice of a route, and with it of a source.
	 */
	struct udp_params params = { .bind_interface = bind_interface, .fwmark = fwmark };
	int r = set_routing_options(fd, &params);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&sa, len) < 0)
		return -errno;
	struct ip_port local;
	int mtu = 0;
	r = udp_local_addr(&(struct udp_socket){ .fd = fd }, &local);
	if (r == 0 && ret_mtu)
		r = get_int(fd, is_v4 ? SOL_IP : SOL_IPV6, is_v4 ? IP_MTU : IPV6_MTU, &mtu);
	if (r < 0)
		return r;
	*ret = local.ip;
	if (ret_mtu)
		*ret_mtu = (uint32_t)mtu;
	return 0;
}

/* ---- receiving ----------------------------------------------------------------------------- */

static void batch_arm(struct udp_batch *b)
{
	for (unsigned int i = 0; i < UDP_BATCH; i++) {
		b->iov[i] = (struct iovec){ b->memory + (size_t)i * SLOT_LEN + UDP_HEADROOM,
					    UDP_MSG_MAX };
		b->headers[i].msg_hdr = (struct msghdr){
			.msg_name = &b->names[i],
			.msg_namelen = sizeof(b->names[i]),
			.msg_iov = &b->iov[i],
			.msg_iovlen = 1,
			.msg_control = &b->control[i],
			.msg_controllen = sizeof(b->control[i]),
		};
	}
}

static int cmsg_int(const struct cmsghdr *c)
{
	/* IP_TOS comes as one byte, the others as an int. */
	if (c->cmsg_len < CMSG_LEN(sizeof(int)))
		return c->cmsg_len < CMSG_LEN(1) ? 0 : *CMSG_DATA(c);
	int value;
	memcpy(&value, CMSG_DATA(c), sizeof(value));
	return value;
}

static struct ip_addr v4_destination(const struct cmsghdr *c)
{
	struct in_pktinfo info;
	memcpy(&info, CMSG_DATA(c), sizeof(info));
	return ip_addr_from(IP_FAMILY_V4, &info.ipi_addr);
}

static struct ip_addr v6_destination(const struct cmsghdr *c)
{
	struct in6_pktinfo info;
	memcpy(&info, CMSG_DATA(c), sizeof(info));
	return ip_addr_unmap(ip_addr_from(IP_FAMILY_V6, &info.ipi6_addr));
}

static void read_cmsg(const struct cmsghdr *c, struct udp_msg *m)
{
	if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
		int segment = cmsg_int(c);
		if (segment > 0 && (size_t)segment < m->len)
			m->segment_len = (size_t)segment;
	} else if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_TOS) ||
		   (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_TCLASS)) {
		m->ecn = (enum udp_ecn)(cmsg_int(c) & 3);
	} else if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_PKTINFO) {
		m->local = v4_destination(c);
	} else if (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
		m->local = v6_destination(c);
	}
}

/* Returns false for a message that can't be used: cut off, or from an address we don't know. */
static bool read_message(struct mmsghdr *from, struct udp_msg *ret)
{
	struct msghdr *h = &from->msg_hdr;
	if (h->msg_flags & MSG_TRUNC)
		return false;

	*ret = (struct udp_msg){
		.data = h->msg_iov->iov_base,
		.len = from->msg_len,
		.segment_len = from->msg_len,
	};
	if (sockaddr_to_ip_port(h->msg_name, h->msg_namelen, &ret->peer) < 0)
		return false;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		read_cmsg(c, ret);
	return true;
}

static void count_message(struct udp_stats *stats, const struct udp_msg *m)
{
	uint64_t segments = m->segment_len ? (m->len + m->segment_len - 1) / m->segment_len : 1;
	stats->rx_messages++;
	stats->rx_bytes += m->len;
	stats->rx_segments += segments;
	if (segments > 1)
		stats->rx_gro += segments;
}

int udp_recv(struct udp_socket *sock, struct udp_batch *batch, struct udp_stats *stats,
	     const struct udp_msg **ret)
{
	batch_arm(batch);
	int n;
	do {
		n = recvmmsg(sock->fd, batch->headers, UDP_BATCH, MSG_DONTWAIT, NULL);
	} while (n < 0 && errno == EINTR);

	stats->rx_calls++;
	if (n < 0) {
		if (errno == EAGAIN)
			return -EAGAIN;
		stats->rx_errors++;
		return -errno;
	}

	int used = 0;
	for (int i = 0; i < n; i++) {
		if (read_message(&batch->headers[i], &batch->messages[used]))
			count_message(stats, &batch->messages[used++]);
		else
			stats->rx_errors++;
	}
	*ret = batch->messages;
	return used;
}

/* ---- errors -------------------------------------------------------------------------------- */

/* What the kernel says beside the quoted datagram; false when it says nothing of the kind. */
static bool read_extended(struct msghdr *h, struct sock_extended_err *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		bool is_error = (c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) ||
				(c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR);
		if (!is_error || c->cmsg_len < CMSG_LEN(sizeof(*ret)))
			continue;
		memcpy(ret, CMSG_DATA(c), sizeof(*ret));
		return true;
	}
	return false;
}

int udp_read_error(struct udp_socket *sock, struct udp_error *ret)
{
	/* With the address of who reports it behind the error itself. */
	alignas(struct cmsghdr) uint8_t
		control[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6)) +
			sizeof(struct rx_control)];
	struct sockaddr_storage name;
	struct sock_extended_err e;
	uint8_t quoted[1];
	struct iovec iov = { quoted, sizeof(quoted) };
	for (;;) {
		struct msghdr h = { .msg_name = &name,
				    .msg_namelen = sizeof(name),
				    .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control) };
		if (recvmsg(sock->fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
			if (errno == EINTR)
				continue;
			return -EAGAIN;
		}
		*ret = (struct udp_error){};
		if (!read_extended(&h, &e) ||
		    sockaddr_to_ip_port((struct sockaddr *)&name, h.msg_namelen, &ret->peer) < 0)
			continue;
		ret->error = -(int)e.ee_errno;
		ret->mtu = e.ee_errno == EMSGSIZE ? e.ee_info : 0;
		return 0;
	}
}

/* ---- sending ------------------------------------------------------------------------------- */

/* Everything that sendmsg() is given besides the bytes: the same for all parts of one send. */
struct tx {
	struct msghdr header;
	struct iovec iov;
	struct sockaddr_storage name;
	alignas(struct cmsghdr)
		uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
				2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t))];
	size_t control_len; /* bytes of control without the segment length */
};

static void tx_add_cmsg(struct tx *tx, int level, int type, struct span value)
{
	struct cmsghdr *c = (void *)(tx->control + tx->control_len);
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(value.len);
	memcpy(CMSG_DATA(c), value.ptr, value.len);
	tx->control_len += CMSG_SPACE(value.len);
}

static void tx_add_source(struct tx *tx, enum ip_family socket_family, const struct ip_addr *local)
{
	if (socket_family == IP_FAMILY_V6) {
		struct in6_pktinfo info = {};
		ip_addr_to_mapped(local, info.ipi6_addr.s6_addr);
		tx_add_cmsg(tx, SOL_IPV6, IPV6_PKTINFO, span_of(&info, sizeof(info)));
	} else {
		struct in_pktinfo info = {};
		memcpy(&info.ipi_spec_dst, local->bytes, 4);
		tx_add_cmsg(tx, SOL_IP, IP_PKTINFO, span_of(&info, sizeof(info)));
	}
}

static void tx_prepare(struct tx *tx, const struct udp_socket *sock, const struct udp_send *send)
{
	enum ip_family family = sock->local.ip.family;

	memset(&tx->control, 0, sizeof(tx->control));
	tx->control_len = 0;
	tx->header = (struct msghdr){ .msg_iov = &tx->iov, .msg_iovlen = 1 };
	if (send->peer) {
		tx->header.msg_namelen = sockaddr_for_family(send->peer, family, &tx->name);
		tx->header.msg_name = &tx->name;
	}
	if (send->local && send->local->family != IP_FAMILY_NONE)
		tx_add_source(tx, family, send->local);
	if (send->ecn != UDP_ECN_NOT_ECT) {
		/* Of the two on an IPv6 socket the kernel reads the one of the packet's family. */
		int tos = send->ecn;
		tx_add_cmsg(tx, SOL_IP, IP_TOS, span_of(&tos, sizeof(tos)));
		if (family == IP_FAMILY_V6)
			tx_add_cmsg(tx, SOL_IPV6, IPV6_TCLASS, span_of(&tos, sizeof(tos)));
	}
}

/* One system call. segment_len 0: a single datagram. */
static int tx_call(struct tx *tx, int fd, struct span data, uint16_t segment_len)
{
	size_t control_len = tx->control_len;
	if (segment_len) {
		tx_add_cmsg(tx, SOL_UDP, UDP_SEGMENT, span_of(&segment_len, sizeof(segment_len)));
		tx->header.msg_controllen = tx->control_len;
		tx->control_len = control_len;
	} else {
		tx->header.msg_controllen = control_len;
	}
	tx->header.msg_control = tx->header.msg_controllen ? tx->control : NULL;
	/* sendmsg() doesn't write through iov_base, which is not const. */
	memcpy((void *)&tx->iov.iov_base, (const void *)&data.ptr, sizeof(data.ptr));
	tx->iov.iov_len = data.len;

	ssize_t n;
	do {
		n = sendmsg(fd, &tx->header, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void count_sent(struct udp_stats *stats, struct span part, size_t segment_len)
{
	size_t segments = part.len ? (part.len + segment_len - 1) / segment_len : 1;
	stats->tx_segments += segments;
	stats->tx_bytes += part.len;
	if (segments > 1)
		stats->tx_gso += segments;
}

/* The next part of a send: as many segments as one call takes. */
static struct span next_part(const struct udp_socket *sock, struct span rest, size_t segment_len)
{
	if (!sock->has_gso)
		return span_first(rest, segment_len);
	size_t segments = MIN((size_t)UDP_GSO_SEGMENTS, GSO_MAX_BYTES / segment_len);
	return span_first(rest, MAX(segments, (size_t)1) * segment_len);
}

static int send_part(struct tx *tx, struct udp_socket *sock, struct span *part, size_t segment_len)
{
	if (part->len <= segment_len)
		return tx_call(tx, sock->fd, *part, 0);

	int r = tx_call(tx, sock->fd, *part, (uint16_t)segment_len);
	if (r != -EIO && r != -EINVAL)
		return r;
	/*
	 * The device can't (EIO), or a segment is too big for it (EINVAL), which is no reason to
	 * give up GSO: sending one segment alone tells.
	 */
	*part = span_first(*part, segment_len);
	r = tx_call(tx, sock->fd, *part, 0);
	if (r == 0)
		sock->has_gso = false;
	return r;
}

int udp_send(struct udp_socket *sock, const struct udp_send *send, struct udp_stats *stats,
	     size_t *ret_sent)
{
	size_t segment_len = send->segment_len ? send->segment_len : send->data.len;
	size_t sent = 0;
	int r = 0;
	*ret_sent = 0;
	if (segment_len > UDP_MSG_MAX)
		return -EMSGSIZE;
	if (segment_len && send->data.len > segment_len * UDP_GSO_SEGMENTS)
		return -EINVAL;

	struct tx tx;
	tx_prepare(&tx, sock, send);
	do {
		struct span part = span_skip(send->data, sent);
		if (part.len)
			part = next_part(sock, part, segment_len);
		stats->tx_calls++;
		r = send_part(&tx, sock, &part, segment_len);
		if (r < 0)
			break;
		count_sent(stats, part, segment_len);
		sent += part.len;
	} while (sent < send->data.len);

	if (r == -EAGAIN)
		stats->tx_again++;
	else if (r < 0)
		stats->tx_errors++;
	*ret_sent = sent;
	return r;
}
