/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flow control of what an HTTP/2 connection receives, and what the worker's memory has to do with
 * it. Private to HTTP/2.
 */
#ifndef DAEMON_HTTP_H2_WINDOW_H
#define DAEMON_HTTP_H2_WINDOW_H

#include "daemon/http/h2_priv.h"

void h2_window_open(struct h2_conn *c);
void h2_window_close(struct h2_conn *c);
void h2_window_recount(struct h2_conn *c); /* the number of streams has changed */
/* n bytes arrived and nobody will read them. */
void h2_window_skip(struct h2_conn *c, uint64_t n);
/* A stream has stored n bytes that arrived. */
void h2_window_received(struct h2_stream *s, uint64_t n);
/* The user took n bytes. */
void h2_window_taken(struct h2_stream *s, uint64_t n);
/* What the stream holds will never be taken: the credit that waits for it returns. */
void h2_window_settle(struct h2_stream *s);
/* Looks again soon: somebody waits for memory. */
void h2_window_watch(struct h2_conn *c);
/* Looks again in a while, if nobody does before: something is held that may get stuck. */
void h2_window_guard(struct h2_conn *c);
void h2_window_on_watch(struct timer *timer);

#endif
