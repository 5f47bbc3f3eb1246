/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket, what is known of each object, and the pace of news. Daemons announce addresses and
 * routes again whenever a router or a DHCP server says so: what an object was like is remembered as
 * a hash, and only a change is news. There is no list of what exists at the start: the first
 * message about something counts as a change, which costs nothing but a look.
 */
#include "netlink/monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "netlink/event.h"

enum { DATAGRAM_MAX = 32768 }; /* the kernel sends no longer ones unasked */

/* What an object was like when we last heard of it. */
struct known {
	uint64_t key;
	uint64_t value;
};

struct monitor {
	int fd;
	monitor_receive_fn receive;
	struct known known[MONITOR_KNOWN_MAX];
	unsigned int known_count;
	bool has_news;
	nsec_t told; /* when news were last told; 0: never */
	struct monitor_stats stats;
	alignas(struct nlmsghdr) uint8_t buf[DATAGRAM_MAX];
};

static ssize_t receive(int fd, void *buf, size_t len, struct sockaddr_nl *ret_from)
{
	socklen_t from_len = sizeof(*ret_from);
	ssize_t n = recvfrom(fd, buf, len, MSG_TRUNC, (struct sockaddr *)ret_from, &from_len);
	return n < 0 ? -errno : n;
}

int monitor_new(int fd, monitor_receive_fn receive_fn, struct monitor **ret)
{
	struct monitor *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->fd = fd;
	m->receive = receive_fn ? receive_fn : receive;
	*ret = m;
	return 0;
}

/* libmnl's socket would own the descriptor; joining the groups is all that it would do for us. */
int monitor_open(struct monitor **ret)
{
	static constexpr unsigned int groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
					       RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
					       RTMGRP_IPV6_ROUTE;
	_cleanup_(fd_closep) int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK, .nl_groups = groups };
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	int r = monitor_new(fd, NULL, ret);
	if (r == 0)
		(void)TAKE_FD(fd);
	return r;
}

void monitor_close(struct monitor *m)
{
	if (!m)
		return;
	(void)fd_close(m->fd);
	free(m);
}

int monitor_fd(const struct monitor *m)
{
	return m->fd;
}

/* ---- what is known ----------------------------------------------------------------------------
 */

static struct known *find(struct monitor *m, uint64_t key)
{
	for (unsigned int i = 0; i < m->known_count; i++)
		if (m->known[i].key == key)
			return &m->known[i];
	return NULL;
}

/* Whether the event tells of a change. */
static bool learn(struct monitor *m, const struct netlink_event *e)
{
	struct known *k = find(m, e->key);
	if (!e->is_new) {
		if (k)
			*k = m->known[--m->known_count];
		return true;
	}
	if (k) {
		bool is_changed = k->value != e->value;
		k->value = e->value;
		return is_changed;
	}
	if (m->known_count < MONITOR_KNOWN_MAX)
		m->known[m->known_count++] = (struct known){ e->key, e->value };
	/* An address that can't be used yet is as good as none. */
	return e->kind != NETLINK_EVENT_KIND_ADDRESS || e->is_up;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static void take_message(struct monitor *m, struct span message)
{
	struct netlink_event e;
	int r = netlink_event_parse(message, &e);
	if (r == -ENOMSG)
		return;
	m->stats.messages++;
	if (r < 0) {
		m->stats.malformed++;
		return;
	}
	if (!e.matters || !learn(m, &e))
		return;
	m->stats.news++;
	m->has_news = true;
}

static void take_datagram(struct monitor *m, size_t len)
{
	struct span left = span_of(m->buf, len);
	for (struct span message; (message = netlink_next_message(&left)).len > 0;)
		take_message(m, message);
	m->stats.malformed += left.len > 0;
}

/* Something was lost: what we remember may be wrong, and what we missed may matter. */
static void overrun(struct monitor *m)
{
	m->stats.overruns++;
	m->known_count = 0;
	m->has_news = true;
}

int monitor_read(struct monitor *m)
{
	for (int i = 0; i < MONITOR_BUDGET; i++) {
		struct sockaddr_nl from = {};
		ssize_t n = m->receive(m->fd, m->buf, sizeof(m->buf), &from);
		if (n == -EAGAIN)
			return 0;
		if (n == -EINTR)
			continue;
		if (n == -ENOBUFS || n > (ssize_t)sizeof(m->buf))
			overrun(m);
		else if (n < 0)
			return (int)n;
		else if (from.nl_family != AF_NETLINK || from.nl_pid != 0)
			m->stats.foreign++; /* the kernel's port is 0 */
		else
			take_datagram(m, (size_t)n);
	}
	return 0;
}

/* ---- pace -------------------------------------------------------------------------------------
 */

nsec_t monitor_deadline(const struct monitor *m)
{
	if (!m->has_news)
		return NSEC_NEVER;
	return m->told ? nsec_add(m->told, MONITOR_INTERVAL) : 0;
}

bool monitor_take(struct monitor *m, nsec_t now)
{
	if (!m->has_news || now < monitor_deadline(m))
		return false;
	m->has_news = false;
	m->told = now;
	return true;
}

void monitor_get_stats(const struct monitor *m, struct monitor_stats *ret)
{
	*ret = m->stats;
}
