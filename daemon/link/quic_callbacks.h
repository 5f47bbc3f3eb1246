/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ngtcp2 calls. Private to the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_CALLBACKS_H
#define DAEMON_LINK_QUIC_CALLBACKS_H

#include "daemon/link/quic_priv.h"

/* The table for one role; static. */
const ngtcp2_callbacks *quic_callbacks(enum link_role role);

/* Makes an id of this link, known to the worker's table at the server, with its reset token. */
[[nodiscard]] int quic_callbacks_new_cid(struct quic_link *link, ngtcp2_cid *ret_cid,
					 uint8_t *ret_token);
/* Random bytes as the library wants them. */
void quic_callbacks_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx);

#endif
