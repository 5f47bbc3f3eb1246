/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches the kernel's links, addresses and routes and says when something happened that can change
 * the way to another host: once for a burst, and not for what is only announced again (adit.md §6).
 * One thread; it has a descriptor for any loop and asks for time as an argument.
 */
#ifndef NETLINK_MONITOR_H
#define NETLINK_MONITOR_H

#include <sys/types.h>

#include "util/cleanup.h"
#include "util/span.h"
#include "util/time.h"

enum {
	MONITOR_BUDGET = 64,     /* datagrams of one read */
	MONITOR_KNOWN_MAX = 512, /* objects remembered; what is beyond them is always news */
};
/* News come no faster than this. */
#define MONITOR_INTERVAL (100 * NSEC_PER_MSEC)

struct monitor;
struct sockaddr_nl;

struct monitor_stats {
	uint64_t messages;  /* events read */
	uint64_t news;      /* of them those that may have changed a path */
	uint64_t malformed; /* messages that couldn't be read */
	uint64_t foreign;   /* datagrams that didn't come from the kernel */
	uint64_t overruns;  /* times the kernel had more to say than the socket could hold */
};

/* How a datagram is read: recvmsg(), for tests something else. Negative errno, or its length (which
 * may be more than len: it was cut). */
typedef ssize_t (*monitor_receive_fn)(int fd, void *buf, size_t len, struct sockaddr_nl *ret_from);

/* Opens a non-blocking socket with the groups joined. Returns 0 or a negative errno. */
[[nodiscard]] int monitor_open(struct monitor **ret);
/* Over a descriptor, which is taken unless -ENOMEM is returned. receive NULL: as monitor_open(). */
[[nodiscard]] int monitor_new(int fd, monitor_receive_fn receive, struct monitor **ret);
/* Accepts NULL. */
void monitor_close(struct monitor *m);
DEFINE_CLEANUP(struct monitor *, monitor_close)

/* Readable when monitor_read() has something to do. Borrowed. */
int monitor_fd(const struct monitor *m);
/*
 * Reads what is there, MONITOR_BUDGET datagrams at most. Lost messages count as news: nobody knows
 * what they said. Returns 0, or a negative errno that isn't -EAGAIN.
 */
[[nodiscard]] int monitor_read(struct monitor *m);

/* Whether there are news that may be told now; they are told then. */
bool monitor_take(struct monitor *m, nsec_t now);
/* When monitor_take() should be asked again; NSEC_NEVER without news. */
nsec_t monitor_deadline(const struct monitor *m);

void monitor_get_stats(const struct monitor *m, struct monitor_stats *ret);

#endif
