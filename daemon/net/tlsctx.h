/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS contexts: trust (system, CA file, pin), groups, ciphers, ALPN. The only module that uses
 * OpenSSL's control macros (style B2). Reasons are static strings; what OpenSSL has to say besides
 * is in its error queue.
 */
#ifndef DAEMON_NET_TLSCTX_H
#define DAEMON_NET_TLSCTX_H

#include <openssl/types.h>
#include <stdint.h>

#include "util/span.h"

enum tls_pq : uint8_t { TLS_PQ_PREFER, TLS_PQ_REQUIRE, TLS_PQ_OFF };

/* What a tunnel's client end trusts (spec §3). All that is set must hold. */
struct tls_trust {
	const char *ca_file; /* instead of the system's store; NULL: system + ca_dir */
	const char *ca_dir;  /* extra PEM files; NULL or absent: none */
	bool has_pin;        /* DANE-TA(2) SPKI(1) SHA2-256(1) of the CA */
	uint8_t pin[32];
};

/*
 * Returns 0, -ENOMEM, or -EINVAL with a reason: a file that can't be read or holds no certificate.
 *
 * For tunnels, client end: TLS 1.3, groups and key shares by mode, AES-128-GCM first, no
 * tickets.
 */
[[nodiscard]] int tlsctx_new_tunnel_client(const struct tls_trust *trust, enum tls_pq pq,
					   SSL_CTX **ret, const char **ret_reason);
/*
 * Prepares one SSL for verifying name (SNI and host check, DANE when trust has a pin). Call after
 * SSL_new() on a context that was made with the same trust. With a pin alone the CA in the peer's
 * chain must have it (DANE-TA); with a CA file too the chain must also lead to that file (PKIX-TA).
 * Returns 0, -ENOMEM, or -EINVAL for a name that can't be one.
 */
[[nodiscard]] int tlsctx_setup_client(SSL *ssl, const struct tls_trust *trust, const char *name);

/* Server end of tunnels: chain and key files; groups X25519MLKEM768, P-256, X25519; server's cipher
 * order. */
[[nodiscard]] int tlsctx_new_tunnel_server(const char *chain_file, const char *key_file,
					   SSL_CTX **ret, const char **ret_reason);
/*
 * Client end of origins: TLS 1.2 and later, the system's store and the certificates of ca_file
 * (NULL: none) besides. verify false: any certificate is taken.
 */
[[nodiscard]] int tlsctx_new_origin_client(const char *ca_file, bool verify, SSL_CTX **ret,
					   const char **ret_reason);
/*
 * One connection of such a context. name: what to ask for and to verify, a host name or an address
 * (which isn't asked for). Returns 0, -ENOMEM, or -EINVAL for a name that can't be one.
 */
[[nodiscard]] int tlsctx_open_origin(SSL_CTX *ctx, const char *name, SSL **ret);
/*
 * ALPN: protocols offered or accepted, separated by commas, best first ("argotunnel",
 * "h2,http/1.1"); no match: alert 120. protocols is borrowed and outlives ctx (a literal).
 */
[[nodiscard]] int tlsctx_set_alpn(SSL_CTX *ctx, const char *protocols, bool is_server);
/* Writes secrets for a debugger to fd (NSS key log format), which is borrowed and outlives ctx. */
void tlsctx_set_keylog(SSL_CTX *ctx, int fd);

/* One more owner of ctx. Returns 0 or -ENOMEM. */
[[nodiscard]] int tlsctx_ref(SSL_CTX *ctx, SSL_CTX **ret);
/* Accepts NULL. Connections that use it keep it alive. */
void tlsctx_free(SSL_CTX *ctx);

/* What every context of a stream socket needs: no renegotiation, buffers released when idle. */
void tlsctx_setup_common(SSL_CTX *ctx, int min_version);
/* Lets writes be partial and repeated from another buffer (net/iostream). */
void tlsctx_setup_stream(SSL *ssl);

#endif
