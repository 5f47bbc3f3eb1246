/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the head of a visitor's request asks for.
 */
#ifndef DAEMON_EDGE_REQUEST_H
#define DAEMON_EDGE_REQUEST_H

#include "daemon/http/head.h"

/* RFC 6455 §4.1; what asks for another protocol is an ordinary request (RFC 9110 §7.8). */
bool request_is_websocket(const struct http_head *request);
/* Whether there can be trailers, or only its framing tells where the body ends (spec §4). */
bool request_wants_frames(const struct http_head *request);

#endif
