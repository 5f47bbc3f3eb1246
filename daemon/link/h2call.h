/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an HTTP/2 link carries, as the byte stream that QUIC would carry (docs/protocol.md §10,
 * §15): a preamble and a ConnectRequest, a ConnectResponse, bodies in frames where there may be
 * trailers. So nobody above the link, and no bridge, knows the transport. Of the control stream and
 * of configurations the bytes are passed as they are.
 */
#ifndef DAEMON_LINK_H2CALL_H
#define DAEMON_LINK_H2CALL_H

#include "daemon/flow/stream.h"
#include "daemon/http/h2.h"

struct h2call;
struct h2link;

/* Daemon: the edge sent a request, which goes to the sink, or is answered here. Takes s. */
void h2call_accept(struct h2link *link, struct stream *s, const struct h2_request *request);
/* Daemon: the edge is going away, which the control stream's user reads as its end. */
void h2call_end_control(struct h2link *link);

/* Edge: a stream whose user writes a ConnectRequest; the request goes when that is whole. Returns
 * 0, -EAGAIN (the daemon takes no more at once), -ENOMEM. */
[[nodiscard]] int h2call_new(struct h2link *link, struct stream **ret);
/* Edge: the control stream, on which the daemon speaks first. 0 or -ENOMEM. */
[[nodiscard]] int h2call_open_control(struct h2link *link, struct stream **ret);
/* Edge: the head of the answer on a stream of h2_open(). */
void h2call_answered(struct stream *s, const struct h2_head *head, bool is_end);

/* What its user holds. */
struct stream *h2call_stream(struct h2call *call);
/* The link is gone: so are all its calls for their users. */
void h2call_lose_all(struct h2link *link);

#endif
