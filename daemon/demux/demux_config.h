/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configurations that an edge pushes over HTTP/2 (docs/protocol.md §15.6).
 */
#ifndef DAEMON_DEMUX_DEMUX_CONFIG_H
#define DAEMON_DEMUX_DEMUX_CONFIG_H

#include "daemon/demux/demux.h"

/* Takes a stream that reads as the JSON text and takes its answer. */
void demux_config_start(struct demux *d, struct stream *stream);
/* Ends all that are collected. */
void demux_config_done(struct demux *d);

#endif
