/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accepting side on one worker: which link a packet is for, and what is done with a packet that
 * is for none (RFC 9000 §5.2, §6, §8.1, §10.3; spec §5, §13). Private to the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_ACCEPT_H
#define DAEMON_LINK_QUIC_ACCEPT_H

#include <stdatomic.h>

#include "daemon/link/quic_ledger.h"
#include "daemon/link/quic_priv.h"
#include "daemon/link/quic_tls.h"
#include "daemon/link/strangers.h"

enum {
	QUIC_LISTEN_MAX = 8,
	QUIC_CONNECTED_MAX = 256, /* connected sockets of all workers (spec §5) */
};

struct quic_forward;

struct quic_server {
	_Atomic(SSL_CTX *) tls; /* what new links use; the control thread changes it */
	SSL_CTX *retired;       /* the one before */
	int keylog_fd;          /* -EBADF: off */
	enum quic_retry retry;
	enum quic_steering steering; /* the worst of all listeners */
	uint8_t reset_key[QUIC_KEY_LEN];
	uint8_t token_key[QUIC_KEY_LEN];
	unsigned int generation;
	nsec_t register_timeout;
	/* Shares of one worker. */
	unsigned int retry_from, initials_from, connected_max;
	unsigned int listen_count, worker_count;
	struct quic_ledger *ledger;    /* NULL: none is kept */
	struct quic_accept *accepts[]; /* by worker */
};

/* Written by the owner, read by anybody (style C4). */
struct quic_accept_counters {
	_Atomic uint64_t accepted, refused_limit, refused_addr, retries_sent, resets_sent,
		versions_sent, forwarded, dropped_forward, dropped_unknown, handshake_failed,
		register_timeouts, connections, connected_sockets;
};

/* At most so many of a kind each second. */
struct quic_rate {
	nsec_t since;
	unsigned int count;
};

struct quic_accept {
	struct quic_server *server;
	struct quic_worker *qw;
	unsigned int index;
	struct udp_socket bound[QUIC_LISTEN_MAX]; /* until the worker starts */
	struct quic_sock *socks[QUIC_LISTEN_MAX]; /* while it runs */
	const struct link_sink *sink;
	void *(*on_link)(struct link *link, void *arg);
	void *arg;
	struct strangers strangers;
	struct quic_rate initials, retries, resets, versions;
	struct quic_forward **building; /* by worker: packets to hand on at the end of the batch */
	unsigned int forwards;          /* messages under way */
	bool is_running, refuses_new;
	struct quic_accept_counters counters;
};

static inline void quic_count(_Atomic uint64_t *counter, int64_t n)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
	atomic_store_explicit(counter, value + (uint64_t)n, memory_order_relaxed);
}

/* True (and counted) for the first limit calls of a second. */
bool quic_rate_pass(struct quic_rate *rate, nsec_t now, unsigned int limit);

/* One datagram from a socket of the server. */
void quic_accept_packet(struct quic_accept *a, const struct quic_packet *packet);
/* The socket's batch is over: what was collected for other workers goes. */
void quic_accept_batch_done(struct quic_accept *a);

const uint8_t *quic_accept_reset_key(const struct quic_accept *a);
void quic_accept_make_cid(const struct quic_accept *a, ngtcp2_cid *ret);

/* A link's handshake is done: it gets its user, and maybe a socket of its own. */
void quic_accept_announce(struct quic_link *link);
void quic_accept_set_registered(struct quic_link *link);
/* A registered link goes into the ledger. */
void quic_accept_write_down(struct quic_link *link);
/* A link is over. */
void quic_accept_forget(struct quic_link *link);

/* quic_reply.c: answers that need no connection. */
void quic_reply_version(struct quic_accept *a, const struct quic_packet *to,
			const ngtcp2_version_cid *vc);
void quic_reply_retry(struct quic_accept *a, const struct quic_packet *to, const ngtcp2_pkt_hd *hd);
/* Tells a daemon of the last process that its connection is forgotten; arg: struct quic_accept. */
void quic_reply_farewell(const struct quic_ledger_entry *entry, void *arg);
void quic_reply_reset(struct quic_accept *a, const struct quic_packet *to, struct span dcid);
/* True when the token of an Initial proves the sender's address. */
bool quic_reply_token_is_good(const struct quic_accept *a, const ngtcp2_path *path,
			      const ngtcp2_pkt_hd *hd, ngtcp2_cid *ret_odcid);

/* quic_forward.c: packets that belong to another worker. */
void quic_forward_packet(struct quic_accept *a, unsigned int to, const struct quic_packet *packet);
void quic_forward_flush(struct quic_accept *a);
/* The receiving end: like quic_accept_packet(), but never handed on again; sock is the listener's.
 */
void quic_accept_forwarded(struct quic_accept *a, const struct quic_packet *packet);

#endif
