/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC streams that an edge opens: UDP sessions of datagram v2 and configuration pushes
 * (docs/protocol.md §8).
 */
#ifndef DAEMON_DEMUX_DEMUX_RPC_H
#define DAEMON_DEMUX_DEMUX_RPC_H

#include "daemon/demux/demux.h"

/* Takes the stream and, from rest, what was read behind the signature. port: as in
 * demux_stream(). */
void demux_rpc_start(struct demux *d, struct stream *stream, struct bufq *rest, uint64_t port);
/* Ends all RPC streams. */
void demux_rpc_done(struct demux *d);

#endif
