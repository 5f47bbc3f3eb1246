/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message heads as everybody sees them, whatever version carries them (RFC 9110), and the limits of
 * a message.
 */
#ifndef DAEMON_HTTP_HEAD_H
#define DAEMON_HTTP_HEAD_H

#include "daemon/wire/http_field.h"
#include "util/time.h"

enum http_body : uint8_t {
	HTTP_BODY_NONE,    /* no body at all (also HEAD, 204, 304) */
	HTTP_BODY_LENGTH,  /* exactly content_length bytes */
	HTTP_BODY_UNKNOWN, /* until its end: chunked, until close, or the tunnel's FIN */
	/* Request: asks for the connection to become a WebSocket, no body. Answer: 101, it is one.
	 */
	HTTP_BODY_UPGRADE,
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
	uint64_t content_length; /* with HTTP_BODY_LENGTH; a HEAD answer may carry one with
				    BODY_NONE: see has_length */
	bool has_length;         /* a Content-Length field was there */
	bool is_framed; /* in the tunnel the body comes in frames, and the Trailer field passes */
	struct http_field *fields; /* without Host and without framing fields (Content-Length,
				      Transfer-Encoding) */
	unsigned int field_count;
};

/* Fields behind a body (RFC 9110 §6.5). */
struct http_trailers {
	const struct http_field *fields;
	unsigned int count;
};

/* Limits of one message (spec §13, [front]). */
struct http_limits {
	size_t head_max;                /* 64 KiB, all bytes to the blank line */
	unsigned int field_max;         /* 200 */
	size_t line_max;                /* 16 KiB, without its end */
	size_t trailer_max;             /* 16 KiB, chunk extensions included */
	unsigned int trailer_field_max; /* 100 */
	uint64_t body_max;              /* 0: none */
	nsec_t header_timeout; /* from the first byte (server) or from the request's end (client; 0:
				  none) to the head's end */
	nsec_t idle_timeout;   /* between requests of a kept-alive connection; 0: none */
	nsec_t body_timeout;   /* without progress while we wait for the peer; 0: none */
	nsec_t write_timeout;  /* client: an origin takes nothing of what waits for it; 0: none */
};

/* What spec §13 and [front] say; a base for settings that differ. */
extern const struct http_limits http_limits_default;

/* The first field of this name, or NULL. */
const struct http_field *http_head_find(const struct http_head *head, const char *name);
/* True when a field of this name is a comma list with this element, without regard to case. */
bool http_head_lists(const struct http_head *head, const char *name, struct span item);
/* Hop-by-hop for this message: the fixed list or named in a Connection field (RFC 9110 §7.6.1). */
bool http_head_is_hop_by_hop(const struct http_head *head, struct span name);
/* True for GET, HEAD, … and everything else registered as idempotent (RFC 9110 §9.2.2). */
bool http_method_is_idempotent(struct span method);
/* An answer with this status has no body, whatever its fields say (RFC 9112 §6.3). */
bool http_status_is_bodiless(unsigned int status);
/* "Not Found"; "" for a status without a registered phrase. */
const char *http_status_text(unsigned int status);

#endif
