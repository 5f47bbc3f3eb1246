/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP and unix stream sockets: listening, accepting, connecting. Options are set once here
 * (TCP_NODELAY, keep-alive, CLOEXEC, NONBLOCK).
 */
#ifndef DAEMON_NET_TCP_H
#define DAEMON_NET_TCP_H

#include "daemon/base/loop.h"
#include "util/addr.h"

/* Opens a listener; reuse_port lets every worker have its own. Returns the descriptor or negative
 * errno. */
[[nodiscard]] int tcp_listen(const struct ip_port *local, bool reuse_port, int backlog);
/* Starts a connect; the descriptor becomes writable when it has ended (SO_ERROR). Or negative
 * errno. */
[[nodiscard]] int tcp_connect(const struct ip_port *peer, unsigned int keep_alive_sec);
/* path: as in sockaddr_un, a leading @ means the abstract name space. Descriptor or negative errno.
 */
[[nodiscard]] int unixsock_connect(const char *path);
/* The pending error of a socket, negative; 0 when none. */
int socket_error(int fd);

/* Accepts until EAGAIN or budget; survives EMFILE by pausing (counted). */
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
[[nodiscard]] int tcp_listener_start(struct tcp_listener *l, struct loop *loop, int fd);
void tcp_listener_pause(struct tcp_listener *l, bool paused);
void tcp_listener_stop(struct tcp_listener *l);

/*
 * Connects to the first of several addresses that answers: RFC 8305, IPv6 first, 250 ms apart.
 * on_done(fd or negative errno) comes from the loop; the fd is the callback's.
 */
struct happy;
struct happy_params {
	const struct ip_port *addrs; /* copied; at most 16 are tried */
	unsigned int count;
	nsec_t timeout; /* relative; 0: none */
	unsigned int keep_alive_sec;
	bool sequential; /* no-happy-eyeballs */
};
[[nodiscard]] int happy_connect(struct loop *loop, const struct happy_params *params,
				void (*on_done)(int fd_or_error, const struct ip_port *peer,
						void *user),
				void *user, struct happy **ret);
void happy_cancel(struct happy *h);

#endif
