/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's exchange and the client's call. Bodies are struct streams: reading pulls the message
 * that comes in, writing produces the one that goes out; framing is rebuilt, never copied.
 */
#ifndef DAEMON_HTTP_HTTP_H
#define DAEMON_HTTP_HTTP_H

#include "daemon/base/arena.h"
#include "daemon/flow/stream.h"
#include "daemon/http/head.h"
#include "util/addr.h"

/*
 * One request at a server and its answer. The handler gets it with on_request, answers with
 * http_respond(), moves the bodies through x->body, and ends with http_exchange_free().
 *
 * stream_read(x->body) gives 0 at the request's truthful end, -EBADMSG (bad chunk), -E2BIG (over
 * body_max), -ETIMEDOUT (body_timeout). When the visitor leaves before the answer is whole is_gone
 * is set, both callbacks come, and both directions return -ECONNRESET from then on.
 */
struct http_exchange {
	struct http_head request;
	struct stream *body; /* read: request body; write: response body. Owned by the exchange */
	struct arena *arena; /* lives as long as the exchange */
	struct ip_port peer; /* the visitor; family NONE for a unix socket */
	bool is_tls;
	bool has_responded;
	bool is_gone;
	void *user; /* the handler's */
};

struct http_handler {
	/* The head is complete. From here on the exchange is the handler's until
	 * http_exchange_free(). */
	void (*on_request)(struct http_exchange *x, void *user);
	/*
	 * What came is no request that on_request could get: status is 400, 408, 413, 417, 431, 501
	 * or 505. The exchange is the handler's as above; x->request may be empty (no method), the
	 * body is at its end, and the connection is closed after the answer. NULL: a line of text
	 * is sent.
	 */
	void (*on_reject)(struct http_exchange *x, unsigned int status, void *user);
};

/*
 * Sends the head of the final answer. head->body says how the body will come: LENGTH needs
 * exactly content_length bytes through stream_write(x->body), UNKNOWN is chunked for HTTP/1.1 and
 * close-delimited for 1.0, NONE none. stream_finish(x->body) ends it; stream_reset(x->body, …)
 * breaks it off so that the visitor can tell (RFC 9112 §8): an end without the last chunk or byte,
 * a reset where only that tells. For HEAD, 204 and 304 what is written is dropped. Framing fields
 * and Connection in head->fields are left out; hop-by-hop fields must not be there. Returns 0,
 * -ECONNRESET when the visitor is gone, -EPROTO twice, -EBADMSG for a field that can't be sent (bad
 * name, control character), -ENOBUFS.
 */
[[nodiscard]] int http_respond(struct http_exchange *x, const struct http_head *head);
/* A whole small answer: status, content type (may be NULL), body (copied). */
[[nodiscard]] int http_respond_text(struct http_exchange *x, unsigned int status,
				    const char *content_type, struct span body);

/* A visitor's connection that has left HTTP. The queues are the caller's to move or clear. */
struct http_upgraded {
	struct stream *stream; /* the caller's, without a user */
	struct bufq unsent;    /* the answer's head: goes out first */
	struct bufq received;  /* what has come behind the request */
};
/*
 * Answers a request that has no body with 101 (Upgrade and Connection in head->fields stay) and
 * takes the connection out of HTTP: the exchange is given back, on_closed comes, the stream goes
 * on. Returns as http_respond(); on failure the exchange goes on, too.
 */
[[nodiscard]] int http_upgrade(struct http_exchange *x, const struct http_head *head,
			       struct http_upgraded *ret);
/* Of the request, once stream_read(x->body) has given 0. Borrowed from the exchange. */
const struct http_trailers *http_exchange_trailers(const struct http_exchange *x);
/* Of the answer, before stream_finish(x->body); borrowed until then. 0, or -ENOTSUP where there
 * can't be any (not chunked). */
int http_exchange_set_trailers(struct http_exchange *x, const struct http_trailers *trailers);
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
	/* The connection is gone or has left HTTP (after all its exchanges were freed). */
	void (*on_closed)(struct http_conn *conn, void *user);
};
/* Takes the stream. 0 or -ENOMEM (stream closed). */
[[nodiscard]] int http_conn_new(struct stream *stream_take, const struct http_conn_params *params,
				struct http_conn **ret);
/* No request after one that has arrived; idle connections close, new ones in a second. */
void http_conn_drain(struct http_conn *conn);
/* Breaks off what runs. on_closed still comes. */
void http_conn_close(struct http_conn *conn);

/*
 * One request of a client and its answer, over a connection's stream.
 */
struct http_call;
struct http_call_events {
	/*
	 * error 0: the final head is in http_call_response() (1xx other than 101 are skipped). Else
	 * the call has failed before a head: -ECONNRESET (ended before any byte of an answer: see
	 * is_untouched; or reset by the peer), -EBADMSG (not HTTP, cut short, contradicting
	 * framing, a 101 that wasn't asked for), -EMSGSIZE (head over a limit), -ETIMEDOUT,
	 * -ENOMEM.
	 */
	void (*on_response)(struct http_call *call, int error, void *user);
};
struct http_call_params {
	struct loop *loop;
	struct slab *slab;
	const struct http_limits *limits; /* borrowed, outlives the call */
	const struct http_head *request;  /* copied out before return; Host is request->authority */
	const struct http_call_events *events;
	void *user;
};
/* Starts the call on conn (borrowed until the call is freed): queues the head. A request with
 * HTTP_BODY_UPGRADE asks for 101: Connection is made here. 0, -ENOMEM, -ENOBUFS, -EBADMSG (a field,
 * method or target that can't be sent). */
[[nodiscard]] int http_call_new(struct stream *conn, const struct http_call_params *params,
				struct http_call **ret);
/* Whether http_call_new() would take this head: method, target, authority and fields. */
bool http_request_is_valid(const struct http_head *request);
/* write: request body, read: response body (0 at its truthful end, -EBADMSG when it broke off). */
struct stream *http_call_body(struct http_call *call);
const struct http_head *http_call_response(const struct http_call *call);
/* After 101: ends the call, whose connection is a raw pipe from here on. What has come behind the
 * head goes to the end of received. */
void http_call_upgrade(struct http_call *call, struct bufq *received);
/* The answer's once its body has ended; the request's, as above. */
const struct http_trailers *http_call_trailers(const struct http_call *call);
int http_call_set_trailers(struct http_call *call, const struct http_trailers *trailers);
/* How many 1xx answers other than 100 and 101 were passed over. */
unsigned int http_call_hints(const struct http_call *call);
/* No byte of an answer came and none of a body was consumed: it may begin again (spec §7). */
bool http_call_is_untouched(const struct http_call *call);
/* After both directions ended: the connection may carry another call. */
bool http_call_is_reusable(const struct http_call *call);
/* Ends the call and lets go of conn (its user callbacks are unset). */
void http_call_free(struct http_call *call);

#endif
