/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS of QUIC links: the glue between OpenSSL and ngtcp2, and keys that derive from a server's
 * secret. Private to the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_TLS_H
#define DAEMON_LINK_QUIC_TLS_H

#include "daemon/link/quic_priv.h"

enum { QUIC_KEY_LEN = 32 };

/* Gives a connection its TLS session. 0, -ENOMEM, or -EINVAL (name or pin not usable). */
[[nodiscard]] int quic_tls_start_client(struct quic_link *link, const struct quic_dial *dial);
[[nodiscard]] int quic_tls_start_server(struct quic_link *link, SSL_CTX *ctx);
/* Frees the connection and its session, in the order that the library needs. */
void quic_tls_free_conn(struct quic_link *link);
/* Group and cipher into the link's statistics; after the handshake only. */
void quic_tls_describe(struct quic_link *link);
/* Why the peer's certificate was refused; NULL when it was not. */
const char *quic_tls_certificate_error(const struct quic_link *link);

/* A key for one purpose from a server's 32-byte secret. 0 or -EIO. */
[[nodiscard]] int quic_tls_derive(const uint8_t *secret, const char *purpose,
				  uint8_t ret[QUIC_KEY_LEN]);

#endif
