/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP and unix stream sockets. A listener that runs out of descriptors doesn't spin on a queue that
 * it can't empty: it stops looking for a while.
 */
#include "daemon/net/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <linux/filter.h>

#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	ACCEPT_BUDGET = 64, /* of one turn (style L2) */
	LAST_ROUNDS = 64,   /* as many turns' at a listener's end: what the kernel lets wait */
	KEEP_ALIVE_PROBES = 3,
	ACCEPT_KEEP_ALIVE_SEC = 60, /* a WebSocket or TCP visitor may be silent for ever */
};
static constexpr nsec_t accept_pause = 100 * NSEC_PER_MSEC;

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int new_socket(enum ip_family family)
{
	int fd = socket(family == IP_FAMILY_V6 ? AF_INET6 : AF_INET,
			SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

int socket_error(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

static int set_listen_options(int fd, const struct ip_port *local, bool reuse_port)
{
	int r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0 && reuse_port)
		r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && local->ip.family == IP_FAMILY_V6)
		r = set_int(fd, SOL_IPV6, IPV6_V6ONLY, !ip_addr_is_any(&local->ip));
	return r;
}

static int bind_and_listen(int fd, const struct ip_port *local, int backlog)
{
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(local, &sa);
	return bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, backlog) < 0 ? -errno : 0;
}

int tcp_listen(const struct ip_port *local, bool reuse_port, int backlog)
{
	_cleanup_(fd_closep) int fd = new_socket(local->ip.family);
	if (fd < 0)
		return TAKE_FD(fd);
	int r = set_listen_options(fd, local, reuse_port);
	if (r == 0)
		r = bind_and_listen(fd, local, backlog);
	return r < 0 ? r : TAKE_FD(fd);
}

/* Failures are of no consequence: the connection works without. */
static void set_stream_options(int fd, unsigned int keep_alive_sec)
{
	(void)set_int(fd, SOL_TCP, TCP_NODELAY, 1);
	if (!keep_alive_sec)
		return;
	int seconds = (int)MIN(keep_alive_sec, 32767U); /* the kernel's limit */
	(void)set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	(void)set_int(fd, SOL_TCP, TCP_KEEPIDLE, seconds);
	(void)set_int(fd, SOL_TCP, TCP_KEEPINTVL, seconds);
	(void)set_int(fd, SOL_TCP, TCP_KEEPCNT, KEEP_ALIVE_PROBES);
}

/* Without these a connection would take a way that was not wanted: failures count. */
static int set_routing_options(int fd, const struct tcp_options *o)
{
	if (o->fwmark) {
		int r = set_int(fd, SOL_SOCKET, SO_MARK, (int)o->fwmark);
		if (r < 0)
			return r;
	}
	if (!o->bind_interface)
		return 0;
	socklen_t len = (socklen_t)strlen(o->bind_interface);
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, o->bind_interface, len) < 0 ? -errno : 0;
}

int tcp_connect_with(const struct ip_port *peer, const struct tcp_options *options)
{
	_cleanup_(fd_closep) int fd = new_socket(peer->ip.family);
	if (fd < 0)
		return TAKE_FD(fd);
	set_stream_options(fd, options->keep_alive_sec);
	if (options->user_timeout_ms)
		(void)set_int(fd, SOL_TCP, TCP_USER_TIMEOUT,
			      (int)MIN(options->user_timeout_ms, (unsigned int)INT32_MAX));
	int r = set_routing_options(fd, options);
	if (r < 0)
		return r;

	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(peer, &sa);
	if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
		return -errno;
	return TAKE_FD(fd);
}

int tcp_connect(const struct ip_port *peer, unsigned int keep_alive_sec)
{
	return tcp_connect_with(peer, &(struct tcp_options){ .keep_alive_sec = keep_alive_sec });
}

int unixsock_connect(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	if (len == 0)
		return -EINVAL;
	if (len >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, len);
	socklen_t sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	else
		sa_len++; /* the NUL of a file's name */

	_cleanup_(fd_closep) int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sa_len) < 0)
		return -errno;
	return TAKE_FD(fd);
}

bool tcp_is_own_address(const struct ip_addr *addr)
{
	/* The kernel lets a socket have own addresses only, and knows them better than a list. */
	struct sockaddr_storage sa;
	socklen_t len = sockaddr_from_ip_port(&(struct ip_port){ .ip = *addr }, &sa);
	_cleanup_(fd_closep) int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd < 0 || bind(fd, (struct sockaddr *)&sa, len) == 0;
}

/* ---- listener ------------------------------------------------------------------------------ */

static void watch(struct tcp_listener *l)
{
	bool wants = !l->is_paused && !timer_is_armed(&l->retry);
	if (l->io.loop)
		(void)loop_io_update(&l->io, wants ? EPOLLIN : 0);
}

/* Unix peers have no address: the family is NONE then. */
static struct ip_port local_of(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct ip_port p = {};
	if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
		(void)sockaddr_to_ip_port((struct sockaddr *)&sa, len, &p);
	return p;
}

int tcp_listen_transparent(const struct ip_port *local, int backlog, struct ip_port *ret)
{
	bool is_v6 = local->ip.family == IP_FAMILY_V6;
	_cleanup_(fd_closep) int fd = new_socket(local->ip.family);
	if (fd < 0)
		return TAKE_FD(fd);
	int r = set_listen_options(fd, local, true);
	if (r == 0)
		r = is_v6 ? set_int(fd, SOL_IPV6, IPV6_TRANSPARENT, 1)
			  : set_int(fd, SOL_IP, IP_TRANSPARENT, 1);
	if (r == 0)
		r = bind_and_listen(fd, local, backlog);
	if (r < 0)
		return r;
	*ret = local_of(fd);
	return TAKE_FD(fd);
}

/* Returns 0, or the errno of accept() that ends this turn's round. */
static int accept_one(struct tcp_listener *l)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return errno;

	struct ip_port peer = {};
	(void)sockaddr_to_ip_port((struct sockaddr *)&sa, len, &peer);
	struct ip_port local = local_of(fd);
	if (peer.ip.family != IP_FAMILY_NONE)
		set_stream_options(fd, ACCEPT_KEEP_ALIVE_SEC);
	l->on_accept(l, fd, &peer, &local);
	return 0;
}

/* Returns false when nobody waits any more, as far as can be told now. */
static bool accept_some(struct tcp_listener *l)
{
	for (int i = 0; i < ACCEPT_BUDGET && l->io.loop && !l->is_paused; i++) {
		switch (accept_one(l)) {
		case EAGAIN:
			return false;
		case EMFILE:
		case ENFILE:
		case ENOBUFS:
		case ENOMEM:
			l->refused++;
			timer_start(l->loop, &l->retry, loop_now(l->loop) + accept_pause);
			watch(l);
			return false;
		default:
			break; /* accepted, or a connection that died in the queue */
		}
	}
	return l->io.loop && !l->is_paused;
}

static void on_ready(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	(void)accept_some(CONTAINER_OF(io, struct tcp_listener, io));
}

static void on_retry(struct timer *timer)
{
	watch(CONTAINER_OF(timer, struct tcp_listener, retry));
}

int tcp_listener_start(struct tcp_listener *l, struct loop *loop, int fd)
{
	l->loop = loop;
	l->fd = fd;
	l->io.on_ready = on_ready;
	l->retry.on_expire = on_retry;
	int r = loop_io_start(loop, &l->io, fd, EPOLLIN);
	if (r < 0)
		l->fd = fd_close(fd);
	return r;
}

void tcp_listener_pause(struct tcp_listener *l, bool paused)
{
	l->is_paused = paused;
	watch(l);
}

/*
 * Who asks for a connection now isn't heard, and asks again when nobody listens; without this the
 * kernel would go on to let in whom the close resets. Connections that are being made go on.
 */
static void hear_nobody(int fd)
{
	enum { FLAGS_AT = 13 };
	struct sock_filter lines[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_AT),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TH_SYN | TH_ACK),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TH_SYN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = { .len = ARRAY_SIZE(lines), .filter = lines };
	/* Refused: somebody may get a reset. */
	(void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

void tcp_listener_take_waiting(struct tcp_listener *l)
{
	if (!l->io.loop)
		return;
	if (local_of(l->fd).ip.family != IP_FAMILY_NONE)
		hear_nobody(l->fd);
	for (int i = 0; i < LAST_ROUNDS && accept_some(l); i++)
		;
}

void tcp_listener_stop(struct tcp_listener *l)
{
	if (!l->io.loop)
		return;
	loop_io_stop(&l->io);
	timer_stop(&l->retry);
	l->fd = fd_close(l->fd);
}
