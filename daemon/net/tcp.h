/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP and unix stream sockets: listening, accepting, connecting. Options are set once here
 * (TCP_NODELAY, keep-alive, CLOEXEC, NONBLOCK).
 */
#ifndef DAEMON_NET_TCP_H
#define DAEMON_NET_TCP_H

#include "daemon/base/loop.h"
#include "util/addr.h"

/*
 * Opens a listener; reuse_port lets every worker have its own. An IPv6 one takes IPv6 only unless
 * local is the any address, which takes both. Returns the descriptor or a negative errno.
 */
[[nodiscard]] int tcp_listen(const struct ip_port *local, bool reuse_port, int backlog);
/*
 * One for connections that the kernel's TPROXY sends here whatever address they were made to:
 * theirs is what on_accept() gets as local. Needs CAP_NET_ADMIN. An IPv6 one takes IPv6 only;
 * workers may have one each. local->port 0: any, *ret is the address that it got. Returns as
 * tcp_listen().
 */
[[nodiscard]] int tcp_listen_transparent(const struct ip_port *local, int backlog,
					 struct ip_port *ret);
/*
 * Starts a connect; the descriptor becomes writable when it has ended (socket_error()).
 * keep_alive_sec: idle time before probes, 0: none. Returns the descriptor or a negative errno.
 */
[[nodiscard]] int tcp_connect(const struct ip_port *peer, unsigned int keep_alive_sec);

/* How a connection leaves this host and when it is given up. Zeroed: as the kernel likes. */
struct tcp_options {
	unsigned int keep_alive_sec;  /* idle time before probes, 0: none */
	unsigned int user_timeout_ms; /* unacknowledged for so long: dead (RFC 5482); 0: kernel's */
	const char *bind_interface;   /* NULL: any */
	uint32_t fwmark;              /* 0: none; needs CAP_NET_ADMIN */
};
/* The same. Also -ENODEV, -EPERM for an interface or a mark that can't be had. */
[[nodiscard]] int tcp_connect_with(const struct ip_port *peer, const struct tcp_options *options);
/*
 * path: as in sockaddr_un, a leading @ means the abstract name space. Returns the descriptor or a
 * negative errno (-ENAMETOOLONG, -EAGAIN when the listener's queue is full).
 */
[[nodiscard]] int unixsock_connect(const char *path);
/* Whether packets to this address stay on this host: it is one of its own. */
bool tcp_is_own_address(const struct ip_addr *addr);
/* The pending error of a socket, negative; 0 when none. */
int socket_error(int fd);

/*
 * Accepts until EAGAIN or budget; survives want of descriptors or memory by pausing (counted).
 * Embedded in its owner, who sets on_accept before the start.
 */
struct tcp_listener {
	struct loop_io io;
	struct loop *loop;
	int fd; /* owned */
	/* Takes fd. peer and local are valid during the call. */
	void (*on_accept)(struct tcp_listener *l, int fd, const struct ip_port *peer,
			  const struct ip_port *local);
	uint64_t refused; /* accepts that failed for want of descriptors */
	struct timer retry;
	bool is_paused;
};
/* Takes fd, a TCP or unix listener, also on failure. Returns 0 or what epoll said. */
[[nodiscard]] int tcp_listener_start(struct tcp_listener *l, struct loop *loop, int fd);
/* While paused connections wait in the kernel's queue. */
void tcp_listener_pause(struct tcp_listener *l, bool paused);
/* Takes in those who wait already, and has the kernel let in no others; only for the moment before
 * the stop of a listener of our own. */
void tcp_listener_take_waiting(struct tcp_listener *l);
/* Closes the descriptor. May be called from on_accept. Idempotent. */
void tcp_listener_stop(struct tcp_listener *l);

#endif
