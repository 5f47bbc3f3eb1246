/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS contexts: trust (system, CA file, pin), groups, ciphers, certificates by SNI with reload.
 * The only file that uses OpenSSL's casting macros (style B2).
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

/* For QUIC tunnels, client end: TLS 1.3, groups and key shares by mode, AES-128-GCM first, no
 * tickets. */
[[nodiscard]] int tlsctx_new_tunnel_client(const struct tls_trust *trust, enum tls_pq pq,
					   SSL_CTX **ret, const char **ret_reason);
/*
 * Prepares one SSL for verifying name (SNI and host check, DANE when trust has a pin). Call after
 * SSL_new().
 */
[[nodiscard]] int tlsctx_setup_client(SSL *ssl, const struct tls_trust *trust, const char *name);

/* Server end of tunnels: chain and key files; groups X25519MLKEM768, P-256, X25519; server's cipher
 * order. */
[[nodiscard]] int tlsctx_new_tunnel_server(const char *chain_file, const char *key_file,
					   SSL_CTX **ret, const char **ret_reason);
/* ALPN: one protocol offered / accepted ("argotunnel", "h2", "http/1.1" …); no match: alert 120. */
[[nodiscard]] int tlsctx_set_alpn(SSL_CTX *ctx, const char *protocol, bool is_server);
/* Writes secrets for a debugger to a file (NSS key log format). Debug builds' business. */
void tlsctx_set_keylog(SSL_CTX *ctx, int fd);

/* Public side: NAME.pem or NAME/{fullchain,privkey}.pem of a directory, chosen by SNI (spec §2.3).
 */
struct tls_certs;
[[nodiscard]] int tls_certs_new(const char *directory, struct tls_certs **ret);
void tls_certs_free(struct tls_certs *certs);
/* Reads the directory again if it changed; keeps the old ones when a file is bad. Count of bad
 * files. */
int tls_certs_reload(struct tls_certs *certs);
unsigned int tls_certs_count(const struct tls_certs *certs);
/* A fresh SSL in accept state that picks the certificate by SNI; NULL when out of memory. */
SSL *tls_certs_accept(struct tls_certs *certs);

#endif
