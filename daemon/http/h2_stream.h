/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of an HTTP/2 connection: buffers and states. Private to HTTP/2.
 */
#ifndef DAEMON_HTTP_H2_STREAM_H
#define DAEMON_HTTP_H2_STREAM_H

#include "daemon/http/h2_priv.h"

/* id 0: not known yet. NULL: memory. */
[[nodiscard]] struct h2_stream *h2_stream_new(struct h2_conn *c, int32_t id);
/* Undoes h2_stream_new() before anybody has seen it. */
void h2_stream_drop(struct h2_stream *s);
struct h2_stream *h2_stream_of(struct stream *s);
const struct h2_stream *h2_stream_of_const(const struct stream *s);
/* What the library says about a stream. */
void h2_stream_on_data(struct h2_stream *s, struct span data);
void h2_stream_on_end(struct h2_stream *s);
void h2_stream_on_sent_end(struct h2_stream *s);
void h2_stream_on_over(struct h2_stream *s, uint32_t code);
/* Ends both directions because of what the peer did, or memory. */
void h2_stream_fail(struct h2_stream *s, uint32_t code);
/* RST_STREAM on the user's behalf; both directions. Idempotent. */
void h2_stream_reset(struct h2_stream *s, uint32_t code);
/* The connection is gone: every stream says so to its user. */
void h2_stream_lose_all(struct h2_conn *c);
/* There may be credit again. */
void h2_stream_on_credit(struct h2_stream *s);
void h2_stream_check_room(struct h2_stream *s);
/* There may be something to send. */
void h2_stream_wake(struct h2_stream *s);
/* Since when somebody should have taken something and hasn't; NSEC_NEVER when nothing waits. */
nsec_t h2_stream_stuck_since(const struct h2_stream *s);

#endif
