/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection between a tunnel daemon and an edge, either role. A link carries streams and
 * datagrams and reports its state to a link_sink; it knows nothing of what they mean (design §4). A
 * link, its streams and buffers live on one worker.
 *
 * Transports implement struct link_ops; QUIC is one (link/quic.h), HTTP/2 will be the other.
 */
#ifndef DAEMON_LINK_LINK_H
#define DAEMON_LINK_LINK_H

#include "daemon/base/worker.h"
#include "daemon/flow/stream.h"
#include "util/addr.h"
#include "util/list.h"

struct link;

enum link_role : uint8_t {
	LINK_ROLE_CLIENT, /* we dialled: aditd */
	LINK_ROLE_SERVER, /* we accepted: adit-edge */
};

enum link_state : uint8_t {
	LINK_STATE_INVALID_,
	LINK_STATE_CONNECTING, /* handshake running */
	LINK_STATE_UP,         /* handshake confirmed: streams may be opened */
	LINK_STATE_DRAINING,   /* no new streams; running ones finish */
	LINK_STATE_CLOSED,     /* nothing moves any more; on_state is the last callback */
	LINK_STATE_MAX_,
};

/* Why a link ended; the name stands in logs and status. */
enum link_end : uint8_t {
	LINK_END_NONE,
	LINK_END_LOCAL,       /* we closed it */
	LINK_END_PEER,        /* the peer closed it (code, reason) */
	LINK_END_IDLE,        /* nothing heard for the idle timeout */
	LINK_END_RESET,       /* stateless reset: the peer has lost the connection */
	LINK_END_HANDSHAKE,   /* deadline passed or TLS failed (reason) */
	LINK_END_CERTIFICATE, /* the peer's certificate was refused (reason) */
	LINK_END_REFUSED,     /* the kernel says that nobody listens */
	LINK_END_NETWORK,     /* no route, no permission … (error) */
	LINK_END_PROTOCOL,    /* the peer broke the rules, or a library failed */
	LINK_END_MAX_,
};
const char *link_end_name(enum link_end end);

/* Whose business a link's contents are. All members must be set. Callbacks come from the loop. */
struct link_sink {
	/* state is the new one; CLOSED comes exactly once and last: link_close_info() tells why. */
	void (*on_state)(struct link *link, enum link_state state, void *user);
	/* The peer opened a bidirectional stream; it is the callee's (stream_close() it). id: QUIC
	 * stream id. */
	void (*on_stream)(struct link *link, struct stream *stream, uint64_t id, void *user);
	/* A DATAGRAM arrived; borrowed for the call. */
	void (*on_datagram)(struct link *link, struct span payload, void *user);
};

struct link_close_info {
	enum link_end end;
	uint64_t code; /* application or transport error code */
	bool is_transport_code;
	int error;        /* negative errno or 0 */
	char reason[128]; /* peer's or library's words, printable ASCII, NUL-terminated */
};

/* A snapshot for status and metrics. */
struct link_stats {
	nsec_t since;      /* when it came up; 0 before */
	nsec_t heard;      /* when the last packet came from the peer */
	uint64_t rtt_nsec; /* smoothed */
	uint64_t min_rtt_nsec, latest_rtt_nsec;
	uint64_t cwnd, bytes_in_flight;
	int8_t congestion; /* 0 slow start, 1 avoidance, 2 nothing more to send, -1 unknown */
	uint64_t rx_packets, tx_packets, lost_packets, rx_bytes, tx_bytes;
	uint64_t rx_datagrams, tx_datagrams, dropped_datagrams;
	uint64_t blackholes;  /* times the path MTU was found to have shrunk */
	unsigned int mtu;     /* UDP payload bytes of the current path */
	unsigned int streams; /* open now */
	uint64_t streams_total;
	int8_t ecn; /* 1 validated, 0 testing or off, -1 failed */
	bool is_migrated;
	uint64_t credit_stalls; /* times link-level send credit was 0 with data waiting */
	struct ip_port local, peer;
	char group[24]; /* TLS group, e.g. X25519MLKEM768 */
	char cipher[32];
};

struct link_ops {
	const char *protocol; /* "quic", "http2" */
	int (*open_stream)(struct link *link, struct stream **ret);
	int (*send_datagram)(struct link *link, struct span payload);
	size_t (*max_datagram)(const struct link *link);
	void (*drain)(struct link *link);
	void (*close)(struct link *link, uint64_t code, const char *reason);
	int (*migrate)(struct link *link);
	void (*set_registered)(struct link *link);
	void (*get_stats)(struct link *link, struct link_stats *ret);
	void (*free)(struct link *link);
};

/* The common part, first in every transport's own struct. */
struct link {
	const struct link_ops *ops;
	const struct link_sink *sink;
	void *user; /* sink's */
	struct worker *worker;
	enum link_role role;
	enum link_state state; /* written by link_step() only */
	struct link_close_info close_info;
};

/* Opens a stream; -EAGAIN without stream credit, -EPROTO unless UP. The stream is the caller's. */
[[nodiscard]] int link_open_stream(struct link *link, struct stream **ret);
/* Queues one DATAGRAM: 0, -EMSGSIZE over link_max_datagram(), -ENOBUFS queue full (both counted).
 */
[[nodiscard]] int link_send_datagram(struct link *link, struct span payload);
size_t link_max_datagram(const struct link *link);
/* No new streams from either side; closes when the last stream has ended (or by link_close()). */
void link_drain(struct link *link);
/* Ends the connection now, telling the peer. CLOSED follows from the loop. Idempotent. */
void link_close(struct link *link, uint64_t code, const char *reason);
/* Client: moves to a fresh local socket (RFC 9000 §9). 0 or negative errno. */
[[nodiscard]] int link_migrate(struct link *link);
/* Server: the peer has proved who it is; it no longer counts against the unregistered limits. */
void link_set_registered(struct link *link);
void link_get_stats(struct link *link, struct link_stats *ret);
/*
 * Gives the link back after CLOSED (or before: it is closed silently and no callback comes).
 * Streams still held by users stay valid until they close them; they report -ECONNRESET.
 */
void link_free(struct link *link);

/* Changes the state (link_fsm.c), logs it and tells the sink. -EPROTO for a step that the table
 * doesn't have. */
enum link_event : uint8_t {
	LINK_EVENT_INVALID_,
	LINK_EVENT_HANDSHAKE_DONE,
	LINK_EVENT_DRAIN,
	LINK_EVENT_END,
	LINK_EVENT_MAX_,
};
int link_step(struct link *link, enum link_event event);

#endif
