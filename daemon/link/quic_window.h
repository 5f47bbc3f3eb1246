/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flow control of what comes in, and what the worker's memory has to do with it (spec §13). A
 * stream's credit returns when its user takes bytes; a link's when bytes arrive, as long as memory
 * is not short, so that a stalled stream stops nobody else.
 */
#ifndef DAEMON_LINK_QUIC_WINDOW_H
#define DAEMON_LINK_QUIC_WINDOW_H

#include "daemon/link/quic_priv.h"

struct quic_stream;

/* The window that a new link of this worker announces. */
uint64_t quic_window_start(const struct quic_worker *qw);
/* Accounts what was announced; close undoes all that a link still holds. */
void quic_window_open(struct quic_link *link, uint64_t size);
void quic_window_close(struct quic_link *link);
/* The number of streams has changed. */
void quic_window_recount(struct quic_link *link);

/* n bytes of stream data arrived. */
void quic_window_received(struct quic_link *link, uint64_t n);
/* Nobody will read n bytes that arrived: their link credit returns. */
void quic_window_taken(struct quic_link *link, uint64_t n);
/* A stream has stored n bytes: their link credit returns if memory allows, else when taken. */
void quic_window_stream_received(struct quic_stream *qs, uint64_t n);
/* The user took n bytes of a stream. */
void quic_window_stream_taken(struct quic_stream *qs, uint64_t n);
/* What a stream holds will never be taken: the link credit that waits for it returns. */
void quic_window_stream_settle(struct quic_stream *qs);

/* Looks again soon: somebody waits for memory, or too much of it is used. */
void quic_window_watch(struct quic_worker *qw);
void quic_window_on_watch(struct timer *timer);
void quic_window_on_short(void *qw); /* a slab_on_short() */

#endif
