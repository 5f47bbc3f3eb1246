/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP/2 connection (RFC 9113), either role, over a stream beneath: TLS on TCP, or anything
 * else that is a struct stream. Each stream of it is a struct stream of its DATA, with a head
 * before and trailers behind. Knows nothing of what heads mean. nghttp2 stays in the .c files.
 * An object lives on one worker. Callbacks come from the loop, never from inside a call.
 */
#ifndef DAEMON_HTTP_H2_H
#define DAEMON_HTTP_H2_H

#include "daemon/flow/stream.h"
#include "daemon/http/h2_stats.h"
#include "daemon/http/head.h"

struct h2_conn;

enum h2_role : uint8_t { H2_ROLE_CLIENT, H2_ROLE_SERVER };

enum h2_code : uint32_t { /* RFC 9113 §7 */
			  H2_CODE_NO_ERROR = 0,
			  H2_CODE_PROTOCOL_ERROR = 1,
			  H2_CODE_INTERNAL_ERROR = 2,
			  H2_CODE_REFUSED_STREAM = 7,
			  H2_CODE_CANCEL = 8,
			  H2_CODE_COMPRESSION_ERROR = 9,
			  H2_CODE_ENHANCE_YOUR_CALM = 11,
};

/* Borrowed by connections; outlives them. */
struct h2_settings {
	uint32_t max_streams;       /* that the peer may open at once; a client's peer: none */
	uint32_t stream_window;     /* receive window that a stream begins with: 64 KiB */
	uint32_t stream_window_max; /* to which it grows (spec §13): 6 MiB */
	uint32_t conn_window, conn_window_max; /* of the connection: many stream windows */
	size_t send_queue_max;  /* bytes of a stream that wait to be sent: 1 MiB at most */
	unsigned int field_max; /* fields of a head; trailers below */
	size_t head_max; /* bytes of a head's names and values, 32 a field besides (§6.5.2) */
	size_t line_max; /* bytes of one field */
	size_t trailer_max;
	unsigned int trailer_field_max;
};

/* A head as it came or is to be sent: pseudo fields apart, names in lower case. */
struct h2_head {
	struct span method, scheme, authority, path; /* request; ptr NULL: absent */
	unsigned int status;                         /* response */
	const struct http_field *fields;
	unsigned int field_count;
};

/* What is wrong with a request whose bytes are fine (server role); the callee answers it. */
enum h2_fault : uint8_t {
	H2_FAULT_NONE,
	H2_FAULT_TOO_LARGE, /* over head_max, field_max or line_max: fields that came before */
	H2_FAULT_FORBIDDEN, /* connection, upgrade and their like, te other than trailers */
};

struct h2_request {
	struct h2_head head;
	bool is_end; /* no body follows */
	enum h2_fault fault;
};

/* Why a connection ended. */
enum h2_end : uint8_t {
	H2_END_LOCAL,    /* h2_close(), or drained */
	H2_END_PEER,     /* GOAWAY with an error (code) or the end of the stream beneath */
	H2_END_LOST,     /* the stream beneath failed: reset, timeout */
	H2_END_PROTOCOL, /* the peer broke the rules (code is what it was told), or memory */
};

/* All members must be set; a role's others are never called. */
struct h2_events {
	/* The peer's first SETTINGS have come: streams may be opened. */
	void (*on_open)(struct h2_conn *c, void *user);
	/* Server: a request's head is whole (borrowed); s is the callee's. */
	void (*on_request)(struct h2_conn *c, struct stream *s, const struct h2_request *request,
			   void *user);
	/* Client: the final answer's head (1xx are passed over); user is the stream's (below). */
	void (*on_response)(struct h2_conn *c, struct stream *s, const struct h2_head *head,
			    bool is_end, void *user);
	/* GOAWAY without an error has come: no new streams; running ones go on. Once. */
	void (*on_goaway)(struct h2_conn *c, void *user);
	/* The answer to h2_ping() has come. */
	void (*on_pong)(struct h2_conn *c, void *user);
	/* Once and last. Streams that their users still hold say -ECONNRESET. */
	void (*on_closed)(struct h2_conn *c, enum h2_end end, uint32_t code, const char *reason,
			  void *user);
};

struct h2_params {
	enum h2_role role;
	struct stream *below; /* taken; open (handshake done) */
	const struct h2_settings *settings;
	const struct h2_events *events;
	void *user;
};
/* Takes the stream, also on failure. Sends SETTINGS at once. Returns 0 or -ENOMEM. */
[[nodiscard]] int h2_new(struct loop *loop, struct slab *slab, const struct h2_params *params,
			 struct h2_conn **ret);
/* Closes at once where it isn't closed; no callback comes after. Accepts NULL. */
void h2_free(struct h2_conn *c);

/*
 * Client: opens a stream with a request's head (copied). is_end: no body. The answer comes by
 * on_response before anything can be read. 0, -EAGAIN (the peer takes no more at once), -EPROTO
 * (not open, GOAWAY, closed), -ENOMEM, -E2BIG (can't be sent: over the peer's limit or 64 KiB).
 */
[[nodiscard]] int h2_open(struct h2_conn *c, const struct h2_head *head, bool is_end,
			  struct stream **ret);
bool h2_has_room(const struct h2_conn *c); /* whether h2_open() would open one now */
/* Server: the answer's head (copied), once. 0, -EPROTO (twice, or reset), -ENOMEM, -E2BIG. */
[[nodiscard]] int h2_respond(struct stream *s, const struct h2_head *head, bool is_end);
/*
 * Streams of h2_open() and on_request only. As any struct stream, and:
 *   stream_write() before the server's h2_respond() says -EPROTO.
 *   stream_reset(code) is RST_STREAM at once, of both directions; STREAM_CODE_NONE is sent as
 *   INTERNAL_ERROR by a server and CANCEL by a client. stream_stop() drops what comes; when our own
 *   direction has ended whole, RST_STREAM(NO_ERROR) follows from a server, CANCEL from a client.
 *   What came before the peer's reset is still read. After -ECONNRESET error_code is the peer's
 *   code, or ours where the peer was at fault.
 */
/* Instead of stream_finish(): what was written, then RST_STREAM(code), for a broken body. */
void h2_finish_broken(struct stream *s, uint32_t code);
/* Fields behind our body: to be called before stream_finish(); copied. 0 or -ENOMEM. */
[[nodiscard]] int h2_set_trailers(struct stream *s, const struct http_trailers *trailers);
/* Those of the peer, once stream_read() has given 0; the stream's. Over a limit: a reset. */
const struct http_trailers *h2_trailers(const struct stream *s);
/* Says whose a stream is, for on_response; independent of stream_set_user(). */
void h2_set_owner(struct stream *s, void *owner);
/* This stream is written before all others (a control stream). */
void h2_set_first(struct stream *s);
/* Sends a PING (§6.7); one at a time. */
void h2_ping(struct h2_conn *c);
/*
 * GOAWAY: the peer opens no more streams (later ones: REFUSED_STREAM); when the last has ended the
 * connection closes. h2_hold(): a stream that doesn't count as running for that, e.g. control.
 */
void h2_drain(struct h2_conn *c);
void h2_hold(struct stream *s);
/* GOAWAY(code) and the end; on_closed follows from the loop. Idempotent. */
void h2_close(struct h2_conn *c, uint32_t code, const char *reason);

void h2_get_stats(const struct h2_conn *c, struct h2_stats *ret);

#endif
