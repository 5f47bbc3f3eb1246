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
#include "daemon/flow/datagram.h"
#include "daemon/flow/stream.h"
#include "daemon/link/link_stats.h"
#include "util/list.h"

struct link;

enum link_role : uint8_t {
	LINK_ROLE_CLIENT, /* we dialled: aditd */
	LINK_ROLE_SERVER, /* we accepted: adit-edge */
};

enum link_protocol : uint8_t { LINK_PROTOCOL_QUIC, LINK_PROTOCOL_HTTP2, LINK_PROTOCOL_MAX_ };
/* "quic", "http2" */
const char *link_protocol_name(enum link_protocol protocol);

enum link_state : uint8_t {
	LINK_STATE_INVALID_,
	LINK_STATE_CONNECTING, /* handshake running */
	LINK_STATE_UP,         /* handshake confirmed: streams may be opened */
	LINK_STATE_SUSPECT,    /* still UP, but the peer may be gone: prefer another link */
	LINK_STATE_DRAINING,   /* no new streams; running ones finish */
	LINK_STATE_CLOSED,     /* nothing moves any more; on_state is the last callback */
	LINK_STATE_MAX_,
};

/* Why the peer may be gone (spec §6). */
enum link_suspicion : uint8_t {
	LINK_SUSPICION_NONE,
	LINK_SUSPICION_SILENT,  /* no answer for max(3 probe timeouts, 2 s) */
	LINK_SUSPICION_REFUSED, /* the kernel says so, which anybody can make it say */
};

/* Why a link ended; the name stands in logs and status. */
enum link_end : uint8_t {
	LINK_END_NONE,
	LINK_END_LOCAL,       /* we closed it */
	LINK_END_PEER,        /* the peer closed it (code, reason) */
	LINK_END_IDLE,        /* nothing heard for the idle timeout */
	LINK_END_RESET,       /* stateless reset: the peer has lost the connection */
	LINK_END_HANDSHAKE,   /* deadline passed (error -ETIMEDOUT) or TLS failed (reason) */
	LINK_END_CERTIFICATE, /* the peer's certificate was refused (reason) */
	LINK_END_REFUSED,     /* the kernel says that nobody listens */
	LINK_END_NETWORK,     /* no route, no permission … (error) */
	LINK_END_PROTOCOL,    /* the peer broke the rules, or a library failed */
	LINK_END_MAX_,
};
const char *link_end_name(enum link_end end);

/* Whose business a link's contents are. Callbacks come from the loop. */
struct link_sink {
	/* state is the new one; CLOSED comes exactly once and last: close_info tells why. UP comes
	 * again when a suspect peer was heard, DRAINING at every change of link->suspicion. */
	void (*on_state)(struct link *link, enum link_state state, void *user);
	/* The peer opened a bidirectional stream; it is the callee's (stream_close() it). id: QUIC
	 * stream id. */
	void (*on_stream)(struct link *link, struct stream *stream, uint64_t id, void *user);
	/* A DATAGRAM arrived; borrowed for the call. */
	void (*on_datagram)(struct link *link, struct span payload, void *user);
	/* A configuration is pushed over HTTP/2 (docs/protocol.md §15.6): the stream, the callee's,
	 * reads as its text and takes the answer; a reset refuses, and so does NULL here. */
	void (*on_config)(struct link *link, struct stream *stream, void *user);
};

struct link_close_info {
	enum link_end end;
	uint64_t code; /* application or transport error code */
	bool is_transport_code;
	int error;        /* negative errno or 0 */
	char reason[128]; /* peer's or library's words, printable ASCII, NUL-terminated */
};

struct link_ops {
	const char *protocol; /* "quic", "http2" */
	bool has_trailers;    /* its streams carry them in frames whoever the peer is */
	int (*open_stream)(struct link *link, struct stream **ret);
	int (*send_datagram)(struct link *link, enum datagram_kind kind, struct span payload);
	size_t (*max_datagram)(const struct link *link);
	void (*probe)(struct link *link);
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
	enum link_suspicion suspicion;
	struct link_close_info close_info;
};

static inline bool link_is_up(const struct link *link)
{
	return link->state == LINK_STATE_UP || link->state == LINK_STATE_SUSPECT;
}

/* Opens a stream, the caller's; -EAGAIN without stream credit, -EPROTO unless UP or SUSPECT. */
[[nodiscard]] int link_open_stream(struct link *link, struct stream **ret);
/* Queues one DATAGRAM, as datagram_send() does; counted. */
[[nodiscard]] int link_send_datagram(struct link *link, enum datagram_kind kind,
				     struct span payload);
size_t link_max_datagram(const struct link *link);
/* Asks the peer for a sign of life now, once until it is heard. */
void link_probe(struct link *link);
/* No new streams from either side; closes when the last stream has ended (or by link_close()). */
void link_drain(struct link *link);
/* Ends the connection now, telling the peer. CLOSED follows from the loop. Idempotent. */
void link_close(struct link *link, uint64_t code, const char *reason);
/* Client: moves to a fresh local socket (RFC 9000 §9). 0 or negative errno. */
[[nodiscard]] int link_migrate(struct link *link);
/* Server: the peer has proved who it is; it no longer counts against the unregistered limits. */
void link_set_registered(struct link *link);
void link_get_stats(struct link *link, struct link_stats *ret);
/* Gives the link back after CLOSED (or before: it is closed silently and no callback comes).
 * Streams still held by users stay valid until they close them; they report -ECONNRESET. */
void link_free(struct link *link);

/* Changes the state (link_fsm.c), logs it, tells the sink. -EPROTO: the table has no such step. */
enum link_event : uint8_t {
	LINK_EVENT_INVALID_,
	LINK_EVENT_HANDSHAKE_DONE,
	LINK_EVENT_SUSPECT, /* the peer may be gone */
	LINK_EVENT_HEARD,   /* it isn't */
	LINK_EVENT_DRAIN,
	LINK_EVENT_END,
	LINK_EVENT_MAX_,
};
int link_step(struct link *link, enum link_event event);

#endif
