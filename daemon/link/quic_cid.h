/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connection ids: how ours are made, which worker a packet belongs to, and a worker's table from
 * id to link (include/abi/steer.h; spec §5).
 */
#ifndef DAEMON_LINK_QUIC_CID_H
#define DAEMON_LINK_QUIC_CID_H

#include <stdint.h>

#include "abi/steer.h"
#include "util/span.h"

struct ngtcp2_cid;
struct quic_link;
struct quic_cid_node;

/* Hash table of one worker; grows, never shrinks. */
struct quic_cid_table {
	struct quic_cid_node **buckets;
	unsigned int bits;  /* of the number of buckets */
	unsigned int count; /* entries */
	uint64_t seed;
};

[[nodiscard]] int quic_cid_table_init(struct quic_cid_table *t);
/* Drops what is left. */
void quic_cid_table_done(struct quic_cid_table *t);
/* 0, -EEXIST when the id is taken, -ENOMEM. */
[[nodiscard]] int quic_cid_add(struct quic_cid_table *t, const struct ngtcp2_cid *cid,
			       struct quic_link *link);
void quic_cid_remove(struct quic_cid_table *t, const struct ngtcp2_cid *cid);
struct quic_link *quic_cid_find(const struct quic_cid_table *t, struct span cid);

/* A fresh id of this worker. */
void quic_cid_make(unsigned int worker, unsigned int generation, struct ngtcp2_cid *ret);
/* True for an id of our form (any generation). */
bool quic_cid_is_ours(struct span cid);

/* What steering needs to know of a packet. */
struct quic_cid_view {
	struct span dcid;
	bool is_long;
};
/* Finds the destination id; -EBADMSG for what can't be QUIC. */
[[nodiscard]] int quic_cid_of_packet(struct span packet, struct quic_cid_view *ret);
/* The worker of a packet: the same number that the kernel's program computes. */
unsigned int quic_cid_owner(const struct quic_cid_view *view, unsigned int workers);

/* Makes the kernel choose the sockets of a SO_REUSEPORT group by quic_cid_owner(). 0 or -errno. */
[[nodiscard]] int quic_cid_attach_steering(int fd, unsigned int workers);

#endif
