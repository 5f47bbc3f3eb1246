/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How ICMP echoes reach origins. Ping and raw sockets differ little: on a raw one the identifier is
 * ours to choose and to check, and what it receives in IPv4 begins with the IP header. Errors come
 * by the error queue on both, because there the kernel says who reports them.
 */
#include "daemon/datapath/icmp_path.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include <linux/icmp.h>

#include "daemon/base/random.h"
#include "daemon/net/sockaddr.h"
#include "daemon/net/tcp.h"
#include "daemon/net/udp.h"
#include "util/cleanup.h"

#include <linux/errqueue.h> /* last: it needs struct timespec and doesn't say so */

enum {
	READS = 64, /* of one socket in a turn, and as many errors */
	/* A host that isn't there keeps what is sent to it for three seconds, and a scan asks many.
	 */
	BUFFER = 4 << 20,
	WORKER_BITS = 8, /* of an identifier of ours */
	POINTER_SHIFT_V4 = 24,
};
static_assert(WORKER_MAX <= 1 << WORKER_BITS);

struct icmp_socket {
	struct icmp_path *path;
	enum ip_family family;
	enum icmp_path_kind kind;
	int fd;
	uint16_t id;  /* RAW: of what we send */
	int pmtudisc; /* as it is set now */
	struct loop_io io;
	struct icmp_path_stats stats;
};

struct icmp_path {
	struct worker *worker;
	struct icmp_path_user user;
	struct icmp_socket v4, v6;
	uint8_t buf[ICMP_PATH_MAX];
};

static struct icmp_socket *socket_of(struct icmp_path *path, enum ip_family family)
{
	return family == IP_FAMILY_V4 ? &path->v4 : &path->v6;
}

static enum ip_protocol protocol_of(enum ip_family family)
{
	return family == IP_FAMILY_V4 ? IP_PROTOCOL_ICMP4 : IP_PROTOCOL_ICMP6;
}

static int level_of(const struct icmp_socket *s)
{
	return s->family == IP_FAMILY_V4 ? SOL_IP : SOL_IPV6;
}

/* ---- what arrives ---- */

/* A message without its IP header. Something that isn't of this socket is none of ours. */
static int read_echo(const struct icmp_socket *s, struct span in, enum icmp_kind wanted,
		     struct icmp_message *ret)
{
	const struct ip_packet p = { .src.family = s->family,
				     .protocol = protocol_of(s->family),
				     .payload = in };
	int r = icmp_read(&p, ret);
	if (r < 0)
		return r;
	bool is_ours = s->kind == ICMP_PATH_KIND_PING || ret->id == s->id;
	return ret->kind == wanted && is_ours ? 0 : -EBADMSG;
}

/* One message, or -EAGAIN. What can't be used is passed over by the caller: -EBADMSG. */
static int read_reply(struct icmp_socket *s)
{
	struct sockaddr_storage name;
	struct iovec iov = { s->path->buf, sizeof(s->path->buf) };
	struct msghdr h = {
		.msg_name = &name, .msg_namelen = sizeof(name), .msg_iov = &iov, .msg_iovlen = 1
	};
	ssize_t n = recvmsg(s->fd, &h, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : -EBADMSG; /* an error: it is in the queue, too */
	if (h.msg_flags & MSG_TRUNC) {
		s->stats.cut++;
		return -EBADMSG;
	}
	struct span in = span_of(s->path->buf, (size_t)n);
	struct ip_packet p;
	if (s->kind == ICMP_PATH_KIND_RAW && s->family == IP_FAMILY_V4) {
		if (ip_read(in, &p) < 0)
			return -EBADMSG;
		in = p.payload;
	}
	struct ip_port from;
	struct icmp_message m;
	if (sockaddr_to_ip_port((struct sockaddr *)&name, h.msg_namelen, &from) < 0 ||
	    read_echo(s, in, ICMP_KIND_ECHO_REPLY, &m) < 0)
		return -EBADMSG;
	s->stats.rx++;
	const struct icmp_path_user *user = &s->path->user;
	user->on_reply(user->arg,
		       &(struct icmp_path_reply){
			       .src = from.ip, .code = m.code, .seq = m.seq, .data = m.data });
	return 0;
}

/* What the kernel says beside the quoted message, and who says it; NONE when it doesn't know. */
static bool read_extended(const struct icmp_socket *s, struct msghdr *h,
			  struct sock_extended_err *ret, struct ip_addr *ret_from)
{
	int type = s->family == IP_FAMILY_V4 ? IP_RECVERR : IPV6_RECVERR;
	*ret_from = (struct ip_addr){};
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != level_of(s) || c->cmsg_type != type ||
		    c->cmsg_len < CMSG_LEN(sizeof(*ret)))
			continue;
		memcpy(ret, CMSG_DATA(c), sizeof(*ret));
		struct sockaddr_storage name = {};
		size_t len = c->cmsg_len - CMSG_LEN(sizeof(*ret));
		memcpy(&name, CMSG_DATA(c) + sizeof(*ret), MIN(len, sizeof(name)));
		struct ip_port from = {};
		if (sockaddr_to_ip_port((struct sockaddr *)&name, (socklen_t)len, &from) == 0)
			*ret_from = from.ip;
		return true;
	}
	return false;
}

/* The numbers that a report has besides its type and code. */
static uint32_t word_of(const struct icmp_socket *s, enum icmp_kind kind,
			const struct sock_extended_err *e)
{
	if (kind == ICMP_KIND_BAD_PARAMETER && s->family == IP_FAMILY_V4)
		return e->ee_info << POINTER_SHIFT_V4;
	return e->ee_info;
}

static void report(struct icmp_socket *s, struct msghdr *h, const struct ip_addr *dst, size_t len)
{
	struct sock_extended_err e;
	struct icmp_path_error error = { .dst = *dst, .message = span_of(s->path->buf, len) };
	struct icmp_message m;
	/* What the kernel itself has to say about a size, icmp_path_send() has returned. */
	if (!read_extended(s, h, &e, &error.src) || e.ee_origin == SO_EE_ORIGIN_LOCAL)
		return;
	error.kind = icmp_kind_of(s->family, e.ee_type, e.ee_code);
	if (!icmp_kind_is_error(error.kind) || error.src.family != s->family ||
	    read_echo(s, error.message, ICMP_KIND_ECHO_REQUEST, &m) < 0)
		return;
	error.code = e.ee_code;
	error.mtu = word_of(s, error.kind, &e);
	error.seq = m.seq;
	s->stats.rx_errors++;
	s->path->user.on_error(s->path->user.arg, &error);
}

/* False: there is none left. */
static bool read_error(struct icmp_socket *s)
{
	alignas(struct cmsghdr) uint8_t
		control[CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6)) +
			CMSG_SPACE(sizeof(struct in6_pktinfo))];
	struct sockaddr_storage name;
	struct iovec iov = { s->path->buf, sizeof(s->path->buf) };
	struct msghdr h = { .msg_name = &name,
			    .msg_namelen = sizeof(name),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(s->fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR;
	struct ip_port dst;
	if (sockaddr_to_ip_port((struct sockaddr *)&name, h.msg_namelen, &dst) == 0)
		report(s, &h, &dst.ip, (size_t)n);
	return true;
}

static void on_ready(struct loop_io *io, uint32_t revents)
{
	struct icmp_socket *s = CONTAINER_OF(io, struct icmp_socket, io);
	if (revents & EPOLLERR)
		for (unsigned int i = 0; i < READS && read_error(s); i++)
			;
	for (unsigned int i = 0; i < READS && read_reply(s) != -EAGAIN; i++)
		;
}

/* ---- sending ---- */

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* The kernel has no such word for a single message; pings of one program all have the same. */
static int set_dont_fragment(struct icmp_socket *s, bool dont_fragment)
{
	bool is_v4 = s->family == IP_FAMILY_V4;
	int wanted = is_v4 && !dont_fragment ? IP_PMTUDISC_DONT : IP_PMTUDISC_DO;
	static_assert(IP_PMTUDISC_DO == IPV6_PMTUDISC_DO);
	if (s->pmtudisc == wanted)
		return 0;
	int r = set_int(s->fd, level_of(s), is_v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, wanted);
	if (r == 0)
		s->pmtudisc = wanted;
	return r;
}

static int send_message(const struct icmp_socket *s, const struct icmp_path_send *send,
			struct span message)
{
	struct sockaddr_storage name;
	const struct ip_port to = { .ip = send->dst };
	struct iovec iov = { .iov_len = message.len };
	/* sendmsg() doesn't write through iov_base, which is not const. */
	memcpy((void *)&iov.iov_base, (const void *)&message.ptr, sizeof(message.ptr));
	alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))] = {};
	struct msghdr h = { .msg_name = &name,
			    .msg_namelen = sockaddr_from_ip_port(&to, &name),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	const int ttl = send->ttl;
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	c->cmsg_level = level_of(s);
	c->cmsg_type = s->family == IP_FAMILY_V4 ? IP_TTL : IPV6_HOPLIMIT;
	c->cmsg_len = CMSG_LEN(sizeof(ttl));
	memcpy(CMSG_DATA(c), &ttl, sizeof(ttl));
	ssize_t n;
	do {
		n = sendmsg(s->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int icmp_path_send(struct icmp_path *path, const struct icmp_path_send *send)
{
	struct icmp_socket *s = socket_of(path, send->dst.family);
	uint8_t room[ICMP_PATH_MAX];
	struct packer p = packer_over(room, sizeof(room));
	/* The kernel makes the checksum but for raw sockets of IPv4, which has no addresses in it,
	 * and the identifier but for raw sockets. */
	const struct icmp_echo echo = { .src = send->dst,
					.dst = send->dst,
					.id = s->id,
					.seq = send->seq,
					.data = send->data };
	int r = icmp_echo_write_message(&p, &echo);
	if (r == 0)
		r = set_dont_fragment(s, send->dont_fragment);
	if (r < 0)
		return r == -ENOBUFS ? -EMSGSIZE : r;
	r = send_message(s, send, packer_span(&p));
	/* It may be the error of another echo that the kernel has kept, and which is in the queue
	 * as well. */
	if (r < 0 && r != -EAGAIN) {
		(void)socket_error(s->fd);
		r = send_message(s, send, packer_span(&p));
	}
	if (r == 0)
		s->stats.tx++;
	return r == -ENOBUFS ? -EAGAIN : r;
}

int icmp_path_find_way(const struct ip_addr *dst, struct icmp_path_way *ret)
{
	const struct ip_port any_port = { .ip = *dst, .port = 9 };
	return udp_find_source(&any_port, NULL, 0, &ret->src, &ret->mtu);
}

/* ---- opening ---- */

static int set_filter(int fd, enum ip_family family)
{
	if (family == IP_FAMILY_V4) {
		const struct icmp_filter f = { .data = ~(UINT32_C(1) << ICMP_ECHOREPLY) };
		return setsockopt(fd, SOL_RAW, ICMP_FILTER, &f, sizeof(f)) < 0 ? -errno : 0;
	}
	struct icmp6_filter f;
	ICMP6_FILTER_SETBLOCKALL(&f);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &f);
	return setsockopt(fd, SOL_ICMPV6, ICMP6_FILTER, &f, sizeof(f)) < 0 ? -errno : 0;
}

static void set_buffer(int fd, int force, int plain)
{
	if (set_int(fd, SOL_SOCKET, force, BUFFER) < 0)
		(void)set_int(fd, SOL_SOCKET, plain, BUFFER);
}

static int open_kind(enum ip_family family, enum icmp_path_kind kind)
{
	bool is_v4 = family == IP_FAMILY_V4;
	int type = kind == ICMP_PATH_KIND_RAW ? SOCK_RAW : SOCK_DGRAM;
	_cleanup_(fd_closep) int fd =
		socket(is_v4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC,
		       is_v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	if (fd < 0)
		return -errno;
	int r = kind == ICMP_PATH_KIND_RAW ? set_filter(fd, family) : 0;
	if (r == 0)
		r = is_v4 ? set_int(fd, SOL_IP, IP_RECVERR, 1)
			  : set_int(fd, SOL_IPV6, IPV6_RECVERR, 1);
	if (r < 0)
		return r;
	set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	return TAKE_FD(fd);
}

/* A family that has no socket of either kind stays without one. */
static int socket_open(struct icmp_path *path, enum ip_family family)
{
	struct icmp_socket *s = socket_of(path, family);
	for (unsigned int k = ICMP_PATH_KIND_PING; k < ICMP_PATH_KIND_MAX_ && s->fd < 0; k++) {
		s->kind = (enum icmp_path_kind)k;
		s->fd = open_kind(family, s->kind);
	}
	if (s->fd < 0) {
		s->kind = ICMP_PATH_KIND_NONE;
		return 0;
	}
	return loop_io_start(path->worker->loop, &s->io, s->fd, EPOLLIN);
}

static void socket_init(struct icmp_path *path, enum ip_family family)
{
	uint16_t id;
	random_bytes(&id, sizeof(id));
	/* No two workers have the same. */
	id = (uint16_t)(id << WORKER_BITS | path->worker->index);
	*socket_of(path, family) = (struct icmp_socket){ .path = path,
							 .family = family,
							 .fd = -EBADF,
							 .id = id,
							 .pmtudisc = -1,
							 .io.on_ready = on_ready };
}

static void socket_close(struct icmp_socket *s)
{
	loop_io_stop(&s->io);
	s->fd = fd_close(s->fd);
}

int icmp_path_new(struct worker *worker, const struct icmp_path_user *user, struct icmp_path **ret)
{
	struct icmp_path *path = calloc(1, sizeof(*path));
	if (!path)
		return -ENOMEM;
	path->worker = worker;
	path->user = *user;
	socket_init(path, IP_FAMILY_V4);
	socket_init(path, IP_FAMILY_V6);
	int r = socket_open(path, IP_FAMILY_V4);
	if (r == 0)
		r = socket_open(path, IP_FAMILY_V6);
	if (r < 0) {
		icmp_path_free(path);
		return r;
	}
	*ret = path;
	return 0;
}

void icmp_path_free(struct icmp_path *path)
{
	if (!path)
		return;
	socket_close(&path->v4);
	socket_close(&path->v6);
	free(path);
}

enum icmp_path_kind icmp_path_kind(const struct icmp_path *path, enum ip_family family)
{
	return family == IP_FAMILY_V4 ? path->v4.kind : path->v6.kind;
}

const struct icmp_path_stats *icmp_path_stats(const struct icmp_path *path, enum ip_family family)
{
	return family == IP_FAMILY_V4 ? &path->v4.stats : &path->v6.stats;
}
