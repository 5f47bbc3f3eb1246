/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One netlink socket that asks and waits for the answers: for what is set up at the start, before
 * there are threads. Replies are matched to requests by their numbers; what the kernel says in
 * words is kept.
 */
#ifndef NETLINK_NL_H
#define NETLINK_NL_H

#include <sys/types.h>

#include "netlink/builder.h"
#include "util/cleanup.h"

enum {
	NL_TIMEOUT_SEC = 5, /* for an answer */
	NL_TEXT_MAX = 128,
	NL_DUMP_MAX = 65536, /* messages of one dump */
};

/* The kernel, or for tests something else. Both return a length or a negative errno; receive may
 * return more than len: it was cut. */
struct nl_ops {
	ssize_t (*send)(void *user, struct span messages);
	ssize_t (*receive)(void *user, void *buf, size_t len);
};

struct nl;

/* protocol: NETLINK_ROUTE, NETLINK_NETFILTER. 0 or a negative errno. */
[[nodiscard]] int nl_open(int protocol, struct nl **ret);
/* Over something else; user outlives it. 0 or -ENOMEM. */
[[nodiscard]] int nl_new(const struct nl_ops *ops, void *user, struct nl **ret);
/* What the kernel ties to the socket (nft tables with an owner) goes with it. Accepts NULL. */
void nl_close(struct nl *n);
DEFINE_CLEANUP(struct nl *, nl_close)

/*
 * Sends what was built (numbers are given here) and waits until each message with NLM_F_ACK is
 * answered. Returns 0; the first refusal; -ENOBUFS when not all had room; -ETIMEDOUT.
 */
[[nodiscard]] int nl_request(struct nl *n, struct nl_builder *b);
/*
 * Sends one message with NLM_F_DUMP and hands each answer to take (borrowed; its number and length
 * are checked); a negative errno of take ends it. Returns 0, that errno, a refusal, -EINTR when the
 * list changed meanwhile, -E2BIG over NL_DUMP_MAX, -ETIMEDOUT.
 */
typedef int (*nl_take_fn)(void *user, struct span message);
[[nodiscard]] int nl_dump(struct nl *n, struct nl_builder *b, nl_take_fn take, void *user);
/* What the kernel said about the last refusal; "" when it said nothing. */
const char *nl_text(const struct nl *n);

#endif
