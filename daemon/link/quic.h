/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QUIC transport of a link (RFC 9000, 9001, 9002, 9221; spec §4-§6, §13): dialling, and the
 * server table that accepts. ngtcp2 stays behind quic_priv.h.
 */
#ifndef DAEMON_LINK_QUIC_H
#define DAEMON_LINK_QUIC_H

#include <openssl/types.h>
#include <sys/types.h>

#include "daemon/link/link.h"
#include "daemon/net/tlsctx.h"
#include "daemon/net/udp.h"

/* Settings of both roles; borrowed by what is made with them, so they live as long as the process.
 */
struct quic_settings {
	nsec_t idle_timeout;      /* max_idle_timeout that we send */
	nsec_t handshake_timeout; /* 5 s */
	nsec_t keep_alive; /* 0: max(1 s, min(15 s, effective idle / 3)); edge: only where idle >=
			      30 s */
	uint64_t max_streams; /* request streams that the peer may open: 16 384 (edge's daemon side)
			       */
	uint64_t stream_window, stream_window_max; /* 64 KiB, 6 MiB */
	uint64_t link_window_max;                  /* 30 MiB; the start value follows spec §13 */
	size_t send_queue_max;                     /* 1 MiB a stream */
	bool use_bbr;
	bool use_ecn;
	int keylog_fd;        /* -EBADF: off */
	const char *qlog_dir; /* NULL: off */
	int rcvbuf, sndbuf;
};

/* What all links of one worker share: receive memory, counters, CID keys. One per worker. */
struct quic_worker;
[[nodiscard]] int quic_worker_new(struct worker *worker, const struct quic_settings *settings,
				  struct quic_worker **ret);
void quic_worker_free(struct quic_worker *qw);
/* UDP counters of this worker; owner thread only. */
const struct udp_stats *quic_worker_udp_stats(const struct quic_worker *qw);
/* Streams that were reset because memory was short (spec §13); owner thread only. */
uint64_t quic_worker_overloads(const struct quic_worker *qw);

struct quic_dial {
	struct ip_port peer;
	const struct ip_addr *local; /* NULL: kernel's choice */
	uint16_t local_port;         /* 0: kernel's choice; tried first, any port if taken */
	const char *bind_interface;
	uint32_t fwmark;
	/* Borrowed for the call; the connection keeps a reference of tls. */
	SSL_CTX *tls;
	const struct tls_trust *trust;
	const char *server_name;
};
/* Starts a connection; on_state(UP) or on_state(CLOSED) follows. 0, or a negative errno from the
 * socket. */
[[nodiscard]] int quic_dial(struct quic_worker *qw, const struct quic_dial *dial,
			    const struct link_sink *sink, void *user, struct link **ret);

/* Debugging: begins a key update (RFC 9001 §6). -EAGAIN while the last one isn't over. */
[[nodiscard]] int quic_update_key(struct link *link);

/*
 * The accepting side: every worker has a socket on the address (SO_REUSEPORT) and a table of its
 * own connections; packets that reach the wrong worker are handed on by connection id (spec §5).
 */
struct quic_server; /* one per process: sockets, steering, limits shared by the workers */
enum quic_retry : uint8_t { QUIC_RETRY_AUTO, QUIC_RETRY_ALWAYS };
struct quic_server_params {
	const struct ip_port *listen;
	unsigned int listen_count; /* at most 8 */
	SSL_CTX *tls;
	const uint8_t *key; /* 32 bytes: reset and token keys derive from it */
	enum quic_retry retry;
	unsigned int max_unregistered;          /* 1 024 */
	unsigned int max_unregistered_per_addr; /* 16 */
	nsec_t register_timeout;                /* 5 s */
	unsigned int generation;                /* of this process, for hand-over */
	bool has_owner; /* give the sockets to owner_uid and owner_gid: who runs the workers */
	uid_t owner_uid;
	gid_t owner_gid;
};
/*
 * Binds all sockets before the workers start, so that privileges may be dropped afterwards. qws:
 * one per worker of the set, in order. tls as in quic_server_set_tls(). Returns 0, -ENOMEM,
 * -EINVAL, or what a socket said.
 */
[[nodiscard]] int quic_server_new(const struct quic_server_params *params,
				  struct quic_worker *const *qws, unsigned int worker_count,
				  struct quic_server **ret);
/*
 * New links use tls from now on, with ALPN argotunnel; a reference is taken. Control thread. The
 * context before is freed at the next change and not now, because a worker may be about to use it:
 * changes are hours apart, an accept is not. Returns 0 or -ENOMEM.
 */
[[nodiscard]] int quic_server_set_tls(struct quic_server *server, SSL_CTX *tls);
/* What brings packets to the worker that owns them; the last: one another's mailboxes alone. */
enum quic_steering : uint8_t { QUIC_STEERING_FILTER, QUIC_STEERING_PROGRAM, QUIC_STEERING_NONE };
/* The one of all listeners, the worst if they differ. Any thread. */
enum quic_steering quic_server_steering(const struct quic_server *server);
const char *quic_steering_name(enum quic_steering steering);
struct strangers;
/* Of this worker: those of other transports count there, too. As long as the server. */
struct strangers *quic_server_strangers(struct quic_server *server, const struct worker *worker);
struct quic_ledger;
/*
 * Writes down in it what a crash would forget (link/quic_ledger.h), before the workers start; it is
 * closed with the server.
 */
void quic_server_keep_ledger(struct quic_server *server, struct quic_ledger *ledger_take);
/* The address that a listener has: the port is the kernel's choice where 0 was asked for. */
void quic_server_addr(const struct quic_server *server, unsigned int listen, struct ip_port *ret);
/*
 * On each worker's thread: begins to accept; new links get sink and on_link's user (NULL: none, the
 * link is closed).
 */
[[nodiscard]] int quic_server_start(struct quic_server *server, struct worker *worker,
				    const struct link_sink *sink,
				    void *(*on_link)(struct link *link, void *arg), void *arg);
/* On each worker's thread: no new connections (GOAWAY is the caller's), then all sockets away. */
void quic_server_refuse_new(struct quic_server *server, struct worker *worker);
void quic_server_stop(struct quic_server *server, struct worker *worker);
void quic_server_free(struct quic_server *server);

/* Counted per worker; see docs/limits.md. */
struct quic_server_stats {
	uint64_t accepted, refused_limit, refused_addr, retries_sent, resets_sent, versions_sent;
	uint64_t forwarded, dropped_forward, dropped_unknown, handshake_failed, register_timeouts;
	unsigned int unregistered; /* of all transports */
	unsigned int connections, connected_sockets;
};
void quic_server_get_stats(const struct quic_server *server, unsigned int worker,
			   struct quic_server_stats *ret);

#endif
