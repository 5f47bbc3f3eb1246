/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests over one netlink socket. A batch of nfnetlink is answered message by message, so the
 * answers of a request are a range of numbers; anything outside it is of an earlier request that
 * was given up.
 */
#include "netlink/nl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <linux/netlink.h>

#include <libmnl/libmnl.h>

#include "netlink/event.h"

enum { DATAGRAM_MAX = 65536 };

struct nl {
	struct nl_ops ops;
	void *user;
	int fd; /* -EBADF over something else */
	uint32_t seq;
	char text[NL_TEXT_MAX];
	alignas(struct nlmsghdr) uint8_t buf[DATAGRAM_MAX];
};

static ssize_t fd_send(void *user, struct span messages)
{
	const struct nl *n = user;
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t r = sendto(n->fd, messages.ptr, messages.len, 0, (const struct sockaddr *)&kernel,
			   sizeof(kernel));
	return r < 0 ? -errno : r;
}

static ssize_t fd_receive(void *user, void *buf, size_t len)
{
	const struct nl *n = user;
	struct sockaddr_nl from = {};
	ssize_t r = 0;
	do {
		socklen_t from_len = sizeof(from);
		r = recvfrom(n->fd, buf, len, MSG_TRUNC, (struct sockaddr *)&from, &from_len);
	} while ((r < 0 && errno == EINTR) || (r >= 0 && from.nl_pid != 0)); /* not the kernel's */
	if (r < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return r;
}

static const struct nl_ops kernel_ops = { .send = fd_send, .receive = fd_receive };

int nl_new(const struct nl_ops *ops, void *user, struct nl **ret)
{
	struct nl *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->ops = *ops;
	n->user = user;
	n->fd = -EBADF;
	*ret = n;
	return 0;
}

/* Without extended answers the kernel only sends no text; without short ones it quotes. */
static void set_options(int fd)
{
	static const int on = 1;
	static const struct timeval timeout = { .tv_sec = NL_TIMEOUT_SEC };
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
}

int nl_open(int protocol, struct nl **ret)
{
	_cleanup_(fd_closep) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return -errno;
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK };
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	set_options(fd);
	struct nl *n = NULL;
	int r = nl_new(&kernel_ops, NULL, &n);
	if (r < 0)
		return r;
	n->user = n;
	n->fd = TAKE_FD(fd);
	*ret = n;
	return 0;
}

void nl_close(struct nl *n)
{
	if (!n)
		return;
	(void)fd_close(n->fd);
	free(n);
}

const char *nl_text(const struct nl *n)
{
	return n->text;
}

/* ---- answers ---- */

static void keep_text(struct nl *n, const struct nlmsghdr *nlh, size_t at)
{
	struct span left = span_skip(span_of(nlh, nlh->nlmsg_len), MNL_NLMSG_HDRLEN + at);
	while (left.len > 0) {
		const struct nlattr *attr = (const struct nlattr *)(const void *)left.ptr;
		if (!mnl_attr_ok(attr, (int)left.len))
			return;
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
		    mnl_attr_get_payload_len(attr) > 0)
			(void)snprintf(n->text, sizeof(n->text), "%.*s",
				       (int)mnl_attr_get_payload_len(attr),
				       (const char *)mnl_attr_get_payload(attr));
		left = span_skip(left, MNL_ALIGN(mnl_attr_get_len(attr)));
	}
}

/* Of an NLMSG_ERROR, or the number at the end of a dump: 0 is success. */
static int read_error(struct nl *n, const struct nlmsghdr *nlh)
{
	size_t fixed = nlh->nlmsg_type == NLMSG_ERROR ? sizeof(struct nlmsgerr) : sizeof(int);
	int error = 0;
	if (mnl_nlmsg_get_payload_len(nlh) < fixed)
		return nlh->nlmsg_type == NLMSG_DONE ? 0 : -EBADMSG;
	memcpy(&error, mnl_nlmsg_get_payload(nlh), sizeof(error));
	/* Without NLM_F_CAPPED the quoted message stands before the attributes. */
	if (error < 0 && nlh->nlmsg_flags & NLM_F_ACK_TLVS && nlh->nlmsg_flags & NLM_F_CAPPED)
		keep_text(n, nlh, MNL_ALIGN(fixed));
	return error > 0 ? -EBADMSG : error;
}

/* Numbers the messages; how many want an answer. */
static unsigned int number(struct nl *n, struct nl_builder *b)
{
	unsigned int wanted = 0;
	for (size_t at = 0; at < b->used;) {
		struct nlmsghdr *nlh = (struct nlmsghdr *)(void *)(b->buf + at);
		nlh->nlmsg_seq = ++n->seq;
		wanted += nlh->nlmsg_flags & NLM_F_ACK ? 1 : 0;
		at += NLMSG_ALIGN(nlh->nlmsg_len);
	}
	return wanted;
}

static int receive(struct nl *n, struct span *ret)
{
	ssize_t len = n->ops.receive(n->user, n->buf, sizeof(n->buf));
	if (len < 0)
		return (int)len;
	if ((size_t)len > sizeof(n->buf))
		return -EMSGSIZE;
	*ret = span_of(n->buf, (size_t)len);
	return 0;
}

/* first: the number before those of the request. */
static int await_acks(struct nl *n, uint32_t first, unsigned int wanted)
{
	while (wanted > 0) {
		struct span left = {};
		int r = receive(n, &left);
		if (r < 0)
			return r;
		for (struct span m; (m = netlink_next_message(&left)).len > 0;) {
			const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)m.ptr;
			if (nlh->nlmsg_type != NLMSG_ERROR ||
			    nlh->nlmsg_seq - first - 1 >= n->seq - first)
				continue;
			r = read_error(n, nlh);
			if (r < 0)
				return r;
			if (wanted > 0)
				wanted--;
		}
	}
	return 0;
}

static int send_all(struct nl *n, struct nl_builder *b, unsigned int *ret_wanted)
{
	struct span messages = {};
	int r = nl_builder_finish(b, &messages);
	if (r < 0)
		return r;
	n->text[0] = '\0';
	*ret_wanted = number(n, b);
	ssize_t sent = n->ops.send(n->user, messages);
	return sent < 0 ? (int)sent : 0;
}

int nl_request(struct nl *n, struct nl_builder *b)
{
	uint32_t first = n->seq;
	unsigned int wanted = 0;
	int r = send_all(n, b, &wanted);
	return r < 0 ? r : await_acks(n, first, wanted);
}

int nl_dump(struct nl *n, struct nl_builder *b, nl_take_fn take, void *user)
{
	unsigned int wanted = 0, taken = 0;
	int r = send_all(n, b, &wanted);
	while (r == 0) {
		struct span left = {};
		r = receive(n, &left);
		for (struct span m; r == 0 && (m = netlink_next_message(&left)).len > 0;) {
			const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)m.ptr;
			if (nlh->nlmsg_seq != n->seq)
				continue;
			if (nlh->nlmsg_type == NLMSG_DONE || nlh->nlmsg_type == NLMSG_ERROR)
				return read_error(n, nlh);
			if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
				return -EINTR;
			r = ++taken > NL_DUMP_MAX ? -E2BIG : take(user, m);
		}
	}
	return r;
}
