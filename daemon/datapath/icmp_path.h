/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How ICMP echoes reach origins: one unconnected ICMP socket of each family and worker. It needs no
 * privilege where net.ipv4.ping_group_range has our group ("ping socket"); elsewhere a raw one
 * serves, if we may open it at the start; else the family isn't served.
 *
 * The identifier of what leaves is the socket's, the sequence number the caller's: by it he knows
 * his answers again. What is wrong on the way is told with the beginning of what was sent.
 */
#ifndef DAEMON_DATAPATH_ICMP_PATH_H
#define DAEMON_DATAPATH_ICMP_PATH_H

#include "daemon/base/worker.h"
#include "daemon/wire/icmp.h"

enum icmp_path_kind : uint8_t {
	ICMP_PATH_KIND_NONE,
	ICMP_PATH_KIND_PING,
	ICMP_PATH_KIND_RAW,
	ICMP_PATH_KIND_MAX_,
};

struct icmp_path;

/* An echo reply; spans are borrowed for the call. */
struct icmp_path_reply {
	struct ip_addr src;
	uint8_t code;
	uint16_t seq;
	struct span data;
};

/* An error about an echo that was sent. */
struct icmp_path_error {
	struct ip_addr src; /* who says so */
	struct ip_addr dst; /* whom it was sent to */
	enum icmp_kind kind;
	uint8_t code;
	uint32_t mtu; /* as in struct icmp_error */
	uint16_t seq;
	struct span
		message; /* what we sent, as far as it is quoted; ICMP_HEAD_LEN bytes at least */
};

/* Callbacks come from the loop. */
struct icmp_path_user {
	void (*on_reply)(void *arg, const struct icmp_path_reply *reply);
	void (*on_error)(void *arg, const struct icmp_path_error *error);
	void *arg;
};

/* An echo request to be sent. */
struct icmp_path_send {
	struct ip_addr dst;
	uint8_t ttl;
	bool dont_fragment; /* IPv6: always */
	uint16_t seq;
	struct span data;
};

struct icmp_path_stats {
	uint64_t rx, tx;    /* replies that were ours, requests */
	uint64_t rx_errors; /* about ours */
	uint64_t cut;       /* replies that were longer than ICMP_PATH_MAX */
};
enum { ICMP_PATH_MAX = 2048 }; /* bytes of a message */

/*
 * Opens what can be opened: a family without a socket is no failure. 0, -ENOMEM, or what epoll
 * said.
 */
[[nodiscard]] int icmp_path_new(struct worker *worker, const struct icmp_path_user *user,
				struct icmp_path **ret);
/* Accepts NULL. */
void icmp_path_free(struct icmp_path *path);
/* NONE: the family isn't served. */
enum icmp_path_kind icmp_path_kind(const struct icmp_path *path, enum ip_family family);
const struct icmp_path_stats *icmp_path_stats(const struct icmp_path *path, enum ip_family family);

/*
 * Sends an echo request at once, its family's socket is there. 0; -EAGAIN (no room: drop it);
 * -EMSGSIZE larger than the way takes, and it mustn't be cut; -ENETUNREACH, -EHOSTUNREACH; -EACCES,
 * -EPERM (this host forbids it); or what else the kernel said.
 */
[[nodiscard]] int icmp_path_send(struct icmp_path *path, const struct icmp_path_send *send);

/* The way to an address, as this host would go it now. */
struct icmp_path_way {
	struct ip_addr src;
	uint32_t mtu;
};
/* 0 or a negative errno. Nothing is sent. */
[[nodiscard]] int icmp_path_find_way(const struct ip_addr *dst, struct icmp_path_way *ret);

#endif
