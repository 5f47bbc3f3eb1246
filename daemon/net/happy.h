/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting to a host that has several addresses (RFC 8305).
 */
#ifndef DAEMON_NET_HAPPY_H
#define DAEMON_NET_HAPPY_H

#include "daemon/net/tcp.h"

enum { HAPPY_MAX_ADDRS = 16 };

struct happy;
struct happy_params {
	const struct ip_port *addrs; /* copied; HAPPY_MAX_ADDRS are tried */
	unsigned int count;
	nsec_t timeout;         /* relative; 0: none */
	struct tcp_options tcp; /* the interface's name is borrowed until the end */
	bool sequential;        /* one after the other, in the given order (no-happy-eyeballs) */
};
/*
 * Connects to the first address that answers: families take turns, IPv6 first, a new attempt 250 ms
 * after the last or as soon as one has failed. on_done comes once from the loop with a connected
 * descriptor, which is then the callback's, and its peer; or with the negative errno of the first
 * attempt that failed, or -ETIMEDOUT, and NULL. Returns 0, -EINVAL for no address, or -ENOMEM.
 */
[[nodiscard]] int happy_connect(struct loop *loop, const struct happy_params *params,
				void (*on_done)(int fd_or_error, const struct ip_port *peer,
						void *user),
				void *user, struct happy **ret);
/* No callback comes after it. Accepts NULL; not to be used once on_done has been called. */
void happy_cancel(struct happy *h);

#endif
