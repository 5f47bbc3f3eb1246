/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP heads as the tunnel carries them: ConnectRequest and ConnectResponse with metadata, to and
 * from struct http_head (docs/protocol.md §10.2, §10.3). Used at both ends.
 */
#ifndef DAEMON_PROXY_TUNNEL_HEAD_H
#define DAEMON_PROXY_TUNNEL_HEAD_H

#include "daemon/http/http.h"
#include "daemon/wire/connect.h"

/*
 * Reads a request of type HTTP or WebSocket at the daemon. Texts are copied into the arena. Framing
 * comes from the metadata by §10.3: Content-Length, else chunked, else no body; the two fields
 * themselves are taken out. A WebSocket has HTTP_BODY_UPGRADE, whatever they say.
 *
 * Returns 0, -EBADMSG with *ret_reason (static): a well-framed but meaningless request, to be
 * answered with an error; -ENOMEM when the arena is full, -E2BIG over limits->field_max.
 */
[[nodiscard]] int tunnel_head_from_request(struct connect_request *req,
					   const struct http_limits *limits, struct arena *arena,
					   struct http_head *ret, const char **ret_reason);

/*
 * Writes a request at the edge into buf: preamble and message, of type WebSocket with
 * HTTP_BODY_UPGRADE, else HTTP. Fields are head's; the framing is added. Returns 0 with the bytes
 * (borrowed from buf), or -ENOBUFS.
 */
[[nodiscard]] int tunnel_head_write_request(const struct http_head *head, void *buf, size_t cap,
					    struct span *ret);

/* Writes an answer at the daemon: HttpStatus first, then the fields with canonical names. */
[[nodiscard]] int tunnel_head_write_response(const struct http_head *head, struct arena *arena,
					     void *buf, size_t cap, struct span *ret);
/* Writes a failure before any head: the error text, and whether the limit of flows is why. */
[[nodiscard]] int tunnel_head_write_error(struct span error, bool is_limited, void *buf, size_t cap,
					  struct span *ret);

/*
 * Reads an answer at the edge (no error in it). is_head: the request was HEAD, so no body follows.
 * Returns 0, -EBADMSG (no or bad status, bad field), -ENOMEM, -E2BIG.
 */
[[nodiscard]] int tunnel_head_from_response(struct connect_response *resp, bool is_head,
					    const struct http_limits *limits, struct arena *arena,
					    struct http_head *ret);

#endif
