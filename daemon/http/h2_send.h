/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which stream of an HTTP/2 connection is written next. Private to HTTP/2.
 */
#ifndef DAEMON_HTTP_H2_SEND_H
#define DAEMON_HTTP_H2_SEND_H

#include "daemon/http/h2_priv.h"

/* Puts frames into conn->out as far as limits and credit allow. */
void h2_send_fill(struct h2_conn *c);
/* There was no memory for a frame: the next try comes soon. */
void h2_send_wait(struct h2_conn *c);
extern const nghttp2_data_provider2 h2_send_provider; /* its source.ptr is to be the h2_stream */
int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
		 nghttp2_data_source *source, void *user);

#endif
