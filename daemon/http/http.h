/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP messages as everybody above sees them, whatever version carries them (RFC 9110): heads, the
 * server's exchange and the client's call. Bodies are struct streams: reading pulls the message
 * that comes in, writing produces the one that goes out; framing is rebuilt, never copied.
 */
#ifndef DAEMON_HTTP_HTTP_H
#define DAEMON_HTTP_HTTP_H

#include "daemon/base/arena.h"
#include "daemon/flow/stream.h"
#include "daemon/wire/http_field.h"
#include "util/addr.h"

enum http_body : uint8_t {
	HTTP_BODY_NONE,    /* no body at all (also HEAD, 204, 304) */
	HTTP_BODY_LENGTH,  /* exactly content_length bytes */
	HTTP_BODY_UNKNOWN, /* until its end: chunked, until close, or the tunnel's FIN */
	HTTP_BODY_UPGRADE, /* after 101 both directions are a raw pipe */
};

/* A request or response head. Spans live in the arena of whoever made it. */
struct http_head {
	struct span method;    /* request */
	struct span target;    /* request: path and query as received, or "*"; never empty */
	struct span authority; /* request: Host, as received, with port */
	struct span scheme;    /* request: "http" or "https" as the visitor used it */
	unsigned int status;   /* response: 100 … 999 */
	uint8_t minor;         /* HTTP/1.minor as received */
	enum http_body body;
	uint64_t content_length;   /* with HTTP_BODY_LENGTH; a HEAD answer may carry one with
				      BODY_NONE: see has_length */
	bool has_length;           /* a Content-Length field was there */
	struct http_field *fields; /* without Host and without framing fields (Content-Length,
				      Transfer-Encoding) */
	unsigned int field_count;
};

/* The first field of this name, or NULL. */
const struct http_field *http_head_find(const struct http_head *head, const char *name);
/* Hop-by-hop for this message: the fixed list or named in a Connection field (RFC 9110 §7.6.1). */
bool http_head_is_hop_by_hop(const struct http_head *head, struct span name);

/* Limits of one message (spec §13, [front]). */
struct http_limits {
	size_t head_max;        /* 64 KiB */
	unsigned int field_max; /* 200 */
	size_t line_max;        /* 16 KiB */
	uint64_t body_max;      /* 0: none */
	nsec_t header_timeout; /* from the first byte (server) or from the request's end (client; 0:
				  none) to the head's end */
	nsec_t idle_timeout;   /* between requests of a kept-alive connection */
	nsec_t body_timeout;   /* without progress while we wait for the peer; 0: none */
};

/*
 * One request at a server and its answer. The handler gets it with on_request, answers with
 * http_respond(), moves the bodies through x->body, and ends with http_exchange_free().
 */
struct http_exchange {
	struct http_head request;
	struct stream *body; /* read: request body; write: response body. Owned by the exchange */
	struct arena *arena; /* lives as long as the exchange */
	struct ip_port peer; /* the visitor; family NONE for a unix socket */
	bool is_tls;
	bool has_responded;
	void *user; /* the handler's */
};

struct http_handler {
	/* The head is complete. From here on the exchange is the handler's until
	 * http_exchange_free(). */
	void (*on_request)(struct http_exchange *x, void *user);
};

/*
 * Sends the head of the final answer (or 101). head->body says how the body will come: LENGTH needs
 * exactly content_length bytes through stream_write(x->body), UNKNOWN is chunked for HTTP/1.1 and
 * close-delimited for 1.0, NONE none. stream_finish(x->body) ends it; stream_reset(x->body, …)
 * breaks it off so that the visitor can tell (RFC 9112 §8). Fields that frame the message or are
 * hop-by-hop must not be in head->fields (101: Connection and Upgrade may). Returns 0, -ECONNRESET
 * when the visitor is gone, -EPROTO twice, -ENOBUFS.
 */
[[nodiscard]] int http_respond(struct http_exchange *x, const struct http_head *head);
/* A whole small answer: status, content type, body. */
[[nodiscard]] int http_respond_text(struct http_exchange *x, unsigned int status,
				    const char *content_type, struct span body);
/* Gives the exchange back; an unfinished answer is broken off. The connection goes on if it can. */
void http_exchange_free(struct http_exchange *x);

/* A server connection (HTTP/1.1 here; the ALPN result may choose HTTP/2 later). */
struct http_conn;
struct http_conn_params {
	struct loop *loop;
	struct slab *slab;
	const struct http_limits *limits; /* borrowed, outlives the connection */
	const struct http_handler *handler;
	void *user;
	struct ip_port peer;
	bool is_tls;
	/* The connection is gone (after all its exchanges were freed). */
	void (*on_closed)(struct http_conn *conn, void *user);
};
/* Takes the stream. 0 or -ENOMEM (stream closed). */
[[nodiscard]] int http_conn_new(struct stream *stream_take, const struct http_conn_params *params,
				struct http_conn **ret);
/* No new request after the running ones; idle connections close at once. */
void http_conn_drain(struct http_conn *conn);
void http_conn_close(struct http_conn *conn);

/*
 * One request of a client and its answer, over a connection's stream.
 */
struct http_call;
struct http_call_events {
	/*
	 * error 0: the final head is in http_call_response() (1xx other than 101 are skipped). Else
	 * the call has failed before a head: -ECONNRESET (ended before any byte of an answer: see
	 * is_untouched), -EBADMSG (not HTTP, contradicting framing), -EMSGSIZE (head over a limit),
	 * -ETIMEDOUT.
	 */
	void (*on_response)(struct http_call *call, int error, void *user);
};
struct http_call_params {
	struct loop *loop;
	struct slab *slab;
	const struct http_limits *limits;
	const struct http_head *request; /* copied out before return; Host is request->authority */
	const struct http_call_events *events;
	void *user;
};
/* Starts the call on conn (borrowed until the call is freed): queues the head. 0, -ENOMEM,
 * -ENOBUFS. */
[[nodiscard]] int http_call_new(struct stream *conn, const struct http_call_params *params,
				struct http_call **ret);
/* write: request body, read: response body (0 at its truthful end, -EBADMSG when it broke off). */
struct stream *http_call_body(struct http_call *call);
const struct http_head *http_call_response(const struct http_call *call);
/* No byte of an answer came and no body byte was consumed: a retry on a fresh connection is safe
 * (spec §7). */
bool http_call_is_untouched(const struct http_call *call);
/* After both directions ended: the connection may carry another call. */
bool http_call_is_reusable(const struct http_call *call);
/* Ends the call and lets go of conn (its user callbacks are unset). */
void http_call_free(struct http_call *call);

#endif
